//! A log in memory, where an entry is flushed as soon as it is appended.

use std::{
    collections::VecDeque,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
    type_config::alias::{EntryOf, LogIdOf, VoteOf},
};

use super::Types;

/// The log of one member. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryLog(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    vote: Option<VoteOf<Types>>,
    committed: Option<LogIdOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    /// What follows the purged, without holes.
    entries: VecDeque<EntryOf<Types>>,
}

impl State {
    /// Where the entry of this index is, or would be.
    fn position(&self, index: u64) -> usize {
        let first = self.purged.map_or(0, |purged| purged.index + 1);
        usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX)
    }
}

impl MemoryLog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftLogReader<Types> for MemoryLog {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> io::Result<Vec<EntryOf<Types>>> {
        let state = self.state();
        let len = state.entries.len();
        let start = match range.start_bound() {
            Bound::Included(start) => state.position(*start),
            Bound::Excluded(before) => state.position(before + 1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => state.position(last + 1),
            Bound::Excluded(end) => state.position(*end),
            Bound::Unbounded => len,
        };
        let end = end.min(len);
        Ok(state.entries.range(start.min(end)..end).cloned().collect())
    }

    async fn read_vote(&mut self) -> io::Result<Option<VoteOf<Types>>> {
        Ok(self.state().vote)
    }
}

impl RaftLogStorage<Types> for MemoryLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.state();
        let last = state.entries.back().map(|entry| entry.log_id);
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: last.or(state.purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> io::Result<()> {
        self.state().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Types>>) -> io::Result<()> {
        self.state().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogIdOf<Types>>> {
        Ok(self.state().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = EntryOf<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.state().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> io::Result<()> {
        let mut state = self.state();
        let kept = last.map_or(0, |last| state.position(last.index + 1));
        state.entries.truncate(kept);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> io::Result<()> {
        let mut state = self.state();
        let gone = state.position(upto.index + 1).min(state.entries.len());
        state.entries.drain(..gone);
        state.purged = Some(upto);
        Ok(())
    }
}
