//! Dials every peer that shares a group with this node, and others that are asked for something.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing::debug;

use super::{Bonds, Header, Line, serve::MAX_HEADER};
use crate::{
    discovery::{Catalog, Entry},
    id::PeerId,
    rt::{self, lock},
    transport::{CloseCode, ConnectError, Halves, Link, LinkError},
};

/// How long to wait, give or take half, before a peer that could not be reached is dialed again.
const REDIAL: Duration = Duration::from_millis(500);

/// Keeps a connection to every peer that is wanted, as long as the network.
pub(super) async fn run(bonds: Bonds) {
    let dialing = Arc::new(Mutex::new(BTreeSet::new()));
    let mut catalog = bonds.discovery().snapshots();
    let mut groups = bonds.group_changes();
    loop {
        groups.mark_unchanged();
        let wanted: Vec<PeerId> = {
            let catalog = catalog.borrow_and_update();
            let entries = catalog.iter();
            let wanted = entries.filter(|entry| is_wanted(&bonds, entry));
            wanted.map(|entry| entry.peer()).collect()
        };
        for peer in wanted {
            if lock(&dialing).insert(peer) {
                let (bonds, dialing) = (bonds.clone(), dialing.clone());
                let tasks = bonds.tasks().clone();
                tasks.spawn(keep(bonds, peer, dialing));
            }
        }
        tokio::select! {
            biased;
            changed = catalog.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            changed = groups.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether a peer takes part in a group of this node.
fn is_wanted(bonds: &Bonds, entry: &Entry) -> bool {
    let fronts = bonds.fronts();
    fronts.iter().any(|front| front.wants(entry))
}

/// Keeps a connection to a peer until it is wanted no longer.
async fn keep(bonds: Bonds, peer: PeerId, dialing: Arc<Mutex<BTreeSet<PeerId>>>) {
    let catalog = bonds.discovery().snapshots();
    let entry = |catalog: &Catalog| catalog.get(&peer).filter(|entry| is_wanted(&bonds, entry));
    loop {
        let found = entry(&catalog.borrow());
        let Some(found) = found else {
            lock(&dialing).remove(&peer);
            // It may have become wanted between the two.
            if entry(&catalog.borrow()).is_some() && lock(&dialing).insert(peer) {
                continue;
            }
            return;
        };
        match bonds.pool().connect(found.addr()).await {
            Ok(connection) => {
                let closed = connection.closed().await;
                debug!(peer = %peer.short(), %closed, "a bond is gone");
                if closed.code == CloseCode::TicketExpired {
                    // For one group: the others go on.
                    continue;
                }
            }
            Err(error) => {
                debug!(peer = %peer.short(), %error, "a peer that shares a group cannot be reached");
            }
        }
        rt::sleep(rt::jitter(REDIAL)).await;
    }
}

/// Why no stream to a peer could be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The catalog does not know it.
    #[error("no such peer is known")]
    Unknown,
    /// There is no connection to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl Bonds {
    /// Opens a stream to a peer with which this node need share no group, connecting to it if need be; returns its
    /// control stream too, by which the two prove things to each other, and which keeps the connection open.
    pub(crate) async fn open_to(
        &self,
        peer: PeerId,
        header: &Header,
    ) -> Result<(Line, Halves), OpenError> {
        let entry = self.catalog().get(&peer).ok_or(OpenError::Unknown)?;
        let connection = self.pool().connect(entry.addr()).await?;
        let line = self.line_of(&connection).await?.in_use();
        let mut link = Link::<Header, ()>::open(&connection, MAX_HEADER).await?;
        link.tx.send(header).await?;
        Ok((line, link.into_halves()))
    }
}
