//! The logs of all groups of a node: one engine, one writer, one sync for many writes.
//!
//! A [`Storage`] is opened once a node. [`open_group`](Storage::open_group) hands out the [`GroupLog`] of a
//! group and fences those that were handed out before. What is appended can be read at once; it is
//! acknowledged when it is on the disk. Between the two stands the writer: it takes what all groups want
//! written, in order, commits it with one sync, and then tells everybody.
//!
//! After a commit that failed, nothing is tried again on that engine: every write of every group ends with
//! [`WriteError::Failed`], and the storage has to be opened anew, which verifies what it finds. What is found
//! half-written is rolled back; what cannot be trusted is refused with the name of the file. An engine never
//! starts empty where something was acknowledged before.
//!
//! # Files
//! `groups.redb` holds the logs. `groups.mark` holds the number of a commit that is on the disk, written when
//! it is quiet and every so many commits. A database of shadow copies rolls back a commit that does not
//! verify; the mark is how a commit that was damaged later is told from one that a crash tore.

mod engine;
mod error;
mod group;
mod handle;
mod recent;
mod record;
mod redb;
mod state;
#[cfg(test)]
mod tests;
mod volatile;
mod writer;

pub(crate) use error::{Failure, ReadError, WriteError};
pub(crate) use group::GroupLog;
pub(crate) use record::{Kind, LogId, MAX_PAYLOAD, Record, Vote};
pub(crate) use state::Op;
#[cfg(test)]
pub(crate) use tests::simulated;
#[cfg_attr(
    not(test),
    expect(unused_imports, reason = "the driver of groups comes next")
)]
pub(crate) use {
    error::{OpenError, Refusal},
    handle::Storage,
    state::GroupState,
};
