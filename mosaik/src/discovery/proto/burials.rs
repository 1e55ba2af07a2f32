//! Whom the catalog has buried: under which version, and where they were.
//!
//! The version is remembered until every copy of what was buried has expired, so that stragglers do not
//! bring it back. The entry itself is remembered for longer, with its addresses: when a network was
//! parted for long enough that each part has buried the other, they are how the parts meet again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Time,
    catalog::EXPIRE,
    entry::{Record, Version},
};
use crate::id::PeerId;

/// How long a burial is remembered: until every copy of what was buried has expired.
pub(crate) const BURIED_FOR: Duration = EXPIRE;
/// Most burials remembered; the oldest goes first.
pub(crate) const MAX_BURIED: usize = 65_536;
/// How long the entries of peers that were lost are remembered: an hour.
pub(crate) const LOST_FOR: Duration = Duration::from_secs(3600);
/// Most entries of lost peers that are remembered; the oldest goes first.
pub(crate) const MAX_LOST: usize = 4096;
/// Most bytes of such entries: 16 MiB.
pub(crate) const MAX_LOST_BYTES: usize = 16 * 1024 * 1024;

/// The buried, of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Burials {
    buried: BTreeMap<PeerId, (Version, Time)>,
    burials: BTreeSet<(Time, PeerId)>,
    lost: BTreeMap<PeerId, (Arc<Record>, Time)>,
    losses: BTreeSet<(Time, PeerId)>,
    lost_bytes: usize,
}

impl Burials {
    /// Buries a peer under its entry. One that has left by itself is not lost.
    pub(crate) fn bury(&mut self, record: Arc<Record>, now: Time) {
        let peer = record.peer();
        self.forget(&peer);
        if self.burials.len() >= MAX_BURIED
            && let Some((_, oldest)) = self.burials.first().copied()
        {
            self.forget(&oldest);
        }
        self.buried.insert(peer, (record.version(), now));
        self.burials.insert((now, peer));
        if record.body().departed {
            return;
        }
        self.lost_bytes += record.signed().len();
        self.lost.insert(peer, (record, now));
        self.losses.insert((now, peer));
        while self.lost.len() > MAX_LOST || self.lost_bytes > MAX_LOST_BYTES {
            let Some((_, oldest)) = self.losses.first().copied() else {
                break;
            };
            self.forget_lost(&oldest);
        }
    }

    /// The peer is back, or never mind it.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        if let Some((_, at)) = self.buried.remove(peer) {
            self.burials.remove(&(at, *peer));
        }
        self.forget_lost(peer);
    }

    /// Forgets what is remembered for long enough.
    pub(crate) fn tick(&mut self, now: Time) {
        while let Some((at, peer)) = self.burials.first().copied() {
            if now < at.after(BURIED_FOR) {
                break;
            }
            self.burials.pop_first();
            self.buried.remove(&peer);
        }
        while let Some((at, peer)) = self.losses.first().copied() {
            if now < at.after(LOST_FOR) {
                break;
            }
            self.forget_lost(&peer);
        }
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let burial = self.burials.first().map(|(at, _)| at.after(BURIED_FOR));
        let loss = self.losses.first().map(|(at, _)| at.after(LOST_FOR));
        burial.into_iter().chain(loss).min()
    }

    /// The version under which a peer is buried.
    pub(crate) fn version(&self, peer: &PeerId) -> Option<Version> {
        self.buried.get(peer).map(|(version, _)| *version)
    }

    /// The entry under which a peer is buried, for it to refute.
    pub(crate) fn refutable(&self, peer: &PeerId) -> Option<&Arc<Record>> {
        let (record, _) = self.lost.get(peer)?;
        self.buried.contains_key(peer).then_some(record)
    }

    /// The last entry of a peer that was lost.
    pub(crate) fn lost(&self, peer: &PeerId) -> Option<&Arc<Record>> {
        self.lost.get(peer).map(|(record, _)| record)
    }

    /// Number of peers that were lost.
    pub(crate) fn lost_len(&self) -> usize {
        self.lost.len()
    }

    /// The last entries of the peers that were lost.
    pub(crate) fn iter_lost(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.lost.values().map(|(record, _)| record)
    }

    /// The peers that are buried, the latest first, and the versions under which they are.
    pub(crate) fn iter_latest(&self) -> impl Iterator<Item = (PeerId, Version)> {
        let latest = self.losses.iter().rev();
        latest.filter_map(|(_, peer)| Some((*peer, self.refutable(peer)?.version())))
    }

    fn forget_lost(&mut self, peer: &PeerId) {
        if let Some((record, at)) = self.lost.remove(peer) {
            self.losses.remove(&(at, *peer));
            self.lost_bytes -= record.signed().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::entry::tests::*, *};

    #[test]
    fn addresses_of_the_lost_outlive_their_burial_and_those_of_the_departed_do_not() {
        let (now, mut burials) = (Time(1000), Burials::default());
        let (lost, left) = (record(1, 1, 1, false), record(2, 1, 1, true));
        burials.bury(Arc::new(lost.clone()), now);
        burials.bury(Arc::new(left.clone()), now);
        assert_eq!(burials.version(&left.peer()), Some(left.version()));
        assert!(burials.refutable(&lost.peer()).is_some());
        assert_eq!(burials.lost_len(), 1);
        assert_eq!(burials.deadline(), Some(now.after(BURIED_FOR)));
        burials.tick(now.after(BURIED_FOR));
        assert_eq!(burials.version(&lost.peer()), None);
        assert!(burials.refutable(&lost.peer()).is_none());
        assert!(burials.lost(&lost.peer()).is_some());
        assert_eq!(burials.deadline(), Some(now.after(LOST_FOR)));
        burials.tick(now.after(LOST_FOR));
        assert_eq!(burials, Burials::default());
    }
}
