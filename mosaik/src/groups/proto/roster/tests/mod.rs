//! Tests of the roster: tables of cases, properties of random views, and an exhaustive model.

mod model;
mod properties;
mod recovery;
mod silence;
mod table;

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::id::{MemberId, PeerId};

/// The first boot of a peer.
fn n(peer: u8) -> MemberId {
    boot(peer, 1)
}

/// A boot of a peer.
fn boot(peer: u8, boot: u64) -> MemberId {
    let peer = PeerId::from_bytes([peer; 32]);
    MemberId { peer, boot }
}

/// A text in which members are called `n4` for short.
fn short(text: &impl ToString) -> String {
    let name = |text: String, peer| text.replace(&n(peer).to_string(), &format!("n{peer}"));
    (0..16).fold(text.to_string(), name)
}

/// The first boots of some peers.
fn set(peers: &[u8]) -> BTreeSet<MemberId> {
    peers.iter().copied().map(n).collect()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The commit index of the views of tests.
const COMMIT: u64 = 10_000;

/// What is known of a live writer that holds the whole log.
fn live() -> Facts {
    Facts {
        role: Role::Writer,
        durable: false,
        matched: Some(COMMIT),
        silent_for: Duration::ZERO,
        superseded: false,
        departed: false,
        leaving: false,
        preference: Preference::Neutral,
        sound: true,
        program: Program::Current,
    }
}

fn membership(voters: BTreeSet<MemberId>, learners: BTreeSet<MemberId>) -> Membership {
    Membership {
        log_id: LogId { term: 3, index: 7 },
        committed: true,
        leaving: None,
        voters,
        learners,
    }
}

/// A volatile group of live members that hold the whole log, led by the first voter.
fn view(voters: &[u8], learners: &[u8]) -> View {
    let membership = membership(set(voters), set(learners));
    let facts = membership.members().into_iter().map(|m| (m, live()));
    View {
        now: 1_000_000,
        leader: n(voters[0]),
        confirmed: true,
        commit: COMMIT,
        facts: facts.collect(),
        membership,
        last_eviction: None,
        last_hand_over: None,
        options: Options::default(),
    }
}

impl View {
    /// Changes what is known of a member.
    fn with(mut self, member: MemberId, change: impl FnOnce(&mut Facts)) -> Self {
        change(self.facts.entry(member).or_insert_with(live));
        self
    }

    /// Makes members silent for some seconds.
    fn silent(self, peers: &[u8], seconds: u64) -> Self {
        let silent = |view: Self, &peer: &u8| view.with(n(peer), |f| f.silent_for = secs(seconds));
        peers.iter().fold(self, silent)
    }

    /// Adds live writers outside the membership.
    fn outside(self, peers: &[u8]) -> Self {
        peers
            .iter()
            .fold(self, |view, &peer| view.with(n(peer), |_| ()))
    }

    /// Makes the charter, and every member of it, durable.
    fn durable(mut self) -> Self {
        self.options.durable = true;
        self.facts.values_mut().for_each(|f| f.durable = true);
        self
    }

    fn founders(mut self, founders: usize) -> Self {
        self.options.founders = founders;
        self
    }

    /// The view once a change is committed.
    fn apply(&self, change: &Change) -> Self {
        let mut next = self.clone();
        let membership = &mut next.membership;
        assert_eq!(change.based_on, membership.log_id);
        membership.log_id.index += 1;
        match &change.step {
            Step::FinishJoint => membership.leaving = None,
            Step::HandOver(to) => {
                next.leader = *to;
                next.last_eviction = None;
                next.last_hand_over = None;
            }
            Step::Voters {
                promote, remove, ..
            } => {
                membership.voters = &(&membership.voters | promote) - remove;
                membership.learners = &membership.learners - promote;
            }
            Step::DropLearners(gone) => membership.learners = &membership.learners - gone,
            Step::AddLearners(more) => membership.learners = &membership.learners | more,
        }
        if change.evicts() {
            next.last_eviction = Some(next.now);
        }
        next
    }
}
