//! Why something is not online: what every part of a node waits for, in words.

use std::fmt;

use crate::{
    discovery::{BootstrapStatus, DiscoveryStatus, RendezvousStatus},
    groups::GroupExplanation,
    id::{NetworkId, PeerAddr},
    streams::StreamsStatus,
};

/// What is online, what waits, and for what: from [`Network::explain`](crate::Network::explain).
///
/// Prints as text for people; its form may change.
#[derive(Clone, Debug)]
pub struct Explanation {
    pub(crate) network: NetworkId,
    pub(crate) local: PeerAddr,
    pub(crate) stopped: bool,
    pub(crate) discovery: DiscoveryStatus,
    pub(crate) streams: StreamsStatus,
    pub(crate) groups: Vec<GroupExplanation>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "network {}", self.network.short())?;
        writeln!(f, "local peer {}", self.local)?;
        if self.stopped {
            return writeln!(f, "shut down: build a new network");
        }
        if self.local.is_empty() {
            writeln!(f, "no address known yet: nobody can dial this peer")?;
        }
        self.discovery(f)?;
        write!(f, "{}", self.streams)?;
        self.groups
            .iter()
            .try_for_each(|group| write!(f, "{group}"))
    }
}

impl Explanation {
    fn discovery(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let discovery = &self.discovery;
        let (peers, neighbours) = (discovery.peers, discovery.neighbours.len());
        writeln!(
            f,
            "discovery: {peers} other live peer(s), {neighbours} gossip neighbour(s)"
        )?;
        if peers == 0 {
            writeln!(
                f,
                "  waiting for a first peer: start another node of this network, or give one \
                 to `bootstrap`"
            )?;
        }
        for (peer, bootstrap) in &discovery.bootstrap {
            let state = describe(bootstrap);
            writeln!(f, "  bootstrap {}: {state}", peer.short())?;
        }
        match &discovery.rendezvous {
            RendezvousStatus::Off => writeln!(f, "  host-local rendezvous: off")?,
            RendezvousStatus::Starting => writeln!(f, "  host-local rendezvous: starting")?,
            RendezvousStatus::Watching(dir) => {
                writeln!(f, "  host-local rendezvous: watching {}", dir.display())?;
            }
            RendezvousStatus::Failed(reason) => {
                writeln!(f, "  host-local rendezvous: does not work: {reason}")?;
            }
        }
        for refusal in &discovery.refusals {
            let (peer, reason) = (refusal.peer.short(), &refusal.reason);
            match refusal.count {
                1 => writeln!(f, "  refused {peer}: {reason}")?,
                count => writeln!(f, "  refused {peer} {count} times: {reason}")?,
            }
        }
        Ok(())
    }
}

/// How a bootstrap peer is doing, in words.
fn describe(bootstrap: &BootstrapStatus) -> String {
    let failures = bootstrap.failures;
    match (&bootstrap.last_error, bootstrap.dialing) {
        _ if bootstrap.myself => "this peer itself".into(),
        _ if bootstrap.connected => "connected".into(),
        _ if bootstrap.known => "known, without a connection".into(),
        (Some(error), true) => format!("dialing again after {failures} failed dial(s): {error}"),
        (Some(error), false) => format!("not connected after {failures} dial(s): {error}"),
        (None, true) => "dialing".into(),
        (None, false) => "about to be dialed".into(),
    }
}
