//! What transactions have read.

use std::collections::{BTreeMap, btree_map::Entry};

use serde::{Deserialize, Serialize};

use super::stamp::Stamp;

/// What a transaction has read of a collection: what stood at some keys, and perhaps all of it.
///
/// `S` is what a read of one key is known by, by default the stamp of what stands there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>, S: Deserialize<'de>"))]
pub struct Seen<K, S = Option<Stamp>> {
    keys: BTreeMap<K, S>,
    /// When the collection had changed last, if all of it was read.
    whole: Option<Stamp>,
}

impl<K: Ord, S: Eq> Seen<K, S> {
    /// Notes that `seen` is what stood at a key. What a transaction read first counts: later reads are of the same
    /// state, or of its own writes.
    pub(crate) fn key(&mut self, key: K, seen: S) {
        if let Entry::Vacant(vacant) = self.keys.entry(key) {
            vacant.insert(seen);
        }
    }

    /// Notes that all of a collection was read that had last changed at `changed`.
    pub(crate) fn whole(&mut self, changed: Stamp) {
        self.whole.get_or_insert(changed);
    }

    /// Whether it would be seen again in a collection that last changed at `changed`, where `now` says what stands
    /// at a key.
    pub(crate) fn is_still(&self, changed: Stamp, mut now: impl FnMut(&K) -> S) -> bool {
        match self.whole {
            Some(whole) => whole == changed,
            None => self.keys.iter().all(|(key, seen)| now(key) == *seen),
        }
    }
}

impl<K, S> Default for Seen<K, S> {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            whole: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::state::stamp::Stamps;

    #[test]
    fn what_was_read_first_counts() {
        let mut stamps = Stamps::default();
        let (first, later) = (stamps.take(), stamps.take());
        let mut seen = Seen::default();
        seen.key(1, Some(first));
        seen.key(1, Some(later));
        assert!(seen.is_still(later, |_| Some(first)));
        assert!(!seen.is_still(later, |_| Some(later)));
        seen.whole(first);
        seen.whole(later);
        assert!(seen.is_still(first, |_| Some(first)));
        assert!(!seen.is_still(later, |_| Some(first)));
    }

    #[test]
    fn nothing_read_is_always_still_so() {
        let seen = Seen::<u8>::default();
        assert!(seen.is_still(Stamp::NEVER, |_| None));
        assert!(seen.is_still(Stamp::MAX, |_| None));
    }
}
