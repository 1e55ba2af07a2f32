//! The consumers at a hub, and the ring that they read.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;
use tracing::{info, warn};

use super::{
    info::{ChannelInfo, ChannelState, Counters},
    meter::Meter,
    proto::{
        ring::{CursorId, Ring},
        subscription::Position,
    },
};
use crate::{
    id::PeerId,
    metrics,
    rt::{self, Instant},
    transport::CloseCode,
};

/// Ended channels whose [`Place`] is remembered; the oldest goes first.
const MAX_ENDED: usize = 64;
/// Part of `stall` for which a writer that was refused counts as one that waits: an eighth. So one that
/// tries again and again is one that waits, and one that gave up is none.
const RETRY_PART: u32 = 8;

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

/// Names a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its peer.
    pub(crate) peer: PeerId,
    /// Which of its peer's.
    pub(crate) consumer: u64,
}

/// A hub's ring and channels.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) ring: Ring,
    channels: BTreeMap<CursorId, Channel>,
    /// How many of them are connected.
    pub(super) connected: usize,
    /// Those that have read everything and wait for a wake-up.
    idle: Vec<CursorId>,
    /// What channels that ended had received.
    ended: VecDeque<Place>,
    /// Writers that wait for room.
    pub(super) waiting: usize,
    /// The wait for room that goes on, or the last one.
    full: Option<Full>,
    pub(super) closing: Option<(CloseCode, &'static str)>,
}

/// How long a full ring has held writers up.
#[derive(Clone, Copy, Debug)]
struct Full {
    since: Instant,
    /// When a writer was last seen to wait.
    last: Instant,
}

#[derive(Debug)]
pub(super) struct Channel {
    consumer: Identity,
    /// Sequence number of the first datum that is its, earlier connections of the consumer included.
    first: u64,
    pub(super) wake: Arc<Notify>,
    /// It has read everything, and is among those to wake.
    idle: bool,
    last_progress: Instant,
    /// Bytes that its program is known to have taken.
    taken: u64,
    /// Counts them, when the consumer is on this node.
    meter: Option<Arc<Meter>>,
    pub(super) state: Life,
    pub(super) counters: Arc<Counters>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Connected,
    /// Lost without a goodbye; until then writers wait for it to come back.
    Lost {
        until: Instant,
    },
    /// Took nothing for too long; until then it may come back to what is still there.
    Cut {
        until: Instant,
    },
}

/// A channel that was made.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) cursor: CursorId,
    pub(super) first: u64,
    pub(super) wake: Arc<Notify>,
    pub(super) counters: Arc<Counters>,
}

impl Channels {
    pub(super) fn new(ring: Ring) -> Self {
        Self {
            ring,
            channels: BTreeMap::new(),
            connected: 0,
            idle: Vec::new(),
            ended: VecDeque::new(),
            waiting: 0,
            full: None,
            closing: None,
        }
    }

    pub(super) fn get_mut(&mut self, cursor: CursorId) -> Option<&mut Channel> {
        self.channels.get_mut(&cursor)
    }

    /// How many wait for a wake-up.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    pub(super) fn wake_all(&self) {
        for channel in self.channels.values() {
            channel.wake.notify_one();
        }
    }

    /// Counts who is connected, and returns them.
    pub(super) fn count(&mut self) -> Vec<PeerId> {
        let connected = self.channels.values().filter(|c| c.is_connected());
        let peers: Vec<_> = connected.map(|c| c.consumer.peer).collect();
        self.connected = peers.len();
        peers
    }

    /// Makes a channel, in the place of an earlier one of the same consumer.
    pub(super) fn attach(
        &mut self,
        consumer: Identity,
        resume: Option<Position>,
        meter: Option<Arc<Meter>>,
    ) -> Attached {
        let attached = self.ring.attach(resume.map(|resume| resume.next));
        // Only now: the place that was kept is what the new one may still need.
        let earlier = self.remove_all_of(consumer);
        let missed = resume.map_or(0, |resume| attached.first.saturating_sub(resume.next));
        if missed > 0 {
            info!(peer = %consumer.peer.short(), missed, "consumer is back and has missed datums");
        }
        let seamless = resume.is_some_and(|resume| resume.next == attached.first);
        let channel = Channel {
            consumer,
            first: earlier.filter(|_| seamless).unwrap_or(attached.first),
            wake: Arc::default(),
            idle: false,
            last_progress: rt::now(),
            taken: meter.as_ref().map_or(0, |meter| meter.taken()),
            meter,
            state: Life::Connected,
            counters: Arc::default(),
        };
        let made = Attached {
            cursor: attached.cursor,
            first: attached.first,
            wake: channel.wake.clone(),
            counters: channel.counters.clone(),
        };
        self.channels.insert(attached.cursor, channel);
        made
    }

    /// One line a channel.
    pub(super) fn infos(&self) -> Vec<ChannelInfo> {
        let info = |(cursor, channel): (&CursorId, &Channel)| ChannelInfo {
            peer: channel.consumer.peer,
            state: match channel.state {
                Life::Connected => ChannelState::Connected,
                Life::Lost { .. } => ChannelState::Reconnecting,
                Life::Cut { .. } => ChannelState::Cut,
            },
            datums: channel.counters.datums(),
            bytes: channel.counters.bytes(),
            lag: self.ring.lag(*cursor),
            rtt: channel.counters.rtt(),
        };
        self.channels.iter().map(info).collect()
    }

    #[cfg(any(feature = "cli", test))]
    pub(super) fn places(&self) -> Vec<Place> {
        let open = self.channels.iter().map(|(cursor, channel)| Place {
            open: true,
            ..self.place(*cursor, channel)
        });
        open.chain(self.ended.iter().copied()).collect()
    }

    /// Why a cursor's channel must stop although it has not read everything.
    pub(super) fn forced_end(&self, cursor: CursorId) -> Option<(CloseCode, &'static str)> {
        match self.channels.get(&cursor).map(|channel| channel.state) {
            None => Some((CloseCode::Duplicate, "the consumer connected anew")),
            Some(Life::Cut { .. }) => {
                Some((CloseCode::TooSlow, "took nothing while others waited"))
            }
            Some(Life::Connected | Life::Lost { .. }) => None,
        }
    }

    pub(super) fn wake_idle(&mut self) {
        for cursor in self.idle.drain(..) {
            if let Some(channel) = self.channels.get_mut(&cursor) {
                channel.idle = false;
                channel.wake.notify_one();
            }
        }
    }

    /// Notes that a channel has read everything.
    pub(super) fn rest(&mut self, cursor: CursorId) {
        if let Some(channel) = self.channels.get_mut(&cursor)
            && !channel.idle
        {
            channel.idle = true;
            self.idle.push(cursor);
        }
    }

    /// Notes what has arrived at a consumer, and what its program has taken. Returns whether the ring may
    /// have more room.
    pub(super) fn ack(&mut self, cursor: CursorId, received: u64, taken: u64) -> bool {
        let arrived = self.ring.ack(cursor, received);
        if let Some(channel) = self.channels.get_mut(&cursor)
            && (channel.took(taken) || arrived)
        {
            channel.last_progress = rt::now();
        }
        arrived
    }

    /// What grows as long as a consumer takes anything; `None` once its place is given up.
    pub(super) fn progress(&self, cursor: CursorId) -> Option<(u64, u64)> {
        let channel = self.channels.get(&cursor)?;
        Some((self.ring.acked(cursor)?, channel.taken))
    }

    /// Forgets a channel and what only it still needed.
    pub(super) fn remove(&mut self, cursor: CursorId) -> Option<Channel> {
        let channel = self.channels.remove(&cursor)?;
        if self.ended.len() == MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(self.place(cursor, &channel));
        self.ring.detach(cursor);
        if channel.idle {
            self.idle.retain(|idle| *idle != cursor);
        }
        Some(channel)
    }

    /// Whether one more consumer may have a seat. One that comes back counts once; a seat that is only
    /// kept gives way to one that is taken.
    pub(super) fn has_seat_for(&mut self, consumer: Identity, max: usize) -> bool {
        let other = |c: &&Channel| c.consumer != consumer;
        if self.channels.values().filter(other).count() < max {
            return true;
        }
        let kept = |(id, channel): (&CursorId, &Channel)| Some((channel.kept_until()?, *id));
        match self.channels.iter().filter_map(kept).min() {
            Some((_, oldest)) => {
                self.give_up(oldest);
                true
            }
            None => false,
        }
    }

    /// Forgets consumers that did not come back in time. Returns whether there were any.
    pub(super) fn give_up_lost(&mut self) -> bool {
        let now = rt::now();
        let gone = |c: &Channel| c.kept_until().is_some_and(|until| until <= now);
        let gone = |(id, c): (&CursorId, &Channel)| gone(c).then_some(*id);
        let cursors: Vec<_> = self.channels.iter().filter_map(gone).collect();
        for cursor in &cursors {
            self.give_up(*cursor);
        }
        !cursors.is_empty()
    }

    /// Cuts the consumers that have held writers up for longer than `stall`. Returns when to look again, or
    /// `None` when some were cut.
    pub(super) fn cut_stalled(&mut self, stall: Duration) -> Option<Instant> {
        let now = rt::now();
        let waits = self.waiting > 0 || self.closing.is_some();
        let goes_on = |full: &Full| waits || now <= full.last + stall / RETRY_PART;
        let since = self.full.filter(goes_on).map_or(now, |full| full.since);
        self.full = Some(Full { since, last: now });
        let mut earliest = now + stall;
        let mut cut = false;
        for cursor in self.ring.slowest() {
            let behind = self.ring.lag(cursor);
            let Some(channel) = self.channels.get_mut(&cursor) else {
                continue;
            };
            if behind == 0 {
                continue;
            }
            channel.look(now);
            let deadline = match channel.state {
                Life::Connected => channel.last_progress.max(since) + stall,
                Life::Lost { until } | Life::Cut { until } => until,
            };
            if deadline > now {
                earliest = earliest.min(deadline);
                continue;
            }
            cut = true;
            if channel.state != Life::Connected {
                self.give_up(cursor);
                continue;
            }
            let peer = channel.consumer.peer.short();
            warn!(%peer, ?stall, behind, "consumer took nothing and is cut");
            metrics::consumer_cut();
            channel.state = Life::Cut { until: now + stall };
            channel.wake.notify_one();
            self.ring.unpin(cursor);
        }
        (!cut).then_some(earliest)
    }

    /// Notes that a writer found room.
    pub(super) fn found_room(&mut self) {
        self.full = None;
    }

    /// Notes that a writer waits no longer.
    pub(super) fn waited(&mut self) {
        self.waiting -= 1;
        if let Some(full) = &mut self.full {
            full.last = rt::now();
        }
    }

    /// What a channel has received, as one that has ended.
    fn place(&self, cursor: CursorId, channel: &Channel) -> Place {
        Place {
            first: channel.first,
            received: self.ring.acked(cursor).unwrap_or(channel.first),
            open: false,
        }
    }

    /// Gives up a place that was kept for a consumer.
    fn give_up(&mut self, cursor: CursorId) {
        let missed = self.ring.lag(cursor);
        if let Some(channel) = self.remove(cursor) {
            let peer = channel.consumer.peer.short();
            info!(%peer, missed, "consumer did not come back in time; its place is given up");
            channel.wake.notify_one();
        }
    }

    /// Removes what is left of earlier connections of the same consumer. Returns its first datum.
    fn remove_all_of(&mut self, consumer: Identity) -> Option<u64> {
        let earlier = |(id, c): (&CursorId, &Channel)| (c.consumer == consumer).then_some(*id);
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
    pub(super) fn peer(&self) -> PeerId {
        self.consumer.peer
    }

    fn is_connected(&self) -> bool {
        self.state == Life::Connected
    }

    fn kept_until(&self) -> Option<Instant> {
        match self.state {
            Life::Connected => None,
            Life::Lost { until } | Life::Cut { until } => Some(until),
        }
    }

    /// Takes over a count of what the program has taken. Returns whether it has grown.
    fn took(&mut self, taken: u64) -> bool {
        let grown = taken > self.taken;
        self.taken = self.taken.max(taken);
        grown
    }

    /// Looks at what a program on this node has taken.
    fn look(&mut self, now: Instant) {
        let taken = self.meter.as_ref().map(|meter| meter.taken());
        if taken.is_some_and(|taken| self.took(taken)) {
            self.last_progress = now;
        }
    }
}
