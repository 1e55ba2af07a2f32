//! The network of openraft over the connections of a node: the answering side.
//!
//! What a peer sends is checked before openraft sees it, since that takes the word of its network for granted.
//! Nothing here ends a node: a stream that offends is given up, and the node goes on.

use std::{collections::VecDeque, io, pin::pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{
    FutureExt as _, StreamExt as _,
    stream::{self, BoxStream, Fuse},
};
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
    log::RaftLog,
    network::{Lines, Purpose},
    node::Node,
    pipeline::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES},
    pulse::Pulse,
    snapshot,
    turns::Turns,
    types::{self, EntryError, Types},
    untold::Untold,
    wire::{ANSWER_FRAME, Answer, Append, CALL_FRAME, Call, CallAnswer, Held, Offence, Offer},
};
use crate::{
    groups::{
        machine::{Snapshot, Store},
        proto::{founding::charter::Epoch, log_id::LogId},
        storage::Vote,
    },
    id::{GroupId, MemberId},
    rt,
    transport::{CloseCode, Link, LinkError, LinkReceiver, RecvHalf, SendHalf},
    wire::{END, MAX_FRAME, encode_frame},
};

/// How often in a lease a follower that works on entries says that it does, while its disk takes its time.
const WORKING: u32 = 4;
/// How long an answer that tells nothing new waits for one that does.
const HELD_BACK: Duration = Duration::from_millis(5);
/// How long a call may take, and how long the end of a stream.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// The halves of a stream whose header was read, and what was read behind it.
pub(crate) type Opened = (SendHalf, (RecvHalf, BytesMut));

/// Answers what `from` sends on a stream, until that ends. Its header (group, epoch, from, to, purpose) was
/// read and checked. Not to be dropped before it returns, however the stream ends: it waits until openraft has
/// dealt with what was handed over, so that not more and more waits there while a disk stands still.
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
        Purpose::Append | Purpose::Heartbeat => serve_entries(server, purpose, from, opened).await,
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
    pub(super) log: RaftLog,
    pub(super) store: Store,
    /// Streams of entries and heartbeats by sender, and of snapshots.
    pub(super) turns: Turns<(Purpose, MemberId)>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) lines: Arc<dyn Lines>,
    /// How long a leader's word holds.
    pub(super) lease: Duration,
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

    /// What a member that rests answers to a pre-vote: its leader is there, though its lease is over. Whoever
    /// asks does not hear from that leader, which is a reason to wake.
    fn answer_resting(&self) -> Option<CallAnswer> {
        if self.pulse.is_awake() {
            return None;
        }
        self.pulse.ask();
        let positions = self.core.positions();
        let last = positions.borrow_watched().last_log;
        let metrics = self.core.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let heard = self.lines.heard(leader);
        let shows = heard.is_some_and(|at| rt::now().duration_since(at) < self.lease);
        (leader == self.me || shows).then(|| CallAnswer::Vote {
            vote: types::vote(&metrics.vote),
            granted: false,
            last: last.as_ref().map(types::log_id),
        })
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
        self.make_way(vote, snapshot.snapshot.header().last).await?;
        let installed = self.core.install(types::raft_vote(vote), snapshot).await;
        Ok(types::vote(&installed.map_err(stopped)?.vote))
    }

    /// Removes what no leader since `last` was written can have: entries before it of later terms than its own,
    /// which were never committed. openraft would take the log for one that goes back otherwise, and stop where
    /// debug assertions are on. They go as any leader makes them go: by saying what stands in their place.
    async fn make_way(&self, vote: Vote, last: LogId) -> Result<(), ServeError> {
        let Some(first) = self.log.first_after_term(last).await? else {
            return Ok(());
        };
        let previous = LogId {
            term: last.term,
            index: first.index,
        };
        let request = AppendEntriesRequest {
            vote: types::raft_vote(vote),
            prev_log_id: Some(types::raft_log_id(previous)),
            leader_commit: None,
            entries: Vec::new(),
        };
        let mut answers = self.core.append(stream::iter([request]).boxed());
        // It says that the two differ, or that there is a later leader, which installing will say again.
        match answers.next().await {
            Some(answer) => answer.map(drop).map_err(stopped),
            None => Err(ServeError::Stopped),
        }
    }
}

/// Entries of a leader, or its heartbeats.
async fn serve_entries(
    server: &Server,
    purpose: Purpose,
    from: MemberId,
    (send, recv): Opened,
) -> Result<(), ServeError> {
    let Link { tx, mut rx } = Link::<(), ()>::resume((send, recv), MAX_FRAME);
    let mut tx = tx.into_half();
    let Some(turn) = server.turns.take((purpose, from)).await else {
        return end(tx, Err(ServeError::Superseded)).await;
    };
    let mut entries = Entries::new(server, from, purpose);
    let answered = tokio::select! {
        biased;
        () = turn.superseded() => Err(ServeError::Superseded),
        answered = entries.answer(&mut tx, &mut rx) => answered,
    };
    let ended = end(tx, answered).await;
    entries.drain().await;
    ended
}

/// Entries that were handed to openraft, and what becomes of them.
struct Entries<'s> {
    server: &'s Server,
    from: MemberId,
    purpose: Purpose,
    /// Whether the sender of what came last may still be followed.
    follows: bool,
    /// openraft reads the other end in a task of its own, which ends with this.
    feed: Option<mpsc::Sender<AppendEntriesRequest<Types>>>,
    /// Fused: openraft's own stream panics when it is asked once more than it has to say.
    answers: Fuse<BoxStream<'static, Result<StreamAppendResult<Types>, Fatal<Types>>>>,
    /// The requests that await their answers, and the sum of their sizes.
    waiting: VecDeque<Waiting>,
    bytes: usize,
    untold: Untold,
}

/// A request that awaits its answer.
struct Waiting {
    size: usize,
    /// Whether its answer tells something new in any case.
    tells: bool,
}

impl<'s> Entries<'s> {
    fn new(server: &'s Server, from: MemberId, purpose: Purpose) -> Self {
        let (feed, requests) = mpsc::channel(MAX_IN_FLIGHT);
        let requests = stream::unfold(requests, async |mut requests| {
            Some((requests.recv().await?, requests))
        });
        Self {
            server,
            from,
            purpose,
            follows: true,
            feed: Some(feed),
            answers: server.core.append(requests.boxed()).fuse(),
            waiting: VecDeque::new(),
            bytes: 0,
            untold: Untold::default(),
        }
    }

    /// Hands over what arrives, and tells what is answered, until the peer says that it is done.
    async fn answer(
        &mut self,
        tx: &mut SendHalf,
        rx: &mut LinkReceiver<()>,
    ) -> Result<(), ServeError> {
        let mut open = true;
        let pause = self.server.lease / WORKING;
        let mut working = pin!(rt::sleep(pause));
        let mut holding = pin!(rt::sleep(HELD_BACK));
        while open || !self.waiting.is_empty() {
            let room = self.waiting.len() < MAX_IN_FLIGHT && self.bytes < MAX_IN_FLIGHT_BYTES;
            tokio::select! {
                biased;
                answer = self.answers.next(), if !self.waiting.is_empty() => {
                    let first = self.untold.count() == 0;
                    let more = self.note(answer)?;
                    if self.untold.is_urgent() {
                        tx.write_all(&self.untold.take()).await?;
                    } else if first {
                        holding.set(rt::sleep(HELD_BACK));
                    }
                    if !more {
                        return Ok(());
                    }
                }
                frame = rx.recv_frame(), if open && room => match frame? {
                    Some(frame) => {
                        if self.waiting.is_empty() {
                            working.set(rt::sleep(pause));
                        }
                        self.hand_over(&frame).await?;
                        if self.follows && self.purpose == Purpose::Heartbeat {
                            tx.write_all(&still_working()?).await?;
                        }
                    }
                    None => open = false,
                },
                () = &mut holding, if self.untold.count() > 0 => {
                    tx.write_all(&self.untold.take()).await?;
                }
                () = &mut working, if self.follows && !self.waiting.is_empty() => {
                    tx.write_all(&still_working()?).await?;
                    working.set(rt::sleep(pause));
                }
            }
        }
        Ok(tx.write_all(&self.untold.take()).await?)
    }

    async fn hand_over(&mut self, frame: &Bytes) -> Result<(), ServeError> {
        let append = Append::decode(frame)?;
        let held = self.server.held();
        append.check(self.from, held)?;
        self.follows = append.vote.term >= held.term;
        self.server.pulse.led();
        let waiting = Waiting {
            size: frame.len(),
            // A heartbeat is waited for.
            tells: self.purpose == Purpose::Heartbeat || !append.entries.is_empty(),
        };
        let request = request(append)?;
        let feed = self.feed.as_ref().ok_or(ServeError::Stopped)?;
        self.bytes += waiting.size;
        self.waiting.push_back(waiting);
        // There is room in it for all that wait.
        feed.send(request).await.map_err(|_| ServeError::Stopped)
    }

    /// Notes an answer and those that are there already as untold; says whether any can follow.
    fn note(
        &mut self,
        answer: Option<Result<StreamAppendResult<Types>, Fatal<Types>>>,
    ) -> Result<bool, ServeError> {
        let mut next = Some(answer);
        while let Some(answer) = next {
            let answer = answer.ok_or(ServeError::Stopped)?.map_err(stopped)?;
            let waiting = self.waiting.pop_front().ok_or(ServeError::Stopped)?;
            self.bytes -= waiting.size;
            let added = match &answer {
                Ok(matched) => self.untold.done(waiting.tells, *matched),
                Err(error) => self.untold.other(say(error)),
            };
            added.map_err(LinkError::from)?;
            if answer.is_err() {
                // openraft answers nothing that follows an error.
                self.waiting.clear();
                return Ok(false);
            }
            let more = !self.waiting.is_empty();
            next = more.then(|| self.answers.next().now_or_never()).flatten();
        }
        Ok(true)
    }

    /// Waits until openraft has answered what was handed over.
    async fn drain(mut self) {
        self.feed = None;
        while !self.waiting.is_empty() {
            match self.answers.next().await {
                Some(Ok(Ok(_))) => drop(self.waiting.pop_front()),
                // Nothing follows.
                _ => return,
            }
        }
    }
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

/// What a follower says at once, or while its disk takes its time.
fn still_working() -> Result<Vec<u8>, LinkError> {
    Ok(encode_frame(&Answer::Working, ANSWER_FRAME)?)
}

fn say(error: &StreamAppendError<Types>) -> Answer {
    match error {
        StreamAppendError::Conflict(_) => Answer::Conflict,
        StreamAppendError::HigherVote(vote) => Answer::Higher(types::vote(vote)),
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
    // A caller waits no longer, and a member that does not get to it must not gather calls.
    let answered = rt::timeout(CALL_LIMIT, answered).await;
    let answered = answered.unwrap_or(Err(ServeError::Late));
    end(tx.into_half(), answered).await
}

async fn answer_call(
    server: &Server,
    from: MemberId,
    rx: &mut LinkReceiver<Call>,
) -> Result<CallAnswer, ServeError> {
    let call = rx.recv().await?.ok_or(LinkError::Truncated)?;
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
            if let Some(answer) = server.answer_resting() {
                return Ok(answer);
            }
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
    /// The same was begun anew on another stream, a snapshot perhaps by a later leader.
    #[error("another stream took the place of this one")]
    Superseded,
    /// A snapshot could not be stored.
    #[error("a snapshot cannot be stored: {0}")]
    Store(#[from] io::Error),
    /// The member has stopped; its status says why.
    #[error("the member has stopped")]
    Stopped,
}
