//! The map: values by key.

use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    Key, State, Value,
    changes::Changes,
    codec::{self, Ascending, Each, Gather, Gathered, Newest, Unsound},
    deadlines::{Deadlines, Expiry},
    exchange::{self, Exchanged},
    seen::Seen,
    shared::Shared,
    stamp::{Mark, Stamp, Stamps},
    table::{self, Hashed, Sorted, Span, Table},
    traced::Traced,
};

/// Values by key, in a [table](Table) by hash or by order.
///
/// The two are told apart by their type, and answer the same. By hash, a key is found in constant time and a range
/// of keys costs a look at all of them; by order, both take logarithmic time.
#[derive(Clone, Debug)]
pub struct MapState<K, V, B = Hashed<K, Shared<V>>> {
    entries: Traced<B, K, Shared<V>>,
    deadlines: Deadlines<K>,
    /// The stamp of the last change.
    changed: Stamp,
    types: PhantomData<fn() -> (K, V)>,
}

/// A map by order.
pub(crate) type SortedMapState<K, V> = MapState<K, V, Sorted<K, Shared<V>>>;

/// A change of a map that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum MapWrite<K, V> {
    /// Puts a value at a key; answers [`MapWrote::Old`].
    Insert(K, V),
    /// Removes a key; answers [`MapWrote::Old`].
    Remove(K),
    /// Puts or removes the value at a key if what is there is what is expected; answers [`MapWrote::Exchanged`].
    CompareExchange {
        /// The key.
        key: K,
        /// The [stamp](exchange::guess) of the value that is expected; `None` expects none.
        current: Option<Mark>,
        /// The value to be there; `None` removes the key.
        new: Option<V>,
    },
    /// Puts values at keys, one after the other; answers the count of keys that were not there.
    Extend(Vec<(K, V)>),
    /// Removes keys; answers the count of those that were there.
    RemoveMany(Vec<K>),
    /// Removes the keys in a range; answers their count.
    RemoveRange(Span<K>),
    /// Removes the keys outside a range; answers their count.
    RetainRange(Span<K>),
    /// Removes all keys; answers their count.
    Clear,
    /// Puts a value at a key, for so many milliseconds; answers [`MapWrote::Old`].
    InsertFor(K, V, u64),
}

/// What a write of a map answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapWrote<T> {
    /// What was at the key.
    Old(Option<T>),
    /// How a `compare_exchange` ended.
    Exchanged(Exchanged<T>),
    /// A number of keys.
    Count(u64),
}

/// A change of a map that was made.
#[derive(Clone, Debug)]
pub enum MapChange<K, V> {
    /// A key that was not there has a value.
    Inserted {
        /// The key.
        key: K,
        /// Its value.
        value: Shared<V>,
    },
    /// A key has another value, which may equal the one before.
    Updated {
        /// The key.
        key: K,
        /// Its value before.
        old: Shared<V>,
        /// Its value.
        new: Shared<V>,
    },
    /// A key is gone.
    Removed {
        /// The key.
        key: K,
        /// Its value before.
        old: Shared<V>,
    },
    /// All keys are gone.
    Cleared,
    /// A key is gone: it was there for its time.
    Expired {
        /// The key.
        key: K,
        /// Its value before.
        old: Shared<V>,
    },
}

/// What a transaction has read of a map.
pub(crate) type MapRead<K> = Seen<K>;

impl<K: Key, V: Value, B: Table<K, Shared<V>>> MapState<K, V, B> {
    /// The value at a key.
    pub(crate) fn get(&self, key: &K) -> Option<&Shared<V>> {
        self.entries.get(key)
    }

    /// Whether there is a value at a key.
    pub(crate) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Until when a key is there, if not for ever: milliseconds since 1970 by the group's clock.
    pub(crate) fn end_of(&self, key: &K) -> Option<u64> {
        self.deadlines.of(self.get(key)?.stamp())
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries, in the table's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &Shared<V>)> {
        self.entries.iter()
    }

    /// All entries, by ascending key. Sorts them first if the table is by hash.
    pub(crate) fn ascending(&self) -> impl ExactSizeIterator<Item = (&K, &Shared<V>)> {
        self.entries.ascending()
    }

    /// Notes that a transaction reads the value at a key; returns it.
    pub(crate) fn read_key(&self, key: &K, read: &mut MapRead<K>) -> Option<&Shared<V>> {
        let value = self.get(key);
        read.key(key.clone(), value.map(Shared::stamp));
        value
    }

    /// Notes that a transaction reads all of it, or how much there is.
    pub(crate) fn read_whole(&self, read: &mut MapRead<K>) {
        read.whole(self.changed);
    }

    fn put(
        &mut self,
        key: K,
        value: V,
        stamps: &mut Stamps,
        changes: &mut Changes<MapChange<K, V>>,
    ) -> Option<Shared<V>> {
        let new = Shared::new(stamps.take(), value);
        self.changed = new.stamp();
        let told = changes.are_kept().then(|| (key.clone(), new.clone()));
        let old = self.entries.insert(key, new);
        if let Some(old) = &old {
            self.deadlines.forget(old.stamp());
        }
        if let Some((key, new)) = told {
            changes.tell(|| match old.clone() {
                Some(old) => MapChange::Updated { key, old, new },
                None => MapChange::Inserted { key, value: new },
            });
        }
        old
    }

    fn put_for(
        &mut self,
        key: K,
        value: V,
        millis: u64,
        stamps: &mut Stamps,
        changes: &mut Changes<MapChange<K, V>>,
    ) -> Option<Shared<V>> {
        let old = self.put(key.clone(), value, stamps, changes);
        let until = stamps.now().clock.saturating_add(millis);
        self.deadlines.set(self.changed, until, key);
        old
    }

    /// Takes out what is at a key.
    fn take(&mut self, key: &K, stamps: &mut Stamps) -> Option<Shared<V>> {
        let old = self.entries.remove(key)?;
        self.deadlines.forget(old.stamp());
        self.changed = stamps.take();
        Some(old)
    }

    fn remove(
        &mut self,
        key: K,
        stamps: &mut Stamps,
        changes: &mut Changes<MapChange<K, V>>,
    ) -> Option<Shared<V>> {
        let old = self.take(&key, stamps)?;
        let removed = old.clone();
        changes.tell(|| MapChange::Removed { key, old: removed });
        Some(old)
    }

    fn remove_all(
        &mut self,
        keys: Vec<K>,
        stamps: &mut Stamps,
        changes: &mut Changes<MapChange<K, V>>,
    ) -> MapWrote<Shared<V>> {
        let before = self.len();
        for key in keys {
            self.remove(key, stamps, changes);
        }
        MapWrote::Count((before - self.len()) as u64)
    }

    fn extend(
        &mut self,
        entries: Vec<(K, V)>,
        stamps: &mut Stamps,
        changes: &mut Changes<MapChange<K, V>>,
    ) -> MapWrote<Shared<V>> {
        let before = self.len();
        for (key, value) in entries {
            self.put(key, value, stamps, changes);
        }
        MapWrote::Count((self.len() - before) as u64)
    }

    fn clear(
        &mut self,
        stamps: &mut Stamps,
        changes: &mut Changes<MapChange<K, V>>,
    ) -> MapWrote<Shared<V>> {
        let removed = self.len();
        if removed > 0 {
            self.entries.clear();
            self.deadlines = Deadlines::default();
            self.changed = stamps.take();
            changes.tell(|| MapChange::Cleared);
        }
        MapWrote::Count(removed as u64)
    }

    fn compare_exchange(
        &mut self,
        key: K,
        current: Option<Mark>,
        new: Option<V>,
        stamps: &mut Stamps,
        changes: &mut Changes<MapChange<K, V>>,
    ) -> Exchanged<Shared<V>> {
        exchange::check(self.get(&key), current, stamps)?;
        Ok(match new {
            Some(new) => self.put(key, new, stamps, changes),
            None => self.remove(key, stamps, changes),
        })
    }
}

impl<K: Key, V: Value> SortedMapState<K, V> {
    /// The entries in a range, by ascending key, from either end.
    pub(crate) fn range<'a>(
        &'a self,
        span: Span<&K>,
    ) -> impl DoubleEndedIterator<Item = (&'a K, &'a Shared<V>)> + use<'a, K, V> {
        table::range(&self.entries, span)
    }

    /// The entry with the least key.
    pub(crate) fn first(&self) -> Option<(&K, &Shared<V>)> {
        self.entries.get_min().map(|(key, value)| (key, value))
    }

    /// The entry with the greatest key.
    pub(crate) fn last(&self) -> Option<(&K, &Shared<V>)> {
        self.entries.get_max().map(|(key, value)| (key, value))
    }
}

impl<K: Key, V: Value, B: Table<K, Shared<V>>> State for MapState<K, V, B> {
    type Layout = (B::Kind, Vec<(K, V)>);
    type Write = MapWrite<K, V>;
    type Wrote = MapWrote<Shared<V>>;
    type Answer = MapWrote<V>;
    type Read = MapRead<K>;
    type Change = MapChange<K, V>;

    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        changes: &mut Changes<Self::Change>,
    ) -> Self::Wrote {
        match write {
            MapWrite::Insert(key, value) => MapWrote::Old(self.put(key, value, stamps, changes)),
            MapWrite::Remove(key) => MapWrote::Old(self.remove(key, stamps, changes)),
            MapWrite::CompareExchange { key, current, new } => {
                MapWrote::Exchanged(self.compare_exchange(key, current, new, stamps, changes))
            }
            MapWrite::Extend(entries) => self.extend(entries, stamps, changes),
            MapWrite::RemoveMany(keys) => self.remove_all(keys, stamps, changes),
            MapWrite::RemoveRange(span) => {
                self.remove_all(self.entries.keys_in(&span), stamps, changes)
            }
            MapWrite::RetainRange(span) => {
                self.remove_all(self.entries.keys_outside(&span), stamps, changes)
            }
            MapWrite::Clear => self.clear(stamps, changes),
            MapWrite::InsertFor(key, value, millis) => {
                MapWrote::Old(self.put_for(key, value, millis, stamps, changes))
            }
        }
    }

    fn expire(&mut self, stamps: &mut Stamps, changes: &mut Changes<Self::Change>) -> usize {
        let due = self.deadlines.due(stamps.now().clock);
        let count = due.len();
        for key in due {
            if let Some(old) = self.take(&key, stamps) {
                changes.tell(|| MapChange::Expired { key, old });
            }
        }
        count
    }

    fn expiry(&self) -> Expiry {
        Expiry {
            clock: self.deadlines.next(),
            uptime: None,
        }
    }

    fn largest(write: &Self::Write) -> Option<usize> {
        match write {
            MapWrite::Extend(entries) => Some(codec::largest(entries)),
            MapWrite::RemoveMany(keys) => Some(codec::largest(keys)),
            _ => None,
        }
    }

    fn ahead(&self) -> Option<usize> {
        self.entries.ahead()
    }

    fn catch_up(&mut self, newer: &Self) {
        self.entries.catch_up(&newer.entries);
        self.deadlines = newer.deadlines.clone();
        self.changed = newer.changed;
    }

    fn is_as_read(&self, read: &Self::Read) -> bool {
        read.is_still(self.changed, |key| self.get(key).map(Shared::stamp))
    }

    fn last_stamp(&self) -> Stamp {
        self.changed
    }
}

impl<K, V, B: Default> Default for MapState<K, V, B> {
    fn default() -> Self {
        Self {
            entries: Traced::default(),
            deadlines: Deadlines::default(),
            changed: Stamp::NEVER,
            types: PhantomData,
        }
    }
}

/// Encodes the last change, then the entries by ascending key: the key, the stamp, the value; then the ends of those that
/// do not live for ever, as they come: the time, the key.
impl<K: Key, V: Value, B: Table<K, Shared<V>>> Serialize for MapState<K, V, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = || {
            let entries = self.entries.ascending();
            entries.map(|(key, value)| (key, value.stamp(), value))
        };
        let deadlines = Each(|| self.deadlines.ascending());
        (self.changed, Each(entries), deadlines).serialize(serializer)
    }
}

impl<'de, K: Key, V: Value, B: Table<K, Shared<V>>> Deserialize<'de> for MapState<K, V, B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (changed, Gathered(read), ends) =
            <(Stamp, Gathered<Entries<K, V, B>>, Vec<(u64, K)>)>::deserialize(deserializer)?;
        read.newest
            .check_changed(changed)
            .map_err(de::Error::custom)?;
        let deadlines = read.deadlines(ends).map_err(de::Error::custom)?;
        Ok(Self {
            entries: read.entries,
            deadlines,
            changed,
            types: PhantomData,
        })
    }
}

/// The entries that were read so far.
struct Entries<K, V, B> {
    entries: Traced<B, K, Shared<V>>,
    order: Ascending<K>,
    newest: Newest,
    types: PhantomData<V>,
}

impl<K: Key, V: Value, B: Table<K, Shared<V>>> Entries<K, V, B> {
    /// The ends of these, in the order in which they come.
    fn deadlines(&self, ends: Vec<(u64, K)>) -> Result<Deadlines<K>, Unsound> {
        let mut deadlines = Deadlines::default();
        let mut last = None;
        for (until, key) in ends {
            let stamp = self.entries.get(&key).map(Shared::stamp);
            let stamp = stamp.ok_or(Unsound::Deadlines)?;
            let is_next = last < Some((until, stamp));
            if !is_next || deadlines.of(stamp).is_some() {
                return Err(Unsound::Deadlines);
            }
            last = Some((until, stamp));
            deadlines.set(stamp, until, key);
        }
        Ok(deadlines)
    }
}

impl<K: Key, V: Value, B: Table<K, Shared<V>>> Gather for Entries<K, V, B> {
    type Item = (K, Stamp, V);

    fn gather(&mut self, (key, stamp, value): Self::Item) -> Result<(), Unsound> {
        self.order.check(&key)?;
        self.newest.check(stamp)?;
        self.entries.insert(key, Shared::new(stamp, value));
        Ok(())
    }
}

impl<K: Key, V: Value, B: Table<K, Shared<V>>> Default for Entries<K, V, B> {
    fn default() -> Self {
        Self {
            entries: Traced::default(),
            order: Ascending::default(),
            newest: Newest::default(),
            types: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests;
