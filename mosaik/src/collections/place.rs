//! Where a store shows its collections to those who read them, without a lock.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;

use super::{
    state::{
        State,
        deadlines::Expiry,
        stamp::{Origin, Stamps},
    },
    states::States,
};
use crate::rt::{self, Instant, watch};

/// A state of any collection.
pub(super) type AnyState = Arc<dyn Any + Send + Sync>;

/// All collections of a store as they were at one moment.
#[derive(Debug)]
pub struct Shot {
    /// The index of the last entry that is applied to them.
    pub(super) version: u64,
    /// Whose stamps are in them.
    pub(super) origin: Origin,
    states: Box<[AnyState]>,
}

impl Shot {
    /// The collection at a place of the list that the store consists of.
    fn any(&self, index: usize) -> &AnyState {
        &self.states[index]
    }

    /// The same, as what it is.
    pub(super) fn state<S: State>(&self, index: usize) -> &S {
        let state = self.any(index).downcast_ref();
        state.expect(KNOWN)
    }

    /// The same, to be kept.
    pub(super) fn keep<S: State>(&self, index: usize) -> Arc<S> {
        let state = self.any(index).clone().downcast();
        state.expect(KNOWN)
    }
}

/// Why a collection is of the type, and at the place, that a handle asks for.
const KNOWN: &str = "handles are made together with the list that says what is at which place";

/// When something that is shown comes to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Due {
    pub(super) expiry: Expiry,
    /// What the group's uptime was, and when this node had that; nothing if it does not matter.
    uptime: Option<(u64, Instant)>,
}

impl Due {
    fn new(expiry: Expiry, uptime: u64) -> Self {
        let matters = expiry.uptime.is_some();
        Self {
            expiry,
            uptime: matters.then(|| (uptime, rt::now())),
        }
    }

    /// How long it is until then, as far as this node knows.
    pub(super) fn left(&self) -> Option<Duration> {
        let by_clock = self
            .expiry
            .clock
            .map(|at| Duration::from_millis(at.saturating_sub(rt::unix_millis())));
        let by_uptime = self
            .expiry
            .uptime
            .zip(self.uptime)
            .map(|(at, (uptime, since))| {
                let left = Duration::from_millis(at.saturating_sub(uptime));
                left.saturating_sub(rt::now().duration_since(since))
            });
        by_clock.into_iter().chain(by_uptime).min()
    }
}

/// Where the collections of a store are shown.
pub(crate) struct Place {
    shot: ArcSwap<Shot>,
    /// Tells those who wait that there is another one.
    news: watch::Sender<()>,
    /// When something that is shown comes to its end.
    expiry: watch::Sender<Due>,
    /// Whether somebody sees to it that it does.
    is_kept: AtomicBool,
}

impl Place {
    /// What is shown now.
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<Shot>> {
        self.shot.load()
    }

    /// The same, to be kept.
    pub(super) fn load_full(&self) -> Arc<Shot> {
        self.shot.load_full()
    }

    /// When something that is shown comes to its end. Tells when that is another time.
    pub(super) fn expiry(&self) -> watch::Receiver<Due> {
        self.expiry.subscribe()
    }

    /// Somebody will see to it that what comes to its end does so, unless somebody does already: returns whether that
    /// is the caller.
    pub(super) fn keep(&self) -> bool {
        !self.is_kept.swap(true, Ordering::Relaxed)
    }

    /// Tells whenever something else is shown.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

/// Where the collections of one store are shown, and their changes told. Clones are the same.
pub(crate) struct Shown<T: States> {
    place: Arc<Place>,
    pub(super) feeds: T::Feeds,
}

impl<T: States> Shown<T> {
    /// Where they are shown.
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// Shows the states as they are at `version`, then tells what has led there.
    pub(super) fn show(
        &self,
        states: &mut T,
        version: u64,
        stamps: &Stamps,
        pending: &mut T::Pending,
    ) {
        let before = self.place.load_full();
        let mut shown = Vec::with_capacity(before.states.len());
        states.gather(pending, &before.states, &mut shown);
        self.place.shot.store(Arc::new(Shot {
            version,
            origin: stamps.origin(),
            states: shown.into(),
        }));
        // Whoever hears of a change finds it in the state.
        T::tell(version, pending, &self.feeds);
        self.place.news.send_replace(());
        let due = Due::new(states.expiry(), stamps.now().uptime);
        let is_other = |before: &mut Due| std::mem::replace(before, due).expiry != due.expiry;
        self.place.expiry.send_if_modified(is_other);
        drop(before);
        states.settle();
    }
}

impl<T: States> Clone for Shown<T> {
    fn clone(&self) -> Self {
        Self {
            place: self.place.clone(),
            feeds: self.feeds.clone(),
        }
    }
}

impl<T: States> Default for Shown<T> {
    fn default() -> Self {
        let mut states = Vec::new();
        T::default().gather(&mut T::Pending::default(), &[], &mut states);
        let shot = Shot {
            version: 0,
            origin: Origin::default(),
            states: states.into(),
        };
        let place = Place {
            shot: ArcSwap::from_pointee(shot),
            news: watch::Sender::new(()),
            expiry: watch::Sender::default(),
            is_kept: AtomicBool::new(false),
        };
        Self {
            place: Arc::new(place),
            feeds: T::Feeds::default(),
        }
    }
}

impl<T: States> fmt::Debug for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}
