//! What the handle, the driver and its tasks share.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, broadcast, mpsc, oneshot};

use super::{
    Catalog, DiscoveryStatus, Event, Refusal, SyncError,
    meter::Meters,
    outbound::Target,
    own::Own,
    proto::{
        EPOCH, Time,
        entry::{EntryError, Record, SignedEntry, Version},
        liveness::Probe,
        sync::{Aged, Holdings},
    },
    snapshot::Rtts,
};
use crate::{
    id::{PeerAddr, PeerId},
    rt::{self, Instant, Tasks, watch},
    transport::{Closed, ConnectError, Connection, Endpoint, Pool},
};

/// Inputs that wait for the driver; tasks that have more wait, and with them their peers.
pub(super) const INPUT_BACKLOG: usize = 1024;

/// What handles and tasks tell the driver.
pub(super) enum Input {
    /// Exchange catalogs with a peer.
    SyncWith(PeerAddr, oneshot::Sender<Result<(), SyncError>>),
    /// Leave.
    Depart(oneshot::Sender<()>),
    /// Verified entries with their ages, and the peer that sent them over a connection, whose own
    /// entry among them is first-hand.
    Merge(Vec<(Arc<Record>, Duration)>, Option<PeerId>),
    /// A peer said that it leaves.
    Farewell(Arc<Record>),
    /// Say when all that was told before is merged and visible.
    Flush(oneshot::Sender<()>),
    /// We are thought dead under this version, which we have signed.
    Refute(Version),
    /// What we hold, for an exchange with a peer.
    Holdings(PeerId, oneshot::Sender<Holdings>),
    /// The entry of a peer, for somebody who asked.
    Lookup(PeerId, oneshot::Sender<Option<Aged>>),
    /// An exchange of ours ended.
    Synced {
        /// With whom.
        target: Target,
        /// Whether the driver began it by itself, and holds a place for it.
        due: bool,
        /// How it went.
        result: Result<(), SyncError>,
    },
    /// An exchange ended that a peer began.
    Answered(PeerId, Result<(), SyncError>),
    /// A gossip message arrived.
    Gossip(PeerId, bytes::Bytes),
    /// Something was refused.
    Refused(PeerId, Refusal),
    /// A connection is over.
    ConnectionEnded(Connection, Closed),
    /// A gossip link is over; the number tells it from its successors. Whether the peer refused it, and
    /// so lives.
    LinkEnded(PeerId, u64, bool),
    /// A boot of a peer did not answer a heartbeat.
    Missed(PeerId, u64),
    /// A probe is over: the peer answered or not.
    Probed(Probe, bool),
    /// A peer has buried these under these versions.
    Gone(Vec<(PeerId, Version)>),
    /// A fetch is over.
    Fetched(PeerId),
}

/// What the handle, the driver and its tasks share.
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    pub(super) pool: Pool,
    pub(super) tasks: Tasks,
    /// Digest of the network id, as entries carry it.
    pub(super) network: [u8; 32],
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) own_changed: Notify,
    /// Counts the edits of our own entry.
    pub(super) edits: watch::Sender<u64>,
    pub(super) snapshots: watch::Receiver<Catalog>,
    /// The driver holds the strong end, so that listeners end with it.
    pub(super) events: broadcast::WeakSender<Event>,
    pub(super) rtts: Rtts,
    pub(super) meters: Meters,
    /// What ends when we leave: nothing is dialed or posted any more.
    pub(super) leaving: Tasks,
    started: Instant,
    own: Mutex<Own>,
    status: Mutex<DiscoveryStatus>,
}

impl Shared {
    #[expect(
        clippy::too_many_arguments,
        reason = "called once; all of it is needed"
    )]
    pub(super) fn new(
        endpoint: Endpoint,
        pool: Pool,
        tasks: Tasks,
        network: [u8; 32],
        own: Own,
        inputs: mpsc::Sender<Input>,
        snapshots: watch::Receiver<Catalog>,
        events: broadcast::WeakSender<Event>,
        rtts: Rtts,
    ) -> Self {
        Self {
            endpoint,
            pool,
            leaving: tasks.child(),
            tasks,
            network,
            inputs,
            own_changed: Notify::new(),
            edits: watch::Sender::new(0),
            snapshots,
            events,
            rtts,
            meters: Meters::default(),
            started: rt::now(),
            own: Mutex::new(own),
            status: Mutex::default(),
        }
    }

    /// This peer.
    pub(super) fn me(&self) -> PeerId {
        self.endpoint.peer()
    }

    /// The time by the protocols' clock.
    pub(super) fn time(&self) -> Time {
        EPOCH.after(rt::now().duration_since(self.started))
    }

    /// The moment at which the protocols' clock shows `time`.
    pub(super) fn instant(&self, time: Time) -> Instant {
        self.started + time.since(EPOCH)
    }

    pub(super) fn own(&self) -> MutexGuard<'_, Own> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MutexGuard<'_, DiscoveryStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the driver. It may be gone, at shutdown; then nobody needs to know.
    pub(super) async fn tell(&self, input: Input) {
        if self.inputs.send(input).await.is_err() {
            tracing::trace!("discovery is shut down");
        }
    }

    /// Verifies an entry.
    pub(super) fn verify(&self, signed: SignedEntry) -> Result<Arc<Record>, EntryError> {
        Record::verify(signed, &self.network).map(Arc::new)
    }

    /// Dials a peer, recording a refusal.
    pub(super) async fn dial(&self, addr: &PeerAddr) -> Result<Connection, ConnectError> {
        let outcome = self.pool.connect(addr).await;
        if let Err(error @ ConnectError::Refused { .. }) = &outcome {
            let refusal = Refusal::Dial(error.clone().into());
            self.tell(Input::Refused(addr.peer, refusal)).await;
        }
        outcome
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("me", &self.me())
            .finish_non_exhaustive()
    }
}

/// An empty catalog.
pub(super) fn empty_snapshot(rtts: &Rtts) -> Catalog {
    Catalog::new(BTreeMap::new(), rtts.clone())
}
