//! What the gossip protocol remembers, and how much of it there may be.
//!
//! The protocol's crate keeps the introduction of every peer that it ever heard of, and every payload that
//! somebody promised and nobody sent. This counts along, says what must not be taken in any more, and when the
//! protocol is to begin anew.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::shape::Id;
use crate::{id::PeerId, rt::Instant};

/// Peers that may be heard of while none is known to live.
const MIN_PEERS: usize = 1024;
/// By how many more for each that is known to live.
const PEERS_PER_LIVE: usize = 4;
/// How long the protocol runs at least before it begins anew.
pub(super) const MIN_LIFE: Duration = Duration::from_secs(60);
/// How long payloads are kept for those who ask for them.
pub(super) const PAYLOAD_RETENTION: Duration = Duration::from_secs(30);
/// How long a payload is known to have been received.
pub(super) const ID_RETENTION: Duration = Duration::from_secs(90);
/// Bytes of payloads that are kept: 32 MiB.
const MAX_PAYLOADS: usize = 32 * 1024 * 1024;
/// Payloads that are known to have been received.
const MAX_IDS: usize = 65_536;
/// Payloads that one peer may have promised and nobody sent.
const MAX_PROMISES: usize = 1024;
/// How long a promise counts. The protocol has asked everybody for the payload long before.
const PROMISE: Duration = Duration::from_secs(120);

/// Counts what the protocol remembers.
#[derive(Debug)]
pub(super) struct Memory {
    began: Instant,
    /// Who was heard of since the protocol began.
    peers: BTreeSet<Id>,
    /// How many peers are known to live.
    live: usize,
    /// When payloads arrived, and their sizes.
    payloads: VecDeque<(Instant, usize)>,
    /// The sum of these sizes.
    bytes: usize,
    /// When payloads arrived that are known to have been received.
    ids: VecDeque<(Instant, Id)>,
    received: BTreeSet<Id>,
    promises: BTreeMap<PeerId, BTreeMap<Id, Instant>>,
}

impl Memory {
    /// Nothing is remembered.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            peers: BTreeSet::new(),
            live: 0,
            payloads: VecDeque::new(),
            bytes: 0,
            ids: VecDeque::new(),
            received: BTreeSet::new(),
            promises: BTreeMap::new(),
        }
    }

    /// So many peers are known to live.
    pub(super) fn live(&mut self, live: usize) {
        self.live = live;
    }

    /// Peers that may be heard of.
    fn max_peers(&self) -> usize {
        MIN_PEERS.saturating_add(self.live.saturating_mul(PEERS_PER_LIVE))
    }

    /// A peer sent something.
    pub(super) fn heard_of(&mut self, peer: &PeerId) {
        self.peers.insert(*peer.as_bytes());
    }

    /// Whether these peers may be introduced; then they are known.
    pub(super) fn introduce(&mut self, peers: &[Id]) -> bool {
        let strangers = peers.iter().filter(|peer| !self.peers.contains(*peer));
        if self.peers.len() + strangers.count() > self.max_peers() {
            return false;
        }
        self.peers.extend(peers);
        true
    }

    /// Whether the protocol remembers so many that it is to begin anew. It takes the way of introductions up
    /// to the limit; whoever comes by itself counts too, up to twice the limit at once.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        let (peers, limit) = (self.peers.len(), self.max_peers());
        let lived = now.duration_since(self.began) >= MIN_LIFE;
        peers > limit * 2 || (peers > limit / 2 && lived)
    }

    /// Whether one more payload may be kept.
    pub(super) fn takes_payload(&mut self, now: Instant) -> bool {
        self.sweep_payloads(now);
        self.bytes < MAX_PAYLOADS && self.ids.len() < MAX_IDS
    }

    /// A payload was received or sent.
    pub(super) fn keep_payload(&mut self, id: Id, len: usize, now: Instant) {
        self.payloads.push_back((now, len));
        self.bytes += len;
        self.ids.push_back((now, id));
        self.received.insert(id);
        for promises in self.promises.values_mut() {
            promises.remove(&id);
        }
    }

    /// Whether a peer may promise these payloads, none of them a second time; then it has.
    pub(super) fn promise(&mut self, from: PeerId, ids: &[Id], now: Instant) -> bool {
        let promises = self.promises.entry(from).or_default();
        let fresh: BTreeSet<_> = ids
            .iter()
            .filter(|id| !self.received.contains(*id))
            .collect();
        let again = fresh.iter().any(|id| promises.contains_key(*id));
        if again || promises.len() + fresh.len() > MAX_PROMISES {
            return false;
        }
        promises.extend(fresh.into_iter().map(|id| (*id, now)));
        true
    }

    /// A peer is gone, and the protocol has forgotten what it promised.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.promises.remove(peer);
    }

    /// Forgets what counts no longer. Returns whether promises were among it.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        self.sweep_payloads(now);
        let mut expired = false;
        self.promises.retain(|_, promises| {
            promises.retain(|_, at| {
                let counts = now.duration_since(*at) < PROMISE;
                expired |= !counts;
                counts
            });
            !promises.is_empty()
        });
        expired
    }

    fn sweep_payloads(&mut self, now: Instant) {
        let old = |at: Instant, span| now.duration_since(at) >= span;
        while let Some((_, len)) = self
            .payloads
            .pop_front_if(|(at, _)| old(*at, PAYLOAD_RETENTION))
        {
            self.bytes -= len;
        }
        while let Some((_, id)) = self.ids.pop_front_if(|(at, _)| old(*at, ID_RETENTION)) {
            self.received.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    fn id(n: u64) -> Id {
        *blake3::hash(&n.to_le_bytes()).as_bytes()
    }

    #[test]
    fn payloads_are_bounded_by_size_and_by_number() {
        let now = rt::now();
        let mut memory = Memory::new(now);
        let mut kept = 0;
        while memory.takes_payload(now) {
            memory.keep_payload(id(kept), 4096, now);
            kept += 1;
        }
        assert_eq!(kept, MAX_PAYLOADS as u64 / 4096);
        let later = now + PAYLOAD_RETENTION;
        while memory.takes_payload(later) {
            memory.keep_payload(id(kept), 1, later);
            kept += 1;
        }
        assert_eq!(kept, MAX_IDS as u64);
        assert!(memory.takes_payload(now + ID_RETENTION));
        assert_eq!(memory.received.len(), memory.ids.len());
        memory.sweep(later + ID_RETENTION);
        assert_eq!((memory.received.len(), memory.bytes), (0, 0));
    }

    #[test]
    fn promises_that_are_not_kept_are_bounded_for_each_peer() {
        let now = rt::now();
        let mut memory = Memory::new(now);
        let (a, b) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        assert!(memory.promise(a, &[id(0)], now));
        assert!(!memory.promise(a, &[id(0)], now), "a second time");
        assert!(memory.promise(b, &[id(0)], now));
        memory.keep_payload(id(0), 1, now);
        let all: Vec<_> = (0..=MAX_PROMISES as u64).map(id).collect();
        assert!(memory.promise(a, &all, now), "one of them is kept");
        assert!(!memory.promise(a, &[id(5000)], now));
        assert!(memory.promise(b, &[id(5000)], now));
        assert!(!memory.sweep(now));
        assert!(memory.sweep(now + PROMISE));
        assert!(memory.promise(a, &[id(5000)], now));
    }
}
