//! What users hold.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    Catalog, Config, Dial, DialError, DiscoveryStatus, Entry, EntryError, Events, Refusal,
    Snapshots, SyncError, bootstrap,
    driver::Driver,
    event::EVENT_BACKLOG,
    local,
    own::Own,
    proto::entry::{AccessTicket, Body, GroupInfo, SignedEntry, TopicInfo},
    shared::{INPUT_BACKLOG, Input, Shared, empty_snapshot},
    snapshot::Rtts,
};
use crate::{
    id::{PeerAddr, PeerId},
    rt::{self, Tasks, watch},
    transport::{CloseCode, ConnectError, Connection, Endpoint, NotAdmitted, Pool},
};

/// How long a graceful shutdown waits for peers to take the news.
const FAREWELL: Duration = Duration::from_millis(250);

/// Discovery of a network: its catalog, and what this peer says of itself. Clones share it.
#[derive(Clone, Debug)]
pub struct Discovery {
    shared: Arc<Shared>,
}

/// Whether we refused a connection because of what the peer is or does. That one of two connections gives way,
/// or that a dialer gives up, is as it should be.
fn is_refusal(error: &ConnectError) -> bool {
    matches!(
        error,
        ConnectError::Refused {
            code: CloseCode::NetworkMismatch
                | CloseCode::NotAdmitted
                | CloseCode::VersionMismatch
                | CloseCode::Malformed
                | CloseCode::TimedOut
                | CloseCode::UnknownProtocol,
            ..
        }
    )
}

impl Discovery {
    /// Starts discovery on `endpoint`. Waits for nothing.
    ///
    /// # Errors
    /// When the tags or tickets that it should carry from the start break a limit.
    pub(crate) fn start(
        config: Config,
        endpoint: Endpoint,
        (pool, connections): (Pool, mpsc::Receiver<Connection>),
        tasks: Tasks,
    ) -> Result<Self, EntryError> {
        let id = endpoint.identity().network();
        let network = blake3::derive_key("mosaik/discovery/network/1", id.as_bytes());
        let addr = endpoint.addr().borrow().clone();
        let own = Own::new(endpoint.identity().clone(), network, addr, |body| {
            body.tags.extend(config.tags.iter().cloned());
            body.tickets.extend(config.tickets.iter().cloned());
        })?;
        let rtts = Rtts::default();
        let (inputs, input_receiver) = mpsc::channel(INPUT_BACKLOG);
        let (snapshot_sender, snapshots) = watch::channel(empty_snapshot(&rtts));
        let (event_sender, _) = broadcast::channel(EVENT_BACKLOG);
        let events = event_sender.downgrade();
        let shared = Arc::new(Shared::new(
            endpoint,
            pool,
            tasks.clone(),
            network,
            own,
            inputs,
            snapshots,
            events,
            rtts,
        ));
        let driver = Driver::new(shared.clone(), snapshot_sender, event_sender);
        tasks.spawn(driver.run(input_receiver, connections));
        let mut bootstrap = BTreeMap::<_, PeerAddr>::new();
        for addr in config.bootstrap {
            let known = bootstrap
                .entry(addr.peer)
                .or_insert(PeerAddr::new(addr.peer));
            known.ips.extend(addr.ips);
            known.relays.extend(addr.relays);
        }
        for addr in bootstrap.into_values() {
            shared.leaving.spawn(bootstrap::keep(shared.clone(), addr));
        }
        if config.local_rendezvous {
            shared
                .leaving
                .spawn(local::run(shared.clone(), config.rendezvous_dir));
        }
        Ok(Self { shared })
    }

    /// The other live peers, as they are now.
    pub fn catalog(&self) -> Catalog {
        self.shared.snapshots.borrow().clone()
    }

    /// Snapshots of the catalog: the present one, and the latest whenever it changes.
    pub fn watch(&self) -> Snapshots {
        Snapshots::new(self.shared.snapshots.clone())
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        let sender = self.shared.events.upgrade();
        Events::new(sender.map(|sender| sender.subscribe()))
    }

    /// What this peer says of itself.
    pub fn me(&self) -> Entry {
        Entry::new(self.shared.own().record().clone(), None)
    }

    /// Carries these tags from now on.
    ///
    /// # Errors
    /// When there are too many, or one is too long; then none is added.
    pub fn add_tags<T: Into<String>>(
        &self,
        tags: impl IntoIterator<Item = T>,
    ) -> Result<(), EntryError> {
        self.edit(|body| body.tags.extend(tags.into_iter().map(Into::into)))
    }

    /// Carries these tags no longer.
    pub fn remove_tags<T: AsRef<str>>(&self, tags: impl IntoIterator<Item = T>) {
        self.reduce(|body| {
            for tag in tags {
                body.tags.remove(tag.as_ref());
            }
        });
    }

    /// Carries this access ticket from now on.
    ///
    /// # Errors
    /// When there are too many, or it is too large.
    pub fn add_ticket(&self, ticket: AccessTicket) -> Result<(), EntryError> {
        self.edit(|body| {
            if !body.tickets.contains(&ticket) {
                body.tickets.push(ticket);
            }
        })
    }

    /// Carries no ticket of this class any longer.
    pub fn remove_tickets(&self, class: impl AsRef<str>) {
        self.reduce(|body| body.tickets.retain(|t| t.class != class.as_ref()));
    }

    /// Connects to a peer, which makes both known to each other. The dial begins at once; await it to learn
    /// how it ends: with an error when the peer is not reached, or refuses, or is refused.
    pub fn dial(&self, addr: impl Into<PeerAddr>) -> Dial {
        let (reply, outcome) = oneshot::channel();
        let (shared, addr) = (self.shared.clone(), addr.into());
        self.shared.tasks.spawn(async move {
            let dialed = shared.dial(&addr).await;
            if let Err(Err(error)) = reply.send(dialed.map(drop).map_err(DialError::from)) {
                tracing::debug!(peer = %addr.peer.short(), %error, "dial failed");
            }
        });
        Dial::new(outcome)
    }

    /// Exchanges catalogs with a peer; returns when what it knows is in ours.
    ///
    /// # Errors
    /// When the peer is not reached or does not complete the exchange.
    pub async fn sync_with(&self, addr: impl Into<PeerAddr>) -> Result<(), SyncError> {
        let (reply, outcome) = oneshot::channel();
        self.shared.tell(Input::SyncWith(addr.into(), reply)).await;
        outcome.await.unwrap_or(Err(SyncError::ShutDown))
    }

    /// Takes in a signed entry that was obtained elsewhere ([`Entry::to_bytes`]); returns when it is
    /// merged.
    ///
    /// # Errors
    /// When it is damaged, forged, or of another network or version.
    pub async fn feed(&self, entry: &[u8]) -> Result<(), EntryError> {
        let record = self.shared.verify(SignedEntry::from_bytes(entry)?)?;
        let merge = Input::Merge(vec![(record, Duration::ZERO)], None);
        self.shared.tell(merge).await;
        let (reply, merged) = oneshot::channel();
        self.shared.tell(Input::Flush(reply)).await;
        merged.await.map_err(|_| EntryError::ShutDown)
    }

    /// Takes in a measurement of the round-trip time to a peer, from connections of other protocols.
    pub(crate) fn observe_rtt(&self, peer: PeerId, sample: Duration) {
        self.shared.rtts.observe(peer, sample);
    }

    /// The catalog, for those who follow it.
    pub(crate) fn snapshots(&self) -> watch::Receiver<Catalog> {
        self.shared.snapshots.clone()
    }

    /// Tells when what this peer says of itself is edited.
    pub(crate) fn edits(&self) -> watch::Receiver<u64> {
        self.shared.edits.subscribe()
    }

    /// Produces and consumes these topics from now on, and no others.
    ///
    /// # Errors
    /// When there are too many of them, or names are too long.
    pub(crate) fn set_topics(
        &self,
        produces: Vec<TopicInfo>,
        consumes: Vec<TopicInfo>,
    ) -> Result<(), EntryError> {
        self.edit(|body| {
            body.produces = produces;
            body.consumes = consumes;
        })
    }

    /// Takes part in these groups from now on, and in no others.
    ///
    /// # Errors
    /// When there are too many of them, or names are too long.
    pub(crate) fn set_groups(&self, groups: Vec<GroupInfo>) -> Result<(), EntryError> {
        self.edit(|body| body.groups = groups)
    }

    /// How discovery is doing.
    pub(crate) fn status(&self) -> DiscoveryStatus {
        let mut status = self.shared.status().clone();
        let catalog = self.catalog();
        for (peer, bootstrap) in &mut status.bootstrap {
            bootstrap.connected = self.shared.pool.get(peer).is_some();
            bootstrap.known = catalog.contains(peer);
        }
        status
    }

    /// A connection that somebody opened to us, whatever its protocol, was not admitted.
    pub(crate) async fn not_admitted(&self, refused: NotAdmitted) {
        let NotAdmitted { peer, error } = refused;
        tracing::debug!(%error, "a connection was not admitted");
        if let Some(peer) = peer
            && is_refusal(&error)
        {
            let refusal = Refusal::Incoming(error.into());
            self.shared.tell(Input::Refused(peer, refusal)).await;
        }
    }

    /// Says good-bye to the peers, waiting at most 250 ms for them to take it. Idempotent.
    pub(crate) async fn shutdown(&self) {
        self.shared.leaving.cancel();
        let (reply, left) = oneshot::channel();
        let farewell = async {
            self.shared.tell(Input::Depart(reply)).await;
            left.await
        };
        match rt::timeout(FAREWELL, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::debug!("discovery was shut down before"),
            Err(_) => tracing::debug!("not every peer took the farewell in time"),
        }
    }

    /// What entries carry in place of the network id.
    #[cfg(test)]
    pub(super) fn network_digest(&self) -> &[u8; 32] {
        &self.shared.network
    }

    /// What meters a peer.
    #[cfg(test)]
    pub(super) fn meter(&self, peer: PeerId) -> Arc<super::meter::Meter> {
        self.shared.meters.of(peer)
    }

    fn edit(&self, edit: impl FnOnce(&mut Body)) -> Result<(), EntryError> {
        if self.shared.own().edit(edit)? {
            self.shared.own_changed.notify_one();
            self.shared.edits.send_modify(|edits| *edits += 1);
        }
        Ok(())
    }

    /// An edit that only takes away, which breaks no limit; after shutdown it changes nothing.
    fn reduce(&self, edit: impl FnOnce(&mut Body)) {
        if let Err(error) = self.edit(edit) {
            tracing::debug!(%error, "own entry not changed");
        }
    }
}
