//! A counter in a transaction.

use std::fmt;

use super::Draft;
use crate::collections::state::counter::{CounterRead, CounterState, CounterWrite};

/// A [`Counter`](crate::collections::Counter) in a transaction: see [there](super) for what counts as read.
pub struct CounterTransaction {
    pub(in crate::collections) draft: Draft<CounterState, CounterRead>,
}

impl CounterTransaction {
    pub(in crate::collections) fn new(draft: Draft<CounterState, CounterRead>) -> Self {
        Self { draft }
    }

    /// The number. Reads the counter.
    pub fn get(&self) -> i128 {
        self.draft.look(|now, base, read| {
            base.read(read);
            now.get()
        })
    }

    /// Adds a number, which may be negative. Reads nothing.
    pub fn add(&mut self, number: i128) {
        self.draft.write(CounterWrite::Add(number));
    }

    /// Puts a number. Reads nothing.
    pub fn set(&mut self, number: i128) {
        self.draft.write(CounterWrite::Swap(number));
    }

    /// Puts a number; returns the one that was there. Reads the counter.
    pub fn swap(&mut self, number: i128) -> i128 {
        let old = self.get();
        self.set(number);
        old
    }
}

impl fmt::Debug for CounterTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft.fmt(f)
    }
}
