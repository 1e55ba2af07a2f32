//! The ring: one a topic, one writer, any number of cursors.
//!
//! A datum is encoded once, at the end of the tail; when a cursor wants what is there, the tail is
//! frozen into a chunk, and cursors share chunks by reference. So fan-out copies nothing, and a cursor
//! that lags reads large chunks. A datum is kept until every cursor has acknowledged it: what is sent
//! but not acknowledged can be sent again to a consumer that reconnects.
//!
//! The writer waits for the cursors that hold it up. One that was unpinned holds nothing up: what only it
//! still needs is kept as long as there is room.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::record;
use crate::wire::EncodeError;

/// Size at which a tail is frozen although nobody asks for it, in bytes.
const CHUNK_SIZE: usize = 64 * 1024;
/// What a tail's allocation starts with at most, in bytes: a chunk, and the datum that completes it.
const TAIL_SIZE: usize = CHUNK_SIZE + 4096;

/// Names a cursor of a ring; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CursorId(u64);

/// The ring of one topic.
#[derive(Debug)]
pub(crate) struct Ring {
    capacity: u64,
    capacity_bytes: usize,
    /// Frozen, oldest first, without holes; the tail follows.
    chunks: VecDeque<Chunk>,
    tail: Vec<u8>,
    /// Length of the tail's whole records: a panic of an encoder may leave a part of one behind them.
    tail_len: usize,
    tail_first: u64,
    /// Size of the last tail that was frozen: the next is likely to be like it.
    tail_hint: usize,
    next: u64,
    /// Everything before it may go when room is needed: every cursor that holds the writer up has
    /// acknowledged it.
    floor: u64,
    /// Everything before it is gone or goes: every cursor has acknowledged it, or it was given up.
    low: u64,
    /// In chunks and tail.
    bytes: usize,
    cursors: BTreeMap<CursorId, Cursor>,
    next_cursor: u64,
}

#[derive(Clone, Debug)]
struct Chunk {
    first: u64,
    count: u64,
    records: Bytes,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// The next to read.
    sent: u64,
    /// All before it have arrived.
    acked: u64,
    /// The writer waits for it.
    pinned: bool,
}

/// Consecutive datums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Sequence number of the first.
    pub(crate) first: u64,
    /// How many.
    pub(crate) count: u64,
    /// Their records.
    pub(crate) records: Bytes,
}

/// Where a new cursor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// The cursor.
    pub(crate) cursor: CursorId,
    /// Sequence number of the first datum that it will read.
    pub(crate) first: u64,
}

/// Why a datum was not written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// The slowest cursor has fallen a full ring behind.
    Full,
    /// The datum cannot be carried.
    Encode(EncodeError),
}

impl From<EncodeError> for PushError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl Ring {
    /// An empty ring that holds up to `capacity` datums and about `capacity_bytes` bytes for its slowest
    /// cursor.
    pub(crate) fn new(capacity: usize, capacity_bytes: usize) -> Self {
        Self {
            capacity: (capacity as u64).max(1),
            capacity_bytes: capacity_bytes.max(1),
            chunks: VecDeque::new(),
            tail: Vec::new(),
            tail_len: 0,
            tail_first: 0,
            tail_hint: 0,
            next: 0,
            floor: 0,
            low: 0,
            bytes: 0,
            cursors: BTreeMap::new(),
            next_cursor: 0,
        }
    }

    /// Whether the next datum fits behind what starts at `from`. One always fits an empty ring.
    fn has_room(&self, from: u64) -> bool {
        let held = self.next - from;
        held == 0 || (held < self.capacity && self.bytes < self.capacity_bytes)
    }

    /// Writes a datum that `encode` appends, and returns its sequence number.
    pub(crate) fn push(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
    ) -> Result<u64, PushError> {
        if !self.has_room(self.low) {
            self.evict();
            if !self.has_room(self.floor) {
                return Err(PushError::Full);
            }
        }
        let seq = self.next;
        self.tail.truncate(self.tail_len);
        if self.cursors.is_empty() {
            // Nobody listens: check that it could be carried, and keep nothing.
            record::append(&mut self.tail, encode)?;
            self.tail = Vec::new();
            self.next += 1;
            self.tail_first = self.next;
            self.floor = self.next;
            self.low = self.next;
            return Ok(seq);
        }
        if self.tail.capacity() == 0 {
            self.tail.reserve(self.tail_hint);
        }
        self.bytes += record::append(&mut self.tail, encode)?;
        self.tail_len = self.tail.len();
        self.next += 1;
        if self.tail.len() >= CHUNK_SIZE {
            self.freeze();
        }
        Ok(seq)
    }

    /// Adds a cursor that reads what is written from now on, or from `resume` on as far as that is still
    /// there. A datum between `resume` and the cursor's first is lost to it.
    pub(crate) fn attach(&mut self, resume: Option<u64>) -> Attached {
        let first = match resume {
            Some(resume) => resume.clamp(self.oldest(), self.next),
            None => self.next,
        };
        let cursor = CursorId(self.next_cursor);
        self.next_cursor += 1;
        let position = Cursor {
            sent: first,
            acked: first,
            pinned: true,
        };
        self.cursors.insert(cursor, position);
        self.settle();
        Attached { cursor, first }
    }

    /// Lets the writer wait for the cursor no longer. What only it still needs is kept as long as there is
    /// room.
    pub(crate) fn unpin(&mut self, cursor: CursorId) {
        if let Some(position) = self.cursors.get_mut(&cursor) {
            position.pinned = false;
            self.settle();
        }
    }

    /// Removes a cursor, and with it what only it still needed.
    pub(crate) fn detach(&mut self, cursor: CursorId) {
        if self.cursors.remove(&cursor).is_some() {
            self.release();
        }
    }

    /// What the cursor reads next, at most one chunk; it moves on behind that.
    pub(crate) fn read(&mut self, cursor: CursorId) -> Option<Batch> {
        let from = self.cursors.get(&cursor)?.sent;
        if from >= self.next {
            return None;
        }
        if from >= self.tail_first {
            self.freeze();
        }
        let at = self.chunks.partition_point(|chunk| chunk.first <= from);
        let chunk = self.chunks.get(at.checked_sub(1)?)?;
        let mut start = 0;
        for _ in chunk.first..from {
            start = record::payload_at(&chunk.records, start)?.end;
        }
        let batch = Batch {
            first: from,
            count: chunk.first + chunk.count - from,
            records: chunk.records.slice(start..),
        };
        if let Some(position) = self.cursors.get_mut(&cursor) {
            position.sent = batch.first + batch.count;
        }
        Some(batch)
    }

    /// Notes that the cursor's consumer has everything before `received`. Returns whether that is news.
    /// A number that was not sent yet, or goes back, changes nothing.
    pub(crate) fn ack(&mut self, cursor: CursorId, received: u64) -> bool {
        let Some(position) = self.cursors.get_mut(&cursor) else {
            return false;
        };
        if received <= position.acked || received > position.sent {
            return false;
        }
        position.acked = received;
        self.release();
        true
    }

    /// Whether every cursor that the writer waits for has acknowledged everything before `seq`.
    pub(crate) fn is_acked(&self, seq: u64) -> bool {
        let mut pinned = self.cursors.values().filter(|cursor| cursor.pinned);
        pinned.all(|cursor| cursor.acked >= seq)
    }

    /// Sequence number behind the last datum that the cursor's consumer is known to have.
    pub(crate) fn acked(&self, cursor: CursorId) -> Option<u64> {
        self.cursors.get(&cursor).map(|cursor| cursor.acked)
    }

    /// Datums that the cursor's consumer does not have yet.
    pub(crate) fn lag(&self, cursor: CursorId) -> u64 {
        self.acked(cursor).map_or(0, |acked| self.next - acked)
    }

    /// The cursors that keep a full ring full.
    pub(crate) fn slowest(&self) -> Vec<CursorId> {
        let floor = self.floor;
        let holds = |cursor: &Cursor| cursor.pinned && cursor.acked == floor;
        let holds = |(id, cursor): (&CursorId, &Cursor)| holds(cursor).then_some(*id);
        self.cursors.iter().filter_map(holds).collect()
    }

    /// Sequence number of the next datum.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Finds anew what the cursors hold.
    fn settle(&mut self) {
        let lowest = |acked: Option<u64>| acked.unwrap_or(self.next);
        let pinned = self.cursors.values().filter(|cursor| cursor.pinned);
        let floor = lowest(pinned.map(|cursor| cursor.acked).min());
        let low = lowest(self.cursors.values().map(|cursor| cursor.acked).min());
        self.floor = floor;
        self.low = low.max(self.oldest());
    }

    /// Drops what only unpinned cursors need, oldest first, until the next datum fits.
    fn evict(&mut self) {
        self.settle();
        if self.floor > self.tail_first {
            // It could not go otherwise while one more datum of it is needed, and would grow and grow.
            self.freeze();
        }
        while !self.has_room(self.low)
            && let Some(chunk) = self.chunks.front()
            && chunk.first + chunk.count <= self.floor
        {
            self.bytes -= chunk.records.len();
            self.chunks.pop_front();
            self.low = self.low.max(self.oldest());
        }
    }

    /// The oldest datum that is still there.
    fn oldest(&self) -> u64 {
        self.chunks.front().map_or(self.tail_first, |c| c.first)
    }

    fn freeze(&mut self) {
        let count = self.next - self.tail_first;
        if count == 0 {
            return;
        }
        self.tail.truncate(self.tail_len);
        self.tail_hint = self.tail_len.min(TAIL_SIZE);
        self.tail_len = 0;
        self.chunks.push_back(Chunk {
            first: self.tail_first,
            count,
            records: std::mem::take(&mut self.tail).into(),
        });
        self.tail_first = self.next;
    }

    fn release(&mut self) {
        self.settle();
        let low = self.low;
        while let Some(chunk) = self.chunks.front() {
            if chunk.first + chunk.count > low {
                return;
            }
            self.bytes -= chunk.records.len();
            self.chunks.pop_front();
        }
        if self.tail_first < self.next && low == self.next {
            self.bytes -= self.tail_len;
            self.tail.clear();
            self.tail_len = 0;
            self.tail_first = self.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(ring: &mut Ring, value: u64) -> Result<u64, PushError> {
        ring.push(|out| {
            out.extend_from_slice(&value.to_le_bytes());
            Ok(())
        })
    }

    fn values(batch: Batch) -> Vec<u64> {
        let mut start = 0;
        let mut value = || {
            let payload = record::payload_at(&batch.records, start).unwrap();
            start = payload.end;
            u64::from_le_bytes(batch.records[payload].try_into().unwrap())
        };
        (0..batch.count).map(|_| value()).collect()
    }

    fn drain(ring: &mut Ring, cursor: CursorId) -> Vec<u64> {
        std::iter::from_fn(|| ring.read(cursor))
            .flat_map(values)
            .collect()
    }

    #[test]
    fn the_slowest_cursor_bounds_the_ring() {
        let mut ring = Ring::new(3, 1 << 20);
        let fast = ring.attach(None).cursor;
        let slow = ring.attach(None).cursor;
        for value in 0..3 {
            push(&mut ring, value).unwrap();
        }
        assert_eq!(push(&mut ring, 3), Err(PushError::Full));
        assert_eq!(drain(&mut ring, fast), [0, 1, 2]);
        assert!(ring.ack(fast, 3));
        assert_eq!(push(&mut ring, 3), Err(PushError::Full));
        assert_eq!(ring.slowest(), [slow]);
        assert_eq!(drain(&mut ring, slow), [0, 1, 2]);
        assert!(ring.ack(slow, 1));
        assert_eq!(push(&mut ring, 3), Ok(3));
        ring.detach(slow);
        assert_eq!(drain(&mut ring, fast), [3]);
        assert!(ring.is_acked(3) && !ring.is_acked(4));
    }

    #[test]
    fn bytes_bound_the_ring_but_one_datum_always_fits() {
        let mut ring = Ring::new(1000, 10);
        let cursor = ring.attach(None).cursor;
        assert_eq!(push(&mut ring, 0), Ok(0));
        assert_eq!(push(&mut ring, 1), Err(PushError::Full));
        drain(&mut ring, cursor);
        ring.ack(cursor, 1);
        assert_eq!(ring.bytes(), 0);
        assert_eq!(push(&mut ring, 1), Ok(1));
    }

    #[test]
    fn a_late_cursor_starts_at_the_end_and_a_resumed_one_where_it_was() {
        let mut ring = Ring::new(100, 1 << 20);
        let first = ring.attach(None).cursor;
        for value in 0..10 {
            push(&mut ring, value).unwrap();
        }
        drain(&mut ring, first);
        ring.ack(first, 4);
        let late = ring.attach(None);
        assert_eq!(late.first, 10);
        let resumed = ring.attach(Some(4));
        assert_eq!(resumed.first, 4);
        assert_eq!(drain(&mut ring, resumed.cursor), [4, 5, 6, 7, 8, 9]);
        assert_eq!(ring.attach(Some(99)).first, 10, "never beyond the end");
    }

    #[test]
    fn what_is_gone_is_skipped_by_a_resumed_cursor() {
        let mut ring = Ring::new(100, 1 << 20);
        let only = ring.attach(None).cursor;
        for value in 0..10 {
            push(&mut ring, value).unwrap();
        }
        drain(&mut ring, only);
        ring.detach(only);
        let resumed = ring.attach(Some(4));
        assert_eq!(resumed.first, 10, "six are missed, and the caller can tell");
    }

    #[test]
    fn acknowledgements_that_make_no_sense_change_nothing() {
        let mut ring = Ring::new(100, 1 << 20);
        let cursor = ring.attach(None).cursor;
        push(&mut ring, 0).unwrap();
        assert!(!ring.ack(cursor, 1), "not sent yet");
        ring.read(cursor);
        assert!(!ring.ack(cursor, 2));
        assert!(ring.ack(cursor, 1));
        assert!(!ring.ack(cursor, 0));
        assert_eq!(ring.lag(cursor), 0);
    }

    #[test]
    fn an_unpinned_cursor_keeps_what_fits_and_holds_nobody_up() {
        let mut ring = Ring::new(4, 1 << 20);
        let gone = ring.attach(None).cursor;
        for value in 0..4 {
            push(&mut ring, value).unwrap();
        }
        assert_eq!(push(&mut ring, 4), Err(PushError::Full));
        ring.unpin(gone);
        assert!(ring.slowest().is_empty() && ring.is_acked(4));
        let back = ring.attach(ring.acked(gone));
        assert_eq!(back.first, 0, "nothing else needed the room yet");
        ring.detach(back.cursor);
        // Nobody is left to wait for, and the next datums take the place of the first.
        for value in 4..1_000 {
            assert_eq!(push(&mut ring, value), Ok(value));
            assert!(ring.next() - ring.oldest() <= 4);
        }
        let other = ring.attach(None).cursor;
        let back = ring.attach(ring.acked(gone));
        assert!(back.first >= 996, "what is gone is skipped");
        let kept: Vec<_> = (back.first..1_000).collect();
        assert_eq!(drain(&mut ring, back.cursor), kept);
        ring.detach(gone);
        ring.detach(back.cursor);
        ring.detach(other);
        assert_eq!(ring.bytes(), 0);
    }

    #[test]
    fn a_tail_that_cursors_stand_in_does_not_grow_for_ever() {
        let mut ring = Ring::new(4, 1 << 20);
        let mut last = ring.attach(None).cursor;
        for value in 0..1_000 {
            assert_eq!(push(&mut ring, value), Ok(value));
            if value % 3 == 0 {
                // Another comes, and the one before it goes without having read anything.
                let next = ring.attach(None).cursor;
                ring.unpin(last);
                last = next;
            }
            assert!(ring.next() - ring.oldest() <= 8, "{value}");
        }
    }

    #[test]
    fn an_encoder_that_panics_leaves_no_trace() {
        let mut ring = Ring::new(100, 1 << 20);
        let cursor = ring.attach(None).cursor;
        push(&mut ring, 0).unwrap();
        let panicking = std::panic::AssertUnwindSafe(|| {
            ring.push(|out| {
                out.extend_from_slice(b"half");
                panic!("an encoder's own fault");
            })
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        push(&mut ring, 1).unwrap();
        assert_eq!(drain(&mut ring, cursor), [0, 1]);
        assert!(ring.ack(cursor, 2));
        assert_eq!(ring.bytes(), 0);
    }

    #[test]
    fn without_cursors_nothing_is_kept() {
        let mut ring = Ring::new(2, 1 << 20);
        for value in 0..100 {
            push(&mut ring, value).unwrap();
        }
        assert_eq!((ring.bytes(), ring.next()), (0, 100));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Attach,
        Detach(usize),
        Read(usize),
        Ack(usize, u64),
        /// Unpins a cursor, and resumes it later.
        Unpin(usize),
        Resume,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push),
            1 => Just(Step::Attach),
            1 => (0..4usize).prop_map(Step::Detach),
            3 => (0..4usize).prop_map(Step::Read),
            3 => (0..4usize, 0..8u64).prop_map(|(i, n)| Step::Ack(i, n)),
            1 => (0..4usize).prop_map(Step::Unpin),
            1 => Just(Step::Resume),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Whatever happens, each cursor reads consecutive values, one that was unpinned may skip some when
        /// it resumes, and the ring stays within its bound.
        #[test]
        fn cursors_read_every_datum_once_and_in_order(steps in steps(), capacity in 1usize..20) {
            let mut ring = Ring::new(capacity, 1 << 20);
            let mut cursors: Vec<(CursorId, u64, u64)> = vec![];
            let mut unpinned: Vec<(CursorId, u64)> = vec![];
            for step in steps {
                match step {
                    Step::Push => {
                        let next = ring.next();
                        let floor = cursors.iter().map(|c| c.2).min().unwrap_or(next);
                        let room = next - floor < capacity as u64;
                        prop_assert_eq!(push(&mut ring, next).is_ok(), room);
                    }
                    Step::Attach => {
                        let attached = ring.attach(None);
                        cursors.push((attached.cursor, attached.first, attached.first));
                    }
                    Step::Detach(i) if i < cursors.len() => {
                        ring.detach(cursors.remove(i).0);
                    }
                    Step::Read(i) if i < cursors.len() => {
                        let (id, next, _) = &mut cursors[i];
                        for value in ring.read(*id).map(values).unwrap_or_default() {
                            prop_assert_eq!(value, *next);
                            *next += 1;
                        }
                    }
                    Step::Ack(i, n) if i < cursors.len() => {
                        let (id, next, acked) = &mut cursors[i];
                        let to = (*acked + n).min(*next);
                        prop_assert_eq!(ring.ack(*id, to), to > *acked);
                        *acked = to;
                    }
                    Step::Unpin(i) if i < cursors.len() => {
                        let (id, _, acked) = cursors.remove(i);
                        ring.unpin(id);
                        unpinned.push((id, acked));
                    }
                    Step::Resume => {
                        if let Some((id, acked)) = unpinned.pop() {
                            let attached = ring.attach(Some(acked));
                            ring.detach(id);
                            prop_assert!(attached.first >= acked);
                            cursors.push((attached.cursor, attached.first, attached.first));
                        }
                    }
                    _ => {}
                }
                let floor = cursors.iter().map(|c| c.2).min().unwrap_or(ring.next());
                // A cursor that resumes may find more than fits, in a chunk that another needed too.
                prop_assert!(ring.next() - floor <= 2 * capacity as u64);
                let empty = cursors.is_empty() && unpinned.is_empty();
                prop_assert!(!empty || ring.bytes() == 0);
            }
        }
    }
}
