//! Serves the streams that a peer opens on its discovery connection.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use metrics::counter;
use tokio::sync::{Semaphore, oneshot};

use super::{
    Refusal, exchange,
    frame::{Frame, FrameLink, MAX_FRAME},
    proto::sync::Message,
    shared::{Input, Shared},
};
use crate::{
    metrics as names,
    rt::{self, Instant},
    transport::{CloseCode, Connection, LinkError},
};

/// Streams of one connection that are served at once; more wait to be accepted.
const MAX_SERVED: usize = 32;
/// How long the first frame of a stream, and the end of a short one, may take.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// Mean time between gossip messages of one connection that are taken in: 500 a second.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(2);
/// Messages that may come faster than that, as when much changes at once.
const GOSSIP_BURST: u32 = 2000;

/// Serves a connection until it ends, and says that it did.
pub(super) async fn connection(shared: Arc<Shared>, connection: Connection) {
    let permits = Arc::new(Semaphore::new(MAX_SERVED));
    let meter = Arc::new(Mutex::new(Meter::new(rt::now())));
    while let Ok(permit) = permits.clone().acquire_owned().await {
        let Ok(halves) = connection.accept_bi().await else {
            break;
        };
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
    meter: &Mutex<Meter>,
) -> Result<(), LinkError> {
    let peer = connection.peer();
    let Ok(first) = rt::timeout(STREAM_TIMEOUT, link.rx.recv()).await else {
        link.rx.stop(CloseCode::TimedOut);
        return Ok(());
    };
    let answer = match first? {
        Some(Frame::Gossip(bytes)) => {
            shared.tell(Input::Gossip(peer, bytes)).await;
            return gossip(shared, connection, link, meter).await;
        }
        Some(Frame::Sync(first @ Message::Hello { .. })) => {
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
    meter: &Mutex<Meter>,
) -> Result<(), LinkError> {
    while let Some(frame) = link.rx.recv().await? {
        let Frame::Gossip(bytes) = frame else {
            malformed(shared, connection, "something else on a gossip stream").await;
            return Ok(());
        };
        let admitted = {
            let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            meter.admit(rt::now())
        };
        if admitted {
            shared.tell(Input::Gossip(connection.peer(), bytes)).await;
        } else {
            counter!(names::DISCOVERY_GOSSIP_DROPPED).increment(1);
        }
    }
    Ok(())
}

/// Meters what comes on one connection: a burst, then a steady rate (the generic cell rate algorithm,
/// ITU-T I.371).
#[derive(Debug)]
struct Meter {
    /// When what came so far would have come at the steady rate.
    theoretical: Instant,
}

impl Meter {
    fn new(now: Instant) -> Self {
        Self { theoretical: now }
    }

    /// Whether one more may come now.
    fn admit(&mut self, now: Instant) -> bool {
        let theoretical = self.theoretical.max(now);
        let admitted = theoretical - now < GOSSIP_INTERVAL * GOSSIP_BURST;
        if admitted {
            self.theoretical = theoretical + GOSSIP_INTERVAL;
        }
        admitted
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gossip_is_taken_in_in_a_burst_and_then_at_a_steady_rate() {
        let now = rt::now();
        let mut meter = Meter::new(now);
        let burst = (0..GOSSIP_BURST * 2).filter(|_| meter.admit(now)).count();
        assert_eq!(burst, GOSSIP_BURST as usize);
        let later = now + GOSSIP_INTERVAL * 10;
        assert_eq!((0..20).filter(|_| meter.admit(later)).count(), 10);
    }
}
