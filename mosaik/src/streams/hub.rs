//! The shared state of one topic's producers on this node.
//!
//! A hub joins the handles that write (`Producer`), the ring, and one channel for each consumer, local
//! or remote. Writers wait on `room`, channels on a wake-up of their own.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    condition::{Status, Subscriber},
    info::{ChannelInfo, ChannelState, Counters},
    proto::{
        ring::{Batch, CursorId, PushError, Ring},
        subscription::Position,
    },
    topic::Topic,
};
use crate::{
    id::PeerId,
    metrics,
    rt::{self, Instant, watch},
    transport::CloseCode,
    wire::EncodeError,
};

/// Part of the ring after which a consumer is asked to acknowledge: an eighth.
const ACK_PART: usize = 8;

/// Ended channels whose [`Place`] is remembered; the oldest goes first.
const MAX_ENDED: usize = 64;

/// The producers of a topic on this node.
#[derive(Debug)]
pub(crate) struct Hub {
    topic: Arc<Topic>,
    epoch: u64,
    /// Why the hub can do nothing, if that is so.
    refused: Option<String>,
    state: Mutex<State>,
    /// Woken when the ring may have room, the number of channels changes, or the hub closes.
    changed: Notify,
    status: watch::Sender<Status>,
}

#[derive(Debug)]
struct State {
    ring: Ring,
    channels: BTreeMap<CursorId, Channel>,
    /// How many of them are connected.
    connected: usize,
    /// Those that have read everything and wait for a wake-up.
    idle: Vec<CursorId>,
    /// What channels that ended had received.
    ended: VecDeque<Place>,
    /// Since when a writer has found the ring full.
    full_since: Option<Instant>,
    closing: Option<(CloseCode, &'static str)>,
}

#[derive(Debug)]
struct Channel {
    peer: PeerId,
    /// Names the consumer among its peer's.
    consumer: u64,
    /// Sequence number of the first datum that is its, earlier connections of the consumer included.
    first: u64,
    wake: Arc<Notify>,
    /// It has read everything, and is among those to wake.
    idle: bool,
    last_progress: Instant,
    state: Life,
    counters: Arc<Counters>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Connected,
    /// Lost without a goodbye; its place is kept until then.
    Lost {
        until: Instant,
    },
    /// Took nothing for too long.
    Cut,
}

/// The part of the sequence that one consumer has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Sequence number of the first datum in it.
    pub(crate) first: u64,
    /// Sequence number behind the last that is known to have arrived.
    pub(crate) received: u64,
    /// Whether more may follow.
    pub(crate) open: bool,
}

/// What a channel does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    /// Send what was read, or wait for credit.
    Go,
    /// Wait to be woken.
    Idle,
    /// Say why and stop; everything was read.
    End(CloseCode, &'static str),
}

/// A consumer's place at a hub. Dropping it keeps the place for the topic's `stall`, so that the consumer
/// can come back; [`Seat::leave`] gives it up.
#[derive(Debug)]
pub(crate) struct Seat {
    hub: Arc<Hub>,
    cursor: CursorId,
    /// Sequence number of the first datum it will read.
    pub(crate) first: u64,
    /// Woken when there is something to read, or to stop for.
    pub(crate) wake: Arc<Notify>,
    /// What it has sent.
    pub(crate) counters: Arc<Counters>,
}

impl Hub {
    pub(crate) fn new(topic: Arc<Topic>, refused: Option<String>) -> Self {
        let options = &topic.options;
        let ring = Ring::new(options.capacity, options.capacity_bytes);
        let online = refused.is_none() && options.online_when == 0;
        Self {
            epoch: rt::random_u64(),
            refused,
            state: Mutex::new(State {
                ring,
                channels: BTreeMap::new(),
                connected: 0,
                idle: Vec::new(),
                ended: VecDeque::new(),
                full_since: None,
                closing: None,
            }),
            changed: Notify::new(),
            status: watch::Sender::new(Status {
                online,
                subscribers: Vec::new(),
            }),
            topic,
        }
    }

    pub(crate) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Datums after which a consumer acknowledges.
    pub(crate) fn ack_every(&self) -> u64 {
        (self.topic.options.capacity / ACK_PART).max(1) as u64
    }

    /// Writes a datum if that needs no waiting.
    pub(crate) fn try_push<T: Serialize>(&self, datum: &T) -> Result<(), Refusal> {
        if let Some(reason) = &self.refused {
            return Err(Refusal::Refused(reason.clone()));
        }
        let mut state = self.state();
        if state.closing.is_some() {
            return Err(Refusal::Closed);
        }
        if state.connected < self.topic.options.online_when {
            return Err(Refusal::Offline);
        }
        let pushed = state.ring.push(|out| encode_into(datum, out));
        match pushed {
            Ok(_) => {
                state.full_since = None;
                state.wake_idle();
                Ok(())
            }
            Err(PushError::Encode(error)) => Err(Refusal::Encode(error)),
            Err(PushError::Full) => {
                let deadline = state.cut_stalled(self.topic.options.stall);
                drop(state);
                match deadline {
                    Some(deadline) => Err(Refusal::Full { deadline }),
                    None => {
                        self.refresh();
                        self.try_push(datum)
                    }
                }
            }
        }
    }

    /// Completes when a wait may be over; register before looking.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Whether all that was written up to now has arrived at every connected consumer.
    pub(crate) fn is_flushed(&self, seq: u64) -> bool {
        self.state().ring.is_acked(seq)
    }

    /// Sequence number of the next datum.
    pub(crate) fn next(&self) -> u64 {
        self.state().ring.next()
    }

    /// Gives a consumer a seat.
    pub(crate) fn attach(
        self: &Arc<Self>,
        peer: PeerId,
        consumer: u64,
        resume: Option<Position>,
    ) -> Result<Seat, (CloseCode, &'static str)> {
        let seat = {
            let mut state = self.state();
            if let Some(closing) = state.closing {
                return Err(closing);
            }
            if !state.has_seat_for(peer, consumer, self.topic.options.max_consumers) {
                return Err((
                    CloseCode::NoCapacity,
                    "the producer serves as many consumers as it may",
                ));
            }
            let resume = resume.filter(|resume| resume.epoch == self.epoch);
            let attached = state.ring.attach(resume.map(|resume| resume.next));
            // Only now: the place that was kept is what the new one may still need.
            let earlier = state.drop_seat_of(peer, consumer);
            let seamless = resume.is_some_and(|resume| resume.next == attached.first);
            let channel = Channel {
                peer,
                consumer,
                first: earlier.filter(|_| seamless).unwrap_or(attached.first),
                wake: Arc::default(),
                idle: false,
                last_progress: rt::now(),
                state: Life::Connected,
                counters: Arc::default(),
            };
            let seat = Seat {
                hub: self.clone(),
                cursor: attached.cursor,
                first: attached.first,
                wake: channel.wake.clone(),
                counters: channel.counters.clone(),
            };
            state.channels.insert(attached.cursor, channel);
            seat
        };
        self.refresh();
        Ok(seat)
    }

    /// Lets writers write no more and channels end once they have read everything.
    pub(crate) fn close(&self, code: CloseCode, reason: &'static str) {
        {
            let mut state = self.state();
            state.closing.get_or_insert((code, reason));
            for channel in state.channels.values() {
                channel.wake.notify_one();
            }
        }
        self.refresh();
    }

    /// Waits until every connected consumer has everything and has left.
    pub(crate) async fn drained(&self) {
        loop {
            let changed = self.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state().connected == 0 {
                return;
            }
            changed.await;
        }
    }

    /// What the seat's consumer has acknowledged; a measure of progress only.
    fn acked(&self, cursor: CursorId) -> u64 {
        let state = self.state();
        state.ring.next() - state.ring.lag(cursor)
    }

    /// Whether no consumer is connected.
    pub(crate) fn is_idle(&self) -> bool {
        self.state().connected == 0
    }

    /// One line a channel.
    pub(crate) fn channels(&self) -> Vec<ChannelInfo> {
        let state = self.state();
        let info = |(cursor, channel): (&CursorId, &Channel)| ChannelInfo {
            peer: channel.peer,
            state: match channel.state {
                Life::Connected => ChannelState::Connected,
                Life::Lost { .. } => ChannelState::Reconnecting,
                Life::Cut => ChannelState::Cut,
            },
            datums: channel.counters.datums(),
            bytes: channel.counters.bytes(),
            lag: state.ring.lag(*cursor),
            rtt: channel.counters.rtt(),
        };
        state.channels.iter().map(info).collect()
    }

    /// What consumers have received: those that are there, and the last ones that are not any more.
    #[cfg(any(feature = "cli", test))]
    pub(crate) fn places(&self) -> Vec<Place> {
        let state = self.state();
        let uncut = |c: &Channel| c.state != Life::Cut;
        let channels = state.channels.iter().filter(|(_, c)| uncut(c));
        let open = channels.map(|(cursor, c)| Place {
            open: true,
            ..state.place(*cursor, c)
        });
        open.chain(state.ended.iter().copied()).collect()
    }

    /// Bytes that the ring holds.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.state().ring.bytes()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets consumers that did not come back in time; once closing, cuts those that take nothing.
    pub(crate) fn sweep(&self) {
        {
            let now = rt::now();
            let mut state = self.state();
            let gone = |c: &Channel| matches!(c.state, Life::Lost { until } if until <= now);
            let gone = |(id, c): (&CursorId, &Channel)| gone(c).then_some(*id);
            let cursors: Vec<_> = state.channels.iter().filter_map(gone).collect();
            let mut changed = !cursors.is_empty();
            for cursor in cursors {
                state.remove(cursor);
            }
            // Nobody writes any more who would find the ring full.
            if state.closing.is_some() && state.connected > 0 {
                changed |= state.cut_stalled(self.topic.options.stall).is_none();
            }
            if !changed {
                return;
            }
        }
        self.refresh();
    }

    /// Publishes who is connected, and wakes whoever waits.
    fn refresh(&self) {
        let mut state = self.state();
        let connected = state.channels.values().filter(|c| c.is_connected());
        let subscribers: Vec<_> = connected.map(|c| Subscriber { peer: c.peer }).collect();
        state.connected = subscribers.len();
        let online = self.refused.is_none()
            && state.closing.is_none()
            && subscribers.len() >= self.topic.options.online_when;
        let status = Status {
            online,
            subscribers,
        };
        // Under the lock, so that an older view never overwrites a newer one.
        self.status.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    /// Why a cursor's channel must stop although it has not read everything.
    fn forced_end(&self, cursor: CursorId) -> Option<(CloseCode, &'static str)> {
        match self.channels.get(&cursor) {
            None => Some((CloseCode::Duplicate, "the consumer connected anew")),
            Some(channel) if channel.state == Life::Cut => {
                Some((CloseCode::TooSlow, "took nothing while others waited"))
            }
            Some(_) => None,
        }
    }

    fn wake_idle(&mut self) {
        for cursor in self.idle.drain(..) {
            if let Some(channel) = self.channels.get_mut(&cursor) {
                channel.idle = false;
                channel.wake.notify_one();
            }
        }
    }

    /// Notes that a channel has read everything.
    fn rest(&mut self, cursor: CursorId) {
        if let Some(channel) = self.channels.get_mut(&cursor)
            && !channel.idle
        {
            channel.idle = true;
            self.idle.push(cursor);
        }
    }

    /// Gives a channel's cursor up for good, and remembers what it had received.
    fn end(&mut self, cursor: CursorId) {
        let channel = self.channels.get(&cursor);
        if let Some(channel) = channel.filter(|channel| channel.state != Life::Cut) {
            let place = self.place(cursor, channel);
            if self.ended.len() == MAX_ENDED {
                self.ended.pop_front();
            }
            self.ended.push_back(place);
        }
        self.ring.detach(cursor);
    }

    /// What a channel has received, as one that has ended.
    fn place(&self, cursor: CursorId, channel: &Channel) -> Place {
        Place {
            first: channel.first,
            received: self.ring.next() - self.ring.lag(cursor),
            open: false,
        }
    }

    /// Forgets a channel and what only it still needed.
    fn remove(&mut self, cursor: CursorId) -> Option<Channel> {
        self.end(cursor);
        let channel = self.channels.remove(&cursor)?;
        if channel.idle {
            self.idle.retain(|idle| *idle != cursor);
        }
        Some(channel)
    }

    /// Whether one more consumer may have a seat. One that comes back counts once; a seat that is only
    /// kept gives way to one that is taken.
    fn has_seat_for(&mut self, peer: PeerId, consumer: u64, max: usize) -> bool {
        let other = |c: &&Channel| c.peer != peer || c.consumer != consumer;
        if self.channels.values().filter(other).count() < max {
            return true;
        }
        let kept = |(id, channel): (&CursorId, &Channel)| match channel.state {
            Life::Lost { until } => Some((until, *id)),
            Life::Connected | Life::Cut => None,
        };
        match self.channels.iter().filter_map(kept).min() {
            Some((_, oldest)) => {
                self.remove(oldest);
                true
            }
            None => false,
        }
    }

    /// Cuts the consumers that hold a full ring up for longer than `stall`. Returns when to look again,
    /// or `None` when some were cut.
    fn cut_stalled(&mut self, stall: Duration) -> Option<Instant> {
        let now = rt::now();
        let full_since = *self.full_since.get_or_insert(now);
        let mut earliest = now + stall;
        let mut cut = false;
        for cursor in self.ring.slowest() {
            let Some(channel) = self.channels.get_mut(&cursor) else {
                continue;
            };
            let deadline = match channel.state {
                Life::Connected => channel.last_progress.max(full_since) + stall,
                Life::Lost { until } => until,
                Life::Cut => now,
            };
            if deadline > now {
                earliest = earliest.min(deadline);
                continue;
            }
            cut = true;
            if channel.state != Life::Connected {
                self.remove(cursor);
                continue;
            }
            warn!(peer = %channel.peer.short(), ?stall, "consumer took nothing and is cut");
            metrics::consumer_cut();
            channel.wake.notify_one();
            self.end(cursor);
            if let Some(channel) = self.channels.get_mut(&cursor) {
                channel.state = Life::Cut;
            }
        }
        (!cut).then_some(earliest)
    }

    /// Removes what is left of an earlier connection of the same consumer. Returns its first datum.
    fn drop_seat_of(&mut self, peer: PeerId, consumer: u64) -> Option<u64> {
        let same = |c: &Channel| c.peer == peer && c.consumer == consumer;
        let earlier = |(id, c): (&CursorId, &Channel)| same(c).then_some(*id);
        let cursors: Vec<_> = self.channels.iter().filter_map(earlier).collect();
        let mut first = None;
        for cursor in cursors {
            if let Some(channel) = self.remove(cursor) {
                first = Some(channel.first);
                channel.wake.notify_one();
            }
        }
        first
    }
}

impl Channel {
    fn is_connected(&self) -> bool {
        self.state == Life::Connected
    }
}

impl Seat {
    /// Moves what there is to read into `batches`, as long as that holds less than `limit` bytes, and says
    /// what to do. Once a call: what arrives meanwhile makes the next one larger.
    pub(crate) fn read(&self, limit: u64, batches: &mut Vec<Batch>) -> Next {
        let mut state = self.hub.state();
        if let Some((code, reason)) = state.forced_end(self.cursor) {
            return Next::End(code, reason);
        }
        let mut bytes = 0;
        while bytes < limit {
            let Some(batch) = state.ring.read(self.cursor) else {
                break;
            };
            bytes += batch.records.len() as u64;
            batches.push(batch);
        }
        if bytes > 0 || limit == 0 {
            return Next::Go;
        }
        if let Some((code, reason)) = state.closing {
            return Next::End(code, reason);
        }
        state.rest(self.cursor);
        Next::Idle
    }

    /// Completes once the seat must be given up although not everything was sent.
    pub(crate) async fn forced(&self) -> (CloseCode, &'static str) {
        loop {
            let changed = self.hub.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(end) = self.hub.state().forced_end(self.cursor) {
                return end;
            }
            changed.await;
        }
    }

    /// Notes what has arrived at the consumer.
    pub(crate) fn ack(&self, received: u64) {
        let mut state = self.hub.state();
        if !state.ring.ack(self.cursor, received) {
            return;
        }
        if let Some(channel) = state.channels.get_mut(&self.cursor) {
            channel.last_progress = rt::now();
        }
        drop(state);
        self.hub.changed.notify_waiters();
    }

    /// Grows as long as the consumer takes something.
    pub(crate) fn progress(&self) -> u64 {
        self.hub.acked(self.cursor)
    }

    /// Gives the seat up for good.
    pub(crate) fn leave(self) {
        self.hub.state().remove(self.cursor);
        self.hub.refresh();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        {
            let mut state = self.hub.state();
            let until = rt::now() + self.hub.topic.options.stall;
            let closing = state.closing.is_some();
            match state.channels.get_mut(&self.cursor) {
                Some(channel) if channel.state == Life::Connected && !closing => {
                    info!(peer = %channel.peer.short(), "consumer lost; its place is kept for a while");
                    channel.state = Life::Lost { until };
                }
                Some(_) => drop(state.remove(self.cursor)),
                None => {}
            }
        }
        self.hub.refresh();
    }
}

/// Why a datum was not written at once.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// Too few consumers.
    Offline,
    /// No room; at the deadline the slowest consumer is cut.
    Full { deadline: Instant },
    /// The producer is closed.
    Closed,
    /// The handle was refused from the start.
    Refused(String),
    /// The datum cannot be carried.
    Encode(EncodeError),
}

/// Appends `datum` as postcard to `out`.
fn encode_into<T: Serialize>(datum: &T, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    /// postcard's own flavors append through `Extend`, byte by byte, which costs more than the encoding.
    struct Tail<'a>(&'a mut Vec<u8>);

    impl postcard::ser_flavors::Flavor for Tail<'_> {
        type Output = ();

        #[inline]
        fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
            self.0.push(byte);
            Ok(())
        }

        #[inline]
        fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn finalize(self) -> postcard::Result<()> {
            Ok(())
        }
    }

    postcard::serialize_with_flavor(datum, Tail(out)).map_err(EncodeError::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::declare::TopicOptions;

    fn hub(max_consumers: usize, online_when: usize) -> Arc<Hub> {
        let mut topic = Topic::raw("test");
        topic.options = TopicOptions {
            max_consumers,
            online_when,
            ..TopicOptions::DEFAULT
        };
        Arc::new(Hub::new(Arc::new(topic), None))
    }

    fn peer(number: u8) -> PeerId {
        PeerId::from_bytes([number; 32])
    }

    #[tokio::test]
    async fn a_consumer_that_comes_back_finds_its_own_seat_at_a_full_table() {
        let hub = hub(1, 1);
        let first = hub.attach(peer(1), 7, None).unwrap();
        hub.try_push(&1u64).unwrap();
        // It notices the loss of its connection before the producer does.
        let resume = Some(Position {
            epoch: hub.epoch(),
            next: 0,
        });
        let again = hub.attach(peer(1), 7, resume).unwrap();
        assert_eq!(again.first, 0, "nothing is missed");
        assert!(hub.attach(peer(2), 1, None).is_err(), "the table is full");
        drop(first);
        assert_eq!(hub.status().borrow().subscribers.len(), 1);
        again.leave();
        assert!(!hub.status().borrow().online);
        assert!(matches!(hub.try_push(&2u64), Err(Refusal::Offline)));
    }

    #[tokio::test]
    async fn seats_that_are_only_kept_give_way_and_do_not_pile_up() {
        let hub = hub(4, 0);
        for consumer in 0..100 {
            drop(hub.attach(peer(1), consumer, None).unwrap());
            assert!(hub.channels().len() <= 4);
        }
        let seats: Vec<_> = (0..4).map(|n| hub.attach(peer(2), n, None)).collect();
        assert!(seats.iter().all(Result::is_ok));
        assert!(hub.attach(peer(3), 0, None).is_err());
        assert_eq!(hub.state().idle.len(), 0);
        let mut batches = vec![];
        for seat in seats.iter().flatten() {
            assert!(matches!(seat.read(1, &mut batches), Next::Idle));
            assert!(matches!(seat.read(1, &mut batches), Next::Idle));
        }
        assert_eq!(hub.state().idle.len(), 4, "each once");
        drop(seats);
        tokio::time::pause();
        tokio::time::advance(TopicOptions::DEFAULT.stall * 2).await;
        hub.sweep();
        assert_eq!((hub.channels().len(), hub.state().idle.len()), (0, 0));
    }
}
