//! Commands and queries on their way to the leader from members that do not lead, and to any member from clients.
//!
//! One stream for all requests of a member or client: each carries a number, and is [answered](super::answering) as soon
//! as its answer is known. When the stream breaks, whoever waits is told so and sends the command again elsewhere, with
//! the session and sequence that it has.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tracing::debug;

use super::{
    machine::Item,
    proposer::{Failed, Fate, UnderWay},
    reads::Found,
    remote::{Answered, Standing},
};
use crate::{
    rt::{Tasks, lock, watch},
    transport::{Halves, Link, LinkError, LinkReceiver, SendHalf},
    wire,
};

/// Requests that wait to be sent; more wait to be let in.
const BACKLOG: usize = 1024;
/// Bytes of memory that are kept for what is written next: 16 KiB.
const KEPT: usize = 16 * 1024;
/// Bytes that are written at once, about: 64 KiB.
pub(super) const WRITE: usize = 64 * 1024;

/// What is asked: of a leader by other members, and of any member by clients.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Apply this.
    Submit { id: u64, item: Item },
    /// How far has the log to be applied for a query that is asked now? Only members ask.
    Read { id: u64 },
    /// Answer this query. Only clients ask.
    Query { id: u64, query: Bytes },
}

impl Request {
    /// How many bytes it holds, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Submit {
                item: Item::Commands { commands, .. },
                ..
            } => commands.len(),
            Self::Submit {
                item: Item::Import(step),
                ..
            } => step.len(),
            Self::Query { query, .. } => query.len(),
            Self::Submit { .. } | Self::Read { .. } => 0,
        }
    }
}

/// What it answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Submitted {
        id: u64,
        result: Fate,
    },
    Read {
        id: u64,
        result: Found,
    },
    Queried {
        id: u64,
        result: Answered,
    },
    /// How the group is doing; to clients, without being asked.
    Standing(Standing),
}

/// The way to a member that answers. Clones share it.
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
    queries: BTreeMap<u64, oneshot::Sender<Answered>>,
}

impl Forwarding {
    /// Uses a stream to a member, until it breaks. What it says of the group without being asked goes to `standing`.
    pub(crate) fn start(
        halves: Halves,
        standing: watch::Sender<Option<Standing>>,
        tasks: &Tasks,
    ) -> Self {
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
            let received = receive(rx, &guard.0, &standing);
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
        self.send(item).await?.await
    }

    /// The same, once it waits to be sent. Dropped before that, it is not sent.
    pub(crate) async fn send(&self, item: Item) -> Result<UnderWay, Failed> {
        let asked = self.ask(
            |waiting| &mut waiting.submitted,
            |id| Request::Submit { id, item },
        );
        Ok(asked.await?.into())
    }

    /// Asks the leader how far the log has to be applied for a query that is asked now.
    pub(crate) async fn read(&self) -> Found {
        let asked = self.ask(|waiting| &mut waiting.reads, |id| Request::Read { id });
        asked.await?.await.unwrap_or(Err(Failed::Unknown))
    }

    /// Asks a member to answer a query.
    pub(crate) async fn query(&self, query: Bytes) -> Answered {
        let asked = self.ask(
            |waiting| &mut waiting.queries,
            |id| Request::Query { id, query },
        );
        asked.await?.await.unwrap_or(Err(Failed::Unknown))
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        let waiting = lock(&self.waiting);
        waiting.submitted.is_empty() && waiting.queries.is_empty()
    }

    /// Sends a request, whose answer is told among those of its kind.
    async fn ask<T>(
        &self,
        kind: impl Fn(&mut Waiting) -> &mut Awaited<T>,
        request: impl FnOnce(u64) -> Request,
    ) -> Result<oneshot::Receiver<Result<T, Failed>>, Failed> {
        let (reply, told) = oneshot::channel();
        const UNSENT: Failed = Failed::NotLeader { leader: None };
        // Room first: whoever gives the call up while it waits for that has not asked.
        let room = match self.requests.try_reserve() {
            Ok(room) => room,
            Err(TrySendError::Closed(())) => return Err(UNSENT),
            Err(TrySendError::Full(())) => {
                let room = self.requests.reserve().boxed().await;
                room.map_err(|_| UNSENT)?
            }
        };
        let id = {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return Err(UNSENT);
            }
            let id = waiting.next;
            waiting.next += 1;
            kind(&mut waiting).insert(id, reply);
            id
        };
        room.send(request(id));
        Ok(told)
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
        waiting.queries.clear();
    }
}

async fn send(
    half: &mut SendHalf,
    queue: &mut mpsc::Receiver<Request>,
    waiting: &Mutex<Waiting>,
) -> Result<(), LinkError> {
    let mut bytes = Vec::new();
    while let Some(first) = queue.recv().await {
        if lock(waiting).submitted.len() > 1 {
            // Those who were answered together ask again together: all that can run do so first.
            tokio::task::yield_now().await;
        }
        wire::encode_frame_onto(&first, wire::MAX_FRAME, &mut bytes)?;
        while bytes.len() < WRITE {
            let Ok(next) = queue.try_recv() else {
                break;
            };
            wire::encode_frame_onto(&next, wire::MAX_FRAME, &mut bytes)?;
        }
        half.write_all(&bytes).await?;
        emptied(&mut bytes);
    }
    Ok(())
}

async fn receive(
    mut rx: LinkReceiver<Response>,
    waiting: &Mutex<Waiting>,
    standing: &watch::Sender<Option<Standing>>,
) -> Result<(), LinkError> {
    // Who asked may have gone.
    while let Some(response) = rx.recv().await? {
        match response {
            Response::Submitted { id, result } => {
                if let Some(reply) = lock(waiting).submitted.remove(&id) {
                    drop(reply.send(result));
                }
            }
            Response::Read { id, result } => {
                if let Some(reply) = lock(waiting).reads.remove(&id) {
                    drop(reply.send(result));
                }
            }
            Response::Queried { id, result } => {
                if let Some(reply) = lock(waiting).queries.remove(&id) {
                    drop(reply.send(result));
                }
            }
            Response::Standing(now) => drop(standing.send_replace(Some(now))),
        }
    }
    Ok(())
}

/// Makes room for what is written next, in the same memory unless that was a lot.
pub(super) fn emptied(bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.shrink_to(KEPT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::proto::session::SessionId;

    fn item() -> Item {
        Item::Close {
            session: SessionId(1),
        }
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_for_room_has_not_asked() {
        let (requests, mut queue) = mpsc::channel(1);
        let forwarding = Forwarding {
            requests,
            waiting: Arc::default(),
        };
        let first = forwarding.send(item()).now_or_never();
        assert!(matches!(first, Some(Ok(_))));
        let mut second = Box::pin(forwarding.send(item()));
        assert!((&mut second).now_or_never().is_none());
        drop(second);
        assert_eq!(lock(&forwarding.waiting).submitted.len(), 1);
        assert!(matches!(
            queue.try_recv(),
            Ok(Request::Submit { id: 0, .. })
        ));

        // The room that it waited for is there for others.
        let third = forwarding.send(item()).now_or_never();
        assert!(matches!(third, Some(Ok(_))));
        assert!(matches!(
            queue.try_recv(),
            Ok(Request::Submit { id: 1, .. })
        ));
        assert!(queue.try_recv().is_err());
    }
}
