//! HyParView and PlumTree over our own links: the adapter of `iroh_gossip::proto`.
//!
//! That state machine is driven here rather than by the crate's ready-made actor, so that a frozen
//! peer stalls nobody and one message that is too large wedges nothing. Peers are introduced with a
//! few of their addresses, so that a newcomer can be dialed before its entry has arrived.
//!
//! Its state is bounded whatever peers send: no message carries more than an honest one, what the state
//! machine never forgets is counted beside it ([`memory`]), and when that is too much, it begins anew.

mod memory;
mod shape;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use iroh_gossip::proto::{
    self, Command, Event, InEvent, Message, OutEvent, PeerData, Scope, State, TopicId,
};
use metrics::counter;
use rand::{SeedableRng as _, rngs::StdRng};

use self::{memory::Memory, shape::Shape};
use super::{own::widest, proto::entry::MAX_NAME};
use crate::{
    id::{NetworkId, PeerAddr, PeerId},
    metrics as names, rt, wire,
};

/// Neighbours that a peer aims for (HyParView's active view).
pub(super) const ACTIVE_VIEW: usize = 5;
/// Largest message that carries a payload or promises, in bytes: 4 KiB.
const MAX_MESSAGE: usize = 4096;
/// Largest message that is taken in: 16 KiB, more than the introductions in any honest answer to a shuffle.
const MAX_RECEIVED: usize = 16 * 1024;
/// Neighbours, and others, that a peer tells of when views are shuffled.
const SHUFFLED: (usize, usize) = (3, 4);
/// Most peers that a message introduces: those, and its sender.
const MAX_PEERS: usize = SHUFFLED.0 + SHUFFLED.1 + 1;
/// Most payloads that a message promises: as many ids and hops as fit one.
const MAX_PROMISES: usize = MAX_MESSAGE / 33;
/// Longest random walk that is gone along with; ours are of six steps.
const MAX_TTL: u16 = 16;
/// Socket addresses that a peer is introduced with.
const INTRODUCED_IPS: usize = 6;
/// Largest introduction that is read, in bytes.
const MAX_INTRODUCTION: usize = 1024;
/// How long a peer that was asked to be a neighbour has to answer, dial included.
const NEIGHBOUR_TIMEOUT: Duration = Duration::from_secs(3);
/// Hops beyond which a message is taken for nonsense: the counter is 16 bits and must not overflow.
const MAX_HOPS: u16 = 4096;

/// A timer of the protocol.
#[derive(Clone, Debug)]
pub(super) struct Timer {
    /// Which life of the protocol set it; those of earlier ones mean nothing.
    life: u64,
    timer: proto::Timer<PeerId>,
}

/// What the protocol wants done or known.
#[derive(Debug)]
pub(super) enum Output {
    /// Send this to a peer, which may have to be dialed.
    Send(PeerId, Bytes),
    /// Come back after this long.
    SetTimer(Duration, Timer),
    /// Nothing more is to be sent to a peer.
    Release(PeerId),
    /// A peer became a neighbour.
    NeighbourUp(PeerId),
    /// A peer is a neighbour no longer.
    NeighbourDown(PeerId),
    /// An announcement arrived by way of a peer.
    Received(PeerId, Bytes),
    /// Where a peer may be.
    Introduced(PeerAddr),
}

/// The gossip of one network.
#[derive(Debug)]
pub(super) struct Gossip {
    state: State<PeerId, StdRng>,
    /// How often the state began.
    life: u64,
    memory: Memory,
    me: PeerAddr,
    topic: TopicId,
    neighbours: BTreeSet<PeerId>,
}

impl Gossip {
    /// The gossip of `network`, alone.
    pub(super) fn new(network: NetworkId, me: &PeerAddr, out: &mut Vec<Output>) -> Self {
        let topic = blake3::derive_key("mosaik/discovery/gossip/1", network.as_bytes());
        let mut gossip = Self {
            state: state(me),
            life: 0,
            memory: Memory::new(rt::now()),
            me: me.clone(),
            topic: TopicId::from_bytes(topic),
            neighbours: BTreeSet::new(),
        };
        gossip.join(Vec::new(), out);
        gossip
    }

    /// The peers that messages are exchanged with.
    pub(super) fn neighbours(&self) -> &BTreeSet<PeerId> {
        &self.neighbours
    }

    /// Joins by way of these peers.
    pub(super) fn join(&mut self, peers: Vec<PeerId>, out: &mut Vec<Output>) {
        self.command(Command::Join(peers), out);
    }

    /// Tells everybody.
    pub(super) fn broadcast(&mut self, content: Bytes, out: &mut Vec<Output>) {
        self.keep(&content);
        self.command(Command::Broadcast(content, Scope::Swarm), out);
    }

    /// Takes in a message.
    ///
    /// # Errors
    /// When it is none, or one that no peer of this version sends.
    pub(super) fn receive(
        &mut self,
        from: PeerId,
        bytes: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), ReceiveError> {
        if bytes.len() > MAX_RECEIVED {
            return Err(ReceiveError::TooLarge { len: bytes.len() });
        }
        let message: Message<PeerId> = wire::decode(bytes)?;
        let shape = Shape::of(bytes);
        check(&shape, bytes.len())?;
        if shape.hops.is_some_and(|hops| hops > MAX_HOPS) {
            tracing::debug!("gossip message with an absurd number of hops ignored");
            return Ok(());
        }
        // To join ourselves would be to wait for an answer of our own.
        if shape.joins == Some(*self.me.peer.as_bytes()) {
            return Ok(());
        }
        if !self.has_room(from, &shape) {
            // As if it were lost on its way, which exchanges make up for.
            counter!(names::DISCOVERY_GOSSIP_DROPPED).increment(1);
            return Ok(());
        }
        self.memory.heard_of(&from);
        self.handle(InEvent::RecvMessage(from, message), out);
        Ok(())
    }

    /// Whether there is room for what a message makes the protocol remember; then it is taken.
    fn has_room(&mut self, from: PeerId, shape: &Shape) -> bool {
        let now = rt::now();
        (!shape.payload || self.memory.takes_payload(now))
            && self.memory.introduce(&shape.peers)
            && (shape.promises.is_empty() || self.memory.promise(from, &shape.promises, now))
    }

    /// Forgets what is of no use any more, while `live` peers are known to live; call now and then.
    pub(super) fn sweep(&mut self, live: usize, out: &mut Vec<Output>) {
        let now = rt::now();
        self.memory.live(live);
        if self.memory.sweep(now) {
            // A message that was promised and never came leaves something behind, until anybody is gone.
            self.handle(InEvent::PeerDisconnected(self.me.peer), out);
        }
        if self.memory.is_full(now) {
            self.begin_anew(out);
            self.memory.live(live);
        }
    }

    /// Forgets everybody, and joins the neighbours again.
    fn begin_anew(&mut self, out: &mut Vec<Output>) {
        tracing::debug!("gossip begins anew: it has heard of too many peers that are gone");
        // The neighbours must forget us first, or they would take our joining for what they have answered.
        // Their links stay, and keep both in order.
        let mut parting = Vec::new();
        self.command(Command::Quit, &mut parting);
        out.extend(parting.extract_if(.., |output| !matches!(output, Output::Release(_))));
        self.life += 1;
        self.state = state(&self.me);
        self.memory = Memory::new(rt::now());
        let neighbours = std::mem::take(&mut self.neighbours);
        out.extend(neighbours.iter().copied().map(Output::NeighbourDown));
        self.join(neighbours.into_iter().collect(), out);
    }

    fn keep(&mut self, content: &Bytes) {
        let id = *blake3::hash(content).as_bytes();
        self.memory.keep_payload(id, content.len(), rt::now());
    }

    /// A timer is due.
    pub(super) fn timer_fired(&mut self, timer: Timer, out: &mut Vec<Output>) {
        if timer.life == self.life {
            self.handle(InEvent::TimerExpired(timer.timer), out);
        }
    }

    /// A peer cannot be reached, or its connection is gone.
    pub(super) fn disconnected(&mut self, peer: PeerId, out: &mut Vec<Output>) {
        self.memory.forget(&peer);
        self.handle(InEvent::PeerDisconnected(peer), out);
    }

    /// Our own addresses have changed.
    pub(super) fn introduce(&mut self, me: &PeerAddr, out: &mut Vec<Output>) {
        self.me = me.clone();
        self.handle(InEvent::UpdatePeerData(introduction(me)), out);
    }

    fn command(&mut self, command: Command<PeerId>, out: &mut Vec<Output>) {
        self.handle(InEvent::Command(self.topic, command), out);
    }

    fn handle(&mut self, event: InEvent<PeerId>, out: &mut Vec<Output>) {
        let events: Vec<_> = self.state.handle(event, rt::now(), None).collect();
        for event in events {
            match event {
                OutEvent::SendMessage(peer, message) => match wire::encode(&message) {
                    Ok(bytes) => out.push(Output::Send(peer, bytes.into())),
                    Err(error) => tracing::warn!(%error, "gossip message not encoded"),
                },
                OutEvent::ScheduleTimer(delay, timer) => {
                    let life = self.life;
                    out.push(Output::SetTimer(delay, Timer { life, timer }));
                }
                OutEvent::DisconnectPeer(peer) => out.push(Output::Release(peer)),
                OutEvent::PeerData(peer, data) => {
                    if let Some(addr) = introduced(peer, &data) {
                        out.push(Output::Introduced(addr));
                    }
                }
                OutEvent::EmitEvent(_, Event::NeighborUp(peer)) => {
                    self.neighbours.insert(peer);
                    out.push(Output::NeighbourUp(peer));
                }
                OutEvent::EmitEvent(_, Event::NeighborDown(peer)) => {
                    self.neighbours.remove(&peer);
                    out.push(Output::NeighbourDown(peer));
                }
                OutEvent::EmitEvent(_, Event::Received(received)) => {
                    self.keep(&received.content);
                    out.push(Output::Received(received.delivered_from, received.content));
                }
            }
        }
    }
}

/// Why a message was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ReceiveError {
    /// Run the same release on both peers.
    #[error(transparent)]
    Decode(#[from] wire::DecodeError),
    /// The peer is faulty.
    #[error("a gossip message of {len} bytes is over the limit")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// The peer is faulty.
    #[error("{count} {what} in a gossip message are over the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The peer is faulty.
    #[error("a walk of {ttl} steps through the network is over the limit of {MAX_TTL}")]
    TooFar {
        /// The steps that it wants.
        ttl: u16,
    },
}

/// The protocol at its beginning.
fn state(me: &PeerAddr) -> State<PeerId, StdRng> {
    let mut config = proto::Config {
        max_message_size: MAX_MESSAGE,
        ..Default::default()
    };
    config.membership.active_view_capacity = ACTIVE_VIEW;
    config.membership.neighbor_request_timeout = NEIGHBOUR_TIMEOUT;
    config.membership.shuffle_active_view_count = SHUFFLED.0;
    config.membership.shuffle_passive_view_count = SHUFFLED.1;
    config.broadcast.message_cache_retention = memory::PAYLOAD_RETENTION;
    config.broadcast.message_id_retention = memory::ID_RETENTION;
    let rng = StdRng::from_seed(rt::random_bytes());
    State::new(me.peer, introduction(me), config, rng)
}

/// Checks that a message carries no more than one of ours would.
fn check(shape: &Shape, len: usize) -> Result<(), ReceiveError> {
    if (shape.payload || !shape.promises.is_empty()) && len > MAX_MESSAGE {
        return Err(ReceiveError::TooLarge { len });
    }
    for (what, count, limit) in [
        ("introductions", shape.peers.len(), MAX_PEERS),
        (
            "bytes of one introduction",
            shape.introduction,
            MAX_INTRODUCTION,
        ),
        ("promises", shape.promises.len(), MAX_PROMISES),
    ] {
        if count > limit {
            return Err(ReceiveError::TooMany { what, count, limit });
        }
    }
    match shape.ttl {
        Some(ttl) if ttl > MAX_TTL => Err(ReceiveError::TooFar { ttl }),
        _ => Ok(()),
    }
}

fn introduction(me: &PeerAddr) -> PeerData {
    let mut addr = PeerAddr {
        peer: me.peer,
        ips: widest(&me.ips, INTRODUCED_IPS),
        relays: me.relays.iter().take(1).cloned().collect(),
    };
    if addr.relays.iter().any(|relay| relay.len() > MAX_NAME) {
        addr.relays.clear();
    }
    PeerData::new(wire::encode(&addr).unwrap_or_default())
}

fn introduced(peer: PeerId, data: &PeerData) -> Option<PeerAddr> {
    let bytes = Some(data.as_bytes()).filter(|bytes| bytes.len() <= MAX_INTRODUCTION)?;
    let addr: PeerAddr = wire::decode(bytes).ok()?;
    (addr.peer == peer && !addr.is_empty()).then_some(addr)
}
