//! What listeners are told: events, and snapshots of the catalog.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::{Catalog, DepartReason, Entry, Refusal};
use crate::{id::PeerId, rt::watch};

/// Events that a listener may be behind; beyond, it is told [`Event::Missed`].
pub(super) const EVENT_BACKLOG: usize = 1024;

/// Something that discovery found. The catalog contains it already when the event arrives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer appeared.
    Discovered(Entry),
    /// A peer says something new: an address, a tag, a topic, or that it was restarted.
    Updated(Entry),
    /// A peer is gone.
    Departed {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DepartReason,
    },
    /// A peer's clock is ahead of ours. Nothing depends on it, but set one of the two.
    ClockSkew {
        /// The peer.
        peer: PeerId,
        /// By how much at least.
        ahead: Duration,
    },
    /// Something was refused.
    Refused {
        /// The peer that it came from, or that was dialed.
        peer: PeerId,
        /// What and why.
        reason: Refusal,
    },
    /// This listener was too slow, and lost this many events; read the catalog anew.
    Missed(u64),
}

/// Events as they happen: a stream that ends with the network.
pub struct Events {
    inner: BoxStream<'static, Event>,
}

impl Events {
    pub(super) fn new(receiver: Option<broadcast::Receiver<Event>>) -> Self {
        let inner = futures::stream::unfold(receiver, |receiver| async move {
            let mut receiver = receiver?;
            let event = match receiver.recv().await {
                Ok(event) => event,
                Err(RecvError::Lagged(lost)) => Event::Missed(lost),
                Err(RecvError::Closed) => return None,
            };
            Some((event, Some(receiver)))
        });
        Self {
            inner: inner.boxed(),
        }
    }

    /// The next event, `None` once the network is shut down. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.inner.next().await
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.inner.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Snapshots of the catalog: first the present one, then the latest each time that it changes. Those in
/// between are skipped. Ends with the network.
pub struct Snapshots {
    inner: BoxStream<'static, Catalog>,
}

impl Snapshots {
    pub(super) fn new(mut receiver: watch::Receiver<Catalog>) -> Self {
        receiver.mark_changed();
        let inner = futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.changed().await.ok()?;
            let snapshot = receiver.borrow_and_update().clone();
            Some((snapshot, receiver))
        });
        Self {
            inner: inner.boxed(),
        }
    }

    /// The next snapshot, `None` once the network is shut down. Cancel-safe.
    pub async fn next(&mut self) -> Option<Catalog> {
        self.inner.next().await
    }
}

impl Stream for Snapshots {
    type Item = Catalog;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Catalog>> {
        self.inner.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots").finish_non_exhaustive()
    }
}
