//! The log of one group, as its member sees it.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::sync::oneshot;

use super::{
    engine::Change,
    error::{Failure, ReadError, WriteError},
    recent::Recent,
    record::{LogId, Record, Vote},
    state::{GroupState, Op},
    writer::{Job, Writer},
};
use crate::{
    groups::proto::sizes::Sizes,
    id::GroupId,
    rt::{self, lock},
};

/// The log of one group, opened. Clones share it. Opening it again fences it.
///
/// Readers see a write as soon as it is handed over, before it is durable.
#[derive(Clone, Debug)]
pub(crate) struct GroupLog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    group: GroupId,
    incarnation: u64,
    writer: Writer,
    view: Mutex<View>,
}

/// What readers see.
#[derive(Debug)]
struct View {
    state: GroupState,
    sizes: Sizes,
    recent: Recent,
    /// Counts what may replace an entry by another.
    rewrites: u64,
}

impl GroupLog {
    pub(super) fn new(group: GroupId, state: GroupState, sizes: Sizes, writer: Writer) -> Self {
        let shared = Shared {
            group,
            incarnation: state.incarnation,
            writer,
            view: Mutex::new(View {
                recent: Recent::new(state.next()),
                state,
                sizes,
                rewrites: 0,
            }),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The group.
    pub(crate) fn group(&self) -> GroupId {
        self.shared.group
    }

    /// The log, but for its entries, as it will be once everything that was handed over is durable.
    pub(crate) fn state(&self) -> GroupState {
        self.view().state.clone()
    }

    /// Whom the member votes for.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.view().state.vote
    }

    /// Everything up to it is known to be committed.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.view().state.committed
    }

    /// The last entry that was purged, and the last entry.
    pub(crate) fn ends(&self) -> (Option<LogId>, Option<LogId>) {
        let view = self.view();
        (view.state.purged, view.state.last)
    }

    /// Looks at the sizes of the entries, those that are not durable yet included.
    pub(crate) fn sizes<T>(&self, look: impl FnOnce(&Sizes) -> T) -> T {
        look(&self.view().sizes)
    }

    /// Appends entries. Returns when they can be read; `done` hears when they are durable, or why they will
    /// not be. It is not called when this returns an error.
    pub(crate) async fn append(
        &self,
        records: Vec<Record>,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<(), WriteError> {
        self.submit(vec![Op::Append(records)], true, done).await
    }

    /// Notes that everything up to `upto` is committed. Returns when that can be read; it is durable with the
    /// next write, or soon.
    pub(crate) async fn save_committed(&self, upto: LogId) -> Result<(), WriteError> {
        let group = self.group();
        let done = move |result| {
            if let Err(error) = result {
                tracing::debug!(%error, ?group, "how far the log is committed was not written");
            }
        };
        self.submit(vec![Op::Committed(upto)], false, done).await
    }

    /// Does all of `ops` or nothing, and returns when it is durable.
    pub(crate) async fn write(&self, ops: Vec<Op>) -> Result<(), WriteError> {
        let (tell, told) = oneshot::channel();
        let done = move |result| {
            // Who waits may have gone.
            drop(tell.send(result));
        };
        self.submit(ops, true, done).await?;
        let closed = Err(WriteError::Failed(Failure::Closed));
        told.await.unwrap_or(closed)
    }

    /// The entries from `range.start` on, at least one if there is one, up to the one that makes them
    /// `max_bytes` or more. Fewer than asked for only at the end of the log; those that were purged are
    /// skipped.
    pub(crate) async fn read(
        &self,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        loop {
            let (wanted, rewrites) = {
                let view = self.view();
                let start = range.start.max(view.state.first);
                let wanted = start..range.end.min(view.state.next());
                if wanted.is_empty() {
                    return Ok(Vec::new());
                }
                let recent = view.recent.first();
                if wanted.start >= recent {
                    return Ok(view.recent.read(wanted, max_bytes));
                }
                (wanted.start..wanted.end.min(recent), view.rewrites)
            };
            let records = self.read_engine(wanted.clone(), max_bytes).await?;
            // What was cut or purged meanwhile is looked for anew.
            if self.view().rewrites != rewrites {
                continue;
            }
            let indices = records.iter().map(|record| record.id.index);
            if records.is_empty() || !indices.eq((wanted.start..).take(records.len())) {
                let failure = self.hole(&wanted);
                self.shared.writer.fail(&failure);
                return Err(failure.into());
            }
            return Ok(records);
        }
    }

    /// All entries in `range` that there are.
    pub(crate) async fn read_all(&self, range: Range<u64>) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::new();
        let mut next = range.start;
        loop {
            let more = self.read(next..range.end, usize::MAX).await?;
            let Some(last) = more.last() else {
                return Ok(records);
            };
            next = last.id.index + 1;
            records.extend(more);
        }
    }

    async fn read_engine(
        &self,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let engine = self.shared.writer.engine().clone();
        let group = self.group();
        let read = move || engine.read(group, range, max_bytes);
        let records = if self.shared.writer.engine().blocks() {
            rt::blocking(read).await
        } else {
            read()
        };
        // An entry that cannot be read must not become one that does not exist.
        records.map_err(|failure| {
            self.shared.writer.fail(&failure);
            failure.into()
        })
    }

    fn hole(&self, wanted: &Range<u64>) -> Failure {
        Failure::Damaged {
            path: self.shared.writer.engine().path().into(),
            reason: format!("{:?} has no entry {}", self.group(), wanted.start),
        }
    }

    /// Shows `ops` to readers, and hands them to the writer, which tells `done` unless this returns an error.
    pub(super) async fn submit(
        &self,
        ops: Vec<Op>,
        urgent: bool,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<(), WriteError> {
        let bytes = ops.iter().map(Op::size).sum();
        let slot = self.shared.writer.reserve(bytes).await?;
        if let Some(failure) = &*self.shared.writer.failure().borrow() {
            return Err(failure.clone().into());
        }
        let shared = self.shared.clone();
        let tell = {
            // Under one lock, so that what readers see changes in the order in which it is written.
            let mut view = self.view();
            view.apply(&ops)?;
            slot.send(Job {
                change: Change::Write {
                    group: self.shared.group,
                    incarnation: self.shared.incarnation,
                    ops,
                },
                urgent,
                bytes,
                done: Box::new(move |result| {
                    lock(&shared.view).recent.done();
                    done(result.map(drop));
                }),
            })
        };
        tell();
        Ok(())
    }

    fn view(&self) -> MutexGuard<'_, View> {
        lock(&self.shared.view)
    }
}

impl View {
    /// Does all of `ops`, or nothing.
    fn apply(&mut self, ops: &[Op]) -> Result<(), WriteError> {
        self.state.apply(ops)?;
        let mut first = u64::MAX;
        for op in ops {
            match op {
                Op::Append(records) => {
                    self.recent.append(records);
                    for record in records {
                        self.sizes.append(record.id.index, record.size());
                    }
                    first = first.min(records.first().map_or(u64::MAX, |r| r.id.index));
                }
                Op::Truncate(after) => {
                    let next = after.map_or(0, |after| after.index + 1);
                    self.recent.truncate(*after);
                    self.sizes.truncate(next);
                    self.rewrites += 1;
                    first = first.min(next);
                }
                Op::Purge(upto) => {
                    self.recent.purge(*upto);
                    self.sizes.purge(upto.index + 1);
                    self.rewrites += 1;
                }
                Op::Erase { .. } => {
                    self.recent.truncate(None);
                    self.sizes = Sizes::new(0);
                    self.rewrites += 1;
                    first = 0;
                }
                Op::Vote(_) | Op::Committed(_) | Op::Note(..) => {}
            }
        }
        self.recent.begin(first);
        debug_assert_eq!(self.sizes.next(), self.state.next(), "one log");
        Ok(())
    }
}
