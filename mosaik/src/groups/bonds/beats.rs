//! Signs of life between nodes, one for all the groups that rest between them.
//!
//! A group that rests sends no heartbeats of its own; its members show themselves by their nodes instead, as often
//! as the most impatient of these groups wants. Nothing is sent where nothing rests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Bonds, Control};
use crate::{
    groups::front::Front,
    id::{GroupId, PeerId},
    rt::{self, Instant, lock},
};

/// What a group that rests wants of the nodes of its members.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// This node's part in the group.
    pub(crate) front: Arc<Front>,
    /// To whom this node shows itself.
    pub(crate) peers: BTreeSet<PeerId>,
    /// How often.
    pub(crate) every: Duration,
    /// How long one of them may be silent before the group is told, once; if it cares.
    pub(crate) limit: Option<Duration>,
    /// Since when.
    pub(crate) since: Instant,
}

/// The groups of a node that rest.
#[derive(Debug, Default)]
pub(super) struct Beats {
    watched: Mutex<BTreeMap<GroupId, Watched>>,
    changed: Notify,
}

impl Beats {
    /// What a group wants from now on.
    pub(super) fn watch(&self, group: GroupId, watched: Option<Watched>) {
        let mut all = lock(&self.watched);
        let wakes = all.is_empty() && watched.is_some();
        match watched {
            Some(watched) => all.insert(group, watched),
            None => all.remove(&group),
        };
        drop(all);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// How often the most impatient group wants a sign, if any does.
    fn every(&self) -> Option<Duration> {
        let all = lock(&self.watched);
        all.values().map(|watched| watched.every).min()
    }

    /// To whom this node shows itself.
    fn peers(&self) -> BTreeSet<PeerId> {
        let all = lock(&self.watched);
        all.values()
            .flat_map(|watched| &watched.peers)
            .copied()
            .collect()
    }

    /// The groups that miss somebody, as of `heard`; they are not told again.
    fn missing(&self, heard: &BTreeMap<PeerId, Instant>) -> Vec<Arc<Front>> {
        let now = rt::now();
        let mut fronts = Vec::new();
        for watched in lock(&self.watched).values_mut() {
            let Some(limit) = watched.limit else {
                continue;
            };
            let last = |peer: &PeerId| heard.get(peer).copied().unwrap_or(watched.since);
            let oldest = watched.peers.iter().map(last).min();
            let silent = oldest.map(|oldest| now.duration_since(oldest.max(watched.since)));
            if silent.is_some_and(|silent| silent >= limit) {
                watched.limit = None;
                fronts.push(watched.front.clone());
            }
        }
        fronts
    }
}

/// Shows this node to those who want it, and looks for who is missing, as long as the network.
pub(super) async fn run(bonds: Bonds) {
    let beats = bonds.beats();
    loop {
        let Some(every) = beats.every() else {
            beats.changed.notified().await;
            continue;
        };
        let peers = beats.peers();
        let mut heard = BTreeMap::new();
        for line in bonds.lines() {
            let peer = line.connection.peer();
            if peers.contains(&peer) {
                line.tell(Control::Beat);
                heard.insert(peer, line.heard());
            }
        }
        for front in beats.missing(&heard) {
            front.silent();
        }
        rt::sleep(every).await;
    }
}
