//! A set in a transaction.

use std::{fmt, ops::RangeBounds};

use super::Draft;
use crate::collections::{
    Key,
    map::span,
    state::set::{SetRead, SetState, SetWrite},
};

/// A [`Set`](crate::collections::Set) in a transaction: see [there](super) for what counts as read.
pub struct SetTransaction<T> {
    pub(in crate::collections) draft: Draft<SetState<T>, SetRead<T>>,
}

impl<T: Key> SetTransaction<T> {
    pub(in crate::collections) fn new(draft: Draft<SetState<T>, SetRead<T>>) -> Self {
        Self { draft }
    }

    /// Whether an element is there. Reads that.
    pub fn contains(&self, element: &T) -> bool {
        self.draft.look(|now, base, read| {
            let is_there = now.contains(element);
            let is_own = is_there && !base.contains(element);
            if !is_own {
                base.read_key(element, read);
            }
            is_there
        })
    }

    fn whole(&self) -> &SetState<T> {
        self.draft.look(|now, base, read| {
            base.read_whole(read);
            now
        })
    }

    /// Number of elements. Reads the whole set.
    pub fn len(&self) -> usize {
        self.whole().len()
    }

    /// Whether there are no elements. Reads the whole set.
    pub fn is_empty(&self) -> bool {
        self.whole().is_empty()
    }

    /// All elements, in no order; clones. Reads the whole set.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + use<'_, T> {
        self.whole().iter().cloned()
    }

    /// Inserts an element. Reads nothing.
    pub fn insert(&mut self, element: T) {
        self.draft.write(SetWrite::Insert(element));
    }

    /// Removes an element; returns whether it was there. Reads that.
    pub fn remove(&mut self, element: &T) -> bool {
        let was_there = self.contains(element);
        if was_there {
            self.draft.write(SetWrite::Remove(element.clone()));
        }
        was_there
    }

    /// Inserts elements. Reads nothing.
    pub fn extend(&mut self, elements: impl IntoIterator<Item = T>) {
        let elements = elements.into_iter().collect();
        self.draft.write(SetWrite::Extend(elements));
    }

    /// Removes elements, whether they are there or not. Reads nothing.
    pub fn remove_many(&mut self, elements: impl IntoIterator<Item = T>) {
        let elements = elements.into_iter().collect();
        self.draft.write(SetWrite::RemoveMany(elements));
    }

    /// Removes the elements in a range. Reads nothing.
    pub fn remove_range(&mut self, range: impl RangeBounds<T>) {
        self.draft.write(SetWrite::RemoveRange(span(&range)));
    }

    /// Removes the elements outside a range. Reads nothing.
    pub fn retain_range(&mut self, range: impl RangeBounds<T>) {
        self.draft.write(SetWrite::RetainRange(span(&range)));
    }

    /// Removes all elements. Reads nothing.
    pub fn clear(&mut self) {
        self.draft.write(SetWrite::Clear);
    }
}

impl<T> fmt::Debug for SetTransaction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft.fmt(f)
    }
}
