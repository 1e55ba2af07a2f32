//! Logs in memory: gone with the process.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    path::Path,
    sync::{Mutex, PoisonError},
};

use super::{
    engine::{Change, LogEngine, Outcome},
    error::Failure,
    record::Record,
    state::{GroupState, Op},
};
use crate::{groups::proto::sizes::Sizes, id::GroupId};

/// Keeps logs in memory.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    /// `None` once it is closed.
    logs: Mutex<Option<BTreeMap<GroupId, Log>>>,
}

#[derive(Debug, Default)]
struct Log {
    state: Option<GroupState>,
    /// Those from `state.first` on.
    records: VecDeque<Record>,
}

impl Volatile {
    /// One without logs.
    pub(super) fn new() -> Self {
        Self {
            logs: Mutex::new(Some(BTreeMap::new())),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<GroupId, Log>) -> T) -> Result<T, Failure> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        logs.as_mut().map(work).ok_or(Failure::Closed)
    }
}

impl LogEngine for Volatile {
    fn blocks(&self) -> bool {
        false
    }

    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn commit(&self, changes: &[&Change]) -> Result<Vec<Outcome>, Failure> {
        self.with(|logs| {
            let commit = |change: &&Change| logs.entry(change.group()).or_default().commit(change);
            changes.iter().map(commit).collect()
        })
    }

    fn mark(&self) -> Result<(), Failure> {
        Ok(())
    }

    #[cfg(test)]
    fn state(&self, group: GroupId) -> Result<Option<GroupState>, Failure> {
        self.with(|logs| logs.get(&group).and_then(|log| log.state.clone()))
    }

    #[cfg(test)]
    fn groups(&self) -> Result<Vec<GroupId>, Failure> {
        let opened = |(group, log): (&GroupId, &Log)| log.state.as_ref().map(|_| *group);
        self.with(|logs| logs.iter().filter_map(opened).collect())
    }

    fn read(
        &self,
        group: GroupId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Record>, Failure> {
        self.with(|logs| {
            let log = logs.get(&group);
            log.map_or_else(Vec::new, |log| log.read(range, max_bytes))
        })
    }

    fn sizes(&self, group: GroupId, first: u64) -> Result<Sizes, Failure> {
        self.with(|logs| {
            let mut sizes = Sizes::new(first);
            for record in logs.get(&group).iter().flat_map(|log| &log.records) {
                sizes.append(record.id.index, record.size());
            }
            sizes
        })
    }

    fn close(&self) {
        *self.logs.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Log {
    fn commit(&mut self, change: &Change) -> Outcome {
        let outcome = change.apply(&mut self.state);
        if let (Outcome::Written, Change::Write { ops, .. }) = (&outcome, change) {
            ops.iter().for_each(|op| self.apply(op));
        }
        outcome
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(records) => self.records.extend(records.iter().cloned()),
            Op::Truncate(after) => {
                let next = after.map_or(0, |after| after.index + 1);
                let kept = self.records.partition_point(|held| held.id.index < next);
                self.records.truncate(kept);
            }
            Op::Purge(upto) => {
                let gone = |held: &Record| held.id.index <= upto.index;
                let count = self.records.partition_point(gone);
                self.records.drain(..count);
            }
            Op::Erase { .. } => self.records.clear(),
            Op::Vote(_) | Op::Committed(_) | Op::Note(..) => {}
        }
    }

    fn read(&self, range: Range<u64>, max_bytes: usize) -> Vec<Record> {
        let skipped = |held: &Record| held.id.index < range.start;
        let start = self.records.partition_point(skipped);
        let mut used = 0;
        let wanted = self.records.range(start..);
        wanted
            .take_while(|record| {
                let more = used < max_bytes && record.id.index < range.end;
                used += record.size();
                more
            })
            .cloned()
            .collect()
    }
}
