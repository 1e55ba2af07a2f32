//! A vector in a transaction.

use std::{cmp::Ordering, fmt};

use super::Draft;
use crate::collections::{
    OutOfBounds, Value,
    state::{
        shared::Shared,
        vec::{VecRead, VecState, VecWrite, VecWrote},
    },
};

/// A [`Vec`](crate::collections::Vec) in a transaction: see [there](super) for what counts as read.
///
/// Once the transaction has inserted or removed elements elsewhere than at the ends, whatever it reads reads the whole
/// vector.
pub struct VecTransaction<T> {
    pub(in crate::collections) draft: Draft<VecState<T>, VecRead>,
    moved: Moved,
}

/// Where elements stand that stood elsewhere when the transaction began.
#[derive(Clone, Copy, Debug)]
enum Moved {
    /// As many places further behind; further ahead if this is negative.
    By(i64),
    /// Not all by the same.
    Apart,
}

impl<T: Value> VecTransaction<T> {
    pub(in crate::collections) fn new(draft: Draft<VecState<T>, VecRead>) -> Self {
        Self {
            draft,
            moved: Moved::By(0),
        }
    }

    /// The element at an index; a clone. Reads the index.
    pub fn get(&self, index: usize) -> Option<T> {
        self.read(index as u64).map(|value| value.value().clone())
    }

    /// The first element; a clone. Reads it.
    pub fn front(&self) -> Option<T> {
        self.get(0)
    }

    /// The last element; a clone. Reads it.
    pub fn back(&self) -> Option<T> {
        self.read_back().map(|value| value.value().clone())
    }

    /// Number of elements. Reads the length.
    pub fn len(&self) -> usize {
        self.draft.look(|now, base, read| {
            base.read_len(read);
            usize::try_from(now.len()).unwrap_or(usize::MAX)
        })
    }

    /// Whether there are no elements. Reads the length.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements, in their order; clones. Reads the whole vector.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = T> + ExactSizeIterator + use<'_, T> {
        self.whole().iter().map(|element| element.value().clone())
    }

    /// The index of the first element that equals `value`. Reads the whole vector.
    pub fn index_of(&self, value: &T) -> Option<usize>
    where
        T: PartialEq,
    {
        let index = self.whole().index_of(value)?;
        usize::try_from(index).ok()
    }

    fn whole(&self) -> &VecState<T> {
        self.draft.look(|now, base, read| {
            base.read_whole(read);
            now
        })
    }

    fn read(&self, index: u64) -> Option<&Shared<T>> {
        self.draft.look(|now, base, read| {
            let element = now.get(index);
            self.note(element, index, base, read);
            element
        })
    }

    fn read_back(&self) -> Option<&Shared<T>> {
        self.draft.look(|now, base, read| {
            if !self.draft.has_written() {
                return base.read_back(read);
            }
            // What is last depends on how much there was.
            base.read_len(read);
            let element = now.back();
            if let Some(last) = now.len().checked_sub(1) {
                self.note(element, last, base, read);
            }
            element
        })
    }

    /// Notes that `element` is read, which stands at `index` by now.
    fn note(
        &self,
        element: Option<&Shared<T>>,
        index: u64,
        base: &VecState<T>,
        read: &mut VecRead,
    ) {
        let before = match self.moved {
            Moved::By(places) => index.checked_add_signed(-places),
            Moved::Apart => return base.read_whole(read),
        };
        match (element, before) {
            (Some(element), Some(before)) if !self.draft.is_own(element.stamp()) => {
                base.read_index(before, read);
            }
            (None, Some(before)) if !self.draft.has_written() => {
                base.read_index(before, read);
            }
            // Where its own elements stand, and where there are none, depends on how much there was.
            _ => base.read_len(read),
        }
    }

    /// Elements from some index on stand further behind, or ahead, from now on.
    fn shift(&mut self, index: u64, by: i64) {
        self.moved = match (self.moved, index.cmp(&0)) {
            (Moved::By(places), Ordering::Equal) => Moved::By(places + by),
            _ => Moved::Apart,
        };
    }

    /// Appends an element. Reads nothing.
    pub fn push_back(&mut self, value: T) {
        self.draft.write(VecWrite::PushBack(value));
    }

    /// Prepends an element. Reads nothing.
    pub fn push_front(&mut self, value: T) {
        self.draft.write(VecWrite::PushFront(value));
        self.shift(0, 1);
    }

    /// Appends elements. Reads nothing.
    pub fn extend(&mut self, values: impl IntoIterator<Item = T>) {
        let values = values.into_iter().collect();
        self.draft.write(VecWrite::Extend(values));
    }

    /// Removes the last element, and returns it. Reads it.
    pub fn pop_back(&mut self) -> Option<T> {
        self.read_back()?;
        self.removed(VecWrite::PopBack)
    }

    /// Removes the first element, and returns it. Reads it.
    pub fn pop_front(&mut self) -> Option<T> {
        self.read(0)?;
        let removed = self.removed(VecWrite::PopFront);
        self.shift(0, -1);
        removed
    }

    /// Puts an element at an index, in front of what is there. Reads the length.
    ///
    /// # Errors
    /// When the index is over the length.
    pub fn insert(&mut self, index: usize, value: T) -> Result<(), OutOfBounds> {
        if index > self.len() {
            return Err(self.out_of_bounds());
        }
        let index = index as u64;
        self.draft.write(VecWrite::Insert(index, value));
        self.shift(index, 1);
        Ok(())
    }

    /// Removes the element at an index, and returns it. Reads the index.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let index = index as u64;
        self.read(index)?;
        let removed = self.removed(VecWrite::Remove(index));
        self.shift(index, -1);
        removed
    }

    /// Exchanges the elements at two indices. Reads both.
    ///
    /// # Errors
    /// When there is none at one of them.
    pub fn swap(&mut self, one: usize, other: usize) -> Result<(), OutOfBounds> {
        let (one, other) = (one as u64, other as u64);
        if self.read(one).and(self.read(other)).is_none() {
            return Err(self.out_of_bounds());
        }
        self.draft.write(VecWrite::Swap(one, other));
        Ok(())
    }

    /// Puts an element in the place of the one at an index; returns that. Reads the index.
    ///
    /// # Errors
    /// When there is none.
    pub fn set(&mut self, index: usize, value: T) -> Result<T, OutOfBounds> {
        let Some(old) = self.get(index) else {
            return Err(self.out_of_bounds());
        };
        self.draft.write(VecWrite::Set(index as u64, value));
        Ok(old)
    }

    /// Tells the length, and so reads it.
    fn out_of_bounds(&self) -> OutOfBounds {
        let len = self.len() as u64;
        OutOfBounds { len }
    }

    /// Removes the elements from an index on. Reads nothing.
    pub fn truncate(&mut self, len: usize) {
        self.draft.write(VecWrite::Truncate(len as u64));
    }

    /// Removes all elements. Reads nothing.
    pub fn clear(&mut self) {
        self.draft.write(VecWrite::Clear);
    }

    fn removed(&mut self, write: VecWrite<T>) -> Option<T> {
        match self.draft.write(write) {
            VecWrote::Old(old) => old.map(|old| old.value().clone()),
            _ => None,
        }
    }
}

impl<T> fmt::Debug for VecTransaction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draft.fmt(f)
    }
}
