//! What users hold to send.

use std::{
    fmt,
    marker::PhantomData,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use futures::{Sink, Stream, StreamExt as _, future::BoxFuture};
use serde::Serialize;

use super::{
    condition::When,
    error::{SendError, TrySendError},
    handle::Lease,
    hub::{Hub, Refusal},
    info::ChannelInfo,
};
use crate::rt;

/// Sends datums of type `T` to every consumer of a topic.
///
/// Producers of one topic on one node share one buffer, and the order in which datums enter it is the
/// order in which every consumer sees them. Clones share the buffer too; when the last is dropped,
/// consumers get what is in it and then hear that the producer left.
///
/// A producer is also a [`Sink`].
pub struct Producer<T> {
    lease: Arc<Lease>,
    /// What a sink has begun and waits for.
    pending: Mutex<Option<Pending>>,
    marker: PhantomData<fn(T)>,
}

impl<T: Serialize + Send + 'static> Producer<T> {
    pub(super) fn new(lease: Arc<Lease>) -> Self {
        Self {
            lease,
            pending: Mutex::default(),
            marker: PhantomData,
        }
    }

    /// Sends a datum: completes once it is in the buffer.
    ///
    /// Waits while fewer consumers are connected than the topic asks for, and while the slowest is a full
    /// buffer behind; a consumer that takes nothing for the topic's `stall` is cut meanwhile. When the
    /// future is dropped before it completes, the datum is not sent.
    ///
    /// # Errors
    /// When the network is shut down, the handle was refused, or the datum cannot be carried.
    pub async fn send(&self, datum: T) -> Result<(), SendError> {
        push(self.hub(), datum).await
    }

    /// Sends a datum if that needs no waiting.
    ///
    /// # Errors
    /// Gives the datum back when the buffer is full or too few consumers are connected.
    pub fn try_send(&self, datum: T) -> Result<(), TrySendError<T>> {
        match self.hub().try_push(&datum) {
            Ok(()) => Ok(()),
            Err(Refusal::Full { .. }) => Err(TrySendError::Full(datum)),
            Err(Refusal::Offline) => Err(TrySendError::Offline(datum)),
            Err(Refusal::Closed) => Err(TrySendError::Failed(SendError::Closed)),
            Err(Refusal::Refused(why)) => Err(TrySendError::Failed(SendError::Refused(why))),
            Err(Refusal::Encode(error)) => Err(TrySendError::Failed(error.into())),
        }
    }

    /// Sends all that `datums` yields, and returns once the last is in the buffer. Given `&mut` a stream, it
    /// leaves to the caller what it has not sent.
    ///
    /// # Errors
    /// Stops at the first datum that cannot be sent.
    pub async fn send_all(&self, datums: impl Stream<Item = T>) -> Result<(), SendError> {
        let mut datums = pin!(datums);
        while let Some(datum) = datums.next().await {
            self.send(datum).await?;
        }
        Ok(())
    }

    /// Waits until every connected consumer's node has all that was sent before the call.
    ///
    /// A consumer whose connection broke counts until it comes back or its place is given up, which is
    /// after the topic's `stall`.
    ///
    /// # Errors
    /// When the handle was refused.
    pub async fn flush(&self) -> Result<(), SendError> {
        let hub = self.hub();
        if let Some(reason) = hub.refused() {
            return Err(SendError::Refused(reason.into()));
        }
        let seq = hub.next();
        loop {
            let changed = hub.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if hub.is_flushed(seq) {
                return Ok(());
            }
            changed.await;
        }
    }

    /// States to wait for.
    pub fn when(&self) -> When {
        When::new(
            self.hub().status(),
            self.lease.streams().discovery().clone(),
        )
    }

    /// Whether as many consumers are connected as the topic asks for.
    pub fn is_online(&self) -> bool {
        self.hub().status().borrow().online
    }

    /// The consumers, and what each has got.
    pub fn consumers(&self) -> Vec<ChannelInfo> {
        self.hub().channels()
    }

    /// What consumers have received: those that are there, and the last ones that are not any more.
    #[cfg(any(feature = "cli", test))]
    pub(crate) fn places(&self) -> Vec<super::Place> {
        self.hub().places()
    }

    /// The topic's name on the wire.
    pub fn topic(&self) -> &str {
        &self.hub().topic().name
    }

    /// Bytes that are buffered for consumers; never more than the topic's `capacity_bytes` and a datum.
    pub fn buffered_bytes(&self) -> usize {
        self.hub().buffered_bytes()
    }

    fn hub(&self) -> &Arc<Hub> {
        self.lease.hub()
    }

    /// Goes on with what the sink has begun. `None` when there was nothing.
    fn poll_pending(&mut self, cx: &mut Context<'_>) -> Poll<Option<Finished>> {
        let pending = self.pending();
        let Some(begun) = pending else {
            return Poll::Ready(None);
        };
        let finished = match begun {
            Pending::Send(future) => Finished::Send(ready!(future.as_mut().poll(cx))),
            Pending::Close(future) => Finished::Close(ready!(future.as_mut().poll(cx))),
        };
        *pending = None;
        Poll::Ready(Some(finished))
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        match ready!(self.poll_pending(cx)) {
            Some(Finished::Send(result) | Finished::Close(result)) => Poll::Ready(result),
            None => Poll::Ready(Ok(())),
        }
    }

    fn pending(&mut self) -> &mut Option<Pending> {
        let pending = self.pending.get_mut();
        pending.unwrap_or_else(PoisonError::into_inner)
    }
}

type Begun = BoxFuture<'static, Result<(), SendError>>;

/// What a sink has begun.
enum Pending {
    /// A datum waits for room.
    Send(Begun),
    /// Consumers do not have everything yet.
    Close(Begun),
}

/// What a sink has finished.
enum Finished {
    Send(Result<(), SendError>),
    Close(Result<(), SendError>),
}

/// Writes a datum, waiting for consumers and for room.
async fn push<T: Serialize>(hub: &Hub, datum: T) -> Result<(), SendError> {
    // Writing needs no other task to run, so a loop of sends would starve them without this.
    tokio::task::consume_budget().await;
    match hub.try_push(&datum) {
        Ok(()) => return Ok(()),
        Err(refusal) => failed(refusal)?,
    };
    let mut waiting = None;
    loop {
        let changed = hub.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        match hub.try_push(&datum) {
            Ok(()) => return Ok(()),
            Err(Refusal::Full { deadline }) => {
                waiting.get_or_insert_with(|| hub.wait());
                tokio::select! {
                    biased;
                    () = &mut changed => {}
                    () = rt::sleep_until(deadline) => {}
                }
            }
            Err(Refusal::Offline) => {
                waiting = None;
                changed.await;
            }
            Err(refusal) => failed(refusal)?,
        }
    }
}

/// The error of a refusal that waiting does not mend.
fn failed(refusal: Refusal) -> Result<(), SendError> {
    match refusal {
        Refusal::Full { .. } | Refusal::Offline => Ok(()),
        Refusal::Closed => Err(SendError::Closed),
        Refusal::Refused(why) => Err(SendError::Refused(why)),
        Refusal::Encode(error) => Err(error.into()),
    }
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self {
            lease: self.lease.clone(),
            pending: Mutex::default(),
            marker: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", &self.lease.hub().topic().name)
            .finish_non_exhaustive()
    }
}

// Flushing completes once the datums are in the buffer; closing once consumers have them.
impl<T: Serialize + Send + 'static> Sink<T> for Producer<T> {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_sent(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, datum: T) -> Result<(), SendError> {
        match self.hub().try_push(&datum) {
            Ok(()) => return Ok(()),
            Err(refusal) => failed(refusal)?,
        }
        let hub = self.hub().clone();
        let sending = async move { push(&hub, datum).await };
        *self.pending() = Some(Pending::Send(Box::pin(sending)));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_sent(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            match ready!(self.poll_pending(cx)) {
                Some(Finished::Close(result)) => return Poll::Ready(result),
                Some(Finished::Send(Err(error))) => return Poll::Ready(Err(error)),
                Some(Finished::Send(Ok(()))) | None => {
                    let this = self.clone();
                    let closing = async move { this.flush().await };
                    *self.pending() = Some(Pending::Close(Box::pin(closing)));
                }
            }
        }
    }
}
