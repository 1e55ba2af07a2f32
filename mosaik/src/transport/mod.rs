//! Connections between peers: the seam between everything above and what carries bytes.
//!
//! An [`Endpoint`] dials and accepts [`Connection`]s, which carry bidirectional streams; a [`Link`]
//! puts typed frames on one. There are two carriers, [iroh](https://docs.rs/iroh) (QUIC by public key)
//! and an in-memory network for tests and simulation, and all that is above them is written once:
//!
//! - **Admission** ([`admission`]): before a connection is handed to anybody, both ends prove that they
//!   mean the same network, and know its shared secret if there is one, by a MAC over keying material
//!   of the TLS session. A connection that is not proved within [`ADMISSION_TIMEOUT`] is closed.
//! - **One connection a peer pair and protocol** ([`Pool`]): simultaneous dials are tie-broken by peer
//!   id, and a connection to an earlier boot of a peer gives way to one to the later.
//! - **Close codes** ([`CloseCode`]): numbered, stable, each with a readable reason.
//! - **Explicit ends**: a stream that merely stops is [`LinkError::Truncated`], never a clean end.

mod admission;
mod close;
mod connection;
mod endpoint;
mod iroh;
mod link;
#[cfg(any(test, feature = "sim"))]
pub(crate) mod memory;
mod pool;
#[cfg(test)]
mod tests;

pub use close::CloseCode;
pub use endpoint::{BindError, ConnectError};

pub(crate) use admission::Identity;
pub(crate) use connection::{Closed, Connection, RecvHalf, SendHalf};
pub(crate) use endpoint::{Alpn, CarrierConfig, Config, Endpoint, Incoming, NotAdmitted};
pub(crate) use link::{Halves, Link, LinkError, LinkReceiver, LinkSender};
pub(crate) use pool::Pool;

use std::time::Duration;

/// How long a dial may take, proof included.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an accepted connection may take to prove itself.
pub(crate) const ADMISSION_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a connection that carries nothing else carries a keep-alive.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// How long a path may be silent before it is given up.
pub(crate) const PATH_IDLE: Duration = Duration::from_secs(3);
/// How long a connection may be silent before it is given up.
pub(crate) const CONNECTION_IDLE: Duration = Duration::from_secs(4);
/// Streams that a peer may have open on one connection.
pub(crate) const MAX_STREAMS: u32 = 4096;
/// Bytes in flight on one stream. Larger windows break connections ("too many gaps").
pub(crate) const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// Bytes in flight on one connection, all its streams together.
pub(crate) const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;
/// Accepted connections that may be waiting for their proof at once; more wait to be accepted.
pub(crate) const MAX_ADMISSIONS: usize = 256;
