//! A state in two copies, of which one is shown while the other is written to.
//!
//! To write to a state that is shown, a copy has to be made of what changes. But what was shown before is such a copy,
//! and only behind by what was written since: once nobody reads it any more, it is brought up to date, in place, and
//! written to next. So each step is taken twice, and nothing is copied. Where somebody does read it, or it is not known
//! what it is behind by, a new copy takes its place, which shares all that does not change.
//!
//! After P. Ramalhete and A. Correia, *Left-Right: A Concurrency Control Technique with Wait-Free Population Oblivious
//! Reads* (2015), where the writer waits for those who read. Here it never does.

use std::{fmt, mem, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::state::State;

/// Steps by which a copy may be behind that is kept though somebody reads it: what it holds that is gone by now stays
/// in memory until the next write.
const FEW_STEPS: usize = 64;

/// A state, and the one that it came of.
pub struct Twin<S> {
    now: Arc<S>,
    /// As `now` was when its steps began to be counted.
    before: Option<Arc<S>>,
}

impl<S: State> Twin<S> {
    /// The state.
    pub(super) fn get(&self) -> &S {
        &self.now
    }

    /// The state as it is, to be shown. What is written later is not in it.
    pub(super) fn share(&self) -> Arc<S> {
        self.now.clone()
    }

    /// The state, to be written to.
    pub(super) fn write(&mut self) -> &mut S {
        if Arc::get_mut(&mut self.now).is_none() {
            let next = self.caught_up();
            let next = next.unwrap_or_else(|| Arc::new(S::clone(&self.now)));
            self.before = Some(mem::replace(&mut self.now, next));
        }
        Arc::make_mut(&mut self.now)
    }

    /// What was shown before is shown no more: brings it up to date at once, so that what is gone by now is not kept in
    /// memory by it.
    pub(super) fn settle(&mut self) {
        if let Some(next) = self.caught_up() {
            self.before = Some(mem::replace(&mut self.now, next));
        }
    }

    /// What was before, brought up to date, if nobody else has it.
    fn caught_up(&mut self) -> Option<Arc<S>> {
        let mut before = self.before.take()?;
        let steps = self.now.ahead()?;
        match Arc::get_mut(&mut before) {
            Some(behind) => {
                behind.catch_up(&self.now);
                return Some(before);
            }
            None if steps <= FEW_STEPS => self.before = Some(before),
            None => {}
        }
        None
    }
}

impl<S: State> Default for Twin<S> {
    fn default() -> Self {
        S::default().into()
    }
}

impl<S> From<S> for Twin<S> {
    fn from(state: S) -> Self {
        Self {
            now: Arc::new(state),
            before: None,
        }
    }
}

/// Shares the state.
impl<S> Clone for Twin<S> {
    fn clone(&self) -> Self {
        Self {
            now: self.now.clone(),
            before: None,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Twin<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now.fmt(f)
    }
}

impl<S: Serialize> Serialize for Twin<S> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        self.now.serialize(serializer)
    }
}

impl<'de, S: Deserialize<'de>> Deserialize<'de> for Twin<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        S::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::collections::state::{
        changes::Changes,
        map::{MapState, MapWrite},
        stamp::Stamps,
    };

    /// A value of which it can be told whether it is still held.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Held(#[serde(skip)] Arc<()>);

    type Map = MapState<u16, Held>;

    /// A twin, and what is shown of it.
    #[derive(Default)]
    struct Shown {
        twin: Twin<Map>,
        stamps: Stamps,
        shown: Arc<Map>,
    }

    impl Shown {
        fn write(&mut self, writes: impl IntoIterator<Item = MapWrite<u16, Held>>) {
            for write in writes {
                let ignored = &mut Changes::ignored();
                self.twin.write().write(write, &mut self.stamps, ignored);
            }
        }

        fn show(&mut self) {
            self.shown = self.twin.share();
            self.twin.settle();
        }
    }

    fn insert(key: u16) -> MapWrite<u16, Held> {
        MapWrite::Insert(key, Held::default())
    }

    #[test]
    fn two_copies_take_turns_unless_somebody_reads() {
        let mut state = Shown::default();
        let mut seen = BTreeSet::new();
        for key in 0..100 {
            state.write([insert(key)]);
            state.show();
            seen.insert(Arc::as_ptr(&state.shown));
        }
        // The first had nothing before it.
        assert!(seen.len() <= 3, "{}", seen.len());
        let read = state.shown.clone();
        seen.clear();
        for key in 100..200 {
            state.write([insert(key)]);
            state.show();
            seen.insert(Arc::as_ptr(&state.shown));
        }
        assert!(!seen.contains(&Arc::as_ptr(&read)));
        assert!(seen.len() <= 3, "{}", seen.len());
        assert_eq!((read.len(), state.shown.len()), (100, 200));
    }

    #[test]
    fn who_reads_for_a_moment_costs_no_copy() {
        let mut state = Shown::default();
        state.write([insert(0)]);
        state.show();
        let mut seen = BTreeSet::new();
        for key in 1..100 {
            // As a `get` does while the next is shown.
            let read = state.shown.clone();
            state.write([insert(key)]);
            state.show();
            drop(read);
            seen.insert(Arc::as_ptr(&state.shown));
        }
        assert!(seen.len() <= 3, "{}", seen.len());
    }

    #[test]
    fn what_is_gone_is_not_kept() {
        let held = Held::default();
        let insert = |key| MapWrite::Insert(key, held.clone());
        let mut state = Shown::default();
        let counts = |state: &Shown| (state.shown.len(), Arc::strong_count(&held.0) - 1);
        state.write((0..1000).map(insert));
        state.show();
        assert_eq!(counts(&state), (1000, 1000));
        state.write((0..500).map(MapWrite::Remove));
        state.show();
        assert_eq!(counts(&state), (500, 500));
        state.write([MapWrite::Clear]);
        state.show();
        assert_eq!(counts(&state), (0, 0));
        // More than is remembered, at once.
        state.write((0..10_000).map(insert));
        state.write((0..10_000).map(MapWrite::Remove));
        state.show();
        assert_eq!(counts(&state), (0, 0));
        // Somebody reads what had much that is gone by then.
        state.write((0..1000).map(insert));
        state.show();
        let read = state.shown.clone();
        state.write((0..1000).map(MapWrite::Remove));
        state.show();
        assert_eq!(counts(&state), (0, 1000));
        drop(read);
        assert_eq!(counts(&state), (0, 0));
    }
}
