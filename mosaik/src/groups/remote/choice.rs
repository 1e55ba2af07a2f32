//! Whom a client is to connect to.
//!
//! The member on the client's own node, if there is one; else the leader, else anybody. A member that failed is left
//! alone for a while, longer each time. A member that knows of no leader for [`PATIENCE`] may be cut off from the
//! others: the client tries the next one then, and so on, until one does. Where one takes its time the next is tried
//! beside it, after D. Schinazi and T. Pauly, *Happy Eyeballs* (RFC 8305).

use std::{collections::BTreeMap, time::Duration};

use crate::{id::PeerId, rt::Instant};

/// How long a member may know of no leader before its client tries another one: as long as an election takes.
const PATIENCE: Duration = Duration::from_millis(750);
/// How long a member that failed is left alone at first.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// How long at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long one may take before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(300);

/// Decides whom to connect to. Times never go back.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Who is being connected to, and since when.
    dialing: BTreeMap<PeerId, Instant>,
    failures: BTreeMap<PeerId, Failure>,
    /// When each was connected to last: whoever it is longest ago for comes first.
    tried: BTreeMap<PeerId, Instant>,
}

/// A member that failed.
#[derive(Debug)]
struct Failure {
    until: Instant,
    pause: Duration,
}

/// The member that serves the client now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) peer: PeerId,
    /// Who leads, as it says.
    pub(super) leader: Option<PeerId>,
    /// Since when it has said so.
    pub(super) since: Instant,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Connect to this one.
    Connect(PeerId),
    /// Wait for news, or until then.
    Wait(Option<Instant>),
}

impl Choice {
    /// What to do, with these members to choose from, and the client's own node, if it is one.
    pub(super) fn decide(
        &mut self,
        now: Instant,
        members: &[PeerId],
        own: Option<PeerId>,
        current: Option<Current>,
    ) -> Decision {
        let listed = |peer: &PeerId| members.contains(peer) || own == Some(*peer);
        self.failures.retain(|peer, _| listed(peer));
        self.tried.retain(|peer, _| listed(peer));
        let everybody = || own.into_iter().chain(members.iter().copied()).collect();
        let wanted: Vec<PeerId> = match current {
            None => everybody(),
            Some(current) => match current.leader {
                Some(leader) if leader == current.peer || own == Some(current.peer) => Vec::new(),
                Some(leader) => vec![leader],
                None if now < current.since + PATIENCE => {
                    return Decision::Wait(Some(current.since + PATIENCE));
                }
                None => everybody(),
            },
        };
        let wanted = wanted.into_iter().filter(|peer| {
            let others = current.is_none_or(|current| current.peer != *peer);
            listed(peer) && others && !self.dialing.contains_key(peer)
        });
        let (free, paused): (Vec<PeerId>, Vec<PeerId>) =
            wanted.partition(|peer| self.pause(peer).is_none_or(|until| until <= now));
        let first = free
            .into_iter()
            .min_by_key(|peer| (own != Some(*peer), self.tried.get(peer).copied(), *peer));
        let next = self.dialing.values().max().map(|last| *last + STAGGER);
        match first {
            Some(_) if next.is_some_and(|next| now < next) => Decision::Wait(next),
            Some(peer) => Decision::Connect(peer),
            None => Decision::Wait(paused.iter().filter_map(|peer| self.pause(peer)).min()),
        }
    }

    /// The client begins to connect to this one.
    pub(super) fn dials(&mut self, now: Instant, peer: PeerId) {
        self.dialing.insert(peer, now);
        self.tried.insert(peer, now);
    }

    /// The client is connected to this one, and gives up to connect to others.
    pub(super) fn connected(&mut self, now: Instant, peer: PeerId) {
        self.dialing.clear();
        self.failures.remove(&peer);
        self.tried.insert(peer, now);
    }

    /// This one could not be connected to, or did not serve the client, or does so no longer. `jitter` makes of a pause
    /// one of about that length.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        peer: PeerId,
        jitter: impl FnOnce(Duration) -> Duration,
    ) {
        self.dialing.remove(&peer);
        let before = self.failures.get(&peer).map(|failure| failure.pause);
        let pause = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        let until = now + jitter(pause);
        self.failures.insert(peer, Failure { until, pause });
        self.tried.insert(peer, now);
    }

    fn pause(&self, peer: &PeerId) -> Option<Instant> {
        self.failures.get(peer).map(|failure| failure.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn served(by: u8, leader: Option<u8>, since: Instant) -> Option<Current> {
        Some(Current {
            peer: peer(by),
            leader: leader.map(peer),
            since,
        })
    }

    #[tokio::test]
    async fn everybody_is_tried_before_anybody_is_tried_again() {
        let mut choice = Choice::default();
        let members = [peer(1), peer(2), peer(3)];
        let mut now = rt::now();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let Decision::Connect(next) = choice.decide(now, &members, None, None) else {
                panic!("{choice:?}");
            };
            seen.insert(next);
            choice.failed(now, next, |pause| pause);
            now += Duration::from_millis(1);
        }
        assert_eq!(seen.len(), 3);
        // All are left alone for a while.
        let Decision::Wait(Some(until)) = choice.decide(now, &members, None, None) else {
            panic!("{choice:?}");
        };
        assert!(until > now && until <= now + 2 * FIRST_PAUSE);
        let decision = choice.decide(until, &members, None, None);
        assert!(matches!(decision, Decision::Connect(_)), "{decision:?}");
    }

    #[tokio::test]
    async fn the_leader_is_preferred_and_left_alone_for_longer_each_time_it_fails() {
        let mut choice = Choice::default();
        let members = [peer(1), peer(2)];
        let now = rt::now();
        let current = served(1, Some(2), now);
        let decide = |choice: &mut Choice, now| choice.decide(now, &members, None, current);
        assert_eq!(decide(&mut choice, now), Decision::Connect(peer(2)));
        let (mut at, mut pauses) = (now, Vec::new());
        for _ in 0..10 {
            choice.failed(at, peer(2), |pause| pause);
            let Decision::Wait(Some(until)) = decide(&mut choice, at) else {
                panic!("{choice:?}");
            };
            pauses.push(until - at);
            at = until;
        }
        assert!(pauses[5] > pauses[0] * 4, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 2 * LONGEST_PAUSE));
        // Who leads is served by itself, and one that nobody lists is not connected to.
        let leads = served(2, Some(2), now);
        assert_eq!(
            choice.decide(at, &members, None, leads),
            Decision::Wait(None)
        );
        let unknown = served(1, Some(9), now);
        assert_eq!(
            choice.decide(at, &members, None, unknown),
            Decision::Wait(None)
        );
        // It is forgiven once it serves.
        choice.connected(at, peer(2));
        assert_eq!(decide(&mut choice, at), Decision::Connect(peer(2)));
    }

    #[tokio::test]
    async fn who_takes_its_time_is_not_waited_for() {
        let mut choice = Choice::default();
        let members = [peer(1), peer(2)];
        let now = rt::now();
        choice.dials(now, peer(1));
        let decision = choice.decide(now, &members, None, None);
        assert_eq!(decision, Decision::Wait(Some(now + STAGGER)));
        let decision = choice.decide(now + STAGGER, &members, None, None);
        assert_eq!(decision, Decision::Connect(peer(2)));
        choice.dials(now + STAGGER, peer(2));
        let decision = choice.decide(now + 2 * STAGGER, &members, None, None);
        assert_eq!(decision, Decision::Wait(None));
        // One that fails is no reason to wait for the other.
        choice.failed(now + STAGGER, peer(1), |pause| pause);
        let later = now + STAGGER + FIRST_PAUSE;
        let decision = choice.decide(later, &members, None, None);
        assert_eq!(decision, Decision::Wait(Some(now + 2 * STAGGER)));
        choice.connected(later, peer(2));
        let decision = choice.decide(later, &members, None, served(2, Some(1), later));
        assert_eq!(decision, Decision::Connect(peer(1)));
    }

    #[tokio::test]
    async fn a_member_without_a_leader_has_a_moment() {
        let mut choice = Choice::default();
        let members = [peer(1), peer(2)];
        let now = rt::now();
        let current = served(1, None, now);
        let until = now + PATIENCE;
        let decision = choice.decide(now, &members, None, current);
        assert_eq!(decision, Decision::Wait(Some(until)));
        let decision = choice.decide(until, &members, None, current);
        assert_eq!(decision, Decision::Connect(peer(2)));
        // There is nobody else.
        let decision = choice.decide(until, &[peer(1)], None, current);
        assert_eq!(decision, Decision::Wait(None));
    }

    #[tokio::test]
    async fn the_own_node_comes_first_and_stays() {
        let mut choice = Choice::default();
        let members = [peer(1), peer(2)];
        let (now, own) = (rt::now(), Some(peer(7)));
        choice.connected(now, peer(7));
        let decision = choice.decide(now, &members, own, None);
        assert_eq!(decision, Decision::Connect(peer(7)));
        let decision = choice.decide(now, &members, own, served(7, Some(1), now));
        assert_eq!(decision, Decision::Wait(None));
        let late = now + PATIENCE;
        let decision = choice.decide(late, &members, own, served(7, None, now));
        assert_eq!(decision, Decision::Connect(peer(1)));
        // While another one serves, the own node is no reason to change.
        let decision = choice.decide(now, &members, own, served(1, Some(1), now));
        assert_eq!(decision, Decision::Wait(None));
    }
}
