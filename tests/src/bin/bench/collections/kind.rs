//! The kinds of maps, each beside its counterpart in std, and what they hold.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    ops::Deref,
};

use anyhow::ensure;
use bytes::Bytes;
use mosaik::{
    Network,
    collections::{Map, MapReader, MapWriter, SortedMap, SortedMapReader, SortedMapWriter, Store},
    groups::GroupError,
};

/// Bytes of a key.
pub(super) const KEY: usize = size_of::<u64>();
/// Bytes of a value.
pub(super) const SIZE: usize = 100;

/// A kind of map.
pub(super) trait Kind: 'static {
    /// What it is called.
    const NAME: &'static str;
    /// What its counterpart is called.
    const STD: &'static str;
    /// Its counterpart.
    type Std: Default + Extend<(u64, Bytes)> + Send + Sync + 'static;
    /// A handle that reads and writes it.
    type Writer: Clone + Send + Sync + Deref<Target = Self::Reader> + 'static;
    /// A handle that reads it.
    type Reader: Clone + Send + Sync + Deref<Target = Store> + 'static;

    /// Takes part as one of so many founders.
    fn writer(network: &Network, founders: usize) -> Self::Writer;
    /// Follows what so many have founded.
    fn reader(network: &Network, founders: usize) -> Self::Reader;

    /// Puts a value at a key.
    fn insert(
        writer: &Self::Writer,
        key: u64,
        value: Bytes,
    ) -> impl Future<Output = Result<Option<Bytes>, GroupError>> + Send;
    /// Puts values at keys, all together.
    fn extend(
        writer: &Self::Writer,
        entries: Vec<(u64, Bytes)>,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send;
    /// Removes all.
    fn clear(writer: &Self::Writer) -> impl Future<Output = Result<u64, GroupError>> + Send;

    /// Number of keys.
    fn len(reader: &Self::Reader) -> usize;
    /// The value at a key.
    fn get(reader: &Self::Reader, key: u64) -> Option<Bytes>;
    /// Looks at all entries.
    fn each(reader: &Self::Reader, look: impl FnMut(u64, &Bytes));

    /// The value at a key of the counterpart.
    fn std_get(map: &Self::Std, key: u64) -> Option<Bytes>;
    /// Looks at all entries of the counterpart.
    fn std_each(map: &Self::Std, look: impl FnMut(u64, &Bytes));
}

/// By hash.
pub(super) enum Hashed {}

/// By order.
pub(super) enum Sorted {}

macro_rules! kind {
    ($Kind:ident, $Map:ident, $Writer:ident, $Reader:ident, $Std:ident) => {
        impl Kind for $Kind {
            const NAME: &'static str = stringify!($Map);
            const STD: &'static str = concat!("std ", stringify!($Std));
            type Std = $Std<u64, Bytes>;
            type Writer = $Writer<u64, Bytes>;
            type Reader = $Reader<u64, Bytes>;

            fn writer(network: &Network, founders: usize) -> Self::Writer {
                let builder = $Map::builder(network, Self::NAME);
                builder.founders(founders).writer()
            }

            fn reader(network: &Network, founders: usize) -> Self::Reader {
                let builder = $Map::builder(network, Self::NAME);
                builder.founders(founders).reader()
            }

            fn insert(
                writer: &Self::Writer,
                key: u64,
                value: Bytes,
            ) -> impl Future<Output = Result<Option<Bytes>, GroupError>> + Send {
                writer.insert(key, value)
            }

            fn extend(
                writer: &Self::Writer,
                entries: Vec<(u64, Bytes)>,
            ) -> impl Future<Output = Result<u64, GroupError>> + Send {
                writer.extend(entries)
            }

            fn clear(
                writer: &Self::Writer,
            ) -> impl Future<Output = Result<u64, GroupError>> + Send {
                writer.clear()
            }

            fn len(reader: &Self::Reader) -> usize {
                reader.len()
            }

            fn get(reader: &Self::Reader, key: u64) -> Option<Bytes> {
                reader.get(&key)
            }

            fn each(reader: &Self::Reader, mut look: impl FnMut(u64, &Bytes)) {
                for (key, value) in reader.view().iter() {
                    look(*key, value);
                }
            }

            fn std_get(map: &Self::Std, key: u64) -> Option<Bytes> {
                map.get(&key).cloned()
            }

            fn std_each(map: &Self::Std, mut look: impl FnMut(u64, &Bytes)) {
                for (key, value) in map {
                    look(*key, value);
                }
            }
        }
    };
}

kind!(Hashed, Map, MapWriter, MapReader, HashMap);
kind!(
    Sorted,
    SortedMap,
    SortedMapWriter,
    SortedMapReader,
    BTreeMap
);

/// The entries with these keys.
pub(super) fn entries(keys: impl IntoIterator<Item = u64>) -> Vec<(u64, Bytes)> {
    keys.into_iter().map(|key| (key, value(key))).collect()
}

/// The value of a key.
pub(super) fn value(key: u64) -> Bytes {
    let mut value = vec![7; SIZE];
    let (number, _) = value.split_at_mut(KEY);
    number.copy_from_slice(&key.to_le_bytes());
    value.into()
}

/// Whether a value begins as that of a key does: enough to see where it does not belong.
pub(super) fn belongs(value: &Bytes, key: u64) -> bool {
    value.starts_with(&key.to_le_bytes())
}

/// Checks that a map holds so many entries, numbered from 0, and nothing else.
pub(super) fn check<K: Kind>(reader: &K::Reader, expected: u64) -> anyhow::Result<()> {
    let (mut count, mut wrong) = (0, vec![]);
    K::each(reader, |key, held| {
        count += 1;
        if key >= expected || *held != value(key) {
            wrong.push(key);
        }
    });
    ensure!(wrong.is_empty(), "wrong at the keys {wrong:?}");
    ensure!(
        count == expected,
        "{count} entries, {expected} acknowledged"
    );
    Ok(())
}
