//! The charter: the record that founds a group.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    groups::proto::timing::Timing,
    id::{GroupId, MemberId, PeerId},
};

/// Most founders of a charter.
pub(crate) const MAX_FOUNDERS: usize = 16;

/// An incarnation of a group: the random id of its charter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Epoch([u8; 16]);

impl Epoch {
    /// The epoch whose random id is `bytes`.
    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The random id.
    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..5].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Epoch({self})")
    }
}

/// A digest that the founding protocol carries and does not read.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

/// What the members of a charter agree on besides who they are; compared in the handshake.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct Terms {
    /// Whether the founders keep the log on disk.
    pub(crate) durable: bool,
    /// Heartbeat and election timing, as far as it is declared.
    pub(crate) timing: Digest,
    /// The check value of the group's key.
    pub(crate) key_check: Digest,
    /// The machine's fingerprint.
    pub(crate) fingerprint: Digest,
    /// The group's options.
    pub(crate) options: Digest,
}

/// The record that founds a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Charter {
    /// The incarnation that it founds.
    pub(crate) epoch: Epoch,
    /// The group.
    pub(crate) group: GroupId,
    /// The first voters, of distinct peers.
    pub(crate) founders: BTreeSet<MemberId>,
    /// The charter that this one recovers.
    pub(crate) parent: Option<Epoch>,
    /// Number of ancestors.
    pub(crate) generation: u64,
    /// Greater than that of any charter that a founder had accepted or pledged against when it was
    /// proposed: what is not greater is stale, so a pledge needs no memory of its charter.
    pub(crate) round: u64,
    /// How fast the group notices that its leader is gone: declared, or measured by who proposed it.
    pub(crate) timing: Timing,
    /// What else is agreed.
    pub(crate) terms: Terms,
}

impl Charter {
    /// The charter that `founder` founds alone to recover this one.
    pub(crate) fn descendant(&self, epoch: Epoch, founder: MemberId, round: u64) -> Self {
        Self {
            epoch,
            group: self.group,
            founders: BTreeSet::from([founder]),
            parent: Some(self.epoch),
            generation: self.generation.saturating_add(1),
            round,
            timing: self.timing,
            terms: self.terms,
        }
    }

    /// Whether it can found `group` with `founders` founders, each of another peer, that can work together.
    pub(crate) fn is_sound(&self, group: GroupId, founders: usize) -> bool {
        let peers: BTreeSet<PeerId> = self.founders.iter().map(|member| member.peer).collect();
        let counts = [self.founders.len(), peers.len()];
        self.group == group && counts == [founders; 2] && self.timing.check().is_ok()
    }

    /// Members such that every majority of the founders contains one of them.
    pub(crate) fn blocking(&self) -> usize {
        self.founders.len().div_ceil(2)
    }
}
