//! The collections of a store as one: a list of them, each with what follows it.

use std::sync::Arc;

use super::{
    feed::Feed,
    handle::Handle,
    place::Shot,
    state::State,
    states::States,
    store::Store,
    transaction::{Draft, Proposal},
    twin::Twin,
};
use crate::groups::number;

/// A replicated collection: one of those in [this module](super).
///
/// It says which types belong to it, whatever it holds; only what may be replicated can be used with them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no replicated collection",
    label = "not one of the types in `mosaik::collections`",
    note = "use `Map`, `SortedMap`, `Vec`, `Set`, `Cell`, `Once`, `PriorityQueue`, `Counter` or `Lock` from \
            `mosaik::collections`; a plain value is a `Cell`"
)]
pub trait Collection {
    /// A handle that reads and writes it.
    type Writer: Clone;
    /// A handle that reads it.
    type Reader: Clone;
    /// The collection as it was at one moment.
    type View: Clone;
    /// The collection in a transaction.
    type Transaction;
    /// What happens to it.
    type Change;
}

/// The handle that reads and writes the collection `C`: for `Map<K, V>` a [`MapWriter<K, V>`](super::MapWriter).
pub type Writer<C> = <C as Collection>::Writer;
/// The handle that reads the collection `C`: for `Map<K, V>` a [`MapReader<K, V>`](super::MapReader).
pub type Reader<C> = <C as Collection>::Reader;
/// The collection `C` as it was at one moment: for `Map<K, V>` a [`MapView<K, V>`](super::MapView).
pub type View<C> = <C as Collection>::View;
/// The collection `C` in a transaction: for `Map<K, V>` a
/// [`MapTransaction<K, V>`](super::transaction::MapTransaction).
pub type Transaction<C> = <C as Collection>::Transaction;

/// A collection of what may be replicated.
pub trait Stored: Collection<Change: Send + 'static> + 'static {
    /// What is replicated.
    type State: State;

    /// The handle that reads what `handle` is for.
    fn reader(handle: HandleOf<Self>) -> Self::Reader;

    /// The handle that also writes.
    fn writer(reader: Self::Reader) -> Self::Writer;

    /// The view of a state.
    fn view(state: Arc<Self::State>) -> Self::View;

    /// What has happened.
    fn change(change: <Self::State as State>::Change) -> Self::Change;

    /// That this is the whole collection.
    fn reset(view: Self::View) -> Self::Change;

    /// The collection in a transaction that begins.
    fn begin(draft: DraftOf<Self>) -> Self::Transaction;

    /// What a transaction that ends has done.
    fn end(transaction: Self::Transaction) -> DraftOf<Self>;
}

/// What the handles of a collection are made of.
pub(super) type HandleOf<C> = Handle<<C as Stored>::State, <<C as Stored>::State as State>::Change>;
/// What is known of a collection in a transaction.
pub(super) type DraftOf<C> = Draft<<C as Stored>::State, <<C as Stored>::State as State>::Read>;

/// A list of collections: `(first, rest)`, and `()` at its end. All that belongs to it is such a list, too.
pub trait CollectionList {
    /// Handles that read and write them.
    type Writers;
    /// Handles that read them.
    type Readers: Clone;
    /// The collections as they were at one moment.
    type Views;
    /// The collections in a transaction.
    type Transactions;
}

impl CollectionList for () {
    type Writers = ();
    type Readers = ();
    type Views = ();
    type Transactions = ();
}

impl<C: Collection, R: CollectionList> CollectionList for (C, R) {
    type Writers = (C::Writer, R::Writers);
    type Readers = (C::Reader, R::Readers);
    type Views = (C::View, R::Views);
    type Transactions = (C::Transaction, R::Transactions);
}

/// A list of collections of what may be replicated.
pub trait StoredList: CollectionList + 'static {
    /// What is replicated.
    type States: States;

    /// Handles for the collections of a store from the one at `index` on, which the commands of these names write to.
    fn readers(
        store: &Store,
        index: usize,
        names: &[&str],
        feeds: &<Self::States as States>::Feeds,
    ) -> Self::Readers;

    /// Handles that also write.
    fn writers(readers: Self::Readers) -> Self::Writers;

    /// What is in a shot from `index` on.
    fn views(shot: &Shot, index: usize) -> Self::Views;

    /// A transaction begins with what is in a shot from `index` on.
    fn begin(shot: &Shot, index: usize, names: &[&str]) -> Self::Transactions;

    /// A transaction ends: puts what it did to a proposal.
    fn end(transactions: Self::Transactions, proposal: &mut Proposal);
}

impl StoredList for () {
    type States = ();

    fn readers(_: &Store, _: usize, _: &[&str], (): &()) {}

    fn writers((): ()) {}

    fn views(_: &Shot, _: usize) {}

    fn begin(_: &Shot, _: usize, _: &[&str]) {}

    fn end((): (), _: &mut Proposal) {}
}

impl<C: Stored, R: StoredList> StoredList for (C, R) {
    type States = (Twin<C::State>, R::States);

    fn readers(
        store: &Store,
        index: usize,
        names: &[&str],
        (feed, feeds): &(
            Feed<C::State, <C::State as State>::Change>,
            <R::States as States>::Feeds,
        ),
    ) -> Self::Readers {
        let handle = Handle::new(store.clone(), index, feed.clone(), number(names[index]));
        let rest = R::readers(store, index + 1, names, feeds);
        (C::reader(handle), rest)
    }

    fn writers((reader, readers): Self::Readers) -> Self::Writers {
        (C::writer(reader), R::writers(readers))
    }

    fn views(shot: &Shot, index: usize) -> Self::Views {
        (C::view(shot.keep(index)), R::views(shot, index + 1))
    }

    fn begin(shot: &Shot, index: usize, names: &[&str]) -> Self::Transactions {
        let draft = Draft::new(index, number(names[index]), shot.keep(index));
        (C::begin(draft), R::begin(shot, index + 1, names))
    }

    fn end((first, rest): Self::Transactions, proposal: &mut Proposal) {
        C::end(first).put(proposal);
        R::end(rest, proposal);
    }
}
