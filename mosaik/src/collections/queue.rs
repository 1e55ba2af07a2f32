//! The replicated priority queue.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, RangeBounds},
    sync::Arc,
};

use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};

use super::{
    Builder, Key, Value,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    map::span,
    state::State,
    state::queue::{End, Limit, QueueChange, QueueState, QueueWrite, QueueWrote, Queued},
    store::Store,
    transaction::{Draft, Outcome, PriorityQueueTransaction, transact_alone},
};
use crate::groups::{GroupError, Groups, Version};

/// A replicated priority queue, beside [`BinaryHeap`](std::collections::BinaryHeap): items with a priority, a key and a
/// value, which can be taken from both ends, and found and changed by their keys.
///
/// Among equal priorities, who came first is first, at both ends, as in the book of an exchange. An item that gets
/// another priority is the last among those that have it; one that gets another value keeps its place.
///
/// Reads are of this node's own copy: at once, without a lock, and possibly stale. Writes are commands of the store's
/// group: acknowledged once a majority has them, applied exactly once, and visible here when they return. So an item
/// that is popped was popped by nobody else.
///
/// | method | here | on the wire |
/// |---|---|---|
/// | `get`, `contains_key` | O(1) | nothing |
/// | `peek_min`, `peek_max` | O(log n) | nothing |
/// | `len`, `is_empty`, `view` | O(1) | nothing |
/// | `insert`, `update_priority`, `update_value`, `remove` | O(log n) | key, and what is new |
/// | `pop_min`, `pop_max` | O(log n) | the item that is answered |
/// | `extend`, `remove_range` | O(items × log n) | the items, or two priorities |
///
/// # Example
/// ```no_run
/// use mosaik::collections::PriorityQueue;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let bids = PriorityQueue::<u64, String, u32>::writer(&network, "bids");
/// bids.when().online().await;
/// bids.extend([(99, "a".into(), 10), (101, "b".into(), 5), (101, "c".into(), 7)]).await?;
/// assert_eq!(bids.pop_max().await?, Some((101, "b".into(), 5)));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PriorityQueue<P, K, V>(PhantomData<(P, K, V)>);

/// A handle that reads and writes a [`PriorityQueue`]. It reads as a [`PriorityQueueReader`] does. Clones are the same
/// queue.
pub struct PriorityQueueWriter<P, K, V>(PriorityQueueReader<P, K, V>);

/// A handle that reads a [`PriorityQueue`]. Clones are the same queue.
pub struct PriorityQueueReader<P, K, V>(Handle<QueueState<P, K, V>, QueueChange<P, K, V>>);

/// A [`PriorityQueue`] as it was at one moment: whatever is written later does not show in it. Clones cost nothing.
pub struct PriorityQueueView<P, K, V>(Arc<QueueState<P, K, V>>);

/// What became of an item that was put into a [`PriorityQueue`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inserted<P, K, V> {
    /// The priority and the value of the item with its key that was there.
    pub replaced: Option<(P, V)>,
    /// The item that was evicted for it, where the queue has a limit; its own if it did not get in.
    pub evicted: Option<(P, K, V)>,
}

/// What happens to a [`PriorityQueue`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PriorityQueueChange<P, K, V, W = PriorityQueueView<P, K, V>> {
    /// This is the whole queue: what was held of it before counts no longer. The first change of a feed, unless it goes
    /// on from a version, and the next where it is so far behind that changes are missing.
    Reset(W),
    /// There is an item whose key was not there: the last of its priority.
    Inserted {
        /// Its priority.
        priority: P,
        /// Its key.
        key: K,
        /// Its value.
        value: V,
    },
    /// An item has another value, another priority, or both. It is the last of its priority if that is another one.
    Updated {
        /// Its key.
        key: K,
        /// Its priority and its value before.
        old: (P, V),
        /// Its priority and its value.
        new: (P, V),
    },
    /// An item was removed.
    Removed {
        /// Its priority.
        priority: P,
        /// Its key.
        key: K,
        /// Its value.
        value: V,
    },
    /// An item had to go for the limit.
    Evicted {
        /// Its priority.
        priority: P,
        /// Its key.
        key: K,
        /// Its value.
        value: V,
    },
    /// All items are gone.
    Cleared,
    /// There is this limit from now on.
    Limited(Option<Limit>),
}

impl<P: Clone, K: Clone, V: Clone, W> PriorityQueueChange<P, K, V, W> {
    fn reset(view: W) -> Self {
        Self::Reset(view)
    }

    fn of(change: QueueChange<P, K, V>) -> Self {
        match change {
            QueueChange::Inserted(item) => {
                let (priority, key, value) = cloned(&item);
                Self::Inserted {
                    priority,
                    key,
                    value,
                }
            }
            QueueChange::Updated { old, new } => {
                let ((before, key, old), (priority, _, new)) = (cloned(&old), cloned(&new));
                Self::Updated {
                    key,
                    old: (before, old),
                    new: (priority, new),
                }
            }
            QueueChange::Removed(item) => {
                let (priority, key, value) = cloned(&item);
                Self::Removed {
                    priority,
                    key,
                    value,
                }
            }
            QueueChange::Evicted(item) => {
                let (priority, key, value) = cloned(&item);
                Self::Evicted {
                    priority,
                    key,
                    value,
                }
            }
            QueueChange::Cleared => Self::Cleared,
            QueueChange::Limited(limit) => Self::Limited(limit),
        }
    }
}

collection!(
    PriorityQueue<P: Key, K: Key, V: Value>, QueueState<P, K, V>,
    PriorityQueueWriter, PriorityQueueReader, PriorityQueueView, PriorityQueueTransaction,
    PriorityQueueChange<P, K, V>, "the queue"
);

impl<P: Key, K: Key, V: Value> PriorityQueueReader<P, K, V> {
    /// The priority and the value of the item with a key; clones.
    pub fn get(&self, key: &K) -> Option<(P, V)> {
        self.0.look(|queue| {
            let item = queue.get(key)?;
            Some((item.priority.clone(), item.value.value().clone()))
        })
    }

    /// Whether there is an item with a key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.0.look(|queue| queue.get(key).is_some())
    }

    /// The first item of the least priority; a clone.
    pub fn peek_min(&self) -> Option<(P, K, V)> {
        self.0.look(|queue| queue.peek(End::Min).map(cloned))
    }

    /// The first item of the greatest priority; a clone.
    pub fn peek_max(&self) -> Option<(P, K, V)> {
        self.0.look(|queue| queue.peek(End::Max).map(cloned))
    }

    /// All items in the order in which [`pop_min`](PriorityQueueWriter::pop_min) takes them; clones. See
    /// [`view`](Self::view) for what borrows.
    pub fn ascending(&self) -> std::vec::IntoIter<(P, K, V)> {
        let items: Vec<_> = self.0.view().ascending().map(cloned).collect();
        items.into_iter()
    }

    /// All items in the order in which [`pop_max`](PriorityQueueWriter::pop_max) takes them; clones.
    pub fn descending(&self) -> std::vec::IntoIter<(P, K, V)> {
        let items: Vec<_> = self.0.view().descending().map(cloned).collect();
        items.into_iter()
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.0.look(QueueState::len)
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items there may be, and which have to go, if there is a limit.
    pub fn limit(&self) -> Option<Limit> {
        self.0.look(QueueState::limit)
    }
}

impl<P: Key, K: Key, V: Value> PriorityQueueWriter<P, K, V> {
    /// Puts an item, in the place of one with its key.
    ///
    /// # Errors
    /// See [`GroupError`]; after [`GroupError::Timeout`] the write is still under way.
    pub fn insert(
        &self,
        priority: P,
        key: K,
        value: V,
    ) -> impl Future<Output = Result<Inserted<P, K, V>, GroupError>> + Send + use<P, K, V> {
        let write = QueueWrite::Insert(priority, key, value);
        self.0.0.write(&write, |answer| match answer {
            QueueWrote::Inserted { replaced, evicted } => Some(Inserted { replaced, evicted }),
            _ => None,
        })
    }

    /// Puts items, all together; returns how many got in whose keys were not there.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); [`GroupError::TooLarge`] for an item over 4 MiB, and for what is over 16 MiB.
    pub fn extend<I: IntoIterator<Item = (P, K, V)>>(
        &self,
        items: I,
    ) -> BoxFuture<'static, Result<u64, GroupError>> {
        let write = QueueWrite::Extend(items.into_iter().collect());
        self.0
            .0
            .write(&write, |answer| match answer {
                QueueWrote::Extended { inserted, .. } => Some(inserted),
                _ => None,
            })
            .boxed()
    }

    /// Gives the item with a key another priority; returns the one that it had, if there is such an item.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn update_priority(
        &self,
        key: K,
        priority: P,
    ) -> impl Future<Output = Result<Option<P>, GroupError>> + Send + use<P, K, V> {
        let write = QueueWrite::UpdatePriority(key, priority);
        self.0.0.write(&write, |answer| match answer {
            QueueWrote::Priority(before) => Some(before),
            _ => None,
        })
    }

    /// Gives the item with a key another value; returns the one that it had, if there is such an item.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn update_value(
        &self,
        key: K,
        value: V,
    ) -> impl Future<Output = Result<Option<V>, GroupError>> + Send + use<P, K, V> {
        let write = QueueWrite::UpdateValue(key, value);
        self.0.0.write(&write, |answer| match answer {
            QueueWrote::Value(before) => Some(before),
            _ => None,
        })
    }

    /// Removes the item with a key; returns its priority and its value.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove(
        &self,
        key: K,
    ) -> impl Future<Output = Result<Option<(P, V)>, GroupError>> + Send + use<P, K, V> {
        let write = QueueWrite::Remove(key);
        self.0.0.write(&write, |answer| match answer {
            QueueWrote::Removed(removed) => Some(removed),
            _ => None,
        })
    }

    /// Removes the first item of the least priority, and returns it.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn pop_min(
        &self,
    ) -> impl Future<Output = Result<Option<(P, K, V)>, GroupError>> + Send + use<P, K, V> {
        self.pop(End::Min)
    }

    /// Removes the first item of the greatest priority, and returns it.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn pop_max(
        &self,
    ) -> impl Future<Output = Result<Option<(P, K, V)>, GroupError>> + Send + use<P, K, V> {
        self.pop(End::Max)
    }

    /// Removes the items whose priorities are in a range; returns how many there were.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove_range<B: RangeBounds<P>>(
        &self,
        range: B,
    ) -> BoxFuture<'static, Result<u64, GroupError>> {
        self.count(&QueueWrite::RemoveRange(span(&range))).boxed()
    }

    /// Removes all items; returns how many there were. A limit stays.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn clear(&self) -> impl Future<Output = Result<u64, GroupError>> + Send + use<P, K, V> {
        self.count(&QueueWrite::Clear)
    }

    /// Sets how many items there may be from now on, or lifts that; returns how many had to go.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn set_limit(
        &self,
        limit: Option<Limit>,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<P, K, V> {
        self.count(&QueueWrite::SetLimit(limit))
    }

    fn pop(
        &self,
        end: End,
    ) -> impl Future<Output = Result<Option<(P, K, V)>, GroupError>> + Send + use<P, K, V> {
        self.0
            .0
            .write(&QueueWrite::Pop(end), |answer| match answer {
                QueueWrote::Popped(popped) => Some(popped),
                _ => None,
            })
    }

    fn count(
        &self,
        write: &QueueWrite<P, K, V>,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<P, K, V> {
        self.0.0.write(write, |answer| match answer {
            QueueWrote::Count(count) => Some(count),
            _ => None,
        })
    }
}

impl<P: Key, K: Key, V: Value> PriorityQueueView<P, K, V> {
    /// The priority and the value of the item with a key.
    pub fn get(&self, key: &K) -> Option<(&P, &V)> {
        let item = self.0.get(key)?;
        Some((&item.priority, item.value.value()))
    }

    /// The first item of the least priority.
    pub fn peek_min(&self) -> Option<(&P, &K, &V)> {
        self.0.peek(End::Min).map(parts)
    }

    /// The first item of the greatest priority.
    pub fn peek_max(&self) -> Option<(&P, &K, &V)> {
        self.0.peek(End::Max).map(parts)
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All items in the order in which [`pop_min`](PriorityQueueWriter::pop_min) takes them.
    pub fn ascending(&self) -> impl ExactSizeIterator<Item = (&P, &K, &V)> {
        self.0.ascending().map(parts)
    }

    /// All items in the order in which [`pop_max`](PriorityQueueWriter::pop_max) takes them.
    pub fn descending(&self) -> impl Iterator<Item = (&P, &K, &V)> {
        self.0.descending().map(parts)
    }

    /// The items whose priorities are in a range, ascending.
    pub fn range(&self, range: impl RangeBounds<P>) -> impl Iterator<Item = (&P, &K, &V)> {
        let (start, end) = span(&range);
        let items: Vec<_> = self.0.range((start.as_ref(), end.as_ref())).collect();
        items.into_iter().map(parts)
    }
}

impl<P, K, V> Clone for PriorityQueueView<P, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P, K, V> fmt::Debug for PriorityQueueView<P, K, V>
where
    P: Key + fmt::Debug,
    K: Key + fmt::Debug,
    V: Value + fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ascending()).finish()
    }
}

fn parts<P, K, V>(item: &Queued<P, K, V>) -> (&P, &K, &V) {
    (&item.priority, &item.key, item.value.value())
}

fn cloned<P: Clone, K: Clone, V: Clone>(item: &Queued<P, K, V>) -> (P, K, V) {
    let (priority, key, value) = parts(item);
    (priority.clone(), key.clone(), value.clone())
}
