//! Keeps a bootstrap peer known: dials it for ever while it is not.

use std::{sync::Arc, time::Duration};

use super::{shared::Shared, status::BootstrapStatus};
use crate::{
    id::{PeerAddr, PeerId},
    rt,
    transport::ConnectError,
};

/// First wait after a dial that failed.
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
/// Longest wait after a dial that failed.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Dials a bootstrap peer at once, and again whenever it is neither connected nor in the catalog: that
/// is what joins the parts of a network after a partition. Its status is there from the start.
pub(super) fn keep(shared: Arc<Shared>, addr: PeerAddr) -> impl Future<Output = ()> {
    let status = BootstrapStatus::default();
    shared.status().bootstrap.insert(addr.peer, status);
    dial(shared, addr)
}

async fn dial(shared: Arc<Shared>, addr: PeerAddr) {
    let peer = addr.peer;
    let mut snapshots = shared.snapshots.clone();
    let mut backoff = FIRST_BACKOFF;
    loop {
        update(&shared, &peer, |status| status.dialing = true);
        let outcome = shared.dial(&addr).await;
        update(&shared, &peer, |status| status.dialing = false);
        match outcome {
            Ok(connection) => {
                backoff = FIRST_BACKOFF;
                update(&shared, &peer, reached);
                connection.closed().await;
            }
            Err(ConnectError::Myself) => {
                update(&shared, &peer, |status| status.myself = true);
                return;
            }
            Err(error) => {
                tracing::debug!(peer = %peer.short(), %error, "bootstrap peer not reached");
                update(&shared, &peer, |status| {
                    status.failures += 1;
                    status.last_error = Some(error.to_string());
                });
            }
        }
        rt::sleep(rt::jitter(backoff)).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
        // Who is known by now has come another way.
        if snapshots.borrow().contains(&peer) {
            update(&shared, &peer, reached);
        }
        let unknown = snapshots.wait_for(|catalog| !catalog.contains(&peer));
        if unknown.await.is_err() {
            return;
        }
    }
}

fn reached(status: &mut BootstrapStatus) {
    status.failures = 0;
    status.last_error = None;
}

fn update(shared: &Shared, peer: &PeerId, update: impl FnOnce(&mut BootstrapStatus)) {
    if let Some(status) = shared.status().bootstrap.get_mut(peer) {
        update(status);
    }
}
