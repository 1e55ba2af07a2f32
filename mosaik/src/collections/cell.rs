//! The replicated cell.

use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

use futures::stream::BoxStream;

use super::{
    Builder, Value,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    state::State,
    state::{
        cell::{self as state, CellState, CellWrite, CellWrote},
        exchange::{self, Exchanged},
        shared::Shared,
        stamp::Mark,
    },
    store::Store,
    transaction::{CellTransaction, Draft, Outcome, transact_alone},
};
use crate::groups::{GroupError, Groups, Version};

/// A replicated cell, beside [`Cell`](std::cell::Cell) and the atomics: one value, or none.
///
/// Reads are of this node's own copy: at once, without a lock, and possibly stale. Writes are commands of the store's
/// group: acknowledged once a majority has them, applied exactly once, and visible here when they return. All are
/// O(1), and carry the value.
///
/// # Example
/// ```no_run
/// use mosaik::collections::Cell;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let halted = Cell::<bool>::writer(&network, "halted");
/// halted.when().online().await;
/// assert_eq!(halted.swap(true).await?, None);
/// assert_eq!(halted.get(), Some(true));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cell<T>(PhantomData<fn() -> T>);

/// A handle that reads and writes a [`Cell`]. It reads as a [`CellReader`] does. Clones are the same cell.
pub struct CellWriter<T>(CellReader<T>);

/// A handle that reads a [`Cell`]. Clones are the same cell.
pub struct CellReader<T>(Handle<CellState<T>, state::CellChange<T>>);

/// A [`Cell`] as it was at one moment: whatever is written later does not show in it. Clones cost nothing.
pub struct CellView<T>(Arc<CellState<T>>);

/// What happens to a [`Cell`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CellChange<T> {
    /// This is in the cell, whatever was before. The first change of a feed, unless it goes on from a version, and the
    /// next where it is so far behind that changes are missing.
    Reset(Option<T>),
    /// There is a value, which may equal the one before.
    Set {
        /// What was there before.
        old: Option<T>,
        /// The value.
        new: T,
    },
    /// The value is gone.
    Cleared {
        /// The value before.
        old: T,
    },
}

impl<T: Value> CellChange<T> {
    fn of(change: state::CellChange<T>) -> Self {
        let owned = |value: Shared<T>| value.value().clone();
        match change {
            state::CellChange::Set { old, new } => Self::Set {
                old: old.map(owned),
                new: owned(new),
            },
            state::CellChange::Cleared { old } => Self::Cleared { old: owned(old) },
        }
    }

    fn reset(view: CellView<T>) -> Self {
        Self::Reset(view.get().cloned())
    }
}

collection!(
    Cell<T: Value>, CellState<T>,
    CellWriter, CellReader, CellView, CellTransaction, CellChange<T>, "the cell"
);

impl<T: Value> CellReader<T> {
    /// The value; a clone. `None` if it was never set, or cleared.
    pub fn get(&self) -> Option<T> {
        self.look(Clone::clone)
    }

    /// What `look` makes of the value, which is not cloned.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.0
            .look(|cell| cell.get().map(|value| look(value.value())))
    }
}

impl<T: Value> CellWriter<T> {
    /// Puts a value.
    ///
    /// # Errors
    /// See [`GroupError`]; after [`GroupError::Timeout`] the write is still under way.
    pub fn set(&self, value: T) -> impl Future<Output = Result<(), GroupError>> + Send + use<T> {
        self.0
            .0
            .write(&CellWrite::Set(value), |answer| match answer {
                CellWrote::Done => Some(()),
                _ => None,
            })
    }

    /// Puts a value; returns the one that was there.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn swap(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Option<T>, GroupError>> + Send + use<T> {
        self.old(&CellWrite::Swap(value))
    }

    /// Removes the value, and returns it.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn clear(&self) -> impl Future<Output = Result<Option<T>, GroupError>> + Send + use<T> {
        self.old(&CellWrite::Clear)
    }

    /// Puts `new` if `current` is there, compared by value; `None` stands for no value. Returns what was there: as
    /// `Ok` if it was exchanged, as `Err` if it was something else.
    ///
    /// # Errors
    /// As [`set`](Self::set). The [outcome](crate::groups::Pending::outcome) of what has timed out is of the inner type,
    /// and [`GroupError::Contended`] if it has to be tried again: then nothing was written.
    pub fn compare_exchange(
        &self,
        current: Option<T>,
        new: Option<T>,
    ) -> impl Future<Output = Result<Result<Option<T>, Option<T>>, GroupError>> + Send + use<T>
    where
        T: PartialEq,
    {
        let this = self.clone();
        async move {
            let guess =
                |cell: &CellState<T>, origin| exchange::guess(cell.get(), origin, current.as_ref());
            let guess = this.0.0.look_at(guess);
            let exchange = |guess| this.exchange(guess, &new);
            this.0.0.exchange_value(guess, current, exchange).await
        }
    }

    /// Puts what `update` makes of the value, `None` for no value; returns that. Calls `update` again if somebody
    /// else has changed the value meanwhile, as often as somebody is faster.
    ///
    /// # Errors
    /// As [`compare_exchange`](Self::compare_exchange).
    pub fn update<F>(
        &self,
        mut update: F,
    ) -> impl Future<Output = Result<Option<T>, GroupError>> + Send + use<T, F>
    where
        F: FnMut(Option<&T>) -> Option<T> + Send,
    {
        let this = self.clone();
        async move {
            let first = this.0.0.look_at(|cell, origin| {
                let mark = exchange::mark(cell.get(), origin);
                (mark, update(cell.get().map(Shared::value)))
            });
            let exchange = |seen, new: &_| this.exchange(seen, new);
            this.0.0.update_value(first, update, exchange).await
        }
    }

    fn exchange(
        &self,
        current: Option<Mark>,
        new: &Option<T>,
    ) -> impl Future<Output = Result<Exchanged<T>, GroupError>> + Send + use<T> {
        let new = new.clone();
        let write = CellWrite::CompareExchange { current, new };
        self.0.0.write(&write, |answer| match answer {
            CellWrote::Exchanged(exchanged) => Some(exchanged),
            _ => None,
        })
    }

    fn old(
        &self,
        write: &CellWrite<T>,
    ) -> impl Future<Output = Result<Option<T>, GroupError>> + Send + use<T> {
        self.0.0.write(write, |answer| match answer {
            CellWrote::Old(old) => Some(old),
            _ => None,
        })
    }
}

impl<T: Value> CellView<T> {
    /// The value.
    pub fn get(&self) -> Option<&T> {
        self.0.get().map(Shared::value)
    }
}

impl<T> Clone for CellView<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Value + fmt::Debug> fmt::Debug for CellView<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CellView").field(&self.get()).finish()
    }
}
