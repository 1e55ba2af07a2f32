//! What is asked of and sent to peers, each a task of its own under a deadline.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    DialError, Refusal, SyncError, exchange,
    frame::{Frame, FrameLink, MAX_FRAME},
    proto::{
        entry::{Record, Version},
        liveness::Probe,
        sync::Aged,
    },
    shared::{Input, Shared},
};
use crate::{
    id::{PeerAddr, PeerId},
    rt,
    transport::{CloseCode, ConnectError, Connection, LinkError},
};

/// How long the answer to a heartbeat may take before the peer is suspected.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a suspect has to answer a probe, dial included.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a fetch may take, dial included.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// How often an entry is asked for that was promised.
const FETCH_ATTEMPTS: u32 = 5;
/// Mean wait before it is asked for again; it doubles each time.
const FETCH_RETRY: Duration = Duration::from_millis(100);
/// What waits are made of: a stall of this process counts for one.
const TICK: Duration = Duration::from_millis(100);
/// Gossip messages that wait for one neighbour; more are dropped.
pub(super) const GOSSIP_QUEUE: usize = 128;

/// Whom we dial, and what was known of the peer then: a dial that fails says nothing of a later boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The peer and where it is looked for.
    pub(super) addr: PeerAddr,
    /// The boot whose entry says that it is there.
    pub(super) boot: Option<u64>,
}

/// Sends gossip to one peer, dialing it if need be, until the queue is closed or the link breaks.
pub(super) async fn gossip(
    shared: Arc<Shared>,
    addr: PeerAddr,
    number: u64,
    mut queue: mpsc::Receiver<Bytes>,
) {
    let peer = addr.peer;
    let mut refused = false;
    if let Err(error) = send_gossip(&shared, &addr, &mut queue).await {
        tracing::debug!(peer = %peer.short(), %error, "gossip link broke");
        refused = matches!(&error, SyncError::Dial(error) if proves_life(error));
    }
    shared.tell(Input::LinkEnded(peer, number, refused)).await;
}

async fn send_gossip(
    shared: &Shared,
    addr: &PeerAddr,
    queue: &mut mpsc::Receiver<Bytes>,
) -> Result<(), SyncError> {
    let connection = shared.dial(addr).await?;
    let mut link = FrameLink::open(&connection, MAX_FRAME).await?;
    while let Some(bytes) = queue.recv().await {
        link.tx.send(&Frame::Gossip(bytes)).await?;
    }
    Ok(link.tx.finish().await?)
}

/// Exchanges catalogs with a peer, and says how it went; `due` says that the driver began it by itself.
pub(super) async fn sync(shared: Arc<Shared>, target: Target, due: bool) -> Result<(), SyncError> {
    let outcome = match shared.dial(&target.addr).await {
        Ok(connection) => exchange::begin(&shared, &connection).await,
        Err(error) => Err(error.into()),
    };
    let result = outcome.clone();
    let synced = Input::Synced {
        target,
        due,
        result,
    };
    shared.tell(synced).await;
    outcome
}

/// Whether a dial that failed shows that the peer lives: it answered, with its key, that it has no use for
/// the connection.
pub(super) fn proves_life(error: &DialError) -> bool {
    let DialError::Connect(error) = error;
    matches!(
        error,
        ConnectError::Refused {
            code: CloseCode::Duplicate | CloseCode::Superseded | CloseCode::NoCapacity,
            ..
        }
    )
}

/// Asks a neighbour whether it lives: its connection would break too, but later.
pub(super) async fn heartbeat(shared: Arc<Shared>, connection: Connection) {
    let answer = patient(HEARTBEAT_TIMEOUT, ask(&connection, &Frame::Ping)).await;
    // A broken link says so by itself; only silence is news.
    if answer.is_none() {
        let missed = Input::Missed(connection.peer(), connection.boot());
        shared.tell(missed).await;
    }
}

/// Asks a suspect whether it lives.
pub(super) async fn probe(shared: Arc<Shared>, addr: PeerAddr, probe: Probe) {
    let ask = async {
        let connection = shared.pool.connect(&addr).await?;
        ask(&connection, &Frame::Ping)
            .await
            .map_err(SyncError::from)
    };
    let alive = match patient(PROBE_TIMEOUT, ask).await {
        Some(Ok(answer)) => answer == Some(Frame::Pong),
        Some(Err(SyncError::Dial(error))) => proves_life(&error),
        Some(Err(_)) | None => false,
    };
    shared.tell(Input::Probed(probe, alive)).await;
}

/// Fetches a peer's entry from `source`, which gets it itself in a moment if it has not yet.
pub(super) async fn fetch(shared: Arc<Shared>, wanted: PeerId, version: Version, source: PeerAddr) {
    for attempt in 0..FETCH_ATTEMPTS {
        if attempt > 0 {
            rt::sleep(rt::jitter(FETCH_RETRY * 2u32.pow(attempt - 1))).await;
        }
        let ask = async {
            let connection = shared.pool.connect(&source).await?;
            let question = Frame::Fetch(wanted);
            ask(&connection, &question).await.map_err(SyncError::from)
        };
        let Some(Ok(Some(Frame::Fetched(found)))) = patient(FETCH_TIMEOUT, ask).await else {
            break;
        };
        let Some(Aged { entry, age_millis }) = found else {
            continue;
        };
        match shared.verify(entry) {
            Ok(record) if record.peer() == wanted && record.version() >= version => {
                let age = Duration::from_millis(age_millis);
                let merge = Input::Merge(vec![(record, age)], Some(source.peer));
                shared.tell(merge).await;
                break;
            }
            Ok(_) => {}
            Err(error) => {
                let refusal = Refusal::Entry(error);
                shared.tell(Input::Refused(source.peer, refusal)).await;
                break;
            }
        }
    }
    shared.tell(Input::Fetched(wanted)).await;
}

/// Sends our tombstone to all of `connections`; completes when all have taken it or are gone.
pub(super) async fn farewell(connections: Vec<Connection>, tombstone: Arc<Record>) {
    let frame = Frame::Departed(tombstone.signed().clone());
    let send = |connection: Connection| {
        let frame = &frame;
        async move {
            let mut link = FrameLink::open(&connection, MAX_FRAME).await?;
            link.tx.send(frame).await?;
            link.tx.finish().await
        }
    };
    let mut sending: FuturesUnordered<_> = connections.into_iter().map(send).collect();
    while let Some(sent) = sending.next().await {
        if let Err(error) = sent {
            tracing::debug!(%error, "a peer did not take the farewell");
        }
    }
}

/// Waits for `future`, counting only time in which this process ran: after a stall of ours the answer may
/// lie in the socket, and our own silence must not pass for a peer's.
async fn patient<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut waited = Duration::ZERO;
    while waited < limit {
        if let Ok(output) = rt::timeout(TICK, future.as_mut()).await {
            return Some(output);
        }
        waited += TICK;
    }
    None
}

async fn ask(connection: &Connection, question: &Frame) -> Result<Option<Frame>, LinkError> {
    let mut link = FrameLink::open(connection, MAX_FRAME).await?;
    link.tx.send(question).await?;
    link.rx.recv().await
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    #[tokio::test]
    async fn a_stall_of_our_own_is_not_a_peers_silence() {
        let limit = TICK * 3;
        let mut polls = 0;
        let answer = poll_fn(|cx| {
            polls += 1;
            if polls > 1 {
                return Poll::Ready("here");
            }
            // Nothing of this process runs for longer than the answer may take.
            let stalled = rt::now();
            while rt::now() - stalled < limit * 2 {
                std::hint::spin_loop();
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert_eq!(patient(limit, answer).await, Some("here"));
        let silence = std::future::pending::<()>();
        assert_eq!(patient(TICK * 2, silence).await, None);
    }

    #[test]
    fn a_refusal_that_only_the_living_send_proves_life() {
        let refused = |code| {
            let reason = String::new();
            DialError::Connect(ConnectError::Refused { code, reason })
        };
        for code in [
            CloseCode::Duplicate,
            CloseCode::Superseded,
            CloseCode::NoCapacity,
        ] {
            assert!(proves_life(&refused(code)));
        }
        assert!(!proves_life(&refused(CloseCode::NetworkMismatch)));
        assert!(!proves_life(&DialError::Connect(ConnectError::TimedOut)));
    }
}
