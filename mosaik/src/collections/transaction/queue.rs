//! A priority queue in a transaction.

use std::{fmt, ops::RangeBounds};

use super::Draft;
use crate::collections::{
    End, Key, Limit, Value,
    map::span,
    state::queue::{QueueRead, QueueState, QueueWrite, QueueWrote, Queued},
};

/// A [`PriorityQueue`](crate::collections::PriorityQueue) in a transaction: see [there](super) for what counts as
/// read.
///
/// If the queue has a limit, whatever the transaction reads after it has written to the queue reads the whole queue: any
/// item may have been evicted.
pub struct PriorityQueueTransaction<P, K, V> {
    pub(in crate::collections) draft: Draft<QueueState<P, K, V>, QueueRead<K>>,
    /// Whether there has been a limit at any time.
    was_limited: bool,
}

impl<P: Key, K: Key, V: Value> PriorityQueueTransaction<P, K, V> {
    pub(in crate::collections) fn new(draft: Draft<QueueState<P, K, V>, QueueRead<K>>) -> Self {
        Self {
            was_limited: draft.now().limit().is_some(),
            draft,
        }
    }

    /// The priority and the value of the item with a key; clones. Reads the key.
    pub fn get(&self, key: &K) -> Option<(P, V)> {
        let item = self.read(key)?;
        Some((item.priority.clone(), item.value.value().clone()))
    }

    /// Whether there is an item with a key. Reads the key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.read(key).is_some()
    }

    /// The first item of the least priority; a clone. Reads it.
    pub fn peek_min(&self) -> Option<(P, K, V)> {
        self.read_end(End::Min).map(cloned)
    }

    /// The first item of the greatest priority; a clone. Reads it.
    pub fn peek_max(&self) -> Option<(P, K, V)> {
        self.read_end(End::Max).map(cloned)
    }

    /// Number of items. Reads the whole queue.
    pub fn len(&self) -> usize {
        self.whole().len()
    }

    /// Whether there are no items. Reads the whole queue.
    pub fn is_empty(&self) -> bool {
        self.whole().is_empty()
    }

    /// How many items there may be, if there is a limit. Reads that.
    pub fn limit(&self) -> Option<Limit> {
        self.draft.look(|now, base, read| {
            base.read_limit(read);
            now.limit()
        })
    }

    /// All items in the order in which [`pop_min`](Self::pop_min) takes them; clones. Reads the whole queue.
    pub fn ascending(&self) -> impl ExactSizeIterator<Item = (P, K, V)> + use<'_, P, K, V> {
        self.whole().ascending().map(cloned)
    }

    /// All items in the order in which [`pop_max`](Self::pop_max) takes them; clones. Reads the whole queue.
    pub fn descending(&self) -> impl Iterator<Item = (P, K, V)> + use<'_, P, K, V> {
        self.whole().descending().map(cloned)
    }

    fn whole(&self) -> &QueueState<P, K, V> {
        self.draft.look(|now, base, read| {
            base.read_whole(read);
            now
        })
    }

    /// Notes what all reads depend on that follow writes: what was evicted.
    fn note_limit(&self, base: &QueueState<P, K, V>, read: &mut QueueRead<K>) {
        if self.draft.has_written() {
            base.read_limit(read);
            if self.was_limited {
                base.read_whole(read);
            }
        }
    }

    fn read(&self, key: &K) -> Option<&Queued<P, K, V>> {
        self.draft.look(|now, base, read| {
            self.note_limit(base, read);
            let item = now.get(key);
            if !item.is_some_and(|item| self.draft.is_own(item.stamp())) {
                base.read_key(key, read);
            }
            item
        })
    }

    fn read_end(&self, end: End) -> Option<&Queued<P, K, V>> {
        self.draft.look(|now, base, read| {
            self.note_limit(base, read);
            let is_there = |item: &Queued<P, K, V>| {
                now.get(&item.key).map(Queued::stamp) == Some(item.stamp())
            };
            base.read_end(end, is_there, read);
            now.peek(end)
        })
    }

    /// Puts an item, in the place of one with its key. Reads nothing.
    pub fn insert(&mut self, priority: P, key: K, value: V) {
        self.draft.write(QueueWrite::Insert(priority, key, value));
    }

    /// Puts items. Reads nothing.
    pub fn extend(&mut self, items: impl IntoIterator<Item = (P, K, V)>) {
        let items = items.into_iter().collect();
        self.draft.write(QueueWrite::Extend(items));
    }

    /// Gives the item with a key another priority; returns the one that it had, if there is such an item. Reads the key.
    pub fn update_priority(&mut self, key: &K, priority: P) -> Option<P> {
        let before = self.read(key)?.priority.clone();
        let write = QueueWrite::UpdatePriority(key.clone(), priority);
        self.draft.write(write);
        Some(before)
    }

    /// Gives the item with a key another value; returns the one that it had, if there is such an item. Reads the key.
    pub fn update_value(&mut self, key: &K, value: V) -> Option<V> {
        let before = self.read(key)?.value.value().clone();
        let write = QueueWrite::UpdateValue(key.clone(), value);
        self.draft.write(write);
        Some(before)
    }

    /// Removes the item with a key; returns its priority and its value. Reads the key.
    pub fn remove(&mut self, key: &K) -> Option<(P, V)> {
        let item = self.get(key)?;
        self.draft.write(QueueWrite::Remove(key.clone()));
        Some(item)
    }

    /// Removes the first item of the least priority, and returns it. Reads it.
    pub fn pop_min(&mut self) -> Option<(P, K, V)> {
        self.pop(End::Min)
    }

    /// Removes the first item of the greatest priority, and returns it. Reads it.
    pub fn pop_max(&mut self) -> Option<(P, K, V)> {
        self.pop(End::Max)
    }

    fn pop(&mut self, end: End) -> Option<(P, K, V)> {
        self.read_end(end)?;
        match self.draft.write(QueueWrite::Pop(end)) {
            QueueWrote::Popped(popped) => {
                popped.map(|(priority, key, value)| (priority, key, value.value().clone()))
            }
            _ => None,
        }
    }

    /// Removes the items whose priorities are in a range. Reads nothing.
    pub fn remove_range(&mut self, range: impl RangeBounds<P>) {
        self.draft.write(QueueWrite::RemoveRange(span(&range)));
    }

    /// Removes all items. A limit stays. Reads nothing.
    pub fn clear(&mut self) {
        self.draft.write(QueueWrite::Clear);
    }

    /// Sets how many items there may be from now on, or lifts that. Reads nothing.
    pub fn set_limit(&mut self, limit: Option<Limit>) {
        self.was_limited |= limit.is_some();
        self.draft.write(QueueWrite::SetLimit(limit));
    }
}

impl<P, K, V> fmt::Debug for PriorityQueueTransaction<P, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft.fmt(f)
    }
}

fn cloned<P: Clone, K: Clone, V: Clone>(item: &Queued<P, K, V>) -> (P, K, V) {
    let value = item.value.value().clone();
    (item.priority.clone(), item.key.clone(), value)
}
