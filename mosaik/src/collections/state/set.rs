//! The set: elements that are in it or not.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    Key, State,
    changes::Changes,
    codec::{self, Ascending, Each, Gather, Gathered, Unsound},
    seen::Seen,
    stamp::{Stamp, Stamps},
    table::{Span, Table as _},
    traced::TracedHashed,
};

/// A set of elements. They have no stamps: one that was removed and inserted again is the same.
#[derive(Clone, Debug)]
pub struct SetState<T> {
    elements: TracedHashed<T, ()>,
    /// The stamp of the last change.
    changed: Stamp,
}

/// A change of a set that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum SetWrite<T> {
    /// Inserts an element; answers whether it was not there.
    Insert(T),
    /// Removes an element; answers whether it was there.
    Remove(T),
    /// Inserts elements; answers the count of those that were not there.
    Extend(Vec<T>),
    /// Removes elements; answers the count of those that were there.
    RemoveMany(Vec<T>),
    /// Removes the elements in a range; answers their count.
    RemoveRange(Span<T>),
    /// Removes the elements outside a range; answers their count.
    RetainRange(Span<T>),
    /// Removes all elements; answers their count.
    Clear,
}

/// What a write of a set answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetWrote {
    /// Whether the element was inserted or removed.
    Did(bool),
    /// A number of elements.
    Count(u64),
}

/// A change of a set that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetChange<T> {
    /// An element is there.
    Inserted(T),
    /// An element is gone.
    Removed(T),
    /// All elements are gone.
    Cleared,
}

/// What a transaction has read of a set: whether elements were there.
pub(crate) type SetRead<T> = Seen<T, bool>;

impl<T: Key> SetState<T> {
    /// Whether an element is there.
    pub(crate) fn contains(&self, element: &T) -> bool {
        self.elements.contains_key(element)
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are no elements.
    pub(crate) fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// All elements, in no order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.elements.keys()
    }

    /// All elements, sorted.
    pub(crate) fn ascending(&self) -> impl ExactSizeIterator<Item = &T> {
        self.elements.ascending().map(|(element, ())| element)
    }

    /// Notes that a transaction reads whether an element is there; returns it.
    pub(crate) fn read_key(&self, element: &T, read: &mut SetRead<T>) -> bool {
        let is_there = self.contains(element);
        read.key(element.clone(), is_there);
        is_there
    }

    /// Notes that a transaction reads all of it, or how much there is.
    pub(crate) fn read_whole(&self, read: &mut SetRead<T>) {
        read.whole(self.changed);
    }

    fn insert_all(
        &mut self,
        elements: impl IntoIterator<Item = T>,
        stamps: &mut Stamps,
        changes: &mut Changes<SetChange<T>>,
    ) -> usize {
        let before = self.len();
        for element in elements {
            if !self.contains(&element) {
                changes.tell(|| SetChange::Inserted(element.clone()));
                self.elements.insert(element, ());
            }
        }
        let inserted = self.len() - before;
        if inserted > 0 {
            self.changed = stamps.take();
        }
        inserted
    }

    fn remove_all(
        &mut self,
        elements: impl IntoIterator<Item = T>,
        stamps: &mut Stamps,
        changes: &mut Changes<SetChange<T>>,
    ) -> usize {
        let before = self.len();
        for element in elements {
            if self.elements.remove(&element).is_some() {
                changes.tell(|| SetChange::Removed(element));
            }
        }
        let removed = before - self.len();
        if removed > 0 {
            self.changed = stamps.take();
        }
        removed
    }

    fn clear(&mut self, stamps: &mut Stamps, changes: &mut Changes<SetChange<T>>) -> usize {
        let removed = self.len();
        if removed > 0 {
            self.elements.clear();
            self.changed = stamps.take();
            changes.tell(|| SetChange::Cleared);
        }
        removed
    }
}

/// Tells a set from what else holds a list, where layouts are compared.
#[derive(Debug, Serialize, Deserialize)]
pub struct EachOnce;

impl<T: Key> State for SetState<T> {
    type Layout = (EachOnce, Vec<T>);
    type Write = SetWrite<T>;
    type Wrote = SetWrote;
    type Answer = SetWrote;
    type Read = SetRead<T>;
    type Change = SetChange<T>;

    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        changes: &mut Changes<Self::Change>,
    ) -> Self::Wrote {
        let count = match write {
            SetWrite::Insert(element) => {
                return SetWrote::Did(self.insert_all([element], stamps, changes) > 0);
            }
            SetWrite::Remove(element) => {
                return SetWrote::Did(self.remove_all([element], stamps, changes) > 0);
            }
            SetWrite::Extend(elements) => self.insert_all(elements, stamps, changes),
            SetWrite::RemoveMany(elements) => self.remove_all(elements, stamps, changes),
            SetWrite::RemoveRange(span) => {
                self.remove_all(self.elements.keys_in(&span), stamps, changes)
            }
            SetWrite::RetainRange(span) => {
                self.remove_all(self.elements.keys_outside(&span), stamps, changes)
            }
            SetWrite::Clear => self.clear(stamps, changes),
        };
        SetWrote::Count(count as u64)
    }

    fn largest(write: &Self::Write) -> Option<usize> {
        match write {
            SetWrite::Extend(elements) | SetWrite::RemoveMany(elements) => {
                Some(codec::largest(elements))
            }
            _ => None,
        }
    }

    fn ahead(&self) -> Option<usize> {
        self.elements.ahead()
    }

    fn catch_up(&mut self, newer: &Self) {
        self.elements.catch_up(&newer.elements);
        self.changed = newer.changed;
    }

    fn is_as_read(&self, read: &Self::Read) -> bool {
        read.is_still(self.changed, |element| self.contains(element))
    }

    fn last_stamp(&self) -> Stamp {
        self.changed
    }
}

impl<T> Default for SetState<T> {
    fn default() -> Self {
        Self {
            elements: TracedHashed::default(),
            changed: Stamp::NEVER,
        }
    }
}

/// Encodes the last change, then the elements, ascending.
impl<T: Key> Serialize for SetState<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.changed, Each(|| self.ascending())).serialize(serializer)
    }
}

impl<'de, T: Key> Deserialize<'de> for SetState<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (changed, Gathered(read)) =
            <(Stamp, Gathered<Elements<T>>)>::deserialize(deserializer)?;
        let is_new = changed == Stamp::NEVER;
        if changed == Stamp::MAX || (is_new && !read.elements.is_empty()) {
            return Err(de::Error::custom(Unsound::Stamps));
        }
        Ok(Self {
            elements: read.elements,
            changed,
        })
    }
}

/// The elements that were read so far.
struct Elements<T> {
    elements: TracedHashed<T, ()>,
    order: Ascending<T>,
}

impl<T: Key> Gather for Elements<T> {
    type Item = T;

    fn gather(&mut self, element: T) -> Result<(), Unsound> {
        self.order.check(&element)?;
        self.elements.insert(element, ());
        Ok(())
    }
}

impl<T> Default for Elements<T> {
    fn default() -> Self {
        Self {
            elements: TracedHashed::default(),
            order: Ascending::default(),
        }
    }
}

#[cfg(test)]
mod tests;
