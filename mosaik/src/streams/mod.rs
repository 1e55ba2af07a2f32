//! Typed streams: any number of producers and consumers of a topic, found and connected by themselves.
//!
//! # Model
//!
//! A *topic* has a name and a type. A [`Producer`] writes into a bounded ring that all producers of the
//! topic on its node share; each consumer, here or elsewhere, is a cursor into that ring. A datum is
//! encoded once however many consumers there are, and kept until each of them has it. A [`Consumer`]
//! subscribes to every producer of its topic that discovery shows, and merges what they send.
//!
//! # Guarantees
//!
//! - A consumer sees the datums of one producer in order and none twice. Between producers there is no
//!   order.
//! - Under [`Lag::Block`](crate::declare::Lag::Block), the default, nothing is left out while a consumer
//!   stays connected: when the slowest is a full ring behind, `send` waits. Only a consumer whose program
//!   takes nothing for the topic's `stall` is cut. A consumer that reconnects within `stall` goes on where it
//!   was, also when the producer has ended meanwhile. Whoever misses datums is told how many, in their
//!   place: [`Event::Lagged`].
//! - Both sides compare the schemas of their types before anything flows. Types that differ are refused
//!   with the first difference in words.
//! - Memory is bounded on both sides: by `capacity` and `capacity_bytes` at a producer, by the window at
//!   a consumer.
//!
//! A new life of a producer (another process, or the last handle dropped and made anew) starts a new
//! sequence. What an earlier life in another process had not delivered is lost with it; one in the same
//! process is served from its remains for `stall`, and then its length is remembered.
//!
//! # Inside
//!
//! `proto` decides and is free of tasks and clocks: `proto::ring` holds datums, `proto::credit` paces
//! a subscription, `proto::record` frames datums, `proto::subscription` is what both sides say first.
//! `hub` is what a topic's producers share, `channels` its consumers, each with a `seat`; `intake` is what a
//! consumer's sessions share, and a `meter` counts what its program takes. `serve` and `subscribe` drive the
//! two ends of a subscription, `driver` all of them; `past` remembers producers that have ended.

mod admission;
mod channels;
mod condition;
mod consumer;
mod describe;
mod driver;
mod error;
mod handle;
mod hub;
mod info;
mod intake;
mod meter;
mod past;
mod producer;
mod proto;
mod seat;
mod serve;
mod status;
mod subscribe;
#[cfg(test)]
mod tests;
mod topic;

pub use condition::{Condition, When};
pub use consumer::{Consumer, Event};
pub use describe::{DescribeError, Description};
pub use error::{RecvError, SendError, TryRecvError, TrySendError};
pub use handle::{ConsumerBuilder, DEFAULT_WINDOW, NamedTopic, Streams};
pub use info::{ChannelInfo, ChannelState};
pub use producer::Producer;

#[cfg(any(feature = "cli", test))]
pub(crate) use channels::Place;
pub(crate) use status::StreamsStatus;
#[cfg(feature = "cli")]
pub(crate) use topic::check_name;
