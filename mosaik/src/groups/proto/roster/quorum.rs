//! What a quorum has, needs and lacks, and when it can never be had again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::view::Membership;
use crate::id::MemberId;

/// How far a membership is from a quorum. While joint, of the set of voters that lacks most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Quorum {
    /// Voters that are live.
    pub(crate) have: usize,
    /// Voters that must be.
    pub(crate) need: usize,
    /// Those that are not.
    pub(crate) missing: BTreeSet<MemberId>,
}

impl Quorum {
    /// Whether there are enough.
    pub(crate) fn reached(&self) -> bool {
        self.have >= self.need
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { have, need, .. } = self;
        write!(f, "{have} of the {need} voters needed are live")?;
        for (i, member) in self.missing.iter().enumerate() {
            let before = if i == 0 { "; missing: " } else { ", " };
            write!(f, "{before}{member}")?;
        }
        Ok(())
    }
}

/// Voters that make a majority of so many.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// How far a membership is from a quorum of live voters.
pub(crate) fn quorum(membership: &Membership, live: &BTreeSet<MemberId>) -> Quorum {
    let of = |config: &BTreeSet<MemberId>| Quorum {
        have: config.intersection(live).count(),
        need: majority(config.len()),
        missing: config.difference(live).copied().collect(),
    };
    let lacks = |quorum: &Quorum| quorum.need.saturating_sub(quorum.have);
    let target = of(&membership.voters);
    match membership.leaving.as_ref().map(of) {
        Some(left) if lacks(&left) > lacks(&target) => left,
        _ => target,
    }
}

/// Why a member is known to be dead, its volatile log with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Death {
    /// A newer signed boot of its peer was admitted.
    Superseded,
    /// It signed its departure.
    Departed,
}

/// Whether so many voters of a volatile charter are proven dead that no quorum of this membership can
/// ever exist again. While joint, one set that cannot have a majority is enough if the other has one
/// among the reachable: else what was decided by the other alone may be with those who are missing.
///
/// Says nothing about a later membership: see [`refound`](super::refound).
pub(crate) fn provably_dead(
    volatile: bool,
    membership: &Membership,
    reachable: &BTreeSet<MemberId>,
    evidence: &BTreeMap<MemberId, Death>,
) -> bool {
    let doomed = |config: &BTreeSet<MemberId>| {
        let left = config.iter().filter(|voter| !evidence.contains_key(voter));
        left.count() < majority(config.len())
    };
    let reached = |config: &BTreeSet<MemberId>| {
        config.intersection(reachable).count() >= majority(config.len())
    };
    let mut configs = membership.configs();
    volatile
        && membership.configs().any(doomed)
        && configs.all(|config| doomed(config) || reached(config))
}
