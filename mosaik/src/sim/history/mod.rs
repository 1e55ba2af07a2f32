//! Histories of what clients asked and were answered, and checks that a system kept its promise.
//!
//! A replicated system promises to behave as if there were one copy of it. Whether it does, under
//! crashes, partitions and retries, shows in what its clients see. So record that, say what one copy
//! would answer, and let a check compare:
//!
//! 1. Clients record into one [`History`]: [`invoke`](History::invoke) before they ask, and on the
//!    [`Pending`] what came of it. Only a refusal that is certain is [`failed`](Pending::failed); a
//!    timeout is [`unknown`](Pending::unknown).
//! 2. A [`Model`] is the system as a sequential program, usually a few lines.
//! 3. A check takes the model and the [`operations`](History::operations), and returns a [`Report`] or a
//!    [`Violation`] that names the operations at fault.
//!
//! # Which check
//!
//! | check | needs | finds |
//! |---|---|---|
//! | [`check_linearizable`] | answers | answers that no order of the operations explains |
//! | [`check_log`] | answers with their [`Position`], a replica's log | the same, and anything lost, doubled, moved or refused and yet applied; O(n log n) |
//! | [`check_exactly_once`] | a replica's log | lost, doubled, refused and yet applied |
//! | [`check_prefix`] | the logs of several replicas | the first place where they differ |
//!
//! A history that passes [`check_log`] is linearizable: where there is a log, prefer it. The search of
//! [`check_linearizable`] asks nothing of the system, and is slow only where many operations on one key
//! are under way at a time.
//!
//! # Example
//!
//! A lock service with a bug. The holder is kept by two nodes that do not talk to each other:
//!
//! ```
//! use mosaik::sim::history::{History, Model, check_linearizable};
//!
//! /// What the service should be: a lock that one client holds at a time.
//! struct Lock;
//!
//! /// Asks for the lock in the name of a client.
//! #[derive(Clone, Debug, PartialEq)]
//! struct Acquire(u64);
//!
//! impl Model for Lock {
//!     type Op = Acquire;
//!     type Ret = bool;
//!     type Key = ();
//!     type State = Option<u64>;
//!
//!     fn key(&self, _: &Acquire) {}
//!
//!     fn initial(&self, _: &()) -> Option<u64> {
//!         None
//!     }
//!
//!     fn apply(&self, holder: &mut Option<u64>, Acquire(client): &Acquire) -> bool {
//!         *holder.get_or_insert(*client) == *client
//!     }
//! }
//!
//! let mut nodes = [None, None];
//! let history = History::new();
//! for client in 0..3 {
//!     let pending = history.invoke(client, Acquire(client));
//!     let holder = &mut nodes[client as usize % 2];
//!     pending.ok(Lock.apply(holder, &Acquire(client)));
//! }
//!
//! let violation = check_linearizable(&Lock, &history.operations()).unwrap_err();
//! assert_eq!(
//!     violation.to_string(),
//!     "not linearizable: the operations on key ()\n\
//!      the longest order that explains its answers has 1:\n  \
//!        #0 by client 0: Acquire(0) -> true [0, 1]\n\
//!      and none of these can be next:\n  \
//!        #1 by client 1: Acquire(1) -> true [2, 3]; the model answers false"
//! );
//! ```
//!
//! # Two runs of one seed
//!
//! [`History::digest`] is equal for equal histories, in any process. A simulation that is run twice with
//! one seed must give one digest; where it does not, something in it is not simulated.
//!
//! # Inside
//!
//! `recorder` makes `operation`s; `model`, `report` and `violation` are what every check speaks in.
//! `linearizable` splits a history into `part`s by key, and has `search` order each over `list`, `bits`
//! and `visited`. `log` checks a log with `exactly_once` and `real_time`. `prefix` stands by itself.

mod bits;
#[cfg(test)]
mod brute_force;
#[cfg(test)]
mod corpus;
mod digest;
mod exactly_once;
mod linearizable;
mod list;
#[cfg(test)]
mod load;
mod log;
mod model;
mod operation;
mod part;
mod prefix;
mod real_time;
mod recorder;
mod report;
#[cfg(test)]
mod samples;
mod search;
mod violation;
mod visited;

pub use exactly_once::check_exactly_once;
pub use linearizable::{DEFAULT_LIMIT, check_linearizable, check_linearizable_within};
pub use log::check_log;
pub use model::Model;
pub use operation::{Operation, OperationId, Outcome, Position};
pub use prefix::check_prefix;
pub use recorder::{DEFAULT_CAPACITY, History, Pending};
pub use report::Report;
pub use violation::{Stuck, Violation, Witness};
