//! The halves of an in-memory stream.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::{Notify, mpsc};

use super::{
    fabric::Direction,
    passage::{self, Passage},
};
use crate::{
    rt::{self, Instant, watch},
    transport::{CloseCode, Closed, LinkError, STREAM_WINDOW},
};

/// One direction of a stream: bytes that become readable when they arrive, bounded like a QUIC window.
#[derive(Debug, Default)]
struct Pipe {
    flow: Mutex<Flow>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Flow {
    /// When each is due, and its bytes.
    segments: VecDeque<(Instant, Bytes)>,
    buffered: usize,
    /// When the last that was written is due.
    last: Option<Instant>,
    /// When the news is due that nothing follows.
    end: Option<Instant>,
    /// When the news is due that the sender gave up.
    reset: Option<(Instant, CloseCode)>,
    /// When the news is due that the receiver wants no more.
    stopped: Option<(Instant, CloseCode)>,
}

impl Pipe {
    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What both halves at one end know of their connection.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// Since when and why this end is closed.
    pub(super) closed: watch::Receiver<Option<(Instant, Closed)>>,
    /// The way out.
    pub(super) out: watch::Receiver<Passage>,
    /// The way in.
    pub(super) back: watch::Receiver<Passage>,
    /// The direction in which this end sends.
    pub(super) direction: Direction,
}

/// The halves of a stream, at the end that opens it and at the other.
pub(super) type Halves = (SendHalf, RecvHalf);

/// A new stream; the other end gets its halves through `accept` with the first bytes.
pub(super) fn open(near: &Side, far: &Side, accept: mpsc::Sender<Halves>) -> Halves {
    let (out, back) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    let sender = |pipe: &Arc<Pipe>, side: &Side| SendHalf {
        pipe: pipe.clone(),
        side: side.clone(),
        unannounced: None,
    };
    let receiver = |pipe: &Arc<Pipe>, side: &Side| RecvHalf {
        pipe: pipe.clone(),
        side: side.clone(),
    };
    let mut send = sender(&out, near);
    let halves = (sender(&back, far), receiver(&out, far));
    send.unannounced = Some(Box::new(Unannounced { accept, halves }));
    (send, receiver(&back, near))
}

/// A stream that the other end has not heard of.
#[derive(Debug)]
struct Unannounced {
    accept: mpsc::Sender<Halves>,
    halves: Halves,
}

/// The sending half of an in-memory stream.
#[derive(Debug)]
pub(crate) struct SendHalf {
    pipe: Arc<Pipe>,
    side: Side,
    unannounced: Option<Box<Unannounced>>,
}

impl SendHalf {
    pub(in crate::transport) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.write(Bytes::copy_from_slice(bytes)).await
    }

    pub(in crate::transport) async fn write_chunks(
        &mut self,
        chunks: &mut [Bytes],
    ) -> Result<(), LinkError> {
        for chunk in chunks {
            self.write(std::mem::take(chunk)).await?;
        }
        Ok(())
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            let Self { pipe, side, .. } = self;
            let direction = side.direction.clone();
            side.open()?;
            let due = side.step(pipe, |flow| {
                if let Some((due, code)) = flow.stopped {
                    return Step::Due(due, Some(Err(LinkError::Stream(code))));
                }
                let room = (STREAM_WINDOW as usize).saturating_sub(flow.buffered);
                if room == 0 {
                    return Step::Wait;
                }
                Step::Done(Ok(
                    flow.push(&direction, bytes.split_to(room.min(bytes.len())))
                ))
            });
            let due = due.await??;
            self.announce(due);
        }
        Ok(())
    }

    /// Lets the other end have the stream with what is due at `due`.
    fn announce(&mut self, due: Instant) {
        let Some(unannounced) = self.unannounced.take() else {
            return;
        };
        let Unannounced { accept, halves } = *unannounced;
        if due <= rt::now() && self.side.out.borrow().arrival(due) == Some(due) {
            return deliver(&accept, halves);
        }
        // What is under way arrives although this end is closed meanwhile, but not once the other end is.
        let (mut out, mut closed) = (self.side.out.clone(), halves.1.side.closed.clone());
        rt::outside(async move {
            tokio::select! {
                biased;
                () = passage::arrived(&mut out, due) => deliver(&accept, halves),
                _ = closed.wait_for(Option::is_some) => {}
            }
        });
    }

    /// Says that nothing follows, and waits until the other end's transport has acknowledged everything.
    pub(in crate::transport) async fn finish(&mut self) -> Result<(), LinkError> {
        let end = self.end();
        self.announce(end);
        let Self { pipe, side, .. } = self;
        let (mut out, mut back) = (side.out.clone(), side.back.clone());
        let answer = side.direction.latency_back();
        let acknowledged = async {
            passage::arrived(&mut out, end).await;
            passage::arrived(&mut back, rt::now() + answer).await;
        };
        let given_up = side.step(pipe, |flow| match flow.stopped {
            Some((due, code)) if flow.buffered > 0 => Step::Due(due, Some(code)),
            _ => Step::Wait,
        });
        tokio::select! {
            biased;
            given_up = given_up => Err(given_up.map_or_else(|error| error, LinkError::Stream)),
            () = acknowledged => Ok(()),
        }
    }

    /// Marks the end, and says when that is known at the other end.
    fn end(&self) -> Instant {
        let due = self.side.direction.send(&[]);
        let mut flow = self.pipe.flow();
        let due = due.max(flow.last.unwrap_or(due));
        let end = *flow.end.get_or_insert(due);
        drop(flow);
        self.pipe.changed.notify_waiters();
        end
    }

    pub(in crate::transport) fn reset(&mut self, code: CloseCode) {
        let due = self.side.direction.send(&[]);
        self.announce(due);
        self.pipe.flow().reset = Some((due, code));
        self.pipe.changed.notify_waiters();
    }
}

fn deliver(accept: &mpsc::Sender<Halves>, halves: Halves) {
    if accept.try_send(halves).is_err() {
        tracing::debug!("a stream arrived at an end that takes no more");
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        self.end();
    }
}

/// The receiving half of an in-memory stream.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    pipe: Arc<Pipe>,
    side: Side,
}

impl RecvHalf {
    pub(in crate::transport) async fn read_buf(
        &mut self,
        buffer: &mut BytesMut,
    ) -> Result<usize, LinkError> {
        let Self { pipe, side } = self;
        let (back, closed) = (side.back.clone(), side.closed.clone());
        // What arrived before the connection was closed can still be read.
        let here = |due| {
            let arrival = back.borrow().arrival(due);
            let until = closed.borrow().as_ref().map_or_else(rt::now, |(at, _)| *at);
            arrival.is_some_and(|arrival| arrival <= until)
        };
        side.step(pipe, |flow| {
            if let Some((due, code)) = flow.reset
                && here(due)
            {
                return Step::Done(Err(LinkError::Stream(code)));
            }
            match flow.segments.front() {
                Some((due, _)) if here(*due) => Step::Done(Ok(flow.take(buffer))),
                Some((due, _)) => Step::Due(*due, None),
                None => match (flow.reset, flow.end) {
                    (Some((due, _)), _) => Step::Due(due, None),
                    (None, Some(end)) => Step::Due(end, Some(Ok(0))),
                    (None, None) => Step::Wait,
                },
            }
        })
        .await?
    }

    pub(in crate::transport) fn stop(&mut self, code: CloseCode) {
        let due = self.side.direction.send(&[]);
        self.pipe.flow().stopped.get_or_insert((due, code));
        self.pipe.changed.notify_waiters();
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        self.stop(CloseCode::Done);
    }
}

impl Flow {
    /// Takes in bytes that were sent now; says when they are due.
    fn push(&mut self, direction: &Direction, bytes: Bytes) -> Instant {
        let due = direction.send(&bytes);
        // What follows on a stream does not overtake.
        let due = due.max(self.last.unwrap_or(due));
        self.last = Some(due);
        self.buffered += bytes.len();
        self.segments.push_back((due, bytes));
        due
    }

    /// Moves bytes of the first segment to `buffer`, and says how many.
    fn take(&mut self, buffer: &mut BytesMut) -> usize {
        let Some((_, segment)) = self.segments.front_mut() else {
            return 0;
        };
        let spare = (buffer.capacity() - buffer.len()).max(1);
        let take = spare.min(segment.len());
        buffer.extend_from_slice(&segment[..take]);
        segment.advance(take);
        if segment.is_empty() {
            self.segments.pop_front();
        }
        self.buffered -= take;
        take
    }
}

/// What becomes of an attempt at a pipe.
enum Step<T> {
    /// It succeeded.
    Done(T),
    /// Something must change first.
    Wait,
    /// Something that is due then must arrive first; then this is the outcome, or it is tried again.
    Due(Instant, Option<T>),
}

impl Side {
    /// That this end is not closed.
    fn open(&self) -> Result<(), LinkError> {
        match &*self.closed.borrow() {
            Some((_, closed)) => Err(LinkError::Connection(closed.clone())),
            None => Ok(()),
        }
    }

    /// Runs `act` until it is done, each time the pipe changes or what it waits for arrives, or the
    /// connection closes.
    async fn step<T>(
        &mut self,
        pipe: &Pipe,
        mut act: impl FnMut(&mut Flow) -> Step<T>,
    ) -> Result<T, LinkError> {
        loop {
            let changed = pipe.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.closed.mark_unchanged();
            let (due, outcome) = match act(&mut pipe.flow()) {
                Step::Done(done) => {
                    pipe.changed.notify_waiters();
                    return Ok(done);
                }
                Step::Wait => (None, None),
                Step::Due(due, outcome) => (Some(due), outcome),
            };
            self.open()?;
            let back = &mut self.back;
            let arrives = async move {
                match due {
                    Some(due) => passage::arrived(back, due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                result = self.closed.changed() => {
                    if result.is_err() {
                        return Err(LinkError::Truncated);
                    }
                }
                () = arrives => {
                    if let Some(outcome) = outcome {
                        return Ok(outcome);
                    }
                }
                () = changed => {}
            }
        }
    }
}
