//! Stores from the type that declares them.

use std::{fmt, marker::PhantomData};

use super::{
    builder::Builder,
    expiry,
    list::{CollectionList, Stored, StoredList},
    place::Shown,
    replica::{Layout, Replica, WRITE},
    states::States,
    store::Store,
    transaction::{Outcome, Proposal, transact},
    twin::Twin,
};
use crate::{
    declare::{self, Declaration, GroupDecl, Schema, SchemaError, SchemaSource},
    groups::{GroupBuilder, GroupError, Groups, Options, Refusal, Version},
};

/// What a type with `#[mosaik::replicated]` consists of: implemented by what stands for it.
pub trait DeclaredCollections: Sized {
    /// Its collections.
    type Collections: CollectionList;

    /// The names of the commands that write to them, each for itself.
    const WRITES: &'static [&'static str];
}

/// What stands for a struct with `#[mosaik::replicated]`, if what its collections hold may be replicated: keys implement
/// [`Key`](super::Key), and values [`Value`](super::Value).
#[diagnostic::on_unimplemented(message = "what the collections hold cannot be replicated")]
pub trait Replicated: DeclaredCollections<Collections: StoredList> + 'static {}

impl<D: DeclaredCollections<Collections: StoredList> + 'static> Replicated for D {}

/// A type with `#[mosaik::replicated]`.
pub trait DeclaredStore: Replicated {
    /// Its declaration.
    fn declaration() -> GroupDecl;

    /// The options that it declares.
    fn options() -> Options;
}

/// The layout of the store that a type declares.
struct Several<D>(PhantomData<fn() -> D>);

impl<D: DeclaredStore> Layout for Several<D> {
    type States = <D::Collections as StoredList>::States;

    const WRITES: &'static [&'static str] = D::WRITES;

    fn schema() -> SchemaSource {
        D::declaration().schema
    }
}

/// The schema of the collections that a type declares.
///
/// # Errors
/// When one of their types cannot be traced.
pub(crate) fn layout_of<D: Replicated>() -> Result<Schema, SchemaError> {
    Schema::trace::<<<D::Collections as StoredList>::States as States>::Layout>()
}

/// Takes part in a store.
pub(super) fn enter<L: Layout>(
    builder: GroupBuilder<Replica<L>>,
    options: Options,
    writer: bool,
) -> (Store, Shown<L::States>) {
    let builder = builder.options(options);
    let group = match writer {
        true => builder.join(),
        false => builder.observe(),
    };
    let shown = group.beside(Replica::shown);
    let store = Store::new(group.without_state(), shown.place().clone());
    if writer && shown.place().keep() {
        store.group().tasks().spawn(expiry::keep(store.clone()));
    }
    (store, shown)
}

/// Takes part in a store of one collection, `C`.
pub(super) fn enter_alone<C: Stored, L: Layout<States = (Twin<C::State>, ())>>(
    builder: GroupBuilder<Replica<L>>,
    options: Options,
    writer: bool,
) -> C::Reader {
    let (store, shown) = enter(builder, options, writer);
    let (reader, ()) = <(C, ()) as StoredList>::readers(&store, 0, L::WRITES, &shown.feeds);
    reader
}

/// The layout of the store that a type declares with one collection, `C`.
struct Single<D, C>(PhantomData<fn() -> (D, C)>);

impl<D: DeclaredStore, C: Stored> Layout for Single<D, C> {
    type States = (Twin<C::State>, ());

    const WRITES: &'static [&'static str] = &[WRITE];

    fn schema() -> SchemaSource {
        D::declaration().schema
    }
}

/// Options for the store that `D` declares with one collection, `C`, which begin as they are declared.
pub fn builder_of_one<D: DeclaredStore, C: Stored>(
    groups: &Groups,
) -> Builder<C::Writer, C::Reader> {
    fn enter<D: DeclaredStore, C: Stored>(
        groups: &Groups,
        name: String,
        options: Options,
        writer: bool,
    ) -> C::Reader {
        let builder = register::<D, Single<D, C>>(groups.of(name));
        enter_alone::<C, _>(builder, options, writer)
    }
    let name = D::declaration().name.to_owned();
    let builder = Builder::new(
        groups,
        name,
        |groups, name, options| C::writer(enter::<D, C>(groups, name, options, true)),
        |groups, name, options| enter::<D, C>(groups, name, options, false),
    );
    builder.options(D::options())
}

/// Registers the declaration; if it conflicts with another one, nobody may take part.
fn register<D: DeclaredStore, L: Layout>(
    builder: GroupBuilder<Replica<L>>,
) -> GroupBuilder<Replica<L>> {
    let declaration = Declaration::Store(D::declaration());
    match declare::register_instance(declaration) {
        Ok(()) => builder,
        Err(conflict) => builder.refused(Refusal::BadOptions(conflict.to_string())),
    }
}

/// The handles of the store that `D` declares, of which those are made that `#[mosaik::replicated]` makes.
pub struct Entered<D: DeclaredCollections> {
    store: Store,
    readers: <D::Collections as CollectionList>::Readers,
}

impl<D: DeclaredStore> Entered<D> {
    /// Takes part in the store.
    fn enter(groups: &Groups, name: String, options: Options, writer: bool) -> Self {
        let builder = register::<D, Several<D>>(groups.of(name));
        let (store, shown) = enter(builder, options, writer);
        let readers = D::Collections::readers(&store, 0, D::WRITES, &shown.feeds);
        Self { store, readers }
    }

    /// Options for it, which begin as they are declared.
    pub fn builder<W: From<Self>, R: From<Self>>(groups: &Groups) -> Builder<W, R> {
        let name = D::declaration().name.to_owned();
        let builder = Builder::new(
            groups,
            name,
            |groups, name, options| W::from(Self::enter(groups, name, options, true)),
            |groups, name, options| R::from(Self::enter(groups, name, options, false)),
        );
        builder.options(D::options())
    }

    /// What all handles of it have in common.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Handles that read its collections.
    pub fn readers(&self) -> <D::Collections as CollectionList>::Readers {
        self.readers.clone()
    }

    /// Handles that write them, too.
    pub fn writers(&self) -> <D::Collections as CollectionList>::Writers {
        D::Collections::writers(self.readers())
    }
}

impl<D: DeclaredCollections> fmt::Debug for Entered<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

/// The collections of a store in a transaction.
type Transactions<D> = <<D as DeclaredCollections>::Collections as CollectionList>::Transactions;

/// The collections of the store that `D` declares as they are now, all at the same version.
pub fn views_of<D: Replicated>(
    store: &Store,
) -> (Version, <D::Collections as CollectionList>::Views) {
    let shot = store.place().load();
    (Version(shot.version), D::Collections::views(&shot, 0))
}

/// Runs a transaction of the store that `D` declares. `body` gives back what it was given.
///
/// # Errors
/// As [`MapWriter::transaction`](super::MapWriter::transaction).
pub fn transaction_of<D: Replicated, O: Outcome, B>(
    store: &Store,
    mut body: B,
) -> impl Future<Output = Result<Option<O::Value>, GroupError>> + Send + use<D, O, B>
where
    B: FnMut(Transactions<D>) -> (O, Transactions<D>) + Send,
{
    let store = store.clone();
    async move {
        transact(&store, move |shot| {
            let (outcome, transactions) = body(D::Collections::begin(shot, 0, D::WRITES));
            let mut proposal = Proposal::new(shot);
            D::Collections::end(transactions, &mut proposal);
            (outcome.value(), proposal)
        })
        .await
    }
}
