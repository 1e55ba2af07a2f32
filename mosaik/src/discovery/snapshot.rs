//! Immutable snapshots of the catalog.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Entry,
    proto::{entry::Record, rtt::Rtt},
};
use crate::id::PeerId;

/// The other live peers of the network at one moment; this peer itself is not among them.
///
/// Immutable, and cheap to clone. Only round-trip times are filled in as they are at the query.
#[derive(Clone)]
pub struct Catalog {
    entries: Arc<BTreeMap<PeerId, Arc<Record>>>,
    rtts: Rtts,
}

impl Catalog {
    pub(super) fn new(entries: BTreeMap<PeerId, Arc<Record>>, rtts: Rtts) -> Self {
        Self {
            entries: Arc::new(entries),
            rtts,
        }
    }

    /// Number of peers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no other peer is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The peers, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        self.entries.values().map(|record| self.entry(record))
    }

    /// A peer.
    pub fn get(&self, peer: &PeerId) -> Option<Entry> {
        self.entries.get(peer).map(|record| self.entry(record))
    }

    /// Whether a peer is in it.
    pub fn contains(&self, peer: &PeerId) -> bool {
        self.entries.contains_key(peer)
    }

    /// The peers that carry a tag.
    pub fn with_tag(&self, tag: impl AsRef<str>) -> impl Iterator<Item = Entry> {
        self.iter().filter(move |entry| entry.has_tag(tag.as_ref()))
    }

    fn entry(&self, record: &Arc<Record>) -> Entry {
        Entry::new(record.clone(), self.rtts.get(&record.peer()))
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

/// Smoothed round-trip times, shared between the driver and the snapshots.
#[derive(Clone, Debug, Default)]
pub(super) struct Rtts {
    table: Arc<Mutex<BTreeMap<PeerId, Rtt>>>,
}

impl Rtts {
    pub(super) fn get(&self, peer: &PeerId) -> Option<Duration> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.get(peer).map(|rtt| rtt.smoothed())
    }

    pub(super) fn observe(&self, peer: PeerId, sample: Duration) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table
            .entry(peer)
            .and_modify(|rtt| rtt.observe(sample))
            .or_insert(Rtt::new(sample));
    }

    pub(super) fn retain(&self, mut wanted: impl FnMut(&PeerId) -> bool) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|peer, _| wanted(peer));
    }

    pub(super) fn forget(&self, peer: &PeerId) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.remove(peer);
    }
}
