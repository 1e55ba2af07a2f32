//! openraft without the type of its state machine.

use std::fmt;

use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream::{BoxStream, Stream},
};
use openraft::{
    ChangeMembers, EmptyNode, LinearizerOption, Precondition, Raft,
    errors::{ClientWriteError, Fatal, InitializeError, LinearizableReadError, RaftError},
    impls::ProgressResponder,
    metrics::{RaftDataMetrics, RaftMetrics, RaftServerMetrics},
    raft::{
        AppendEntriesRequest, ClientWriteResult, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
        linearizable_read::ReadLogId,
    },
    storage::RaftStateMachine,
    type_config::alias::{OneshotReceiverOf, SnapshotOf, WatchReceiverOf},
};

use super::types::{Proposal, RaftVote, Types};
use crate::{
    groups::machine::{Image, Snapshot},
    id::MemberId,
};

/// What became of a proposal, once it is known.
pub(super) type Proposed = OneshotReceiverOf<Types, ClientWriteResult<Types>>;
/// What may be read.
pub(super) type Read = Result<ReadLogId<Types>, RaftError<Types, LinearizableReadError<Types>>>;
/// A change of the members.
pub(super) type Members = ChangeMembers<MemberId, EmptyNode>;

/// A state machine whose state others may have an image of.
pub(crate) trait Imaged {
    /// The state as it is; `None` if nothing was applied.
    fn image(&self) -> Option<Image>;
}

/// What is asked of openraft.
pub(super) trait Core: fmt::Debug + Send + Sync + 'static {
    /// See [`Raft::stream_append`].
    fn append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<Types>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<Types>, Fatal<Types>>>;

    /// See [`Raft::vote`].
    fn vote(
        &self,
        request: VoteRequest<Types>,
    ) -> BoxFuture<'_, Result<VoteResponse<Types>, RaftError<Types>>>;

    /// See [`Raft::pre_vote`].
    fn pre_vote(
        &self,
        request: VoteRequest<Types>,
    ) -> BoxFuture<'_, Result<VoteResponse<Types>, RaftError<Types>>>;

    /// See [`Raft::handle_transfer_leader`].
    fn transfer(
        &self,
        request: TransferLeaderRequest<Types>,
    ) -> BoxFuture<'_, Result<TransferLeaderResponse<Types>, Fatal<Types>>>;

    /// See [`Raft::install_full_snapshot`].
    fn install(
        &self,
        vote: RaftVote,
        snapshot: SnapshotOf<Types, Snapshot>,
    ) -> BoxFuture<'_, Result<SnapshotResponse<Types>, Fatal<Types>>>;

    /// See [`Raft::client_write_ff`].
    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Proposed, Fatal<Types>>>;

    /// See [`Raft::get_read_log_id`].
    fn read(&self, option: LinearizerOption) -> BoxFuture<'_, Read>;

    /// Sends one heartbeat to all others.
    fn heartbeat(&self) -> BoxFuture<'_, Result<(), Fatal<Types>>>;

    /// See [`Raft::initialize`].
    fn initialize(
        &self,
        members: std::collections::BTreeSet<MemberId>,
    ) -> BoxFuture<'_, Result<(), RaftError<Types, InitializeError<Types>>>>;

    /// See [`Raft::change_membership_if`]. Members that are removed are forgotten.
    fn change(
        &self,
        members: Members,
        preconditions: Vec<Precondition<Types>>,
    ) -> BoxFuture<'_, Result<(), RaftError<Types, ClientWriteError<Types>>>>;

    /// Hands leadership to a voter.
    fn hand_over(&self, to: MemberId) -> BoxFuture<'_, Result<(), Fatal<Types>>>;

    /// Tries a member again at once.
    fn retry(&self, member: MemberId) -> BoxFuture<'_, Result<(), Fatal<Types>>>;

    /// An image of the state, behind all that is being applied.
    fn image(&self) -> BoxFuture<'_, Result<Option<Image>, Fatal<Types>>>;

    /// See [`openraft::raft::Trigger::snapshot`].
    fn snapshot(&self) -> BoxFuture<'_, Result<(), Fatal<Types>>>;

    /// See [`openraft::raft::Trigger::purge_log`].
    fn purge(&self, upto: u64) -> BoxFuture<'_, Result<(), Fatal<Types>>>;

    /// Lets time pass for it, or not.
    fn tick(&self, on: bool);

    /// Lets it stand for election, or not.
    fn elect(&self, on: bool);

    /// See [`Raft::metrics`].
    fn metrics(&self) -> WatchReceiverOf<Types, RaftMetrics<Types>>;

    /// See [`Raft::data_metrics`].
    fn positions(&self) -> WatchReceiverOf<Types, RaftDataMetrics<Types>>;

    /// See [`Raft::server_metrics`].
    fn standing(&self) -> WatchReceiverOf<Types, RaftServerMetrics<Types>>;

    /// Stops it, and waits until it has stopped.
    fn stop(&self) -> BoxFuture<'_, ()>;

    /// Why it has stopped. Only to be asked once its watches have ended.
    fn why_stopped(&self) -> BoxFuture<'_, Fatal<Types>>;
}

impl<SM> Core for Raft<Types, SM>
where
    SM: RaftStateMachine<Types, SnapshotData = Snapshot> + Imaged,
{
    fn append(
        &self,
        requests: BoxStream<'static, AppendEntriesRequest<Types>>,
    ) -> BoxStream<'static, Result<StreamAppendResult<Types>, Fatal<Types>>> {
        boxed(self.stream_append(requests))
    }

    fn vote(
        &self,
        request: VoteRequest<Types>,
    ) -> BoxFuture<'_, Result<VoteResponse<Types>, RaftError<Types>>> {
        Box::pin(Self::vote(self, request))
    }

    fn pre_vote(
        &self,
        request: VoteRequest<Types>,
    ) -> BoxFuture<'_, Result<VoteResponse<Types>, RaftError<Types>>> {
        Box::pin(Self::pre_vote(self, request))
    }

    fn transfer(
        &self,
        request: TransferLeaderRequest<Types>,
    ) -> BoxFuture<'_, Result<TransferLeaderResponse<Types>, Fatal<Types>>> {
        Box::pin(self.handle_transfer_leader(request))
    }

    fn install(
        &self,
        vote: RaftVote,
        snapshot: SnapshotOf<Types, Snapshot>,
    ) -> BoxFuture<'_, Result<SnapshotResponse<Types>, Fatal<Types>>> {
        Box::pin(self.install_full_snapshot(vote, snapshot))
    }

    fn propose(&self, proposal: Proposal) -> BoxFuture<'_, Result<Proposed, Fatal<Types>>> {
        Box::pin(async move {
            let (responder, proposed) = ProgressResponder::complete_only();
            self.client_write_ff(proposal, Some(responder)).await?;
            Ok(proposed)
        })
    }

    fn read(&self, option: LinearizerOption) -> BoxFuture<'_, Read> {
        Box::pin(async move {
            let (read, _applied) = self.get_read_log_id(option).await?;
            Ok(read)
        })
    }

    fn heartbeat(&self) -> BoxFuture<'_, Result<(), Fatal<Types>>> {
        Box::pin(async move { self.trigger().heartbeat().await })
    }

    fn initialize(
        &self,
        members: std::collections::BTreeSet<MemberId>,
    ) -> BoxFuture<'_, Result<(), RaftError<Types, InitializeError<Types>>>> {
        Box::pin(Self::initialize(self, members))
    }

    fn change(
        &self,
        members: Members,
        preconditions: Vec<Precondition<Types>>,
    ) -> BoxFuture<'_, Result<(), RaftError<Types, ClientWriteError<Types>>>> {
        Box::pin(async move {
            let changed = self.change_membership_if(members, false, preconditions);
            changed.await.map(drop)
        })
    }

    fn hand_over(&self, to: MemberId) -> BoxFuture<'_, Result<(), Fatal<Types>>> {
        Box::pin(async move { self.trigger().transfer_leader(to).await })
    }

    fn retry(&self, member: MemberId) -> BoxFuture<'_, Result<(), Fatal<Types>>> {
        Box::pin(async move { self.trigger().reset_backoff([member]).await })
    }

    fn image(&self) -> BoxFuture<'_, Result<Option<Image>, Fatal<Types>>> {
        Box::pin(self.with_state_machine(|machine| ready(machine.image()).boxed()))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<(), Fatal<Types>>> {
        Box::pin(async move { self.trigger().snapshot().await })
    }

    fn purge(&self, upto: u64) -> BoxFuture<'_, Result<(), Fatal<Types>>> {
        Box::pin(async move { self.trigger().purge_log(upto).await })
    }

    fn tick(&self, on: bool) {
        self.runtime_config().tick(on);
    }

    fn elect(&self, on: bool) {
        self.runtime_config().elect(on);
    }

    fn metrics(&self) -> WatchReceiverOf<Types, RaftMetrics<Types>> {
        Self::metrics(self)
    }

    fn positions(&self) -> WatchReceiverOf<Types, RaftDataMetrics<Types>> {
        self.data_metrics()
    }

    fn standing(&self) -> WatchReceiverOf<Types, RaftServerMetrics<Types>> {
        self.server_metrics()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = self.shutdown().await {
                tracing::warn!(?error, "raft did not stop in order");
            }
        })
    }

    fn why_stopped(&self) -> BoxFuture<'_, Fatal<Types>> {
        Box::pin(async move {
            match self.with_raft_state(|_| ()).await {
                Ok(()) => Fatal::Stopped,
                Err(fatal) => fatal,
            }
        })
    }
}

fn boxed<T>(stream: impl Stream<Item = T> + Send + 'static) -> BoxStream<'static, T> {
    stream.boxed()
}
