//! A lock in a transaction.

use std::fmt;

use super::Draft;
use crate::collections::{
    lock::LockHolder,
    state::lock::{LockRead, LockState},
};

/// A [`Lock`](crate::collections::Lock) in a transaction: see [there](super) for what counts as read.
pub struct LockTransaction {
    pub(in crate::collections) draft: Draft<LockState, LockRead>,
}

impl LockTransaction {
    pub(in crate::collections) fn new(draft: Draft<LockState, LockRead>) -> Self {
        Self { draft }
    }

    /// Whether the lock is held with this token: if the transaction is applied, it is held then. Reads the lock.
    pub fn is_held_by(&self, token: u64) -> bool {
        self.holder().is_some_and(|holder| holder.token == token)
    }

    /// Who holds the lock. Reads the lock.
    pub fn holder(&self) -> Option<LockHolder> {
        let holder = self.draft.look(|_, base, read| base.read(read));
        holder.map(LockHolder::of)
    }
}

impl fmt::Debug for LockTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft.fmt(f)
    }
}
