//! What `explain` asks: how discovery is doing.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

use super::Refusal;
use crate::id::PeerId;

/// Refusals that are remembered, each different one once; the oldest goes first.
pub(super) const MAX_REFUSALS: usize = 16;

/// How discovery is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct DiscoveryStatus {
    /// The bootstrap peers.
    pub(crate) bootstrap: BTreeMap<PeerId, BootstrapStatus>,
    /// Gossip neighbours.
    pub(crate) neighbours: Vec<PeerId>,
    /// Other live peers in the catalog.
    pub(crate) peers: usize,
    /// Open discovery connections.
    pub(crate) connections: usize,
    /// How the host-local rendezvous is doing.
    pub(crate) rendezvous: RendezvousStatus,
    /// The latest refusals, oldest first.
    pub(crate) refusals: VecDeque<RefusalStatus>,
}

/// Something that was refused, lately or again and again.
#[derive(Clone, Debug)]
pub(crate) struct RefusalStatus {
    /// The peer that it came from, or that was dialed.
    pub(crate) peer: PeerId,
    /// What and why.
    pub(crate) reason: Refusal,
    /// How often.
    pub(crate) count: u64,
}

/// How one bootstrap peer is doing.
#[derive(Clone, Debug, Default)]
pub(crate) struct BootstrapStatus {
    /// Whether it is this peer itself.
    pub(crate) myself: bool,
    /// Whether there is a connection to it, whoever dialed.
    pub(crate) connected: bool,
    /// Whether it is in the catalog.
    pub(crate) known: bool,
    /// Whether it is being dialed.
    pub(crate) dialing: bool,
    /// Dials that have failed since it was last reached.
    pub(crate) failures: u64,
    /// Why the last dial failed, if none has succeeded since.
    pub(crate) last_error: Option<String>,
}

/// How the host-local rendezvous is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum RendezvousStatus {
    /// It is turned off.
    #[default]
    Off,
    /// It is about to start.
    Starting,
    /// It watches this directory.
    Watching(PathBuf),
    /// It does not work, for this reason.
    Failed(String),
}

impl DiscoveryStatus {
    pub(super) fn refuse(&mut self, peer: PeerId, reason: Refusal) {
        let mut same = |known: &RefusalStatus| known.peer == peer && known.reason == reason;
        let before = self.refusals.iter().position(&mut same);
        let before = before.and_then(|at| self.refusals.remove(at));
        if self.refusals.len() == MAX_REFUSALS {
            self.refusals.pop_front();
        }
        let count = before.map_or(0, |before| before.count) + 1;
        self.refusals.push_back(RefusalStatus {
            peer,
            reason,
            count,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_remembered_once_each_and_the_latest_only() {
        let mut status = DiscoveryStatus::default();
        let peer = |n: usize| PeerId::from_bytes([u8::try_from(n).unwrap(); 32]);
        for n in 0..MAX_REFUSALS {
            status.refuse(peer(n), Refusal::CatalogFull);
        }
        for _ in 0..100 {
            status.refuse(peer(1), Refusal::CatalogFull);
        }
        assert_eq!(status.refusals.len(), MAX_REFUSALS);
        assert_eq!(
            status.refusals.back().map(|r| (r.peer, r.count)),
            Some((peer(1), 101))
        );
        status.refuse(peer(99), Refusal::CatalogFull);
        assert_eq!(status.refusals.len(), MAX_REFUSALS);
        assert!(status.refusals.iter().all(|r| r.peer != peer(0)));
    }
}
