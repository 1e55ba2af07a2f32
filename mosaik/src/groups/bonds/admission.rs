//! Whose tickets were found valid, and until when.
//!
//! A right is held on a connection: where it ends, the connection is closed, which ends in both directions whatever
//! was open on it. What the two still share begins anew at once, and the group that asked for the ticket is left out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use tokio::sync::Notify;
use tracing::warn;

use super::Bonds;
use crate::{
    discovery::{Catalog, Discovery},
    groups::error::Refusal,
    id::{GroupId, PeerId},
    rt::lock,
    tickets::{Denial, NotAdmitted, RequiredTickets, Right, look_at},
    transport::CloseCode,
};

/// The rights that the peer at the other end of a connection was found to have.
#[derive(Debug)]
pub(crate) struct Admissions {
    peer: PeerId,
    discovery: Discovery,
    news: Arc<Notify>,
    held: Mutex<BTreeMap<GroupId, Right>>,
}

impl Admissions {
    /// None yet, on a connection to `peer`. Tells `news` of those that are found.
    pub(super) fn new(peer: PeerId, discovery: Discovery, news: Arc<Notify>) -> Self {
        Self {
            peer,
            discovery,
            news,
            held: Mutex::default(),
        }
    }

    /// Whether the peer may take part in a group. If so, it is looked after from now on.
    pub(crate) fn admit(
        &self,
        group: GroupId,
        required: &RequiredTickets,
    ) -> Result<(), NotAdmitted> {
        if required.is_empty() {
            return Ok(());
        }
        self.hold(group, Right::of(&self.peer, required, &self.discovery)?);
        Ok(())
    }

    /// The same, once the catalog shows what the peer carries, for which it waits a moment.
    pub(crate) async fn admit_soon(
        &self,
        group: GroupId,
        required: &RequiredTickets,
    ) -> Result<(), NotAdmitted> {
        if !required.is_empty() {
            let right = Right::soon(&self.peer, required, &self.discovery).await?;
            self.hold(group, right);
        }
        Ok(())
    }

    fn hold(&self, group: GroupId, right: Right) {
        lock(&self.held).insert(group, right);
        self.news.notify_one();
    }

    /// This node, or the peer, takes part in a group no longer.
    pub(crate) fn forget(&self, group: &GroupId) {
        lock(&self.held).remove(group);
    }

    /// Looks again at the rights whose time is over, or whose holder says something else now. Returns when the next
    /// one ends, or why one is lost.
    fn review(&self, catalog: &Catalog) -> Result<Option<SystemTime>, Denial> {
        let mut held = lock(&self.held);
        // Of a peer that is gone its connection tells.
        let entry = catalog.get(&self.peer);
        let mut denied = None;
        held.retain(|_, right| match right.review(entry.as_ref()) {
            Ok(()) => true,
            Err(denial) => {
                denied = Some(denial);
                false
            }
        });
        match denied {
            Some(denial) => Err(denial),
            None => Ok(held.values().filter_map(Right::until).min()),
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        let Denial { class, why, .. } = denial;
        Self::Ticket { class, why }
    }
}

/// Cuts off whose tickets end, and lets in who carries valid ones now, as long as the network.
pub(super) async fn run(bonds: Bonds) {
    let mut catalogs = bonds.catalogs();
    loop {
        let catalog = catalogs.borrow_and_update().clone();
        let next = review(&bonds, &catalog);
        tokio::select! {
            biased;
            changed = catalogs.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = bonds.admitted() => {}
            () = look_at(next) => {}
        }
    }
}

fn review(bonds: &Bonds, catalog: &Catalog) -> Option<SystemTime> {
    let mut next = None;
    for line in bonds.lines() {
        match line.admissions.review(catalog) {
            Ok(end) => next = next.into_iter().chain(end).min(),
            Err(denial) => {
                let peer = line.connection.peer();
                warn!(peer = %peer.short(), %denial, "a peer is cut off");
                let reason = denial.to_string();
                line.connection.close(CloseCode::TicketExpired, &reason);
            }
        }
    }
    let applicants = bonds.fronts();
    let applicants = applicants.iter().filter_map(|front| front.examine_all());
    next.into_iter().chain(applicants).min()
}
