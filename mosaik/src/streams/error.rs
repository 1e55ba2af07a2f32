//! What can go wrong for who sends and who receives.

use std::fmt;

use crate::wire::EncodeError;

/// Why a datum was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The network is shut down; build another.
    #[error("the producer is closed: its network is shut down")]
    Closed,
    /// The handle was refused when it was made; the text says what to do.
    #[error("the producer was refused: {0}")]
    Refused(String),
    /// The datum cannot be carried: it is over 16 MiB, or not of a form that postcard carries.
    #[error("the datum cannot be sent: {0}")]
    Encode(String),
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error.to_string())
    }
}

/// Why a datum was not sent at once; it comes back where it could be sent later.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// The slowest consumer is a full buffer behind; try again, or `send` and wait.
    Full(T),
    /// Fewer consumers than the topic asks for; wait for `when().online()`.
    Offline(T),
    /// It will not be sent later either.
    Failed(SendError),
}

impl<T> TrySendError<T> {
    /// The datum, if it could be sent later.
    pub fn into_datum(self) -> Option<T> {
        match self {
            Self::Full(datum) | Self::Offline(datum) => Some(datum),
            Self::Failed(_) => None,
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the slowest consumer is a full buffer behind"),
            Self::Offline(_) => f.write_str("fewer consumers than the topic asks for"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Offline(_) => f.write_str("Offline(..)"),
            Self::Failed(error) => f.debug_tuple("Failed").field(error).finish(),
        }
    }
}

impl<T> std::error::Error for TrySendError<T> {}

/// Why there will be no more datums.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The network is shut down; build another.
    #[error("the consumer is closed: its network is shut down")]
    Closed,
    /// The handle was refused when it was made; the text says what to do.
    #[error("the consumer was refused: {0}")]
    Refused(String),
}

/// Why there is no datum now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// None has arrived; try again, or wait with `recv`.
    #[error("no datum has arrived")]
    Empty,
    /// There will be none.
    #[error(transparent)]
    Closed(#[from] RecvError),
}
