//! The replicated map.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Bound, Deref, RangeBounds},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};

use super::{
    Builder, Key, Value,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    state::State,
    state::{
        exchange::{self, Exchanged},
        map::{self as state, MapState, MapWrite, MapWrote, SortedMapState},
        shared::Shared,
        stamp::Mark,
        table::Span,
    },
    store::Store,
    transaction::{Draft, MapTransaction, Outcome, SortedMapTransaction, transact_alone},
};
use crate::groups::{GroupError, Groups, Version};

/// A replicated map, beside [`HashMap`](std::collections::HashMap): values by key, in no order.
///
/// Reads are of this node's own copy: at once, without a lock, and possibly stale. Writes are commands of the store's
/// group: acknowledged once a majority has them, applied exactly once, and visible here when they return.
///
/// | method | here | on the wire |
/// |---|---|---|
/// | `get`, `contains_key` | O(1) | nothing |
/// | `len`, `is_empty`, `view` | O(1) | nothing |
/// | `insert`, `remove`, `compare_exchange` | O(1) | key and value |
/// | `insert_for` | O(log of how many keys have a time to live) | key and value |
/// | `extend`, `remove_many` | O(items) | the items, one entry |
/// | `remove_range`, `retain_range` | O(length of the map) | two keys |
/// | `clear` | O(1) | nothing |
/// | `iter`, `keys`, `values` | O(n) | nothing |
///
/// # Example
/// ```no_run
/// use mosaik::collections::Map;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let prices = Map::<String, u64>::writer(&network, "prices");
/// prices.when().online().await;
/// assert_eq!(prices.insert("ETH".into(), 4_200).await?, None);
/// assert_eq!(prices.get(&"ETH".into()), Some(4_200));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Map<K, V>(PhantomData<fn() -> (K, V)>);

/// A handle that reads and writes a [`Map`]. It reads as a [`MapReader`] does. Clones are the same map.
pub struct MapWriter<K, V>(MapReader<K, V>);

/// A handle that reads a [`Map`]. Clones are the same map.
pub struct MapReader<K, V>(Handle<MapState<K, V>, state::MapChange<K, V>>);

/// A [`Map`] as it was at one moment: whatever is written later does not show in it. Clones cost nothing.
pub struct MapView<K, V>(Arc<MapState<K, V>>);

/// A replicated map, beside [`BTreeMap`](std::collections::BTreeMap): values by key, in the order of the keys.
///
/// It reads and writes as [`Map`] does, in O(log n) where that is O(1) and in less memory, and gives ranges of keys in
/// O(log n + length of the range).
///
/// # Example
/// ```no_run
/// use mosaik::collections::SortedMap;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let trades = SortedMap::<u64, String>::writer(&network, "trades");
/// trades.when().online().await;
/// trades.extend([(3, "c".into()), (1, "a".into()), (2, "b".into())]).await?;
/// let view = trades.view();
/// let keys: Vec<u64> = view.range(2..).map(|(key, _)| *key).collect();
/// assert_eq!(keys, [2, 3]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SortedMap<K, V>(PhantomData<fn() -> (K, V)>);

/// A handle that reads and writes a [`SortedMap`]. It reads as a [`SortedMapReader`] does. Clones are the same map.
pub struct SortedMapWriter<K, V>(SortedMapReader<K, V>);

/// A handle that reads a [`SortedMap`]. Clones are the same map.
pub struct SortedMapReader<K, V>(Handle<SortedMapState<K, V>, state::MapChange<K, V>>);

/// A [`SortedMap`] as it was at one moment: whatever is written later does not show in it. Clones cost nothing.
pub struct SortedMapView<K, V>(Arc<SortedMapState<K, V>>);

/// What happens to a [`Map`], or with another view to a [`SortedMap`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MapChange<K, V, W = MapView<K, V>> {
    /// This is the whole map: what was held of it before counts no longer. The first change of a feed, unless it goes on
    /// from a version, and the next where it is so far behind that changes are missing.
    Reset(W),
    /// A key that was not there has a value.
    Inserted {
        /// The key.
        key: K,
        /// Its value.
        value: V,
    },
    /// A key has another value, which may equal the one before.
    Updated {
        /// The key.
        key: K,
        /// Its value before.
        old: V,
        /// Its value.
        new: V,
    },
    /// A key is gone.
    Removed {
        /// The key.
        key: K,
        /// Its value before.
        old: V,
    },
    /// All keys are gone.
    Cleared,
    /// A key is gone: it was there for [its time](MapWriter::insert_for).
    Expired {
        /// The key.
        key: K,
        /// Its value before.
        old: V,
    },
}

impl<K, V: Clone, W> MapChange<K, V, W> {
    fn reset(view: W) -> Self {
        Self::Reset(view)
    }

    fn of(change: state::MapChange<K, V>) -> Self {
        let owned = |value: Shared<V>| value.value().clone();
        match change {
            state::MapChange::Inserted { key, value } => Self::Inserted {
                key,
                value: owned(value),
            },
            state::MapChange::Updated { key, old, new } => Self::Updated {
                key,
                old: owned(old),
                new: owned(new),
            },
            state::MapChange::Removed { key, old } => Self::Removed {
                key,
                old: owned(old),
            },
            state::MapChange::Cleared => Self::Cleared,
            state::MapChange::Expired { key, old } => Self::Expired {
                key,
                old: owned(old),
            },
        }
    }
}

collection!(
    Map<K: Key, V: Value>, MapState<K, V>,
    MapWriter, MapReader, MapView, MapTransaction, MapChange<K, V>, "the map"
);
collection!(
    SortedMap<K: Key, V: Value>, SortedMapState<K, V>,
    SortedMapWriter, SortedMapReader, SortedMapView, SortedMapTransaction,
    MapChange<K, V, SortedMapView<K, V>>, "the sorted map"
);

/// What both kinds of maps do alike.
macro_rules! map {
    ($Writer:ident, $Reader:ident, $View:ident) => {
        impl<K: Key, V: Value> $Reader<K, V> {
            /// The value at a key; a clone.
            pub fn get(&self, key: &K) -> Option<V> {
                self.0
                    .look(|map| map.get(key).map(|value| value.value().clone()))
            }

            /// Whether there is a value at a key.
            pub fn contains_key(&self, key: &K) -> bool {
                self.0.look(|map| map.contains_key(key))
            }

            /// When the value at a key [comes to its end](MapWriter::insert_for), by the group's clock. `None` if it
            /// does not, or there is none.
            pub fn expires_at(&self, key: &K) -> Option<SystemTime> {
                self.0.look(|map| map.end_of(key)).and_then(moment)
            }

            /// Number of keys.
            pub fn len(&self) -> usize {
                self.0.look(|map| map.len())
            }

            /// Whether there are no keys.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// All entries, in the map's own order; clones. See [`view`](Self::view) for what borrows, and for other
            /// orders.
            pub fn iter(&self) -> std::vec::IntoIter<(K, V)> {
                self.collect(|(key, value)| (key.clone(), value.clone()))
            }

            /// All keys, in the map's own order; clones.
            pub fn keys(&self) -> std::vec::IntoIter<K> {
                self.collect(|(key, _)| key.clone())
            }

            /// All values, in the order of [`keys`](Self::keys); clones.
            pub fn values(&self) -> std::vec::IntoIter<V> {
                self.collect(|(_, value)| value.clone())
            }

            fn collect<T>(&self, item: impl Fn((&K, &V)) -> T) -> std::vec::IntoIter<T> {
                let items: Vec<T> = self.view().iter().map(item).collect();
                items.into_iter()
            }
        }

        impl<K: Key, V: Value> $Writer<K, V> {
            /// Puts a value at a key; returns the one that was there.
            ///
            /// # Errors
            /// See [`GroupError`]; after [`GroupError::Timeout`] the write is still under way.
            pub fn insert(
                &self,
                key: K,
                value: V,
            ) -> impl Future<Output = Result<Option<V>, GroupError>> + Send + use<K, V> {
                self.old(&MapWrite::Insert(key, value))
            }

            /// Puts a value at a key for some time; returns the one that was there.
            ///
            /// It is there for as long as the group's clock says, not less, and then removed by the next command of the
            /// store, whichever that is. If there is none the leader sends one, at once if it is idle; where very much
            /// ends together, 4,096 keys go with each. Until then it can be read; a transaction that has read it is not
            /// applied after that. Whatever else is put at the key is there for ever, or for a time of its own.
            ///
            /// The group's clock is the wall clock of the leader, and never goes back. A leader whose clock is more than
            /// 10 s off the median of the voters' is not followed in that: time stands still until there is another one,
            /// and jumps then; of one or two voters none can be told to be off. It goes on while there is no quorum.
            ///
            /// # Errors
            /// As [`insert`](Self::insert).
            pub fn insert_for(
                &self,
                key: K,
                value: V,
                time: Duration,
            ) -> impl Future<Output = Result<Option<V>, GroupError>> + Send + use<K, V> {
                self.old(&MapWrite::InsertFor(key, value, millis(time)))
            }

            /// Removes a key; returns the value that was there.
            ///
            /// # Errors
            /// As [`insert`](Self::insert).
            pub fn remove(
                &self,
                key: K,
            ) -> impl Future<Output = Result<Option<V>, GroupError>> + Send + use<K, V> {
                self.old(&MapWrite::Remove(key))
            }

            /// Puts `new` at a key if `current` is there, compared by value; `None` stands for no value. Returns what
            /// was there: as `Ok` if it was exchanged, as `Err` if it was something else.
            ///
            /// # Errors
            /// As [`insert`](Self::insert). The [outcome](crate::groups::Pending::outcome) of what has timed out is of the
            /// inner type, and [`GroupError::Contended`] if it has to be tried again: then nothing was written.
            pub fn compare_exchange(
                &self,
                key: K,
                current: Option<V>,
                new: Option<V>,
            ) -> impl Future<Output = Result<Result<Option<V>, Option<V>>, GroupError>> + Send + use<K, V>
            where
                V: PartialEq,
            {
                let this = self.clone();
                async move {
                    let guess = |map: &_, origin| {
                        exchange::guess(MapState::get(map, &key), origin, current.as_ref())
                    };
                    let guess = this.0.0.look_at(guess);
                    let exchange = |guess| this.exchange(&key, guess, &new);
                    this.0.0.exchange_value(guess, current, exchange).await
                }
            }

            /// Puts what `update` makes of the value at a key there, `None` for no value; returns that. Calls
            /// `update` again if somebody else has changed the value meanwhile, as often as somebody is faster.
            ///
            /// # Errors
            /// As [`compare_exchange`](Self::compare_exchange).
            pub fn update<F>(
                &self,
                key: K,
                mut update: F,
            ) -> impl Future<Output = Result<Option<V>, GroupError>> + Send + use<K, V, F>
            where
                F: FnMut(Option<&V>) -> Option<V> + Send,
            {
                let this = self.clone();
                async move {
                    let first = this.0.0.look_at(|map, origin| {
                        let value = map.get(&key);
                        let mark = exchange::mark(value, origin);
                        (mark, update(value.map(Shared::value)))
                    });
                    let exchange = |seen, new: &_| this.exchange(&key, seen, new);
                    this.0.0.update_value(first, update, exchange).await
                }
            }

            /// Puts values at keys, all together; returns how many of the keys were not there.
            ///
            /// # Errors
            /// As [`insert`](Self::insert); [`GroupError::TooLarge`] for an item over 4 MiB, and for what is over 16 MiB.
            pub fn extend<I: IntoIterator<Item = (K, V)>>(
                &self,
                entries: I,
            ) -> BoxFuture<'static, Result<u64, GroupError>> {
                self.count(&MapWrite::Extend(entries.into_iter().collect())).boxed()
            }

            /// Removes keys, all together; returns how many of them were there.
            ///
            /// # Errors
            /// As [`extend`](Self::extend).
            pub fn remove_many<I: IntoIterator<Item = K>>(
                &self,
                keys: I,
            ) -> BoxFuture<'static, Result<u64, GroupError>> {
                self.count(&MapWrite::RemoveMany(keys.into_iter().collect())).boxed()
            }

            /// Removes the keys in a range; returns how many there were.
            ///
            /// # Errors
            /// As [`insert`](Self::insert).
            pub fn remove_range<B: RangeBounds<K>>(
                &self,
                range: B,
            ) -> BoxFuture<'static, Result<u64, GroupError>> {
                self.count(&MapWrite::RemoveRange(span(&range))).boxed()
            }

            /// Removes the keys outside a range; returns how many there were.
            ///
            /// # Errors
            /// As [`insert`](Self::insert).
            pub fn retain_range<B: RangeBounds<K>>(
                &self,
                range: B,
            ) -> BoxFuture<'static, Result<u64, GroupError>> {
                self.count(&MapWrite::RetainRange(span(&range))).boxed()
            }

            /// Removes all keys; returns how many there were.
            ///
            /// # Errors
            /// As [`insert`](Self::insert).
            pub fn clear(
                &self,
            ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<K, V> {
                self.count(&MapWrite::Clear)
            }

            fn exchange(
                &self,
                key: &K,
                current: Option<Mark>,
                new: &Option<V>,
            ) -> impl Future<Output = Result<Exchanged<V>, GroupError>> + Send + use<K, V> {
                let (key, new) = (key.clone(), new.clone());
                let write = MapWrite::CompareExchange { key, current, new };
                self.0.0.write(&write, |answer| match answer {
                    MapWrote::Exchanged(exchanged) => Some(exchanged),
                    _ => None,
                })
            }

            fn old(
                &self,
                write: &MapWrite<K, V>,
            ) -> impl Future<Output = Result<Option<V>, GroupError>> + Send + use<K, V> {
                self.0.0.write(write, |answer| match answer {
                    MapWrote::Old(old) => Some(old),
                    _ => None,
                })
            }

            fn count(
                &self,
                write: &MapWrite<K, V>,
            ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<K, V> {
                self.0.0.write(write, |answer| match answer {
                    MapWrote::Count(count) => Some(count),
                    _ => None,
                })
            }
        }

        impl<K: Key, V: Value> $View<K, V> {
            /// The value at a key.
            pub fn get(&self, key: &K) -> Option<&V> {
                self.0.get(key).map(Shared::value)
            }

            /// Whether there is a value at a key.
            pub fn contains_key(&self, key: &K) -> bool {
                self.0.contains_key(key)
            }

            /// When the value at a key [comes to its end](MapWriter::insert_for), by the group's clock. `None` if it
            /// does not, or there is none.
            pub fn expires_at(&self, key: &K) -> Option<SystemTime> {
                self.0.end_of(key).and_then(moment)
            }

            /// Number of keys.
            pub fn len(&self) -> usize {
                self.0.len()
            }

            /// Whether there are no keys.
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }

            /// All entries, in the map's own order.
            pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
                self.0.iter().map(|(key, value)| (key, value.value()))
            }

            /// All keys, in the map's own order.
            pub fn keys(&self) -> impl Iterator<Item = &K> {
                self.iter().map(|(key, _)| key)
            }

            /// All values, in the order of [`keys`](Self::keys).
            pub fn values(&self) -> impl Iterator<Item = &V> {
                self.iter().map(|(_, value)| value)
            }

            /// All entries, by ascending key.
            pub fn ascending(&self) -> impl ExactSizeIterator<Item = (&K, &V)> {
                self.0.ascending().map(|(key, value)| (key, value.value()))
            }
        }

        impl<K, V> Clone for $View<K, V> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<K: Key + fmt::Debug, V: Value + fmt::Debug> fmt::Debug for $View<K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_map().entries(self.ascending()).finish()
            }
        }
    };
}

map!(MapWriter, MapReader, MapView);
map!(SortedMapWriter, SortedMapReader, SortedMapView);

impl<K: Key, V: Value> SortedMapReader<K, V> {
    /// The entry with the least key; a clone.
    pub fn first(&self) -> Option<(K, V)> {
        self.0.look(|map| map.first().map(cloned))
    }

    /// The entry with the greatest key; a clone.
    pub fn last(&self) -> Option<(K, V)> {
        self.0.look(|map| map.last().map(cloned))
    }

    /// The entries in a range of keys, ascending, from either end; clones. See [`view`](Self::view) for what borrows.
    pub fn range(&self, range: impl RangeBounds<K>) -> std::vec::IntoIter<(K, V)> {
        let (start, end) = span(&range);
        let entries: Vec<_> = self.0.look(|map| {
            let entries = map.range((start.as_ref(), end.as_ref()));
            entries.map(cloned).collect()
        });
        entries.into_iter()
    }
}

impl<K: Key, V: Value> SortedMapView<K, V> {
    /// The entries in a range of keys, ascending, from either end.
    pub fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let (start, end) = span(&range);
        self.0
            .range((start.as_ref(), end.as_ref()))
            .map(|(key, value)| (key, value.value()))
    }

    /// The entry with the least key.
    pub fn first(&self) -> Option<(&K, &V)> {
        self.0.first().map(|(key, value)| (key, value.value()))
    }

    /// The entry with the greatest key.
    pub fn last(&self) -> Option<(&K, &V)> {
        self.0.last().map(|(key, value)| (key, value.value()))
    }
}

fn cloned<K: Clone, V: Clone>((key, value): (&K, &Shared<V>)) -> (K, V) {
    (key.clone(), value.value().clone())
}

/// A duration in milliseconds, as it is sent; what is not whole counts as one more.
pub(super) fn millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// A moment of the group's clock; `None` if it is too far off to be told.
pub(super) fn moment(millis: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}

/// A range, as it is sent.
pub(super) fn span<K: Clone>(range: &impl RangeBounds<K>) -> Span<K> {
    let owned = |bound: Bound<&K>| bound.cloned();
    (owned(range.start_bound()), owned(range.end_bound()))
}
