//! What a group replicates for a store: its collections, and the stamps of what is written to them.
//!
//! Who reads does so without a lock and without waiting: after each entry of the log, clones of the states, which cost
//! next to nothing, are put where the handles find them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::state::{State, changes::Changes, stamp::Stamps};
use crate::{
    declare::{Schema, SchemaSource},
    groups::{Application, AskError, Ctx, Here, Interface, Reply, Unencodable, Unknown, number},
    rt::watch,
};

/// The collections of a store: one, or the fields of a struct.
pub(crate) trait Fields:
    Clone + Default + Serialize + de::DeserializeOwned + Send + Sync + 'static
{
    /// Where their states are shown; clones show the same.
    type Shown: Clone + Default + Send + Sync + 'static;
    /// A write of any of them.
    type Write: Send + 'static;

    /// What members compare.
    fn interface() -> Interface;

    /// The write with this number that `arguments` begin with, and what follows it.
    ///
    /// # Errors
    /// When there is none.
    fn decode(number: u64, arguments: &[u8]) -> Result<(Self::Write, &[u8]), Unknown>;

    /// Applies a write, and appends what it answers.
    ///
    /// # Errors
    /// When that cannot be encoded.
    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        reply: &mut Reply,
    ) -> Result<(), Unencodable>;

    /// Shows the states as they are.
    fn show(&self, shown: &Self::Shown);

    /// Whether the stamps in them can be from `stamps`.
    fn fit(&self, stamps: &Stamps) -> bool;
}

/// The replicated state of a store.
pub(crate) struct Store<F: Fields> {
    fields: F,
    stamps: Stamps,
    shown: F::Shown,
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
        *self.is_news.get_mut() = true;
        self.fields.write(write, &mut self.stamps, reply)
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

    fn succeed(&mut self, before: &mut Self) {
        self.shown = before.shown.clone();
    }

    fn publish(&self) {
        if self.is_news.swap(false, Ordering::Relaxed) {
            self.fields.show(&self.shown);
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
    type Shown = Shown<S>;
    type Write = S::Write;

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

    fn write(
        &mut self,
        write: S::Write,
        stamps: &mut Stamps,
        reply: &mut Reply,
    ) -> Result<(), Unencodable> {
        reply.put(&self.0.write(write, stamps, &mut Changes::ignored()))
    }

    fn show(&self, shown: &Shown<S>) {
        shown.store(self.0.clone());
    }

    fn fit(&self, stamps: &Stamps) -> bool {
        self.0.fits(stamps)
    }
}

/// Where a collection is shown to those who read it. Clones show the same.
pub(crate) struct Shown<S>(Arc<Place<S>>);

struct Place<S> {
    state: ArcSwap<S>,
    /// Tells those who wait that there is another one.
    news: watch::Sender<()>,
}

impl<S> Shown<S> {
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

    fn store(&self, state: S) {
        self.0.state.store(Arc::new(state));
        self.0.news.send_replace(());
    }
}

impl<S> Clone for Shown<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Default> Default for Shown<S> {
    fn default() -> Self {
        Self(Arc::new(Place {
            state: ArcSwap::from_pointee(S::default()),
            news: watch::Sender::new(()),
        }))
    }
}

impl<S> fmt::Debug for Shown<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}
