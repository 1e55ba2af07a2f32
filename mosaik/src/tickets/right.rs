//! What a peer was found to have a right to, and for how long.

use std::{
    future::pending,
    time::{Duration, SystemTime},
};

use super::{Denial, RequiredTickets, until};
use crate::{
    discovery::{Discovery, Entry},
    id::PeerId,
    rt,
};

/// How long a peer that asks for something is waited for in the catalog.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest and shortest times after which tickets are looked at again: the wall clock may be set.
const LONGEST: Duration = Duration::from_secs(30);
const SHORTEST: Duration = Duration::from_millis(10);

/// A right that a peer has by the tickets that it carries.
#[derive(Clone, Debug)]
pub(crate) struct Right {
    required: RequiredTickets,
    /// What it was found in.
    entry: Entry,
    until: Option<SystemTime>,
}

/// Why a peer has none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAdmitted {
    /// The catalog does not show yet what it carries.
    #[error("what it carries is not known yet")]
    Unknown,
    /// It carries no valid ticket.
    #[error("{0}")]
    Denied(Denial),
}

impl Right {
    /// That of a peer, by what the catalog shows of it now.
    pub(crate) fn of(
        peer: &PeerId,
        required: &RequiredTickets,
        discovery: &Discovery,
    ) -> Result<Self, NotAdmitted> {
        let entry = discovery.catalog().get(peer);
        let entry = entry.ok_or(NotAdmitted::Unknown)?;
        let until = required.check_now(&entry).map_err(NotAdmitted::Denied)?;
        Ok(Self {
            required: required.clone(),
            entry,
            until,
        })
    }

    /// The same, once the catalog shows the peer, for which it waits a moment.
    pub(crate) async fn soon(
        peer: &PeerId,
        required: &RequiredTickets,
        discovery: &Discovery,
    ) -> Result<Self, NotAdmitted> {
        let mut catalogs = discovery.snapshots();
        let known = async {
            loop {
                catalogs.mark_unchanged();
                match Self::of(peer, required, discovery) {
                    Err(NotAdmitted::Unknown) => {}
                    known => return known,
                }
                if catalogs.changed().await.is_err() {
                    return Err(NotAdmitted::Unknown);
                }
            }
        };
        let known = rt::timeout(PATIENCE, known).await;
        known.unwrap_or(Err(NotAdmitted::Unknown))
    }

    /// When it ends, if it does.
    pub(crate) fn until(&self) -> Option<SystemTime> {
        self.until
    }

    /// Looks at it again, if its time is over or the holder's entry is another one now. Of a holder that is gone its
    /// connection tells.
    pub(crate) fn review(&mut self, entry: Option<&Entry>) -> Result<(), Denial> {
        let entry = entry.unwrap_or(&self.entry);
        let ended = self.until.is_some_and(|end| until(end).is_zero());
        if ended || *entry != self.entry {
            self.until = self.required.check_now(entry)?;
            self.entry = entry.clone();
        }
        Ok(())
    }

    /// Waits until it is lost.
    pub(crate) async fn lost(mut self, discovery: Discovery) -> Denial {
        let mut catalogs = discovery.snapshots();
        loop {
            let entry = catalogs.borrow_and_update().get(&self.entry.peer());
            if let Err(denial) = self.review(entry.as_ref()) {
                return denial;
            }
            tokio::select! {
                biased;
                changed = catalogs.changed() => {
                    if changed.is_err() {
                        // The node stops.
                        return pending().await;
                    }
                }
                () = look_at(self.until) => {}
            }
        }
    }
}

/// Waits until tickets are to be looked at again of which the first ends or begins then.
pub(crate) async fn look_at(then: Option<SystemTime>) {
    match then {
        Some(then) => rt::sleep(until(then).clamp(SHORTEST, LONGEST)).await,
        None => pending().await,
    }
}
