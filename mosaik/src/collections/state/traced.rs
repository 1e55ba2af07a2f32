//! Tables that remember what was done to them, so that a copy can do it after them.

use std::ops::Deref;

use super::table::{Hashed, Sorted, Table};

/// Steps that are remembered at most; beyond, a copy is made anew.
const MAX_STEPS: usize = 4096;

/// A [table](Table), and what was done to it since it was cloned from another, or has caught up with one.
#[derive(Debug)]
pub(super) struct Traced<B, K, T> {
    table: B,
    /// What was put at which key, or removed from it; nothing if that was too much.
    steps: Option<Vec<(K, Option<T>)>>,
}

/// A table by hash that remembers.
pub(super) type TracedHashed<K, T> = Traced<Hashed<K, T>, K, T>;

/// A table by order that remembers.
pub(super) type TracedSorted<K, T> = Traced<Sorted<K, T>, K, T>;

impl<B: Table<K, T>, K: Clone, T: Clone> Traced<B, K, T> {
    /// Puts `item` at a key; returns what stood there.
    pub(crate) fn insert(&mut self, key: K, item: T) -> Option<T> {
        self.note(&key, Some(&item));
        self.table.insert(key, item)
    }

    /// Removes what stands at a key, and returns it.
    pub(crate) fn remove(&mut self, key: &K) -> Option<T> {
        let removed = self.table.remove(key)?;
        self.note(key, None);
        Some(removed)
    }

    /// Removes all.
    pub(crate) fn clear(&mut self) {
        self.table = B::default();
        self.steps = None;
    }

    fn note(&mut self, key: &K, item: Option<&T>) {
        match &mut self.steps {
            Some(steps) if steps.len() < MAX_STEPS => steps.push((key.clone(), item.cloned())),
            steps => *steps = None,
        }
    }

    /// How many steps a copy has to take that is as this was when they began to be counted. `None` if they are not known.
    pub(crate) fn ahead(&self) -> Option<usize> {
        self.steps.as_ref().map(Vec::len)
    }

    /// Takes the steps that `newer` has taken since it was as this is.
    pub(crate) fn catch_up(&mut self, newer: &Self) {
        for (key, item) in newer.steps.iter().flatten() {
            match item {
                Some(item) => drop(self.table.insert(key.clone(), item.clone())),
                None => drop(self.table.remove(key)),
            }
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

impl<B: Default, K, T> Default for Traced<B, K, T> {
    fn default() -> Self {
        Self {
            table: B::default(),
            steps: Some(Vec::new()),
        }
    }
}

/// Has taken no step.
impl<B: Clone, K, T> Clone for Traced<B, K, T> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            steps: Some(Vec::new()),
        }
    }
}
