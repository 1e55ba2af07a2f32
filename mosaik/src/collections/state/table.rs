//! Persistent tables, which maps, sets and queues are made of: one by hash, one by order.

use std::{
    hash::Hash,
    ops::{Bound, RangeBounds},
};

use imbl::{GenericOrdMap, shared_ptr::ArcK};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(crate) use super::hashed::{AHEAD, Hashed};

/// A table by order.
pub(crate) type Sorted<K, T> = GenericOrdMap<K, T, ArcK>;

/// A range of keys as it travels; one that ends before it begins is empty.
pub(crate) type Span<K> = (Bound<K>, Bound<K>);

/// The kind of a table by hash.
#[derive(Debug, Serialize, Deserialize)]
pub struct ByHash;

/// The kind of a table by order.
#[derive(Debug, Serialize, Deserialize)]
pub struct ByOrder;

/// A persistent table: what the two have in common.
pub trait Table<K, T>: Clone + Default + Send + Sync + 'static {
    /// What tells it from tables of other kinds, where layouts are compared.
    type Kind: Serialize + DeserializeOwned;

    /// What stands at a key.
    fn get(&self, key: &K) -> Option<&T>;
    /// Puts `item` at a key, and the key in the place of one that is equal; returns what stood there.
    fn insert(&mut self, key: K, item: T) -> Option<T>;
    /// Removes what stands at a key, and returns it.
    fn remove(&mut self, key: &K) -> Option<T>;
    /// Reads what lies on the way to keys that are about to be written, where that is worth it; changes nothing.
    fn read_ahead(&self, keys: &[K]);
    /// Number of keys.
    fn len(&self) -> usize;
    /// All keys, in the table's own order.
    fn iter<'a>(&'a self) -> impl Iterator<Item = (&'a K, &'a T)>
    where
        K: 'a,
        T: 'a;
    /// All keys, ascending.
    fn ascending<'a>(&'a self) -> impl ExactSizeIterator<Item = (&'a K, &'a T)>
    where
        K: 'a,
        T: 'a;
    /// Copies of the keys in a range, ascending.
    fn keys_in(&self, span: &Span<K>) -> Vec<K>;
    /// Copies of the keys outside a range, ascending.
    fn keys_outside(&self, span: &Span<K>) -> Vec<K>;
}

impl<K, T> Table<K, T> for Hashed<K, T>
where
    K: Ord + Hash + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Kind = ByHash;

    fn get(&self, key: &K) -> Option<&T> {
        Hashed::get(self, key)
    }

    fn insert(&mut self, key: K, item: T) -> Option<T> {
        Hashed::insert(self, key, item)
    }

    fn remove(&mut self, key: &K) -> Option<T> {
        Hashed::remove(self, key)
    }

    fn read_ahead(&self, keys: &[K]) {
        Hashed::read_ahead(self, keys);
    }

    fn len(&self) -> usize {
        Hashed::len(self)
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = (&'a K, &'a T)>
    where
        K: 'a,
        T: 'a,
    {
        Hashed::iter(self)
    }

    fn ascending<'a>(&'a self) -> impl ExactSizeIterator<Item = (&'a K, &'a T)>
    where
        K: 'a,
        T: 'a,
    {
        let mut items: Vec<_> = Hashed::iter(self).collect();
        items.sort_unstable_by_key(|(key, _)| *key);
        items.into_iter()
    }

    fn keys_in(&self, span: &Span<K>) -> Vec<K> {
        sorted(Hashed::keys(self).filter(|key| span.contains(*key)))
    }

    fn keys_outside(&self, span: &Span<K>) -> Vec<K> {
        sorted(Hashed::keys(self).filter(|key| !span.contains(*key)))
    }
}

impl<K, T> Table<K, T> for Sorted<K, T>
where
    K: Ord + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Kind = ByOrder;

    fn get(&self, key: &K) -> Option<&T> {
        Sorted::get(self, key)
    }

    fn insert(&mut self, key: K, item: T) -> Option<T> {
        Sorted::insert(self, key, item)
    }

    fn remove(&mut self, key: &K) -> Option<T> {
        Sorted::remove(self, key)
    }

    /// Its nodes are found only by comparing keys in the one before.
    fn read_ahead(&self, _: &[K]) {}

    fn len(&self) -> usize {
        Sorted::len(self)
    }

    fn iter<'a>(&'a self) -> impl Iterator<Item = (&'a K, &'a T)>
    where
        K: 'a,
        T: 'a,
    {
        Sorted::iter(self)
    }

    fn ascending<'a>(&'a self) -> impl ExactSizeIterator<Item = (&'a K, &'a T)>
    where
        K: 'a,
        T: 'a,
    {
        Sorted::iter(self)
    }

    fn keys_in(&self, span: &Span<K>) -> Vec<K> {
        range(self, as_ref(span))
            .map(|(key, _)| key.clone())
            .collect()
    }

    fn keys_outside(&self, span: &Span<K>) -> Vec<K> {
        let outside = Sorted::keys(self).filter(|key| !span.contains(*key));
        outside.cloned().collect()
    }
}

/// The items of a range, ascending; none if the range ends before it begins.
pub(crate) fn range<'a, K: Ord, T>(
    table: &'a Sorted<K, T>,
    span: Span<&K>,
) -> impl DoubleEndedIterator<Item = (&'a K, &'a T)> + use<'a, K, T> {
    // What imbl does with a range that ends before it begins is nowhere said.
    let items = (!is_empty(&span)).then(|| table.range::<_, K>(span));
    items.into_iter().flatten()
}

/// The range of references.
pub(crate) fn as_ref<K>((start, end): &Span<K>) -> Span<&K> {
    (start.as_ref(), end.as_ref())
}

fn is_empty<K: Ord>(span: &Span<K>) -> bool {
    match span {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
        _ => false,
    }
}

fn sorted<'a, K: Ord + Clone + 'a>(keys: impl Iterator<Item = &'a K>) -> Vec<K> {
    let mut keys: Vec<K> = keys.cloned().collect();
    keys.sort_unstable();
    keys
}
