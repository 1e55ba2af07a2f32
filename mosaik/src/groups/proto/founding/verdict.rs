//! Which of two established charters lives on when they meet.
//!
//! They are never merged. Both sides come to the same verdict from the same two claims, but one
//! committed entry in the log of the charter with the smaller id is what counts: claims age.

use std::{cmp::Reverse, time::Duration};

use serde::{Deserialize, Serialize};

use super::charter::Charter;

/// What a member says of the established charter that it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Claim {
    /// The charter.
    pub(crate) charter: Charter,
    /// Whether a command was ever committed under it.
    pub(crate) commands: bool,
    /// How long ago it was founded, by the clock of whoever says so.
    pub(crate) age: Duration,
}

/// The outcome of a conflict of `ours` and `theirs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verdict {
    /// They are the same charter.
    Same,
    /// Ours lives on.
    Ours,
    /// Theirs lives on.
    Theirs,
}

/// Decides between two established charters: a descendant before its ancestor, then the one that has
/// commands, then the older, then the smaller epoch.
pub(crate) fn verdict(ours: &Claim, theirs: &Claim) -> Verdict {
    if ours.charter.epoch == theirs.charter.epoch {
        return Verdict::Same;
    }
    let rank = |claim: &Claim, other: &Claim| {
        (
            succeeds(&claim.charter, &other.charter),
            claim.commands,
            claim.age,
            Reverse(claim.charter.epoch),
        )
    };
    if rank(ours, theirs) > rank(theirs, ours) {
        Verdict::Ours
    } else {
        Verdict::Theirs
    }
}

/// Whether `charter` descends from `other`. Only the parent is recorded, so of charters that lie two
/// generations or more apart the later is taken for a descendant.
pub(crate) fn succeeds(charter: &Charter, other: &Charter) -> bool {
    let child = charter.parent == Some(other.epoch) && charter.generation > other.generation;
    child || charter.generation > other.generation.saturating_add(1)
}
