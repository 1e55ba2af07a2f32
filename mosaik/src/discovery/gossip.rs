//! HyParView and PlumTree over our own links: the adapter of `iroh_gossip::proto`.
//!
//! That state machine is driven here rather than by the crate's ready-made actor, so that a frozen
//! peer stalls nobody and one message that is too large wedges nothing. Peers are introduced with a
//! few of their addresses, so that a newcomer can be dialed before its entry has arrived.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use iroh_gossip::proto::{
    self, Command, Event, InEvent, Message, OutEvent, PeerData, Scope, State, TopicId,
};
use rand::{SeedableRng as _, rngs::StdRng};

use crate::{
    id::{NetworkId, PeerAddr, PeerId},
    rt, wire,
};

/// Neighbours that a peer aims for (HyParView's active view).
pub(super) const ACTIVE_VIEW: usize = 5;
/// Largest gossip message, in bytes: 4 KiB.
const MAX_MESSAGE: usize = 4096;
/// Largest message that is taken in: 16 KiB, more than the introductions in any honest answer to a shuffle.
const MAX_RECEIVED: usize = 16 * 1024;
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
pub(super) type Timer = proto::Timer<PeerId>;

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
    me: PeerId,
    topic: TopicId,
    neighbours: BTreeSet<PeerId>,
}

impl Gossip {
    /// The gossip of `network`, alone.
    pub(super) fn new(network: NetworkId, me: &PeerAddr, out: &mut Vec<Output>) -> Self {
        let mut config = proto::Config {
            max_message_size: MAX_MESSAGE,
            ..Default::default()
        };
        config.membership.active_view_capacity = ACTIVE_VIEW;
        config.membership.neighbor_request_timeout = NEIGHBOUR_TIMEOUT;
        let rng = StdRng::from_seed(rt::random_bytes());
        let topic = blake3::derive_key("mosaik/discovery/gossip/1", network.as_bytes());
        let mut gossip = Self {
            state: State::new(me.peer, introduction(me), config, rng),
            me: me.peer,
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
        if hops(bytes).is_some_and(|hops| hops > MAX_HOPS) {
            tracing::debug!("gossip message with an absurd number of hops ignored");
            return Ok(());
        }
        let walk = walk(bytes);
        if let Some((_, ttl)) = walk
            && ttl > MAX_TTL
        {
            return Err(ReceiveError::TooFar { ttl });
        }
        // To join ourselves would be to wait for an answer of our own.
        if walk.is_some_and(|(joins, _)| joins == Some(*self.me.as_bytes())) {
            return Ok(());
        }
        self.handle(InEvent::RecvMessage(from, message), out);
        Ok(())
    }

    /// A timer is due.
    pub(super) fn timer_fired(&mut self, timer: Timer, out: &mut Vec<Output>) {
        self.handle(InEvent::TimerExpired(timer), out);
    }

    /// A peer cannot be reached, or its connection is gone.
    pub(super) fn disconnected(&mut self, peer: PeerId, out: &mut Vec<Output>) {
        self.handle(InEvent::PeerDisconnected(peer), out);
    }

    /// Our own addresses have changed.
    pub(super) fn introduce(&mut self, me: &PeerAddr, out: &mut Vec<Output>) {
        self.handle(InEvent::UpdatePeerData(introduction(me)), out);
    }

    fn command(&mut self, command: Command<PeerId>, out: &mut Vec<Output>) {
        self.handle(InEvent::Command(self.topic, command), out);
    }

    fn handle(&mut self, event: InEvent<PeerId>, out: &mut Vec<Output>) {
        for event in self.state.handle(event, rt::now(), None) {
            match event {
                OutEvent::SendMessage(peer, message) => match wire::encode(&message) {
                    Ok(bytes) => out.push(Output::Send(peer, bytes.into())),
                    Err(error) => tracing::warn!(%error, "gossip message not encoded"),
                },
                OutEvent::ScheduleTimer(delay, timer) => out.push(Output::SetTimer(delay, timer)),
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
    #[error("a gossip message of {len} bytes is over the limit of {MAX_RECEIVED}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// The peer is faulty.
    #[error("a walk of {ttl} steps through the network is over the limit of {MAX_TTL}")]
    TooFar {
        /// The steps that it wants.
        ttl: u16,
    },
}

fn introduction(me: &PeerAddr) -> PeerData {
    let addr = PeerAddr {
        peer: me.peer,
        ips: me.ips.iter().take(INTRODUCED_IPS).copied().collect(),
        relays: me.relays.iter().take(1).cloned().collect(),
    };
    PeerData::new(wire::encode(&addr).unwrap_or_default())
}

fn introduced(peer: PeerId, data: &PeerData) -> Option<PeerAddr> {
    let bytes = Some(data.as_bytes()).filter(|bytes| bytes.len() <= MAX_INTRODUCTION)?;
    let addr: PeerAddr = wire::decode(bytes).ok()?;
    (addr.peer == peer && !addr.is_empty()).then_some(addr)
}

/// The hop counter of a message that carries content. The message's fields are private to its crate, so
/// they are read off its encoding: topic, two tags, id, content, scope, hops.
fn hops(bytes: &[u8]) -> Option<u16> {
    type Head<'a> = ([u8; 32], u8, u8, [u8; 32], &'a [u8], u8, u16);
    let (head, _): (Head<'_>, _) = postcard::take_from_bytes(bytes).ok()?;
    let (_, layer, kind, _, _, scope, hops) = head;
    (layer == 1 && kind == 0 && scope == 0).then_some(hops)
}

/// The steps that a message has left to walk through the network, read off its encoding too: topic, two
/// tags, then of a join who joins, of a shuffle its origin and nodes, then the steps. With who joins.
fn walk(bytes: &[u8]) -> Option<(Option<[u8; 32]>, u16)> {
    type Peer<'a> = ([u8; 32], Option<&'a [u8]>);
    type Join<'a> = (Peer<'a>, u16);
    type Shuffle<'a> = ([u8; 32], Vec<Peer<'a>>, u16);
    let (head, rest): (([u8; 32], u8, u8), _) = postcard::take_from_bytes(bytes).ok()?;
    match head {
        (_, 0, 1) => {
            let (((peer, _), ttl), _): (Join<'_>, _) = postcard::take_from_bytes(rest).ok()?;
            Some((Some(peer), ttl))
        }
        (_, 0, 2) => {
            let ((_, _, ttl), _): (Shuffle<'_>, _) = postcard::take_from_bytes(rest).ok()?;
            Some((None, ttl))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gossip(n: u8) -> (PeerId, Gossip) {
        let me = PeerId::from_bytes([n; 32]);
        let network = NetworkId::from_name("n");
        let gossip = Gossip::new(network, &PeerAddr::new(me), &mut Vec::new());
        (me, gossip)
    }

    /// Two peers that are neighbours, by exchanging what they send.
    fn neighbours() -> (PeerId, Gossip, PeerId, Gossip) {
        let ((a_id, mut a), (b_id, mut b)) = (gossip(1), gossip(2));
        let mut out = Vec::new();
        a.join(vec![b_id], &mut out);
        let mut at_a = true;
        while out.iter().any(|o| matches!(o, Output::Send(..))) {
            let (from, to) = if at_a { (a_id, &mut b) } else { (b_id, &mut a) };
            let mut next = Vec::new();
            for output in out.drain(..) {
                if let Output::Send(_, bytes) = output {
                    to.receive(from, &bytes, &mut next).unwrap();
                }
            }
            out = next;
            at_a = !at_a;
        }
        (a_id, a, b_id, b)
    }

    #[test]
    fn a_broadcast_reaches_the_neighbour_and_hops_are_read() {
        let (a_id, mut a, b_id, mut b) = neighbours();
        assert!(a.neighbours().contains(&b_id) && b.neighbours().contains(&a_id));
        let mut out = Vec::new();
        a.broadcast(Bytes::from_static(b"news"), &mut out);
        let sent = out.iter().find_map(|output| match output {
            Output::Send(_, bytes) => Some(bytes.clone()),
            _ => None,
        });
        let sent = sent.unwrap();
        assert_eq!(hops(&sent), Some(0));
        let mut out = Vec::new();
        b.receive(a_id, &sent, &mut out).unwrap();
        assert!(
            out.iter()
                .any(|o| matches!(o, Output::Received(_, c) if &c[..] == b"news"))
        );
    }

    #[test]
    fn absurd_hops_are_ignored() {
        let (a_id, mut a, _, mut b) = neighbours();
        let mut out = Vec::new();
        a.broadcast(Bytes::from_static(b"news"), &mut out);
        let Some(Output::Send(_, sent)) = out.into_iter().find(|o| matches!(o, Output::Send(..)))
        else {
            panic!("nothing sent");
        };
        // The hops are the last field: 65535 instead of 0.
        let mut bytes = sent.to_vec();
        assert_eq!(bytes.pop(), Some(0));
        bytes.extend_from_slice(&[0xff, 0xff, 0x03]);
        let mut out = Vec::new();
        b.receive(a_id, &bytes, &mut out).unwrap();
        assert!(out.is_empty());
    }

    /// The encoding of a message of the membership layer: its tag and its fields.
    fn membership(gossip: &Gossip, kind: u8, fields: &impl serde::Serialize) -> Vec<u8> {
        let head = (gossip.topic.as_bytes(), 0u8, kind);
        [wire::encode(&head).unwrap(), wire::encode(fields).unwrap()].concat()
    }

    #[test]
    fn endless_walks_and_large_messages_are_refused() {
        let (a_id, _, _, mut b) = neighbours();
        let someone = PeerId::from_bytes([9; 32]);
        let mut receive = |bytes: &[u8]| {
            wire::decode::<Message<PeerId>>(bytes).unwrap();
            b.receive(a_id, bytes, &mut Vec::new())
        };
        let (_, other) = gossip(3);
        let data = None::<&[u8]>;
        let join = |ttl: u16| membership(&other, 1, &((someone, data), ttl));
        let shuffle = |nodes: usize, ttl: u16| {
            let nodes = vec![(someone, data); nodes];
            membership(&other, 2, &(someone, nodes, ttl))
        };
        assert_eq!(receive(&join(MAX_TTL)), Ok(()));
        assert_eq!(receive(&shuffle(3, MAX_TTL)), Ok(()));
        let ttl = MAX_TTL + 1;
        assert_eq!(receive(&join(ttl)), Err(ReceiveError::TooFar { ttl }));
        assert_eq!(receive(&shuffle(3, ttl)), Err(ReceiveError::TooFar { ttl }));
        assert!(matches!(
            receive(&shuffle(600, 1)),
            Err(ReceiveError::TooLarge { .. })
        ));
    }

    #[test]
    fn nobody_joins_itself() {
        let (a_id, _, b_id, mut b) = neighbours();
        let bytes = membership(&b, 1, &((b_id, None::<&[u8]>), 0u16));
        let mut out = Vec::new();
        b.receive(a_id, &bytes, &mut out).unwrap();
        assert!(out.is_empty(), "{out:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (a_id, a, _, mut b) = neighbours();
            let bytes = [&a.topic.as_bytes()[..], &tail].concat();
            let outcome = b.receive(a_id, &bytes, &mut Vec::new());
            prop_assert!(outcome.is_ok() || outcome.is_err());
        }
    }
}
