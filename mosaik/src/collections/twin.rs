//! A state in two copies, of which one is shown while the other is written to.
//!
//! To write to a state that is shown, a copy has to be made of what changes. But what was shown before is such a copy,
//! and only behind by what was written since: once nobody reads it any more, it is brought up to date, in place, and
//! written to next. So each write is made twice, and no node of a table is copied. Where somebody does read it, or it is
//! not known what it is behind by, a new copy takes its place, which shares all that does not change. In the long run
//! the two share values, and no nodes.
//!
//! After P. Ramalhete and A. Correia, *Left-Right: A Concurrency Control Technique with Wait-Free Population Oblivious
//! Reads* (2015), where the writer waits for those who read. Here it never does.

use std::{fmt, mem, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::state::State;

/// Writes by which a copy may be behind that is kept though somebody reads it: what it holds that is gone by now stays
/// in memory until the next write. Few in tests, so that they come there.
const FEW_STEPS: usize = if cfg!(test) { 4 } else { 64 };

/// A state, and the one that it came of.
pub struct Twin<S> {
    now: Arc<S>,
    /// As `now` was when its writes began to be counted.
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
    use std::cell::Cell;

    use super::*;
    use crate::collections::state::{
        changes::Changes,
        map::{MapState, MapWrite},
        stamp::Stamps,
    };

    thread_local! {
        /// How often a key was cloned.
        static CLONED: Cell<usize> = const { Cell::new(0) };
    }

    /// A key of which it can be told how often it is cloned.
    #[derive(PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    struct Counted(u16);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            CLONED.set(CLONED.get() + 1);
            Self(self.0)
        }
    }

    /// A value of which it can be told whether it is still held.
    #[derive(Clone, Default, Serialize, Deserialize)]
    struct Held(#[serde(skip)] Arc<()>);

    type Map = MapState<Counted, Held>;
    type Write = MapWrite<Counted, Held>;

    /// A twin, and what is shown of it.
    #[derive(Default)]
    struct Shown {
        twin: Twin<Map>,
        stamps: Stamps,
        shown: Arc<Map>,
    }

    impl Shown {
        fn write(&mut self, writes: impl IntoIterator<Item = Write>) {
            for write in writes {
                let ignored = &mut Changes::ignored();
                self.twin.write().write(write, &mut self.stamps, ignored);
            }
        }

        fn show(&mut self) {
            self.shown = self.twin.share();
            self.twin.settle();
        }

        /// Writes one key after the other, each shown, and returns how many keys were cloned for one.
        fn clones(&mut self, keys: std::ops::Range<u16>) -> usize {
            let (before, count) = (CLONED.get(), keys.len());
            for key in keys {
                self.write([MapWrite::Insert(Counted(key), Held::default())]);
                self.show();
            }
            (CLONED.get() - before) / count
        }
    }

    /// Clones of a key that is written: one to remember it, and one for the other copy.
    const EACH: usize = 2;

    #[test]
    fn two_copies_take_turns_and_no_node_is_copied() {
        let mut state = Shown::default();
        state.clones(0..1000);
        assert_eq!(state.clones(1000..2000), EACH);
        // Who reads costs a copy of what is written from then on, and only once.
        let read = state.shown.clone();
        let copied = state.clones(0..100);
        assert!(copied > EACH, "{copied}");
        state.clones(0..2000);
        assert_eq!(state.clones(2000..3000), EACH);
        assert_eq!((read.len(), state.shown.len()), (2000, 3000));
    }

    #[test]
    fn who_reads_for_a_moment_costs_no_copy() {
        let mut state = Shown::default();
        state.clones(0..1000);
        let before = CLONED.get();
        for key in 0..1000 {
            // As a `get` does while the next is shown.
            let read = state.shown.clone();
            state.write([MapWrite::Insert(Counted(key), Held::default())]);
            state.show();
            drop(read);
        }
        let cloned = CLONED.get() - before;
        assert!(cloned <= 1000 * EACH, "{cloned}");
    }

    #[test]
    fn what_is_gone_is_not_kept() {
        let held = Held::default();
        let insert = |key| MapWrite::Insert(Counted(key), held.clone());
        let remove = |key| MapWrite::Remove(Counted(key));
        let mut state = Shown::default();
        let counts = |state: &Shown| (state.shown.len(), Arc::strong_count(&held.0) - 1);
        // As many as are remembered, and more.
        for many in [1, 2, 3, 4, 5, 8, 9, 1000] {
            state.write((0..many).map(insert));
            // Before anything is shown as well.
            state.write(std::iter::repeat_n(0, 100).map(insert));
            assert_eq!(Arc::strong_count(&held.0) - 1, usize::from(many));
            state.show();
            assert_eq!(counts(&state), (usize::from(many), usize::from(many)));
            state.write((1..many).map(remove));
            state.show();
            assert_eq!(counts(&state), (1, 1));
            state.write([MapWrite::Clear]);
            state.show();
            assert_eq!(counts(&state), (0, 0));
            // Written and gone before it is shown.
            state.write((0..many).map(insert));
            state.write((0..many).map(remove));
            state.show();
            assert_eq!(counts(&state), (0, 0));
        }
        // Somebody reads what had much that is gone by then.
        state.write((0..1000).map(insert));
        state.show();
        let read = state.shown.clone();
        state.write((0..1000).map(remove));
        state.show();
        assert_eq!(counts(&state), (0, 1000));
        drop(read);
        assert_eq!(counts(&state), (0, 0));
    }
}
