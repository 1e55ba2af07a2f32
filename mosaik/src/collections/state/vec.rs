//! The vector: elements by index.

use imbl::Vector;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    State, Value,
    changes::Changes,
    codec::{self, Each, Gather, Gathered, Newest, Unsound},
    seen::Seen,
    shared::Shared,
    stamp::{Stamp, Stamps},
};

/// Elements by index, which grow and shrink at both ends.
///
/// Both ends and single elements are reached in nearly constant time. To insert or remove in between takes
/// logarithmic time, yet some hundred times as long as at an end: the tree is split there and joined again.
///
/// An element keeps its stamp where it moves, so an index holds what it held if it has the same stamp.
#[derive(Clone, Debug)]
pub struct VecState<T> {
    elements: Vector<Shared<T>>,
    /// The stamp of the last change.
    changed: Stamp,
}

/// A change of a vector that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum VecWrite<T> {
    /// Appends an element; answers [`VecWrote::Done`].
    PushBack(T),
    /// Prepends an element; answers [`VecWrote::Done`].
    PushFront(T),
    /// Appends elements; answers [`VecWrote::Done`].
    Extend(Vec<T>),
    /// Removes the last element; answers [`VecWrote::Old`].
    PopBack,
    /// Removes the first element; answers [`VecWrote::Old`].
    PopFront,
    /// Puts an element at an index, in front of what is there; answers [`VecWrote::Moved`].
    Insert(u64, T),
    /// Removes the element at an index, if there is one; answers [`VecWrote::Old`].
    Remove(u64),
    /// Exchanges the elements at two indices; answers [`VecWrote::Moved`].
    Swap(u64, u64),
    /// Puts an element in the place of the one at an index; answers [`VecWrote::Replaced`].
    Set(u64, T),
    /// Removes the elements from an index on; answers their count.
    Truncate(u64),
    /// Removes all elements; answers their count.
    Clear,
}

/// What a write of a vector answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VecWrote<T> {
    /// Nothing that was not known.
    Done,
    /// The element that was removed.
    Old(Option<T>),
    /// Whether elements were inserted or swapped.
    Moved(Result<(), OutOfBounds>),
    /// The element that was replaced.
    Replaced(Result<T, OutOfBounds>),
    /// A number of elements.
    Count(u64),
}

/// There is no element at an index, or no place: ask for one below the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the index is out of bounds: the length is {len}")]
pub struct OutOfBounds {
    /// Number of elements.
    pub len: u64,
}

/// A change of a vector that was made.
#[derive(Clone, Debug)]
pub enum VecChange<T> {
    /// There is a new element at an index; those from there on have moved up.
    Inserted {
        /// The index, at most the length before.
        index: u64,
        /// The element.
        value: Shared<T>,
    },
    /// There is another element at an index.
    Updated {
        /// The index.
        index: u64,
        /// The element before.
        old: Shared<T>,
        /// The element.
        new: Shared<T>,
    },
    /// The element at an index is gone; those behind it have moved down.
    Removed {
        /// The index.
        index: u64,
        /// The element before.
        old: Shared<T>,
    },
    /// The elements at two different indices have changed places.
    Swapped(u64, u64),
    /// The elements from this index on are gone.
    Truncated(u64),
}

/// What a transaction has read of a vector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct VecRead {
    indices: Seen<u64>,
    /// What was read at the back: the stamp of the last element, if there was one.
    back: Option<Option<Stamp>>,
    /// How many elements there were, if that was read.
    len: Option<u64>,
}

impl<T: Value> VecState<T> {
    /// The element at an index.
    pub(crate) fn get(&self, index: u64) -> Option<&Shared<T>> {
        self.elements.get(usize::try_from(index).ok()?)
    }

    /// The first element.
    pub(crate) fn front(&self) -> Option<&Shared<T>> {
        self.elements.front()
    }

    /// The last element.
    pub(crate) fn back(&self) -> Option<&Shared<T>> {
        self.elements.back()
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> u64 {
        self.elements.len() as u64
    }

    /// Whether there are no elements.
    pub(crate) fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// All elements, from either end.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Shared<T>> + ExactSizeIterator {
        self.elements.iter()
    }

    /// The elements from index `start` on that are below `end`, as far as there are any.
    pub(crate) fn range(
        &self,
        start: u64,
        end: u64,
    ) -> impl DoubleEndedIterator<Item = &Shared<T>> + ExactSizeIterator {
        let clamp = |index: u64| usize::try_from(index.min(self.len())).unwrap_or(usize::MAX);
        let end = clamp(end);
        let start = clamp(start).min(end);
        self.elements.focus().narrow(start..end).into_iter()
    }

    /// The index of the first element that equals `value`.
    pub(crate) fn index_of(&self, value: &T) -> Option<u64>
    where
        T: PartialEq,
    {
        let index = self.iter().position(|element| element.value() == value);
        index.map(|index| index as u64)
    }

    /// Notes that a transaction reads the element at an index, or that there is none; returns it.
    pub(crate) fn read_index(&self, index: u64, read: &mut VecRead) -> Option<&Shared<T>> {
        let element = self.get(index);
        read.indices.key(index, element.map(Shared::stamp));
        element
    }

    /// Notes that a transaction reads the last element, or that there is none; returns it.
    pub(crate) fn read_back(&self, read: &mut VecRead) -> Option<&Shared<T>> {
        let element = self.back();
        read.back.get_or_insert(element.map(Shared::stamp));
        element
    }

    /// Notes that a transaction reads how many elements there are.
    pub(crate) fn read_len(&self, read: &mut VecRead) {
        read.len.get_or_insert(self.len());
    }

    /// Notes that a transaction reads all of it.
    pub(crate) fn read_whole(&self, read: &mut VecRead) {
        read.indices.whole(self.changed);
    }

    /// The place of an index below `end`.
    fn place(&self, index: u64, end: u64) -> Result<usize, OutOfBounds> {
        let place = usize::try_from(index).ok().filter(|_| index < end);
        place.ok_or(OutOfBounds { len: self.len() })
    }

    fn stamped(&mut self, value: T, stamps: &mut Stamps) -> Shared<T> {
        let value = Shared::new(stamps.take(), value);
        self.changed = value.stamp();
        value
    }

    fn put(
        &mut self,
        place: usize,
        value: T,
        stamps: &mut Stamps,
        changes: &mut Changes<VecChange<T>>,
    ) {
        let value = self.stamped(value, stamps);
        changes.tell(|| VecChange::Inserted {
            index: place as u64,
            value: value.clone(),
        });
        self.elements.insert(place, value);
    }

    fn insert(
        &mut self,
        index: u64,
        value: T,
        stamps: &mut Stamps,
        changes: &mut Changes<VecChange<T>>,
    ) -> Result<(), OutOfBounds> {
        let place = self.place(index, self.len().saturating_add(1))?;
        self.put(place, value, stamps, changes);
        Ok(())
    }

    fn extend(
        &mut self,
        values: impl IntoIterator<Item = T>,
        stamps: &mut Stamps,
        changes: &mut Changes<VecChange<T>>,
    ) -> VecWrote<Shared<T>> {
        for value in values {
            self.put(self.elements.len(), value, stamps, changes);
        }
        VecWrote::Done
    }

    fn remove(
        &mut self,
        index: u64,
        stamps: &mut Stamps,
        changes: &mut Changes<VecChange<T>>,
    ) -> Option<Shared<T>> {
        let place = self.place(index, self.len()).ok()?;
        let old = self.elements.remove(place);
        self.changed = stamps.take();
        changes.tell(|| VecChange::Removed {
            index,
            old: old.clone(),
        });
        Some(old)
    }

    fn swap(
        &mut self,
        one: u64,
        other: u64,
        stamps: &mut Stamps,
        changes: &mut Changes<VecChange<T>>,
    ) -> Result<(), OutOfBounds> {
        let len = self.len();
        let places = (self.place(one, len)?, self.place(other, len)?);
        if one != other {
            self.elements.swap(places.0, places.1);
            self.changed = stamps.take();
            changes.tell(|| VecChange::Swapped(one, other));
        }
        Ok(())
    }

    fn set(
        &mut self,
        index: u64,
        value: T,
        stamps: &mut Stamps,
        changes: &mut Changes<VecChange<T>>,
    ) -> Result<Shared<T>, OutOfBounds> {
        let place = self.place(index, self.len())?;
        let new = self.stamped(value, stamps);
        let old = self.elements.set(place, new.clone());
        changes.tell(|| VecChange::Updated {
            index,
            old: old.clone(),
            new,
        });
        Ok(old)
    }

    fn truncate(
        &mut self,
        len: u64,
        stamps: &mut Stamps,
        changes: &mut Changes<VecChange<T>>,
    ) -> u64 {
        let before = self.len();
        let Ok(place) = self.place(len, before) else {
            return 0;
        };
        self.elements.truncate(place);
        self.changed = stamps.take();
        changes.tell(|| VecChange::Truncated(len));
        before - len
    }
}

/// Tells a vector from what else holds a list, where layouts are compared.
#[derive(Debug, Serialize, Deserialize)]
pub struct InARow;

impl<T: Value> State for VecState<T> {
    type Layout = (InARow, Vec<T>);
    type Write = VecWrite<T>;
    type Wrote = VecWrote<Shared<T>>;
    type Answer = VecWrote<T>;
    type Read = VecRead;
    type Change = VecChange<T>;

    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        changes: &mut Changes<Self::Change>,
    ) -> Self::Wrote {
        match write {
            VecWrite::PushBack(value) => self.extend([value], stamps, changes),
            VecWrite::PushFront(value) => {
                self.put(0, value, stamps, changes);
                VecWrote::Done
            }
            VecWrite::Extend(values) => self.extend(values, stamps, changes),
            VecWrite::PopBack => {
                let last = self.len().checked_sub(1);
                VecWrote::Old(last.and_then(|last| self.remove(last, stamps, changes)))
            }
            VecWrite::PopFront => VecWrote::Old(self.remove(0, stamps, changes)),
            VecWrite::Insert(index, value) => {
                VecWrote::Moved(self.insert(index, value, stamps, changes))
            }
            VecWrite::Remove(index) => VecWrote::Old(self.remove(index, stamps, changes)),
            VecWrite::Swap(one, other) => VecWrote::Moved(self.swap(one, other, stamps, changes)),
            VecWrite::Set(index, value) => {
                VecWrote::Replaced(self.set(index, value, stamps, changes))
            }
            VecWrite::Truncate(len) => VecWrote::Count(self.truncate(len, stamps, changes)),
            VecWrite::Clear => VecWrote::Count(self.truncate(0, stamps, changes)),
        }
    }

    fn largest(write: &Self::Write) -> Option<usize> {
        match write {
            VecWrite::Extend(elements) => Some(codec::largest(elements)),
            _ => None,
        }
    }

    fn is_as_read(&self, read: &Self::Read) -> bool {
        let is_back = |back| self.back().map(Shared::stamp) == back;
        let now = |index: &u64| self.get(*index).map(Shared::stamp);
        read.back.is_none_or(is_back)
            && read.len.is_none_or(|len| len == self.len())
            && read.indices.is_still(self.changed, now)
    }

    fn last_stamp(&self) -> Stamp {
        self.changed
    }
}

impl<T> Default for VecState<T> {
    fn default() -> Self {
        Self {
            elements: Vector::new(),
            changed: Stamp::NEVER,
        }
    }
}

/// Encodes the last change, then the elements: the stamp, the value.
impl<T: Value> Serialize for VecState<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let elements = || self.iter().map(|element| (element.stamp(), element));
        (self.changed, Each(elements)).serialize(serializer)
    }
}

impl<'de, T: Value> Deserialize<'de> for VecState<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (changed, Gathered(read)) =
            <(Stamp, Gathered<Elements<T>>)>::deserialize(deserializer)?;
        let newest = read.newest.check_changed(changed);
        newest
            .and_then(|()| codec::check_differ(read.stamps))
            .map_err(de::Error::custom)?;
        Ok(Self {
            elements: read.elements,
            changed,
        })
    }
}

/// The elements that were read so far.
struct Elements<T> {
    elements: Vector<Shared<T>>,
    stamps: Vec<Stamp>,
    newest: Newest,
}

impl<T: Value> Gather for Elements<T> {
    type Item = (Stamp, T);

    fn gather(&mut self, (stamp, value): Self::Item) -> Result<(), Unsound> {
        self.newest.check(stamp)?;
        self.stamps.push(stamp);
        self.elements.push_back(Shared::new(stamp, value));
        Ok(())
    }
}

impl<T> Default for Elements<T> {
    fn default() -> Self {
        Self {
            elements: Vector::new(),
            stamps: Vec::new(),
            newest: Newest::default(),
        }
    }
}

#[cfg(test)]
mod tests;
