//! What can go wrong, one error an operation.

pub use super::proto::entry::EntryError;
use crate::transport::{ConnectError, LinkError};

/// Why a peer could not be dialed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The peer was not reached, or one of the two refused; the cause says which and what to do.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Why catalogs could not be exchanged with a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// The peer was not reached; the cause says why.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The peer is too slow or hangs; try again, or another peer.
    #[error("the peer did not complete the exchange in time")]
    TimedOut,
    /// The exchange broke off; try again, or another peer.
    #[error("the exchange broke off: {0}")]
    Broken(String),
    /// Nothing can be exchanged any more; build a new network.
    #[error("this network is shut down")]
    ShutDown,
}

impl From<ConnectError> for SyncError {
    fn from(error: ConnectError) -> Self {
        Self::Dial(error.into())
    }
}

impl From<LinkError> for SyncError {
    fn from(error: LinkError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An entry that the peer passed on; mend the peer that signed it.
    #[error("entry refused: {0}")]
    Entry(#[source] EntryError),
    /// A dial, by the peer or by us; the cause says what to do.
    #[error("{0}")]
    Dial(#[source] DialError),
    /// A connection that the peer opened to us, before it was used for anything; the cause says what to do.
    #[error("its connection was not admitted: {0}")]
    Incoming(#[source] DialError),
    /// What the peer sent on its connection, which was closed; run the same release on both.
    #[error("connection closed: {0}")]
    Malformed(String),
    /// One more entry: the catalog holds 65,536 already. Split the network.
    #[error("the catalog is full")]
    CatalogFull,
}
