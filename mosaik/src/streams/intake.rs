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
use tokio::sync::Notify;

use super::{
    condition::{Status, Subscriber},
    info::{ChannelInfo, ChannelState, Counters},
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
    /// Where producers were that are gone, oldest first: one that was only out of reach may come back,
    /// and what was missed meanwhile must be told.
    gone: VecDeque<(PeerId, Position)>,
    lives: u64,
    closed: bool,
}

#[derive(Debug)]
struct Source {
    /// Tells apart the sources that a peer has been, one after another.
    life: u64,
    queue: VecDeque<Item>,
    /// It stands in the order of turns.
    has_turn: bool,
    position: Option<Position>,
    received: u64,
    taken: u64,
    /// Wakes the session when something was taken.
    wake: Arc<Notify>,
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
    /// Which life of the source.
    pub(crate) life: u64,
    /// What it gives.
    pub(crate) item: Item,
}

/// Where a subscription starts.
#[derive(Debug)]
pub(crate) struct Start {
    /// Wakes the session when something was taken.
    pub(crate) wake: Arc<Notify>,
    /// What it receives.
    pub(crate) counters: Arc<Counters>,
    /// Where to go on.
    pub(crate) position: Option<Position>,
    /// Bytes taken before it.
    pub(crate) taken: u64,
    /// Bytes that arrived before it and are not taken yet.
    pub(crate) held: u64,
}

/// What a source has to give.
#[derive(Debug)]
pub(crate) enum Item {
    /// Whole datum records.
    Datums(Bytes),
    /// The producer left out so many.
    Lagged(u64),
    /// The producer is connected.
    Joined,
    /// The producer is not connected any more.
    Left,
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
        let returned = state.gone.iter().position(|(gone, _)| *gone == peer);
        let returned = returned.and_then(|at| state.gone.remove(at));
        let source = state.source(peer);
        source.ended = false;
        source.position = source.position.or(returned.map(|(_, position)| position));
        Start {
            wake: source.wake.clone(),
            counters: source.counters.clone(),
            position: source.position,
            taken: source.taken,
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
            state.give(peer, Item::Joined);
            if missed > 0 {
                metrics::missed(missed);
                state.give(peer, Item::Lagged(missed));
            }
        }
        self.refresh();
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
                source.received += records.len() as u64;
                source.counters.add(count, records.len());
            }
            state.give(peer, item);
        }
        self.waker.wake();
    }

    /// Bytes of the peer's records that were taken ever.
    pub(crate) fn taken(&self, peer: PeerId) -> u64 {
        self.state().sources.get(&peer).map_or(0, |s| s.taken)
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

    /// There will be nothing more.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.status.send_replace(Status::default());
        self.waker.wake();
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
            let (life, ended) = (source.life, source.ended);
            if source.has_turn {
                state.turns.push_back(peer);
            } else if ended {
                state.forget(peer);
            }
            if let Some(item) = item {
                return Taken::Item(Delivery { peer, life, item });
            }
        }
        if state.closed {
            Taken::Closed
        } else {
            Taken::Nothing
        }
    }

    /// Notes that the application has taken `bytes` of records that came in that life of the source.
    pub(crate) fn on_taken(&self, peer: PeerId, life: u64, bytes: usize) {
        let mut state = self.state();
        let source = state.sources.get_mut(&peer);
        if let Some(source) = source.filter(|source| source.life == life) {
            source.taken += bytes as u64;
            source.wake.notify_one();
        }
    }

    /// Waits until the peer's records take up less than the window.
    pub(crate) async fn has_room(&self, peer: PeerId) {
        loop {
            let wake = {
                let state = self.state();
                match state.sources.get(&peer) {
                    Some(source) if source.held() >= self.window => source.wake.clone(),
                    _ => return,
                }
            };
            wake.notified().await;
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
            lag: source.held(),
            rtt: source.counters.rtt(),
        };
        state.sources.iter().map(info).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refresh(&self) {
        let state = self.state();
        let connected = |s: &Source| s.state == ChannelState::Connected;
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
        let lives = &mut self.lives;
        self.sources.entry(peer).or_insert_with(|| {
            *lives += 1;
            Source {
                life: *lives,
                queue: VecDeque::new(),
                has_turn: false,
                position: None,
                received: 0,
                taken: 0,
                wake: Arc::default(),
                state: ChannelState::Connecting,
                counters: Arc::default(),
                ended: false,
            }
        })
    }

    /// Drops a source that has ended and is empty, but for its position.
    fn forget(&mut self, peer: PeerId) {
        let source = self.sources.remove(&peer);
        if let Some(position) = source.and_then(|source| source.position) {
            if self.gone.len() == MAX_GONE {
                self.gone.pop_front();
            }
            self.gone.push_back((peer, position));
        }
    }

    fn give(&mut self, peer: PeerId, item: Item) {
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
    /// Bytes that have arrived and are not taken yet.
    fn held(&self) -> u64 {
        self.received.saturating_sub(self.taken)
    }

    /// Keeps what nobody takes short, when a producer comes and goes: gaps add up, and a visit that
    /// brought nothing leaves nothing but its gap.
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
        if let [.., Item::Lagged(_), Item::Lagged(_)] = self.queue.make_contiguous()
            && let Some(Item::Lagged(more)) = self.queue.pop_back()
            && let Some(Item::Lagged(missed)) = self.queue.back_mut()
        {
            *missed = missed.saturating_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake() -> (Intake, PeerId) {
        let topic = Arc::new(Topic::raw("test"));
        (Intake::new(topic, 100, None), PeerId::from_bytes([1; 32]))
    }

    fn at(next: u64) -> Position {
        Position { epoch: 1, next }
    }

    fn all(intake: &Intake) -> Vec<String> {
        let mut items = vec![];
        while let Taken::Item(delivery) = intake.take() {
            items.push(format!("{:?}", delivery.item));
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
        intake.deliver(peer, 1, Item::Datums(Bytes::from_static(b"x")));
        intake.left(peer, ChannelState::Reconnecting);
        for round in 0..1_000 {
            intake.joined(peer, at(round), 2);
            intake.left(peer, ChannelState::Reconnecting);
        }
        assert_eq!(
            all(&intake),
            ["Joined", "Datums(b\"x\")", "Left", "Lagged(2000)"]
        );
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
        intake.deliver(peer, 1, Item::Datums(Bytes::from_static(b"x")));
        intake.left(peer, ChannelState::Reconnecting);
        intake.end(peer);
        let mut lives = vec![];
        while let Taken::Item(delivery) = intake.take() {
            lives.push(delivery.life);
        }
        let start = intake.begin(peer);
        intake.on_taken(peer, lives[0], 1);
        assert_eq!((start.taken, intake.taken(peer)), (0, 0));
    }
}
