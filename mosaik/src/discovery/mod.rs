//! Discovery: who is in the network, what they carry and produce, and whether they live.
//!
//! Every peer signs an [`Entry`] that says where it is and what it does. Entries spread three ways:
//! by **gossip** (HyParView and PlumTree) when they change, by **sync** (anti-entropy between two
//! peers) when peers meet and now and then after, and by hand ([`Discovery::feed`]). What a node knows
//! is its [`Catalog`]: immutable snapshots of the other live peers, watchable, with [`Event`]s.
//!
//! Peers meet through **bootstrap** addresses, through the **host-local rendezvous** (processes of one
//! user on one machine find each other through a directory, without any network traffic), or by
//! [`Discovery::dial`].
//!
//! A peer that leaves gracefully signs a tombstone and is gone within a round trip. One whose
//! connections break is probed, and gone if it does not answer. No clocks are compared: entries age by
//! what has passed since their version last increased, and expire after five minutes.
//!
//! Inside, `proto` decides and the `driver` acts; `handle` is what users hold.

mod announcement;
mod bootstrap;
mod config;
mod dial;
mod driver;
mod entry;
mod error;
mod event;
mod exchange;
mod frame;
mod gossip;
mod handle;
mod local;
mod meter;
mod outbound;
mod own;
mod proto;
mod serve;
mod shared;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod timers;

pub use dial::Dial;
pub use entry::{Entry, Role};
pub use error::{DialError, EntryError, Refusal, SyncError};
pub use event::{Event, Events, Snapshots};
pub use handle::Discovery;
pub use proto::{
    catalog::DepartReason,
    entry::{AccessTicket, GroupInfo, TopicInfo},
};
pub use snapshot::Catalog;

pub(crate) use config::Config;
pub(crate) use status::{BootstrapStatus, DiscoveryStatus, RendezvousStatus};
