//! A map in a transaction.

use std::{fmt, ops::RangeBounds, time::Duration};

use super::Draft;
use crate::collections::{
    Key, Value,
    map::{millis, span},
    state::{
        map::{MapRead, MapState, MapWrite, MapWrote, SortedMapState},
        shared::Shared,
    },
};

/// A [`Map`](crate::collections::Map) in a transaction: see [there](super) for what counts as read.
pub struct MapTransaction<K, V> {
    pub(in crate::collections) draft: Draft<MapState<K, V>, MapRead<K>>,
}

/// A [`SortedMap`](crate::collections::SortedMap) in a transaction: see [there](super) for what counts as read.
pub struct SortedMapTransaction<K, V> {
    pub(in crate::collections) draft: Draft<SortedMapState<K, V>, MapRead<K>>,
}

/// What both kinds of maps do alike.
macro_rules! map {
    ($Transaction:ident, $State:ident) => {
        impl<K: Key, V: Value> $Transaction<K, V> {
            pub(in crate::collections) fn new(draft: Draft<$State<K, V>, MapRead<K>>) -> Self {
                Self { draft }
            }

            /// The value at a key; a clone. Reads the key.
            pub fn get(&self, key: &K) -> Option<V> {
                self.read(key).map(|value| value.value().clone())
            }

            /// Whether there is a value at a key. Reads the key.
            pub fn contains_key(&self, key: &K) -> bool {
                self.read(key).is_some()
            }

            fn read(&self, key: &K) -> Option<&Shared<V>> {
                self.draft.look(|now, base, read| {
                    let value = now.get(key);
                    if !value.is_some_and(|value| self.draft.is_own(value.stamp())) {
                        base.read_key(key, read);
                    }
                    value
                })
            }

            fn whole(&self) -> &$State<K, V> {
                self.draft.look(|now, base, read| {
                    base.read_whole(read);
                    now
                })
            }

            /// Number of keys. Reads the whole map.
            pub fn len(&self) -> usize {
                self.whole().len()
            }

            /// Whether there are no keys. Reads the whole map.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// All entries, in the map's own order; clones. Reads the whole map.
            pub fn iter(&self) -> impl Iterator<Item = (K, V)> + use<'_, K, V> {
                let entries = self.whole().iter();
                entries.map(|(key, value)| (key.clone(), value.value().clone()))
            }

            /// All keys, in the map's own order; clones. Reads the whole map.
            pub fn keys(&self) -> impl Iterator<Item = K> + use<'_, K, V> {
                self.whole().iter().map(|(key, _)| key.clone())
            }

            /// All values, in the order of [`keys`](Self::keys); clones. Reads the whole map.
            pub fn values(&self) -> impl Iterator<Item = V> + use<'_, K, V> {
                self.whole().iter().map(|(_, value)| value.value().clone())
            }

            /// Puts a value at a key. Reads nothing.
            pub fn insert(&mut self, key: K, value: V) {
                self.draft.write(MapWrite::Insert(key, value));
            }

            /// Puts a value at a key for some time: see [`MapWriter::insert_for`](crate::collections::MapWriter::insert_for).
            /// Reads nothing.
            pub fn insert_for(&mut self, key: K, value: V, time: Duration) {
                self.draft
                    .write(MapWrite::InsertFor(key, value, millis(time)));
            }

            /// Puts a value at a key; returns the one that was there. Reads the key.
            pub fn replace(&mut self, key: K, value: V) -> Option<V> {
                let old = self.get(&key);
                self.insert(key, value);
                old
            }

            /// Removes a key; returns the value that was there. Reads the key.
            pub fn remove(&mut self, key: &K) -> Option<V> {
                self.read(key)?;
                match self.draft.write(MapWrite::Remove(key.clone())) {
                    MapWrote::Old(old) => old.map(|old| old.value().clone()),
                    _ => None,
                }
            }

            /// Puts values at keys. Reads nothing.
            pub fn extend(&mut self, entries: impl IntoIterator<Item = (K, V)>) {
                let entries = entries.into_iter().collect();
                self.draft.write(MapWrite::Extend(entries));
            }

            /// Removes keys, whether they are there or not. Reads nothing.
            pub fn remove_many(&mut self, keys: impl IntoIterator<Item = K>) {
                let keys = keys.into_iter().collect();
                self.draft.write(MapWrite::RemoveMany(keys));
            }

            /// Removes the keys in a range. Reads nothing.
            pub fn remove_range(&mut self, range: impl RangeBounds<K>) {
                self.draft.write(MapWrite::RemoveRange(span(&range)));
            }

            /// Removes the keys outside a range. Reads nothing.
            pub fn retain_range(&mut self, range: impl RangeBounds<K>) {
                self.draft.write(MapWrite::RetainRange(span(&range)));
            }

            /// Removes all keys. Reads nothing.
            pub fn clear(&mut self) {
                self.draft.write(MapWrite::Clear);
            }
        }

        impl<K, V> fmt::Debug for $Transaction<K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.draft.fmt(f)
            }
        }
    };
}

map!(MapTransaction, MapState);
map!(SortedMapTransaction, SortedMapState);

impl<K: Key, V: Value> SortedMapTransaction<K, V> {
    /// The entries in a range of keys, ascending, from either end; clones. Reads the whole map.
    pub fn range(
        &self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (K, V)> + '_ {
        let (start, end) = span(&range);
        let entries = self.whole().range((start.as_ref(), end.as_ref()));
        entries.map(|(key, value)| (key.clone(), value.value().clone()))
    }

    /// The entry with the least key; a clone. Reads the whole map.
    pub fn first(&self) -> Option<(K, V)> {
        let (key, value) = self.whole().first()?;
        Some((key.clone(), value.value().clone()))
    }

    /// The entry with the greatest key; a clone. Reads the whole map.
    pub fn last(&self) -> Option<(K, V)> {
        let (key, value) = self.whole().last()?;
        Some((key.clone(), value.value().clone()))
    }
}
