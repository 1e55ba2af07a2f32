//! Entries on their way to one follower: many requests in flight on one stream, answered in order.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use futures::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use tokio::sync::Notify;

use super::{
    network::CallError,
    pulse::Pulse,
    types::{self, Types},
    wire::{self, ANSWER_FRAME, Answer, Append, Offence, Outgoing, Sent},
};
use crate::{
    groups::storage::Vote,
    id::MemberId,
    rt::{self, Instant, lock},
    transport::{CloseCode, Link, LinkError, LinkReceiver, RecvHalf, STREAM_WINDOW, SendHalf},
    wire::EncodeError,
};

/// Requests in flight to one follower.
pub(super) const MAX_IN_FLIGHT: usize = 64;
/// Bytes in flight to one follower at which no more requests are made; the last may exceed it.
pub(super) const MAX_IN_FLIGHT_BYTES: usize = 16 * 1024 * 1024;
/// Bytes up to which requests that are ready go out in one write.
const BATCH: usize = 64 * 1024;
/// Heartbeats that may be unanswered before their stream is opened anew.
const MAX_UNANSWERED: u64 = MAX_IN_FLIGHT as u64;
/// Bytes a second that a way carries at least: what is in flight gets that much more time.
const MIN_RATE: usize = 1024 * 1024;

/// A stream to a follower. It outlives the requests on it, as long as it is known what is unanswered.
#[derive(Debug)]
pub(super) struct Line {
    tx: SendHalf,
    rx: Answers,
    /// Frames that were sent one at a time, and answers to them.
    asked: u64,
    answered: u64,
    /// Whether something was begun and not ended.
    busy: bool,
}

impl Line {
    /// A stream to `follower` on which nothing was said yet.
    pub(super) fn new(halves: (SendHalf, RecvHalf), follower: MemberId, pulse: Arc<Pulse>) -> Self {
        let Link { tx, rx } = Link::<(), Answer>::new(halves, ANSWER_FRAME);
        Self {
            tx: tx.into_half(),
            rx: Answers {
                rx,
                follower,
                pulse,
            },
            asked: 0,
            answered: 0,
            busy: false,
        }
    }

    /// Whether more can be said on it.
    pub(super) fn is_reusable(&self) -> bool {
        !self.busy && self.asked - self.answered < MAX_UNANSWERED
    }

    /// Sends one request and waits for its answer, past those to earlier ones that nobody waited for.
    pub(super) async fn ask(
        &mut self,
        request: AppendEntriesRequest<Types>,
    ) -> Result<StreamAppendResult<Types>, CallError> {
        let mut append = encode(request)?;
        let mut out = Outgoing::default();
        let mut sent = VecDeque::new();
        let at = rt::now();
        self.busy = true;
        loop {
            let part = out.append(&mut append)?;
            sent.push_back(part);
            if part.whole {
                break;
            }
        }
        let before = self.asked;
        self.asked += sent.len() as u64;
        while let Some(mut step) = out.step() {
            self.tx.write_chunks(&mut step).await?;
        }
        self.busy = false;
        loop {
            let answer = self.rx.next().await?;
            if answer == Answer::Working {
                continue;
            }
            self.answered += 1;
            if self.answered > before {
                let part = sent.pop_front().ok_or(Offence::Answer)?;
                self.rx.note(&answer, at);
                if let Some(result) = outcome(answer, part)? {
                    // The follower ends the stream with an error.
                    self.busy = result.is_err();
                    return Ok(result);
                }
                continue;
            }
            match answer {
                Answer::Done => {}
                Answer::Higher(vote) => {
                    self.busy = true;
                    return Ok(higher(vote)?);
                }
                // It was about another entry than this request's.
                Answer::Conflict | Answer::Working => return Err(LinkError::Truncated.into()),
            }
        }
    }
}

/// What a follower says. All of it shows that the follower is there.
#[derive(Debug)]
struct Answers {
    rx: LinkReceiver<Answer>,
    follower: MemberId,
    pulse: Arc<Pulse>,
}

impl Answers {
    async fn next(&mut self) -> Result<Answer, LinkError> {
        let answer = self.rx.recv().await?.ok_or(LinkError::Truncated)?;
        self.pulse.heard.note(self.follower, rt::now());
        Ok(answer)
    }

    /// Notes an answer to what was sent then, or later.
    fn note(&self, answer: &Answer, at: Instant) {
        if !matches!(answer, Answer::Higher(_)) {
            self.pulse.obeyed.note(self.follower, at);
        }
    }
}

impl Drop for Line {
    /// Tells the follower that this is no accident.
    fn drop(&mut self) {
        self.tx.reset(CloseCode::Done);
    }
}

/// Sends requests from `input` while there are any, and yields their answers. Ends with the first that is an
/// error, or once `input` has ended and all is answered; then the line can be used again.
pub(super) fn session<'s, S>(
    line: &'s mut Line,
    input: S,
    patience: Duration,
) -> BoxStream<'s, Result<StreamAppendResult<Types>, CallError>>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
{
    line.busy = true;
    let Line { tx, rx, busy, .. } = line;
    let flight = Arc::new(Flight::new(patience));
    let in_flight = InFlight {
        rx,
        flight: flight.clone(),
        next: None,
    };
    let mut answers = Box::pin(stream::unfold(in_flight, next_answer));
    let mut writer = Some(Box::pin(write(tx, input, flight.clone())));
    let mut overdue = Box::pin({
        let flight = flight.clone();
        async move { flight.overdue().await }
    });
    let mut broken = None;
    let mut ended = false;
    let session = stream::poll_fn(move |cx| {
        if ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(answer) = answers.poll_next_unpin(cx) {
            ended = !matches!(answer, Some(Ok(Ok(_))));
            return Poll::Ready(answer);
        }
        if let Some(writing) = &mut writer
            && let Poll::Ready(written) = writing.as_mut().poll(cx)
        {
            writer = None;
            broken = written.err();
        }
        // What the follower answered before the way to it broke says more than that it did.
        if writer.is_none() && flight.is_empty() {
            ended = true;
            *busy = broken.is_some();
            return Poll::Ready(broken.take().map(Err));
        }
        if overdue.as_mut().poll(cx).is_ready() {
            ended = true;
            return Poll::Ready(Some(Err(CallError::Late(flight.patience))));
        }
        Poll::Pending
    });
    session.boxed()
}

/// Where answers come from, and what came behind the last one that was yielded.
struct InFlight<'s> {
    rx: &'s mut Answers,
    flight: Arc<Flight>,
    next: Option<Outcome>,
}

type Outcome = Result<StreamAppendResult<Types>, CallError>;

impl InFlight<'_> {
    /// The next answer to a whole request.
    async fn answer(&mut self) -> Outcome {
        loop {
            let answer = self.rx.next().await?;
            if answer == Answer::Working {
                self.flight.moved();
                continue;
            }
            let (part, at) = self.flight.pop().ok_or(Offence::Answer)?;
            self.rx.note(&answer, at);
            if let Some(result) = outcome(answer, part)? {
                return Ok(result);
            }
        }
    }
}

/// The next answer to a whole request, or to the last of several that are done already: it speaks for all of them.
async fn next_answer(mut answers: InFlight<'_>) -> Option<(Outcome, InFlight<'_>)> {
    let mut last = match answers.next.take() {
        Some(next) => next,
        None => answers.answer().await,
    };
    while let Ok(Ok(_)) = &last {
        match answers.answer().now_or_never() {
            Some(next @ Ok(Ok(_))) => last = next,
            next => {
                answers.next = next;
                break;
            }
        }
    }
    Some((last, answers))
}

/// Writes requests as they come, several small ones at once and none later than it could be.
async fn write<S>(tx: &mut SendHalf, mut input: S, flight: Arc<Flight>) -> Result<(), CallError>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    let mut out = Outgoing::default();
    let mut more = true;
    while more {
        flight.room().await;
        let Some(request) = input.next().await else {
            break;
        };
        flight.send(request, &mut out)?;
        while out.len() < BATCH && flight.has_room() {
            match ready(&mut input).await {
                Poll::Ready(Some(request)) => flight.send(request, &mut out)?,
                Poll::Ready(None) => {
                    more = false;
                    break;
                }
                Poll::Pending => break,
            }
        }
        while let Some(mut step) = out.step() {
            tx.write_chunks(&mut step).await?;
            flight.moved();
        }
    }
    Ok(())
}

/// The next item if there is one already.
async fn ready<S: Stream + Unpin>(input: &mut S) -> Poll<Option<S::Item>> {
    let mut next = pin!(input.next());
    std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await
}

/// What was sent and is not answered.
struct Flight {
    parts: Mutex<Parts>,
    patience: Duration,
    room: Notify,
    sent: Notify,
}

struct Parts {
    /// What was sent, not before when.
    queue: VecDeque<(Sent, Instant)>,
    bytes: usize,
    /// When the follower last said anything or the way took something, or the first of the queue was sent.
    moved: Instant,
}

impl Flight {
    fn new(patience: Duration) -> Self {
        let parts = Parts {
            queue: VecDeque::new(),
            bytes: 0,
            moved: rt::now(),
        };
        Self {
            parts: Mutex::new(parts),
            patience,
            room: Notify::new(),
            sent: Notify::new(),
        }
    }

    /// Notes a request as sent, and adds it to what goes out.
    fn send(
        &self,
        request: AppendEntriesRequest<Types>,
        out: &mut Outgoing,
    ) -> Result<(), EncodeError> {
        let mut append = encode(request)?;
        let now = rt::now();
        loop {
            let part = out.append(&mut append)?;
            let mut parts = lock(&self.parts);
            if parts.queue.is_empty() {
                parts.moved = now;
            }
            parts.bytes += part.bytes;
            parts.queue.push_back((part, now));
            self.sent.notify_one();
            if part.whole {
                return Ok(());
            }
        }
    }

    fn pop(&self) -> Option<(Sent, Instant)> {
        let mut parts = lock(&self.parts);
        let (part, at) = parts.queue.pop_front()?;
        parts.bytes -= part.bytes;
        parts.moved = rt::now();
        self.room.notify_one();
        Some((part, at))
    }

    fn moved(&self) {
        lock(&self.parts).moved = rt::now();
    }

    fn is_empty(&self) -> bool {
        lock(&self.parts).queue.is_empty()
    }

    fn has_room(&self) -> bool {
        let parts = lock(&self.parts);
        parts.queue.len() < MAX_IN_FLIGHT && parts.bytes < MAX_IN_FLIGHT_BYTES
    }

    async fn room(&self) {
        while !self.has_room() {
            self.room.notified().await;
        }
    }

    /// Completes once something is unanswered and nothing was heard for too long.
    async fn overdue(&self) {
        loop {
            match self.deadline() {
                None => self.sent.notified().await,
                Some(deadline) if deadline <= rt::now() => return,
                Some(deadline) => rt::sleep_until(deadline).await,
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let parts = lock(&self.parts);
        if parts.queue.is_empty() {
            return None;
        }
        // What waits to be written does not count: each step of it that is taken is progress.
        let bytes = parts.bytes.min(STREAM_WINDOW as usize);
        let millis = bytes * 1000 / MIN_RATE;
        let transfer = Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        Some(parts.moved + self.patience + transfer)
    }
}

fn encode(request: AppendEntriesRequest<Types>) -> Result<Append, EncodeError> {
    let entries = request.entries.into_iter().map(types::record);
    Ok(Append {
        vote: types::vote(&request.vote),
        prev: request.prev_log_id.as_ref().map(types::log_id),
        committed: request.leader_commit.as_ref().map(types::log_id),
        entries: entries.collect::<Result<_, _>>()?,
    })
}

/// What an answer to a part means for its request; nothing yet unless it is the last or an error.
fn outcome(answer: Answer, part: Sent) -> Result<Option<StreamAppendResult<Types>>, Offence> {
    match answer {
        Answer::Done => Ok(part.whole.then(|| Ok(part.last.map(types::raft_log_id)))),
        Answer::Conflict => {
            // What follows nothing conflicts with nothing.
            let prev = types::raft_log_id(part.prev.ok_or(Offence::Answer)?);
            Ok(Some(Err(StreamAppendError::Conflict(prev))))
        }
        Answer::Higher(vote) => higher(vote).map(Some),
        Answer::Working => Ok(None),
    }
}

fn higher(vote: Vote) -> Result<StreamAppendResult<Types>, Offence> {
    wire::check_vote(vote)?;
    Ok(Err(StreamAppendError::HigherVote(types::raft_vote(vote))))
}

#[cfg(test)]
mod tests;
