//! A dial that was asked for by hand.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::FutureExt as _;
use tokio::sync::oneshot;

use super::DialError;
use crate::transport::ConnectError;

/// A dial that is under way, whether anybody waits for it or not. Awaiting it yields how it ended.
pub struct Dial {
    outcome: oneshot::Receiver<Result<(), DialError>>,
}

impl Dial {
    pub(super) fn new(outcome: oneshot::Receiver<Result<(), DialError>>) -> Self {
        Self { outcome }
    }
}

impl Future for Dial {
    type Output = Result<(), DialError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = self.outcome.poll_unpin(cx);
        outcome.map(|outcome| outcome.unwrap_or(Err(ConnectError::Closed.into())))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial").finish_non_exhaustive()
    }
}
