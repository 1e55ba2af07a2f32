//! What a node holds: its storage.

use std::{path::Path, sync::Arc};

use tokio::sync::oneshot;

use super::{
    engine::{Change, LogEngine},
    error::{Failure, OpenError, WriteError},
    group::GroupLog,
    redb::Redb,
    volatile::Volatile,
    writer::{Job, Writer},
};
use crate::{
    groups::proto::sizes::Sizes,
    id::GroupId,
    rt::{self, watch},
};

/// The logs of all groups of a node, in one place. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Storage {
    writer: Writer,
}

/// What a storage did so far.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Commits, each with one sync.
    pub(crate) commits: u64,
    /// Writes that were in them.
    pub(crate) writes: u64,
}

impl Storage {
    /// Logs in memory.
    pub(crate) fn volatile(tasks: &rt::Tasks) -> Self {
        Self::start(Arc::new(Volatile::new()), tasks)
    }

    /// Logs in a directory that this process holds, verified, and made if there are none. One storage at a
    /// time: [`close`](Self::close) it before it is opened anew.
    pub(crate) async fn open(dir: &Path, tasks: &rt::Tasks) -> Result<Self, OpenError> {
        let dir = dir.to_path_buf();
        let engine = rt::blocking(move || Redb::open(&dir)).await?;
        Ok(Self::start(Arc::new(engine), tasks))
    }

    pub(super) fn start(engine: Arc<dyn LogEngine>, tasks: &rt::Tasks) -> Self {
        Self {
            writer: Writer::start(engine, tasks),
        }
    }

    /// Opens the log of a group, made if there is none, and fences whoever had it open before.
    pub(crate) async fn open_group(&self, group: GroupId) -> Result<GroupLog, WriteError> {
        let (tell, told) = oneshot::channel();
        let slot = self.writer.reserve(0).await?;
        let boot = rt::random_u64();
        let done = slot.send(Job {
            change: Change::Open { group, boot },
            urgent: true,
            bytes: 0,
            done: Box::new(move |result| {
                // Who waits may have gone.
                drop(tell.send(result));
            }),
        });
        done();
        let closed = || WriteError::Failed(Failure::Closed);
        let state = told.await.map_err(|_| closed())??;
        let state = state.ok_or_else(closed)?;
        let sizes = self.measure(group, state.first).await?;
        Ok(GroupLog::new(group, state, sizes, self.writer.clone()))
    }

    /// Measures the entries of a log that begins at `first`.
    async fn measure(&self, group: GroupId, first: u64) -> Result<Sizes, Failure> {
        let engine = self.writer.engine().clone();
        let blocks = engine.blocks();
        let measure = move || engine.sizes(group, first);
        let sizes = if blocks {
            rt::blocking(measure).await
        } else {
            measure()
        };
        sizes.inspect_err(|failure| self.writer.fail(failure))
    }

    /// All groups that have a log.
    #[cfg(test)]
    pub(crate) fn groups(&self) -> Result<Vec<GroupId>, Failure> {
        self.writer.engine().groups()
    }

    /// What the engine failed of, if it did; it then never works again.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<Failure>> {
        self.writer.failure()
    }

    /// What it did so far.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> Counts {
        use std::sync::atomic::Ordering;
        let counters = self.writer.counters();
        Counts {
            commits: counters.commits.load(Ordering::Relaxed),
            writes: counters.writes.load(Ordering::Relaxed),
        }
    }

    /// Ends it, after what was handed over. Every later write fails with [`Failure::Closed`].
    pub(crate) async fn close(&self) {
        self.writer.close().await;
    }
}
