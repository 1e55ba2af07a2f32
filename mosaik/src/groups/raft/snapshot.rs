//! Snapshots on their way: offered, sent from the chunk on that the receiver lacks, installed, answered.
//!
//! A transfer that breaks is begun anew, and goes on where it was if it is the same snapshot. Flow is that of
//! the stream. Nothing is waited for longer than [`PROGRESS`].

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use openraft::{
    RPCTypes, StorageError, StoredMembership,
    errors::{ErrorSource as _, ReplicationClosed, StreamingError},
    raft::SnapshotResponse,
    type_config::alias::{ErrorSourceOf, SnapshotMetaOf, SnapshotOf},
};

use super::{
    network::{CallError, Purpose, Shared, open},
    serve::{self, Opened, ServeError, Server},
    types::{self, RaftVote, Types},
    wire::{self, CHUNK_FRAME, OFFER_FRAME, Offence, Offer, OfferAnswer},
};
use crate::{
    groups::{
        machine::{Header, Snapshot},
        storage::Vote,
    },
    id::MemberId,
    rt,
    transport::{Link, LinkError, LinkReceiver, LinkSender, SendHalf},
    wire::{EncodeError, HEADER_LEN, MAX_FRAME},
};

/// Snapshots that a process sends at once.
pub(super) const MAX_SNAPSHOTS: usize = 2;
/// How long a transfer may stand still.
const PROGRESS: Duration = Duration::from_secs(10);
/// How often a receiver says that it is still at work.
const WORKING: Duration = Duration::from_secs(2);
/// How long checking and installing a snapshot may take.
const MAX_INSTALL: Duration = Duration::from_secs(600);

/// Sends a snapshot to a member, and returns what that answers once it is installed there.
pub(super) async fn send(
    shared: &Shared,
    to: MemberId,
    vote: RaftVote,
    snapshot: SnapshotOf<Types, Snapshot>,
    cancel: impl Future<Output = ReplicationClosed>,
) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
    let signature = snapshot.meta.signature();
    let sent = transfer(shared, to, types::vote(&vote), &snapshot.snapshot);
    let sent = tokio::select! {
        biased;
        closed = cancel => return Err(StreamingError::Closed(closed)),
        sent = sent => sent,
    };
    match sent {
        Ok(vote) => Ok(SnapshotResponse::new(types::raft_vote(vote))),
        Err(SendError::Read(error)) => {
            // What cannot be read here must not be missing there.
            let error = ErrorSourceOf::<Types>::from_error(&error);
            let error = StorageError::read_snapshot(Some(signature), error);
            Err(StreamingError::StorageError(error))
        }
        Err(SendError::Call(error)) => Err(error.of(shared, to, RPCTypes::InstallSnapshot).into()),
    }
}

async fn transfer(
    shared: &Shared,
    to: MemberId,
    vote: Vote,
    snapshot: &Snapshot,
) -> Result<Vote, SendError> {
    // The semaphore is never closed.
    let _permit = shared.slots.snapshots.acquire().await.ok();
    let halves = open(shared, to, Purpose::Snapshot).await?;
    let Link { mut tx, mut rx } = Link::<Offer, OfferAnswer>::new(halves, OFFER_FRAME);
    let header = snapshot.header();
    tx.send(&Offer {
        vote,
        header: header.clone(),
    })
    .await?;
    let first = match hear(&mut rx).await? {
        OfferAnswer::From(first) if first <= header.chunks => first,
        OfferAnswer::Done(vote) => return Ok(vote),
        OfferAnswer::From(_) | OfferAnswer::Working => return Err(Offence::Answer.into()),
    };
    let mut half = tx.into_half();
    for n in first..header.chunks {
        let chunk = snapshot.chunk(n).await.map_err(SendError::Read)?;
        let chunk = chunk.ok_or_else(|| SendError::Read(missing(n)))?;
        if send_chunk(&mut half, chunk).await.is_err() {
            // A receiver that wants no more says why.
            break;
        }
    }
    loop {
        match hear(&mut rx).await? {
            OfferAnswer::Working => {}
            OfferAnswer::Done(vote) => return Ok(vote),
            OfferAnswer::From(_) => return Err(Offence::Answer.into()),
        }
    }
}

async fn send_chunk(half: &mut SendHalf, chunk: Bytes) -> Result<(), CallError> {
    let (len, limit) = (chunk.len(), MAX_FRAME);
    let header = u32::try_from(len).map_err(|_| EncodeError::TooLarge { len, limit })?;
    let mut frame = [Bytes::copy_from_slice(&header.to_le_bytes()), chunk];
    debug_assert_eq!(frame[0].len(), HEADER_LEN);
    let written = rt::timeout(PROGRESS, half.write_chunks(&mut frame)).await;
    written.map_err(|_| CallError::Late(PROGRESS))??;
    Ok(())
}

async fn hear(rx: &mut LinkReceiver<OfferAnswer>) -> Result<OfferAnswer, CallError> {
    let heard = rt::timeout(PROGRESS, rx.recv()).await;
    let answer = heard.map_err(|_| CallError::Late(PROGRESS))??;
    let answer = answer.ok_or(LinkError::Truncated)?;
    if let OfferAnswer::Done(vote) = answer {
        wire::check_vote(vote)?;
    }
    Ok(answer)
}

fn missing(n: u64) -> std::io::Error {
    std::io::Error::other(format!("a snapshot has no chunk {n}"))
}

/// Why a snapshot was not sent.
#[derive(Debug)]
enum SendError {
    /// It cannot be read here.
    Read(std::io::Error),
    /// The other did not take it.
    Call(CallError),
}

impl<E: Into<CallError>> From<E> for SendError {
    fn from(error: E) -> Self {
        Self::Call(error.into())
    }
}

/// Takes in a snapshot from a leader.
pub(super) async fn serve(
    server: &Server,
    from: MemberId,
    (send, recv): Opened,
) -> Result<(), ServeError> {
    let Link { mut tx, mut rx } = Link::<OfferAnswer, Offer>::resume((send, recv), CHUNK_FRAME);
    let taken = async {
        let vote = take(server, from, &mut tx, &mut rx).await?;
        Ok(tx.send(&OfferAnswer::Done(vote)).await?)
    };
    let taken = taken.await;
    serve::end(tx.into_half(), taken).await
}

/// Takes in what is offered, and says whom this member votes for then.
async fn take(
    server: &Server,
    from: MemberId,
    tx: &mut LinkSender<OfferAnswer>,
    rx: &mut LinkReceiver<Offer>,
) -> Result<Vote, ServeError> {
    let offer = rt::timeout(PROGRESS, rx.recv()).await;
    let offer = offer.map_err(|_| ServeError::Late)??;
    let offer = offer.ok_or(LinkError::Truncated)?;
    let Offer { vote, header } = server.checked(from, offer)?;
    let meta = meta(&header)?;
    // A vote that is not higher would say that the snapshot is here.
    let mine = server.vote();
    if mine.term > vote.term {
        return Ok(mine);
    }
    let held = server.held();
    if held.committed >= Some(header.last) {
        // It is all here already.
        return Ok(vote);
    }
    // One at a time, whoever sends it; the last that is offered is from the latest leader.
    let turn = server.turns.take((Purpose::Snapshot, server.me)).await;
    let turn = turn.ok_or(ServeError::Superseded)?;
    let install = async {
        let snapshot = receive(server, header, tx, rx).await?;
        let snapshot = SnapshotOf::<Types, _> { meta, snapshot };
        working(tx, server.install(vote, snapshot)).await
    };
    tokio::select! {
        biased;
        () = turn.superseded() => Err(ServeError::Superseded),
        installed = install => installed,
    }
}

async fn receive(
    server: &Server,
    header: Header,
    tx: &mut LinkSender<OfferAnswer>,
    rx: &mut LinkReceiver<Offer>,
) -> Result<Snapshot, ServeError> {
    let chunks = header.chunks;
    let mut receiving = server.store.receive(header).await?;
    tx.send(&OfferAnswer::From(receiving.next())).await?;
    while receiving.next() < chunks {
        let chunk = rt::timeout(PROGRESS, rx.recv_frame()).await;
        let chunk = chunk.map_err(|_| ServeError::Late)??;
        receiving.push(chunk.ok_or(LinkError::Truncated)?).await?;
    }
    working(tx, async { Ok(receiving.finish().await?) }).await
}

/// Does `work`, telling the sender now and then that it goes on.
async fn working<T>(
    tx: &mut LinkSender<OfferAnswer>,
    work: impl Future<Output = Result<T, ServeError>>,
) -> Result<T, ServeError> {
    let mut work = pin!(rt::timeout(MAX_INSTALL, work));
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done.map_err(|_| ServeError::Late)?,
            () = rt::sleep(WORKING) => tx.send(&OfferAnswer::Working).await?,
        }
    }
}

/// What openraft is told of a snapshot.
fn meta(header: &Header) -> Result<SnapshotMetaOf<Types>, Offence> {
    let membership = types::decode_membership(&header.membership);
    let membership = membership.map_err(|error| Offence::Membership(error.to_string()))?;
    let at = header.membership_at.map(types::raft_log_id);
    Ok(SnapshotMetaOf::<Types> {
        last_log_id: Some(types::raft_log_id(header.last)),
        last_membership: StoredMembership::new(at, membership),
    })
}
