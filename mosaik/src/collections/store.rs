//! What a group replicates for a store: its collections, and the stamps of what is written to them.
//!
//! Who reads does so without a lock and without waiting: after each entry of the log, clones of the states, which cost
//! next to nothing, are put where the handles find them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    feed::{Ring, Wanted},
    state::{State, changes::Changes, stamp::Stamps},
};
use crate::{
    declare::{Schema, SchemaSource},
    groups::{Application, AskError, Ctx, Here, Interface, Reply, Unencodable, Unknown, number},
    rt::{lock, watch},
};

/// The collections of a store: one, or the fields of a struct.
pub(crate) trait Fields:
    Clone + Default + Serialize + de::DeserializeOwned + Send + Sync + 'static
{
    /// Where their states are shown; clones show the same.
    type Shown: Clone + Default + Send + Sync + 'static;
    /// A write of any of them.
    type Write: Send + 'static;
    /// Their changes since they were shown.
    type Changes: Default + Send + Sync + 'static;

    /// What members compare.
    fn interface() -> Interface;

    /// The write with this number that `arguments` begin with, and what follows it.
    ///
    /// # Errors
    /// When there is none.
    fn decode(number: u64, arguments: &[u8]) -> Result<(Self::Write, &[u8]), Unknown>;

    /// An entry begins to write: keeps its changes if they are wanted. All of an entry are kept, or none.
    fn begin(shown: &Self::Shown, changes: &mut Self::Changes);

    /// Applies a write, notes what it changes, and appends what it answers.
    ///
    /// # Errors
    /// When that cannot be encoded.
    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        changes: &mut Self::Changes,
        reply: &mut Reply,
    ) -> Result<(), Unencodable>;

    /// Shows the states as they are at `version`, and what has changed.
    fn show(&self, version: u64, changes: &mut Self::Changes, shown: &Self::Shown);

    /// Whether the stamps in them can be from `stamps`.
    fn fit(&self, stamps: &Stamps) -> bool;
}

/// The replicated state of a store.
pub(crate) struct Store<F: Fields> {
    fields: F,
    stamps: Stamps,
    shown: F::Shown,
    changes: Mutex<F::Changes>,
    /// Whether something may have changed since it was shown last.
    is_news: AtomicBool,
}

impl<F: Fields> Store<F> {
    /// Where its collections are shown.
    pub(super) fn shown(&self) -> F::Shown {
        self.shown.clone()
    }
}

impl<F: Fields> Default for Store<F> {
    fn default() -> Self {
        Self::new(F::default(), Stamps::default())
    }
}

impl<F: Fields> Store<F> {
    fn new(fields: F, stamps: Stamps) -> Self {
        Self {
            fields,
            stamps,
            shown: F::Shown::default(),
            changes: Mutex::default(),
            is_news: AtomicBool::new(true),
        }
    }
}

impl<F: Fields> fmt::Debug for Store<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("stamps", &self.stamps)
            .finish_non_exhaustive()
    }
}

impl<F: Fields> Application for Store<F> {
    type Operation = F::Write;
    type Image = Image<F>;

    fn interface() -> Interface {
        F::interface()
    }

    fn decode(bytes: &[u8]) -> Result<(F::Write, &[u8]), Unknown> {
        let (number, arguments) = Unknown::number(bytes)?;
        F::decode(number, arguments)
    }

    fn run(&mut self, _: &Ctx, write: F::Write, reply: &mut Reply) -> Result<(), Unencodable> {
        let changes = self.changes.get_mut();
        let changes = changes.unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(self.is_news.get_mut(), true) {
            F::begin(&self.shown, changes);
        }
        self.fields.write(write, &mut self.stamps, changes, reply)
    }

    fn ask(_: &Here<'_, Self>, query: &[u8], _: &mut Reply) -> Result<(), AskError> {
        let (number, _) = Unknown::number(query)?;
        Err(Unknown::method(number).into())
    }

    fn image(&self) -> Image<F> {
        Image {
            stamps: self.stamps.clone(),
            fields: self.fields.clone(),
        }
    }

    fn from_image(image: Image<F>) -> Self {
        Self::new(image.fields, image.stamps)
    }

    fn mark(&self) -> Option<u64> {
        // Answers hold values, and a `HashMap` in one is in another order on each replica.
        Some(self.stamps.given())
    }

    fn succeed(&mut self, before: &mut Self) {
        self.shown = before.shown.clone();
    }

    fn publish(&self, applied: u64) {
        if self.is_news.swap(false, Ordering::Relaxed) {
            let mut changes = lock(&self.changes);
            self.fields.show(applied, &mut changes, &self.shown);
        }
    }
}

/// A store as a snapshot holds it.
pub(crate) struct Image<F> {
    stamps: Stamps,
    fields: F,
}

impl<F: Serialize> Serialize for Image<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.stamps, &self.fields).serialize(serializer)
    }
}

impl<'de, F: Fields> Deserialize<'de> for Image<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (stamps, fields) = <(Stamps, F)>::deserialize(deserializer)?;
        if !fields.fit(&stamps) {
            return Err(de::Error::custom(
                "it holds more stamps than were given out",
            ));
        }
        Ok(Self { stamps, fields })
    }
}

impl<F> fmt::Debug for Image<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").finish_non_exhaustive()
    }
}

/// The name of the command that writes to a store of one collection.
pub(super) const WRITE: &str = "write";

/// One collection, which is all of a store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent, bound = "S: State")]
pub(crate) struct One<S>(S);

impl<S: State> Fields for One<S> {
    type Shown = Shown<S, S::Change>;
    type Write = S::Write;
    type Changes = Changes<S::Change>;

    fn interface() -> Interface {
        let traced = SchemaSource::Traced(Schema::trace::<S::Layout>);
        let mut interface = Interface::of::<S::Layout>(traced);
        interface.command::<S::Write, S::Answer>(WRITE);
        interface
    }

    fn decode(method: u64, arguments: &[u8]) -> Result<(S::Write, &[u8]), Unknown> {
        if method != number(WRITE) {
            return Err(Unknown::method(method));
        }
        Unknown::arguments(arguments)
    }

    fn begin(shown: &Self::Shown, changes: &mut Changes<S::Change>) {
        if !changes.are_kept() && shown.wanted().get() {
            *changes = Changes::kept();
        }
    }

    fn write(
        &mut self,
        write: S::Write,
        stamps: &mut Stamps,
        changes: &mut Changes<S::Change>,
        reply: &mut Reply,
    ) -> Result<(), Unencodable> {
        reply.put(&self.0.write(write, stamps, changes))
    }

    fn show(&self, version: u64, changes: &mut Changes<S::Change>, shown: &Self::Shown) {
        shown.store(self.0.clone(), version, changes);
    }

    fn fit(&self, stamps: &Stamps) -> bool {
        self.0.fits(stamps)
    }
}

/// Where a collection is shown to those who read it. Clones show the same.
pub(crate) struct Shown<S, C>(Arc<Place<S, C>>);

struct Place<S, C> {
    state: ArcSwap<S>,
    ring: Mutex<Ring<C>>,
    wanted: Wanted,
    /// Tells those who wait that there is another one.
    news: watch::Sender<()>,
}

impl<S, C> Shown<S, C> {
    /// The state that is shown now.
    pub(super) fn load(&self) -> arc_swap::Guard<Arc<S>> {
        self.0.state.load()
    }

    /// The same, to be kept.
    pub(super) fn load_full(&self) -> Arc<S> {
        self.0.state.load_full()
    }

    /// Tells whenever another one is shown.
    pub(super) fn news(&self) -> watch::Receiver<()> {
        self.0.news.subscribe()
    }

    /// The last changes. What is shown is what they end with while they are held.
    pub(super) fn ring(&self) -> MutexGuard<'_, Ring<C>> {
        lock(&self.0.ring)
    }

    /// Whether changes are wanted.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.0.wanted
    }

    /// Shows another state, and what has led there from the one before, if that is known.
    fn store(&self, state: S, version: u64, changes: &mut Changes<C>) {
        let made = changes.are_kept().then(|| changes.take());
        {
            let mut ring = self.ring();
            ring.add(version, made);
            self.0.state.store(Arc::new(state));
        }
        self.0.news.send_replace(());
    }
}

impl<S, C> Clone for Shown<S, C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Default, C> Default for Shown<S, C> {
    fn default() -> Self {
        Self(Arc::new(Place {
            state: ArcSwap::from_pointee(S::default()),
            ring: Mutex::default(),
            wanted: Wanted::default(),
            news: watch::Sender::new(()),
        }))
    }
}

impl<S, C> fmt::Debug for Shown<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}
