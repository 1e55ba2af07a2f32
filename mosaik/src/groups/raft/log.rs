//! A group's log, as openraft wants it.

use std::{
    fmt::{self, Debug},
    io,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use futures::{Stream, stream};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    errors::LeaderChanged,
    storage::{IOFlushed, LeaderBoundedStreamError, RaftLogStorage},
    type_config::alias::LeaderIdOf,
};

use super::types::{self, RaftEntry, RaftLogId, RaftVote, Types};
use crate::groups::{
    proto::sizes::Sizes,
    storage::{Failure, GroupLog, LogId, Op, ReadError, Record, WriteError},
};

/// Bytes of entries that are read at once, about: 1 MiB. A frame of the network holds them.
const READ_BYTES: usize = 1024 * 1024;

/// The log of one group for openraft: store and reader in one. Clones share it.
#[derive(Clone)]
pub(crate) struct RaftLog {
    log: GroupLog,
    led: Option<Arc<OnLed>>,
}

/// Called before entries of a leader are in the log.
type OnLed = dyn Fn() + Send + Sync;

impl RaftLog {
    /// Adapts `log`.
    pub(crate) fn new(log: GroupLog) -> Self {
        Self { log, led: None }
    }

    /// Calls `led` before entries of a leader are put into the log. The first entry, which founds it, has none.
    pub(crate) fn when_led(mut self, led: impl Fn() + Send + Sync + 'static) -> Self {
        self.led = Some(Arc::new(led));
        self
    }

    /// The first entry of a later term than `last`, if the log ends before that with such entries.
    pub(super) async fn first_after_term(&self, last: LogId) -> io::Result<Option<LogId>> {
        let later = |end: &LogId| end.index < last.index && end.term > last.term;
        let Some(end) = self.log.ends().1.filter(later) else {
            return Ok(None);
        };
        let mut next = self
            .log
            .committed()
            .map_or(0, |committed| committed.index + 1);
        while next <= end.index {
            let records = self.log.read(next..end.index + 1, READ_BYTES).await;
            let records = records.map_err(read_error)?;
            let first = records.iter().find(|record| record.id.term > last.term);
            if let Some(first) = first {
                return Ok(Some(first.id));
            }
            // The log may have been cut meanwhile.
            let Some(read) = records.last() else {
                return Ok(None);
            };
            next = read.id.index + 1;
        }
        Ok(None)
    }

    /// Looks at the sizes of its entries.
    pub(super) fn sizes<T>(&self, look: impl FnOnce(&Sizes) -> T) -> T {
        self.log.sizes(look)
    }

    async fn write(&self, op: Op) -> io::Result<()> {
        self.log.write(vec![op]).await.map_err(write_error)
    }

    /// The next entries in `range`, none at its end.
    async fn next_entries(&self, start: u64, end: u64) -> io::Result<Vec<RaftEntry>> {
        let records = self.log.read(start..end, READ_BYTES).await;
        entries(records.map_err(read_error)?)
    }
}

impl RaftLogReader<Types> for RaftLog {
    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderIdOf<Types>,
        range: RB,
    ) -> impl Stream<Item = Result<RaftEntry, LeaderBoundedStreamError<Types>>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        chunks(bounds(&range), move |start, end| {
            let log = log.clone();
            async move {
                let led = || {
                    let vote = log.log.vote().map(types::raft_vote);
                    let is_leader = |vote: &RaftVote| vote.committed && vote.leader_id == leader;
                    if vote.as_ref().is_some_and(is_leader) {
                        return Ok(());
                    }
                    Err(LeaderChanged {
                        expected_leader: leader,
                        current_vote: vote,
                    })
                };
                led()?;
                let entries = log.next_entries(start, end).await?;
                led()?;
                Ok(entries)
            }
        })
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let log = self.clone();
        chunks(bounds(&range), move |start, end| {
            let log = log.clone();
            async move { log.next_entries(start, end).await }
        })
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<RaftEntry>> {
        let (start, end) = bounds(&range);
        let records = self.log.read_all(start..end).await;
        entries(records.map_err(read_error)?)
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.log.vote().map(types::raft_vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        self.next_entries(start, end).await
    }
}

impl RaftLogStorage<Types> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let (purged, last) = self.log.ends();
        Ok(LogState {
            last_purged_log_id: purged.map(types::raft_log_id),
            last_log_id: last.map(types::raft_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        self.write(Op::Vote(types::vote(vote))).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        // It never goes back, so that none says nothing.
        let Some(committed) = committed else {
            return Ok(());
        };
        let saved = self.log.save_committed(types::log_id(&committed)).await;
        saved.map_err(write_error)
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.log.committed().map(types::raft_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(types::record);
        let records: Vec<Record> = records
            .collect::<Result<_, _>>()
            .map_err(io::Error::other)?;
        if let Some(led) = &self.led
            && records.iter().any(|record| record.id.term > 0)
        {
            led();
        }
        let done = move |result: Result<(), WriteError>| {
            callback.io_completed(result.map_err(write_error));
        };
        self.log.append(records, done).await.map_err(write_error)
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> io::Result<()> {
        let last: Option<LogId> = last.as_ref().map(types::log_id);
        self.write(Op::Truncate(last)).await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        self.write(Op::Purge(types::log_id(&upto))).await
    }
}

impl Debug for RaftLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLog")
            .field("log", &self.log)
            .finish_non_exhaustive()
    }
}

/// The entries of `range`, read a chunk at a time; ends behind the first error.
fn chunks<E, F, R>(
    (next, end): (u64, u64),
    read: R,
) -> impl Stream<Item = Result<RaftEntry, E>> + Send
where
    E: Send + 'static,
    F: Future<Output = Result<Vec<RaftEntry>, E>> + Send + 'static,
    R: Fn(u64, u64) -> F + Send + 'static,
{
    struct State<R> {
        read: R,
        next: u64,
        end: u64,
        ready: std::vec::IntoIter<RaftEntry>,
    }
    let state = State {
        read,
        next,
        end,
        ready: Vec::new().into_iter(),
    };
    Box::pin(stream::unfold(state, async |mut state| {
        if let Some(entry) = state.ready.next() {
            return Some((Ok(entry), state));
        }
        if state.next >= state.end {
            return None;
        }
        match (state.read)(state.next, state.end).await {
            Ok(entries) => {
                state.next = entries.last()?.log_id.index + 1;
                state.ready = entries.into_iter();
                Some((Ok(state.ready.next()?), state))
            }
            Err(error) => {
                state.next = state.end;
                Some((Err(error), state))
            }
        }
    }))
}

/// The first index of a range, and the one behind its last.
fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

fn entries(records: Vec<Record>) -> io::Result<Vec<RaftEntry>> {
    let entries = records.into_iter().map(types::raft_entry);
    let entries: Result<_, _> = entries.collect();
    entries.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn write_error(error: WriteError) -> io::Error {
    io::Error::new(error.kind(), error)
}

fn read_error(error: ReadError) -> io::Error {
    let ReadError::Failed(failure) = error;
    failed(failure)
}

fn failed(failure: Failure) -> io::Error {
    io::Error::new(failure.kind(), failure)
}
