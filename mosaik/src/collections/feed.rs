//! Feeds: the changes of a collection, one after the other, as this node applies them.
//!
//! A node keeps the last changes of a collection in a ring, from the first feed on. A feed is a place in it. Whoever
//! falls out at its end, or begins where it does not reach, is told to begin anew, and given the whole collection for
//! that: it is kept with the changes, under one lock, so that what follows it follows it exactly.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use super::{
    handle::Handle,
    list::Stored,
    state::{State, changes::Changes},
};
use crate::{groups::Version, rt::lock};

/// Changes of a collection that a node keeps for its feeds.
pub(super) const MAX_HELD: usize = 4096;

/// The last changes of a collection.
#[derive(Debug)]
pub(super) struct Ring<C> {
    held: VecDeque<(u64, C)>,
    /// The number of the first that is held; each has one, in the order in which they were made.
    first: u64,
    /// All changes up to this version were held, or are not wanted.
    version: u64,
    /// From which version on there is none missing.
    since: u64,
}

impl<C> Default for Ring<C> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            first: 0,
            version: 0,
            since: 0,
        }
    }
}

impl<C> Ring<C> {
    /// Adds the changes that were made since, up to `version`. `None` if they are not known.
    pub(super) fn add(&mut self, version: u64, changes: Option<Vec<C>>) {
        match changes {
            Some(changes) => {
                let changes = changes.into_iter().map(|change| (version, change));
                self.held.extend(changes);
            }
            None => {
                // A number that is missing, so that every feed finds out.
                self.first += self.held.len() as u64 + 1;
                self.held.clear();
                self.since = version;
            }
        }
        self.version = version;
        let excess = self.held.len().saturating_sub(MAX_HELD);
        for (version, _) in self.held.drain(..excess) {
            self.first += 1;
            self.since = version;
        }
    }

    /// The place behind all changes, and the version there.
    fn end(&self) -> (u64, u64) {
        (self.first + self.held.len() as u64, self.version)
    }

    /// The place behind the changes up to `version`, as far as they were made, if none is missing from there on.
    fn place_behind(&self, version: u64) -> Option<u64> {
        let is_held = self.since <= version;
        is_held.then(|| self.first + self.held.partition_point(|(at, _)| *at <= version) as u64)
    }

    /// What is at a place: `Err` if that is missing, `None` if it is still to come.
    fn at(&self, place: u64) -> Result<Option<&(u64, C)>, Missing> {
        let index = place.checked_sub(self.first).ok_or(Missing)?;
        Ok(usize::try_from(index)
            .ok()
            .and_then(|index| self.held.get(index)))
    }
}

/// What comes next is not held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing;

/// Where the changes of a collection are told. Clones are the same.
pub struct Feed<S, C>(Arc<Told<S, C>>);

struct Told<S, C> {
    last: Mutex<Last<S, C>>,
    /// Whether changes are to be kept.
    wanted: AtomicBool,
}

/// The last changes of a collection, and what they have led to.
struct Last<S, C> {
    ring: Ring<C>,
    state: Arc<S>,
}

impl<S, C> Feed<S, C> {
    /// Whether changes are to be kept.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.wanted.load(Ordering::Acquire)
    }

    /// They are from now on.
    fn want(&self) {
        self.0.wanted.store(true, Ordering::Release);
    }

    /// Adds what has led to `state`, at `version`, if that is known.
    pub(super) fn add(&self, version: u64, state: Arc<S>, changes: &mut Changes<C>) {
        let made = changes.are_kept().then(|| changes.take());
        let mut last = lock(&self.0.last);
        last.ring.add(version, made);
        last.state = state;
    }
}

impl<S, C> Clone for Feed<S, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Default, C> Default for Feed<S, C> {
    fn default() -> Self {
        let last = Last {
            ring: Ring::default(),
            state: Arc::default(),
        };
        Self(Arc::new(Told {
            last: Mutex::new(last),
            wanted: AtomicBool::new(false),
        }))
    }
}

impl<S, C> fmt::Debug for Feed<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

/// The changes of a collection, with the version that each belongs to, from behind `since` or with a new beginning.
/// Ends once the node takes part in the store no longer.
pub(super) fn feed<C: Stored>(
    handle: Handle<C::State, <C::State as State>::Change>,
    since: Option<Version>,
) -> BoxStream<'static, (Version, C::Change)> {
    handle.feed().want();
    let since = since.map(|Version(since)| since);
    let place = since.and_then(|since| {
        let last = lock(&handle.feed().0.last);
        last.ring.place_behind(since)
    });
    let reader = Reader {
        place,
        known: since.unwrap_or(0),
    };
    let changes = stream::unfold((handle, reader), |(handle, mut reader)| async move {
        let feed = handle.feed().clone();
        // Why the node takes part no longer is nothing that has changed.
        let next = handle.until(|| reader.next(&feed)).await.ok()?;
        Some((next, (handle, reader)))
    });
    let told = changes.map(|(version, next)| match next {
        Next::Change(made) => (Version(version), C::change(made)),
        Next::Reset(state) => (Version(version), C::reset(C::view(state))),
    });
    told.boxed()
}

struct Reader {
    /// Its place in the ring; none before it has begun.
    place: Option<u64>,
    /// What was changed up to this version it knows, whether this node has it yet or not.
    known: u64,
}

enum Next<S: State> {
    Change(S::Change),
    Reset(Arc<S>),
}

impl Reader {
    /// What comes next, if there is something.
    fn next<S: State>(&mut self, feed: &Feed<S, S::Change>) -> Option<(u64, Next<S>)> {
        let last = lock(&feed.0.last);
        let ring = &last.ring;
        let mut place = self.place;
        while let Some(at) = place {
            match ring.at(at) {
                Ok(Some((version, change))) => {
                    self.place = Some(at + 1);
                    if *version > self.known {
                        return Some((*version, Next::Change(change.clone())));
                    }
                    place = self.place;
                }
                Ok(None) => return None,
                Err(Missing) => place = None,
            }
        }
        let (end, version) = ring.end();
        (self.place, self.known) = (Some(end), version);
        Some((version, Next::Reset(last.state.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(ring: &Ring<u64>, mut place: u64) -> Result<Vec<(u64, u64)>, Missing> {
        let mut found = Vec::new();
        while let Some(change) = ring.at(place)? {
            found.push(*change);
            place += 1;
        }
        Ok(found)
    }

    #[test]
    fn who_falls_out_or_misses_something_is_told() {
        let mut ring = Ring::default();
        ring.add(7, None);
        let (place, version) = ring.end();
        assert_eq!((numbers(&ring, place), version), (Ok(vec![]), 7));
        assert_eq!(ring.at(place - 1), Err(Missing));
        ring.add(8, Some(vec![1, 2]));
        ring.add(9, Some(vec![]));
        ring.add(10, Some(vec![3]));
        assert_eq!(numbers(&ring, place), Ok(vec![(8, 1), (8, 2), (10, 3)]));
        // From behind a version, whether it has changed anything or not.
        for (version, found) in [
            (6, None),
            (7, Some(vec![(8, 1), (8, 2), (10, 3)])),
            (8, Some(vec![(10, 3)])),
            (9, Some(vec![(10, 3)])),
            (10, Some(vec![])),
            (11, Some(vec![])),
        ] {
            let place = ring.place_behind(version);
            let numbers = place.map(|place| numbers(&ring, place).unwrap());
            assert_eq!(numbers, found, "{version}");
        }
        let end = ring.end().0;
        ring.add(11, None);
        assert_eq!(ring.at(place), Err(Missing));
        assert_eq!(
            ring.at(end),
            Err(Missing),
            "that of who had read everything"
        );
        assert_eq!(ring.place_behind(10), None);
        assert_eq!(ring.place_behind(11), Some(ring.end().0));
    }

    #[test]
    fn no_more_is_held_than_there_may_be() {
        let mut ring = Ring::default();
        let all = 0..MAX_HELD as u64 + 10;
        for version in all.clone() {
            ring.add(version, Some(vec![version]));
        }
        assert_eq!(ring.at(9), Err(Missing));
        let found = numbers(&ring, 10).unwrap();
        assert!(found.into_iter().eq(all.skip(10).map(|n| (n, n))));
        assert_eq!(ring.place_behind(8), None);
        assert_eq!(ring.place_behind(9), Some(10));
        // One entry may make more than there is room for.
        ring.add(5000, Some(vec![0; MAX_HELD + 1]));
        assert_eq!(ring.held.len(), MAX_HELD);
        assert_eq!(ring.place_behind(4999), None);
    }
}
