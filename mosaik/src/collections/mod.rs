//! Collections: the containers of the standard library, replicated.
//!
//! A *store* is a group whose state is a collection. Its writers and readers are on any nodes of the network; all have
//! the whole of it. Reads are local: at once, without a lock, of a copy that is complete up to some entry of the
//! store's log. Writes go through that log, so all copies change in the same order, and return what their
//! counterparts in std return.
//!
//! | here | in std | |
//! |---|---|---|
//! | [`Map`] | `HashMap` | values by key |
//! | [`SortedMap`] | `BTreeMap` | values by key, in order, with ranges |
//! | [`Vec`] | `Vec`, `VecDeque` | elements in a row |
//! | [`Set`] | `HashSet` | elements, each once |
//! | [`Cell`] | `Cell`, `AtomicU64`, … | one value |
//! | [`Once`] | `OnceLock` | one value, set once |
//! | [`PriorityQueue`] | `BinaryHeap` | items by priority, from both ends, and by key |
//! | [`Counter`] | `AtomicI64` | a number that is added to |
//! | [`Lock`] | `Mutex` | one holder at a time, for as long as its lease lasts |
//!
//! # What is promised
//! A write that is acknowledged is never lost, undone or applied twice, as far as
//! [groups](crate::groups#what-is-promised) promise it, and shows in every read on its node from then on. A read on
//! another node may miss it; after [`refresh`](Store::refresh) it does not. What a node reads goes back only
//! where its group does: when that is founded anew after its quorum was lost, or begins on this node without its log.

mod builder;
mod cell;
mod counter;
mod declared;
mod expiry;
mod feed;
mod handle;
mod list;
mod lock;
mod map;
mod once;
mod place;
mod queue;
mod replica;
mod set;
mod state;
mod states;
mod store;
#[cfg(test)]
mod tests;
pub mod transaction;
mod twin;
mod vec;

pub use builder::Builder;
pub use cell::{Cell, CellChange, CellReader, CellView, CellWriter};
pub use counter::{Counter, CounterChange, CounterReader, CounterView, CounterWriter};
pub(crate) use declared::layout_of;
#[doc(hidden)]
pub use declared::{
    DeclaredCollections, DeclaredStore, Entered, Replicated, builder_of_one, transaction_of,
    views_of,
};
#[doc(hidden)]
pub use list::Stored;
pub use list::{Collection, Reader, Transaction, View, Writer};
pub use lock::{Lock, LockChange, LockGuard, LockHolder, LockReader, LockView, LockWriter};
pub use map::{
    Map, MapChange, MapReader, MapView, MapWriter, SortedMap, SortedMapReader, SortedMapView,
    SortedMapWriter,
};
pub use once::{Once, OnceChange, OnceReader, OnceView, OnceWriter};
pub use queue::{
    Inserted, PriorityQueue, PriorityQueueChange, PriorityQueueReader, PriorityQueueView,
    PriorityQueueWriter,
};
pub use set::{Set, SetChange, SetReader, SetView, SetWriter};
pub use state::{
    Key, Value,
    queue::{End, Limit},
    vec::OutOfBounds,
};
pub use store::Store;
pub use vec::{Vec, VecChange, VecReader, VecView, VecWriter};
