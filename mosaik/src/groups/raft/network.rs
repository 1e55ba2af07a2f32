//! The network of openraft over the connections of a node: the calling side.
//!
//! Each purpose has streams of its own, so that a heartbeat waits for no entries and entries for no snapshot.
//! How long an answer may take is decided here and not by the heartbeat interval, but for two deadlines that
//! openraft puts around our calls itself: a heartbeat is given up after `Config::heartbeat_interval`, which is
//! therefore set to all the time that it may have (see `node`), and a vote, a pre-vote or a handover after the
//! shortest election timeout.

use std::{fmt, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use openraft::{
    EmptyNode, OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
        VoteResponse,
    },
    type_config::alias::SnapshotOf,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    pipeline::{self, Line},
    pulse::Pulse,
    snapshot::{self, MAX_SNAPSHOTS},
    types::{self, RaftLogId, RaftVote, Types},
    wire::{self, CALL_FRAME, Call, CallAnswer, Offence},
};
use crate::{
    groups::{machine::Snapshot, proto::timing::Timing, storage::LogId},
    id::MemberId,
    rt::{self, Instant},
    transport::{CloseCode, Link, LinkError, RecvHalf, SendHalf},
};

/// Shortest time without a word after which replication is given up.
const MIN_PATIENCE: Duration = Duration::from_secs(1);
/// Longest pause before an unreachable member is tried again.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What a stream of a group is for. Whoever opens it writes that into its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Entries from a leader, pipelined.
    Append,
    /// Heartbeats of a leader.
    Heartbeat,
    /// One vote, pre-vote or handover.
    Call,
    /// One snapshot.
    Snapshot,
}

/// Ways to the other members of a group.
pub(crate) trait Lines: fmt::Debug + Send + Sync + 'static {
    /// Opens a stream to exactly that member, boot included, whose header (group, epoch, from, to, purpose)
    /// is written already.
    fn open(
        &self,
        to: MemberId,
        purpose: Purpose,
    ) -> BoxFuture<'static, Result<(SendHalf, RecvHalf), LineError>>;

    /// The smoothed round-trip time to it, if known.
    fn rtt(&self, to: MemberId) -> Option<Duration>;

    /// When its node was last heard from, if there is a way to it.
    fn heard(&self, from: MemberId) -> Option<Instant>;
}

/// Why there is no way to a member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LineError {
    /// It is tried again, for as long as it is a member; nothing is to be done.
    #[error("there is no connection to the member, or only to another boot of its peer")]
    Down,
    /// The connection broke while the stream was opened.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Questions whether to stand for election that a node has under way at once. Where more groups than that have lost
/// their leaders, they elect a few at a time: all at once would keep each other from being in time.
const MAX_QUESTIONS: usize = 64;

/// What the groups of a node share out among themselves. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    pub(super) snapshots: Arc<Semaphore>,
    questions: Arc<Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            snapshots: Arc::new(Semaphore::new(MAX_SNAPSHOTS)),
            questions: Arc::new(Semaphore::new(MAX_QUESTIONS)),
        }
    }
}

/// What all clients of a member share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) me: MemberId,
    pub(super) timing: Timing,
    pub(super) lines: Arc<dyn Lines>,
    pub(super) slots: Slots,
    pub(super) pulse: Arc<Pulse>,
}

impl Shared {
    /// How long replication to a member goes on without a word of it.
    pub(super) fn patience(&self, to: MemberId) -> Duration {
        let rtt = self.lines.rtt(to).unwrap_or_default();
        MIN_PATIENCE
            .max(rtt.saturating_mul(4))
            .max(self.timing.election_max)
    }
}

/// Makes the clients of a member.
#[derive(Clone, Debug)]
pub(super) struct Network {
    shared: Arc<Shared>,
}

impl Network {
    /// Reaches others as `shared` says.
    pub(super) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    fn client(&self, target: MemberId, purpose: Purpose) -> Client {
        Client {
            shared: self.shared.clone(),
            target,
            purpose,
            line: None,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: MemberId, _node: &EmptyNode) -> Client {
        self.client(target, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, target: MemberId, _node: &EmptyNode) -> Client {
        self.client(target, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: MemberId, _node: &EmptyNode) -> Client {
        self.client(target, Purpose::Snapshot)
    }
}

/// The way to one member for one purpose. Calls open a stream each, whatever the purpose.
#[derive(Debug)]
pub(super) struct Client {
    shared: Arc<Shared>,
    target: MemberId,
    purpose: Purpose,
    /// The stream for entries or heartbeats, once opened. It outlives what was sent on it.
    line: Option<Line>,
}

impl Client {
    /// The stream for entries or heartbeats, opened anew unless the last one is in order.
    async fn line(&mut self) -> Result<&mut Line, CallError> {
        self.line.take_if(|line| !line.is_reusable());
        match &mut self.line {
            Some(line) => Ok(line),
            none => {
                let halves = open(&self.shared, self.target, self.purpose).await?;
                let line = Line::new(halves, self.target, self.shared.pulse.clone());
                Ok(none.insert(line))
            }
        }
    }

    /// Sends one request and waits for its answer, whatever became of those before it.
    async fn ask(
        &mut self,
        request: AppendEntriesRequest<Types>,
    ) -> Result<StreamAppendResult<Types>, CallError> {
        let answer = match self.line().await {
            Ok(line) => line.ask(request).await,
            Err(error) => Err(error),
        };
        if answer.is_err() {
            self.line = None;
        }
        answer
    }

    /// Makes a call on a stream of its own.
    async fn call(
        &self,
        call: Call,
        action: RPCTypes,
        limit: Duration,
    ) -> Result<CallAnswer, RPCError<Types>> {
        let called = async {
            let halves = open(&self.shared, self.target, Purpose::Call).await?;
            let mut link = Link::<Call, CallAnswer>::new(halves, CALL_FRAME);
            link.tx.send(&call).await?;
            let answer = link.rx.recv().await?;
            answer.ok_or(CallError::Link(LinkError::Truncated))
        };
        let called = rt::timeout(limit, called).await;
        let answer = called.unwrap_or(Err(CallError::Late(limit)));
        answer.map_err(|error| error.of(&self.shared, self.target, action))
    }

    async fn ask_vote(
        &self,
        call: Call,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let limit = option.hard_ttl();
        let answer = self.call(call, RPCTypes::Vote, limit).await?;
        let checked = match answer {
            CallAnswer::Vote {
                vote,
                granted,
                last,
            } => wire::check_vote(vote)
                .and_then(|()| wire::check_id(last))
                .map(|()| {
                    let last = last.map(types::raft_log_id);
                    VoteResponse::new(types::raft_vote(vote), last, granted)
                }),
            _ => Err(Offence::Answer),
        };
        checked.map_err(|offence| {
            CallError::Offence(offence).of(&self.shared, self.target, RPCTypes::Vote)
        })
    }
}

/// Opens a stream, within the time that a member is given.
pub(super) async fn open(
    shared: &Shared,
    to: MemberId,
    purpose: Purpose,
) -> Result<(SendHalf, RecvHalf), CallError> {
    let limit = shared.patience(to);
    let opened = rt::timeout(limit, shared.lines.open(to, purpose)).await;
    Ok(opened.map_err(|_| CallError::Late(limit))??)
}

impl RaftNetworkV2<Types> for Client {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let (shared, target) = (self.shared.clone(), self.target);
        let limit = option.hard_ttl();
        let asked = rt::timeout(limit, self.ask(rpc)).await;
        let asked = asked.unwrap_or(Err(CallError::Late(limit)));
        asked
            .map(AppendEntriesResponse::from)
            .map_err(|error| error.of(&shared, target, RPCTypes::AppendEntries))
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let (shared, target) = (self.shared.clone(), self.target);
        Box::pin(async move {
            let named = {
                let shared = shared.clone();
                move |error: CallError| error.of(&shared, target, RPCTypes::AppendEntries)
            };
            if self.purpose == Purpose::Heartbeat {
                // There is one, and openraft drops the stream when it takes too long: the answer that comes
                // later belongs to no other heartbeat.
                let beat = async move {
                    let request = input.next().await?;
                    if self.shared.pulse.is_silent() {
                        return Some(Err(CallError::Silent));
                    }
                    Some(self.ask(request).await)
                };
                let beat = stream::once(beat).filter_map(std::future::ready);
                return Ok(beat.map(move |answer| answer.map_err(&named)).boxed());
            }
            // Nothing more is sent while the leader keeps silent; what was sent may still be answered.
            let pulse = shared.pulse.clone();
            let mut input = input
                .then(move |request| {
                    let pulse = pulse.clone();
                    async move {
                        pulse.may_speak().await;
                        request
                    }
                })
                .boxed();
            // openraft pauses after an error by holding the next request back: no stream is opened before.
            let answers = async move {
                let Some(first) = input.next().await else {
                    return stream::empty().boxed();
                };
                match self.line().await {
                    Ok(line) => {
                        let requests = stream::once(std::future::ready(first)).chain(input);
                        pipeline::session(line, requests, shared.patience(target)).boxed()
                    }
                    Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
                }
            };
            let answers = stream::once(answers).flatten();
            Ok(answers.map(move |answer| answer.map_err(&named)).boxed())
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let call = Call::Vote {
            vote: types::vote(&rpc.vote),
            last: ours(rpc.last_log_id.as_ref()),
            transfer: rpc.leadership_transfer,
        };
        self.ask_vote(call, option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.shared.pulse.stands();
        let Ok(_slot) = self.shared.slots.questions.try_acquire() else {
            let error = CallError::Busy;
            return Err(error.of(&self.shared, self.target, RPCTypes::Vote));
        };
        let call = Call::PreVote {
            vote: types::vote(&rpc.vote),
            last: ours(rpc.last_log_id.as_ref()),
        };
        self.ask_vote(call, option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: SnapshotOf<Types, Snapshot>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        snapshot::send(&self.shared, self.target, vote, snapshot, cancel).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let call = Call::Transfer {
            vote: types::vote(req.from_leader()),
            to: *req.to_node_id(),
            last: ours(req.last_log_id()),
        };
        let (action, limit) = (RPCTypes::TransferLeader, option.hard_ttl());
        match self.call(call, action, limit).await? {
            CallAnswer::Accepted => Ok(Ok(())),
            CallAnswer::VoteChanged(actual) => Ok(Err(TransferLeaderError::VoteChanged {
                expected: *req.from_leader(),
                actual: types::raft_vote(actual),
            })),
            CallAnswer::Behind(actual) => Ok(Err(TransferLeaderError::LogNotFlushed {
                expected: req.last_log_id().copied(),
                actual: actual.map(types::raft_log_id),
            })),
            CallAnswer::Vote { .. } => {
                let error = CallError::Offence(Offence::Answer);
                Err(error.of(&self.shared, self.target, action))
            }
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let first = Some(self.shared.timing.heartbeat);
        let pauses = std::iter::successors(first, |pause| Some(pause.saturating_mul(2)));
        Some(Backoff::new(pauses.map(|pause| pause.min(MAX_PAUSE))))
    }
}

fn ours(id: Option<&RaftLogId>) -> Option<LogId> {
    id.map(types::log_id)
}

/// Why a member did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("too many groups of this node elect at once")]
    Busy,
    #[error("no majority answers this leader, which keeps silent for a while")]
    Silent,
    #[error("nothing was heard for {0:?}")]
    Late(Duration),
    #[error(transparent)]
    Offence(#[from] Offence),
    #[error("an entry cannot be sent: {0}")]
    Encode(#[from] crate::wire::EncodeError),
}

impl CallError {
    /// As openraft has it. What it tries again at once is only what says nothing against doing so.
    pub(super) fn of(self, shared: &Shared, target: MemberId, action: RPCTypes) -> RPCError<Types> {
        match self {
            Self::Late(timeout) => RPCError::Timeout(Timeout {
                action,
                id: shared.me,
                target,
                timeout,
            }),
            Self::Link(LinkError::Truncated | LinkError::Stream(CloseCode::Done)) => {
                RPCError::Network(NetworkError::new(&self))
            }
            error => RPCError::Unreachable(Unreachable::new(&error)),
        }
    }
}
