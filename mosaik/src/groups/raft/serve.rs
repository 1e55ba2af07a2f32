//! The network of openraft over the connections of a node: the answering side.
//!
//! What a peer sends is checked before openraft sees it, since that takes the word of its network for granted.
//! Nothing here ends a node: a stream that offends is given up, and the node goes on.

use std::{collections::VecDeque, io, time::Duration};

use bytes::BytesMut;
use futures::{FutureExt as _, StreamExt as _, stream};
use openraft::{
    async_runtime::watch::WatchReceiver as _,
    errors::{Fatal, RaftError},
    raft::{
        AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError,
        TransferLeaderRequest, VoteRequest, VoteResponse,
    },
    type_config::alias::SnapshotOf,
};
use tokio::sync::mpsc;

use super::{
    core::Core,
    network::Purpose,
    node::Node,
    pipeline::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES},
    snapshot::{self, Taking},
    types::{self, EntryError, Types},
    wire::{ANSWER_FRAME, Answer, Append, CALL_FRAME, Call, CallAnswer, Held, Offence, Offer},
};
use crate::{
    groups::{
        machine::{Snapshot, Store},
        proto::founding::charter::Epoch,
        storage::Vote,
    },
    id::{GroupId, MemberId},
    rt,
    transport::{CloseCode, Link, LinkError, LinkReceiver, RecvHalf, SendHalf},
    wire::{END, MAX_FRAME, encode_frame},
};

/// How long a caller may take to say what it wants.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// The halves of a stream whose header was read, and what was read behind it.
pub(crate) type Opened = (SendHalf, (RecvHalf, BytesMut));

/// Answers what `from` sends on a stream, until that ends. Its header (group, epoch, from, to, purpose) was
/// read and checked.
pub(crate) async fn serve(
    node: &Node,
    purpose: Purpose,
    from: MemberId,
    opened: Opened,
) -> Result<(), ServeError> {
    let server = node.server();
    if from == server.me {
        return Err(ServeError::Myself);
    }
    match purpose {
        Purpose::Append | Purpose::Heartbeat => serve_entries(server, from, opened).await,
        Purpose::Call => serve_call(server, from, opened).await,
        Purpose::Snapshot => snapshot::serve(server, from, opened).await,
    }
}

/// A member as its peers see it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) me: MemberId,
    pub(super) group: GroupId,
    pub(super) epoch: Epoch,
    pub(super) core: Box<dyn Core>,
    pub(super) store: Store,
    pub(super) taking: Taking,
}

impl Server {
    /// What is known here now.
    pub(super) fn held(&self) -> Held {
        let metrics = self.core.metrics();
        let metrics = metrics.borrow_watched();
        Held {
            term: metrics.current_term,
            committed: metrics.local_committed.as_ref().map(types::log_id),
        }
    }

    /// Whom this member votes for, on its disk.
    pub(super) fn vote(&self) -> Vote {
        types::vote(&self.core.metrics().borrow_watched().vote)
    }

    /// The offer, if a sound leader of this group made it.
    pub(super) fn checked(&self, from: MemberId, offer: Offer) -> Result<Offer, Offence> {
        let header = &offer.header;
        if (header.group, header.epoch) != (self.group, self.epoch) {
            return Err(Offence::Foreign);
        }
        offer.check(from, self.held())?;
        Ok(offer)
    }

    /// Installs a snapshot under a leader's vote; says whom this member votes for then.
    pub(super) async fn install(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<Types, Snapshot>,
    ) -> Result<Vote, ServeError> {
        let installed = self.core.install(types::raft_vote(vote), snapshot).await;
        Ok(types::vote(&installed.map_err(stopped)?.vote))
    }
}

/// Entries of a leader, or its heartbeats.
async fn serve_entries(
    server: &Server,
    from: MemberId,
    (send, recv): Opened,
) -> Result<(), ServeError> {
    let Link { tx, mut rx } = Link::<(), ()>::resume((send, recv), MAX_FRAME);
    let mut tx = tx.into_half();
    let answered = answer_entries(server, from, &mut tx, &mut rx).await;
    end(tx, answered).await
}

async fn answer_entries(
    server: &Server,
    from: MemberId,
    tx: &mut SendHalf,
    rx: &mut LinkReceiver<()>,
) -> Result<(), ServeError> {
    // openraft reads from the channel in a task of its own, which ends with the sender of it.
    let (feed, requests) = mpsc::channel(MAX_IN_FLIGHT);
    let requests = stream::unfold(requests, async |mut requests| {
        Some((requests.recv().await?, requests))
    });
    let mut answers = server.core.append(requests.boxed());
    // Sizes of the requests that await their answers.
    let mut waiting = VecDeque::new();
    let mut bytes = 0;
    let mut open = true;
    while open || !waiting.is_empty() {
        let room = open && waiting.len() < MAX_IN_FLIGHT && bytes < MAX_IN_FLIGHT_BYTES;
        tokio::select! {
            biased;
            answer = answers.next(), if !waiting.is_empty() => {
                let mut frames = Vec::new();
                let mut next = Some(answer);
                while let Some(answer) = next {
                    let answer = answer.ok_or(ServeError::Stopped)?.map_err(stopped)?;
                    bytes -= waiting.pop_front().unwrap_or(0);
                    frames.extend(encode_frame(&say(&answer), ANSWER_FRAME).map_err(LinkError::from)?);
                    if answer.is_err() {
                        // openraft answers nothing that follows an error.
                        return Ok(tx.write_all(&frames).await?);
                    }
                    // Those that are there already go along.
                    next = (!waiting.is_empty()).then(|| answers.next().now_or_never()).flatten();
                }
                tx.write_all(&frames).await?;
            }
            frame = rx.recv_frame(), if room => {
                let Some(frame) = frame? else {
                    open = false;
                    continue;
                };
                let append = Append::decode(&frame)?;
                append.check(from, server.held())?;
                waiting.push_back(frame.len());
                bytes += frame.len();
                feed.send(request(append)?).await.map_err(|_| ServeError::Stopped)?;
            }
        }
    }
    Ok(())
}

/// Ends a stream, and tells the peer how it ended.
pub(super) async fn end(
    mut tx: SendHalf,
    served: Result<(), ServeError>,
) -> Result<(), ServeError> {
    let code = match &served {
        Ok(()) => {
            let finished = async {
                tx.write_all(&END).await?;
                tx.finish().await
            };
            let finished = rt::timeout(CALL_LIMIT, finished).await;
            return finished.map_err(|_| ServeError::Late)?.or_else(given_up);
        }
        Err(ServeError::Offence(_) | ServeError::Myself) => CloseCode::Malformed,
        Err(ServeError::Late) => CloseCode::TimedOut,
        Err(ServeError::Superseded | ServeError::Store(_)) => CloseCode::NoCapacity,
        Err(ServeError::Stopped) => CloseCode::ShuttingDown,
        Err(ServeError::Link(_)) => CloseCode::Done,
    };
    tx.reset(code);
    match served {
        Err(ServeError::Link(error)) => given_up(error),
        served => served,
    }
}

/// A leader that gives its stream up has ended it.
fn given_up(error: LinkError) -> Result<(), ServeError> {
    match error {
        LinkError::Stream(CloseCode::Done) => Ok(()),
        error => Err(error.into()),
    }
}

fn say(answer: &StreamAppendResult<Types>) -> Answer {
    match answer {
        Ok(_) => Answer::Done,
        Err(StreamAppendError::Conflict(_)) => Answer::Conflict,
        Err(StreamAppendError::HigherVote(vote)) => Answer::Higher(types::vote(vote)),
    }
}

fn request(append: Append) -> Result<AppendEntriesRequest<Types>, Offence> {
    let entries = append.entries.into_iter().map(types::raft_entry);
    let entries: Result<Vec<_>, EntryError> = entries.collect();
    Ok(AppendEntriesRequest {
        vote: types::raft_vote(append.vote),
        prev_log_id: append.prev.map(types::raft_log_id),
        leader_commit: append.committed.map(types::raft_log_id),
        entries: entries.map_err(|error| Offence::Membership(error.to_string()))?,
    })
}

/// One call.
async fn serve_call(
    server: &Server,
    from: MemberId,
    (send, recv): Opened,
) -> Result<(), ServeError> {
    let Link { mut tx, mut rx } = Link::<CallAnswer, Call>::resume((send, recv), CALL_FRAME);
    let answered = async {
        let answer = answer_call(server, from, &mut rx).await?;
        Ok(tx.send(&answer).await?)
    };
    let answered = answered.await;
    end(tx.into_half(), answered).await
}

async fn answer_call(
    server: &Server,
    from: MemberId,
    rx: &mut LinkReceiver<Call>,
) -> Result<CallAnswer, ServeError> {
    let call = rt::timeout(CALL_LIMIT, rx.recv()).await;
    let call = call.map_err(|_| ServeError::Late)??;
    let call = call.ok_or(LinkError::Truncated)?;
    call.check(from)?;
    match call {
        Call::Vote {
            vote,
            last,
            transfer,
        } => {
            let last = last.map(types::raft_log_id);
            let mut request = VoteRequest::new(types::raft_vote(vote), last);
            request.leadership_transfer = transfer;
            voted(server.core.vote(request).await)
        }
        Call::PreVote { vote, last } => {
            let last = last.map(types::raft_log_id);
            let request = VoteRequest::new(types::raft_vote(vote), last);
            voted(server.core.pre_vote(request).await)
        }
        Call::Transfer { vote, to, last } => {
            let last = last.map(types::raft_log_id);
            let request = TransferLeaderRequest::new(types::raft_vote(vote), to, last);
            let answer = server.core.transfer(request).await.map_err(stopped)?;
            Ok(match answer {
                Ok(()) => CallAnswer::Accepted,
                Err(TransferLeaderError::VoteChanged { actual, .. }) => {
                    CallAnswer::VoteChanged(types::vote(&actual))
                }
                Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
                    CallAnswer::Behind(actual.as_ref().map(types::log_id))
                }
            })
        }
    }
}

fn voted(answer: Result<VoteResponse<Types>, RaftError<Types>>) -> Result<CallAnswer, ServeError> {
    let answer = answer.map_err(|_| ServeError::Stopped)?;
    Ok(CallAnswer::Vote {
        vote: types::vote(&answer.vote),
        granted: answer.vote_granted,
        last: answer.last_log_id.as_ref().map(types::log_id),
    })
}

/// What ended openraft is in the status of the node.
fn stopped(_: Fatal<Types>) -> ServeError {
    ServeError::Stopped
}

/// Why a stream of a group is served no further.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ServeError {
    /// The peer opens another stream when it wants one.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The peer is faulty or of another version: it is worth a warning.
    #[error("the peer is at fault: {0}")]
    Offence(#[from] Offence),
    /// The peer claims to be this member: it is faulty.
    #[error("the peer claims to be this member")]
    Myself,
    /// The peer stood still for too long; it tries again.
    #[error("the peer stood still for too long")]
    Late,
    /// A snapshot was offered anew, by this peer or by a later leader.
    #[error("another snapshot was offered meanwhile")]
    Superseded,
    /// A snapshot could not be stored.
    #[error("a snapshot cannot be stored: {0}")]
    Store(#[from] io::Error),
    /// The member has stopped; its status says why.
    #[error("the member has stopped")]
    Stopped,
}
