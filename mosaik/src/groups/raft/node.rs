//! A member of a group: all that others see of openraft.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::FutureExt as _;
use openraft::{
    ChangeMembers, Config as RaftConfig, EmptyNode, LinearizerOption, Precondition, Raft,
    SnapshotPolicy,
    errors::{
        ClientWriteError, ForwardReason, ForwardToLeader, InitializeError, LinearizableReadError,
        RaftError,
    },
    storage::RaftStateMachine,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    compact,
    core::{self, Core, Imaged, Members},
    log::RaftLog,
    network::{Lines, Network, Shared, Slots},
    pulse::{self, Pulse},
    serve::Server,
    status::{self, Role, Status},
    turns::Turns,
    types::{self, Proposal, Reply, Types},
};
use crate::{
    groups::{
        machine::{Image, Snapshot, Store},
        proto::{
            compaction::{Compaction, Limits},
            founding::charter::Epoch,
            roster::{Change, Step},
            timing::Timing,
        },
        storage::{LogId, MAX_PAYLOAD},
    },
    id::{GroupId, MemberId},
    rt::{self, Instant, Tasks, watch},
};

/// Entries in one request of replication.
const MAX_PAYLOAD_ENTRIES: u64 = 1024;
/// Messages that wait for openraft, from others and from its own parts each.
const CHANNEL: u64 = 1024;
/// Commands that wait for the state machine.
const MACHINE_CHANNEL: u64 = 64;
/// KiB of proposals that are handed over and not resolved; more wait. At least one is always let through.
const MAX_PENDING: u32 = 64 * 1024;

/// What a member is started with.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The member.
    pub(crate) me: MemberId,
    /// The group.
    pub(crate) group: GroupId,
    /// Its incarnation.
    pub(crate) epoch: Epoch,
    /// The timing of the group.
    pub(crate) timing: Timing,
    /// When snapshots are made, and what is kept behind them.
    pub(crate) limits: Limits,
}

impl Config {
    /// The configuration of a member, with defaults.
    pub(crate) fn new(me: MemberId, group: GroupId, epoch: Epoch) -> Self {
        Self {
            me,
            group,
            epoch,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }

    fn raft(&self) -> Result<RaftConfig, StartError> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let min = millis(self.timing.election_min);
        let max = millis(self.timing.election_max);
        self.timing.check().map_err(StartError::Timing)?;
        let config = RaftConfig {
            cluster_name: self.group.short(),
            election_timeout_min: min,
            election_timeout_max: max,
            // openraft gives a heartbeat up after its interval, so that a longer way or a slower disk would
            // cost a leader its lease. It gets all the time it may have; `pulse` sees to the interval.
            heartbeat_interval: min.saturating_sub(1),
            enable_pre_vote: Some(true),
            // A restored leader could use a log id of its own term again.
            enable_leader_restore: Some(false),
            // `pulse` beats, and falls silent.
            enable_heartbeat: false,
            broadcast_submitted_on_append: Some(true),
            max_payload_entries: MAX_PAYLOAD_ENTRIES,
            // `compact` sees to both, as openraft does not count bytes.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            replication_lag_threshold: self.limits.every.entries.saturating_mul(2),
            api_channel_size: Some(CHANNEL),
            notification_channel_size: Some(CHANNEL),
            state_machine_channel_size: Some(MACHINE_CHANNEL),
            ..RaftConfig::default()
        };
        let checked = config.validate();
        checked.map_err(|error| StartError::Timing(error.to_string()))
    }
}

/// A running member. Clones share it. It runs until it is stopped, or its tasks are.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    server: Arc<Server>,
    status: watch::Receiver<Status>,
    pulse: Arc<Pulse>,
    pending: Arc<Semaphore>,
    timing: Timing,
    tasks: Tasks,
}

impl Node {
    /// Starts a member on its log and state. It stands for election once it is in a membership.
    pub(crate) async fn start<SM>(
        config: Config,
        log: RaftLog,
        machine: SM,
        store: Store,
        lines: Arc<dyn Lines>,
        slots: Slots,
        tasks: &Tasks,
    ) -> Result<Self, StartError>
    where
        SM: RaftStateMachine<Types, SnapshotData = Snapshot> + Imaged,
    {
        let raft_config = Arc::new(config.raft()?);
        let Config {
            me,
            group,
            epoch,
            timing,
            limits,
        } = config;
        let pulse = Arc::new(Pulse::default());
        let network = Network::new(Shared {
            me,
            timing,
            lines: lines.clone(),
            slots,
            pulse: pulse.clone(),
        });
        let raft = Raft::new(me, raft_config, network, log.clone(), machine).await;
        let raft = raft.map_err(|error| StartError::Storage(error.to_string()))?;
        let server = Arc::new(Server {
            me,
            group,
            epoch,
            core: Box::new(raft),
            log,
            store,
            turns: Turns::default(),
            pulse: pulse.clone(),
            lines,
            lease: timing.election_max,
        });
        let (published, status) = watch::channel(Status::default());
        let tasks = tasks.child();
        tasks.spawn(status::publish(server.clone(), published));
        let beat = pulse::beat(server.clone(), timing, status.clone(), pulse.clone());
        tasks.spawn(beat);
        let pace = pulse::pace(server.clone(), timing, status.clone(), pulse.clone());
        tasks.spawn(pace);
        let compaction = Compaction::new(limits);
        tasks.spawn(compact::compact(server.clone(), compaction, status.clone()));
        let inner = Inner {
            server,
            status,
            pulse,
            pending: Arc::new(Semaphore::new(MAX_PENDING as usize)),
            timing,
            tasks,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Founds the log of a group with these voters, this member among them. Where there is something in the
    /// log, or this member knows of a term, nothing happens: the group is founded.
    pub(crate) async fn initialize(
        &self,
        founders: BTreeSet<MemberId>,
    ) -> Result<(), InitializeFailed> {
        match self.core().initialize(founders).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => {
                Err(InitializeFailed::NotAFounder)
            }
            Err(RaftError::Fatal(_)) => Err(InitializeFailed::Stopped),
        }
    }

    /// Proposes an entry. Returns once it is handed over: what is handed over earlier stands earlier in the
    /// log. Waits while too much is unresolved.
    pub(crate) async fn propose(&self, proposal: Proposal) -> Result<Proposed, ProposeError> {
        let len = proposal.bytes.len();
        if len > MAX_PAYLOAD {
            return Err(ProposeError::TooLarge { len });
        }
        let weight = u32::try_from(len / 1024).unwrap_or(u32::MAX);
        let weight = weight.saturating_add(1).min(MAX_PENDING);
        let permit = self.inner.pending.clone().acquire_many_owned(weight).await;
        let permit = permit.map_err(|_| ProposeError::Stopped)?;
        self.confirm().await?;
        let proposed = self.core().propose(proposal).await;
        Ok(Proposed {
            outcome: proposed.map_err(|_| ProposeError::Stopped)?,
            _permit: permit,
        })
    }

    /// An entry such that whoever has applied it sees everything that was acknowledged before this was called.
    /// Asks a majority whether this member still leads; the caller asks once for many.
    pub(crate) async fn read_index(&self) -> Result<LogId, ReadError> {
        self.inner.pulse.ask();
        if self.inner.pulse.is_silent() {
            return Err(ReadError::NotConfirmed);
        }
        let (since, limit) = (rt::now(), self.inner.timing.election_max.saturating_mul(2));
        let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(limit);
        loop {
            match self.core().read(option.clone()).await {
                Ok(read) if self.is_obeyed_since(since) => {
                    self.inner.pulse.confirmed();
                    return Ok(types::log_id(read.log_id()));
                }
                Ok(_) if rt::now().duration_since(since) < limit => {}
                Ok(_) => return Err(ReadError::NotConfirmed),
                Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                    let leader = forward.leader_id;
                    return Err(ReadError::NotLeader { leader });
                }
                Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                    return Err(ReadError::NotConfirmed);
                }
                Err(RaftError::Fatal(_)) => return Err(ReadError::Stopped),
            }
        }
    }

    /// Whether a majority has answered, as followers, what was sent at `since` or later. openraft goes by the entries
    /// that an answer is about, and takes what only says how far the log is committed as answered with the entries before
    /// it: by an answer that came long after it was given, it would confirm a leader that is none any more.
    fn is_obeyed_since(&self, since: Instant) -> bool {
        let (me, obeyed) = (self.inner.server.me, &self.inner.pulse.obeyed);
        let status = self.inner.status.borrow();
        let membership = status.membership.as_ref();
        membership.is_some_and(|among| obeyed.is_majority_since(among, me, since))
    }

    /// Makes a change of the roster, if the membership is still the one that it is based on and this member
    /// leads. A change of voters takes two entries: dropped in between, it leaves them joint, and is finished
    /// by [`Step::FinishJoint`].
    pub(crate) async fn change(&self, change: &Change) -> Result<(), ChangeError> {
        let (term, at) = {
            let status = self.inner.status.borrow();
            if status.role != Role::Leader {
                let leader = status.leader;
                return Err(ChangeError::NotLeader { leader });
            }
            let at = status.membership.as_ref().map(|members| members.log_id);
            (status.term, at)
        };
        if at != Some(change.based_on) {
            return Err(ChangeError::Outdated);
        }
        self.confirm().await?;
        let members = match &change.step {
            Step::HandOver(to) => return self.hand_over(*to).await,
            step => members(step),
        };
        let at = Some(types::raft_log_id(change.based_on));
        let leader = openraft::vote::leader_id_std::CommittedLeaderId::new(term);
        let preconditions = vec![
            Precondition::LastMembershipLogId {
                last_membership_log_id: at,
            },
            Precondition::CommittedLeaderId {
                committed_leader_id: leader,
            },
        ];
        let changed = self.core().change(members, preconditions).await;
        changed.map_err(ChangeError::of)
    }

    /// An image of all that is applied by now; `None` if nothing is. Nothing is written for it, and nothing that fails
    /// stops the member.
    pub(crate) async fn image(&self) -> Result<Option<Image>, ReadError> {
        let image = self.core().image().await;
        image.map_err(|_| ReadError::Stopped)
    }

    /// Hands leadership to a voter; whether it took over, the status tells.
    pub(crate) async fn hand_over(&self, to: MemberId) -> Result<(), ChangeError> {
        let handed = self.core().hand_over(to).await;
        handed.map_err(|_| ChangeError::Stopped)
    }

    /// Completes when this member, if it leads, does not any more, or leads in another term.
    pub(crate) fn leads_no_longer(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut status = self.inner.status.clone();
        let term = status.borrow().term;
        async move {
            // If nobody says so any more, it has stopped.
            drop(status.wait_for(|status| !status.leads_in(term)).await);
        }
    }

    /// The term.
    pub(crate) fn term(&self) -> u64 {
        self.inner.status.borrow().term
    }

    /// How the member stands.
    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// Lets the member rest: it neither beats nor stands for election, but answers. A leader that is asked
    /// for something wakes by itself, and a member that others want to elect instead of its leader.
    pub(crate) fn rest(&self) {
        self.core().tick(false);
        self.inner.pulse.rest();
    }

    /// Wakes it: a leader beats. Its clock stands still until [`Node::run`], so that a follower does not stand
    /// for election before its leader had the time to beat.
    pub(crate) fn wake(&self) {
        self.inner.pulse.wake();
    }

    /// Lets its clock run.
    pub(crate) fn run(&self) {
        self.core().tick(true);
    }

    /// Tells when it rests and wakes.
    pub(crate) fn awake(&self) -> watch::Receiver<bool> {
        self.inner.pulse.awake()
    }

    /// Whether it is awake.
    pub(crate) fn is_awake(&self) -> bool {
        self.inner.pulse.is_awake()
    }

    /// Keeps it from standing for election, or no longer. One that leads goes on, and who is handed leadership
    /// takes it.
    pub(crate) fn bar(&self, barred: bool) {
        self.inner.pulse.bar(self.core(), barred);
    }

    /// When something came from a leader last.
    pub(crate) fn led(&self) -> Option<Instant> {
        self.inner.pulse.last_led()
    }

    /// Counts what was asked of it that leaves no entry.
    pub(crate) fn asked(&self) -> u64 {
        self.inner.pulse.asked()
    }

    /// Lets a majority confirm that a leader that rested still leads: only then it may propose.
    async fn confirm(&self) -> Result<(), ReadError> {
        if self.inner.pulse.is_sure() {
            return Ok(());
        }
        self.read_index().await.map(drop)
    }

    /// Tries a member again at once that could not be reached, since now it can.
    pub(crate) async fn reachable(&self, member: MemberId) {
        self.inner.pulse.reachable();
        if self.core().retry(member).await.is_err() {
            tracing::debug!(%member, "not tried again, since this member has stopped");
        }
    }

    /// Stops the member, and waits until it has stopped.
    pub(crate) async fn stop(&self) {
        self.inner.pending.close();
        self.core().stop().await;
        let mut status = self.inner.status.clone();
        // The task that says so may have been cancelled already.
        drop(status.wait_for(|status| status.stopped.is_some()).await);
        self.inner.tasks.cancel();
    }

    pub(super) fn server(&self) -> &Server {
        &self.inner.server
    }

    fn core(&self) -> &dyn Core {
        &*self.inner.server.core
    }
}

fn members(step: &Step) -> Members {
    match step {
        // Handed over elsewhere; to add nobody is to finish what is joint.
        Step::FinishJoint | Step::HandOver(_) => ChangeMembers::AddVoterIds(BTreeSet::new()),
        Step::Voters {
            promote, remove, ..
        } => ChangeMembers::Batch(vec![
            ChangeMembers::AddVoterIds(promote.clone()),
            ChangeMembers::RemoveVoters(remove.clone()),
        ]),
        Step::DropLearners(learners) => ChangeMembers::RemoveNodes(learners.clone()),
        Step::AddLearners(learners) => {
            let learners = learners.iter().map(|member| (*member, EmptyNode::new()));
            ChangeMembers::AddNodes(learners.collect())
        }
    }
}

/// What becomes of a proposal. Dropping it changes nothing about that.
pub(crate) struct Proposed {
    outcome: core::Proposed,
    _permit: OwnedSemaphorePermit,
}

impl Future for Proposed {
    type Output = Result<(LogId, Reply), ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A leader that stops in the middle says nothing, and may have replicated the entry.
        let Ok(outcome) = ready!(self.outcome.poll_unpin(cx)) else {
            return Poll::Ready(Err(ProposeError::Unknown));
        };
        Poll::Ready(match outcome {
            Ok(applied) => Ok((types::log_id(&applied.log_id), applied.data)),
            Err(ClientWriteError::ForwardToLeader(forward)) => Err(ProposeError::NotLeader {
                leader: leader(&forward),
            }),
            Err(_) => Err(ProposeError::Unknown),
        })
    }
}

impl fmt::Debug for Proposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposed").finish_non_exhaustive()
    }
}

/// Who leads instead; whom leadership is on its way to does not yet.
fn leader(forward: &ForwardToLeader<Types>) -> Option<MemberId> {
    match forward.reason {
        ForwardReason::NotLeader => forward.leader_id,
        ForwardReason::LeadershipTransfer | ForwardReason::LeaseExpired => None,
    }
}

/// Why a member could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StartError {
    /// Correct the timing of the group.
    #[error("the timing cannot be used: {0}")]
    Timing(String),
    /// What the log or the state holds cannot be used; the text says what.
    #[error("the log or the state cannot be read: {0}")]
    Storage(String),
}

/// Why a group's log was not founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InitializeFailed {
    /// Only founders found.
    #[error("this member is not among the founders")]
    NotAFounder,
    /// The status says why.
    #[error("this member has stopped")]
    Stopped,
}

/// Why a proposal was not applied, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ProposeError {
    /// It was not applied and never will be; propose it to the leader, once there is one.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<MemberId>,
    },
    /// It may have been applied, or may yet be; only a session tells.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
    /// It was not applied; propose less at once.
    #[error("{len} bytes are more than an entry holds, {MAX_PAYLOAD}")]
    TooLarge {
        /// Its size.
        len: usize,
    },
    /// It was not applied; the status says why the member has stopped.
    #[error("this member has stopped")]
    Stopped,
}

/// Why there is nothing that could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReadError {
    /// Ask the leader, once there is one.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<MemberId>,
    },
    /// No majority answered in time; ask again.
    #[error("no majority confirmed in time that this member leads")]
    NotConfirmed,
    /// The status says why.
    #[error("this member has stopped")]
    Stopped,
}

/// Why a change of the roster was not made, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ChangeError {
    /// Nothing was changed; the leader plans anew.
    #[error("this member does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<MemberId>,
    },
    /// The membership is another by now, perhaps by the first half of this change: plan anew.
    #[error("the membership is another than the one that the change is based on")]
    Outdated,
    /// Nothing was changed, since it cannot be; the text says why.
    #[error("the change cannot be made: {0}")]
    Refused(String),
    /// It may have been made, or may yet be: the membership tells.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
    /// The status says why.
    #[error("this member has stopped")]
    Stopped,
}

impl From<ReadError> for ProposeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotLeader { leader } => Self::NotLeader { leader },
            ReadError::NotConfirmed => Self::NotLeader { leader: None },
            ReadError::Stopped => Self::Stopped,
        }
    }
}

impl From<ReadError> for ChangeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotLeader { leader } => Self::NotLeader { leader },
            ReadError::NotConfirmed => Self::NotLeader { leader: None },
            ReadError::Stopped => Self::Stopped,
        }
    }
}

impl ChangeError {
    fn of(error: RaftError<Types, ClientWriteError<Types>>) -> Self {
        match error {
            RaftError::Fatal(_) => Self::Stopped,
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => Self::NotLeader {
                leader: leader(&forward),
            },
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => Self::Unknown,
            RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => Self::Outdated,
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                Self::Refused(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests;
