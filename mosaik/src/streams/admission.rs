//! Who may produce or consume a topic that asks for tickets.

use std::future::pending;

use super::{handle::Inner, topic::Topic};
use crate::{
    id::PeerId,
    tickets::{Denial, NotAdmitted, Right},
};

impl Inner {
    /// The right of a peer to take part in a topic, if that asks for any.
    pub(super) async fn right(
        &self,
        peer: &PeerId,
        topic: &Topic,
    ) -> Result<Option<Right>, NotAdmitted> {
        let required = &topic.options.tickets;
        if required.is_empty() {
            return Ok(None);
        }
        Right::soon(peer, required, self.discovery())
            .await
            .map(Some)
    }

    /// Waits until a right is lost; where none is needed, for ever.
    pub(super) async fn lost(&self, right: Option<Right>) -> Denial {
        match right {
            Some(right) => right.lost(self.discovery().clone()).await,
            None => pending().await,
        }
    }

    /// Waits until this node says something else of itself, or a peer does: a ticket may be among it.
    pub(super) async fn reentered(&self, peer: &PeerId) {
        let mut edits = self.discovery().edits();
        let mut catalogs = self.discovery().snapshots();
        let before = catalogs.borrow_and_update().get(peer);
        let theirs = async {
            while catalogs.changed().await.is_ok() {
                if catalogs.borrow_and_update().get(peer) != before {
                    return;
                }
            }
            // The node stops.
            pending().await
        };
        tokio::select! {
            biased;
            // The sender is the network's own.
            _ = edits.changed() => {}
            () = theirs => {}
        }
    }
}
