//! The replicated set.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, RangeBounds},
    sync::Arc,
};

use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};

use super::{
    Builder, Key,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    map::span,
    state::State,
    state::set::{self as state, SetState, SetWrite, SetWrote},
    store::Store,
    transaction::{Draft, Outcome, SetTransaction, transact_alone},
};
use crate::groups::{GroupError, Groups, Version};

/// A replicated set, beside [`HashSet`](std::collections::HashSet): elements in no order, each once.
///
/// Reads are of this node's own copy: at once, without a lock, and possibly stale. Writes are commands of the store's
/// group: acknowledged once a majority has them, applied exactly once, and visible here when they return.
///
/// | method | here | on the wire |
/// |---|---|---|
/// | `contains` | O(1) | nothing |
/// | `len`, `is_empty`, `view` | O(1) | nothing |
/// | `insert`, `remove` | O(1) | the element |
/// | `extend`, `remove_many` | O(elements) | the elements, one entry |
/// | `remove_range`, `retain_range` | O(size of the set) | two elements |
/// | `iter` | O(n) | nothing |
/// | `union`, `intersection`, … of views | O(n) | nothing |
///
/// # Example
/// ```no_run
/// use mosaik::collections::Set;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let venues = Set::<String>::writer(&network, "venues");
/// venues.when().online().await;
/// assert!(venues.insert("XETR".into()).await?);
/// assert!(venues.contains(&"XETR".into()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Set<T>(PhantomData<fn() -> T>);

/// A handle that reads and writes a [`Set`]. It reads as a [`SetReader`] does. Clones are the same set.
pub struct SetWriter<T>(SetReader<T>);

/// A handle that reads a [`Set`]. Clones are the same set.
pub struct SetReader<T>(Handle<SetState<T>, state::SetChange<T>>);

/// A [`Set`] as it was at one moment: whatever is written later does not show in it. Clones cost nothing.
pub struct SetView<T>(Arc<SetState<T>>);

/// What happens to a [`Set`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SetChange<T, W = SetView<T>> {
    /// This is the whole set: what was held of it before counts no longer. The first change of a feed, unless it goes on
    /// from a version, and the next where it is so far behind that changes are missing.
    Reset(W),
    /// An element is there.
    Inserted(T),
    /// An element is gone.
    Removed(T),
    /// All elements are gone.
    Cleared,
}

impl<T, W> SetChange<T, W> {
    fn reset(view: W) -> Self {
        Self::Reset(view)
    }

    fn of(change: state::SetChange<T>) -> Self {
        match change {
            state::SetChange::Inserted(element) => Self::Inserted(element),
            state::SetChange::Removed(element) => Self::Removed(element),
            state::SetChange::Cleared => Self::Cleared,
        }
    }
}

collection!(
    Set<T: Key>, SetState<T>,
    SetWriter, SetReader, SetView, SetTransaction, SetChange<T>, "the set"
);

impl<T: Key> SetReader<T> {
    /// Whether an element is there.
    pub fn contains(&self, element: &T) -> bool {
        self.0.look(|set| set.contains(element))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.look(SetState::len)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements, in no order; clones. See [`view`](Self::view) for what borrows, and for their order.
    pub fn iter(&self) -> std::vec::IntoIter<T> {
        let elements: Vec<T> = self.view().iter().cloned().collect();
        elements.into_iter()
    }
}

impl<T: Key> SetWriter<T> {
    /// Inserts an element; returns whether it was not there.
    ///
    /// # Errors
    /// See [`GroupError`]; after [`GroupError::Timeout`] the write is still under way.
    pub fn insert(
        &self,
        element: T,
    ) -> impl Future<Output = Result<bool, GroupError>> + Send + use<T> {
        self.did(&SetWrite::Insert(element))
    }

    /// Removes an element; returns whether it was there.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove(
        &self,
        element: T,
    ) -> impl Future<Output = Result<bool, GroupError>> + Send + use<T> {
        self.did(&SetWrite::Remove(element))
    }

    /// Inserts elements, all together; returns how many of them were not there.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); [`GroupError::TooLarge`] for an item over 4 MiB, and for what is over 16 MiB.
    pub fn extend<I: IntoIterator<Item = T>>(
        &self,
        elements: I,
    ) -> BoxFuture<'static, Result<u64, GroupError>> {
        self.count(&SetWrite::Extend(elements.into_iter().collect()))
            .boxed()
    }

    /// Removes elements, all together; returns how many of them were there.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn remove_many<I: IntoIterator<Item = T>>(
        &self,
        elements: I,
    ) -> BoxFuture<'static, Result<u64, GroupError>> {
        self.count(&SetWrite::RemoveMany(elements.into_iter().collect()))
            .boxed()
    }

    /// Removes the elements in a range; returns how many there were.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove_range<B: RangeBounds<T>>(
        &self,
        range: B,
    ) -> BoxFuture<'static, Result<u64, GroupError>> {
        self.count(&SetWrite::RemoveRange(span(&range))).boxed()
    }

    /// Removes the elements outside a range; returns how many there were.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn retain_range<B: RangeBounds<T>>(
        &self,
        range: B,
    ) -> BoxFuture<'static, Result<u64, GroupError>> {
        self.count(&SetWrite::RetainRange(span(&range))).boxed()
    }

    /// Removes all elements; returns how many there were.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn clear(&self) -> impl Future<Output = Result<u64, GroupError>> + Send + use<T> {
        self.count(&SetWrite::Clear)
    }

    fn did(
        &self,
        write: &SetWrite<T>,
    ) -> impl Future<Output = Result<bool, GroupError>> + Send + use<T> {
        self.0.0.write(write, |answer| match answer {
            SetWrote::Did(did) => Some(did),
            SetWrote::Count(_) => None,
        })
    }

    fn count(
        &self,
        write: &SetWrite<T>,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<T> {
        self.0.0.write(write, |answer| match answer {
            SetWrote::Count(count) => Some(count),
            SetWrote::Did(_) => None,
        })
    }
}

impl<T: Key> SetView<T> {
    /// Whether an element is there.
    pub fn contains(&self, element: &T) -> bool {
        self.0.contains(element)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All elements, in no order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.iter()
    }

    /// All elements, ascending.
    pub fn ascending(&self) -> impl ExactSizeIterator<Item = &T> {
        self.0.ascending()
    }

    /// The elements of both, each once.
    pub fn union<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        self.iter().chain(other.difference(self))
    }

    /// The elements that are in both.
    pub fn intersection<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        self.iter().filter(|element| other.contains(element))
    }

    /// The elements that are here and not in the other.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        self.iter().filter(|element| !other.contains(element))
    }

    /// The elements that are in one of the two only.
    pub fn symmetric_difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        self.difference(other).chain(other.difference(self))
    }

    /// Whether all elements are in the other too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.len() <= other.len() && self.iter().all(|element| other.contains(element))
    }

    /// Whether all elements of the other are here too.
    pub fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }

    /// Whether no element is in both.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.intersection(other).next().is_none()
    }
}

impl<T> Clone for SetView<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Key + fmt::Debug> fmt::Debug for SetView<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.ascending()).finish()
    }
}
