//! Where the snapshots of a group are kept.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::{
    applier::Frozen,
    file::{Draft, Litter, Pointer, SnapshotFile, remove_others},
    receive::{Incoming, Receiving},
    snapshot::{Chunker, Header, Place, SNAPSHOT_FORMAT, Snapshot},
};
use crate::{
    groups::{
        notes::SNAPSHOT_NOTE,
        proto::{founding::charter::Epoch, log_id::LogId},
        storage::{GroupLog, Op, OpenError, ReadError, WriteError},
    },
    id::GroupId,
    rt::{self, lock},
};

/// Snapshots that are received at once; a third is refused.
pub(super) const MAX_RECEIVING: usize = 2;

/// The snapshots of one group in one epoch: the one that counts, and what is on its way. Clones share it.
///
/// In a directory, the log says which snapshot counts, and what is purged from the log is written together
/// with that. The one that counts is only ever replaced by a newer one.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) group: GroupId,
    pub(super) epoch: Epoch,
    /// `None` for memory.
    pub(super) dir: Option<PathBuf>,
    state: Mutex<State>,
    /// Held by whoever replaces the current one.
    replacing: tokio::sync::Mutex<()>,
    pub(super) receiving: Arc<Semaphore>,
    /// Dropped last.
    pub(super) litter: Arc<Litter>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    current: Option<Current>,
    /// Those that the log on the disk may still point to.
    replaced: Vec<Current>,
    /// One that was not received to its end.
    pub(super) partial: Option<Incoming>,
}

/// A snapshot that was not written.
pub(crate) struct Unwritten {
    /// What it was to hold.
    pub(crate) frozen: Frozen,
    /// Why.
    pub(crate) error: io::Error,
}

impl From<Unwritten> for io::Error {
    fn from(unwritten: Unwritten) -> Self {
        unwritten.error
    }
}

impl fmt::Debug for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unwritten").field(&self.error).finish()
    }
}

#[derive(Clone, Debug)]
struct Current {
    snapshot: Snapshot,
    /// What the log says when it counts.
    pointer: Bytes,
}

impl Store {
    /// Keeps snapshots in memory.
    pub(crate) fn memory(group: GroupId, epoch: Epoch) -> Self {
        Self::new(group, epoch, None, State::default(), Arc::default())
    }

    /// Keeps snapshots in a directory that is there; several groups may share it. Verifies the one that `log`
    /// points to, and removes all others of the group.
    ///
    /// # Errors
    /// When that one is missing, damaged or of another epoch, or a disk fails: never begins without it.
    pub(crate) async fn open(dir: &Path, epoch: Epoch, log: &GroupLog) -> Result<Self, OpenError> {
        let group = log.group();
        let note = log.state().notes.get(&SNAPSHOT_NOTE).cloned();
        let dir = dir.to_path_buf();
        let litter = Arc::new(Litter::default());
        rt::blocking(move || {
            let current = match note {
                Some(note) => Some(open_current(&dir, group, epoch, note, &litter)?),
                None => None,
            };
            let kept = current.as_ref().and_then(|held| held.snapshot.path());
            remove_others(&dir, group, kept).map_err(|error| io_error(&dir, &error))?;
            let state = State {
                current,
                ..State::default()
            };
            Ok(Self::new(group, epoch, Some(dir), state, litter))
        })
        .await
    }

    /// A place for the snapshots of a charter that begins, without any; in a directory that is there, or in memory.
    pub(crate) fn fresh(dir: Option<&Path>, group: GroupId, epoch: Epoch) -> Self {
        let dir = dir.map(Path::to_path_buf);
        Self::new(group, epoch, dir, State::default(), Arc::default())
    }

    fn new(
        group: GroupId,
        epoch: Epoch,
        dir: Option<PathBuf>,
        state: State,
        litter: Arc<Litter>,
    ) -> Self {
        let shared = Shared {
            group,
            epoch,
            dir,
            state: Mutex::new(state),
            replacing: tokio::sync::Mutex::new(()),
            receiving: Arc::new(Semaphore::new(MAX_RECEIVING)),
            litter,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The group.
    pub(crate) fn group(&self) -> GroupId {
        self.shared.group
    }

    /// The charter's epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// The snapshot that counts.
    pub(crate) fn current(&self) -> Option<Snapshot> {
        let current = self.shared.state().current.clone();
        current.map(|current| current.snapshot)
    }

    /// Writes a snapshot. It counts once it is [published](Self::publish).
    ///
    /// # Errors
    /// When it cannot be encoded, or the disk fails. Nothing is left of it then: what was frozen can be written anew.
    pub(crate) async fn write(&self, frozen: Frozen) -> Result<Snapshot, Unwritten> {
        self.shared.sweep().await;
        let shared = self.shared.clone();
        let written = rt::blocking(move || match shared.write(&frozen) {
            Ok(snapshot) => Ok(snapshot),
            Err(error) => Err(Unwritten { frozen, error }),
        })
        .await;
        if written.is_err() {
            // What there is of it would take the room that others need.
            self.shared.sweep().await;
        }
        written
    }

    /// Begins to receive the snapshot with this header, or goes on with it: only if the headers are equal.
    ///
    /// # Errors
    /// When it is not of this group and epoch, in another format or too large, when others are being received,
    /// or when the disk fails.
    pub(crate) async fn receive(&self, header: Header) -> io::Result<Receiving> {
        Receiving::begin(&self.shared, header).await
    }

    /// Makes a snapshot that was written here the one that counts, unless one does that is as new; returns the
    /// one that counts.
    pub(crate) async fn publish(&self, log: &GroupLog, snapshot: Snapshot) -> io::Result<Snapshot> {
        self.replace(log, snapshot, false, Vec::new()).await
    }

    /// Makes a snapshot that was received the one that counts, unless one does that is as new, in one write
    /// with removing from the log what it has and what contradicts it; returns the one that counts.
    pub(crate) async fn install(&self, log: &GroupLog, snapshot: Snapshot) -> io::Result<Snapshot> {
        self.replace(log, snapshot, true, Vec::new()).await
    }

    /// Makes a snapshot the beginning of a log, in one write with `also`.
    pub(crate) async fn found(
        &self,
        log: &GroupLog,
        snapshot: Snapshot,
        also: Vec<Op>,
    ) -> io::Result<Snapshot> {
        self.replace(log, snapshot, true, also).await
    }

    async fn replace(
        &self,
        log: &GroupLog,
        snapshot: Snapshot,
        purge: bool,
        also: Vec<Op>,
    ) -> io::Result<Snapshot> {
        let verified = snapshot.header().verify(self.group(), self.epoch());
        verified.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let Current { snapshot, pointer } = {
            let _one = self.shared.replacing.lock().await;
            let current = self.shared.offer(snapshot)?;
            if log.state().notes.get(&SNAPSHOT_NOTE) != Some(&current.pointer) {
                let mut ops = Vec::new();
                if purge {
                    ops = replaced_by(log, current.snapshot.header().last).await?;
                }
                ops.push(Op::Note(SNAPSHOT_NOTE, Some(current.pointer.clone())));
                ops.extend(also);
                log.write(ops).await.map_err(write_error)?;
            }
            current
        };
        // The log on the disk points to it or to a newer one now.
        self.shared.forget_replaced(&pointer);
        self.shared.sweep().await;
        Ok(snapshot)
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn write(&self, frozen: &Frozen) -> io::Result<Snapshot> {
        let header = |(chunks, bytes, digest)| {
            let header = Header {
                version: SNAPSHOT_FORMAT,
                group: self.group,
                epoch: self.epoch,
                last: frozen.last,
                membership: frozen.membership.clone(),
                membership_at: frozen.membership_at,
                chunks,
                bytes,
                digest,
            };
            let verified = header.verify(self.group, self.epoch);
            verified.map(|()| header).map_err(io::Error::other)
        };
        if let Some(dir) = &self.dir {
            let draft = Draft::create(dir, self.group, &self.litter)?;
            let mut chunker = Chunker::new(|n, chunk: Bytes| draft.write(n, &chunk));
            (frozen.encode)(&mut chunker)?;
            let header = header(chunker.finish()?)?;
            let file = draft.finish(&header)?;
            Ok(Snapshot::new(header, Place::File(Arc::new(file))))
        } else {
            let mut chunks = Vec::new();
            let mut chunker = Chunker::new(|_, chunk| {
                chunks.push(chunk);
                Ok(())
            });
            (frozen.encode)(&mut chunker)?;
            let header = header(chunker.finish()?)?;
            Ok(Snapshot::new(header, Place::Memory(chunks)))
        }
    }

    /// Makes `snapshot` the current one unless there is one as new; returns the current one.
    ///
    /// It is so before the log says it, and the one before is kept until then: whoever waits for the log may
    /// be dropped, and then the disk may hold either.
    fn offer(&self, snapshot: Snapshot) -> io::Result<Current> {
        let mut state = self.state();
        let last = snapshot.header().last;
        let as_new = |held: &&Current| held.snapshot.header().last.index >= last.index;
        if let Some(current) = state.current.as_ref().filter(as_new) {
            return Ok(current.clone());
        }
        let pointer = Pointer::new(snapshot.header(), snapshot.name())?.encode()?;
        let current = Current { snapshot, pointer };
        let replaced = state.current.replace(current.clone());
        state.replaced.extend(replaced);
        Ok(current)
    }

    /// Forgets the snapshots before the current one, if that has this pointer.
    fn forget_replaced(&self, pointer: &Bytes) {
        let mut state = self.state();
        if state
            .current
            .as_ref()
            .is_some_and(|c| c.pointer == *pointer)
        {
            state.replaced.clear();
        }
    }

    /// Removes files that nobody needs any more.
    pub(super) async fn sweep(&self) {
        if !self.litter.is_empty() {
            let litter = self.litter.clone();
            rt::blocking(move || litter.sweep()).await;
        }
    }
}

/// What has to be done to a log whose entries up to `last` a snapshot has.
async fn replaced_by(log: &GroupLog, last: LogId) -> io::Result<Vec<Op>> {
    let mut ops = Vec::new();
    let held = log.read(last.index..last.index + 1, 1).await;
    let held = held.map_err(read_error)?;
    if held.first().is_some_and(|held| held.id != last) {
        // What follows an entry that is another contradicts the snapshot as well.
        let state = log.state();
        ops.push(Op::Truncate(state.committed.max(state.purged)));
    }
    ops.push(Op::Purge(last));
    ops.push(Op::Committed(last));
    Ok(ops)
}

fn open_current(
    dir: &Path,
    group: GroupId,
    epoch: Epoch,
    note: Bytes,
    litter: &Arc<Litter>,
) -> Result<Current, OpenError> {
    let damaged = |path: &Path, reason: String| OpenError::Damaged {
        path: path.into(),
        reason,
    };
    let pointer = Pointer::decode(&note).map_err(|reason| {
        let reason = format!("the log does not say which snapshot counts: {reason}");
        damaged(dir, reason)
    })?;
    let path = pointer.path(dir, group);
    let opened = SnapshotFile::open(path.clone(), &pointer, litter);
    let (header, file) = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged(&path, "it is missing".into()),
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            damaged(&path, error.to_string())
        }
        _ => io_error(&path, &error),
    })?;
    let verified = header.verify(group, epoch);
    verified.map_err(|error| damaged(&path, error.to_string()))?;
    Ok(Current {
        snapshot: Snapshot::new(header, Place::File(Arc::new(file))),
        pointer: note,
    })
}

fn io_error(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io {
        path: path.into(),
        kind: error.kind(),
        reason: error.to_string(),
    }
}

fn write_error(error: WriteError) -> io::Error {
    io::Error::new(error.kind(), error)
}

fn read_error(ReadError::Failed(failure): ReadError) -> io::Error {
    io::Error::new(failure.kind(), failure)
}
