//! The members call each other directly.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};
use openraft::{
    EmptyNode, OptionalSend, Raft, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        VoteRequest, VoteResponse,
    },
    type_config::alias::{SnapshotOf, VoteOf},
};

use super::{Types, machine::Counting};

/// The members that can be called. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Peers(Arc<Mutex<BTreeMap<u64, Raft<Types, Counting>>>>);

impl Peers {
    /// Lets others call `raft`.
    pub(super) fn add(&self, id: u64, raft: Raft<Types, Counting>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, raft);
    }

    /// Lets nobody call a member any more.
    pub(super) fn remove(&self, id: u64) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Direct;

    async fn new_client(&mut self, target: u64, _: &EmptyNode) -> Direct {
        Direct {
            peers: self.clone(),
            target,
        }
    }
}

/// The way to one member.
pub(super) struct Direct {
    peers: Peers,
    target: u64,
}

impl Direct {
    fn target(&self) -> Result<Raft<Types, Counting>, Unreachable<Types>> {
        let peers = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let target = peers.get(&self.target).cloned();
        target.ok_or_else(|| unreachable("it is gone"))
    }
}

/// Whatever a member says against an answer: it is not there.
fn unreachable(why: impl Display) -> Unreachable<Types> {
    Unreachable::new(&io::Error::other(why.to_string()))
}

impl RaftNetworkV2<Types> for Direct {
    type SnapshotData = u64;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let answer = self.target()?.append_entries(rpc).await;
        Ok(answer.map_err(unreachable)?)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let answers = self.target()?.stream_append(input);
            Ok(answers
                .map(|answer| Ok(answer.map_err(unreachable)?))
                .boxed())
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.target()?.vote(rpc).await;
        Ok(answer.map_err(unreachable)?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let answer = self.target()?.pre_vote(rpc).await;
        Ok(answer.map_err(unreachable)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, u64>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let answer = self.target()?.install_full_snapshot(vote, snapshot).await;
        Ok(answer.map_err(unreachable)?)
    }
}
