//! How a queue is written to snapshots, and checked when it is read from them.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Limit, Place, QueueState, Queued};
use crate::collections::state::{
    Key, Value,
    codec::{self, Ascending, Each, Gather, Gathered, Newest, Unsound},
    shared::Shared,
    stamp::Stamp,
};

/// Encodes the last change, the limit, then the items as they would be popped at the least priority: the priority,
/// the stamps of place and value, the key, the value.
impl<P: Key, K: Key, V: Value> Serialize for QueueState<P, K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items = || {
            self.ascending().map(|item| {
                let stamps = (item.order, item.value.stamp());
                (&item.priority, stamps, &item.key, &item.value)
            })
        };
        (self.changed, self.limit, Each(items)).serialize(serializer)
    }
}

impl<'de, P: Key, K: Key, V: Value> Deserialize<'de> for QueueState<P, K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Parts<P, K, V> = (Stamp, Option<Limit>, Gathered<Items<P, K, V>>);
        let (changed, limit, Gathered(items)) = Parts::<P, K, V>::deserialize(deserializer)?;
        items.finish(changed, limit).map_err(de::Error::custom)
    }
}

/// The items that were read so far.
struct Items<P, K, V> {
    queue: QueueState<P, K, V>,
    places: Ascending<Place<P>>,
    stamps: Vec<Stamp>,
    newest: Newest,
}

impl<P: Key, K: Key, V: Value> Items<P, K, V> {
    fn finish(self, changed: Stamp, limit: Option<Limit>) -> Result<QueueState<P, K, V>, Unsound> {
        self.newest.check_changed(changed)?;
        codec::check_differ(self.stamps)?;
        if limit.is_some_and(|limit| self.queue.len() as u64 > limit.len) {
            return Err(Unsound::OverLimit);
        }
        Ok(QueueState {
            limit,
            changed,
            ..self.queue
        })
    }
}

impl<P: Key, K: Key, V: Value> Gather for Items<P, K, V> {
    type Item = (P, (Stamp, Stamp), K, V);

    fn gather(
        &mut self,
        (priority, (order, stamp), key, value): Self::Item,
    ) -> Result<(), Unsound> {
        self.newest.check(order)?;
        self.newest.check(stamp)?;
        let place = Place { priority, order };
        self.places.check(&place)?;
        if self.queue.by_key.contains_key(&key) {
            return Err(Unsound::Repeated);
        }
        let item = Queued {
            key,
            priority: place.priority,
            order,
            value: Shared::new(stamp, value),
        };
        self.stamps.push(item.stamp());
        self.queue.put_in(Arc::new(item));
        Ok(())
    }
}

impl<P, K, V> Default for Items<P, K, V> {
    fn default() -> Self {
        Self {
            queue: QueueState::default(),
            places: Ascending::default(),
            stamps: Vec::new(),
            newest: Newest::default(),
        }
    }
}
