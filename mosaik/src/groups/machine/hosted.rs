//! A state of any type, as the rest of groups sees it: commands, queries and snapshots are bytes.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use serde::Serialize;

use super::{Ctx, StateMachine, entry::MAX_COMMANDS};
use crate::wire::{self, DecodeError};

/// Bytes of outputs of one batch beyond which it counts as a panic: 8 MiB, so that a frame holds them.
pub(super) const MAX_OUTPUT: usize = 8 * 1024 * 1024;
/// Bytes that are kept of a panic's message: 1 KiB.
pub(super) const MAX_MESSAGE: usize = 1024;

/// Writes a snapshot that was taken.
pub(crate) type Encode = Box<dyn FnOnce(&mut dyn io::Write) -> io::Result<()> + Send>;
/// Puts the state of an encoded snapshot in the place of the one that is there.
pub(crate) type Restore = Box<dyn FnOnce(&[u8]) -> Result<(), RestoreError> + Send>;

/// A state and its commands, of no particular type.
///
/// A command that panics leaves the state *torn*: nobody reads it until it is restored and
/// [mended](Self::mend).
pub(crate) trait Machine: fmt::Debug + Send + Sync {
    /// Applies a batch: `count` commands, one after the other, whose outputs are appended to `out`. Nothing is
    /// applied if not all of them are known.
    fn apply(
        &mut self,
        ctx: &Ctx,
        count: u32,
        commands: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ApplyError>;

    /// Whether these are `count` commands that this version knows.
    fn check(&self, count: u32, commands: &[u8]) -> Result<(), CheckError>;

    /// Answers a query.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for clients without a replica, to come")
    )]
    fn query(&self, query: &[u8]) -> Result<Vec<u8>, QueryError>;

    /// Takes a snapshot; only that keeps commands waiting, not its encoding.
    fn snapshot(&self) -> Encode;

    /// Prepares to restore the state: what it returns takes long and may run elsewhere.
    fn restore(&mut self) -> Restore;

    /// Begins anew, with a state that nobody reads before it is mended.
    fn reset(&mut self) -> Result<(), RestoreError>;

    /// Ends that nobody reads the state.
    fn mend(&mut self);

    /// Keeps a copy of the state in memory to [roll back](Self::roll_back) to; returns whether that worked.
    fn keep(&mut self) -> bool;

    /// Restores the copy that is kept, and goes on keeping it. Returns whether there is one.
    fn roll_back(&mut self) -> bool;

    /// Keeps no copy any longer.
    fn forget(&mut self);
}

/// Why a batch was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Nothing was applied.
    #[error(transparent)]
    Unknown(#[from] CheckError),
    /// The state is torn.
    #[error("command {command} of a batch panicked: {message}")]
    Panicked {
        /// Its place in the batch.
        command: u32,
        /// What it said, up to 1 KiB.
        message: String,
    },
}

/// Why a batch is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CheckError {
    /// The sender knows commands that this version does not, or is faulty: update this member.
    #[error("not a command of this version: {0}")]
    Unknown(#[from] DecodeError),
    /// Send them in several batches.
    #[error("{count} commands are more than the {MAX_COMMANDS} of a batch")]
    TooMany {
        /// How many.
        count: u32,
    },
    /// A fault of how the commands' type is deserialized.
    #[error("decoding a command panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum QueryError {
    /// The sender knows queries that this version does not, or is faulty.
    #[error("not a query of this version: {0}")]
    Unknown(#[source] DecodeError),
    /// A command has panicked and is being undone: ask again once that is done.
    #[error("the state is being restored")]
    Restoring,
    /// A fault of the query. Nothing happened to the state.
    #[error("the query panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// Use types that postcard carries.
    #[error("the answer cannot be encoded: {0}")]
    Answer(#[source] wire::EncodeError),
}

/// Why a state was not restored. The one before is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RestoreError {
    /// The snapshot comes from a version that this one cannot read: update this member.
    #[error("not a snapshot of this version: {0}")]
    Unknown(#[from] DecodeError),
    /// A fault of how the state is restored, or of its default.
    #[error("restoring the state panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

/// Makes a [`Machine`] of a [`StateMachine`]. Clones share the state.
pub(crate) struct Hosted<M: StateMachine> {
    shared: Arc<Shared<M>>,
}

/// Reads a hosted state as what it is. Clones read the same.
pub(crate) struct Local<M: StateMachine> {
    shared: Arc<Shared<M>>,
}

struct Shared<M: StateMachine> {
    slot: RwLock<Slot<M>>,
}

struct Slot<M: StateMachine> {
    state: M,
    torn: bool,
    /// In a mutex only since it need not be `Sync`.
    kept: Mutex<Option<M::Snapshot>>,
}

impl<M: StateMachine> Hosted<M> {
    /// The state that a group begins with.
    pub(crate) fn new() -> Self {
        let slot = Slot {
            state: M::default(),
            torn: false,
            kept: Mutex::new(None),
        };
        Self {
            shared: Arc::new(Shared {
                slot: RwLock::new(slot),
            }),
        }
    }

    /// Reads the state as what it is.
    pub(crate) fn local(&self) -> Local<M> {
        Local {
            shared: self.shared.clone(),
        }
    }
}

impl<M: StateMachine> Local<M> {
    /// What `read` makes of the state as it is; `None` while a command that panicked is being undone. No
    /// command is applied before it returns.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&M) -> T) -> Option<T> {
        let slot = self.shared.read();
        (!slot.torn).then(|| read(&slot.state))
    }
}

impl<M: StateMachine> Shared<M> {
    /// What happens to the state under the lock is caught, so that a lock is never poisoned by half a change.
    fn read(&self) -> RwLockReadGuard<'_, Slot<M>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slot<M>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, state: M) {
        let old = std::mem::replace(&mut self.write().state, state);
        if let Err(message) = guarded(|| drop(old)) {
            tracing::warn!(%message, "a state panicked when it was dropped");
        }
    }
}

impl<M: StateMachine> Machine for Hosted<M> {
    fn apply(
        &mut self,
        ctx: &Ctx,
        count: u32,
        commands: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), ApplyError> {
        let commands = decode::<M>(count, commands)?;
        let mut slot = self.shared.write();
        let mut command = 0;
        let applied = guarded(|| {
            for next in commands {
                let output = slot.state.apply(&ctx.at(command), next);
                append(&output, out)?;
                command += 1;
            }
            Ok(())
        });
        applied.flatten().map_err(|message| {
            slot.torn = true;
            ApplyError::Panicked { command, message }
        })
    }

    fn check(&self, count: u32, commands: &[u8]) -> Result<(), CheckError> {
        decode::<M>(count, commands).map(drop)
    }

    fn query(&self, query: &[u8]) -> Result<Vec<u8>, QueryError> {
        let answered = guarded(|| {
            let query = wire::decode::<M::Query>(query).map_err(QueryError::Unknown)?;
            let answer = {
                let slot = self.shared.read();
                if slot.torn {
                    return Err(QueryError::Restoring);
                }
                slot.state.query(query)
            };
            wire::encode(&answer).map_err(QueryError::Answer)
        });
        answered.unwrap_or_else(|message| Err(QueryError::Panicked { message }))
    }

    fn snapshot(&self) -> Encode {
        let taken = guarded(|| self.shared.read().state.snapshot());
        Box::new(move |write| {
            let panicked =
                |message| io::Error::other(format!("taking a snapshot panicked: {message}"));
            let snapshot = taken.map_err(panicked)?;
            let mut sink = Sink { write, error: None };
            let encoded = guarded(|| postcard::to_io(&snapshot, &mut sink).map(drop));
            match encoded.map_err(panicked)? {
                Ok(()) => Ok(()),
                Err(error) => Err(sink.error.unwrap_or_else(|| {
                    let text = format!("a snapshot cannot be encoded: {error}");
                    io::Error::new(io::ErrorKind::InvalidData, text)
                })),
            }
        })
    }

    fn restore(&mut self) -> Restore {
        let shared = self.shared.clone();
        Box::new(move |bytes| {
            let restored = guarded(|| wire::decode::<M::Snapshot>(bytes).map(M::restore));
            let state = restored.map_err(|message| RestoreError::Panicked { message })??;
            shared.replace(state);
            Ok(())
        })
    }

    fn reset(&mut self) -> Result<(), RestoreError> {
        let state = guarded(M::default).map_err(|message| RestoreError::Panicked { message })?;
        self.shared.write().torn = true;
        self.shared.replace(state);
        Ok(())
    }

    fn mend(&mut self) {
        self.shared.write().torn = false;
    }

    fn keep(&mut self) -> bool {
        let kept = guarded(|| self.shared.read().state.snapshot()).ok();
        let is_kept = kept.is_some();
        self.set_kept(kept);
        is_kept
    }

    fn roll_back(&mut self) -> bool {
        let Some(kept) = self.set_kept(None) else {
            return false;
        };
        let Ok(state) = guarded(|| M::restore(kept)) else {
            return false;
        };
        self.shared.replace(state);
        self.keep()
    }

    fn forget(&mut self) {
        drop(self.set_kept(None));
    }
}

impl<M: StateMachine> Hosted<M> {
    fn set_kept(&self, kept: Option<M::Snapshot>) -> Option<M::Snapshot> {
        let mut slot = self.shared.write();
        let slot = slot.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(slot, kept)
    }
}

impl<M: StateMachine> Clone for Hosted<M> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<M: StateMachine> Clone for Local<M> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<M: StateMachine> fmt::Debug for Hosted<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").finish_non_exhaustive()
    }
}

impl<M: StateMachine> fmt::Debug for Local<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// All of a batch, or why it is none.
fn decode<M: StateMachine>(count: u32, bytes: &[u8]) -> Result<Vec<M::Command>, CheckError> {
    if count > MAX_COMMANDS {
        return Err(CheckError::TooMany { count });
    }
    let decoded = guarded(|| {
        // Not as many as it says before there is one of each.
        let mut commands = Vec::new();
        let mut rest = bytes;
        for _ in 0..count {
            let (command, left) = wire::decode_first(rest)?;
            commands.push(command);
            rest = left;
        }
        if rest.is_empty() {
            Ok(commands)
        } else {
            Err(DecodeError::Trailing { extra: rest.len() })
        }
    });
    let decoded = decoded.map_err(|message| CheckError::Panicked { message })?;
    Ok(decoded?)
}

/// Appends an output, or says why it cannot be.
fn append<T: Serialize>(output: &T, out: &mut Vec<u8>) -> Result<(), String> {
    *out = postcard::to_extend(output, std::mem::take(out))
        .map_err(|error| format!("the output cannot be encoded: {error}"))?;
    if out.len() > MAX_OUTPUT {
        return Err(format!("the outputs are over {MAX_OUTPUT} bytes"));
    }
    Ok(())
}

/// Runs what users wrote; a panic becomes its message.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no message");
        text[..text.floor_char_boundary(MAX_MESSAGE)].into()
    })
}

/// Remembers why a write failed, which the encoder does not.
struct Sink<'a> {
    write: &'a mut dyn io::Write,
    error: Option<io::Error>,
}

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.write.write(bytes);
        written.map_err(|error| {
            let kind = error.kind();
            self.error = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write.flush()
    }
}
