//! What every handle of a collection is made of.

use std::{fmt, pin::pin, sync::Arc};

use super::{
    state::State,
    store::{One, Shown, Store, WRITE},
};
use crate::groups::{Group, GroupError, Groups, Options, number};

/// A collection of a store: where it is shown, and how it is written to. Clones are the same collection.
pub(super) struct Handle<S, C> {
    group: Group<()>,
    shown: Shown<S, C>,
    /// The number of the command that writes to it.
    write: u64,
}

impl<S: State> Handle<S, S::Change> {
    /// The only collection of its store.
    fn alone(group: &Group<Store<One<S>>>) -> Self {
        Self {
            shown: group.beside(Store::shown),
            group: group.without_state(),
            write: number(WRITE),
        }
    }

    /// Where it is shown.
    pub(super) fn shown(&self) -> &Shown<S, S::Change> {
        &self.shown
    }

    /// The group of its store.
    pub(super) fn group(&self) -> &Group<()> {
        &self.group
    }

    /// What `look` makes of the collection as this node has it, at once.
    pub(super) fn look<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.shown.load())
    }

    /// The collection as this node has it, to be kept.
    pub(super) fn view(&self) -> Arc<S> {
        self.shown.load_full()
    }

    /// Waits until `look` finds something in what is shown.
    ///
    /// # Errors
    /// Why there is nothing to wait for, once this node takes part in the store no longer.
    pub(super) async fn until<T>(
        &self,
        mut look: impl FnMut(&Shown<S, S::Change>) -> Option<T>,
    ) -> Result<T, GroupError> {
        // Mostly it is there, and nothing has to be waited for.
        if let Some(found) = look(&self.shown) {
            return Ok(found);
        }
        let mut news = self.shown.news();
        let mut closed = pin!(self.group.when().closed());
        loop {
            news.mark_unchanged();
            if let Some(found) = look(&self.shown) {
                return Ok(found);
            }
            tokio::select! {
                biased;
                Ok(()) = news.changed() => {}
                _ = &mut closed => {
                    // The reason is what every call is told.
                    let told = self.group.read(|()| ()).await;
                    return Err(told.err().unwrap_or(GroupError::Closed));
                }
            }
        }
    }

    /// Applies a write. It is encoded before this returns.
    pub(super) fn write<T>(
        &self,
        write: &S::Write,
        answer: fn(S::Answer) -> Option<T>,
    ) -> impl Future<Output = Result<T, GroupError>> + Send + use<S, T> {
        let may = |len| may_be_sent::<S>(write, len);
        let applied = self
            .group
            .call_if::<S::Write, S::Answer>(self.write, write, &may);
        async move {
            let answered = answer(applied.await?);
            answered
                .ok_or_else(|| GroupError::Encoding("the answer is that of another write".into()))
        }
    }
}

impl<S, C> Clone for Handle<S, C> {
    fn clone(&self) -> Self {
        Self {
            group: self.group.clone(),
            shown: self.shown.clone(),
            write: self.write,
        }
    }
}

impl<S, C> fmt::Debug for Handle<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.group.fmt(f)
    }
}

/// Bytes of an item, with its key. An answer may hold two, and has to fit into what a command may return.
const MAX_ITEM: usize = 4 * 1024 * 1024 - 1024;

/// Whether a write of so many bytes may be sent: what could be put and never be taken out may not.
fn may_be_sent<S: State>(write: &S::Write, len: usize) -> Result<(), GroupError> {
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

/// Takes part in the store of one collection.
pub(super) fn enter<S: State>(
    groups: &Groups,
    name: String,
    options: Options,
    writer: bool,
) -> Handle<S, S::Change> {
    let builder = groups.of::<Store<One<S>>>(name).options(options);
    Handle::alone(&match writer {
        true => builder.join(),
        false => builder.observe(),
    })
}

/// What all collections have in common: how their handles are got, and what they say of the store.
macro_rules! collection {
    ($Type:ident<$($T:ident: $Bound:ident),+>, $Writer:ident, $Reader:ident, $what:literal) => {
        impl<$($T: $Bound),+> $Type<$($T),+> {
            #[doc = concat!("A handle that reads and writes ", $what, " of this name, in a store of its own with")]
            /// default options. This node is a member of the store's group, and votes if chosen. Once it follows
            /// the store as a reader, a writer is [refused](crate::groups::Refusal::Declared): open that first.
            ///
            /// `network` is a [`Network`](crate::Network).
            pub fn writer(network: &impl AsRef<Groups>, name: impl Into<String>) -> $Writer<$($T),+> {
                Self::builder(network, name).writer()
            }

            #[doc = concat!("A handle that reads ", $what, " of this name, in a store of its own with default")]
            /// options. This node follows the store's group, and never votes, unless it is a member already, which
            /// the reader then shares.
            pub fn reader(network: &impl AsRef<Groups>, name: impl Into<String>) -> $Reader<$($T),+> {
                Self::builder(network, name).reader()
            }

            /// Options for the store of this name. All members declare the same.
            pub fn builder(
                network: &impl AsRef<Groups>,
                name: impl Into<String>,
            ) -> Builder<$Writer<$($T),+>, $Reader<$($T),+>> {
                Builder::new(
                    network.as_ref(),
                    name.into(),
                    |groups, name, options| $Writer($Reader(enter(groups, name, options, true))),
                    |groups, name, options| $Reader(enter(groups, name, options, false)),
                )
            }
        }

        impl<$($T: $Bound),+> $Reader<$($T),+> {
            /// The name of the store.
            pub fn name(&self) -> &str {
                self.0.group().name()
            }

            /// The version of the store here: the index of the last entry of its log that was applied. What a write
            /// has done shows in the versions from its acknowledgement on.
            pub fn version(&self) -> Version {
                self.0.group().version()
            }

            /// States of the store that can be waited for.
            pub fn when(&self) -> When {
                self.0.group().when()
            }

            /// Whether writes can be applied, as far as this node knows.
            pub fn is_online(&self) -> bool {
                self.0.group().is_online()
            }

            /// What the store waits for, if it is not online, and how it is doing.
            pub fn explain(&self) -> GroupExplanation {
                self.0.group().explain()
            }

            /// What happens to the store's group from now on.
            pub fn events(&self) -> Events {
                self.0.group().events()
            }

            /// Waits until this node has everything that was acknowledged, to anybody, before this was called: what
            /// is read then is linearizable. Costs a round to the leader, which many share.
            ///
            /// # Errors
            /// See [`GroupError`].
            pub fn refresh(
                &self,
            ) -> impl Future<Output = Result<(), GroupError>> + Send + use<$($T),+> {
                let group = self.0.group().clone();
                async move { group.read(|()| ()).await }
            }

            /// Leaves the store for good, with all its handles of this node: see [`Group::leave`](crate::Group::leave).
            pub fn leave(&self) -> impl Future<Output = ()> + Send + use<$($T),+> {
                let group = self.0.group().clone();
                async move { group.leave().await }
            }
        }

        impl<$($T),+> Deref for $Writer<$($T),+> {
            type Target = $Reader<$($T),+>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl<$($T),+> Clone for $Writer<$($T),+> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<$($T),+> Clone for $Reader<$($T),+> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<$($T),+> fmt::Debug for $Writer<$($T),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Writer)).field(&self.0.0).finish()
            }
        }

        impl<$($T),+> fmt::Debug for $Reader<$($T),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($Reader)).field(&self.0).finish()
            }
        }
    };
}
pub(super) use collection;
