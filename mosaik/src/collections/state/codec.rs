//! How states are written to snapshots, and checked when they are read from them.
//!
//! Both ways go item by item: neither holds a second copy of a collection in memory, and no length that is read is
//! believed before its items have come.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::stamp::Stamp;
use crate::wire;

/// Bytes of the largest of these, encoded; what cannot be encoded counts as too large.
pub(crate) fn largest<T: Serialize>(items: &[T]) -> usize {
    let len = |item: &T| wire::encode(item).map_or(usize::MAX, |encoded| encoded.len());
    items.iter().map(len).max().unwrap_or(0)
}

/// Encodes as the sequence of the items that the function's iterators yield.
pub(crate) struct Each<F>(pub(crate) F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: ExactSizeIterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// Something that is built from the items of a sequence as they are read.
pub(crate) trait Gather: Default {
    /// What the sequence consists of.
    type Item;

    /// Takes the next item.
    ///
    /// # Errors
    /// When the item cannot follow those before.
    fn gather(&mut self, item: Self::Item) -> Result<(), Unsound>;
}

/// Decodes a sequence of `G`'s items.
pub(crate) struct Gathered<G>(pub(crate) G);

impl<'de, G: Gather> Deserialize<'de> for Gathered<G>
where
    G::Item: Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<G>(PhantomData<G>);
        impl<'de, G: Gather> de::Visitor<'de> for Items<G>
        where
            G::Item: Deserialize<'de>,
        {
            type Value = Gathered<G>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the items of a collection")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Gathered<G>, A::Error> {
                let mut gathered = G::default();
                while let Some(item) = seq.next_element()? {
                    gathered.gather(item).map_err(de::Error::custom)?;
                }
                Ok(Gathered(gathered))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Checks that keys ascend.
pub(crate) struct Ascending<K> {
    last: Option<K>,
}

impl<K: Ord + Clone> Ascending<K> {
    /// Checks the next key.
    ///
    /// # Errors
    /// When it is not greater than the last one.
    pub(crate) fn check(&mut self, key: &K) -> Result<(), Unsound> {
        if self.last.as_ref().is_some_and(|last| last >= key) {
            return Err(Unsound::Disordered);
        }
        self.last = Some(key.clone());
        Ok(())
    }
}

impl<K> Default for Ascending<K> {
    fn default() -> Self {
        Self { last: None }
    }
}

/// Checks that stamps mark something, and remembers the greatest.
#[derive(Default)]
pub(crate) struct Newest(Stamp);

impl Newest {
    /// Checks the next stamp.
    ///
    /// # Errors
    /// When it is none that is ever given out.
    pub(crate) fn check(&mut self, stamp: Stamp) -> Result<(), Unsound> {
        if stamp == Stamp::NEVER || stamp == Stamp::MAX {
            return Err(Unsound::Stamps);
        }
        self.0 = self.0.max(stamp);
        Ok(())
    }

    /// Checks that a collection changed last when its newest value was written, or later.
    ///
    /// # Errors
    /// When it did not.
    pub(crate) fn check_changed(&self, changed: Stamp) -> Result<(), Unsound> {
        if changed < self.0 || changed == Stamp::MAX {
            return Err(Unsound::Stamps);
        }
        Ok(())
    }
}

/// Checks that no stamp stands twice.
///
/// # Errors
/// When one does.
pub(crate) fn check_differ(mut stamps: Vec<Stamp>) -> Result<(), Unsound> {
    stamps.sort_unstable();
    if stamps.is_sorted_by(|one, next| one < next) {
        Ok(())
    } else {
        Err(Unsound::Stamps)
    }
}

/// Why what was decoded is no state: the snapshot is faulty, and another one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Unsound {
    /// Items are not in their order, or stand twice.
    #[error("the items are not in ascending order")]
    Disordered,
    /// A key stands twice.
    #[error("a key stands twice")]
    Repeated,
    /// Stamps stand twice, or are newer than the last change.
    #[error("the stamps contradict each other")]
    Stamps,
    /// What is not there comes to an end, or something does so twice, or not in its turn.
    #[error("the deadlines contradict the entries")]
    Deadlines,
    /// A lock is held with a token that is not the last one.
    #[error("the holder's token is not the last that was given out")]
    Token,
    /// There are more items than the collection's limit.
    #[error("there are more items than the limit allows")]
    OverLimit,
}
