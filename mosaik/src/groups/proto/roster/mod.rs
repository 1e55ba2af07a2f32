//! Who votes in a group, decided by the leader alone and one change at a time.
//!
//! - [`plan`] looks at a [`View`] and says which single [`Change`] to make next, or none; [`explain`]
//!   says why nothing (more) is done. Both are pure.
//! - [`Silence`] measures how long a member has not been heard from, counting only time in which this
//!   leader was confirmed by a majority: a leader that is cut off ages nobody.
//! - [`quorum()`] says what a quorum lacks, and [`refound`] what may be done once it is lost for good.
//!
//! The driver of the leader builds a view whenever something in it changed, and every second; while a
//! change of its own is outstanding it does not plan. It carries a change out as one conditional
//! request (the membership still at [`Change::based_on`], itself still the leader of the term), and
//! forgets one that is refused: the next view yields what is right by then.
//!
//! Removing a member that is merely slow costs little (it comes back as a learner), but a voter count
//! that no longer has a live majority costs the group. So every change here keeps this: the number of
//! further failures that the voters can bear never shrinks by our own doing, except where an operator
//! lowers `voters`, and from one voter to two, where the second copy is what is bought.

mod plan;
mod quorum;
mod reason;
mod recover;
mod silence;
mod view;

pub(crate) use plan::{Change, Step, explain, plan};
pub(crate) use quorum::{Death, quorum};
pub(crate) use reason::Reason;
pub(crate) use recover::{Loss, Replica, Waiting, refound};
pub(crate) use silence::{Input, Silence};
pub(crate) use view::{Facts, Membership, Options, Preference, Program, Role, View};
#[cfg(test)]
use {
    quorum::{Quorum, majority, provably_dead},
    recover::Cause,
    view::{Fate, LogId},
};

#[cfg(test)]
mod tests;
