//! The replicated state: what the entries of a group's log are applied to.
//!
//! A user's state is a [`StateMachine`] or has `#[mosaik::group]`, which makes it an [`Application`] either way;
//! [`Hosted`] makes a [`Machine`] of that, for which commands are bytes. An [`Applier`] applies the entries of a log to one, with the sessions that make each batch apply once, the
//! clock, and the digests by which replicas that differ find out. [`replay`] undoes commands that panic. The
//! [`Store`] keeps snapshots, and says in the log which of them counts.
//!
//! An entry holds [items](entry::Item) of many clients. What an item does must follow from the log alone, since
//! every member does it on its own: what cannot be done the same everywhere stops the replica with a [`Halt`].

mod application;
mod applier;
mod ctx;
mod entry;
mod file;
mod halt;
mod hosted;
mod image;
mod import;
mod interface;
mod program;
mod receive;
pub(crate) mod replay;
mod snapshot;
mod state;
mod state_machine;
mod store;
#[cfg(test)]
pub(super) mod tests;
mod used;

pub use application::Application;
#[doc(hidden)]
pub use application::{AskError, Reply, Unencodable, Unknown};
pub(crate) use applier::{Applier, Frozen};
pub use ctx::Ctx;
pub(crate) use entry::{Check, ENTRY_FORMAT, Entry, Item, ItemReply, MAX_COMMANDS};
pub(crate) use halt::Halt;
#[doc(hidden)]
pub use hosted::Here;
pub(crate) use hosted::{CheckError, Hosted, Local, Machine, QueryError, RestoreError};
pub(crate) use image::{Image, Parts};
pub(crate) use import::{ImportId, MAX_IMPORT, Step, Taken};
#[doc(hidden)]
pub use interface::{Interface, number};
pub(crate) use program::Program;
pub(crate) use snapshot::{CHUNK, Header, Snapshot};
pub(crate) use state::Superseded;
pub use state_machine::StateMachine;
pub(crate) use store::{Store, Unwritten};
pub(crate) use used::Used;
#[cfg(test)]
pub(crate) use {applier::Interrupted, entry::MAX_ITEMS, receive::Receiving, state::DIGEST_EVERY};
