//! Transactions: reads and writes of the collections of a store, as if nobody else read or wrote meanwhile.
//!
//! A transaction is a closure. It is called with the collections as this node has them, reads them at once, and sees
//! what it has written itself. When it returns `Some` or `Ok`, what it has read and what it writes go to the store's
//! log as one command. Every replica applies the writes, all of them, if what was read is still the same at that point
//! of the log, and none of them otherwise; then the closure is called again, with what there is by then. So it may be
//! called several times, and nothing but its last call counts: what else it does has to bear that.
//!
//! When it returns `None` or an `Err`, nothing is written, and the transaction returns `None`. That is decided by what
//! was acknowledged before the transaction began, too: the node asks the leader whether it has everything, and if what
//! was read turns out not to be up to date, the closure is called again. It is the same for one that writes nothing.
//! Transactions are therefore strictly serializable: each takes effect at one moment between its call and its return,
//! in one order for all.
//!
//! It is tried again until the store's `command_timeout` has passed; the last try may take as long once more, as what
//! becomes of it has to be known.
//!
//! # What counts as read
//! | a transaction that | is applied if |
//! |---|---|
//! | reads a key, with `get`, `contains_key`, `contains`, `remove` | what stood there is still there, not written since, or there still is nothing |
//! | reads an index of a [`Vec`](super::Vec) | the same element is still there |
//! | reads the front of a `Vec`, or pops it | the same elements are still there |
//! | reads the back of a `Vec`, or pops it | the same element is still last; for what stands before it, or once the transaction has written to the vector, it also has the same length |
//! | reads an end of a [`PriorityQueue`](super::PriorityQueue), or pops it | the same items are still first there, as many as were popped, and one more if one was read behind them |
//! | reads a `PriorityQueue` after it has written to it | what was read is still there, and the limit is the same; if there is one, nobody has changed anything in the queue |
//! | reads the length of a `Vec` | it has the same length |
//! | reads a [`Cell`](super::Cell) or a [`Once`](super::Once) | the same value is still there, not written since, or there still is none |
//! | reads a [`Counter`](super::Counter) | nobody has changed it |
//! | reads a [`Lock`](super::Lock) | the same holder holds it, with the same token, or still nobody does |
//! | reads a whole collection, with `iter`, `len`, `index_of` or the like | nobody has changed anything in it |
//! | only writes, with `insert`, `push_back`, `set`, `add`, `extend`, `clear` | always: blind writes conflict with nothing |
//!
//! What is only written is not read, and to find out what was there would be to read it, so `insert` and the like return
//! nothing here: read first where that matters. A value that the transaction has put itself does not count when it reads
//! it, at a key or in a cell; in a vector its place does, and so the length.
//!
//! # Example
//! ```no_run
//! use mosaik::collections::Map;
//!
//! # async fn run(network: mosaik::Network) -> Result<(), Box<dyn std::error::Error>> {
//! let accounts = Map::<String, u64>::writer(&network, "accounts");
//! let (from, to) = ("alice".to_owned(), "bob".to_owned());
//! let moved = accounts
//!     .transaction(|accounts| {
//!         let rest = accounts.get(&from)?.checked_sub(10)?;
//!         let sum = accounts.get(&to).unwrap_or(0) + 10;
//!         accounts.insert(from.clone(), rest);
//!         accounts.insert(to.clone(), sum);
//!         Some(rest)
//!     })
//!     .await?;
//! println!("alice has {moved:?} left; with `None`, nothing was moved");
//! # Ok(())
//! # }
//! ```

mod cell;
mod counter;
mod draft;
mod lock;
mod map;
mod queue;
mod set;
#[cfg(test)]
mod tests;
mod vec;

pub use cell::{CellTransaction, OnceTransaction};
pub use counter::CounterTransaction;
#[doc(hidden)]
pub use draft::{Draft, Proposal};
pub use lock::LockTransaction;
pub use map::{MapTransaction, SortedMapTransaction};
pub use queue::PriorityQueueTransaction;
pub use set::SetTransaction;
pub use vec::VecTransaction;

use super::{
    list::{HandleOf, Stored},
    place::Shot,
    replica::TRANSACTION,
    store::Store,
};
use crate::{
    groups::{GroupError, number},
    rt,
};

#[diagnostic::on_unimplemented(
    message = "a transaction returns `Some` or `Ok` to apply what it writes, `None` or `Err` not to, and not `{Self}`",
    label = "neither an `Option` nor a `Result`",
    note = "end its closure with `Some(())`"
)]
/// What the closure of a transaction returns: `Some` or `Ok` to apply what it writes, `None` or `Err` not to.
pub trait Outcome {
    /// What the transaction returns if it is applied.
    type Value: Send;

    /// That, if it is to be applied.
    fn value(self) -> Option<Self::Value>;
}

impl<T: Send> Outcome for Option<T> {
    type Value = T;

    fn value(self) -> Option<T> {
        self
    }
}

impl<T: Send, E> Outcome for Result<T, E> {
    type Value = T;

    fn value(self) -> Option<T> {
        self.ok()
    }
}

/// Runs a transaction. `attempt` is given what is shown, and returns what comes of it.
///
/// # Errors
/// As [`MapWriter::transaction`](super::MapWriter::transaction).
pub(super) async fn transact<T>(
    store: &Store,
    mut attempt: impl FnMut(&Shot) -> (Option<T>, Proposal),
) -> Result<Option<T>, GroupError> {
    let deadline = rt::now() + store.command_timeout();
    // Whether what is shown holds all that was acknowledged before this was called.
    let mut is_fresh = false;
    loop {
        let shot = store.place().load_full();
        let (outcome, proposal) = attempt(&shot);
        drop(shot);
        if outcome.is_some() && proposal.has_writes() {
            let arguments = proposal.encode()?;
            let group = store.group();
            let applied = group.call_encoded(number(TRANSACTION), &arguments);
            if applied.await? {
                return Ok(outcome);
            }
        } else {
            if !is_fresh {
                store.refresh().await?;
            }
            if is_fresh || proposal.is_as_read(&store.place().load()) {
                return Ok(outcome);
            }
        }
        // An answer comes once this node has what it depends on, too.
        is_fresh = true;
        if rt::now() >= deadline {
            return Err(GroupError::Contended);
        }
    }
}

/// Runs a transaction of one collection.
///
/// # Errors
/// As [`MapWriter::transaction`](super::MapWriter::transaction).
pub(super) async fn transact_alone<C: Stored, T>(
    handle: HandleOf<C>,
    mut body: impl FnMut(&mut C::Transaction) -> Option<T> + Send,
) -> Result<Option<T>, GroupError> {
    transact(handle.store(), |shot| {
        let index = handle.index();
        let draft = Draft::new(index, handle.number(), shot.keep(index));
        let mut transaction = C::begin(draft);
        let outcome = body(&mut transaction);
        let mut proposal = Proposal::new(shot);
        C::end(transaction).put(&mut proposal);
        (outcome, proposal)
    })
    .await
}
