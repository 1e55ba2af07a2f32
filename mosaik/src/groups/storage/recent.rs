//! The last entries of a log, in memory: what is not durable yet, and what followers are likely to ask for.
//!
//! They are consecutive and reach to the end of the log, so that a reader finds each entry either here or in
//! the engine. Only what the engine has may go.

use std::{collections::VecDeque, ops::Range};

use super::record::{LogId, Record};

/// Entries that are kept although the engine has them.
const MAX_RECORDS: usize = 1024;
/// Bytes of such entries, about: 1 MiB.
const MAX_BYTES: usize = 1024 * 1024;

/// The last entries of a log.
#[derive(Debug)]
pub(super) struct Recent {
    records: VecDeque<Record>,
    /// Index of the first, or of the next entry of the log.
    first: u64,
    bytes: usize,
    /// Of each write under way, in order, the first index that may not go before it is done. Nowhere smaller
    /// than before.
    pending: VecDeque<u64>,
}

impl Recent {
    /// None, of a log whose next entry has this index.
    pub(super) fn new(next: u64) -> Self {
        Self {
            records: VecDeque::new(),
            first: next,
            bytes: 0,
            pending: VecDeque::new(),
        }
    }

    /// Index of the first entry that is here; readers look for earlier ones in the engine.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Adds what was appended to the log.
    pub(super) fn append(&mut self, records: &[Record]) {
        if let (true, Some(first)) = (self.records.is_empty(), records.first()) {
            self.first = first.id.index;
        }
        self.bytes += records.iter().map(Record::size).sum::<usize>();
        self.records.extend(records.iter().cloned());
    }

    /// Removes what follows `after`.
    pub(super) fn truncate(&mut self, after: Option<LogId>) {
        let next = after.map_or(0, |after| after.index + 1);
        while let Some(record) = self.records.pop_back_if(|last| last.id.index >= next) {
            self.bytes -= record.size();
        }
        if self.records.is_empty() {
            self.first = self.first.min(next);
        }
    }

    /// Removes everything up to `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        while self
            .records
            .front()
            .is_some_and(|r| r.id.index <= upto.index)
        {
            self.drop_first();
        }
        self.first = self.first.max(upto.index + 1);
    }

    /// A write begins that the engine does not have before it is [done](Self::done); entries from `first` on
    /// stay until then.
    pub(super) fn begin(&mut self, first: u64) {
        for pending in self.pending.iter_mut().rev() {
            if *pending <= first {
                break;
            }
            *pending = first;
        }
        self.pending.push_back(first);
    }

    /// The first of the writes under way is done.
    pub(super) fn done(&mut self) {
        self.pending.pop_front();
        let durable = self.pending.front().copied().unwrap_or(u64::MAX);
        while (self.records.len() > MAX_RECORDS || self.bytes > MAX_BYTES) && self.first < durable {
            self.drop_first();
        }
    }

    /// The entries from `range.start` on, up to the one that makes them `max_bytes` or more.
    pub(super) fn read(&self, range: Range<u64>, max_bytes: usize) -> Vec<Record> {
        let skipped = range.start.saturating_sub(self.first);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let mut used = 0;
        let wanted = self.records.iter().skip(skipped);
        let wanted = wanted.take_while(|record| {
            let more = used < max_bytes && record.id.index < range.end;
            used += record.size();
            more
        });
        wanted.cloned().collect()
    }

    fn drop_first(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.bytes -= record.size();
            self.first = record.id.index + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::groups::storage::record::Kind;

    fn records(range: Range<u64>, size: usize) -> Vec<Record> {
        let record = |index| Record {
            id: LogId { term: 1, index },
            kind: Kind::Blank,
            payload: Bytes::from(vec![0; size]),
        };
        range.map(record).collect()
    }

    fn indices(recent: &Recent) -> Vec<u64> {
        let records = recent.read(0..u64::MAX, usize::MAX);
        records.iter().map(|record| record.id.index).collect()
    }

    #[test]
    fn what_is_not_durable_stays() {
        let mut recent = Recent::new(0);
        recent.append(&records(0..10, MAX_BYTES));
        recent.begin(0);
        recent.append(&records(10..12, MAX_BYTES));
        recent.begin(10);
        assert_eq!(recent.first(), 0);
        recent.done();
        assert_eq!(indices(&recent), [10, 11]);
        recent.done();
        assert!(indices(&recent).is_empty());
        assert_eq!(recent.first(), 12);
    }

    #[test]
    fn what_replaces_entries_is_not_durable_when_they_are() {
        let mut recent = Recent::new(0);
        recent.append(&records(0..10, MAX_BYTES));
        recent.begin(0);
        recent.truncate(Some(LogId { term: 1, index: 4 }));
        recent.begin(5);
        recent.append(&records(5..7, MAX_BYTES));
        recent.begin(5);
        recent.done();
        assert_eq!(indices(&recent), [5, 6]);
        recent.done();
        assert_eq!(indices(&recent), [5, 6]);
        recent.done();
        assert_eq!(recent.first(), 7);
    }

    #[test]
    fn reads_are_bounded_but_for_the_first() {
        let mut recent = Recent::new(3);
        recent.append(&records(3..9, 1000));
        let read = |range, max| recent.read(range, max).len();
        assert_eq!(read(3..9, usize::MAX), 6);
        assert_eq!(read(4..6, usize::MAX), 2);
        assert_eq!(read(4..9, 1), 1);
        assert_eq!(read(4..9, 1500), 2);
        assert_eq!(read(9..20, 1500), 0);
    }

    proptest! {
        /// Whatever happens, they are consecutive and reach to the end of the log.
        #[test]
        fn they_reach_to_the_end(steps in prop::collection::vec((0u8..5, 0u64..40), 0..100)) {
            let (mut recent, mut purged, mut next) = (Recent::new(0), 0, 0u64);
            for (step, n) in steps {
                match step {
                    0 | 1 => {
                        recent.begin(next);
                        recent.append(&records(next..next + n, MAX_BYTES / 8));
                        next += n;
                    }
                    2 if purged < next => {
                        next = (purged + n).min(next);
                        recent.begin(next);
                        recent.truncate(next.checked_sub(1).map(|index| LogId { term: 1, index }));
                    }
                    3 if n > 0 => {
                        purged = (purged + n).max(purged);
                        next = next.max(purged);
                        recent.begin(u64::MAX);
                        recent.purge(LogId { term: 1, index: purged - 1 });
                    }
                    _ => recent.done(),
                }
                let found = indices(&recent);
                prop_assert_eq!(&found, &(recent.first()..next).collect::<Vec<_>>());
            }
        }
    }
}
