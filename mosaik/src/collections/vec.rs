//! The replicated vector.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Bound, Deref, RangeBounds},
    sync::Arc,
};

use futures::{FutureExt as _, future::BoxFuture, stream::BoxStream};

use super::{
    Builder, Value,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    state::State,
    state::{
        shared::Shared,
        vec::{self as state, OutOfBounds, VecState, VecWrite, VecWrote},
    },
    store::Store,
    transaction::{Draft, Outcome, VecTransaction, transact_alone},
};
use crate::groups::{GroupError, Groups, Version};

/// A replicated vector, beside [`Vec`](std::vec::Vec) and [`VecDeque`](std::collections::VecDeque): elements in a row,
/// which both ends can grow and shrink.
///
/// Reads are of this node's own copy: at once, without a lock, and possibly stale. Writes are commands of the store's
/// group: acknowledged once a majority has them, applied exactly once, and visible here when they return. Others may
/// write in between: an index that is computed here may mean another element when it is used.
///
/// | method | here | on the wire |
/// |---|---|---|
/// | `get`, `front`, `back` | O(log n) | nothing |
/// | `len`, `is_empty`, `view` | O(1) | nothing |
/// | `push_back`, `push_front`, `pop_back`, `pop_front` | O(1) | the element |
/// | `set`, `swap`, `truncate` | O(log n) | an index, and the element |
/// | `insert`, `remove` | O(log n), but slow: 0.1 ms at 100,000 elements | an index, and the element |
/// | `extend` | O(elements) | the elements, one entry |
/// | `index_of`, `iter` | O(n) | nothing |
///
/// # Example
/// ```no_run
/// use mosaik::collections::Vec;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let trades = Vec::<u64>::writer(&network, "trades");
/// trades.when().online().await;
/// trades.extend([1, 2, 3]).await?;
/// assert_eq!(trades.pop_front().await?, Some(1));
/// assert_eq!(trades.get(0), Some(2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Vec<T>(PhantomData<fn() -> T>);

/// A handle that reads and writes a [`Vec`]. It reads as a [`VecReader`] does. Clones are the same vector.
pub struct VecWriter<T>(VecReader<T>);

/// A handle that reads a [`Vec`]. Clones are the same vector.
pub struct VecReader<T>(Handle<VecState<T>, state::VecChange<T>>);

/// A [`Vec`] as it was at one moment: whatever is written later does not show in it. Clones cost nothing.
pub struct VecView<T>(Arc<VecState<T>>);

/// What happens to a [`Vec`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum VecChange<T, W = VecView<T>> {
    /// This is the whole vector: what was held of it before counts no longer. The first change of a feed, unless it goes
    /// on from a version, and the next where it is so far behind that changes are missing.
    Reset(W),
    /// There is a new element at an index; those from there on have moved up.
    Inserted {
        /// The index, at most the length before.
        index: usize,
        /// The element.
        value: T,
    },
    /// There is another element at an index, which may equal the one before.
    Updated {
        /// The index.
        index: usize,
        /// The element before.
        old: T,
        /// The element.
        new: T,
    },
    /// The element at an index is gone; those behind it have moved down.
    Removed {
        /// The index.
        index: usize,
        /// The element before.
        old: T,
    },
    /// The elements at two different indices have changed places.
    Swapped(usize, usize),
    /// The elements from this index on are gone.
    Truncated(usize),
}

impl<T: Clone, W> VecChange<T, W> {
    fn reset(view: W) -> Self {
        Self::Reset(view)
    }

    fn of(change: state::VecChange<T>) -> Self {
        let owned = |value: Shared<T>| value.value().clone();
        // What is there fits into memory.
        let index = |index: u64| usize::try_from(index).unwrap_or(usize::MAX);
        match change {
            state::VecChange::Inserted { index: at, value } => Self::Inserted {
                index: index(at),
                value: owned(value),
            },
            state::VecChange::Updated {
                index: at,
                old,
                new,
            } => Self::Updated {
                index: index(at),
                old: owned(old),
                new: owned(new),
            },
            state::VecChange::Removed { index: at, old } => Self::Removed {
                index: index(at),
                old: owned(old),
            },
            state::VecChange::Swapped(one, other) => Self::Swapped(index(one), index(other)),
            state::VecChange::Truncated(len) => Self::Truncated(index(len)),
        }
    }
}

collection!(
    Vec<T: Value>, VecState<T>,
    VecWriter, VecReader, VecView, VecTransaction, VecChange<T>, "the vector"
);

impl<T: Value> VecReader<T> {
    /// The element at an index; a clone.
    pub fn get(&self, index: usize) -> Option<T> {
        self.0.look(|vec| vec.get(index as u64).map(cloned))
    }

    /// The first element; a clone.
    pub fn front(&self) -> Option<T> {
        self.0.look(|vec| vec.front().map(cloned))
    }

    /// The last element; a clone.
    pub fn back(&self) -> Option<T> {
        self.0.look(|vec| vec.back().map(cloned))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.look(|vec| vec.iter().len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index of the first element that equals `value`.
    pub fn index_of(&self, value: &T) -> Option<usize>
    where
        T: PartialEq,
    {
        self.0.look(|vec| index_of(vec, value))
    }

    /// All elements; clones. See [`view`](Self::view) for what borrows.
    pub fn iter(&self) -> std::vec::IntoIter<T> {
        let elements: std::vec::Vec<T> = self.view().iter().cloned().collect();
        elements.into_iter()
    }
}

impl<T: Value> VecWriter<T> {
    /// Appends an element.
    ///
    /// # Errors
    /// See [`GroupError`]; after [`GroupError::Timeout`] the write is still under way.
    pub fn push_back(
        &self,
        value: T,
    ) -> impl Future<Output = Result<(), GroupError>> + Send + use<T> {
        self.done(&VecWrite::PushBack(value))
    }

    /// Puts an element in front of all others.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back).
    pub fn push_front(
        &self,
        value: T,
    ) -> impl Future<Output = Result<(), GroupError>> + Send + use<T> {
        self.done(&VecWrite::PushFront(value))
    }

    /// Appends elements, all together.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back); [`GroupError::TooLarge`] for an item over 4 MiB, and for what is over 16 MiB.
    pub fn extend<I: IntoIterator<Item = T>>(
        &self,
        values: I,
    ) -> BoxFuture<'static, Result<(), GroupError>> {
        self.done(&VecWrite::Extend(values.into_iter().collect()))
            .boxed()
    }

    /// Removes the last element, and returns it.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back).
    pub fn pop_back(&self) -> impl Future<Output = Result<Option<T>, GroupError>> + Send + use<T> {
        self.old(&VecWrite::PopBack)
    }

    /// Removes the first element, and returns it.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back).
    pub fn pop_front(&self) -> impl Future<Output = Result<Option<T>, GroupError>> + Send + use<T> {
        self.old(&VecWrite::PopFront)
    }

    /// Puts an element at an index, in front of what is there: at the end if the index is the length.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back). The inner one if the index was over the length when the write was applied.
    pub fn insert(
        &self,
        index: usize,
        value: T,
    ) -> impl Future<Output = Result<Result<(), OutOfBounds>, GroupError>> + Send + use<T> {
        self.moved(&VecWrite::Insert(index as u64, value))
    }

    /// Removes the element at an index, and returns it; `None` if there was none when the write was applied.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back).
    pub fn remove(
        &self,
        index: usize,
    ) -> impl Future<Output = Result<Option<T>, GroupError>> + Send + use<T> {
        self.old(&VecWrite::Remove(index as u64))
    }

    /// Exchanges two elements.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back). The inner one if there was no element at an index when the write was
    /// applied.
    pub fn swap(
        &self,
        one: usize,
        other: usize,
    ) -> impl Future<Output = Result<Result<(), OutOfBounds>, GroupError>> + Send + use<T> {
        self.moved(&VecWrite::Swap(one as u64, other as u64))
    }

    /// Puts an element in the place of the one at an index, which is returned.
    ///
    /// # Errors
    /// As [`swap`](Self::swap).
    pub fn set(
        &self,
        index: usize,
        value: T,
    ) -> impl Future<Output = Result<Result<T, OutOfBounds>, GroupError>> + Send + use<T> {
        let write = VecWrite::Set(index as u64, value);
        self.0.0.write(&write, |answer| match answer {
            VecWrote::Replaced(replaced) => Some(replaced),
            _ => None,
        })
    }

    /// Removes all elements but the first `len`; returns how many were removed.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back).
    pub fn truncate(
        &self,
        len: usize,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<T> {
        self.count(&VecWrite::Truncate(len as u64))
    }

    /// Removes all elements; returns how many there were.
    ///
    /// # Errors
    /// As [`push_back`](Self::push_back).
    pub fn clear(&self) -> impl Future<Output = Result<u64, GroupError>> + Send + use<T> {
        self.count(&VecWrite::Clear)
    }

    fn done(
        &self,
        write: &VecWrite<T>,
    ) -> impl Future<Output = Result<(), GroupError>> + Send + use<T> {
        self.0.0.write(write, |answer| match answer {
            VecWrote::Done => Some(()),
            _ => None,
        })
    }

    fn old(
        &self,
        write: &VecWrite<T>,
    ) -> impl Future<Output = Result<Option<T>, GroupError>> + Send + use<T> {
        self.0.0.write(write, |answer| match answer {
            VecWrote::Old(old) => Some(old),
            _ => None,
        })
    }

    fn moved(
        &self,
        write: &VecWrite<T>,
    ) -> impl Future<Output = Result<Result<(), OutOfBounds>, GroupError>> + Send + use<T> {
        self.0.0.write(write, |answer| match answer {
            VecWrote::Moved(moved) => Some(moved),
            _ => None,
        })
    }

    fn count(
        &self,
        write: &VecWrite<T>,
    ) -> impl Future<Output = Result<u64, GroupError>> + Send + use<T> {
        self.0.0.write(write, |answer| match answer {
            VecWrote::Count(count) => Some(count),
            _ => None,
        })
    }
}

impl<T: Value> VecView<T> {
    /// The element at an index.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index as u64).map(Shared::value)
    }

    /// The first element.
    pub fn front(&self) -> Option<&T> {
        self.0.front().map(Shared::value)
    }

    /// The last element.
    pub fn back(&self) -> Option<&T> {
        self.0.back().map(Shared::value)
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.iter().len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All elements.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.0.iter().map(Shared::value)
    }

    /// The elements whose indices are in a range; none of those that are not there.
    pub fn range(
        &self,
        range: impl RangeBounds<usize>,
    ) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => usize::MAX,
        };
        self.0.range(start as u64, end as u64).map(Shared::value)
    }

    /// The index of the first element that equals `value`.
    pub fn index_of(&self, value: &T) -> Option<usize>
    where
        T: PartialEq,
    {
        index_of(&self.0, value)
    }
}

impl<T> Clone for VecView<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Value + fmt::Debug> fmt::Debug for VecView<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn index_of<T: Value + PartialEq>(vec: &VecState<T>, value: &T) -> Option<usize> {
    // What is there fits into memory.
    usize::try_from(vec.index_of(value)?).ok()
}

fn cloned<T: Clone>(shared: &Shared<T>) -> T {
    shared.value().clone()
}
