//! The shared state of one topic's producers on this node.
//!
//! A hub joins the handles that write (`Producer`), the ring, and one channel for each consumer, local
//! or remote. Writers wait on `changed`, channels on a wake-up of their own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

#[cfg(any(feature = "cli", test))]
use super::channels::Place;
use super::{
    channels::{Channels, Identity},
    condition::{Status, Subscriber},
    info::ChannelInfo,
    meter::Meter,
    proto::{
        ring::{PushError, Ring},
        subscription::Position,
    },
    seat::Seat,
    topic::Topic,
};
use crate::{
    rt::{self, Instant, watch},
    transport::CloseCode,
    wire::EncodeError,
};

/// Part of the ring after which a consumer is asked to acknowledge: an eighth.
const ACK_PART: usize = 8;

/// The producers of a topic on this node.
#[derive(Debug)]
pub(crate) struct Hub {
    topic: Arc<Topic>,
    epoch: u64,
    /// Why the hub can do nothing, if that is so.
    refused: Option<String>,
    state: Mutex<Channels>,
    /// Woken when the ring may have room, the number of channels changes, or the hub closes.
    changed: Notify,
    status: watch::Sender<Status>,
}

impl Hub {
    pub(crate) fn new(topic: Arc<Topic>, refused: Option<String>) -> Self {
        let options = &topic.options;
        let ring = Ring::new(options.capacity, options.capacity_bytes);
        let online = refused.is_none() && options.online_when == 0;
        Self {
            epoch: rt::random_u64(),
            refused,
            state: Mutex::new(Channels::new(ring)),
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
                state.found_room();
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

    /// Waits for room: while the guard lives, consumers that take nothing are held to `stall`.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.state().waiting += 1;
        Waiting(self)
    }

    /// Completes when a wait may be over; register before looking.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// Wakes whoever waits for a change.
    pub(super) fn wake_waiting(&self) {
        self.changed.notify_waiters();
    }

    /// Whether all that was written up to now has arrived at every consumer that is waited for.
    pub(crate) fn is_flushed(&self, seq: u64) -> bool {
        self.state().ring.is_acked(seq)
    }

    /// Sequence number of the next datum.
    pub(crate) fn next(&self) -> u64 {
        self.state().ring.next()
    }

    /// Gives a consumer a seat; one that is on this node counts by `meter` what it takes.
    pub(crate) fn attach(
        self: &Arc<Self>,
        consumer: Identity,
        resume: Option<Position>,
        meter: Option<Arc<Meter>>,
    ) -> Result<Seat, (CloseCode, &'static str)> {
        let resume = resume.filter(|resume| resume.epoch == self.epoch);
        let attached = {
            let mut state = self.state();
            // What was written before the end is still owed to those who come back.
            if let (Some(closing), None) = (state.closing, resume) {
                return Err(closing);
            }
            if !state.has_seat_for(consumer, self.topic.options.max_consumers) {
                return Err((
                    CloseCode::NoCapacity,
                    "the producer serves as many consumers as it may",
                ));
            }
            state.attach(consumer, resume, meter)
        };
        self.refresh();
        Ok(Seat::new(self.clone(), attached))
    }

    /// Lets writers write no more and channels end once they have read everything. Places that are kept
    /// for consumers stay kept.
    pub(crate) fn close(&self, code: CloseCode, reason: &'static str) {
        {
            let mut state = self.state();
            state.closing.get_or_insert((code, reason));
            state.wake_all();
        }
        self.refresh();
    }

    /// Waits until every connected consumer has everything and has left.
    pub(crate) async fn drained(&self) {
        loop {
            let changed = self.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_idle() {
                return;
            }
            changed.await;
        }
    }

    /// Whether no consumer is connected.
    pub(crate) fn is_idle(&self) -> bool {
        self.state().connected == 0
    }

    /// Whether no consumer is connected, and no place is kept for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().is_empty()
    }

    /// Whether nobody writes any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.state().closing.is_some()
    }

    /// One line a channel.
    pub(crate) fn channels(&self) -> Vec<ChannelInfo> {
        self.state().infos()
    }

    /// What consumers have received: those that are there, and the last ones that are not any more.
    #[cfg(any(feature = "cli", test))]
    pub(crate) fn places(&self) -> Vec<Place> {
        self.state().places()
    }

    /// Bytes that the ring holds.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.state().ring.bytes()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Channels> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets consumers that did not come back in time; once closing, cuts those that take nothing.
    pub(crate) fn sweep(&self) {
        let changed = {
            let mut state = self.state();
            let mut changed = state.give_up_lost();
            // Nobody writes any more who would find the ring full.
            if state.closing.is_some() && state.connected > 0 {
                changed |= state.cut_stalled(self.topic.options.stall).is_none();
            }
            changed
        };
        if changed {
            self.refresh();
        }
    }

    /// Publishes who is connected, and wakes whoever waits.
    pub(super) fn refresh(&self) {
        let mut state = self.state();
        let subscribers = state.count().into_iter();
        let subscribers: Vec<_> = subscribers.map(|peer| Subscriber { peer }).collect();
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
        self.wake_waiting();
    }
}

/// A writer that waits for room.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Hub);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waited();
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
    use std::time::Duration;

    use super::*;
    use crate::{
        declare::TopicOptions,
        id::PeerId,
        streams::{
            info::ChannelState,
            past::{Found, Past},
            seat::Next,
        },
    };

    fn hub(max_consumers: usize, online_when: usize) -> Arc<Hub> {
        let mut topic = Topic::raw("test");
        topic.options = TopicOptions {
            max_consumers,
            online_when,
            ..TopicOptions::DEFAULT
        };
        Arc::new(Hub::new(Arc::new(topic), None))
    }

    fn of(peer: u8, consumer: u64) -> Identity {
        let peer = PeerId::from_bytes([peer; 32]);
        Identity { peer, consumer }
    }

    fn at(hub: &Hub, next: u64) -> Option<Position> {
        let epoch = hub.epoch();
        Some(Position { epoch, next })
    }

    #[tokio::test]
    async fn a_consumer_that_comes_back_finds_its_own_seat_at_a_full_table() {
        let hub = hub(1, 1);
        let first = hub.attach(of(1, 7), None, None).unwrap();
        hub.try_push(&1u64).unwrap();
        // It notices the loss of its connection before the producer does.
        let again = hub.attach(of(1, 7), at(&hub, 0), None).unwrap();
        assert_eq!(again.first, 0, "nothing is missed");
        assert!(
            hub.attach(of(2, 1), None, None).is_err(),
            "the table is full"
        );
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
            drop(hub.attach(of(1, consumer), None, None).unwrap());
            assert!(hub.channels().len() <= 4);
        }
        let seats: Vec<_> = (0..4).map(|n| hub.attach(of(2, n), None, None)).collect();
        assert!(seats.iter().all(Result::is_ok));
        assert!(hub.attach(of(3, 0), None, None).is_err());
        assert_eq!(hub.state().idle(), 0);
        let mut batches = vec![];
        for seat in seats.iter().flatten() {
            assert!(matches!(seat.read(1, &mut batches), Next::Idle));
            assert!(matches!(seat.read(1, &mut batches), Next::Idle));
        }
        assert_eq!(hub.state().idle(), 4, "each once");
        drop(seats);
        tokio::time::pause();
        tokio::time::advance(TopicOptions::DEFAULT.stall * 2).await;
        hub.sweep();
        assert_eq!((hub.channels().len(), hub.state().idle()), (0, 0));
    }

    const STALL: Duration = Duration::from_secs(1);

    /// A hub whose ring is full with four datums.
    fn small() -> Arc<Hub> {
        let mut topic = Topic::raw("test");
        topic.options = TopicOptions {
            capacity: 4,
            stall: STALL,
            online_when: 0,
            ..TopicOptions::DEFAULT
        };
        Arc::new(Hub::new(Arc::new(topic), None))
    }

    fn fill(hub: &Hub) {
        while hub.try_push(&0u64).is_ok() {}
    }

    fn read(seat: &Seat) -> (u64, Next) {
        let mut batches = vec![];
        let mut next = seat.read(u64::MAX, &mut batches);
        if matches!(next, Next::Go) {
            next = seat.read(u64::MAX, &mut batches);
        }
        (batches.iter().map(|batch| batch.count).sum(), next)
    }

    #[track_caller]
    fn check(hub: &Hub, states: &[ChannelState]) {
        let channels = hub.channels();
        let found: Vec<_> = channels.into_iter().map(|channel| channel.state).collect();
        assert_eq!(found, states);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_whose_program_takes_something_is_not_cut() {
        let hub = small();
        let meter = Arc::new(Meter::default());
        let remote = hub.attach(of(1, 1), None, None).unwrap();
        let local = hub.attach(of(2, 1), None, Some(meter.clone())).unwrap();
        fill(&hub);
        let _waiting = hub.wait();
        for taken in 1..20 {
            tokio::time::advance(STALL * 9 / 10).await;
            // Nothing arrives, since there is no room for it, but something is taken.
            remote.ack(0, taken);
            meter.take(1);
            assert!(matches!(hub.try_push(&0u64), Err(Refusal::Full { .. })));
            check(&hub, &[ChannelState::Connected, ChannelState::Connected]);
        }
        tokio::time::advance(STALL).await;
        meter.take(1);
        assert!(matches!(hub.try_push(&0u64), Err(Refusal::Full { .. })));
        check(&hub, &[ChannelState::Cut, ChannelState::Connected]);
        tokio::time::advance(STALL).await;
        hub.try_push(&0u64).unwrap();
        check(&hub, &[ChannelState::Cut, ChannelState::Cut]);
        drop((remote, local));
    }

    #[tokio::test(start_paused = true)]
    async fn only_time_in_which_somebody_waits_counts_as_stall() {
        let hub = small();
        let _seat = hub.attach(of(1, 1), None, None).unwrap();
        fill(&hub);
        // A send is begun and given up; then nobody wants anything for long.
        let waiting = hub.wait();
        tokio::time::advance(STALL / 2).await;
        assert!(hub.try_push(&0u64).is_err());
        drop(waiting);
        tokio::time::advance(STALL * 10).await;
        assert!(matches!(hub.try_push(&0u64), Err(Refusal::Full { .. })));
        check(&hub, &[ChannelState::Connected]);
        // Who tries again and again waits.
        for _ in 0..10 {
            tokio::time::advance(STALL / 10).await;
            check(&hub, &[ChannelState::Connected]);
            drop(hub.try_push(&0u64));
        }
        check(&hub, &[ChannelState::Cut]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_consumer_that_is_soon_back_misses_only_what_had_to_go() {
        let hub = small();
        let slow = hub.attach(of(1, 1), None, None).unwrap();
        fill(&hub);
        let _waiting = hub.wait();
        tokio::time::advance(STALL).await;
        assert_eq!(hub.buffered_bytes(), 4 * 5);
        hub.state().cut_stalled(STALL);
        check(&hub, &[ChannelState::Cut]);
        assert!(hub.is_flushed(4), "it is not waited for");
        assert!(matches!(read(&slow).1, Next::End(CloseCode::TooSlow, _)));
        slow.leave();
        check(&hub, &[ChannelState::Cut]);
        let place = Place {
            first: 0,
            received: 0,
            open: true,
        };
        assert_eq!(hub.places(), [place]);
        let back = hub.attach(of(1, 1), at(&hub, 0), None).unwrap();
        assert_eq!((back.first, read(&back).0), (0, 4), "all is still there");
        tokio::time::advance(STALL).await;
        hub.try_push(&0u64).unwrap();
        back.leave();
        check(&hub, &[ChannelState::Cut]);
        let back = hub.attach(of(1, 1), at(&hub, 0), None).unwrap();
        assert_eq!((back.first, read(&back).0), (4, 1), "four had to go");
        tokio::time::advance(STALL * 2).await;
        hub.sweep();
        check(&hub, &[ChannelState::Connected]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hub_that_has_closed_serves_the_places_it_keeps() {
        let hub = small();
        let lost = hub.attach(of(1, 1), None, None).unwrap();
        let cut = hub.attach(of(2, 1), None, None).unwrap();
        hub.try_push(&0u64).unwrap();
        assert_eq!(read(&lost).0, 1);
        drop(lost);
        fill(&hub);
        let last = hub.next();
        hub.close(CloseCode::Done, "dropped");
        assert!(hub.attach(of(3, 1), None, None).is_err(), "nobody new");
        let back = hub.attach(of(1, 1), at(&hub, 1), None).unwrap();
        let (count, next) = read(&back);
        assert_eq!(count, last - 1);
        assert!(matches!(next, Next::End(CloseCode::Done, _)));
        back.ack(last, 0);
        hub.sweep();
        tokio::time::advance(STALL).await;
        hub.sweep();
        check(&hub, &[ChannelState::Cut, ChannelState::Connected]);
        assert_eq!(cut.progress(), Some((0, 0)));
        back.leave();
        tokio::time::advance(STALL).await;
        hub.sweep();
        assert!(hub.is_empty());
        assert_eq!(
            cut.progress(),
            None,
            "others' datums are no progress of its"
        );
        cut.leave();
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_is_served_from_its_remains_and_then_known_by_its_length() {
        let hub = small();
        let resume = at(&hub, 0).unwrap();
        let mut past = Past::default();
        let topic = hub.topic().id;
        drop(hub.attach(of(1, 1), None, None).unwrap());
        fill(&hub);
        let last = hub.next();
        hub.close(CloseCode::Done, "dropped");
        past.push(hub.clone());
        assert!(matches!(past.find(&topic, resume), Found::Hub(_)));
        let other = Position { epoch: 0, next: 0 };
        assert!(matches!(past.find(&topic, other), Found::Nothing));
        tokio::time::advance(STALL).await;
        hub.sweep();
        past.sweep();
        assert!(past.hubs().is_empty());
        let Found::Over { next } = past.find(&topic, resume) else {
            panic!("its length is known");
        };
        assert_eq!(next, last);
        let all = at(&hub, last).unwrap();
        assert!(matches!(past.find(&topic, all), Found::Nothing));
        // However many end, few are kept.
        for _ in 0..2_000 {
            let hub = small();
            drop(hub.attach(of(1, 1), None, None).unwrap());
            fill(&hub);
            hub.close(CloseCode::Done, "dropped");
            past.push(hub);
        }
        assert_eq!(past.hubs().len(), 64);
        assert!(matches!(past.find(&topic, resume), Found::Nothing));
    }
}
