//! The replicated cell that is set once.

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use futures::stream::BoxStream;

use super::{
    Builder, Value,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    state::State,
    state::{
        once::{self as state, OnceState, OnceWrite, OnceWrote},
        shared::Shared,
    },
    store::Store,
    transaction::{Draft, OnceTransaction, Outcome, transact_alone},
};
use crate::groups::{GroupError, Groups, Version};

/// A replicated cell that is set once, beside [`OnceLock`](std::sync::OnceLock): whoever is first decides for all.
///
/// Reads are of this node's own copy: at once and without a lock. What is there stays there, so it is never stale;
/// nothing may be there yet. All is O(1).
///
/// # Example
/// ```no_run
/// use mosaik::collections::Once;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let genesis = Once::<String>::writer(&network, "genesis");
/// genesis.when().online().await;
/// match genesis.set("block 0".into()).await? {
///     Ok(()) => println!("this node has decided"),
///     Err(mine) => println!("{mine} came too late for {:?}", genesis.get()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Once<T>(PhantomData<fn() -> T>);

/// A handle that reads and sets a [`Once`]. It reads as a [`OnceReader`] does. Clones are the same cell.
pub struct OnceWriter<T>(OnceReader<T>);

/// A handle that reads a [`Once`]. Clones are the same cell.
pub struct OnceReader<T>(Handle<OnceState<T>, state::OnceChange<T>>);

/// A [`Once`] as it was at one moment: whatever is written later does not show in it. Clones cost nothing.
pub struct OnceView<T>(Arc<OnceState<T>>);

/// What happens to a [`Once`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum OnceChange<T> {
    /// This is in the cell, if anything is: what was known of it before counts no longer. The first change of a feed, unless it
    /// goes on from a version, and the next where it is so far behind that changes are missing.
    Reset(Option<T>),
    /// There is a value.
    Set(T),
}

impl<T: Value> OnceChange<T> {
    fn of(state::OnceChange(value): state::OnceChange<T>) -> Self {
        Self::Set(value.value().clone())
    }

    fn reset(OnceView(cell): OnceView<T>) -> Self {
        Self::Reset(OnceReader::get_in(&cell))
    }
}

collection!(
    Once<T: Value>, OnceState<T>,
    OnceWriter, OnceReader, OnceView, OnceTransaction, OnceChange<T>, "the cell"
);

impl<T: Value> OnceReader<T> {
    /// The value; a clone. `None` if this node has not heard of one yet.
    pub fn get(&self) -> Option<T> {
        self.0.look(Self::get_in)
    }

    /// Waits for the value.
    ///
    /// # Errors
    /// Why this node takes part in the store no longer, once it does not: see [`GroupError`].
    pub fn wait(&self) -> impl Future<Output = Result<T, GroupError>> + Send + use<T> {
        let handle = self.0.clone();
        async move { handle.until(|| handle.look(Self::get_in)).await }
    }

    fn get_in(once: &OnceState<T>) -> Option<T> {
        once.get().map(|value| value.value().clone())
    }
}

impl<T: Value> OnceWriter<T> {
    /// Puts the value if there is none. The inner error gives it back if there was one.
    ///
    /// # Errors
    /// See [`GroupError`]; after [`GroupError::Timeout`] the write is still under way.
    pub fn set(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Result<(), T>, GroupError>> + Send + use<T> {
        let write = OnceWrite::Set(value);
        self.0.0.write(&write, |OnceWrote(set)| Some(set))
    }
}

impl<T: Value> OnceView<T> {
    /// The value.
    pub fn get(&self) -> Option<&T> {
        self.0.get().map(Shared::value)
    }
}

impl<T> Clone for OnceView<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Value + fmt::Debug> fmt::Debug for OnceView<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceView").field(&self.get()).finish()
    }
}
