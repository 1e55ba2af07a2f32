//! What a group can host, by whichever of the two ways it was written.

use serde::{Serialize, de::DeserializeOwned};

use super::{Ctx, Here, Interface, StateMachine};
use crate::wire::{self, DecodeError};

/// Bytes of outputs of one batch beyond which it counts as a panic: 8 MiB, so that a frame holds them.
pub(super) const MAX_OUTPUT: usize = 8 * 1024 * 1024;

/// What a group can host: every [`StateMachine`], and every type with `#[mosaik::group]`.
///
/// It is not implemented by hand: what it consists of is no part of the public interface.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no commands and queries that a group could run",
    label = "this is no state of a group yet",
    note = "put `#[mosaik::group]` on its `impl` block, or implement `mosaik::groups::StateMachine`"
)]
pub trait Application: Default + Send + Sync + 'static {
    /// A command, decoded.
    #[doc(hidden)]
    type Operation: Send + 'static;
    /// The whole state, as it is stored.
    #[doc(hidden)]
    type Image: Serialize + DeserializeOwned + Send + 'static;

    /// Whether each command begins with its number; else all that members have in common is the type of commands.
    #[doc(hidden)]
    const NAMED: bool = true;

    /// What members compare.
    #[doc(hidden)]
    fn interface() -> Interface;

    /// The command that `bytes` begin with, and what follows it.
    #[doc(hidden)]
    fn decode(bytes: &[u8]) -> Result<(Self::Operation, &[u8]), Unknown>;

    /// Applies a command, and appends what it returns.
    #[doc(hidden)]
    fn run(
        &mut self,
        ctx: &Ctx,
        operation: Self::Operation,
        reply: &mut Reply,
    ) -> Result<(), Unencodable>;

    /// Answers a query from the state that is here; only that keeps commands waiting.
    #[doc(hidden)]
    fn ask(here: &Here<'_, Self>, query: &[u8], reply: &mut Reply) -> Result<(), AskError>;

    /// The state as it is.
    #[doc(hidden)]
    fn image(&self) -> Self::Image;

    /// The state that an image was taken of.
    #[doc(hidden)]
    fn from_image(image: Self::Image) -> Self;

    /// What is compared among replicas in place of what commands return, if that may be encoded in several ways: the
    /// same in states that came to be in the same way.
    #[doc(hidden)]
    fn mark(&self) -> Option<u64> {
        None
    }

    /// Takes the place of another state on the same replica: takes over what is no state of the group.
    #[doc(hidden)]
    fn succeed(&mut self, _before: &mut Self) {}

    /// It was imported, in the entry at `index`, into a group that lives by this charter.
    #[doc(hidden)]
    fn imported(&mut self, _epoch: [u8; 16], _index: u64) {}

    /// Whether there is anything to [publish](Self::publish).
    #[doc(hidden)]
    fn has_news(&self) -> bool {
        false
    }

    /// All entries up to `applied` are applied, and what they did may be shown to who looks without a lock. Called
    /// with no command under way, if there is news.
    #[doc(hidden)]
    fn publish(&mut self, _applied: u64) {}
}

impl<M: StateMachine> Application for M {
    type Operation = M::Command;
    type Image = M::Snapshot;

    const NAMED: bool = false;

    fn interface() -> Interface {
        Interface::of_types::<M>()
    }

    fn decode(bytes: &[u8]) -> Result<(M::Command, &[u8]), Unknown> {
        Unknown::unless(wire::decode_first(bytes))
    }

    fn run(
        &mut self,
        ctx: &Ctx,
        command: M::Command,
        reply: &mut Reply,
    ) -> Result<(), Unencodable> {
        reply.put(&self.apply(ctx, command))
    }

    fn ask(here: &Here<'_, M>, query: &[u8], reply: &mut Reply) -> Result<(), AskError> {
        let query = Unknown::unless(wire::decode(query))?;
        let answer = here.look(|state| state.query(query))?;
        Ok(reply.put(&answer)?)
    }

    fn image(&self) -> M::Snapshot {
        self.snapshot()
    }

    fn from_image(image: M::Snapshot) -> Self {
        Self::restore(image)
    }
}

/// What commands and queries return, encoded one after the other.
#[derive(Debug, Default)]
pub struct Reply(pub(super) Vec<u8>);

impl Reply {
    /// What was put.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends a value.
    ///
    /// # Errors
    /// When postcard does not carry its type, or there is too much.
    pub fn put<T: Serialize>(&mut self, value: &T) -> Result<(), Unencodable> {
        self.0 = postcard::to_extend(value, std::mem::take(&mut self.0))
            .map_err(|error| Unencodable(format!("the output cannot be encoded: {error}")))?;
        if self.0.len() > MAX_OUTPUT {
            let reason = format!("the outputs are over {MAX_OUTPUT} bytes");
            return Err(Unencodable(reason));
        }
        Ok(())
    }
}

/// What was returned cannot be encoded: use types that postcard carries, and return less at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unencodable(pub(super) String);

/// These bytes are no command or query of this version: update this member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct Unknown(Reason);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Reason {
    #[error("none has the number {0:016x}")]
    Method(u64),
    #[error("it is too short to have a number")]
    Short,
    #[error(transparent)]
    Arguments(DecodeError),
}

impl Unknown {
    /// There is no method of this number.
    pub fn method(id: u64) -> Self {
        Self(Reason::Method(id))
    }

    /// The number of which there is no method, if that is what is wrong.
    pub(crate) fn unknown_number(&self) -> Option<u64> {
        match self.0 {
            Reason::Method(number) => Some(number),
            Reason::Short | Reason::Arguments(_) => None,
        }
    }

    /// The number that `bytes` begin with, and the arguments that follow it.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(bytes: &[u8]) -> Result<(u64, &[u8]), Self> {
        match bytes.split_first_chunk() {
            Some((number, arguments)) => Ok((u64::from_le_bytes(*number), arguments)),
            None => Err(Self(Reason::Short)),
        }
    }

    /// The arguments that `bytes` begin with, and what follows them.
    ///
    /// # Errors
    /// When they are not of these types.
    pub fn arguments<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), Self> {
        Self::unless(wire::decode_first(bytes))
    }

    /// The arguments that fill `bytes`.
    ///
    /// # Errors
    /// When they are not of these types.
    pub fn all_arguments<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Self> {
        Self::unless(wire::decode(bytes))
    }

    /// What was decoded, if it could be.
    pub(super) fn unless<T>(decoded: Result<T, DecodeError>) -> Result<T, Self> {
        decoded.map_err(|error| Self(Reason::Arguments(error)))
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It is none of this version.
    #[error("not a query of this version: {0}")]
    Unknown(#[from] Unknown),
    /// A command has panicked and is being undone: ask again once that is done.
    #[error("the state is being restored")]
    Restoring,
    /// Its answer cannot be encoded.
    #[error(transparent)]
    Answer(#[from] Unencodable),
}
