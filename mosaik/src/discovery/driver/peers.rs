//! The driver's dealings with peers: connections, gossip links, departure.

use std::{
    collections::{BTreeSet, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use metrics::{counter, gauge};
use tokio::sync::{mpsc, oneshot};

use super::event_loop::{Driver, MAINTENANCE, Timer};
use crate::{
    discovery::{
        Refusal,
        gossip::{ACTIVE_VIEW, Output},
        outbound::{self, Target},
        proto::{catalog, entry::Record},
        serve,
    },
    id::{PeerAddr, PeerId},
    metrics as names, rt,
    transport::{CloseCode, Closed, Connection},
};

/// How long a connection that nobody needs stays open.
const IDLE: Duration = Duration::from_secs(30);
/// Neighbours below which more are looked for, if more peers are known.
const MIN_NEIGHBOURS: usize = 3;
/// Addresses remembered of peers whose entries have not arrived; any goes when there are more.
const MAX_INTRODUCED: usize = 1024;

/// A connection that is served.
#[derive(Debug)]
pub(super) struct Connected {
    stable_id: u64,
    used: rt::Instant,
    /// When something of it was heard last.
    pub(super) heard: rt::Instant,
}

/// A peer that we send gossip to.
#[derive(Debug)]
pub(super) struct GossipLink {
    number: u64,
    target: Target,
    queue: mpsc::Sender<Bytes>,
}

impl Driver {
    pub(super) fn on_connection(&mut self, connection: Connection) {
        let peer = connection.peer();
        let now = rt::now();
        let connected = Connected {
            stable_id: connection.stable_id(),
            used: now,
            heard: now,
        };
        self.connected.insert(peer, connected);
        self.answered.note(peer, now);
        self.on_alive(peer);
        let dialed = connection.dialed();
        self.shared
            .tasks
            .spawn(serve::connection(self.shared.clone(), connection));
        if self.departed || !dialed {
            return;
        }
        let linked = self.links.contains_key(&peer);
        // Who was lost and is found again joins two parts of the network, even if ours is complete.
        let found = self.catalog.burials().lost(&peer).is_some();
        // A connection for a question alone does not make an acquaintance: when everybody asks one peer
        // at once, that would be more than the question.
        if self.asking.contains(&peer, now) && !linked && !found {
            return;
        }
        // The dialer greets, so that the two do not do everything twice.
        self.sync_soon(peer);
        if !linked && (found || self.gossip.neighbours().len() < ACTIVE_VIEW) {
            self.join(peer);
        }
    }

    /// A connection is over: with a reason that explains it, or the peer is looked for.
    pub(super) fn on_ended(&mut self, connection: &Connection, closed: &Closed) {
        let peer = connection.peer();
        let current = self.connected.get(&peer).map(|c| c.stable_id);
        if current != Some(connection.stable_id()) {
            return;
        }
        tracing::debug!(peer = %peer.short(), %closed, "connection ended");
        self.connected.remove(&peer);
        self.links.remove(&peer);
        let mut out = Vec::new();
        self.gossip.disconnected(peer, &mut out);
        self.carry_out(out);
        let explained = matches!(closed.code, CloseCode::Done | CloseCode::Duplicate);
        if !explained {
            self.lost(peer, connection.boot(), true);
        }
    }

    /// Where a peer is: by its entry, or by who introduced it, or by the connection that there is.
    pub(super) fn addr(&self, peer: &PeerId) -> Option<PeerAddr> {
        let entry = self.catalog.live(peer).map(|r| r.body().addr.clone());
        let known = entry.or_else(|| self.introduced.get(peer).cloned());
        known.or_else(|| {
            let connected = self.connected.contains_key(peer);
            connected.then(|| PeerAddr::new(*peer))
        })
    }

    /// The same, with the boot whose entry says so.
    pub(super) fn target(&self, peer: &PeerId) -> Option<Target> {
        let addr = self.addr(peer)?;
        let boot = self.boot_at(&addr);
        Some(Target { addr, boot })
    }

    pub(super) fn on_gossip(&mut self, from: PeerId, bytes: &Bytes) {
        self.touch(&from);
        self.on_heard(from);
        if self.departed {
            return;
        }
        let mut out = Vec::new();
        let received = self.gossip.receive(from, bytes, &mut out);
        self.carry_out(out);
        if let Err(error) = received {
            let error = error.to_string();
            if let Some(connection) = self.shared.pool.get(&from) {
                connection.close(CloseCode::Malformed, &error);
            }
            self.on_refused(from, Refusal::Malformed(error));
        }
    }

    /// Carries out what the gossip protocol wants, and tells it whom that could not be said to.
    pub(super) fn carry_out(&mut self, outputs: Vec<Output>) {
        self.carry_out_once(outputs);
        // Telling it yields more to carry out, and so does carrying out: only the outermost call tells.
        if std::mem::replace(&mut self.carrying, true) {
            return;
        }
        while let Some(peer) = self.unaddressed.pop_first() {
            let mut out = Vec::new();
            self.gossip.disconnected(peer, &mut out);
            self.carry_out_once(out);
        }
        self.carrying = false;
    }

    fn carry_out_once(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send(peer, bytes) => self.send_gossip(peer, bytes),
                Output::SetTimer(delay, timer) => self.timers.set(delay, Timer::Gossip(timer)),
                Output::Release(peer) => {
                    self.links.remove(&peer);
                }
                Output::NeighbourUp(peer) => {
                    tracing::debug!(peer = %peer.short(), "gossip neighbour up");
                    if self.gossip.neighbours().len() == 1 {
                        self.announce_soon();
                    }
                }
                Output::NeighbourDown(peer) => {
                    tracing::debug!(peer = %peer.short(), "gossip neighbour down");
                }
                Output::Received(from, content) => self.on_announcement(from, &content),
                Output::Introduced(addr) => {
                    let known = self.catalog.live(&addr.peer).is_some();
                    if !known {
                        if self.introduced.len() == MAX_INTRODUCED {
                            self.introduced.pop_first();
                        }
                        self.introduced.insert(addr.peer, addr);
                    }
                }
            }
        }
    }

    fn send_gossip(&mut self, peer: PeerId, bytes: Bytes) {
        if !self.links.contains_key(&peer) {
            let target = self.target(&peer).filter(|_| peer != self.shared.me());
            let Some(target) = target else {
                tracing::debug!(peer = %peer.short(), "no address of a peer to gossip with");
                // The protocol waits for an answer, and would take the peer for a neighbour to be.
                self.unaddressed.insert(peer);
                return;
            };
            self.next_link += 1;
            let number = self.next_link;
            let (queue, receiver) = mpsc::channel(outbound::GOSSIP_QUEUE);
            let addr = target.addr.clone();
            let task = outbound::gossip(self.shared.clone(), addr, number, receiver);
            self.shared.tasks.spawn(task);
            let link = GossipLink {
                number,
                target,
                queue,
            };
            self.links.insert(peer, link);
        }
        self.touch(&peer);
        if let Some(link) = self.links.get(&peer)
            && link.queue.try_send(bytes).is_err()
        {
            counter!(names::DISCOVERY_GOSSIP_DROPPED).increment(1);
        }
    }

    /// A gossip link is over: its queue was released, or the peer cannot be reached, or lives but refuses.
    pub(super) fn on_link_ended(&mut self, peer: PeerId, number: u64, refused: bool) {
        match self.links.entry(peer) {
            Entry::Occupied(link) if link.get().number == number => {
                let link = link.remove();
                if refused {
                    self.on_alive(peer);
                } else if !self.connected.contains_key(&peer) {
                    self.on_unreached(&link.target);
                }
            }
            // The successor speaks for the peer now.
            Entry::Occupied(_) => return,
            Entry::Vacant(_) => {}
        }
        let mut out = Vec::new();
        self.gossip.disconnected(peer, &mut out);
        self.carry_out(out);
    }

    fn join(&mut self, peer: PeerId) {
        let mut out = Vec::new();
        self.gossip.join(vec![peer], &mut out);
        self.carry_out(out);
    }

    /// A connection is in use.
    pub(super) fn touch(&mut self, peer: &PeerId) {
        if let Some(connected) = self.connected.get_mut(peer) {
            connected.used = rt::now();
        }
    }

    pub(super) fn maintain(&mut self) {
        self.timers.set(MAINTENANCE, Timer::Maintain);
        let now = rt::now();
        let connections = self.shared.pool.connections();
        for connection in &connections {
            let peer = connection.peer();
            if let Some(rtt) = connection.rtt() {
                self.shared.rtts.observe(peer, rtt);
            }
            let idle = self
                .connected
                .get(&peer)
                .is_some_and(|c| now.duration_since(c.used) > IDLE);
            let needed = self.links.contains_key(&peer)
                || self.gossip.neighbours().contains(&peer)
                || self.syncing.contains(&peer);
            if idle && !needed {
                connection.close(CloseCode::Done, "idle");
            }
        }
        self.shared.pool.sweep();
        self.shared.meters.sweep();
        self.sweep(now);
        if !self.departed {
            let mut out = Vec::new();
            self.gossip.sweep(self.catalog.live_len(), &mut out);
            self.carry_out(out);
        }
        let neighbours = self.gossip.neighbours().iter().copied().collect::<Vec<_>>();
        gauge!(names::DISCOVERY_CONNECTIONS).set(connections.len() as f64);
        gauge!(names::DISCOVERY_NEIGHBOURS).set(neighbours.len() as f64);
        let wanted = MIN_NEIGHBOURS.min(self.catalog.live_len());
        let lonely = neighbours.len() < wanted;
        {
            let mut status = self.shared.status();
            status.connections = connections.len();
            status.neighbours = neighbours;
        }
        if lonely
            && !self.departed
            && let Some(peer) = self.random_peer()
            && !self.gossip.neighbours().contains(&peer)
        {
            self.join(peer);
        }
    }

    /// Forgets what is of no use any more.
    fn sweep(&mut self, now: rt::Instant) {
        self.asking.sweep(now);
        self.answered.sweep(now);
        self.told.sweep(now);
        self.turned_away.sweep(now);
        self.fetched.sweep(now);
        let connected: BTreeSet<_> = self.connected.keys().copied().collect();
        let catalog = &self.catalog;
        self.shared
            .rtts
            .retain(|peer| connected.contains(peer) || catalog.live(peer).is_some());
    }

    /// Leaves: signs the tombstone and brings it to all whom we are connected to, who pass it on.
    pub(super) fn depart(&mut self, left: oneshot::Sender<()>) {
        if !std::mem::replace(&mut self.departed, true) {
            let signed = self.shared.own().depart();
            if let Err(error) = signed {
                tracing::warn!(%error, "tombstone not signed");
            }
        }
        let tombstone: Arc<Record> = self.shared.own().record().clone();
        self.update_catalog(catalog::Input::Signed(tombstone.clone()));
        let connections = self.shared.pool.connections();
        self.shared.tasks.spawn(async move {
            outbound::farewell(connections, tombstone).await;
            if left.send(()).is_err() {
                tracing::debug!("the farewell took longer than was waited for");
            }
        });
    }
}
