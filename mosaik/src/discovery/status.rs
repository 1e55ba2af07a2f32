//! What `explain` asks: how discovery is doing.

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
};

use super::Refusal;
use crate::id::PeerId;

/// Refusals that are remembered; the oldest goes first.
pub(super) const MAX_REFUSALS: usize = 32;

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
    pub(crate) refusals: VecDeque<(PeerId, Refusal)>,
}

/// How one bootstrap peer is doing.
#[derive(Clone, Debug)]
pub(crate) struct BootstrapStatus {
    /// Whether there is a connection to it.
    pub(crate) connected: bool,
    /// Dials that have failed since it was last connected.
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
        if self.refusals.len() == MAX_REFUSALS {
            self.refusals.pop_front();
        }
        self.refusals.push_back((peer, reason));
    }
}
