//! What every handle of a collection is made of.

use std::{fmt, pin::pin, sync::Arc};

use super::{
    feed::Feed,
    place::Place,
    state::{
        State,
        exchange::{Exchanged, Settled, settle},
        stamp::{Mark, Origin},
    },
    store::Store,
};
use crate::groups::{GroupError, decode_all};

/// A collection of a store: where it is shown, and how it is written to. Clones are the same collection.
pub struct Handle<S, C> {
    store: Store,
    /// Its place in the list that the store consists of.
    index: usize,
    feed: Feed<S, C>,
    /// The number of the command that writes to it.
    write: u64,
}

impl<S: State> Handle<S, S::Change> {
    /// The collection at `index` of a store, which the command numbered `write` writes to.
    pub(super) fn new(store: Store, index: usize, feed: Feed<S, S::Change>, write: u64) -> Self {
        Self {
            store,
            index,
            feed,
            write,
        }
    }

    /// Where its changes are told.
    pub(super) fn feed(&self) -> &Feed<S, S::Change> {
        &self.feed
    }

    /// Its place in the list that the store consists of.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The number of the command that writes to it.
    pub(super) fn number(&self) -> u64 {
        self.write
    }

    /// What `look` makes of the collection as this node has it, at once.
    pub(super) fn look<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(self.place().load().state(self.index))
    }

    /// The same, told whose stamps are in it.
    pub(super) fn look_at<T>(&self, look: impl FnOnce(&S, Origin) -> T) -> T {
        let shot = self.place().load();
        look(shot.state(self.index), shot.origin)
    }

    /// The collection as this node has it, to be kept.
    pub(super) fn view(&self) -> Arc<S> {
        self.place().load().keep(self.index)
    }

    /// Waits until `look` finds something, which it may do whenever something is shown.
    ///
    /// # Errors
    /// Why there is nothing to wait for, once this node takes part in the store no longer.
    pub(super) async fn until<T>(
        &self,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, GroupError> {
        // Mostly it is there, and nothing has to be waited for.
        if let Some(found) = look() {
            return Ok(found);
        }
        let mut news = self.place().news();
        let mut closed = pin!(self.store.when().closed());
        loop {
            news.mark_unchanged();
            if let Some(found) = look() {
                return Ok(found);
            }
            tokio::select! {
                biased;
                Ok(()) = news.changed() => {}
                _ = &mut closed => {
                    // The reason is what every call is told.
                    let told = self.store.refresh().await;
                    return Err(told.err().unwrap_or(GroupError::Closed));
                }
            }
        }
    }

    /// Applies a write. It is encoded before this returns.
    pub(super) fn write<T: Send + 'static>(
        &self,
        write: &S::Write,
        answer: fn(S::Answer) -> Option<T>,
    ) -> impl Future<Output = Result<T, GroupError>> + Send + use<S, T> {
        let may = |len| may_be_sent::<S>(write, len);
        let finish = move |bytes: &[u8]| {
            let answered = answer(decode_all(bytes)?);
            answered
                .ok_or_else(|| GroupError::Encoding("the answer is that of another write".into()))
        };
        self.store.group().call_if(self.write, write, &may, finish)
    }
}

impl<S: State> Handle<S, S::Change> {
    /// Exchanges what is there with `current` for something else, as `exchange` asks for it, which is told the mark of
    /// what to expect; tries again where somebody has written an equal value.
    pub(super) async fn exchange_value<V, E>(
        &self,
        mut guess: Option<Mark>,
        current: Option<V>,
        exchange: impl Fn(Option<Mark>) -> E,
    ) -> Result<Result<Option<V>, Option<V>>, GroupError>
    where
        V: PartialEq + Send + 'static,
        E: Future<Output = Result<Exchanged<V>, GroupError>>,
    {
        loop {
            let exchanged = match exchange(guess).await {
                Ok(exchanged) => exchanged,
                Err(error) => {
                    let settle = move |exchanged| match settle(exchanged, current.as_ref()) {
                        Settled::Done(outcome) => Ok(outcome),
                        Settled::Again(_) => Err(GroupError::Contended),
                    };
                    return Err(error.then(self.store.group().tasks(), settle));
                }
            };
            match settle(exchanged, current.as_ref()) {
                Settled::Done(outcome) => return Ok(outcome),
                Settled::Again(mark) => guess = Some(mark),
            }
        }
    }

    /// Exchanges what is there for what `update` makes of it, as `exchange` asks for it, which is told the mark of what
    /// to expect, and the value to put; tries again where somebody was faster.
    pub(super) async fn update_value<V, E>(
        &self,
        (mut seen, mut new): (Option<Mark>, Option<V>),
        mut update: impl FnMut(Option<&V>) -> Option<V>,
        exchange: impl Fn(Option<Mark>, &Option<V>) -> E,
    ) -> Result<Option<V>, GroupError>
    where
        V: Send + 'static,
        E: Future<Output = Result<Exchanged<V>, GroupError>>,
    {
        loop {
            match exchange(seen, &new).await {
                Ok(Ok(_)) => return Ok(new),
                Ok(Err(actual)) => {
                    seen = actual.as_ref().map(|(mark, _)| *mark);
                    new = update(actual.as_ref().map(|(_, value)| value));
                }
                Err(error) => {
                    let settle = move |exchanged: Exchanged<V>| match exchanged {
                        Ok(_) => Ok(new),
                        Err(_) => Err(GroupError::Contended),
                    };
                    return Err(error.then(self.store.group().tasks(), settle));
                }
            }
        }
    }
}

impl<S, C> Handle<S, C> {
    /// The store that it belongs to.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    fn place(&self) -> &Place {
        self.store.place()
    }
}

impl<S, C> Clone for Handle<S, C> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            index: self.index,
            feed: self.feed.clone(),
            write: self.write,
        }
    }
}

impl<S, C> fmt::Debug for Handle<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

/// Bytes of an item, with its key. An answer may hold two, and has to fit into what a command may return.
const MAX_ITEM: usize = 4 * 1024 * 1024 - 1024;

/// Whether a write of so many bytes may be sent: what could be put and never be taken out may not.
pub(super) fn may_be_sent<S: State>(write: &S::Write, len: usize) -> Result<(), GroupError> {
    if len <= MAX_ITEM {
        return Ok(());
    }
    let len = S::largest(write).unwrap_or(len);
    if len <= MAX_ITEM {
        return Ok(());
    }
    Err(GroupError::TooLarge {
        len,
        limit: MAX_ITEM,
        unit: "bytes",
    })
}

/// What all collections have in common: how their handles are got, and what they belong to.
macro_rules! collection {
    (
        $Type:ident $(<$($T:ident: $Bound:ident),+>)?, $State:ty,
        $Writer:ident, $Reader:ident, $View:ident, $Transaction:ident, $Change:ty, $what:literal
    ) => {
        impl<$($($T: $Bound),+)?> $Type<$($($T),+)?> {
            #[doc = concat!("A handle that reads and writes ", $what, " of this name, in a store of its own with")]
            /// default options. This node is a member of the store's group, and votes if chosen. Once it follows
            /// the store as a reader, a writer is [refused](crate::groups::Refusal::Declared): open that first.
            ///
            /// `network` is a [`Network`](crate::Network).
            pub fn writer(network: &impl AsRef<Groups>, name: impl Into<String>) -> $Writer<$($($T),+)?> {
                Self::builder(network, name).writer()
            }

            #[doc = concat!("A handle that reads ", $what, " of this name, in a store of its own with default")]
            /// options. This node follows the store's group, and never votes, unless it is a member already, which
            /// the reader then shares.
            pub fn reader(network: &impl AsRef<Groups>, name: impl Into<String>) -> $Reader<$($($T),+)?> {
                Self::builder(network, name).reader()
            }

            /// Options for the store of this name. All members declare the same.
            pub fn builder(
                network: &impl AsRef<Groups>,
                name: impl Into<String>,
            ) -> Builder<$Writer<$($($T),+)?>, $Reader<$($($T),+)?>> {
                Builder::alone::<Self>(network.as_ref(), name.into())
            }
        }

        impl<$($($T),+)?> Collection for $Type<$($($T),+)?> {
            type Writer = $Writer<$($($T),+)?>;
            type Reader = $Reader<$($($T),+)?>;
            type View = $View<$($($T),+)?>;
            type Transaction = $Transaction<$($($T),+)?>;
            type Change = $Change;
        }

        impl<$($($T: $Bound),+)?> Stored for $Type<$($($T),+)?> {
            type State = $State;

            fn reader(handle: Handle<$State, <$State as State>::Change>) -> Self::Reader {
                $Reader(handle)
            }

            fn writer(reader: Self::Reader) -> Self::Writer {
                $Writer(reader)
            }

            fn view(state: Arc<$State>) -> Self::View {
                $View(state)
            }

            fn change(change: <$State as State>::Change) -> $Change {
                <$Change>::of(change)
            }

            fn reset(view: Self::View) -> $Change {
                <$Change>::reset(view)
            }

            fn begin(draft: Draft<$State, <$State as State>::Read>) -> Self::Transaction {
                $Transaction::new(draft)
            }

            fn end(transaction: Self::Transaction) -> Draft<$State, <$State as State>::Read> {
                transaction.draft
            }
        }

        impl<$($($T: $Bound),+)?> $Reader<$($($T),+)?> {
            #[doc = concat!("What this node has of ", $what, " now, to be looked at for as long as is wanted, without any")]
            /// copy.
            pub fn view(&self) -> $View<$($($T),+)?> {
                $View(self.0.view())
            }

            #[doc = concat!("What happens to ", $what, " on this node, each change with the version that it belongs to.")]
            /// It begins with all there is, as a `Reset`, and ends once this node takes part in the store no longer.
            ///
            /// The node holds the last 4096 changes. Whoever is further behind gets a `Reset` next.
            pub fn changes(&self) -> BoxStream<'static, (Version, $Change)> {
                feed::<$Type<$($($T),+)?>>(self.0.clone(), None)
            }

            /// The same, but from behind the changes of `version`, if this node holds all that came after: it does from
            /// the first call of [`changes`](Self::changes) on.
            pub fn changes_since(
                &self,
                version: Version,
            ) -> BoxStream<'static, (Version, $Change)> {
                feed::<$Type<$($($T),+)?>>(self.0.clone(), Some(version))
            }
        }

        impl<$($($T: $Bound),+)?> $Writer<$($($T),+)?> {
            #[doc = concat!("Reads and writes ", $what, " as if nobody else did meanwhile: all that `body` writes is")]
            /// applied together, and only if what it has read is still the same then; else `body` is called again.
            /// Returns what it returns; with `None` or an `Err` from it nothing is written, and `None` is returned.
            ///
            /// See [`transaction`](super::transaction) for what counts as read.
            ///
            /// # Errors
            /// [`GroupError::Contended`] if others were faster again and again until the store's `command_timeout`:
            /// nothing was written. Else see [`GroupError`]; after [`GroupError::Timeout`] the writes are still under
            /// way, and their [outcome](crate::groups::Pending::outcome) is a `bool`: whether they were applied.
            pub fn transaction<F, O>(
                &self,
                mut body: F,
            ) -> impl Future<Output = Result<Option<O::Value>, GroupError>> + Send + use<$($($T,)+)? F, O>
            where
                F: FnMut(&mut $Transaction<$($($T),+)?>) -> O + Send,
                O: Outcome,
            {
                transact_alone::<$Type<$($($T),+)?>, _>(self.0.0.clone(), move |transaction| {
                    body(transaction).value()
                })
            }
        }

        impl<$($($T),+)?> Deref for $Writer<$($($T),+)?> {
            type Target = $Reader<$($($T),+)?>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<$($($T),+)?> Deref for $Reader<$($($T),+)?> {
            type Target = Store;

            fn deref(&self) -> &Store {
                self.0.store()
            }
        }

        impl<$($($T),+)?> Clone for $Writer<$($($T),+)?> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<$($($T),+)?> Clone for $Reader<$($($T),+)?> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<$($($T),+)?> fmt::Debug for $Writer<$($($T),+)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Writer)).field(&self.0.0).finish()
            }
        }

        impl<$($($T),+)?> fmt::Debug for $Reader<$($($T),+)?> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Reader)).field(&self.0).finish()
            }
        }
    };
}
pub(super) use collection;
