//! What users hold to receive.

use std::{
    fmt,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::{Stream, future::poll_fn};
use serde::de::DeserializeOwned;
use tracing::warn;

use super::{
    condition::When,
    error::{RecvError, TryRecvError},
    handle::Subscription,
    info::ChannelInfo,
    intake::{Delivery, Item, Taken},
    meter::Meter,
    proto::record,
};
use crate::{
    id::PeerId,
    metrics,
    wire::{self, DecodeError},
};

/// Receives datums of type `T` from every producer of a topic, here and elsewhere, now and later.
///
/// The datums of one producer arrive in the order in which it sent them, none twice, and none is left
/// out without an [`Event::Lagged`] in its place. Between producers there is no order; they take turns.
/// Datums are decoded when they are taken. What is not taken fills the consumer's window, then the
/// producers' buffers, and then makes them wait.
///
/// A consumer is also a [`Stream`].
pub struct Consumer<T> {
    subscription: Subscription,
    current: Option<Current>,
    /// The producer of the last records that were begun.
    origin: Option<PeerId>,
    decode: Decode<T>,
}

/// How a part of some bytes becomes a datum.
type Decode<T> = fn(&Bytes, Range<usize>) -> Result<T, DecodeError>;

/// Records that are being taken.
struct Current {
    peer: PeerId,
    /// Counts what is taken.
    meter: Arc<Meter>,
    records: Bytes,
    /// Where the next one starts.
    next: usize,
}

/// What a consumer sees: datums, and what happens around them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<T> {
    /// A datum.
    Datum(T),
    /// Datums of a producer were left out here.
    Lagged {
        /// The producer.
        producer: PeerId,
        /// How many.
        missed: u64,
    },
    /// A producer is connected; its datums follow.
    Joined(PeerId),
    /// A producer is not connected any more. All that arrived from it came before.
    Left(PeerId),
}

impl<T: DeserializeOwned> Consumer<T> {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self::with(subscription, |bytes, part| wire::decode(&bytes[part]))
    }

    fn with(subscription: Subscription, decode: Decode<T>) -> Self {
        Self {
            subscription,
            current: None,
            origin: None,
            decode,
        }
    }

    /// The next datum, skipping other events; `None` once the network is shut down or the handle was
    /// refused. Cancel-safe.
    pub async fn next(&mut self) -> Option<T> {
        self.recv().await.ok()
    }

    /// The next datum, skipping other events. Cancel-safe.
    ///
    /// # Errors
    /// Says why there will be none.
    pub async fn recv(&mut self) -> Result<T, RecvError> {
        match poll_fn(|cx| self.poll_datum(cx)).await {
            Some(datum) => Ok(datum),
            None => Err(self.closed()),
        }
    }

    /// The next datum if one has arrived.
    ///
    /// # Errors
    /// Says whether one may come later.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        loop {
            match self.step() {
                Some(Event::Datum(datum)) => return Ok(datum),
                Some(_) => continue,
                None => {}
            }
            match self.subscription.intake().take() {
                // Other events are skipped; datums are stepped through next.
                Taken::Item(delivery) => drop(self.open(delivery)),
                Taken::Nothing => return Err(TryRecvError::Empty),
                Taken::Closed => return Err(self.closed().into()),
            }
        }
    }

    /// The next datum or other event; `None` once the network is shut down or the handle was refused.
    /// Cancel-safe.
    pub async fn next_event(&mut self) -> Option<Event<T>> {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// States to wait for.
    pub fn when(&self) -> When {
        let subscription = &self.subscription;
        When::new(
            subscription.intake().status(),
            subscription.streams().discovery().clone(),
        )
    }

    /// Whether a producer is connected.
    pub fn is_online(&self) -> bool {
        self.subscription.intake().status().borrow().online
    }

    /// The producers, and what came from each.
    pub fn producers(&self) -> Vec<ChannelInfo> {
        self.subscription.intake().channels()
    }

    /// The producer of the datum that was taken last.
    #[cfg(feature = "cli")]
    pub(crate) fn origin(&self) -> Option<PeerId> {
        self.origin
    }

    /// The topic's name on the wire.
    pub fn topic(&self) -> &str {
        &self.subscription.intake().topic().name
    }

    fn poll_datum(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            match ready!(self.poll_event(cx)) {
                Some(Event::Datum(datum)) => return Poll::Ready(Some(datum)),
                Some(_) => {}
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event<T>>> {
        // Taking what is there needs no other task to run, so a loop of it would starve them otherwise.
        let budget = ready!(tokio::task::coop::poll_proceed(cx));
        loop {
            if let Some(event) = self.step() {
                budget.made_progress();
                return Poll::Ready(Some(event));
            }
            let Some(delivery) = ready!(self.subscription.intake().poll_item(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(event) = self.open(delivery) {
                budget.made_progress();
                return Poll::Ready(Some(event));
            }
        }
    }

    /// Starts on an item; those that are no datums are events at once.
    fn open(&mut self, delivery: Delivery) -> Option<Event<T>> {
        let Delivery { peer, meter, item } = delivery;
        match item {
            Item::Datums(records) => {
                self.origin = Some(peer);
                self.current = Some(Current {
                    peer,
                    meter,
                    records: records.into_bytes(),
                    next: 0,
                });
                None
            }
            Item::Lagged(missed) => Some(Event::Lagged {
                producer: peer,
                missed,
            }),
            Item::Joined => Some(Event::Joined(peer)),
            Item::Left => Some(Event::Left(peer)),
        }
    }

    /// The next datum of the current records.
    fn step(&mut self) -> Option<Event<T>> {
        let current = self.current.as_mut()?;
        let peer = current.peer;
        let (start, len) = (current.next, current.records.len());
        let part = record::payload_at(&current.records, start);
        let end = part.as_ref().map_or(len, |part| part.end);
        let datum = part.map(|part| (self.decode)(&current.records, part));
        current.next = end;
        current.meter.take(end - start);
        if end == len {
            current.meter.wake();
            self.current = None;
        }
        match datum? {
            Ok(datum) => Some(Event::Datum(datum)),
            Err(error) => {
                warn!(peer = %peer.short(), %error, "a datum cannot be decoded and is left out");
                metrics::datum_undecodable();
                metrics::missed(1);
                Some(Event::Lagged {
                    producer: peer,
                    missed: 1,
                })
            }
        }
    }

    fn closed(&self) -> RecvError {
        match self.subscription.intake().refused() {
            Some(reason) => RecvError::Refused(reason.into()),
            None => RecvError::Closed,
        }
    }
}

impl Consumer<Bytes> {
    /// Takes datums as they are, undecoded.
    pub(super) fn raw(subscription: Subscription) -> Self {
        Self::with(subscription, |bytes, part| Ok(bytes.slice(part)))
    }
}

impl<T: DeserializeOwned> Stream for Consumer<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_datum(cx)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("topic", &self.subscription.intake().topic().name)
            .finish_non_exhaustive()
    }
}
