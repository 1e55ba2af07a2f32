//! Commands and queries on their way to the leader, from members that do not lead.
//!
//! One stream for all of a member's requests: each carries a number, and is answered as soon as its answer is
//! known. When the stream breaks, whoever waits is told so and sends the command again elsewhere, with the session
//! and sequence that it has.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tracing::debug;

use super::{
    machine::Item,
    proposer::{Failed, Fate},
    reads::Found,
    replica::Replica,
};
use crate::{
    id::MemberId,
    rt::{Tasks, lock},
    transport::{Halves, Link, LinkError, LinkReceiver, SendHalf},
    wire,
};

/// Requests that wait to be sent; more wait to be let in.
const BACKLOG: usize = 1024;
/// Requests of one stream that are under way at once.
const MAX_UNDER_WAY: usize = 8192;
/// Bytes that are written at once, about: 64 KiB.
const WRITE: usize = 64 * 1024;

/// What is asked of a leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Request {
    /// Apply this.
    Submit { id: u64, item: Item },
    /// How far has the log to be applied for a query that is asked now?
    Read { id: u64 },
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Response {
    Submitted {
        id: u64,
        result: Fate,
    },
    Read {
        id: u64,
        result: Result<Option<u64>, Failed>,
    },
}

/// The way to a leader. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Forwarding {
    requests: mpsc::Sender<Request>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    closed: bool,
    submitted: BTreeMap<u64, oneshot::Sender<Fate>>,
    reads: BTreeMap<u64, oneshot::Sender<Found>>,
}

impl Forwarding {
    /// Uses a stream to a leader, until it breaks.
    pub(crate) fn start(halves: Halves, tasks: &Tasks) -> Self {
        let (requests, queue) = mpsc::channel(BACKLOG);
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let forwarding = Self {
            requests,
            waiting: waiting.clone(),
        };
        let Link { tx, rx } = Link::<Request, Response>::resume(halves, wire::MAX_FRAME);
        // Tells even if the set is cancelled and never runs this.
        let guard = Guard(waiting);
        tasks.spawn(async move {
            let guard = guard;
            let mut half = tx.into_half();
            let mut queue = queue;
            let sent = send(&mut half, &mut queue, &guard.0);
            let received = receive(rx, &guard.0);
            tokio::select! {
                biased;
                result = received => debug!(?result, "a way to the leader is gone"),
                result = sent => debug!(?result, "a way to the leader is gone"),
            }
        });
        forwarding
    }

    /// Whether it is of no use any more.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.waiting).closed
    }

    /// Asks the leader to apply an item.
    pub(crate) async fn submit(&self, item: Item) -> Fate {
        self.ask(
            |waiting| &mut waiting.submitted,
            |id| Request::Submit { id, item },
        )
        .await
    }

    /// Asks the leader how far the log has to be applied for a query that is asked now.
    pub(crate) async fn read(&self) -> Found {
        self.ask(|waiting| &mut waiting.reads, |id| Request::Read { id })
            .await
    }

    /// Sends a request, and waits for its answer among those of its kind.
    async fn ask<T>(
        &self,
        kind: impl Fn(&mut Waiting) -> &mut Awaited<T>,
        request: impl FnOnce(u64) -> Request,
    ) -> Result<T, Failed> {
        let (reply, told) = oneshot::channel();
        let id = {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return Err(Failed::NotLeader { leader: None });
            }
            let id = waiting.next;
            waiting.next += 1;
            kind(&mut waiting).insert(id, reply);
            id
        };
        let sent = match self.requests.try_send(request(id)) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(request)) => self.requests.send(request).boxed().await.is_ok(),
        };
        if !sent {
            kind(&mut lock(&self.waiting)).remove(&id);
            return Err(Failed::Unknown);
        }
        told.await.unwrap_or(Err(Failed::Unknown))
    }
}

/// Those who wait for answers of a kind, by the numbers of their requests.
type Awaited<T> = BTreeMap<u64, oneshot::Sender<Result<T, Failed>>>;

/// Tells who waits that no answer comes.
struct Guard(Arc<Mutex<Waiting>>);

impl Drop for Guard {
    fn drop(&mut self) {
        let mut waiting = lock(&self.0);
        waiting.closed = true;
        waiting.submitted.clear();
        waiting.reads.clear();
    }
}

async fn send(
    half: &mut SendHalf,
    queue: &mut mpsc::Receiver<Request>,
    waiting: &Mutex<Waiting>,
) -> Result<(), LinkError> {
    while let Some(first) = queue.recv().await {
        if lock(waiting).submitted.len() > 1 {
            // Those who were answered together ask again together: all that can run do so first.
            tokio::task::yield_now().await;
        }
        let mut bytes = wire::encode_frame(&first, wire::MAX_FRAME)?;
        while bytes.len() < WRITE {
            let Ok(next) = queue.try_recv() else {
                break;
            };
            bytes.extend(wire::encode_frame(&next, wire::MAX_FRAME)?);
        }
        half.write_all(&bytes).await?;
    }
    Ok(())
}

async fn receive(
    mut rx: LinkReceiver<Response>,
    waiting: &Mutex<Waiting>,
) -> Result<(), LinkError> {
    while let Some(response) = rx.recv().await? {
        match response {
            Response::Submitted { id, result } => {
                if let Some(reply) = lock(waiting).submitted.remove(&id) {
                    // Who asked may have gone.
                    drop(reply.send(result));
                }
            }
            Response::Read { id, result } => {
                if let Some(reply) = lock(waiting).reads.remove(&id) {
                    drop(reply.send(result));
                }
            }
        }
    }
    Ok(())
}

/// Answers the requests of a member that does not lead.
pub(crate) async fn serve(
    replica: &Arc<Replica>,
    from: MemberId,
    halves: Halves,
) -> Result<(), LinkError> {
    let Link { tx, mut rx } = Link::<Response, Request>::resume(halves, wire::MAX_FRAME);
    let mut half = tx.into_half();
    let mut under_way: FuturesUnordered<BoxFuture<'static, Response>> = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(response) = under_way.next() => {
                let mut bytes = wire::encode_frame(&response, wire::MAX_FRAME)?;
                while bytes.len() < WRITE {
                    let Some(Some(next)) = under_way.next().now_or_never() else {
                        break;
                    };
                    bytes.extend(wire::encode_frame(&next, wire::MAX_FRAME)?);
                }
                half.write_all(&bytes).await?;
            }
            request = rx.recv(), if under_way.len() < MAX_UNDER_WAY => {
                let Some(request) = request? else {
                    return Ok(());
                };
                under_way.push(answer(replica.clone(), from, request));
            }
        }
    }
}

fn answer(replica: Arc<Replica>, from: MemberId, request: Request) -> BoxFuture<'static, Response> {
    async move {
        match request {
            Request::Submit { id, item } => {
                let result = replica.submit_for(from, item).await;
                Response::Submitted { id, result }
            }
            Request::Read { id } => {
                let result = replica.read_index().await;
                Response::Read { id, result }
            }
        }
    }
    .boxed()
}
