//! Cells in a transaction.

use std::fmt;

use super::Draft;
use crate::collections::{
    Value,
    state::{
        cell::{CellRead, CellState, CellWrite},
        once::{OnceState, OnceWrite, OnceWrote},
        shared::Shared,
    },
};

/// A [`Cell`](crate::collections::Cell) in a transaction: see [there](super) for what counts as read.
pub struct CellTransaction<T> {
    pub(in crate::collections) draft: Draft<CellState<T>, CellRead>,
}

impl<T: Value> CellTransaction<T> {
    pub(in crate::collections) fn new(draft: Draft<CellState<T>, CellRead>) -> Self {
        Self { draft }
    }

    /// The value; a clone. Reads the cell.
    pub fn get(&self) -> Option<T> {
        self.read().map(|value| value.value().clone())
    }

    fn read(&self) -> Option<&Shared<T>> {
        self.draft.look(|now, base, read| {
            let value = now.get();
            if !value.is_some_and(|value| self.draft.is_own(value.stamp())) {
                base.read(read);
            }
            value
        })
    }

    /// Puts a value. Reads nothing.
    pub fn set(&mut self, value: T) {
        self.draft.write(CellWrite::Set(value));
    }

    /// Puts a value; returns the one that was there. Reads the cell.
    pub fn swap(&mut self, value: T) -> Option<T> {
        let old = self.get();
        self.set(value);
        old
    }

    /// Removes the value, and returns it. Reads the cell.
    pub fn take(&mut self) -> Option<T> {
        let old = self.get()?;
        self.clear();
        Some(old)
    }

    /// Removes the value, whether there is one or not. Reads nothing.
    pub fn clear(&mut self) {
        self.draft.write(CellWrite::Clear);
    }
}

impl<T> fmt::Debug for CellTransaction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft.fmt(f)
    }
}

/// A [`Once`](crate::collections::Once) in a transaction: see [there](super) for what counts as read.
pub struct OnceTransaction<T> {
    pub(in crate::collections) draft: Draft<OnceState<T>, CellRead>,
}

impl<T: Value> OnceTransaction<T> {
    pub(in crate::collections) fn new(draft: Draft<OnceState<T>, CellRead>) -> Self {
        Self { draft }
    }

    /// The value; a clone. Reads the cell.
    pub fn get(&self) -> Option<T> {
        self.read().map(|value| value.value().clone())
    }

    /// Puts the value if there is none; gives it back if there was one. Reads the cell.
    ///
    /// # Errors
    /// When there was a value.
    pub fn set(&mut self, value: T) -> Result<(), T> {
        if self.read().is_some() {
            return Err(value);
        }
        let OnceWrote(set) = self.draft.write(OnceWrite::Set(value));
        set
    }

    fn read(&self) -> Option<&Shared<T>> {
        self.draft.look(|now, base, read| {
            base.read(read);
            now.get()
        })
    }
}

impl<T> fmt::Debug for OnceTransaction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft.fmt(f)
    }
}
