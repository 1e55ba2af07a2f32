//! A group's state, as openraft wants it.

use std::{
    collections::BTreeSet,
    fmt, io,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt as _, Stream, StreamExt as _};
use openraft::{
    OptionalSend, RaftSnapshotBuilder, StoredMembership,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
    type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
};
use tokio::task::coop::consume_budget;

use super::{
    core::Imaged,
    types::{self, RaftLogId, Reply, Types},
};
use crate::{
    groups::{
        machine::{
            Applier, Check, Frozen, Halt, Header, Image, ItemReply, Machine, Snapshot, Store,
            Superseded, Unwritten, Used, replay,
        },
        progress,
        proto::roster::Membership,
        storage::{GroupLog, LogId, Op, Record},
    },
    id::MemberId,
    rt::{self, lock, watch},
};

/// Bytes of entries that are read at once, about: 1 MiB.
const READ_BYTES: usize = 1024 * 1024;
/// How long until a snapshot that found no room on the disk is written anew, give or take half, at first and at most:
/// each time takes what room there is, for a moment.
const ROOM: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(300)];
/// Entries that may be applied before those who watch hear of it.
const PUBLISH_EVERY: u64 = 256;
/// Entries that may be applied before they are shown and answered, which takes some time for itself: to show a collection
/// is to go on with another copy of it, and that has to be brought up to date first.
const SHOW_EVERY: usize = 16;
/// Bytes of entries and answers for which the same holds, about: 256 KiB.
const SHOW_BYTES: usize = 256 * 1024;

/// The replica of one group for openraft: its state and its snapshots.
#[derive(Debug)]
pub(crate) struct RaftMachine {
    applier: Applier,
    store: Store,
    log: GroupLog,
    applied: Applied,
    unshown: Unshown,
    /// Whether an entry could not be applied: the state may be any by now.
    halted: bool,
}

/// What was applied and is not shown yet.
#[derive(Default)]
struct Unshown {
    /// Who is to be answered what, once it is. One for each entry.
    answers: Vec<(Option<ApplyResponder<Types>>, Reply)>,
    /// Bytes of the entries and of the answers.
    bytes: usize,
}

impl fmt::Debug for Unshown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unshown")
            .field("entries", &self.answers.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// How far a replica is, for everybody else. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    index: Arc<progress::Progress>,
    check: Mutex<Option<Check>>,
    progress: watch::Sender<Progress>,
}

/// How far a replica is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The last entry that was applied.
    pub(crate) applied: Option<LogId>,
    /// The last membership that was applied.
    pub(crate) membership: Option<Arc<Membership>>,
    /// Whether a command was ever applied.
    pub(crate) commands: bool,
    /// For how long the group had leaders.
    pub(crate) uptime: Duration,
    /// Which commands were ever applied.
    pub(crate) used: Arc<Used>,
    /// Whether another charter lives on instead.
    pub(crate) superseded: Option<Superseded>,
    /// Why a snapshot is not written yet: the disk has no room for it.
    pub(crate) full: Option<String>,
    /// Why nothing more is applied.
    pub(crate) halted: Option<Halt>,
}

impl Progress {
    /// Whether an entry of a leader was applied, which makes the charter an established one: the founders write
    /// the first entry without one, in term 0.
    pub(crate) fn is_established(&self) -> bool {
        self.applied.is_some_and(|applied| applied.term > 0)
    }

    /// Whether a member is in the last membership that was applied.
    pub(crate) fn lists(&self, member: &MemberId) -> bool {
        let membership = self.membership.as_ref();
        membership.is_some_and(|membership| membership.members().contains(member))
    }
}

impl Applied {
    /// The index of the last entry that was applied.
    #[cfg(test)]
    pub(crate) fn index(&self) -> Option<u64> {
        self.shared.index.get()
    }

    /// Watches it. Who watches hears of several entries at once; [`index`](Self::index) is never behind.
    pub(crate) fn watch(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// What a leader stamps into an entry, so that replicas that differ find out; each once is enough.
    pub(crate) fn check(&self) -> Option<Check> {
        *lock(&self.shared.check)
    }
}

impl RaftMachine {
    /// A replica that takes its state from `store`, and then from the entries of `log`.
    ///
    /// Until it has applied all that the log knows to be committed, nobody reads the state: a machine that was
    /// in use before never seems to go back.
    pub(crate) fn new(
        machine: Box<dyn Machine>,
        store: Store,
        log: GroupLog,
        index: Arc<progress::Progress>,
    ) -> Result<(Self, Applied), Halt> {
        index.reset();
        let applied = Applied {
            shared: Arc::new(Shared {
                index,
                check: Mutex::new(None),
                progress: watch::Sender::default(),
            }),
        };
        let machine = Self {
            applier: Applier::new(machine, store.epoch(), log.committed())?,
            store,
            log,
            applied: applied.clone(),
            unshown: Unshown::default(),
            halted: false,
        };
        Ok((machine, applied))
    }

    async fn apply_entry(&mut self, (entry, responder): EntryResponder<Types>) -> io::Result<()> {
        let record = types::record(entry).map_err(io::Error::other)?;
        let applied = replay::apply(&mut self.applier, &record, &self.store, &self.log).await;
        let items = applied.map_err(|halt| self.halt(halt))?;
        let answered: usize = items.iter().map(ItemReply::len).sum();
        self.unshown.bytes += record.payload.len() + answered;
        self.unshown.answers.push((responder, Reply { items }));
        Ok(())
    }

    async fn apply_all<S>(&mut self, entries: &mut S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut unpublished = 0;
        loop {
            let ready = entries.next().now_or_never();
            if ready.is_none() || unpublished == PUBLISH_EVERY {
                self.publish();
                unpublished = 0;
            }
            let next = match ready {
                Some(next) => next,
                None => entries.next().await,
            };
            let Some(entry) = next else {
                return Ok(());
            };
            self.apply_entry(entry?).await?;
            let Unshown { answers, bytes } = &self.unshown;
            if answers.len() >= SHOW_EVERY || *bytes >= SHOW_BYTES {
                self.show();
            }
            unpublished += 1;
            consume_budget().await;
        }
    }

    /// An entry cannot be applied. Nothing is shown any more, as a part of that entry may be in the state, or the state be
    /// one that was gone back to; and nobody is answered.
    fn halt(&mut self, halt: Halt) -> io::Error {
        self.halted = true;
        self.applied.halt(halt)
    }

    /// Lets others read what was applied, then answers.
    fn show(&mut self) {
        let unshown = std::mem::take(&mut self.unshown);
        if self.halted {
            return;
        }
        self.applier.settle();
        self.applied.advance(&self.applier);
        for (responder, reply) in unshown.answers {
            if let Some(responder) = responder {
                responder.send(reply);
            }
        }
    }

    /// The last entry that was applied.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.applier.last()
    }

    /// Applies entries that are committed and stand in the log: for who follows others without Raft.
    ///
    /// # Errors
    /// When one cannot be applied: the replica is done for.
    pub(crate) async fn follow(&mut self, records: &[Record]) -> Result<(), Halt> {
        for record in records {
            let applied = replay::apply(&mut self.applier, record, &self.store, &self.log).await;
            if let Err(halt) = applied {
                drop(self.halt(halt.clone()));
                return Err(halt);
            }
            consume_budget().await;
        }
        self.publish();
        Ok(())
    }

    /// Takes a snapshot in, for who follows others without Raft.
    ///
    /// # Errors
    /// When it cannot be taken, or kept.
    pub(crate) async fn follow_snapshot(&mut self, snapshot: Snapshot) -> io::Result<()> {
        self.install(snapshot).await
    }

    /// Makes all that stands in the log, committed or not, the beginning of another charter, whose snapshots are
    /// in `store`; in one write with `also`.
    ///
    /// # Errors
    /// When something cannot be applied, or kept.
    pub(crate) async fn descend(
        mut self,
        founders: &BTreeSet<MemberId>,
        store: &Store,
        also: Vec<Op>,
    ) -> io::Result<()> {
        if let Some(snapshot) = self.store.current() {
            let restored = replay::restore(&mut self.applier, &snapshot).await;
            restored.map_err(io::Error::other)?;
        }
        loop {
            let next = self.applier.next();
            let records = self.log.read(next..u64::MAX, READ_BYTES).await;
            let records = records.map_err(io::Error::other)?;
            if records.is_empty() {
                break;
            }
            self.follow(&records).await.map_err(io::Error::other)?;
        }
        let founders = types::founders(founders).map_err(io::Error::other)?;
        self.applier.found(store.epoch(), founders);
        let frozen = self.applier.freeze().ok_or(io::ErrorKind::NotFound)?;
        let snapshot = store.write(frozen).await?;
        store.found(&self.log, snapshot, also).await.map(drop)
    }

    /// Makes a snapshot of the state as it is, for who follows others without Raft.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub(crate) async fn checkpoint(&mut self) -> io::Result<Snapshot> {
        let mut builder = self.get_snapshot_builder().await;
        builder.build().await.map_err(io::Error::from)
    }

    fn publish(&mut self) {
        self.show();
        if let Some(current) = self.store.current() {
            self.applier.forget_until(current.header().last);
        }
        self.applied.publish(&self.applier);
    }

    async fn install(&mut self, snapshot: Snapshot) -> io::Result<()> {
        let last = snapshot.header().last;
        // Before the log loses what the snapshot has: that must not be lost to one that cannot be taken.
        if self
            .applier
            .last()
            .is_none_or(|held| held.index < last.index)
        {
            let restored = replay::restore(&mut self.applier, &snapshot).await;
            restored.map_err(|halt| self.halt(halt))?;
        }
        self.store.install(&self.log, snapshot).await?;
        self.publish();
        Ok(())
    }
}

impl RaftStateMachine<Types> for RaftMachine {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<RaftLogId>, StoredMembershipOf<Types>)> {
        let (membership, at) = self.applier.membership();
        let last = self.applier.last().map(types::raft_log_id);
        Ok((last, stored_membership(membership, at)?))
    }

    /// Those who wait for answers get none only where an entry halts the replica: nobody may know then what
    /// became of it.
    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let applied = self.apply_all(&mut entries).await;
        self.publish();
        applied
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            frozen: Mutex::new(self.applier.freeze()),
            store: self.store.clone(),
            log: self.log.clone(),
            applied: self.applied.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Snapshot,
    ) -> io::Result<()> {
        if *meta != snapshot_meta(snapshot.header())? {
            let text = "a snapshot is not what it was announced to be";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.install(snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Snapshot>>> {
        self.store.current().map(raft_snapshot).transpose()
    }
}

impl Imaged for RaftMachine {
    fn image(&self) -> Option<Image> {
        self.applier.image()
    }
}

/// Makes a snapshot of the state as it was when this was made.
pub(crate) struct Builder {
    /// In a mutex only since it need not be `Sync`.
    frozen: Mutex<Option<Frozen>>,
    store: Store,
    log: GroupLog,
    applied: Applied,
}

/// Why there is no snapshot.
#[derive(Debug)]
enum Unbuilt {
    /// There was no room for it. What it was to hold is still there.
    Full(io::Error),
    /// It cannot be made.
    Failed(io::Error),
    /// It was written, and the log cannot say so: the storage says why.
    Log(io::Error),
}

impl From<Unbuilt> for io::Error {
    fn from(unbuilt: Unbuilt) -> Self {
        match unbuilt {
            Unbuilt::Full(error) | Unbuilt::Failed(error) | Unbuilt::Log(error) => error,
        }
    }
}

impl Builder {
    async fn build(&mut self) -> Result<Snapshot, Unbuilt> {
        let frozen = lock(&self.frozen).take().ok_or_else(|| {
            let text = "there is nothing to make a snapshot of";
            Unbuilt::Failed(io::Error::new(io::ErrorKind::NotFound, text))
        })?;
        let as_new = |snapshot: &Snapshot| snapshot.header().last.index >= frozen.last.index;
        if let Some(current) = self.store.current().filter(as_new) {
            return Ok(current);
        }
        let snapshot = match self.store.write(frozen).await {
            Ok(snapshot) => snapshot,
            Err(Unwritten { frozen, error }) => {
                let is_full = matches!(
                    error.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                );
                return Err(match is_full {
                    true => {
                        *lock(&self.frozen) = Some(frozen);
                        Unbuilt::Full(error)
                    }
                    false => Unbuilt::Failed(error),
                });
            }
        };
        let published = self.store.publish(&self.log, snapshot).await;
        published.map_err(Unbuilt::Log)
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Snapshot;

    /// Waits while the disk is full. Nothing is in danger meanwhile: the log has all that the snapshot is to have, and
    /// is not cut before there is one.
    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Snapshot>> {
        let [mut pause, longest] = ROOM;
        loop {
            match self.build().await {
                Ok(snapshot) => {
                    self.applied.set_full(None);
                    return raft_snapshot(snapshot);
                }
                Err(Unbuilt::Full(error)) => {
                    tracing::warn!(%error, "no room for a snapshot: the log grows until there is");
                    self.applied.set_full(Some(error.to_string()));
                    rt::sleep(rt::jitter(pause)).await;
                    pause = pause.saturating_mul(2).min(longest);
                }
                Err(Unbuilt::Failed(error)) => {
                    self.applied.halt(Halt::snapshot(&error));
                    return Err(error);
                }
                Err(Unbuilt::Log(error)) => return Err(error),
            }
        }
    }
}

impl Applied {
    /// Shows how far the replica is, to those who look: as far as they may.
    fn advance(&self, applier: &Applier) {
        if let Some(last) = applier.last().filter(|_| !applier.is_hidden()) {
            self.shared.index.advance(last.index);
        }
    }

    /// Tells those who watch.
    fn publish(&self, applier: &Applier) {
        *lock(&self.shared.check) = applier.check();
        self.shared.progress.send_if_modified(|progress| {
            let (membership, at) = applier.membership();
            let known = progress.membership.as_ref().map(|known| known.log_id);
            if known != at
                && let Some(at) = at
            {
                match types::decode_membership(membership) {
                    Ok(decoded) => {
                        let membership = types::roster(&decoded, at);
                        progress.membership = Some(Arc::new(membership));
                    }
                    // It comes from openraft, or was decoded for it.
                    Err(error) => tracing::error!(%error, "cannot show a membership"),
                }
            }
            if progress.superseded.as_ref() != applier.superseded() {
                progress.superseded = applier.superseded().cloned();
            }
            if *progress.used != *applier.used() {
                progress.used = Arc::new(applier.used().clone());
            }
            progress.commands = applier.has_commands();
            progress.uptime = applier.uptime();
            let before = std::mem::replace(&mut progress.applied, applier.last());
            before != progress.applied
        });
    }

    /// Says why a snapshot is not written yet, or that one is.
    fn set_full(&self, why: Option<String>) {
        self.shared.progress.send_if_modified(|progress| {
            let changed = progress.full != why;
            progress.full = why;
            changed
        });
    }

    /// Says why nothing more is applied, and makes it an error.
    fn halt(&self, halt: Halt) -> io::Error {
        tracing::error!(%halt, "the state of a group stops");
        self.shared.progress.send_modify(|progress| {
            progress.halted.get_or_insert(halt.clone());
        });
        io::Error::other(halt)
    }
}

/// What openraft wants to know of a snapshot.
pub(super) fn snapshot_meta(header: &Header) -> io::Result<SnapshotMetaOf<Types>> {
    Ok(SnapshotMetaOf::<Types> {
        last_log_id: Some(types::raft_log_id(header.last)),
        last_membership: stored_membership(&header.membership, header.membership_at)?,
    })
}

fn raft_snapshot(snapshot: Snapshot) -> io::Result<SnapshotOf<Types, Snapshot>> {
    let meta = snapshot_meta(snapshot.header())?;
    Ok(SnapshotOf::<Types, Snapshot> { meta, snapshot })
}

fn stored_membership(
    membership: &[u8],
    at: Option<LogId>,
) -> io::Result<StoredMembershipOf<Types>> {
    let Some(at) = at else {
        return Ok(StoredMembershipOf::<Types>::default());
    };
    let membership = types::decode_membership(membership)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let at = types::raft_log_id(at);
    Ok(StoredMembership::new(Some(at), membership))
}
