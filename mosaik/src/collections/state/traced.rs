//! Tables that remember what was written, so that a copy can be brought up to date.

use std::{marker::PhantomData, ops::Deref};

use super::table::{AHEAD, Hashed, Sorted, Table};

/// Writes that are remembered at most; beyond, a copy is made anew. Few in tests, so that they come there.
const MAX_STEPS: usize = if cfg!(test) { 8 } else { 4096 };

/// A [table](Table), and the keys that were written since it was cloned from another, or has caught up with one.
#[derive(Debug)]
pub(super) struct Traced<B, K, T> {
    table: B,
    /// The keys, some of them perhaps twice; nothing if there were too many.
    steps: Option<Vec<K>>,
    items: PhantomData<T>,
}

/// A table by hash that remembers.
pub(super) type TracedHashed<K, T> = Traced<Hashed<K, T>, K, T>;

/// A table by order that remembers.
pub(super) type TracedSorted<K, T> = Traced<Sorted<K, T>, K, T>;

impl<B: Table<K, T>, K: Clone, T: Clone> Traced<B, K, T> {
    /// Puts `item` at a key; returns what stood there.
    pub(crate) fn insert(&mut self, key: K, item: T) -> Option<T> {
        self.note(&key);
        self.table.insert(key, item)
    }

    /// Removes what stands at a key, and returns it.
    pub(crate) fn remove(&mut self, key: &K) -> Option<T> {
        let removed = self.table.remove(key)?;
        self.note(key);
        Some(removed)
    }

    /// Removes all.
    pub(crate) fn clear(&mut self) {
        self.table = B::default();
        self.steps = None;
    }

    fn note(&mut self, key: &K) {
        match &mut self.steps {
            Some(steps) if steps.len() < MAX_STEPS => steps.push(key.clone()),
            steps => *steps = None,
        }
    }

    /// How many writes a copy is behind that is as this was when they began to be counted. `None` if it is not known by
    /// which.
    pub(crate) fn ahead(&self) -> Option<usize> {
        self.steps.as_ref().map(Vec::len)
    }

    /// Becomes as `newer` is; this is as that was when its writes began to be counted.
    pub(crate) fn catch_up(&mut self, newer: &Self) {
        match &newer.steps {
            Some(steps) => {
                for keys in steps.chunks(AHEAD) {
                    if keys.len() > 1 {
                        self.table.read_ahead(keys);
                    }
                    for key in keys {
                        match newer.table.get(key) {
                            Some(item) => drop(self.table.insert(key.clone(), item.clone())),
                            None => drop(self.table.remove(key)),
                        }
                    }
                }
            }
            None => self.table = newer.table.clone(),
        }
        self.steps = Some(Vec::new());
    }
}

impl<B, K, T> Deref for Traced<B, K, T> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.table
    }
}

impl<B, K, T> From<B> for Traced<B, K, T> {
    fn from(table: B) -> Self {
        Self {
            table,
            steps: Some(Vec::new()),
            items: PhantomData,
        }
    }
}

impl<B: Default, K, T> Default for Traced<B, K, T> {
    fn default() -> Self {
        B::default().into()
    }
}

/// Nothing was written yet.
impl<B: Clone, K, T> Clone for Traced<B, K, T> {
    fn clone(&self) -> Self {
        self.table.clone().into()
    }
}
