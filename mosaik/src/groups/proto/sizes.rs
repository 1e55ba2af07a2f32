//! How many bytes the entries of a log take, about, without a number for each of them.

use std::{collections::VecDeque, ops::Range};

/// Entries from one mark to the next, at most.
const STEP_ENTRIES: u64 = 1024;
/// Bytes from one mark to the next, about: 64 KiB, and as much as one entry more.
const STEP_BYTES: u64 = 64 * 1024;

/// The sizes of the entries of a log: exact at marks, which are at most some entries and some bytes apart; between two
/// marks all entries count as equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Index of the first entry, or of the next if there is none.
    first: u64,
    /// In order. There is one at the first entry or before it, if there are entries.
    marks: VecDeque<Mark>,
    /// Index behind the last entry.
    next: u64,
    /// Of all entries, those before the first mark included.
    bytes: u64,
}

/// Says how many bytes were counted before an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    index: u64,
    before: u64,
}

impl Sizes {
    /// Those of a log without entries, whose next one has this index.
    pub(crate) fn new(next: u64) -> Self {
        Self {
            first: next,
            marks: VecDeque::new(),
            next,
            bytes: 0,
        }
    }

    /// Index of the first entry, or of the next if there is none.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Index behind the last entry.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of the entries in `range`, as far as there are any.
    pub(crate) fn bytes(&self, range: Range<u64>) -> u64 {
        let start = self.before(range.start.max(self.first));
        self.before(range.end).saturating_sub(start)
    }

    /// Index of the first entry from which on those before `end` take no more than so many bytes.
    pub(crate) fn tail(&self, end: u64, bytes: u64) -> u64 {
        let enough = self.before(end).saturating_sub(bytes);
        let place = self.marks.partition_point(|mark| mark.before < enough);
        let start = self.marks.get(place).map_or(self.next, |mark| mark.index);
        start.max(self.first).min(end)
    }

    /// Counts an entry that follows the last; where there is none, the log begins with it.
    pub(crate) fn append(&mut self, index: u64, bytes: usize) {
        if self.first == self.next {
            self.first = index;
        }
        let is_far = |mark: &Mark| {
            index - mark.index >= STEP_ENTRIES || self.bytes - mark.before >= STEP_BYTES
        };
        if self.marks.back().is_none_or(is_far) {
            let before = self.bytes;
            self.marks.push_back(Mark { index, before });
        }
        self.bytes += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.next = index + 1;
    }

    /// Forgets the entries from `next` on.
    pub(crate) fn truncate(&mut self, next: u64) {
        let next = next.max(self.first);
        if next >= self.next {
            return;
        }
        self.bytes = self.before(next);
        self.next = next;
        while self.marks.pop_back_if(|mark| mark.index >= next).is_some() {}
        if next == self.first {
            self.marks.clear();
        } else {
            // What follows is not counted as equal to what was cut: each cut is wrong by one step at most.
            let before = self.bytes;
            self.marks.push_back(Mark {
                index: next,
                before,
            });
        }
    }

    /// Forgets the entries before `first`, which may lie behind the last.
    pub(crate) fn purge(&mut self, first: u64) {
        self.first = self.first.max(first);
        if self.first >= self.next {
            self.next = self.first;
            self.marks.clear();
        }
        while self.marks.get(1).is_some_and(|mark| mark.index <= first) {
            self.marks.pop_front();
        }
    }

    /// How many bytes were counted before this entry.
    fn before(&self, index: u64) -> u64 {
        let behind = self.marks.partition_point(|mark| mark.index <= index);
        let Some(mark) = behind.checked_sub(1).and_then(|at| self.marks.get(at)) else {
            return self.marks.front().map_or(self.bytes, |mark| mark.before);
        };
        let (end, upto) = match self.marks.get(behind) {
            Some(mark) => (mark.index, mark.before),
            None => (self.next, self.bytes),
        };
        let span = (end - mark.index).max(1);
        let into = (index - mark.index).min(span);
        mark.before + (upto - mark.before) * into / span
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sized(first: u64, sizes: &[usize]) -> Sizes {
        let mut log = Sizes::new(0);
        for (index, bytes) in (first..).zip(sizes) {
            log.append(index, *bytes);
        }
        log
    }

    #[test]
    fn large_entries_are_counted_one_by_one() {
        let large = 100 * 1024;
        let mut log = sized(10, &[large; 20]);
        let each = large as u64;
        assert_eq!((log.first(), log.next()), (10, 30));
        assert_eq!(log.bytes(0..u64::MAX), 20 * each);
        assert_eq!(log.bytes(12..15), 3 * each);
        let tail = |end, bytes| log.tail(end, bytes);
        assert_eq!(tail(30, 3 * each), 27);
        assert_eq!(tail(30, 3 * each - 1), 28);
        assert_eq!(tail(20, 0), 20);
        assert_eq!(tail(20, u64::MAX), 10);
        assert_eq!(tail(5, each), 5);
        log.purge(15);
        assert_eq!(log.bytes(0..u64::MAX), 15 * each);
        log.truncate(20);
        assert_eq!((log.first(), log.next()), (15, 20));
        assert_eq!(log.bytes(0..u64::MAX), 5 * each);
        log.purge(40);
        assert_eq!((log.first(), log.next()), (40, 40));
        assert_eq!(log.bytes(0..u64::MAX), 0);
        log.append(40, large);
        assert_eq!(log.bytes(40..41), each);
    }

    #[test]
    fn small_entries_take_few_marks() {
        let log = sized(0, &[10; 100_000]);
        assert_eq!(log.bytes(0..u64::MAX), 1_000_000);
        assert_eq!(log.bytes(0..50_000), 500_000);
        assert!(log.marks.len() <= 100, "{}", log.marks.len());
        let tail = log.tail(100_000, 100_000);
        assert!((90_000..92_000).contains(&tail), "{tail}");
    }

    proptest! {
        /// Whatever happens, what is counted is what is there, but for what lies between two marks.
        #[test]
        fn what_is_counted_is_there(
            steps in prop::collection::vec((0u8..6, 0u64..40, 0usize..100_000), 0..100)
        ) {
            // The first mark may lie before the first entry.
            let (step_size, mut slack) = (STEP_BYTES + 100_000, STEP_BYTES + 100_000);
            let (mut log, mut first, mut sizes) = (Sizes::new(0), 0, VecDeque::new());
            for (step, n, bytes) in steps {
                let next = first + sizes.len() as u64;
                match step {
                    0..4 => for index in next..next + n {
                        log.append(index, bytes);
                        sizes.push_back(bytes as u64);
                    },
                    4 => {
                        log.truncate(first + n);
                        slack += step_size;
                        sizes.truncate(n as usize);
                    }
                    _ => {
                        first += n;
                        log.purge(first);
                        sizes.drain(..sizes.len().min(n as usize));
                    }
                }
                let next = first + sizes.len() as u64;
                prop_assert_eq!((log.first(), log.next()), (first, next));
                let held: u64 = sizes.iter().sum();
                let counted = log.bytes(0..u64::MAX);
                prop_assert!(counted.abs_diff(held) <= slack, "{counted}, not {held}");
                let kept = log.tail(next, 200_000);
                prop_assert!((first..=next).contains(&kept));
                prop_assert!(log.bytes(kept..next) <= 200_000);
                prop_assert_eq!(log.marks.is_empty(), sizes.is_empty());
            }
        }
    }
}
