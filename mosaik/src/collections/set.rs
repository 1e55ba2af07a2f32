//! The replicated set.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, RangeBounds},
    sync::Arc,
};

use super::{
    Builder, Key,
    handle::{Handle, collection, enter},
    map::span,
    state::set::{SetState, SetWrite, SetWrote},
};
use crate::groups::{Events, GroupError, GroupExplanation, Groups, Version, When};

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
/// | `elements` | O(n log n) | nothing |
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
pub struct SetReader<T>(Handle<SetState<T>>);

/// A [`Set`] as it was at one moment: whatever is written later does not show in it. Clones cost nothing.
pub struct SetView<T>(Arc<SetState<T>>);

collection!(Set<T: Key>, SetWriter, SetReader, "the set");

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

    /// The set as it is now, to be looked at for as long as is wanted, without any copy.
    pub fn view(&self) -> SetView<T> {
        SetView(self.0.view())
    }

    /// All elements, ascending; clones. See [`view`](Self::view) for what borrows.
    pub fn elements(&self) -> Vec<T> {
        self.view().ascending().cloned().collect()
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
    /// As [`insert`](Self::insert); [`GroupError::TooLarge`] for what is over 16 MiB.
    pub fn extend<I: IntoIterator<Item = T>>(
        &self,
        elements: I,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<I, T> {
        self.count(&SetWrite::Extend(elements.into_iter().collect()))
    }

    /// Removes elements, all together; returns how many of them were there.
    ///
    /// # Errors
    /// As [`extend`](Self::extend).
    pub fn remove_many<I: IntoIterator<Item = T>>(
        &self,
        elements: I,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<I, T> {
        self.count(&SetWrite::RemoveMany(elements.into_iter().collect()))
    }

    /// Removes the elements in a range; returns how many there were.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn remove_range<B: RangeBounds<T>>(
        &self,
        range: B,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<B, T> {
        self.count(&SetWrite::RemoveRange(span(&range)))
    }

    /// Removes the elements outside a range; returns how many there were.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn retain_range<B: RangeBounds<T>>(
        &self,
        range: B,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<B, T> {
        self.count(&SetWrite::RetainRange(span(&range)))
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
