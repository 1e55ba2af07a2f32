//! What the replicated collections consist of: pure states that change in the same way on every replica.
//!
//! A [`State`] is changed by its [writes](State::Write) and by nothing else. It knows no chance, no order of hashing, and
//! no time but that which each command brings: replicas that apply the same writes in the same order give the same
//! answers, and encode to the same bytes. It is made of persistent structures, so a clone takes constant time and is a
//! snapshot.
//!
//! Every value that is written gets a [`Stamp`](stamp::Stamp) of its own. Transactions live on them: a transaction
//! remembers the stamps of what it [has read](State::Read), and its writes are applied only if it would read the
//! same ones now. What was not read is not looked at, so transactions on different keys never meet.
//!
//! [Changes](State::Change) say what a write has done, and suffice to follow a collection from them alone.

use std::hash::Hash;

use serde::{Serialize, de::DeserializeOwned};

use changes::Changes;
use deadlines::Expiry;
use stamp::{Stamp, Stamps};

pub(crate) mod cell;
pub(crate) mod changes;
pub(crate) mod codec;
pub(crate) mod counter;
pub(crate) mod deadlines;
pub(crate) mod exchange;
mod hashed;
pub(crate) mod lock;
pub(crate) mod map;
pub(crate) mod once;
pub(crate) mod queue;
pub(crate) mod seen;
pub(crate) mod set;
pub(crate) mod shared;
pub(crate) mod stamp;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod testing;
mod traced;
pub(crate) mod vec;

/// The state of one collection.
///
/// Encoded it is what a snapshot holds of it, in an order that does not depend on how it came to be. Decoding
/// refuses what no writes lead to, as far as anything relies on it; the store then asks [`State::fits`].
pub trait State: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// How its content looks to those who compare layouts: traced, and never built.
    type Layout: Serialize + DeserializeOwned;
    /// A change that is asked for.
    type Write: Serialize + DeserializeOwned + Clone + Send + 'static;
    /// What a write answers, as the state has it: values are shared with the state. Encodes as [`State::Answer`].
    type Wrote: Serialize + Send + 'static;
    /// What a write answers, as it arrives at who asked.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
    /// What a transaction has read of it; at first nothing.
    type Read: Serialize + DeserializeOwned + Clone + Default + Eq + Send + 'static;
    /// A change that was made.
    type Change: Clone + Send + Sync + 'static;

    /// Applies a write. One that has no effect takes no stamp and makes no change.
    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        changes: &mut Changes<Self::Change>,
    ) -> Self::Wrote;

    /// Bytes of the largest item of a write of many; `None` for a write of one.
    fn largest(_write: &Self::Write) -> Option<usize> {
        None
    }

    /// Removes what has come to its end at the time of the command under way, but for what is kept for the next command;
    /// returns how much it was.
    fn expire(&mut self, _stamps: &mut Stamps, _changes: &mut Changes<Self::Change>) -> usize {
        0
    }

    /// When something in it comes to its end.
    fn expiry(&self) -> Expiry {
        Expiry::default()
    }

    /// How many writes [`State::catch_up`] makes good with it. `None` if it is not known which: this is to be cloned.
    fn ahead(&self) -> Option<usize> {
        None
    }

    /// Becomes as `newer` is; this is as that was when it was cloned from another, or itself had caught up with one.
    fn catch_up(&mut self, newer: &Self) {
        self.clone_from(newer);
    }

    /// Whether a transaction would read now what it has read.
    fn is_as_read(&self, read: &Self::Read) -> bool;

    /// The greatest stamp in it, [`Stamp::NEVER`] if there is none.
    fn last_stamp(&self) -> Stamp;

    /// Whether its stamps can be from `stamps`: for a state and stamps that were decoded, each on its own.
    fn fits(&self, stamps: &Stamps) -> bool {
        stamps.gave(self.last_stamp())
    }
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key, an element of a set, or a priority in a replicated collection",
    note = "it needs `Ord`, `Hash`, `Eq`, `Clone`, `Serialize` and `DeserializeOwned`: \
            `#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]`"
)]
/// What keys of collections, elements of sets and priorities have to be.
pub trait Key: Ord + Hash + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<K> Key for K where K: Ord + Hash + Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a value in a replicated collection",
    note = "it needs `Clone`, `Serialize` and `DeserializeOwned`: `#[derive(Clone, Serialize, Deserialize)]`"
)]
/// What values in collections have to be.
///
/// One that may be encoded in several ways, such as a `HashMap`, is the same on all replicas, and its bytes are not.
pub trait Value: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<V> Value for V where V: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Knows nothing of equality, nor of order.
    #[derive(Clone, Serialize, Deserialize)]
    struct Opaque;

    fn check_state<S: State>() {
        let (state, stamps) = (S::default(), Stamps::default());
        assert!(state.is_as_read(&S::Read::default()));
        assert_eq!(state.last_stamp(), Stamp::NEVER);
        assert!(state.fits(&stamps));
    }

    #[test]
    fn values_need_not_be_comparable() {
        check_state::<map::MapState<u8, Opaque>>();
        check_state::<map::SortedMapState<u8, Opaque>>();
        check_state::<vec::VecState<Opaque>>();
        check_state::<set::SetState<u8>>();
        check_state::<cell::CellState<Opaque>>();
        check_state::<once::OnceState<Opaque>>();
        check_state::<queue::QueueState<u8, u8, Opaque>>();
        check_state::<counter::CounterState>();
        check_state::<lock::LockState>();
    }
}
