//! The shared state of one consumer: what its sessions have received and it has not taken yet.
//!
//! Each producer has a queue of its own, bounded by the window that its session grants, and the queues
//! take turns, so that a fast producer does not keep a slow one's datums waiting.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::task::AtomicWaker;

use super::{
    condition::{Status, Subscriber},
    info::{ChannelInfo, ChannelState, Counters},
    meter::Meter,
    proto::subscription::Position,
    topic::Topic,
};
use crate::{
    id::PeerId,
    metrics,
    rt::{self, watch},
};

/// Producers that are gone and whose positions are kept. A gap of one beyond that goes untold.
const MAX_GONE: usize = 4096;
/// What an item costs beside its records, in bytes: it counts against the window like them.
const ITEM_COST: u64 = 128;
/// Records of fewer bytes are copied to those before them, rather than be an item of their own.
const SMALL: usize = 1024;
/// Bytes up to which small records are gathered in one item.
const GATHERED: usize = 4096;

/// What sessions and the consumer's handle share.
#[derive(Debug)]
pub(crate) struct Intake {
    topic: Arc<Topic>,
    /// Names the consumer among those of its peer, across reconnects.
    id: u64,
    /// Bytes that each producer may send ahead.
    window: u64,
    refused: Option<String>,
    state: Mutex<State>,
    waker: AtomicWaker,
    status: watch::Sender<Status>,
}

#[derive(Debug, Default)]
struct State {
    sources: BTreeMap<PeerId, Source>,
    /// Sources that have something, in the order of their turns.
    turns: VecDeque<PeerId>,
    /// Producers that are gone, oldest first: one that was only out of reach may come back, and what was
    /// missed meanwhile must be told.
    gone: VecDeque<Gone>,
    closed: bool,
}

/// What is known of a producer that is gone.
#[derive(Debug)]
struct Gone {
    peer: PeerId,
    position: Position,
    unsettled: bool,
}

#[derive(Debug)]
struct Source {
    queue: VecDeque<Item>,
    /// It stands in the order of turns.
    has_turn: bool,
    position: Option<Position>,
    /// Its producer has not said that nothing follows behind the position.
    unsettled: bool,
    received: u64,
    meter: Arc<Meter>,
    state: ChannelState,
    counters: Arc<Counters>,
    /// No session serves it any more.
    ended: bool,
}

/// What a look for an item found.
#[derive(Debug)]
pub(crate) enum Taken {
    /// This one.
    Item(Delivery),
    /// None is there now.
    Nothing,
    /// None is there, and none will come.
    Closed,
}

/// An item, and where it is from.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// The producer.
    pub(crate) peer: PeerId,
    /// Counts what is taken of it.
    pub(crate) meter: Arc<Meter>,
    /// What it gives.
    pub(crate) item: Item,
}

/// Where a subscription starts.
#[derive(Debug)]
pub(crate) struct Start {
    /// Counts what is taken, and wakes the session.
    pub(crate) meter: Arc<Meter>,
    /// What it receives.
    pub(crate) counters: Arc<Counters>,
    /// Where to go on.
    pub(crate) position: Option<Position>,
    /// Bytes of the window that are taken up already.
    pub(crate) held: u64,
}

/// What a source has to give.
#[derive(Debug)]
pub(crate) enum Item {
    /// Datums.
    Datums(Records),
    /// The producer left out so many.
    Lagged(u64),
    /// The producer is connected.
    Joined,
    /// The producer is not connected any more.
    Left,
}

/// Whole datum records.
#[derive(Debug)]
pub(crate) enum Records {
    /// As they arrived.
    Whole(Bytes),
    /// Small ones, copied together.
    Gathered(Vec<u8>),
}

impl Intake {
    pub(crate) fn new(topic: Arc<Topic>, window: u64, refused: Option<String>) -> Self {
        Self {
            topic,
            id: rt::random_u64(),
            window,
            refused,
            state: Mutex::default(),
            waker: AtomicWaker::new(),
            status: watch::Sender::default(),
        }
    }

    pub(crate) fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    pub(crate) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub(crate) fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// A subscription to `peer` begins.
    pub(crate) fn begin(&self, peer: PeerId) -> Start {
        let mut state = self.state();
        let returned = state.gone.iter().position(|gone| gone.peer == peer);
        let returned = returned.and_then(|at| state.gone.remove(at));
        let source = state.source(peer);
        source.ended = false;
        if let (None, Some(returned)) = (source.position, returned) {
            source.position = Some(returned.position);
            source.unsettled = returned.unsettled;
        }
        Start {
            meter: source.meter.clone(),
            counters: source.counters.clone(),
            position: source.position,
            held: source.held(),
        }
    }

    /// The subscription got through, at `position`, and `missed` datums behind the last.
    pub(crate) fn joined(&self, peer: PeerId, position: Position, missed: u64) {
        {
            let mut state = self.state();
            let source = state.source(peer);
            source.state = ChannelState::Connected;
            source.position = Some(position);
            source.unsettled = true;
            state.give(peer, Item::Joined);
            state.miss(peer, missed);
        }
        self.refresh();
    }

    /// The life of the producer that the position is of has ended, `missed` datums behind it.
    pub(crate) fn over(&self, peer: PeerId, missed: u64) {
        {
            let mut state = self.state();
            let source = state.source(peer);
            source.unsettled = false;
            if let Some(position) = &mut source.position {
                position.next = position.next.saturating_add(missed);
            }
            state.miss(peer, missed);
        }
        self.waker.wake();
    }

    /// The producer has said that nothing follows, or does not know of anything that could.
    pub(crate) fn settled(&self, peer: PeerId) {
        self.state().source(peer).unsettled = false;
    }

    /// Producers that are gone and may still owe something.
    pub(crate) fn unsettled(&self) -> Vec<PeerId> {
        let state = self.state();
        let unsettled = state.gone.iter().filter(|gone| gone.unsettled);
        unsettled.map(|gone| gone.peer).collect()
    }

    /// Whether the producer may still owe something behind the position, if only the size of a gap.
    pub(crate) fn is_unsettled(&self, peer: PeerId) -> bool {
        let state = self.state();
        let mut gone = state.gone.iter();
        let source = state.sources.get(&peer);
        source.is_some_and(|source| source.unsettled)
            || gone.any(|gone| gone.peer == peer && gone.unsettled)
    }

    /// Hands over `count` datums, or tells of a gap.
    pub(crate) fn deliver(&self, peer: PeerId, count: u64, item: Item) {
        {
            let mut state = self.state();
            let source = state.source(peer);
            if let Some(position) = &mut source.position {
                position.next = position.next.saturating_add(count);
            }
            if let Item::Datums(records) = &item {
                let records = records.as_slice();
                source.received += records.len() as u64;
                source.counters.add(count, records.len());
            }
            state.give(peer, item);
        }
        self.waker.wake();
    }

    /// Bytes of the window that the peer's items take up.
    pub(crate) fn held(&self, peer: PeerId) -> u64 {
        self.state().sources.get(&peer).map_or(0, Source::held)
    }

    /// The session is not connected, and what it does about it. Returns whether it was.
    pub(crate) fn left(&self, peer: PeerId, next: ChannelState) -> bool {
        let was_connected = {
            let mut state = self.state();
            let source = state.source(peer);
            let was_connected = source.state == ChannelState::Connected;
            source.state = next;
            if was_connected {
                state.give(peer, Item::Left);
            }
            was_connected
        };
        self.refresh();
        was_connected
    }

    /// No session serves the peer any more.
    pub(crate) fn end(&self, peer: PeerId) {
        let mut state = self.state();
        if let Some(source) = state.sources.get_mut(&peer) {
            source.ended = true;
            if source.queue.is_empty() {
                state.forget(peer);
            }
        }
    }

    /// There will be nothing more: what arrives from now on is left out.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.refresh();
    }

    /// The next item, or `None` once closed and empty.
    pub(crate) fn poll_item(&self, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        match self.take() {
            Taken::Nothing => self.waker.register(cx.waker()),
            Taken::Item(item) => return Poll::Ready(Some(item)),
            Taken::Closed => return Poll::Ready(None),
        }
        match self.take() {
            Taken::Nothing => Poll::Pending,
            Taken::Item(item) => Poll::Ready(Some(item)),
            Taken::Closed => Poll::Ready(None),
        }
    }

    /// The next item that is there.
    pub(crate) fn take(&self) -> Taken {
        let mut state = self.state();
        while let Some(peer) = state.turns.pop_front() {
            let Some(source) = state.sources.get_mut(&peer) else {
                continue;
            };
            let item = source.queue.pop_front();
            source.has_turn = !source.queue.is_empty();
            let (meter, ended) = (source.meter.clone(), source.ended);
            if !matches!(item, Some(Item::Datums(_))) {
                // Its cost is off the window at once; that of records once they are taken.
                meter.wake();
            }
            if source.has_turn {
                state.turns.push_back(peer);
            } else if ended {
                state.forget(peer);
            }
            if let Some(item) = item {
                return Taken::Item(Delivery { peer, meter, item });
            }
        }
        if state.closed {
            Taken::Closed
        } else {
            Taken::Nothing
        }
    }

    /// Waits until the peer's records take up less than the window.
    pub(crate) async fn has_room(&self, peer: PeerId) {
        loop {
            let meter = {
                let state = self.state();
                match state.sources.get(&peer) {
                    Some(source) => source.meter.clone(),
                    None => return,
                }
            };
            meter.watch();
            if self.held(peer) < self.window {
                return;
            }
            meter.woken().await;
        }
    }

    /// One line a source.
    pub(crate) fn channels(&self) -> Vec<ChannelInfo> {
        let state = self.state();
        let info = |(peer, source): (&PeerId, &Source)| ChannelInfo {
            peer: *peer,
            state: source.state.clone(),
            datums: source.counters.datums(),
            bytes: source.counters.bytes(),
            lag: source.lag(),
            rtt: source.counters.rtt(),
        };
        state.sources.iter().map(info).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh(&self) {
        let state = self.state();
        let connected = |s: &Source| s.state == ChannelState::Connected && !state.closed;
        let connected = state.sources.iter().filter(|(_, s)| connected(s));
        let subscribers: Vec<_> = connected
            .map(|(peer, _)| Subscriber { peer: *peer })
            .collect();
        let status = Status {
            online: !subscribers.is_empty(),
            subscribers,
        };
        self.status.send_if_modified(|current| {
            let changed = *current != status;
            *current = status;
            changed
        });
        drop(state);
        self.waker.wake();
    }
}

impl State {
    fn source(&mut self, peer: PeerId) -> &mut Source {
        self.sources.entry(peer).or_insert_with(|| Source {
            queue: VecDeque::new(),
            has_turn: false,
            position: None,
            unsettled: false,
            received: 0,
            meter: Arc::default(),
            state: ChannelState::Connecting,
            counters: Arc::default(),
            ended: false,
        })
    }

    /// Drops a source that has ended and is empty, but for its position.
    fn forget(&mut self, peer: PeerId) {
        let Some(source) = self.sources.remove(&peer) else {
            return;
        };
        if let Some(position) = source.position {
            if self.gone.len() == MAX_GONE {
                self.gone.pop_front();
            }
            self.gone.push_back(Gone {
                peer,
                position,
                unsettled: source.unsettled,
            });
        }
    }

    fn miss(&mut self, peer: PeerId, missed: u64) {
        if missed > 0 {
            metrics::missed(missed);
            self.give(peer, Item::Lagged(missed));
        }
    }

    fn give(&mut self, peer: PeerId, item: Item) {
        if self.closed {
            return;
        }
        let source = self.source(peer);
        source.queue.push_back(item);
        source.fold();
        if !source.has_turn && !source.queue.is_empty() {
            source.has_turn = true;
            self.turns.push_back(peer);
        }
    }
}

impl Source {
    /// Bytes of records that have arrived and are not taken yet.
    fn lag(&self) -> u64 {
        self.received.saturating_sub(self.meter.taken())
    }

    /// Bytes of the window that are taken up.
    fn held(&self) -> u64 {
        self.lag() + ITEM_COST * self.queue.len().saturating_sub(1) as u64
    }

    /// Keeps what nobody takes short: gaps add up, a visit that brought nothing leaves nothing but its
    /// gap, and small records share an item.
    fn fold(&mut self) {
        if matches!(self.queue.back(), Some(Item::Left)) {
            let left = self.queue.pop_back();
            let gap = self
                .queue
                .pop_back_if(|item| matches!(item, Item::Lagged(_)));
            let visit = self.queue.pop_back_if(|item| matches!(item, Item::Joined));
            self.queue.extend(gap);
            if visit.is_none() {
                self.queue.extend(left);
            }
        }
        if let Some(last) = self.queue.pop_back()
            && let Some(last) = match self.queue.back_mut() {
                Some(before) => before.absorb(last),
                None => Some(last),
            }
        {
            self.queue.push_back(last);
        }
    }
}

impl Item {
    /// Adds the item that follows to this one, or gives it back.
    fn absorb(&mut self, next: Self) -> Option<Self> {
        match (self, next) {
            (Self::Lagged(missed), Self::Lagged(more)) => {
                *missed = missed.saturating_add(more);
                None
            }
            (Self::Datums(records), Self::Datums(more)) => records.absorb(more).map(Self::Datums),
            (_, next) => Some(next),
        }
    }
}

impl Records {
    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Gathered(bytes) => bytes.into(),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Gathered(bytes) => bytes,
        }
    }

    /// Adds the records that follow if they are few, or gives them back.
    fn absorb(&mut self, more: Self) -> Option<Self> {
        let (len, added) = (self.as_slice().len(), more.as_slice().len());
        if added >= SMALL || len + added > GATHERED {
            return Some(more);
        }
        match self {
            Self::Gathered(bytes) => bytes.extend_from_slice(more.as_slice()),
            Self::Whole(bytes) if len < SMALL => {
                *self = Self::Gathered([&bytes[..], more.as_slice()].concat());
            }
            Self::Whole(_) => return Some(more),
        }
        None
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake() -> (Intake, PeerId) {
        let topic = Arc::new(Topic::raw("test"));
        (Intake::new(topic, 100, None), PeerId::from_bytes([1; 32]))
    }

    fn datums(records: &'static [u8]) -> Item {
        Item::Datums(Bytes::from_static(records).into())
    }

    fn at(next: u64) -> Position {
        Position { epoch: 1, next }
    }

    fn all(intake: &Intake) -> Vec<String> {
        let mut items = vec![];
        while let Taken::Item(delivery) = intake.take() {
            items.push(match delivery.item {
                Item::Datums(records) => format!("{:?}", records.into_bytes()),
                item => format!("{item:?}"),
            });
        }
        items
    }

    #[test]
    fn a_producer_that_comes_and_goes_fills_no_queue() {
        let (intake, peer) = intake();
        intake.begin(peer);
        intake.joined(peer, at(0), 0);
        intake.left(peer, ChannelState::Reconnecting);
        assert_eq!(all(&intake), Vec::<String>::new());
        intake.joined(peer, at(0), 0);
        intake.deliver(peer, 1, datums(b"x"));
        intake.left(peer, ChannelState::Reconnecting);
        for round in 0..1_000 {
            intake.joined(peer, at(round), 2);
            intake.left(peer, ChannelState::Reconnecting);
        }
        assert_eq!(all(&intake), ["Joined", "b\"x\"", "Left", "Lagged(2000)"]);
    }

    #[test]
    fn the_position_of_a_producer_that_is_gone_is_kept() {
        let (intake, peer) = intake();
        intake.begin(peer);
        intake.joined(peer, at(7), 0);
        intake.left(peer, ChannelState::Reconnecting);
        all(&intake);
        intake.end(peer);
        assert!(intake.channels().is_empty());
        assert_eq!(intake.begin(peer).position, Some(at(7)));
    }

    #[test]
    fn what_is_taken_late_counts_for_the_life_it_came_in() {
        let (intake, peer) = intake();
        intake.begin(peer);
        intake.joined(peer, at(0), 0);
        intake.deliver(peer, 1, datums(b"x"));
        intake.left(peer, ChannelState::Reconnecting);
        intake.end(peer);
        let mut meters = vec![];
        while let Taken::Item(delivery) = intake.take() {
            meters.push(delivery.meter);
        }
        let start = intake.begin(peer);
        meters[0].take(1);
        assert_eq!((start.meter.taken(), start.held), (0, 0));
    }

    #[test]
    fn what_nobody_takes_costs_no_more_than_the_window() {
        let (intake, peer) = intake();
        intake.begin(peer);
        intake.joined(peer, at(0), 0);
        // One at a time, and then with gaps in between, as a faulty producer might send them.
        let mut count = 0;
        while intake.held(peer) < 100_000 {
            intake.deliver(peer, 1, datums(b"12345"));
            count += 1;
        }
        let items = intake.state().sources[&peer].queue.len();
        assert!(count > 15_000 && items < 50, "{count} in {items} items");
        let mut alternating = 0;
        while intake.held(peer) < 200_000 {
            intake.deliver(peer, 1, Item::Lagged(1));
            intake.deliver(peer, 1, datums(b"12345"));
            alternating += 2;
        }
        assert!(alternating < 1_000, "{alternating} items");
        let whole = Bytes::from(vec![0; 2048]);
        intake.deliver(peer, 1, Item::Datums(whole.clone().into()));
        let mut last = None;
        while let Taken::Item(delivery) = intake.take() {
            last = Some(delivery.item);
        }
        let Some(Item::Datums(Records::Whole(last))) = last else {
            panic!("a large one stays as it is");
        };
        assert_eq!(last.as_ptr(), whole.as_ptr());
    }

    #[test]
    fn a_closed_intake_gives_what_was_there_and_then_nothing_for_ever() {
        let (intake, peer) = intake();
        intake.begin(peer);
        intake.joined(peer, at(0), 0);
        intake.deliver(peer, 1, datums(b"x"));
        intake.close();
        assert!(!intake.status().borrow().online);
        assert_eq!(all(&intake), ["Joined", "b\"x\""]);
        assert!(matches!(intake.take(), Taken::Closed));
        // Its sessions end a little later.
        intake.deliver(peer, 1, datums(b"y"));
        intake.joined(peer, at(0), 3);
        assert!(!intake.status().borrow().online);
        intake.left(peer, ChannelState::Reconnecting);
        assert!(matches!(intake.take(), Taken::Closed));
    }
}
