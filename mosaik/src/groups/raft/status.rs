//! How a member of a group stands, as others see it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use openraft::{
    ServerState,
    errors::Fatal,
    metrics::{RaftDataMetrics, RaftServerMetrics},
    type_config::alias::InstantOf,
};

use super::{
    serve::Server,
    types::{self, RaftMembership, Types},
};
use crate::{
    groups::{proto::roster::Membership, storage::LogId},
    id::MemberId,
    rt::{self, Instant, watch},
};

/// How long positions may be stale, so that a busy log does not keep those busy who watch it.
const STALE: Duration = Duration::from_millis(10);

/// How a member stands. Positions may be 10 ms old, the rest is as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    /// The term.
    pub(crate) term: u64,
    /// What the member is in it.
    pub(crate) role: Role,
    /// Who leads, if that is known.
    pub(crate) leader: Option<MemberId>,
    /// The last entry of the log.
    pub(crate) last: Option<LogId>,
    /// Everything up to it is committed.
    pub(crate) committed: Option<LogId>,
    /// Everything up to it is applied.
    pub(crate) applied: Option<LogId>,
    /// The last entry that a snapshot has.
    pub(crate) snapshot: Option<LogId>,
    /// The members, once there are any in the log.
    pub(crate) membership: Option<Membership>,
    /// For a leader: up to which entry each member is known to have the log.
    pub(crate) replication: BTreeMap<MemberId, Option<u64>>,
    /// For a leader: when what a member last acknowledged was sent to it.
    pub(crate) heard: BTreeMap<MemberId, Instant>,
    /// For a leader with other voters: when what a majority last acknowledged was sent to it.
    pub(crate) confirmed: Option<Instant>,
    /// Why the member has stopped.
    pub(crate) stopped: Option<String>,
}

impl Status {
    /// Whether the member leads in this term.
    pub(super) fn leads_in(&self, term: u64) -> bool {
        self.term == term && self.role == Role::Leader
    }
}

/// What a member is in a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// It leads.
    Leader,
    /// It votes, and follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It gets the log and does not vote.
    #[default]
    Learner,
}

/// Publishes how a member stands until it has stopped.
pub(super) async fn publish(server: Arc<Server>, status: watch::Sender<Status>) {
    let mut standing = server.core.standing();
    let mut positions = server.core.positions();
    let mut has_led = server.pulse.has_led();
    let clock = Clock::new();
    let mut fresh_until = rt::now();
    loop {
        let changed = tokio::select! {
            biased;
            changed = standing.changed() => changed.is_ok(),
            changed = async {
                rt::sleep_until(fresh_until).await;
                positions.changed().await
            } => changed.is_ok(),
            // The sender is in the server.
            Ok(()) = has_led.changed() => true,
        };
        if !changed {
            break;
        }
        let now = {
            // In this order: a membership that is known may lie behind the last entry that is, not before it.
            let positions = positions.borrow_and_update();
            let standing = standing.borrow_and_update();
            look(&standing, &positions, &clock, *has_led.borrow_and_update())
        };
        fresh_until = rt::now() + STALE;
        status.send_if_modified(|held| {
            let changed = *held != now;
            *held = now;
            changed
        });
    }
    let reason = match server.core.why_stopped().await {
        Fatal::Stopped => "it was stopped".to_owned(),
        Fatal::Panicked => "raft panicked".to_owned(),
        Fatal::StorageError(error) => error.to_string(),
    };
    status.send_modify(|status| {
        status.role = Role::Learner;
        status.leader = None;
        status.stopped = Some(reason);
    });
}

/// Tells moments of openraft in our time.
struct Clock {
    theirs: InstantOf<Types>,
    ours: Instant,
}

impl Clock {
    fn new() -> Self {
        Self {
            theirs: openraft::Instant::now(),
            ours: rt::now(),
        }
    }

    fn moment(&self, at: InstantOf<Types>) -> Instant {
        if at < self.theirs {
            self.ours - (self.theirs - at)
        } else {
            self.ours + (at - self.theirs)
        }
    }
}

fn look(
    standing: &RaftServerMetrics<Types>,
    positions: &RaftDataMetrics<Types>,
    clock: &Clock,
    has_led: bool,
) -> Status {
    let id = |id: &types::RaftLogId| types::log_id(id);
    let effective = &standing.membership_config;
    let committed = standing.committed_membership_config.log_id();
    let heard = positions.heartbeat.iter().flatten();
    let replication = positions.replication.iter().flatten();
    Status {
        term: standing.vote.leader_id.term,
        role: match standing.state {
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        },
        // What the vote on the disk says is of another life, until the leader is heard.
        leader: standing
            .current_leader
            .filter(|leader| match *leader == standing.id {
                true => standing.state == ServerState::Leader,
                false => has_led,
            }),
        last: positions.last_log.as_ref().map(id),
        committed: positions.local_committed.as_ref().map(id),
        applied: positions.last_applied.as_ref().map(id),
        snapshot: positions.snapshot.as_ref().map(id),
        membership: effective.log_id().as_ref().and_then(|at| {
            let is_committed = committed.as_ref() == Some(at);
            membership(id(at), is_committed, effective.membership())
        }),
        replication: replication
            .map(|(member, matched)| (*member, matched.map(|matched| matched.index)))
            .collect(),
        heard: heard
            .filter_map(|(member, at)| Some((*member, clock.moment(**at.as_ref()?))))
            .collect(),
        // What openraft says of who votes alone is as old as its election.
        confirmed: positions
            .last_quorum_acked
            .filter(|_| !votes_alone(standing))
            .map(|at| clock.moment(*at)),
        stopped: None,
    }
}

fn votes_alone(standing: &RaftServerMetrics<Types>) -> bool {
    let membership = standing.membership_config.membership();
    membership.voter_ids().eq([standing.id])
}

/// A membership as the roster has it.
fn membership(log_id: LogId, committed: bool, held: &RaftMembership) -> Option<Membership> {
    let (voters, leaving) = held.get_joint_config().split_last()?;
    Some(Membership {
        log_id,
        committed,
        leaving: leaving.first().cloned(),
        voters: voters.clone(),
        learners: held.learner_ids().collect(),
    })
}
