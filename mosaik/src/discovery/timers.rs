//! Timers of the driver: values that come back when they are due.

use std::{collections::BTreeMap, time::Duration};

use crate::rt::{self, Instant};

/// Timers in the order in which they fall due.
#[derive(Debug)]
pub(super) struct Timers<T> {
    queue: BTreeMap<(Instant, u64), T>,
    next: u64,
}

impl<T> Timers<T> {
    /// No timers.
    pub(super) fn new() -> Self {
        Self {
            queue: BTreeMap::new(),
            next: 0,
        }
    }

    /// Gives `timer` back after `delay`.
    pub(super) fn set(&mut self, delay: Duration, timer: T) {
        self.next += 1;
        self.queue.insert((rt::now() + delay, self.next), timer);
    }

    /// When the next is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// A timer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<T> {
        let first = self.queue.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
