//! The replicated counter.

use std::{fmt, ops::Deref, sync::Arc};

use futures::stream::BoxStream;

use super::{
    Builder,
    feed::feed,
    handle::{Handle, collection},
    list::{Collection, Stored},
    state::State,
    state::counter::{self as state, CounterState, CounterWrite, CounterWrote},
    store::Store,
    transaction::{CounterTransaction, Draft, Outcome, transact_alone},
};
use crate::groups::{GroupError, Groups, Version};

/// A replicated counter, beside [`AtomicI64`](std::sync::atomic::AtomicI64): a number, at first zero.
///
/// Reads are of this node's own copy: at once, without a lock, and possibly stale. Additions are commands of the
/// store's group: acknowledged once a majority has them, applied exactly once, and visible here when they return. They
/// conflict with nothing, in a transaction neither, so many nodes may add to one counter at a time. Each is told the sum
/// that its own has led to: no two the same, as long as all that is added is positive and nobody puts a number. All are
/// O(1), and carry a few bytes.
///
/// A sum that an `i128` cannot hold stays at the end that it has come to.
///
/// # Example
/// ```no_run
/// use mosaik::collections::Counter;
///
/// # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
/// let orders = Counter::writer(&network, "orders");
/// orders.when().online().await;
/// let number = orders.add(1).await?;
/// println!("this is order {number} of all nodes");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Counter(());

/// A handle that reads a [`Counter`] and adds to it. It reads as a [`CounterReader`] does. Clones are the same counter.
pub struct CounterWriter(CounterReader);

/// A handle that reads a [`Counter`]. Clones are the same counter.
pub struct CounterReader(Handle<CounterState, state::CounterChange>);

/// A [`Counter`] as it was at one moment. Clones cost nothing.
#[derive(Clone, Debug)]
pub struct CounterView(Arc<CounterState>);

/// What happens to a [`Counter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CounterChange {
    /// This is the number, whatever was before. The first change of a feed, unless it goes on from a version, and the
    /// next where it is so far behind that changes are missing.
    Reset(i128),
    /// It is another one.
    Changed {
        /// The number before.
        old: i128,
        /// The number.
        new: i128,
    },
}

impl CounterChange {
    fn of(state::CounterChange { old, new }: state::CounterChange) -> Self {
        Self::Changed { old, new }
    }

    fn reset(view: CounterView) -> Self {
        Self::Reset(view.get())
    }
}

collection!(
    Counter,
    CounterState,
    CounterWriter,
    CounterReader,
    CounterView,
    CounterTransaction,
    CounterChange,
    "the counter"
);

impl CounterReader {
    /// The number.
    pub fn get(&self) -> i128 {
        self.0.look(CounterState::get)
    }
}

impl CounterWriter {
    /// Adds a number, which may be negative; returns the sum.
    ///
    /// # Errors
    /// See [`GroupError`]; after [`GroupError::Timeout`] the write is still under way.
    pub fn add(
        &self,
        number: i128,
    ) -> impl Future<Output = Result<i128, GroupError>> + Send + use<> {
        self.write(&CounterWrite::Add(number))
    }

    /// Puts a number; returns the one that was there.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn swap(
        &self,
        number: i128,
    ) -> impl Future<Output = Result<i128, GroupError>> + Send + use<> {
        self.write(&CounterWrite::Swap(number))
    }

    fn write(
        &self,
        write: &CounterWrite,
    ) -> impl Future<Output = Result<i128, GroupError>> + Send + use<> {
        self.0.0.write(write, |CounterWrote(number)| Some(number))
    }
}

impl CounterView {
    /// The number.
    pub fn get(&self) -> i128 {
        self.0.get()
    }
}
