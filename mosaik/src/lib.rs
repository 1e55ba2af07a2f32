//! A runtime for self-organizing distributed systems.
//!
//! Annotate structs, start the same binary on any number of machines with the same network id, and the
//! nodes find each other and stream typed data, with no coordinator and no configuration. Where they have to agree,
//! they form groups that replicate a state.
//!
//! ```no_run
//! use mosaik::*;
//! # #[expect(unused_imports, reason = "`send` is inherent, so the trait is not needed")]
//! use futures::SinkExt;
//!
//! #[tokio::main]
//! async fn main() -> anyhow::Result<()> {
//!     let network_id: NetworkId = "my-app".into();
//!     let network = Network::new(network_id).await?;
//!
//!     // The node is now online and discoverable
//!     println!("Node {} is online", network.local().id());
//!
//!     // Create a typed producer (any serializable type works)
//!     let producer = network.streams().produce::<String>();
//!
//!     // Wait for at least one consumer to connect
//!     producer.when().online().await;
//!
//!     // Send data
//!     producer.send("hello, world".to_string()).await?;
//!
//!     Ok(())
//! }
//! ```
//!
//! On another machine:
//!
//! ```no_run
//! # use mosaik::*;
//! # async fn run() -> anyhow::Result<()> {
//! let network = Network::new("my-app".into()).await?;
//! let mut lines = network.streams().consume::<String>();
//! while let Some(line) = lines.next().await {
//!     println!("{line}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`Network`] is a node; its [`Builder`] holds the options.
//! - [`stream`] declares a topic on a struct; [`Topic`] is what the struct gets from it.
//! - [`streams`] are the producers and consumers, with what they guarantee.
//! - [`group`](macro@group) declares a group on the state that its members agree on.
//! - [`groups`] are such members, with what they promise; [`groups::StateMachine`] is a state written by hand.
//! - [`replicated`] declares a store of [`collections`]: containers as in std, the same on every node.
//! - [`discovery`] is who is there, what they are tagged with, and what they offer.
//! - [`Network::explain`] says what waits, and for what.
//!
//! # Features
//!
//! - `cli`: the `mosaik` command.
//! - `sim`: whole networks in one test, in virtual time, with faults: see `mosaik::sim`.
//!
//! # What it is not
//!
//! Peers are trusted: whoever knows the network id, and the shared secret if there is one, is honest. A
//! peer may still be buggy, slow or half-dead; nothing it sends crashes a node or lets its memory grow
//! without bound.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod collections;
pub mod declare;
pub mod discovery;
mod explain;
pub mod groups;
mod id;
mod metrics;
mod network;
mod rt;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod streams;
pub mod tickets;
mod transport;
mod wire;

#[doc(hidden)]
pub mod __private;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

pub use declare::declarations;
pub use discovery::{Catalog, Discovery, Entry};
pub use explain::Explanation;
pub use groups::{Ctx, Group, GroupError, Groups, Version};
pub use id::{
    GroupId, MemberId, NetworkId, ParseAddrError, PeerAddr, PeerId, SecretKey, StoreId, Tag,
    Ticket, TopicId,
};
pub use mosaik_macros::{group, replicated, stream};
pub use network::{Bootstrap, BuildError, Builder, Local, Network, Topic};
#[doc(hidden)]
pub use serde;
pub use streams::{Consumer, ConsumerBuilder, Producer, Streams};
pub use transport::{BindError, CloseCode, ConnectError};

/// Names of the metrics that mosaik records through the facade of the `metrics` crate.
///
/// Counters only grow, gauges show what is now, histograms how values are spread. Install a recorder to read them. The
/// module is not called `metrics`, so that a program may use that crate and `mosaik::*` side by side.
///
/// ```
/// use mosaik::*;
///
/// metrics::counter!("my_orders_total").increment(1);
/// assert_eq!(metric_names::DISCOVERY_PEERS, "mosaik_discovery_peers");
/// ```
pub mod metric_names {
    pub use crate::metrics::*;
}
