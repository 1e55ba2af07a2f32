//! Has openraft make snapshots and remove what they have from the log, by what [`Compaction`] decides.
//!
//! openraft's own policies are off, since they count entries only, and a log of large ones would outgrow any memory.
//! openraft ignores the wish for a snapshot while it makes one, and puts the removal of entries off while it sends them
//! to somebody.

use std::sync::Arc;

use super::{serve::Server, status::Status};
use crate::{
    groups::{proto::compaction::Compaction, storage::LogId},
    rt::watch,
};

/// Sees to it until the member has stopped.
pub(super) async fn compact(
    server: Arc<Server>,
    mut compaction: Compaction,
    mut status: watch::Receiver<Status>,
) {
    loop {
        let (covered, applied) = {
            let status = status.borrow_and_update();
            (
                LogId::behind(status.snapshot),
                LogId::behind(status.applied),
            )
        };
        let (is_due, purge) = server.log.sizes(|log| {
            let is_due = compaction.snapshot(log, covered, applied);
            (is_due, compaction.purge(log, covered))
        });
        // An error says that it has stopped, and so does the status.
        if is_due && server.core.snapshot().await.is_err() {
            return;
        }
        if let Some(upto) = purge
            && server.core.purge(upto).await.is_err()
        {
            return;
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
