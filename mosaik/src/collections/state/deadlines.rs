//! Until when the values of a collection live, of those that do not live for ever.

use super::{
    stamp::{Moment, Stamp},
    table::{Sorted, Table as _},
};

/// Values that are removed with one command at most: what is due is done beside what was asked for, and must not keep
/// that waiting for long. The others follow with the next.
pub(crate) const MOST_EXPIRED: usize = 4096;

/// When something comes to its end, by either clock of the group, in milliseconds; `None` if nothing does.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    /// By the one that shows the time since 1970.
    pub(crate) clock: Option<u64>,
    /// By the one that shows for how long it had leaders.
    pub(crate) uptime: Option<u64>,
}

impl Expiry {
    /// The earlier of both, by each clock.
    pub(crate) fn or(self, other: Self) -> Self {
        let earlier = |one: Option<u64>, other: Option<u64>| one.into_iter().chain(other).min();
        Self {
            clock: earlier(self.clock, other.clock),
            uptime: earlier(self.uptime, other.uptime),
        }
    }

    /// Whether something has come to its end by then.
    pub(crate) fn is_due(self, now: Moment) -> bool {
        self.clock.is_some_and(|at| at <= now.clock)
            || self.uptime.is_some_and(|at| at <= now.uptime)
    }
}

/// The ends of values, by time and by the stamp of the value. Costs nothing as long as all live for ever.
///
/// Times are the group's, in milliseconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Deadlines<K> {
    by_time: Sorted<(u64, Stamp), K>,
    by_stamp: Sorted<Stamp, u64>,
}

impl<K: Clone + Send + Sync + 'static> Deadlines<K> {
    /// The value with this stamp, at `key`, lives until then.
    pub(crate) fn set(&mut self, stamp: Stamp, until: u64, key: K) {
        self.forget(stamp);
        self.by_time.insert((until, stamp), key);
        self.by_stamp.insert(stamp, until);
    }

    /// The value with this stamp is gone.
    pub(crate) fn forget(&mut self, stamp: Stamp) {
        if let Some(until) = self.by_stamp.remove(&stamp) {
            self.by_time.remove(&(until, stamp));
        }
    }

    /// Until when the value with this stamp lives, if not for ever.
    pub(crate) fn of(&self, stamp: Stamp) -> Option<u64> {
        self.by_stamp.get(&stamp).copied()
    }

    /// Until when the value lives that lives shortest.
    pub(crate) fn next(&self) -> Option<u64> {
        let ((until, _), _) = self.by_time.get_min()?;
        Some(*until)
    }

    /// The keys of the values that have lived for their time at `now`, those first that were due first, as many as may
    /// be removed at once.
    pub(crate) fn due(&self, now: u64) -> Vec<K> {
        let due = self
            .by_time
            .iter()
            .take_while(|((until, _), _)| *until <= now);
        due.take(MOST_EXPIRED).map(|(_, key)| key.clone()).collect()
    }

    /// All of them, those first that are due first.
    pub(crate) fn ascending(&self) -> impl ExactSizeIterator<Item = (u64, &K)> {
        let all = self.by_time.ascending();
        all.map(|((until, _), key)| (*until, key))
    }
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            by_time: Sorted::default(),
            by_stamp: Sorted::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::state::stamp::Stamps;

    #[test]
    fn what_is_due_first_comes_first_and_no_more_than_may() {
        let mut stamps = Stamps::default();
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(), None);
        let [one, two, three] = std::array::from_fn(|_| stamps.take());
        deadlines.set(one, 30, 'a');
        deadlines.set(two, 10, 'b');
        deadlines.set(three, 10, 'c');
        assert_eq!(deadlines.next(), Some(10));
        assert!(deadlines.due(9).is_empty());
        assert_eq!(deadlines.due(10), ['b', 'c']);
        assert_eq!(deadlines.due(30), ['b', 'c', 'a']);
        assert_eq!((deadlines.of(one), deadlines.of(two)), (Some(30), Some(10)));
        deadlines.set(two, 40, 'b');
        deadlines.forget(three);
        deadlines.forget(three);
        assert_eq!(deadlines.due(40), ['a', 'b']);
        for _ in 0..MOST_EXPIRED {
            deadlines.set(stamps.take(), 20, 'd');
        }
        assert_eq!(deadlines.due(u64::MAX), ['d'; MOST_EXPIRED]);
        assert_eq!(deadlines.ascending().len(), MOST_EXPIRED + 2);
    }
}
