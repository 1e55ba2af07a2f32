//! What keeps logs: the trait that memory and disk implement.

use std::{fmt, ops::Range, path::Path};

use super::{
    error::{Failure, Refusal},
    record::Record,
    state::{GroupState, Op},
};
use crate::{groups::proto::sizes::Sizes, id::GroupId};

/// Keeps the logs of all groups of a node. Its methods block where [`blocks`](Self::blocks) says so.
///
/// After the first [`Failure`] an engine does nothing any more but repeat it.
pub(crate) trait LogEngine: fmt::Debug + Send + Sync + 'static {
    /// Whether calls wait for a disk.
    fn blocks(&self) -> bool;

    /// Where it keeps them, for people.
    fn path(&self) -> &Path;

    /// Does all of `changes` in order, and returns when they are as durable as they ever will be, with what
    /// became of each. One that is not done leaves the others alone.
    fn commit(&self, changes: &[&Change]) -> Result<Vec<Outcome>, Failure>;

    /// Makes sure that an engine that is opened later refuses to do without what was committed so far.
    fn mark(&self) -> Result<(), Failure>;

    /// What a group's log is, besides its entries; `None` if it was never opened.
    #[cfg(test)]
    fn state(&self, group: GroupId) -> Result<Option<GroupState>, Failure>;

    /// All groups that have a log.
    #[cfg(test)]
    fn groups(&self) -> Result<Vec<GroupId>, Failure>;

    /// The entries from `range.start` on that exist, in order, before `range.end`, and up to the one that
    /// makes them `max_bytes` or more.
    fn read(
        &self,
        group: GroupId,
        range: Range<u64>,
        max_bytes: usize,
    ) -> Result<Vec<Record>, Failure>;

    /// The sizes of a group's entries, as near as can be told without reading what they hold. They begin with the
    /// one at `first`, which is also the next if there is none.
    fn sizes(&self, group: GroupId, first: u64) -> Result<Sizes, Failure>;

    /// Ends it; what was committed stays where it is.
    fn close(&self);
}

/// What is to be done to a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Begins the next incarnation; the one before may write no more.
    Open {
        /// The group.
        group: GroupId,
        /// The member's boot, if it has no log yet.
        boot: u64,
    },
    /// A write, done whole or not at all.
    Write {
        /// The group.
        group: GroupId,
        /// Who wants it.
        incarnation: u64,
        /// What.
        ops: Vec<Op>,
    },
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The log was opened, and is this.
    Opened(GroupState),
    /// It is written.
    Written,
    /// It came from an incarnation that is over.
    Fenced {
        /// The incarnation that may write.
        current: u64,
    },
    /// It would break the log.
    Refused(Refusal),
}

impl Change {
    /// The group.
    pub(super) fn group(&self) -> GroupId {
        match self {
            Self::Open { group, .. } | Self::Write { group, .. } => *group,
        }
    }

    /// Does to `state` what the change does to the log; the entries are the engine's business.
    pub(super) fn apply(&self, state: &mut Option<GroupState>) -> Outcome {
        match self {
            Self::Open { boot, .. } => {
                let state = state.get_or_insert_with(|| GroupState::new(*boot));
                state.incarnation += 1;
                Outcome::Opened(state.clone())
            }
            Self::Write {
                incarnation, ops, ..
            } => {
                let current = state.as_ref().map_or(0, |state| state.incarnation);
                let Some(state) = state.as_mut().filter(|_| current == *incarnation) else {
                    return Outcome::Fenced { current };
                };
                match state.apply(ops) {
                    Ok(()) => Outcome::Written,
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
        }
    }
}
