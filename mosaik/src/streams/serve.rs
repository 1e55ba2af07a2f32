//! The producer's side of a subscription: answers the request, then writes what the ring has.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::{
    channels::Identity,
    handle::Inner,
    hub::Hub,
    past::Found,
    proto::{
        credit::Sending,
        record::Control,
        ring::Batch,
        subscription::{self, Accept, ConsumerMessage, MAX_MESSAGE, ProducerMessage, Subscribe},
    },
    seat::{Next, Seat},
};
use crate::{
    declare::Schema,
    id::PeerId,
    metrics, rt,
    tickets::Right,
    transport::{CloseCode, Closed, Connection, Link, LinkError, LinkReceiver, SendHalf},
};

/// How long a stream may be open before it says what it is for.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams of one connection that may have no request yet; more wait to be accepted.
const MAX_REQUESTS: usize = 64;
/// How long the end of a subscription may make no progress, and the consumer's goodbye may take.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that are written at once at most; a chunk more fits.
const WRITE_SIZE: u64 = 256 * 1024;
/// After a smaller write, in bytes, the writer lets other tasks run before it reads again.
const SMALL_WRITE: usize = 32 * 1024;

type ConsumerLink = Link<ProducerMessage, ConsumerMessage>;

/// Serves the streams that a peer opens on `connection`.
pub(super) async fn connection(streams: Inner, connection: Connection) {
    let requests = Arc::new(Semaphore::new(MAX_REQUESTS));
    while let Ok(permit) = requests.clone().acquire_owned().await {
        match connection.accept_bi().await {
            Ok(halves) => {
                let (inner, connection) = (streams.clone(), connection.clone());
                streams.tasks().spawn(async move {
                    let link = Link::new(halves, MAX_MESSAGE);
                    if let Err(error) = stream(&inner, &connection, link, permit).await {
                        debug!(peer = %connection.peer().short(), %error, "subscription ended");
                    }
                });
            }
            Err(error) => {
                debug!(peer = %connection.peer().short(), %error, "connection ended");
                return;
            }
        }
    }
}

async fn stream(
    streams: &Inner,
    connection: &Connection,
    mut link: ConsumerLink,
    permit: OwnedSemaphorePermit,
) -> Result<(), LinkError> {
    let request = rt::timeout(REQUEST_TIMEOUT, link.rx.recv()).await;
    drop(permit);
    let Ok(request) = request else {
        return refuse(link, CloseCode::TimedOut, "no request in time").await;
    };
    match request {
        Ok(Some(ConsumerMessage::Subscribe(request))) => {
            subscribed(streams, connection, link, request).await
        }
        Ok(Some(ConsumerMessage::Describe { topic })) => {
            let Some(hub) = streams.hub(&topic) else {
                return refuse(link, CloseCode::NotFound, NOT_PRODUCED).await;
            };
            let topic = hub.topic();
            let description = ProducerMessage::Description {
                name: topic.name.clone(),
                schema: topic.schema.as_ref().map(Schema::encode),
            };
            answer(link, &description).await
        }
        Ok(Some(ConsumerMessage::Ack(_))) => {
            refuse(
                link,
                CloseCode::Malformed,
                "acknowledged before subscribing",
            )
            .await
        }
        Ok(None) => Ok(()),
        Err(error @ LinkError::Decode(_)) => {
            warn!(peer = %connection.peer().short(), %error, "peer sent a malformed request");
            metrics::malformed();
            refuse(link, CloseCode::Malformed, &error.to_string()).await?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

const NOT_PRODUCED: &str = "this peer does not produce that topic (any more)";

async fn refuse(link: ConsumerLink, code: CloseCode, text: &str) -> Result<(), LinkError> {
    let refusal = ProducerMessage::Refuse {
        code: code.code(),
        reason: subscription::reason(text),
    };
    answer(link, &refusal).await
}

/// Gives the only answer, to a peer that may not read it.
async fn answer(mut link: ConsumerLink, message: &ProducerMessage) -> Result<(), LinkError> {
    let tell = async {
        link.tx.send(message).await?;
        link.tx.finish().await
    };
    rt::timeout(END_TIMEOUT, tell)
        .await
        .unwrap_or(Err(LinkError::Truncated))
}

/// Whether a peer may consume what a hub has, with this schema; or why not, which people are told too.
async fn admit(
    streams: &Inner,
    peer: PeerId,
    hub: &Hub,
    schema: Option<&[u8]>,
) -> Result<Option<Right>, (CloseCode, String)> {
    let schema = schema.map(Schema::decode).transpose();
    let schema = schema.map_err(|error| (CloseCode::Malformed, error.to_string()))?;
    let topic = hub.topic();
    let admitted = match topic.compare(schema.as_ref()) {
        Ok(()) => {
            let right = streams.right(&peer, topic).await;
            right.map_err(|why| (CloseCode::TicketExpired, why.to_string()))
        }
        Err(difference) => Err((CloseCode::SchemaMismatch, difference)),
    };
    admitted.inspect_err(|(_, reason)| {
        warn!(peer = %peer.short(), topic = topic.name, reason, "consumer refused");
        metrics::subscription_refused();
        streams.note_refusal(peer, &topic.name, reason);
    })
}

async fn subscribed(
    streams: &Inner,
    connection: &Connection,
    mut link: ConsumerLink,
    request: Subscribe,
) -> Result<(), LinkError> {
    let peer = connection.peer();
    let hub = match streams.find(&request.topic, request.resume) {
        Found::Hub(hub) => hub,
        Found::Over { next } => return answer(link, &ProducerMessage::Over { next }).await,
        Found::Nothing => return refuse(link, CloseCode::NotFound, NOT_PRODUCED).await,
    };
    let right = match admit(streams, peer, &hub, request.schema.as_deref()).await {
        Ok(right) => right,
        Err((code, reason)) => return refuse(link, code, &reason).await,
    };
    let consumer = Identity {
        peer,
        consumer: request.consumer,
    };
    let seat = match hub.attach(consumer, request.resume, None) {
        Ok(seat) => seat,
        Err((code, reason)) => return refuse(link, code, reason).await,
    };
    let accept = Accept {
        epoch: hub.epoch(),
        first: seat.first,
        ack_every: hub.ack_every(),
    };
    link.tx.send(&ProducerMessage::Accept(accept)).await?;
    debug!(peer = %peer.short(), topic = hub.topic().name, "consumer subscribed");
    let sending = Mutex::new(Sending::new(request.limit));
    let mut half = link.tx.into_half();
    let left = tokio::select! {
        biased;
        written = write(&seat, &sending, &mut half) => match written {
            // The consumer has the end, or hears of it with the stream's: it leaves, or is gone.
            Ok(()) => acks(&seat, &sending, connection, &mut link.rx, true).await,
            // What it acknowledged before it closed the connection counts.
            Err(error @ LinkError::Connection(_)) => {
                acks(&seat, &sending, connection, &mut link.rx, true)
                    .await
                    .and(Err(error))
            }
            Err(error) => Err(error),
        },
        acked = acks(&seat, &sending, connection, &mut link.rx, false) => acked,
        denial = streams.lost(right) => {
            warn!(peer = %peer.short(), topic = hub.topic().name, %denial, "a consumer is cut off");
            half.reset(CloseCode::TicketExpired);
            link.rx.stop(CloseCode::TicketExpired);
            Ok(())
        }
    };
    match left {
        Ok(()) => seat.leave(),
        // It said good-bye for all its subscriptions at once.
        Err(LinkError::Connection(Closed {
            code: CloseCode::ShuttingDown,
            ..
        })) => seat.leave(),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Writes batches as the consumer grants them, until the hub says to stop.
async fn write(
    seat: &Seat,
    sending: &Mutex<Sending>,
    half: &mut SendHalf,
) -> Result<(), LinkError> {
    let locked = || sending.lock().unwrap_or_else(PoisonError::into_inner);
    let mut batches: Vec<Batch> = Vec::new();
    let mut chunks: Vec<Bytes> = Vec::new();
    loop {
        let limit = locked().credit().min(WRITE_SIZE);
        match seat.read(limit, &mut batches) {
            Next::Go if batches.is_empty() => seat.wake.notified().await,
            Next::Go => {
                let (mut datums, mut bytes) = (0, 0);
                for batch in batches.drain(..) {
                    datums += batch.count;
                    bytes += batch.records.len();
                    chunks.push(batch.records);
                }
                locked().on_sent(bytes);
                tokio::select! {
                    biased;
                    written = half.write_chunks(&mut chunks) => written?,
                    (code, _) = seat.forced() => {
                        // Stuck in the middle of a datum: only the reset can end it now.
                        half.reset(code);
                        return Ok(());
                    }
                }
                chunks.clear();
                seat.counters.add(datums, bytes);
                metrics::sent(datums, bytes);
                if bytes < SMALL_WRITE {
                    // The datum that woke this task is on its way; a busy producer adds to the next batch
                    // while others have their turn.
                    tokio::task::yield_now().await;
                }
            }
            Next::Idle => seat.wake.notified().await,
            Next::End(code, reason) => return finish(seat, half, code, reason).await,
        }
    }
}

/// Says why nothing follows, and waits until that has arrived, as long as the consumer takes anything.
async fn finish(
    seat: &Seat,
    half: &mut SendHalf,
    code: CloseCode,
    reason: &str,
) -> Result<(), LinkError> {
    let end = Control::End {
        code: code.code(),
        reason: reason.into(),
    };
    let record = end.to_record()?;
    let tell = async {
        half.write_all(&record).await?;
        half.finish().await
    };
    let stuck = async {
        let mut progress = seat.progress();
        loop {
            rt::sleep(END_TIMEOUT).await;
            let before = std::mem::replace(&mut progress, seat.progress());
            if before == progress || progress.is_none() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        told = tell => return told,
        () = stuck => {}
    }
    // A consumer that reads nothing learns it from the reset once it reads again.
    half.reset(code);
    Ok(())
}

/// Takes the consumer's acknowledgements until it leaves. After our end, it may leave in silence.
async fn acks(
    seat: &Seat,
    sending: &Mutex<Sending>,
    connection: &Connection,
    rx: &mut LinkReceiver<ConsumerMessage>,
    ended: bool,
) -> Result<(), LinkError> {
    let deadline = rt::now() + END_TIMEOUT;
    loop {
        let message = if ended {
            match rt::timeout_at(deadline, rx.recv()).await {
                Ok(message) => message,
                Err(_) => return Ok(()),
            }
        } else {
            rx.recv().await
        };
        match message {
            Ok(Some(ConsumerMessage::Ack(ack))) => {
                seat.ack(ack.received, ack.taken);
                sending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .on_limit(ack.limit);
                if let Some(rtt) = connection.rtt() {
                    seat.counters.set_rtt(rtt);
                }
                seat.wake.notify_one();
            }
            Ok(Some(other)) => {
                warn!(peer = %connection.peer().short(), ?other, "unexpected message");
                metrics::malformed();
                rx.stop(CloseCode::Malformed);
                return Ok(());
            }
            Ok(None) => return Ok(()),
            Err(_) if ended => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
