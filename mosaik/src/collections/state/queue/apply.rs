//! What each write of a queue does.

use std::{cmp::Ordering, sync::Arc};

use super::{End, Limit, Place, QueueChange, QueueState, QueueWrote, Queued};
use crate::collections::state::{
    Key, Value,
    changes::Changes,
    shared::Shared,
    stamp::{Stamp, Stamps},
    table::{self, Span},
};

impl<P: Key, K: Key, V: Value> QueueState<P, K, V> {
    pub(super) fn put_in(&mut self, item: Arc<Queued<P, K, V>>) {
        let place = Place {
            priority: item.priority.clone(),
            order: item.order,
        };
        self.by_key.insert(item.key.clone(), Arc::clone(&item));
        self.by_place.insert(place, item);
    }

    pub(super) fn take_out(&mut self, key: &K) -> Option<Arc<Queued<P, K, V>>> {
        let item = self.by_key.remove(key)?;
        let place = Place {
            priority: item.priority.clone(),
            order: item.order,
        };
        self.by_place.remove(&place);
        Some(item)
    }

    /// Whether an item that is not there would be evicted at once.
    pub(super) fn is_refused(&self, priority: &P) -> bool {
        let Some(limit) = self.limit.filter(|limit| self.len() as u64 >= limit.len) else {
            return false;
        };
        // It would be the last among its equals.
        self.last_at(limit.evict)
            .is_none_or(|last| match limit.evict {
                End::Min => *priority <= last.priority,
                End::Max => *priority >= last.priority,
            })
    }

    /// Evicts one, if there are too many.
    pub(super) fn evict(
        &mut self,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> Option<Arc<Queued<P, K, V>>> {
        let limit = self.limit.filter(|limit| self.len() as u64 > limit.len)?;
        let key = self.last_at(limit.evict)?.key.clone();
        let evicted = self.take_out(&key)?;
        changes.tell(|| QueueChange::Evicted(Arc::clone(&evicted)));
        Some(evicted)
    }

    pub(super) fn insert(
        &mut self,
        (priority, key, value): (P, K, V),
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> QueueWrote<P, K, Shared<V>> {
        let old = self.take_out(&key);
        if old.is_none() && self.is_refused(&priority) {
            let evicted = Some((priority, key, Shared::new(Stamp::NEVER, value)));
            return QueueWrote::Inserted {
                replaced: None,
                evicted,
            };
        }
        let stamp = stamps.take();
        self.changed = stamp;
        let place = old
            .as_ref()
            .filter(|old| is_equal(&old.priority, &priority));
        let new = Arc::new(Queued {
            key,
            order: place.map_or(stamp, |old| old.order),
            priority,
            value: Shared::new(stamp, value),
        });
        self.put_in(Arc::clone(&new));
        changes.tell(|| match old.clone() {
            Some(old) => QueueChange::Updated { old, new },
            None => QueueChange::Inserted(new),
        });
        let evicted = self.evict(changes);
        QueueWrote::Inserted {
            replaced: old.map(|old| (old.priority.clone(), old.value.clone())),
            evicted: evicted.as_deref().map(whole),
        }
    }

    pub(super) fn extend(
        &mut self,
        items: Vec<(P, K, V)>,
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> QueueWrote<P, K, Shared<V>> {
        let (mut inserted, mut evicted) = (0, 0);
        for item in items {
            let is_new = !self.by_key.contains_key(&item.1);
            let is_refused = is_new && self.is_refused(&item.0);
            let before = self.len();
            self.insert(item, stamps, changes);
            inserted += u64::from(is_new && !is_refused);
            evicted += u64::from(is_new && self.len() == before);
        }
        QueueWrote::Extended { inserted, evicted }
    }

    pub(super) fn update_priority(
        &mut self,
        key: &K,
        priority: P,
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> Option<P> {
        let before = &self.get(key)?.priority;
        if is_equal(before, &priority) {
            return Some(before.clone());
        }
        let old = self.take_out(key)?;
        self.changed = stamps.take();
        let new = Arc::new(Queued {
            key: old.key.clone(),
            priority,
            order: self.changed,
            value: old.value.clone(),
        });
        self.put_in(Arc::clone(&new));
        let before = old.priority.clone();
        changes.tell(|| QueueChange::Updated { old, new });
        Some(before)
    }

    pub(super) fn update_value(
        &mut self,
        key: &K,
        value: V,
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> Option<Shared<V>> {
        let old = self.take_out(key)?;
        self.changed = stamps.take();
        let new = Arc::new(Queued {
            key: old.key.clone(),
            priority: old.priority.clone(),
            order: old.order,
            value: Shared::new(self.changed, value),
        });
        self.put_in(Arc::clone(&new));
        let before = old.value.clone();
        changes.tell(|| QueueChange::Updated { old, new });
        Some(before)
    }

    pub(super) fn remove(
        &mut self,
        key: &K,
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> Option<Arc<Queued<P, K, V>>> {
        let old = self.take_out(key)?;
        self.changed = stamps.take();
        changes.tell(|| QueueChange::Removed(Arc::clone(&old)));
        Some(old)
    }

    pub(super) fn pop(
        &mut self,
        end: End,
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> Option<(P, K, Shared<V>)> {
        let key = self.first_at(end)?.key.clone();
        self.remove(&key, stamps, changes).as_deref().map(whole)
    }

    pub(super) fn remove_range(
        &mut self,
        span: &Span<P>,
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> usize {
        let items = self.range(table::as_ref(span));
        let keys: Vec<K> = items.map(|item| item.key.clone()).collect();
        for key in &keys {
            self.remove(key, stamps, changes);
        }
        keys.len()
    }

    pub(super) fn clear(
        &mut self,
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> usize {
        let removed = self.len();
        if removed > 0 {
            self.by_key.clear();
            self.by_place.clear();
            self.changed = stamps.take();
            changes.tell(|| QueueChange::Cleared);
        }
        removed
    }

    pub(super) fn set_limit(
        &mut self,
        limit: Option<Limit>,
        stamps: &mut Stamps,
        changes: &mut Changes<QueueChange<P, K, V>>,
    ) -> usize {
        if limit == self.limit {
            return 0;
        }
        self.limit = limit;
        self.changed = stamps.take();
        changes.tell(|| QueueChange::Limited(limit));
        let before = self.len();
        while self.evict(changes).is_some() {}
        before - self.len()
    }
}

fn is_equal<P: Ord>(one: &P, other: &P) -> bool {
    one.cmp(other) == Ordering::Equal
}

fn whole<P: Clone, K: Clone, V>(item: &Queued<P, K, V>) -> (P, K, Shared<V>) {
    (item.priority.clone(), item.key.clone(), item.value.clone())
}
