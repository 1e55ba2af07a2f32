//! Serves the streams that a peer opens on its discovery connection.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use metrics::counter;
use tokio::sync::{Semaphore, oneshot};

use super::{
    Refusal, exchange,
    frame::{Frame, FrameLink, MAX_FRAME},
    meter::Meter,
    proto::sync::Message,
    shared::{Input, Shared},
};
use crate::{
    metrics as names, rt,
    transport::{CloseCode, Connection, LinkError},
};

/// Streams of one connection that are served at once; more wait to be accepted.
const MAX_SERVED: usize = 32;
/// How long the first frame of a stream, and the end of a short one, may take.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves a connection until it ends, and says that it did.
pub(super) async fn connection(shared: Arc<Shared>, connection: Connection) {
    let permits = Arc::new(Semaphore::new(MAX_SERVED));
    let meter = shared.meters.of(connection.peer());
    while let Ok(permit) = permits.clone().acquire_owned().await {
        let Ok(halves) = connection.accept_bi().await else {
            break;
        };
        meter.stream().await;
        let (served, on, meter) = (shared.clone(), connection.clone(), meter.clone());
        shared.tasks.spawn(async move {
            let link = FrameLink::new(halves, MAX_FRAME);
            if let Err(error) = stream(&served, &on, link, &meter).await {
                broke(&served, &on, &error).await;
            }
            drop(permit);
        });
    }
    let closed = connection.closed().await;
    shared
        .tell(Input::ConnectionEnded(connection, closed))
        .await;
}

async fn stream(
    shared: &Arc<Shared>,
    connection: &Connection,
    mut link: FrameLink,
    meter: &Meter,
) -> Result<(), LinkError> {
    let peer = connection.peer();
    let Ok(first) = rt::timeout(STREAM_TIMEOUT, link.rx.recv()).await else {
        link.rx.stop(CloseCode::TimedOut);
        return Ok(());
    };
    let answer = match first? {
        Some(Frame::Gossip(first)) => return gossip(shared, connection, link, meter, first).await,
        Some(Frame::Sync(first @ Message::Hello { .. })) => {
            meter.exchange().await;
            let outcome = exchange::answer(shared, peer, link, first).await;
            shared.tell(Input::Answered(peer, outcome)).await;
            return Ok(());
        }
        Some(Frame::Ping) => Frame::Pong,
        Some(Frame::Fetch(wanted)) => {
            let (reply, found) = oneshot::channel();
            shared.tell(Input::Lookup(wanted, reply)).await;
            Frame::Fetched(found.await.unwrap_or_default())
        }
        Some(Frame::Departed(tombstone)) => {
            return farewell(shared, connection, link, tombstone).await;
        }
        Some(Frame::Sync(_) | Frame::Fetched(_) | Frame::Pong) => {
            malformed(shared, connection, "a stream that begins with an answer").await;
            return Ok(());
        }
        None => return Ok(()),
    };
    let answered = async {
        link.tx.send(&answer).await?;
        link.tx.finish().await
    };
    rt::timeout(STREAM_TIMEOUT, answered)
        .await
        .unwrap_or(Ok(()))
}

async fn gossip(
    shared: &Arc<Shared>,
    connection: &Connection,
    mut link: FrameLink,
    meter: &Meter,
    mut bytes: Bytes,
) -> Result<(), LinkError> {
    loop {
        if meter.admits_gossip(bytes.len()) {
            shared.tell(Input::Gossip(connection.peer(), bytes)).await;
        } else {
            counter!(names::DISCOVERY_GOSSIP_DROPPED).increment(1);
        }
        bytes = match link.rx.recv().await? {
            Some(Frame::Gossip(bytes)) => bytes,
            Some(_) => {
                malformed(shared, connection, "something else on a gossip stream").await;
                return Ok(());
            }
            None => return Ok(()),
        };
    }
}

async fn farewell(
    shared: &Arc<Shared>,
    connection: &Connection,
    mut link: FrameLink,
    tombstone: super::proto::entry::SignedEntry,
) -> Result<(), LinkError> {
    match shared.verify(tombstone) {
        Ok(record) if record.peer() == connection.peer() && record.body().departed => {
            shared.tell(Input::Farewell(record)).await;
        }
        Ok(_) => malformed(shared, connection, "a farewell that is none").await,
        Err(error) => {
            let refusal = Refusal::Entry(error);
            shared
                .tell(Input::Refused(connection.peer(), refusal))
                .await;
        }
    }
    // Reading the end tells the sender that all was taken.
    match rt::timeout(STREAM_TIMEOUT, link.rx.recv()).await {
        Ok(end) => end.map(|_| ()),
        Err(_) => Ok(()),
    }
}

/// A stream ended with an error: harmless, unless the peer sent what nobody understands.
async fn broke(shared: &Arc<Shared>, connection: &Connection, error: &LinkError) {
    match error {
        LinkError::Decode(error) => malformed(shared, connection, &error.to_string()).await,
        error => tracing::debug!(peer = %connection.peer().short(), %error, "stream ended"),
    }
}

/// Closes a connection over which came what nobody understands; others are not touched.
async fn malformed(shared: &Arc<Shared>, connection: &Connection, what: &str) {
    connection.close(CloseCode::Malformed, what);
    let refusal = Refusal::Malformed(what.into());
    shared
        .tell(Input::Refused(connection.peer(), refusal))
        .await;
}
