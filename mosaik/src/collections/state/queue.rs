//! The priority queue: values by priority, that are found by key.

use std::{fmt, ops::Bound, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Key, State, Value,
    changes::Changes,
    codec,
    seen::Seen,
    shared::Shared,
    stamp::{Stamp, Stamps},
    table::{self, Span},
    traced::{TracedHashed, TracedSorted},
};

mod apply;
mod snapshot;

/// A priority queue with two ends, whose items are found and updated by key.
///
/// Among equal priorities, who came first is served first, at both ends (price-time priority). An item keeps its
/// place for as long as its priority stays the same, whatever else becomes of it; with another priority it stands
/// behind those who have that one.
#[derive(Clone)]
pub struct QueueState<P, K, V> {
    by_key: TracedHashed<K, Arc<Queued<P, K, V>>>,
    by_place: TracedSorted<Place<P>, Arc<Queued<P, K, V>>>,
    limit: Option<Limit>,
    /// The stamp of the last change.
    changed: Stamp,
}

/// An item of a queue.
#[derive(Debug)]
pub struct Queued<P, K, V> {
    /// Its key.
    pub(crate) key: K,
    /// Its priority.
    pub(crate) priority: P,
    /// The stamp with which it got its place: among equal priorities the least is served first.
    pub(crate) order: Stamp,
    /// Its value.
    pub(crate) value: Shared<V>,
}

/// Where an item stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place<P> {
    priority: P,
    order: Stamp,
}

/// One of the ends of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum End {
    /// Where the least priority is.
    Min,
    /// Where the greatest priority is.
    Max,
}

/// How many items a queue may have, and which go when there are more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// Number of items.
    pub len: u64,
    /// Items are evicted at this end; among equal priorities the one that came last.
    pub evict: End,
}

/// A change of a queue that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum QueueWrite<P, K, V> {
    /// Puts an item, in the place of one with its key; answers [`QueueWrote::Inserted`].
    Insert(P, K, V),
    /// Puts items, one after the other; answers [`QueueWrote::Extended`].
    Extend(Vec<(P, K, V)>),
    /// Gives the item with a key another priority; answers [`QueueWrote::Priority`].
    UpdatePriority(K, P),
    /// Gives the item with a key another value; answers [`QueueWrote::Value`].
    UpdateValue(K, V),
    /// Removes the item with a key; answers [`QueueWrote::Removed`].
    Remove(K),
    /// Removes the first item at an end; answers [`QueueWrote::Popped`].
    Pop(End),
    /// Removes the items whose priority is in a range; answers their count.
    RemoveRange(Span<P>),
    /// Removes all items; answers their count. A limit stays.
    Clear,
    /// Sets or lifts the limit; answers the count of items that were evicted.
    SetLimit(Option<Limit>),
}

/// What a write of a queue answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueWrote<P, K, T> {
    /// An item was put, or did not get in.
    Inserted {
        /// The item with its key that was there.
        replaced: Option<(P, T)>,
        /// The item that was evicted for it; its own if it did not get in.
        evicted: Option<(P, K, T)>,
    },
    /// Items were put.
    Extended {
        /// Number of those that got in, and whose key was not there.
        inserted: u64,
        /// Number of items that were evicted, with those that did not get in.
        evicted: u64,
    },
    /// The priority before, if there is such an item.
    Priority(Option<P>),
    /// The value before, if there is such an item.
    Value(Option<T>),
    /// What was removed.
    Removed(Option<(P, T)>),
    /// What was removed.
    Popped(Option<(P, K, T)>),
    /// A number of items.
    Count(u64),
}

/// A change of a queue that was made.
#[derive(Clone, Debug)]
pub enum QueueChange<P, K, V> {
    /// There is an item whose key was not there.
    Inserted(Arc<Queued<P, K, V>>),
    /// An item has another priority, value, or both.
    Updated {
        /// The item before.
        old: Arc<Queued<P, K, V>>,
        /// The item.
        new: Arc<Queued<P, K, V>>,
    },
    /// An item was removed.
    Removed(Arc<Queued<P, K, V>>),
    /// An item had to go for the limit.
    Evicted(Arc<Queued<P, K, V>>),
    /// All items are gone.
    Cleared,
    /// There is this limit from now on.
    Limited(Option<Limit>),
}

/// What a transaction has read of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: Ord + Deserialize<'de>"))]
pub struct QueueRead<K> {
    keys: Seen<K>,
    /// The stamps of the first items at the least priority, as far as they were read; `None` where there was no more.
    min: Vec<Option<Stamp>>,
    /// The same at the greatest priority.
    max: Vec<Option<Stamp>>,
    /// The limit, if that was read.
    limit: Option<Option<Limit>>,
}

impl<P, K, V> Queued<P, K, V> {
    /// The stamp of its last change: that of its place or of its value.
    pub(crate) fn stamp(&self) -> Stamp {
        self.order.max(self.value.stamp())
    }
}

impl<P: Key, K: Key, V: Value> QueueState<P, K, V> {
    /// The item with a key.
    pub(crate) fn get(&self, key: &K) -> Option<&Queued<P, K, V>> {
        self.by_key.get(key).map(Arc::as_ref)
    }

    /// The item that is popped next at an end.
    pub(crate) fn peek(&self, end: End) -> Option<&Queued<P, K, V>> {
        self.first_at(end).map(Arc::as_ref)
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are no items.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The limit.
    pub(crate) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// All items as they would be popped at the least priority.
    pub(crate) fn ascending(&self) -> impl ExactSizeIterator<Item = &Queued<P, K, V>> {
        self.by_place.iter().map(|(_, item)| item.as_ref())
    }

    /// All items as they would be popped at the greatest priority.
    pub(crate) fn descending(&self) -> impl Iterator<Item = &Queued<P, K, V>> {
        let highest = self.by_place.get_max().map(|(place, _)| &place.priority);
        let next = |priority: &&P| {
            let below = (Bound::Unbounded, Bound::Excluded(*priority));
            let place = self.places(below).next_back();
            place.map(|(place, _)| &place.priority)
        };
        let equals = |priority| self.range((Bound::Included(priority), Bound::Included(priority)));
        std::iter::successors(highest, next).flat_map(equals)
    }

    /// The items whose priority is in a range, as they would be popped at the least priority.
    pub(crate) fn range(&self, span: Span<&P>) -> impl Iterator<Item = &Queued<P, K, V>> {
        self.places(span).map(|(_, item)| item.as_ref())
    }

    /// Notes that a transaction reads the item with a key; returns it.
    pub(crate) fn read_key(&self, key: &K, read: &mut QueueRead<K>) -> Option<&Queued<P, K, V>> {
        let item = self.get(key);
        read.keys.key(key.clone(), item.map(Queued::stamp));
        item
    }

    /// Notes that a transaction reads the items at an end, up to the first that is still there for it.
    pub(crate) fn read_end(
        &self,
        end: End,
        is_there: impl Fn(&Queued<P, K, V>) -> bool,
        read: &mut QueueRead<K>,
    ) {
        let seen = match end {
            End::Min => &mut read.min,
            End::Max => &mut read.max,
        };
        // The last that was noted may have gone since; those before it have.
        seen.pop();
        for item in self.items_from(end).skip(seen.len()) {
            seen.push(Some(item.stamp()));
            if is_there(item) {
                return;
            }
        }
        seen.push(None);
    }

    /// Notes that a transaction reads the limit.
    pub(crate) fn read_limit(&self, read: &mut QueueRead<K>) {
        read.limit.get_or_insert(self.limit);
    }

    /// Notes that a transaction reads all of it, or how much there is.
    pub(crate) fn read_whole(&self, read: &mut QueueRead<K>) {
        read.keys.whole(self.changed);
    }

    /// All items as they would be popped at an end.
    fn items_from(&self, end: End) -> impl Iterator<Item = &Queued<P, K, V>> {
        let ascending = (end == End::Min).then(|| self.ascending());
        let descending = (end == End::Max).then(|| self.descending());
        let ascending = ascending.into_iter().flatten();
        ascending.chain(descending.into_iter().flatten())
    }

    fn places(
        &self,
        (start, end): Span<&P>,
    ) -> impl DoubleEndedIterator<Item = (&Place<P>, &Arc<Queued<P, K, V>>)> {
        let place = |priority: &P, order| Place {
            priority: priority.clone(),
            order,
        };
        // No item has one of the two outermost stamps.
        let start = match start {
            Bound::Included(priority) => Bound::Included(place(priority, Stamp::NEVER)),
            Bound::Excluded(priority) => Bound::Excluded(place(priority, Stamp::MAX)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let end = match end {
            Bound::Included(priority) => Bound::Included(place(priority, Stamp::MAX)),
            Bound::Excluded(priority) => Bound::Excluded(place(priority, Stamp::NEVER)),
            Bound::Unbounded => Bound::Unbounded,
        };
        table::range(&self.by_place, table::as_ref(&(start, end)))
    }

    /// Those whose priority equals the one at an end, in their order.
    fn equals_at(&self, end: End) -> impl DoubleEndedIterator<Item = &Arc<Queued<P, K, V>>> {
        let place = match end {
            End::Min => self.by_place.get_min(),
            End::Max => self.by_place.get_max(),
        };
        let priority = place.map(|(place, _)| &place.priority);
        let equals = |priority| self.places((Bound::Included(priority), Bound::Included(priority)));
        priority.into_iter().flat_map(equals).map(|(_, item)| item)
    }

    /// The one that is popped next at an end.
    fn first_at(&self, end: End) -> Option<&Arc<Queued<P, K, V>>> {
        match end {
            End::Min => self.by_place.get_min().map(|(_, item)| item),
            End::Max => self.equals_at(end).next(),
        }
    }

    /// The one that is evicted next at an end.
    fn last_at(&self, end: End) -> Option<&Arc<Queued<P, K, V>>> {
        match end {
            End::Min => self.equals_at(end).next_back(),
            End::Max => self.by_place.get_max().map(|(_, item)| item),
        }
    }
}

/// Tells a queue from what else holds a list, where layouts are compared.
#[derive(Debug, Serialize, Deserialize)]
pub struct ByPriority;

impl<P: Key, K: Key, V: Value> State for QueueState<P, K, V> {
    type Layout = (ByPriority, Vec<(P, K, V)>);
    type Write = QueueWrite<P, K, V>;
    type Wrote = QueueWrote<P, K, Shared<V>>;
    type Answer = QueueWrote<P, K, V>;
    type Read = QueueRead<K>;
    type Change = QueueChange<P, K, V>;

    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        changes: &mut Changes<Self::Change>,
    ) -> Self::Wrote {
        let count = match write {
            QueueWrite::Insert(priority, key, value) => {
                return self.insert((priority, key, value), stamps, changes);
            }
            QueueWrite::Extend(items) => return self.extend(items, stamps, changes),
            QueueWrite::UpdatePriority(key, priority) => {
                let before = self.update_priority(&key, priority, stamps, changes);
                return QueueWrote::Priority(before);
            }
            QueueWrite::UpdateValue(key, value) => {
                return QueueWrote::Value(self.update_value(&key, value, stamps, changes));
            }
            QueueWrite::Remove(key) => {
                let old = self.remove(&key, stamps, changes);
                return QueueWrote::Removed(
                    old.map(|old| (old.priority.clone(), old.value.clone())),
                );
            }
            QueueWrite::Pop(end) => return QueueWrote::Popped(self.pop(end, stamps, changes)),
            QueueWrite::RemoveRange(span) => self.remove_range(&span, stamps, changes),
            QueueWrite::Clear => self.clear(stamps, changes),
            QueueWrite::SetLimit(limit) => self.set_limit(limit, stamps, changes),
        };
        QueueWrote::Count(count as u64)
    }

    fn largest(write: &Self::Write) -> Option<usize> {
        match write {
            QueueWrite::Extend(items) => Some(codec::largest(items)),
            _ => None,
        }
    }

    fn ahead(&self) -> Option<usize> {
        Some(self.by_key.ahead()? + self.by_place.ahead()?)
    }

    fn catch_up(&mut self, newer: &Self) {
        self.by_key.catch_up(&newer.by_key);
        self.by_place.catch_up(&newer.by_place);
        self.limit = newer.limit;
        self.changed = newer.changed;
    }

    fn is_as_read(&self, read: &Self::Read) -> bool {
        let is_end = |end, seen: &[Option<Stamp>]| {
            let mut items = self.items_from(end).map(Queued::stamp);
            seen.iter().all(|seen| items.next() == *seen)
        };
        let now = |key: &K| self.get(key).map(Queued::stamp);
        is_end(End::Min, &read.min)
            && is_end(End::Max, &read.max)
            && read.limit.is_none_or(|limit| limit == self.limit)
            && read.keys.is_still(self.changed, now)
    }

    fn last_stamp(&self) -> Stamp {
        self.changed
    }
}

impl<K> Default for QueueRead<K> {
    fn default() -> Self {
        Self {
            keys: Seen::default(),
            min: Vec::new(),
            max: Vec::new(),
            limit: None,
        }
    }
}

impl<P, K, V> Default for QueueState<P, K, V> {
    fn default() -> Self {
        Self {
            by_key: TracedHashed::default(),
            by_place: TracedSorted::default(),
            limit: None,
            changed: Stamp::NEVER,
        }
    }
}

impl<P: Key + fmt::Debug, K: Key + fmt::Debug, V: Value + fmt::Debug> fmt::Debug
    for QueueState<P, K, V>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ascending()).finish()
    }
}

#[cfg(test)]
mod tests;
