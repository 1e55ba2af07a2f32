//! A state of any type, as the rest of groups sees it: commands, queries and snapshots are bytes.

use std::{
    any::Any,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{
    Application, Ctx,
    application::{AskError, Reply, Unencodable, Unknown},
    entry::MAX_COMMANDS,
};
use crate::wire::{self, DecodeError};

/// Bytes that are kept of a panic's message: 1 KiB.
pub(super) const MAX_MESSAGE: usize = 1024;

/// Writes a snapshot that was taken, as often as is wanted.
pub(crate) type Encode = Box<dyn Fn(&mut dyn io::Write) -> io::Result<()> + Send>;
/// Puts the state of an encoded snapshot in the place of the one that is there.
pub(crate) type Restore = Box<dyn FnOnce(&[u8]) -> Result<(), RestoreError> + Send>;

/// Is told the numbers of commands that have names, one after the other.
pub(crate) type Numbers<'a> = &'a mut dyn FnMut(u64);

/// A state and its commands, of no particular type.
///
/// A command that panics leaves the state *torn*: nobody reads it until it is restored and
/// [mended](Self::mend).
pub(crate) trait Machine: fmt::Debug + Send + Sync {
    /// Applies a batch: `count` commands, one after the other, whose outputs are appended to `out`. Nothing is
    /// applied if not all of them are known. `numbers` are told those of the commands, if they have any.
    fn apply(
        &mut self,
        ctx: &Ctx,
        count: u32,
        commands: &[u8],
        out: &mut Vec<u8>,
        numbers: Numbers<'_>,
    ) -> Result<(), ApplyError>;

    /// Whether these are `count` commands that this version knows. `numbers` are told those of the commands, if they
    /// have any.
    fn check(&self, count: u32, commands: &[u8], numbers: Numbers<'_>) -> Result<(), CheckError>;

    /// Answers a query.
    fn query(&self, query: &[u8]) -> Result<Vec<u8>, QueryError>;

    /// Takes a snapshot; only that keeps commands waiting, not its encoding.
    fn snapshot(&self) -> Encode;

    /// Prepares to restore the state: what it returns takes long and may run elsewhere.
    fn restore(&mut self) -> Restore;

    /// Whether this is an encoded state: decodes it, and drops it.
    fn check_state(&self, bytes: &[u8]) -> Result<(), RestoreError>;

    /// The state that was restored last was imported, in the entry at `index`, into a group that lives by `epoch`.
    fn imported(&mut self, epoch: [u8; 16], index: u64);

    /// Begins anew, with a state that nobody reads before it is mended.
    fn reset(&mut self) -> Result<(), RestoreError>;

    /// Ends that nobody reads the state.
    fn mend(&mut self);

    /// What is compared among replicas in place of what commands return.
    fn mark(&self) -> Option<u64>;

    /// Shows the state, in which `applied` is the last entry, to who looks at it without a lock, unless nobody is to
    /// read it.
    fn publish(&mut self, applied: u64);

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
    Unknown(#[from] Unknown),
    /// A fault of the sender.
    #[error("{extra} bytes follow the commands of a batch")]
    Trailing {
        /// How many.
        extra: usize,
    },
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
    Unknown(#[source] Unknown),
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
    #[error("no answer: {0}")]
    Answer(#[source] Unencodable),
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

/// Makes a [`Machine`] of an [`Application`]. Clones share the state.
pub(crate) struct Hosted<M> {
    shared: Arc<Shared<M>>,
}

/// Reads a hosted state as what it is. Clones read the same.
pub(crate) struct Local<M> {
    shared: Arc<Shared<M>>,
}

/// A hosted state, for a query to look at.
pub struct Here<'a, M>(&'a Shared<M>);

struct Shared<M> {
    slot: RwLock<Slot<M>>,
}

struct Slot<M> {
    state: M,
    torn: bool,
    /// An image. In a mutex only since it need not be `Sync`, and of any type so that the handles of a state can be
    /// declared before its commands are.
    kept: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<M: Application> Hosted<M> {
    /// The state that a group begins with.
    pub(crate) fn new() -> Self {
        Self {
            shared: Shared::holding(M::default()),
        }
    }

    /// Reads the state as what it is.
    pub(crate) fn local(&self) -> Local<M> {
        Local {
            shared: self.shared.clone(),
        }
    }
}

impl Local<()> {
    /// A state in which there is nothing to read.
    pub(crate) fn nothing() -> Self {
        Self {
            shared: Shared::holding(()),
        }
    }
}

impl<M> Local<M> {
    /// What `read` makes of the state as it is; `None` while a command that panicked is being undone. No
    /// command is applied before it returns.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&M) -> T) -> Option<T> {
        let slot = self.shared.read();
        (!slot.torn).then(|| read(&slot.state))
    }

    /// What `look` makes of what lies beside the state: of the state itself nothing may be told.
    pub(crate) fn beside<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.shared.read().state)
    }

    /// What `look` makes of the state as it is, or of the one that a group begins with while a command that panicked
    /// is being undone.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&M) -> T) -> T
    where
        M: Default,
    {
        let slot = self.shared.read();
        if slot.torn {
            drop(slot);
            return look(&M::default());
        }
        look(&slot.state)
    }
}

impl<M> Here<'_, M> {
    /// What `look` makes of the state as it is. No command is applied before it returns.
    ///
    /// # Errors
    /// While a command that panicked is being undone.
    pub fn look<T>(&self, look: impl FnOnce(&M) -> T) -> Result<T, AskError> {
        let slot = self.0.read();
        if slot.torn {
            return Err(AskError::Restoring);
        }
        Ok(look(&slot.state))
    }
}

impl<M> Shared<M> {
    fn holding(state: M) -> Arc<Self> {
        let slot = Slot {
            state,
            torn: false,
            kept: Mutex::new(None),
        };
        Arc::new(Self {
            slot: RwLock::new(slot),
        })
    }

    /// What happens to the state under the lock is caught, so that a lock is never poisoned by half a change.
    fn read(&self) -> RwLockReadGuard<'_, Slot<M>> {
        self.slot.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slot<M>> {
        self.slot.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, mut state: M)
    where
        M: Application,
    {
        let old = {
            let mut slot = self.write();
            state.succeed(&mut slot.state);
            std::mem::replace(&mut slot.state, state)
        };
        if let Err(message) = guarded(|| drop(old)) {
            tracing::warn!(%message, "a state panicked when it was dropped");
        }
    }
}

impl<M: Application> Machine for Hosted<M> {
    fn apply(
        &mut self,
        ctx: &Ctx,
        count: u32,
        commands: &[u8],
        out: &mut Vec<u8>,
        numbers: Numbers<'_>,
    ) -> Result<(), ApplyError> {
        let commands = decode::<M>(count, commands, numbers)?;
        let mut slot = self.shared.write();
        let mut command = 0;
        let mut reply = Reply(std::mem::take(out));
        let applied = guarded(|| {
            for next in commands {
                slot.state.run(&ctx.at(command), next, &mut reply)?;
                command += 1;
            }
            Ok(())
        });
        *out = reply.0;
        let applied = applied.map(|applied| applied.map_err(|Unencodable(why)| why));
        applied.flatten().map_err(|message| {
            slot.torn = true;
            ApplyError::Panicked { command, message }
        })
    }

    fn check(&self, count: u32, commands: &[u8], numbers: Numbers<'_>) -> Result<(), CheckError> {
        decode::<M>(count, commands, numbers).map(drop)
    }

    fn query(&self, query: &[u8]) -> Result<Vec<u8>, QueryError> {
        let answered = guarded(|| {
            let mut reply = Reply::default();
            match M::ask(&Here(&self.shared), query, &mut reply) {
                Ok(()) => Ok(reply.0),
                Err(AskError::Unknown(why)) => Err(QueryError::Unknown(why)),
                Err(AskError::Restoring) => Err(QueryError::Restoring),
                Err(AskError::Answer(why)) => Err(QueryError::Answer(why)),
            }
        });
        answered.unwrap_or_else(|message| Err(QueryError::Panicked { message }))
    }

    fn snapshot(&self) -> Encode {
        let taken = guarded(|| self.shared.read().state.image());
        Box::new(move |write| {
            let panicked = |message: &String| {
                io::Error::other(format!("taking a snapshot panicked: {message}"))
            };
            let snapshot = taken.as_ref().map_err(panicked)?;
            let mut sink = Sink { write, error: None };
            let encoded = guarded(|| postcard::to_io(snapshot, &mut sink).map(drop));
            match encoded.map_err(|message| panicked(&message))? {
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
            shared.replace(state_of::<M>(bytes)?);
            Ok(())
        })
    }

    fn check_state(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        let state = state_of::<M>(bytes)?;
        guarded(|| drop(state)).map_err(|message| RestoreError::Panicked { message })
    }

    fn imported(&mut self, epoch: [u8; 16], index: u64) {
        self.shared.write().state.imported(epoch, index);
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

    fn mark(&self) -> Option<u64> {
        self.shared.read().state.mark()
    }

    fn publish(&mut self, applied: u64) {
        // Who reads is not in the way unless there is something to show.
        if !self.shared.read().state.has_news() {
            return;
        }
        let mut slot = self.shared.write();
        if slot.torn {
            return;
        }
        if let Err(message) = guarded(|| slot.state.publish(applied)) {
            tracing::warn!(%message, "a state panicked when it was shown");
        }
    }

    fn keep(&mut self) -> bool {
        let kept = guarded(|| self.shared.read().state.image()).ok();
        let is_kept = kept.is_some();
        self.set_kept(kept.map(|kept| Box::new(kept) as Box<dyn Any + Send>));
        is_kept
    }

    fn roll_back(&mut self) -> bool {
        let kept = self.set_kept(None).map(|kept| kept.downcast::<M::Image>());
        let Some(Ok(kept)) = kept else {
            return false;
        };
        let Ok(state) = guarded(|| M::from_image(*kept)) else {
            return false;
        };
        self.shared.replace(state);
        self.keep()
    }

    fn forget(&mut self) {
        drop(self.set_kept(None));
    }
}

impl<M: Application> Hosted<M> {
    fn set_kept(&self, kept: Option<Box<dyn Any + Send>>) -> Option<Box<dyn Any + Send>> {
        let mut slot = self.shared.write();
        let slot = slot.kept.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(slot, kept)
    }
}

impl<M> Clone for Hosted<M> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<M> Clone for Local<M> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<M> fmt::Debug for Hosted<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted").finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Here<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Here").finish_non_exhaustive()
    }
}

impl<M> fmt::Debug for Local<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// The state of an encoded snapshot.
fn state_of<M: Application>(bytes: &[u8]) -> Result<M, RestoreError> {
    let restored = guarded(|| wire::decode::<M::Image>(bytes).map(M::from_image));
    let state = restored.map_err(|message| RestoreError::Panicked { message })??;
    Ok(state)
}

/// All of a batch, or why it is none. Most are of one command, for which nothing is allocated.
fn decode<M: Application>(
    count: u32,
    bytes: &[u8],
    numbers: Numbers<'_>,
) -> Result<impl Iterator<Item = M::Operation> + use<M>, CheckError> {
    if count > MAX_COMMANDS {
        return Err(CheckError::TooMany { count });
    }
    let decoded = guarded(|| {
        // Not as many as it says before there is one of each.
        let (mut first, mut others) = (None, Vec::new());
        let mut rest = bytes;
        for _ in 0..count {
            let (command, left) = M::decode(rest)?;
            if M::NAMED {
                numbers(Unknown::number(rest)?.0);
            }
            match &first {
                None => first = Some(command),
                Some(_) => others.push(command),
            }
            rest = left;
        }
        match rest.len() {
            0 => Ok(first.into_iter().chain(others)),
            extra => Err(CheckError::Trailing { extra }),
        }
    });
    decoded.map_err(|message| CheckError::Panicked { message })?
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
