//! The writer: the one task that commits, for all groups.
//!
//! It takes what has come together, commits it with one sync, tells everybody, and takes what came meanwhile.
//! What is not urgent waits for something that is, or until it is quiet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    engine::{Change, LogEngine, Outcome},
    error::{Failure, WriteError},
    state::GroupState,
};
use crate::rt::{self, Instant, watch};

/// Writes that wait for the writer, of all groups.
const QUEUE: usize = 1024;
/// Bytes of writes that wait or are being committed, of all groups, about: 64 MiB. A larger write goes alone.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that [`QUEUE_BYTES`] is counted in.
const UNIT: usize = 1024;
/// Writes in one commit.
const BATCH: usize = 1024;
/// Bytes of one commit, about: 8 MiB.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// How long nothing must come before what is not urgent is written, and the engine marked.
const QUIET: Duration = Duration::from_millis(50);
/// Commits after which the engine is marked although it is not quiet.
const MARK_EVERY: u64 = 256;

/// Hears what became of a write: the log's state if it was opened.
pub(super) type Done = Box<dyn FnOnce(Result<Option<GroupState>, WriteError>) + Send>;

/// A write on its way.
pub(super) struct Job {
    /// What is to be done.
    pub(super) change: Change,
    /// Whether somebody waits for it to be durable.
    pub(super) urgent: bool,
    /// About how much memory it takes, in bytes.
    pub(super) bytes: usize,
    /// Who hears of it.
    pub(super) done: Done,
}

enum Message {
    Write(Job, OwnedSemaphorePermit),
    Close(oneshot::Sender<()>),
}

/// Hands writes to the writer. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    engine: Arc<dyn LogEngine>,
    /// `None` for an engine that does not block: writes are done on the spot.
    queue: Option<mpsc::Sender<Message>>,
    room: Arc<Semaphore>,
    failed: watch::Sender<Option<Failure>>,
    counters: Arc<Counters>,
}

/// What the writer did so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Commits, each with one sync of the log.
    pub(super) commits: AtomicU64,
    /// Writes that were in them.
    pub(super) writes: AtomicU64,
}

/// A place in the queue.
pub(super) struct Slot<'a> {
    writer: &'a Writer,
    place: Option<(mpsc::Permit<'a, Message>, OwnedSemaphorePermit)>,
}

impl Writer {
    /// Starts a writer for `engine`, if it needs one.
    pub(super) fn start(engine: Arc<dyn LogEngine>, tasks: &rt::Tasks) -> Self {
        let mut writer = Self {
            engine: engine.clone(),
            queue: None,
            room: Arc::new(Semaphore::new(QUEUE_BYTES / UNIT)),
            failed: watch::Sender::new(None),
            counters: Arc::default(),
        };
        if engine.blocks() {
            let (queue, incoming) = mpsc::channel(QUEUE);
            let task = Task {
                engine,
                incoming,
                failed: writer.failed.clone(),
                counters: writer.counters.clone(),
                waiting: Vec::new(),
                bytes: 0,
                unmarked: 0,
                quiet_at: rt::now(),
            };
            writer.queue = Some(queue);
            tasks.spawn(task.run());
        }
        writer
    }

    /// The engine.
    pub(super) fn engine(&self) -> &Arc<dyn LogEngine> {
        &self.engine
    }

    /// What it did so far.
    #[cfg(test)]
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the engine failed of, if it did.
    pub(super) fn failure(&self) -> watch::Receiver<Option<Failure>> {
        self.failed.subscribe()
    }

    /// Notes that the engine failed.
    pub(super) fn fail(&self, failure: &Failure) {
        fail(&self.failed, failure);
    }

    /// Waits for a place for a write of so many bytes.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Slot<'_>, Failure> {
        let writer = self;
        let Some(queue) = &self.queue else {
            return Ok(Slot {
                writer,
                place: None,
            });
        };
        let units = bytes.div_ceil(UNIT).clamp(1, QUEUE_BYTES / UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(units).await;
        let room = room.map_err(|_| Failure::Closed)?;
        let permit = queue.reserve().await.map_err(|_| Failure::Closed)?;
        Ok(Slot {
            writer,
            place: Some((permit, room)),
        })
    }

    /// Ends the writer and the engine, after what was handed over.
    pub(super) async fn close(&self) {
        let Some(queue) = &self.queue else {
            self.engine.close();
            return;
        };
        let (closed, wait) = oneshot::channel();
        if queue.send(Message::Close(closed)).await.is_ok() {
            // An error says that the writer is gone, which is all that is wanted.
            drop(wait.await);
        }
    }
}

impl Slot<'_> {
    /// Hands a write over. What this returns is to be called where no lock is held.
    pub(super) fn send(self, job: Job) -> impl FnOnce() + use<> {
        let told = match self.place {
            Some((permit, room)) => {
                permit.send(Message::Write(job, room));
                None
            }
            None => {
                let counters = &self.writer.counters;
                let outcome = commit(&*self.writer.engine, counters, &[&job.change]);
                let outcome = outcome.map(|outcomes| outcomes.into_iter().next());
                Some((job, outcome))
            }
        };
        move || {
            if let Some((job, outcome)) = told {
                tell(job, outcome);
            }
        }
    }
}

struct Task {
    engine: Arc<dyn LogEngine>,
    incoming: mpsc::Receiver<Message>,
    failed: watch::Sender<Option<Failure>>,
    counters: Arc<Counters>,
    /// What is committed next.
    waiting: Vec<(Job, OwnedSemaphorePermit)>,
    bytes: usize,
    /// Commits since the engine was last marked.
    unmarked: u64,
    quiet_at: Instant,
}

impl Task {
    async fn run(mut self) {
        loop {
            let has_idle_work = !self.waiting.is_empty() || self.unmarked > 0;
            let message = tokio::select! {
                biased;
                message = self.incoming.recv() => message,
                () = rt::sleep_until(self.quiet_at), if has_idle_work => {
                    self.commit().await;
                    self.mark().await;
                    continue;
                }
            };
            let Some(message) = message else {
                return self.end().await;
            };
            if let Some(closed) = self.take(message) {
                self.incoming.close();
                self.end().await;
                // Who waits may have gone.
                let _ = closed.send(());
                return;
            }
            if self.waiting.iter().any(|(job, _)| job.urgent) || self.is_full() {
                self.commit().await;
            }
            if self.unmarked >= MARK_EVERY {
                self.mark().await;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    /// Takes a message and those that are there already. Returns who wants the writer to end.
    fn take(&mut self, first: Message) -> Option<oneshot::Sender<()>> {
        self.quiet_at = rt::now() + QUIET;
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Write(job, room) => {
                    self.bytes += job.bytes;
                    self.waiting.push((job, room));
                }
                Message::Close(closed) => return Some(closed),
            }
            next = if self.is_full() {
                None
            } else {
                self.incoming.try_recv().ok()
            };
        }
        None
    }

    /// Commits what is waiting, and tells everybody.
    async fn commit(&mut self) {
        self.bytes = 0;
        let jobs = std::mem::take(&mut self.waiting);
        if jobs.is_empty() {
            return;
        }
        let failed = self.failed.borrow().clone();
        let (jobs, outcomes) = match failed {
            Some(failure) => (jobs, Err(failure)),
            None => {
                let (engine, counters) = (self.engine.clone(), self.counters.clone());
                rt::blocking(move || {
                    let changes: Vec<_> = jobs.iter().map(|(job, _)| &job.change).collect();
                    let outcomes = commit(&*engine, &counters, &changes);
                    (jobs, outcomes)
                })
                .await
            }
        };
        self.unmarked += 1;
        match outcomes {
            Ok(outcomes) => {
                let mut outcomes = outcomes.into_iter();
                for (job, _) in jobs {
                    tell(job, Ok(outcomes.next()));
                }
            }
            Err(failure) => {
                self.fail(&failure);
                for (job, _) in jobs {
                    tell(job, Err(failure.clone()));
                }
            }
        }
        self.quiet_at = rt::now() + QUIET;
    }

    /// Marks the engine.
    async fn mark(&mut self) {
        self.unmarked = 0;
        if self.failed.borrow().is_some() {
            return;
        }
        let engine = self.engine.clone();
        let marked = rt::blocking(move || engine.mark()).await;
        if let Err(failure) = marked {
            self.fail(&failure);
        }
    }

    /// Writes what was handed over, and ends the engine.
    async fn end(mut self) {
        let mut others = Vec::new();
        loop {
            self.commit().await;
            let Some(message) = self.incoming.recv().await else {
                break;
            };
            others.extend(self.take(message));
        }
        if self.unmarked > 0 {
            self.mark().await;
        }
        let engine = self.engine.clone();
        rt::blocking(move || engine.close()).await;
        for closed in others {
            // Who waits may have gone.
            let _ = closed.send(());
        }
    }

    fn fail(&self, failure: &Failure) {
        fail(&self.failed, failure);
    }
}

/// Notes the first failure.
fn fail(failed: &watch::Sender<Option<Failure>>, failure: &Failure) {
    let is_first = failed.send_if_modified(|held| {
        let is_first = held.is_none();
        held.get_or_insert_with(|| failure.clone());
        is_first
    });
    if is_first {
        tracing::error!(%failure, "the storage of groups is out of service");
    }
}

fn commit(
    engine: &dyn LogEngine,
    counters: &Counters,
    changes: &[&Change],
) -> Result<Vec<Outcome>, Failure> {
    let outcomes = engine.commit(changes)?;
    counters.commits.fetch_add(1, Ordering::Relaxed);
    let writes = u64::try_from(changes.len()).unwrap_or(u64::MAX);
    counters.writes.fetch_add(writes, Ordering::Relaxed);
    Ok(outcomes)
}

fn tell(job: Job, outcome: Result<Option<Outcome>, Failure>) {
    let result = match outcome {
        Ok(Some(Outcome::Opened(state))) => Ok(Some(state)),
        Ok(Some(Outcome::Written)) => Ok(None),
        Ok(Some(Outcome::Fenced { current })) => {
            let incarnation = match &job.change {
                Change::Write { incarnation, .. } => *incarnation,
                Change::Open { .. } => 0,
            };
            Err(WriteError::Fenced {
                group: job.change.group(),
                incarnation,
                current,
            })
        }
        Ok(Some(Outcome::Refused(refusal))) => Err(WriteError::Refused(refusal)),
        // An engine that does not answer all is closed.
        Ok(None) => Err(WriteError::Failed(Failure::Closed)),
        Err(failure) => Err(WriteError::Failed(failure)),
    };
    (job.done)(result);
}
