//! The in-memory carrier: endpoints of one process, joined by a simulated network.
//!
//! A [`Fabric`] is a network of its own. Its endpoints sit on hosts, each with an address; between two
//! hosts there is a way in each direction, with [`Conditions`] of its own, that can be cut. It behaves as
//! QUIC over such ways does: what is lost is sent again and arrives later, a stream's bytes stay in order
//! while streams overtake each other, a peer that is not heard of for long is given up, a dial goes on
//! trying, and the news that a connection was closed may never arrive.
//!
//! Every wait goes through tokio's clock, so it runs in virtual time when that is paused.

mod conditions;
mod connection;
mod endpoint;
mod fabric;
mod passage;
mod stream;

pub use conditions::Conditions;

pub(crate) use connection::Connection;
pub(super) use endpoint::Endpoint;
pub(crate) use fabric::Fabric;
pub(crate) use stream::{RecvHalf, SendHalf};
