//! A running node.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::RecvTimeoutError,
    },
    time::Duration,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{Mutex, Semaphore},
    task::block_in_place,
};
use tracing::{debug, warn};

use super::{BuildError, Builder, datadir::DataDir};
use crate::{
    discovery::Discovery,
    explain::Explanation,
    groups::Groups,
    id::{NetworkId, PeerAddr, PeerId, Ticket},
    rt::Tasks,
    streams::Streams,
    transport::{CloseCode, Endpoint, MAX_ADMISSIONS, Pool},
};

/// How long dropping the last handle waits for consumers to have what was sent.
const LINGER: Duration = Duration::from_millis(250);
/// How long dropping the last handle waits besides, for peers to hear good-bye and for sockets to close.
const PARTING: Duration = Duration::from_millis(750);
/// How long a graceful shutdown waits for the same.
const DRAIN: Duration = Duration::from_secs(5);
/// How long dropping the last handle waits for peers to confirm that their connections are closed.
const CLOSE: Duration = Duration::from_millis(500);
/// How long a graceful shutdown waits for the same: longer than it takes to give up those that do not answer.
const GRACEFUL_CLOSE: Duration = Duration::from_secs(4);

/// A node of a network. Clones share it.
///
/// Dropping the last handle stops the node: on a multi-thread runtime it waits up to 250 ms for connected
/// consumers to have what was sent, and up to 750 ms for the good-bye, usually much less. Elsewhere the node
/// stops in the background. [`shutdown`](Self::shutdown) waits longer for consumers; call it where you can.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Parts,
    /// Held by whoever stops the node; others wait for it.
    stopping: Mutex<()>,
    /// Nothing is left to stop.
    stopped: AtomicBool,
}

/// What a node is made of.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) id: NetworkId,
    pub(super) endpoint: Endpoint,
    pub(super) pools: [Pool; 3],
    pub(super) discovery: Discovery,
    pub(super) streams: Streams,
    pub(super) groups: Groups,
    pub(super) tasks: Tasks,
    pub(super) data_dir: Option<DataDir>,
}

impl Network {
    /// Joins the network with this id, with default options.
    ///
    /// # Errors
    /// As [`Builder::build`].
    pub async fn new(id: NetworkId) -> Result<Self, BuildError> {
        Self::builder(id).build().await
    }

    /// Options for joining the network with this id, or of this name.
    pub fn builder(id: impl Into<NetworkId>) -> Builder {
        Builder::new(id.into())
    }

    pub(super) fn start(parts: Parts) -> Self {
        parts.tasks.spawn(accept(
            parts.endpoint.clone(),
            parts.pools.clone(),
            parts.discovery.clone(),
            parts.tasks.clone(),
        ));
        let inner = Inner {
            parts,
            stopping: Mutex::new(()),
            stopped: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The network's id.
    pub fn id(&self) -> NetworkId {
        self.inner.parts.id
    }

    /// This peer.
    pub fn local(&self) -> Local {
        Local {
            endpoint: self.inner.parts.endpoint.clone(),
        }
    }

    /// Who else is there.
    pub fn discovery(&self) -> &Discovery {
        &self.inner.parts.discovery
    }

    /// Producers and consumers.
    pub fn streams(&self) -> &Streams {
        &self.inner.parts.streams
    }

    /// Groups that agree on one state.
    pub fn groups(&self) -> &Groups {
        &self.inner.parts.groups
    }

    /// What is online, what waits, and for what.
    pub fn explain(&self) -> Explanation {
        let parts = &self.inner.parts;
        Explanation {
            network: parts.id,
            local: self.local().addr(),
            stopped: self.inner.stopped.load(Ordering::Acquire),
            discovery: parts.discovery.status(),
            streams: parts.streams.status(),
            groups: parts.groups.explain(),
        }
    }

    /// Stops the node gracefully: hands over the groups that it leads, sends nothing new, waits up to five seconds until connected consumers
    /// have what was sent, says good-bye to the peers, and frees sockets, files and tasks. Every handle of
    /// this node, and of its producers and consumers, is closed then. Further calls wait for the first.
    ///
    /// A peer that does not confirm the end of its connection, because it was killed, say, holds this up for
    /// three to four seconds, and never for more than five; should that not be enough, the socket is freed in the
    /// background.
    ///
    /// When the future is dropped before it completes, the node may be stopped in part; call again, or drop
    /// the last handle, to complete it.
    pub async fn shutdown(&self) {
        let _turn = self.inner.stopping.lock().await;
        if self.inner.stopped.load(Ordering::Acquire) {
            return;
        }
        self.inner.parts.stop(DRAIN, GRACEFUL_CLOSE).await;
        self.inner.stopped.store(true, Ordering::Release);
    }
}

/// What collections are opened with.
impl AsRef<Groups> for Network {
    fn as_ref(&self) -> &Groups {
        self.groups()
    }
}

impl Parts {
    /// Lets consumers have what was sent, at most for `limit`, and producers hear what has arrived here, says
    /// good-bye, and ends everything, waiting at most for `close` until the peers confirm it. Each step may be
    /// repeated.
    async fn stop(&self, limit: Duration, close: Duration) {
        self.groups.stop().await;
        if !self.streams.drain(limit).await {
            warn!("a consumer did not take everything before the node stopped");
        }
        self.discovery.shutdown().await;
        for connection in self.pools.iter().flat_map(Pool::connections) {
            connection.close(CloseCode::ShuttingDown, "the node shuts down");
        }
        self.tasks.cancel();
        self.endpoint.close(close).await;
        self.tasks.wait().await;
        if let Some(dir) = &self.data_dir {
            dir.release();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.stopped.load(Ordering::Acquire) {
            return;
        }
        let idle = self.parts.streams.is_drained();
        self.parts.streams.close();
        let (done, stopped) = std::sync::mpsc::channel::<()>();
        let parts = self.parts.clone();
        // A runtime that is gone, or is being shut down, drops this at once, and `done` with it.
        let stopping = self.parts.tasks.spawn_last(async move {
            parts.stop(LINGER, CLOSE).await;
            drop(done);
        });
        drop(stopping);
        if !may_block() {
            if !idle {
                warn!(
                    "what was sent last may be lost: call `shutdown` before dropping the network"
                );
            }
            return;
        }
        // Waits on the thread, not on the runtime: its timers stand still while it shuts down.
        let wait = || stopped.recv_timeout(LINGER + PARTING);
        let waited = match Handle::try_current() {
            // Inside a `LocalSet` tokio panics here; the node then stops in the background too.
            Ok(_) => std::panic::catch_unwind(AssertUnwindSafe(|| block_in_place(wait)))
                .unwrap_or(Err(RecvTimeoutError::Timeout)),
            Err(_) => wait(),
        };
        if waited == Err(RecvTimeoutError::Timeout) {
            debug!("the node goes on stopping in the background");
        }
    }
}

/// Whether this thread may wait while other threads go on running tasks.
fn may_block() -> bool {
    match Handle::try_current() {
        Ok(runtime) => {
            runtime.runtime_flavor() == RuntimeFlavor::MultiThread && !std::thread::panicking()
        }
        Err(_) => !std::thread::panicking(),
    }
}

/// Admits connections until the endpoint closes.
async fn accept(endpoint: Endpoint, pools: [Pool; 3], discovery: Discovery, tasks: Tasks) {
    let admissions = Arc::new(Semaphore::new(MAX_ADMISSIONS));
    while let Ok(permit) = admissions.clone().acquire_owned().await {
        let Some(incoming) = endpoint.accept().await else {
            return;
        };
        let (pools, discovery) = (pools.clone(), discovery.clone());
        tasks.spawn(async move {
            if let Err(refused) = Pool::accept(&pools, incoming).await {
                discovery.not_admitted(refused).await;
            }
            drop(permit);
        });
    }
}

/// This peer as others see it.
#[derive(Clone, Debug)]
pub struct Local {
    endpoint: Endpoint,
}

impl Local {
    /// Its id.
    pub fn id(&self) -> PeerId {
        self.endpoint.peer()
    }

    /// Where it can be reached, as far as it knows by now.
    pub fn addr(&self) -> PeerAddr {
        self.endpoint.addr().borrow().clone()
    }

    /// Its address as a printable word, for another node's `bootstrap`.
    pub fn ticket(&self) -> Ticket {
        Ticket(self.addr())
    }
}
