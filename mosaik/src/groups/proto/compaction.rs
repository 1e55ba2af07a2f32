//! When a member makes a snapshot of its state, and what it keeps of the log behind it.
//!
//! A log without an end fills memory and disk, and takes ever longer to replay. So a snapshot is due once the log behind
//! the last one has so many entries or so many bytes. Some of the entries that it has are kept, for those who are a
//! little behind: they are sent these, not the whole state.

use super::sizes::Sizes;

/// A length of a log, in entries and in bytes: whichever is reached first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    /// Entries.
    pub(crate) entries: u64,
    /// Bytes that they take in memory, about.
    pub(crate) bytes: u64,
}

/// How long logs become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// What follows a snapshot when the next one is made. Default 50,000 entries or 64 MiB: small commands, which come
    /// many to an entry, seldom reach the second, and a log of entries of the largest size, 1 MiB, never the first.
    /// After twenty million small commands the log takes at most this and what is kept: some 100 MiB.
    pub(crate) every: Length,
    /// What is kept although a snapshot has it. Default 10,000 entries or 32 MiB: twice what may be under way to a
    /// follower, so that one that keeps up is never sent a snapshot.
    pub(crate) keep: Length,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            every: Length {
                entries: 50_000,
                bytes: 64 * 1024 * 1024,
            },
            keep: Length {
                entries: 10_000,
                bytes: 32 * 1024 * 1024,
            },
        }
    }
}

/// Decides for one log.
///
/// Nothing is asked for twice: a snapshot that is refused or lost only after as much again was applied, and entries
/// that are not removed only together with further ones. So who keeps asking is not kept busy by what fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compaction {
    limits: Limits,
    /// Index behind the last entry that was applied when a snapshot was last asked for.
    asked: u64,
    /// Index of the first entry that was not to be removed, as last said.
    kept: u64,
}

impl Compaction {
    /// Nothing was asked for yet.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            asked: 0,
            kept: 0,
        }
    }

    /// Whether a snapshot is to be made now. The last one ends before the entry at `covered`, and what was applied
    /// before the one at `applied`.
    pub(crate) fn snapshot(&mut self, log: &Sizes, covered: u64, applied: u64) -> bool {
        let from = covered.max(self.asked);
        let every = self.limits.every;
        let is_due = applied > from
            && (applied - from >= every.entries || log.bytes(from..applied) >= every.bytes);
        if is_due {
            self.asked = applied;
        }
        is_due
    }

    /// Up to which entry, included, the log is to be removed now, where the last snapshot ends before the one at
    /// `covered`; never beyond that.
    pub(crate) fn purge(&mut self, log: &Sizes, covered: u64) -> Option<u64> {
        let keep = self.limits.keep;
        let kept = covered.saturating_sub(keep.entries);
        let kept = kept.max(log.tail(covered, keep.bytes));
        if kept <= self.kept.max(log.first()) {
            return None;
        }
        self.kept = kept;
        kept.checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    fn compaction() -> Compaction {
        let length = |entries, kib| Length {
            entries,
            bytes: kib * KIB,
        };
        Compaction::new(Limits {
            every: length(100, 1000),
            keep: length(10, 300),
        })
    }

    /// A log of so many entries of this size.
    fn log(entries: u64, kib: u64) -> Sizes {
        let mut log = Sizes::new(0);
        for index in 0..entries {
            log.append(index, usize::try_from(kib * KIB).unwrap());
        }
        log
    }

    #[test]
    fn a_snapshot_is_due_by_entries_or_by_bytes() {
        let check = |log: &Sizes, covered, applied, expected| {
            let due = compaction().snapshot(log, covered, applied);
            assert_eq!(due, expected, "{covered} to {applied}");
        };
        let small = log(500, 0);
        check(&small, 0, 0, false);
        check(&small, 0, 99, false);
        check(&small, 0, 100, true);
        check(&small, 50, 149, false);
        check(&small, 50, 150, true);
        let large = log(50, 100);
        check(&large, 0, 9, false);
        check(&large, 0, 10, true);
        check(&large, 30, 39, false);
        check(&large, 30, 40, true);
        // What is not applied is in no snapshot.
        check(&large, 40, 40, false);
        // A snapshot was installed that is newer than what is applied.
        check(&large, 40, 20, false);
    }

    #[test]
    fn a_snapshot_that_does_not_come_is_asked_for_once_in_a_while() {
        let mut compaction = compaction();
        let log = log(50, 100);
        let asked = (0..=50).filter(|applied| compaction.snapshot(&log, 0, *applied));
        assert_eq!(asked.collect::<Vec<_>>(), [10, 20, 30, 40, 50]);
        assert!(!compaction.snapshot(&log, 0, 50));
    }

    #[test]
    fn what_is_kept_is_bounded_by_entries_and_by_bytes() {
        let check = |log: &Sizes, covered, expected| {
            let upto = compaction().purge(log, covered);
            assert_eq!(upto, expected, "{covered}");
        };
        let small = log(500, 0);
        check(&small, 0, None);
        check(&small, 10, None);
        check(&small, 11, Some(0));
        check(&small, 500, Some(489));
        let large = log(50, 100);
        check(&large, 3, None);
        check(&large, 4, Some(0));
        check(&large, 20, Some(16));
        // One entry is more than is kept.
        check(&log(5, 400), 3, Some(2));
        let mut purged = log(50, 100);
        purged.purge(30);
        check(&purged, 33, None);
        check(&purged, 20, None);
        check(&purged, 34, Some(30));
    }

    #[test]
    fn what_is_not_removed_is_not_asked_for_again() {
        let mut compaction = compaction();
        let log = log(50, 100);
        assert_eq!(compaction.purge(&log, 20), Some(16));
        assert_eq!(compaction.purge(&log, 20), None);
        assert_eq!(compaction.purge(&log, 21), Some(17));
    }
}
