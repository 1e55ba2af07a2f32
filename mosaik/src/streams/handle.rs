//! What users hold to make producers and consumers.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{
    Consumer, DescribeError, Description, Producer, describe, driver,
    hub::Hub,
    intake::Intake,
    past::{Found, Past},
    proto::subscription::Position,
    status::{Refused, StreamsStatus},
    subscribe::LEAVE_TIMEOUT,
    topic::{self, Topic},
};
use crate::{
    declare::{self, Declaration, Declared},
    discovery::{Discovery, Entry},
    id::{PeerAddr, PeerId, TopicId},
    rt::{self, Tasks, watch},
    transport::{CloseCode, Connection, Pool},
};

/// Bytes that each producer may send a consumer ahead of what is taken, unless set: 2 MiB.
pub const DEFAULT_WINDOW: usize = 2 * 1024 * 1024;
/// Largest window, in bytes.
const MAX_WINDOW: usize = 1 << 30;
/// Refusals that are kept for [`Network::explain`](crate::Network::explain).
const MAX_REFUSALS: usize = 16;

/// The streams of a network: from [`Network::streams`](crate::Network::streams).
#[derive(Clone, Debug)]
pub struct Streams {
    inner: Inner,
}

impl Streams {
    /// Starts serving the connections of `pool`.
    pub(crate) fn start(
        pool: Pool,
        connections: mpsc::Receiver<Connection>,
        discovery: Discovery,
        tasks: Tasks,
    ) -> Self {
        let shared = Shared {
            me: discovery.me().peer(),
            pool,
            discovery,
            consumers: tasks.child(),
            sessions: tasks.nested(),
            tasks,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        };
        let inner = Inner(Arc::new(shared));
        driver::start(&inner, connections);
        Self { inner }
    }

    /// A producer of `T`'s topic: that of its declaration, or else one named after the type.
    ///
    /// Producers of one topic share a buffer. A handle that cannot be, for a type whose schema cannot be
    /// traced or an instance of a generic declaration, answers every call with the reason.
    pub fn produce<T: Serialize + DeserializeOwned + Send + 'static>(&self) -> Producer<T> {
        self.producer_of(Topic::of_type::<T>())
    }

    /// A consumer of `T`'s topic: that of its declaration, or else one named after the type.
    pub fn consume<T: DeserializeOwned + Send + 'static>(&self) -> Consumer<T> {
        self.consumer_builder().build()
    }

    /// A consumer of `T`'s topic, with options.
    pub fn consumer_builder<T: DeserializeOwned + Send + 'static>(&self) -> ConsumerBuilder<T> {
        self.builder_of(Topic::of_type::<T>())
    }

    /// A topic of any name for datums of type `T`.
    pub fn topic<T>(&self, name: impl Into<String>) -> NamedTopic<T> {
        NamedTopic {
            streams: self.clone(),
            name: name.into(),
            marker: PhantomData,
        }
    }

    /// A producer of the topic that `T` declares; registers instances of generic declarations.
    pub(crate) fn declared_producer<T: Declared>(&self) -> Producer<T> {
        self.producer_of(declared::<T>())
    }

    /// A consumer of the topic that `T` declares; registers instances of generic declarations.
    pub(crate) fn declared_consumer<T: Declared>(&self) -> ConsumerBuilder<T> {
        self.builder_of(declared::<T>())
    }

    /// What is connected, and what waits for what.
    pub(crate) fn status(&self) -> StreamsStatus {
        self.inner.status()
    }

    /// Asks a peer that produces the topic of this name what its datums look like.
    ///
    /// # Errors
    /// When the peer is not known or not reached, or does not produce the topic.
    pub async fn describe(&self, peer: PeerId, topic: &str) -> Result<Description, DescribeError> {
        describe::ask(&self.inner, peer, TopicId::from_name(topic)).await
    }

    /// Lets nobody send any more; what was sent goes on to connected consumers. Consumers here get what
    /// has arrived, and then hear that there will be no more.
    pub(crate) fn close(&self) {
        let intakes = self.close_producers();
        for intake in intakes {
            intake.close();
        }
        self.inner.changed();
    }

    /// Closes, and waits until connected consumers have what was sent, at most `limit`. Returns whether
    /// they have. Then the consumers here leave: their producers hear what they have received.
    pub(crate) async fn drain(&self, limit: Duration) -> bool {
        self.close_producers();
        let hubs = self.inner.state().all_hubs();
        let drained = rt::timeout(limit, join_all(hubs.iter().map(|hub| hub.drained()))).await;
        self.inner.0.consumers.cancel();
        if rt::timeout(LEAVE_TIMEOUT.min(limit), self.inner.0.sessions.wait())
            .await
            .is_err()
        {
            debug!("a producer was not told what has arrived here");
        }
        self.close();
        drained.is_ok()
    }

    fn close_producers(&self) -> Vec<Arc<Intake>> {
        let (hubs, intakes) = {
            let mut state = self.inner.state();
            state.closed = true;
            (state.all_hubs(), state.live_intakes())
        };
        for hub in &hubs {
            hub.close(CloseCode::ShuttingDown, "the producer's node shuts down");
        }
        intakes
    }

    /// Whether no consumer is connected that may not have everything yet.
    pub(crate) fn is_drained(&self) -> bool {
        let hubs = self.inner.state().all_hubs();
        hubs.iter().all(|hub| hub.is_idle())
    }

    fn producer_of<T: Serialize + Send + 'static>(
        &self,
        topic: Result<Topic, String>,
    ) -> Producer<T> {
        let lease = match topic.and_then(named) {
            Ok(topic) => self.inner.lease(topic),
            Err(reason) => self.inner.refused_lease(Topic::refused::<T>(), reason),
        };
        Producer::new(lease)
    }

    fn builder_of<T: 'static>(&self, topic: Result<Topic, String>) -> ConsumerBuilder<T> {
        let (topic, refused) = match topic.and_then(named) {
            Ok(topic) => (topic, None),
            Err(reason) => (Topic::refused::<T>(), Some(reason)),
        };
        ConsumerBuilder {
            streams: self.clone(),
            topic,
            refused,
            window: DEFAULT_WINDOW,
            marker: PhantomData,
        }
    }
}

/// Refuses a topic whose name cannot be announced.
fn named(topic: Topic) -> Result<Topic, String> {
    topic::check_name(&topic.name).map_err(|error| {
        format!("{error}: give it another with `name = \"…\"` or `streams().topic(…)`")
    })?;
    Ok(topic)
}

fn declared<T: Declared>() -> Result<Topic, String> {
    let decl = T::declaration();
    declare::register_instance(Declaration::Topic(decl.clone()))
        .map_err(|error| error.to_string())?;
    Topic::of_decl(&decl)
}

/// A topic by name: from [`Streams::topic`].
#[derive(Debug)]
pub struct NamedTopic<T> {
    streams: Streams,
    name: String,
    marker: PhantomData<fn() -> T>,
}

impl NamedTopic<Bytes> {
    /// A consumer of it that takes the datums of any type as they are: postcard, undecoded and
    /// unchecked. [`Streams::describe`] tells what is in them.
    pub fn consume_raw(&self) -> Consumer<Bytes> {
        let builder: ConsumerBuilder<Bytes> = self.streams.builder_of(Ok(Topic::raw(&self.name)));
        Consumer::raw(builder.subscribe())
    }
}

impl<T: DeserializeOwned + Send + 'static> NamedTopic<T> {
    /// A producer of it.
    pub fn produce(&self) -> Producer<T>
    where
        T: Serialize,
    {
        self.streams
            .producer_of(Ok(Topic::undeclared::<T>(&self.name)))
    }

    /// A consumer of it.
    pub fn consume(&self) -> Consumer<T> {
        self.consumer_builder().build()
    }

    /// A consumer of it, with options.
    pub fn consumer_builder(&self) -> ConsumerBuilder<T> {
        self.streams
            .builder_of(Ok(Topic::undeclared::<T>(&self.name)))
    }
}

/// Options of a consumer.
#[derive(Debug)]
#[must_use = "call `build` to get the consumer"]
pub struct ConsumerBuilder<T> {
    streams: Streams,
    topic: Topic,
    refused: Option<String>,
    window: usize,
    marker: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + 'static> ConsumerBuilder<T> {
    /// Bytes that each producer may send ahead of what is taken. Default [`DEFAULT_WINDOW`], at least 1,
    /// at most 1 GiB; a chunk of up to 64 KiB, or one datum, is held besides.
    pub fn window(mut self, bytes: usize) -> Self {
        self.window = bytes.clamp(1, MAX_WINDOW);
        self
    }

    /// Begins to consume.
    pub fn build(self) -> Consumer<T> {
        Consumer::new(self.subscribe())
    }
}

impl<T> ConsumerBuilder<T> {
    fn subscribe(self) -> Subscription {
        let window = self.window as u64;
        let intake = Intake::new(Arc::new(self.topic), window, self.refused);
        self.streams.inner.subscribe(intake)
    }
}

/// The shared inside of [`Streams`].
#[derive(Clone, Debug)]
pub(crate) struct Inner(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    me: PeerId,
    pool: Pool,
    discovery: Discovery,
    tasks: Tasks,
    /// Cancelled when every consumer is to leave its producers.
    consumers: Tasks,
    /// The consumers' work with their producers.
    sessions: Tasks,
    state: Mutex<State>,
    /// Counts changes to what is produced and consumed here.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    hubs: BTreeMap<TopicId, (Arc<Hub>, Weak<Lease>)>,
    /// Hubs without handles.
    past: Past,
    intakes: BTreeMap<u64, (Weak<Intake>, Arc<Topic>)>,
    refusals: Vec<Refused>,
    /// Why the latest topics are not announced.
    unannounced: Option<String>,
    closed: bool,
}

impl State {
    fn all_hubs(&self) -> Vec<Arc<Hub>> {
        let hubs = self.hubs.values().map(|(hub, _)| hub);
        hubs.chain(self.past.hubs()).cloned().collect()
    }

    fn live_intakes(&self) -> Vec<Arc<Intake>> {
        let intakes = self.intakes.values();
        intakes.filter_map(|(intake, _)| intake.upgrade()).collect()
    }
}

impl Inner {
    pub(super) fn peer(&self) -> PeerId {
        self.0.me
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    pub(super) fn discovery(&self) -> &Discovery {
        &self.0.discovery
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// The consumers' work with their producers, which ends in order once a consumer is cancelled.
    pub(super) fn sessions(&self) -> &Tasks {
        &self.0.sessions
    }

    /// The hub of a topic that is produced here.
    pub(super) fn hub(&self, topic: &TopicId) -> Option<Arc<Hub>> {
        self.state().hubs.get(topic).map(|(hub, _)| hub.clone())
    }

    /// What serves a consumer of a topic that was at `resume`: its earlier producer's remains first.
    pub(super) fn find(&self, topic: &TopicId, resume: Option<Position>) -> Found {
        let state = self.state();
        let live = state.hubs.get(topic).map(|(hub, _)| hub);
        if let Some(resume) = resume
            && live.is_none_or(|live| live.epoch() != resume.epoch)
            && let found @ (Found::Hub(_) | Found::Over { .. }) = state.past.find(topic, resume)
        {
            return found;
        }
        live.map_or(Found::Nothing, |hub| Found::Hub(hub.clone()))
    }

    /// Completes with each change to what is produced and consumed here.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// What is produced and consumed here.
    pub(super) fn topics(&self) -> (Vec<Arc<Topic>>, Vec<Arc<Topic>>) {
        let state = self.state();
        let produced = state.hubs.values().map(|(hub, _)| hub.topic().clone());
        let mut consumed: BTreeMap<_, _> = BTreeMap::new();
        for (_, topic) in state.intakes.values() {
            consumed.entry(topic.id).or_insert_with(|| topic.clone());
        }
        (produced.collect(), consumed.into_values().collect())
    }

    /// Gives up what nobody needs any more.
    pub(super) fn sweep(&self) {
        let hubs = {
            let mut state = self.state();
            state.past.sweep();
            state.all_hubs()
        };
        for hub in hubs {
            hub.sweep();
        }
        self.0.pool.sweep();
    }

    /// Keeps a refusal for people to see.
    pub(super) fn note_refusal(&self, peer: PeerId, topic: &str, reason: &str) {
        let mut state = self.state();
        let refused = Refused {
            peer,
            topic: topic.into(),
            reason: reason.into(),
        };
        state.refusals.retain(|known| *known != refused);
        if state.refusals.len() == MAX_REFUSALS {
            state.refusals.remove(0);
        }
        state.refusals.push(refused);
    }

    /// Keeps why the latest topics are not announced, or that they are.
    pub(super) fn note_announced(&self, error: Option<String>) {
        self.state().unannounced = error;
    }

    /// The address of a live peer.
    pub(super) fn addr_of(&self, peer: &PeerId) -> Option<PeerAddr> {
        let catalog = self.0.discovery.catalog();
        catalog.get(peer).map(|entry| entry.addr().clone())
    }

    /// The boot of a live peer.
    pub(super) fn boot_of(&self, peer: &PeerId) -> Option<u64> {
        let catalog = self.0.discovery.catalog();
        catalog.get(peer).map(|entry| entry.boot())
    }

    /// Completes once another boot of the peer is known than `boot`.
    pub(super) async fn rebooted(&self, peer: &PeerId, boot: Option<u64>) {
        let mut catalog = self.0.discovery.snapshots();
        let another = |entry: Entry| Some(entry.boot()) != boot;
        if catalog
            .wait_for(|catalog| catalog.get(peer).is_some_and(another))
            .await
            .is_err()
        {
            std::future::pending().await
        }
    }

    /// Whether `peer` is there as far as is known.
    pub(super) fn is_live(&self, peer: &PeerId) -> bool {
        *peer == self.0.me || self.0.discovery.catalog().contains(peer)
    }

    /// Whether `peer` produces `topic` as far as is known.
    pub(super) fn produces(&self, peer: &PeerId, topic: &TopicId) -> bool {
        if *peer == self.0.me {
            return self.hub(topic).is_some();
        }
        let catalog = self.0.discovery.catalog();
        catalog
            .get(peer)
            .is_some_and(|entry| entry.produces(*topic).is_some())
    }

    fn status(&self) -> StreamsStatus {
        let state = self.state();
        StreamsStatus::new(
            &state.all_hubs(),
            &state.live_intakes(),
            state.refusals.clone(),
            state.unannounced.clone(),
        )
    }

    /// A share in the hub of `topic`, which is made if there is none.
    fn lease(&self, topic: Topic) -> Arc<Lease> {
        let mut state = self.state();
        if state.closed {
            drop(state);
            let lease = self.unregistered(topic, None);
            lease.hub.close(CloseCode::ShuttingDown, "shut down");
            return lease;
        }
        let current = state.hubs.get(&topic.id);
        if let Some((hub, lease)) = current.map(|(hub, lease)| (hub, lease.upgrade())) {
            match (hub.topic().compare(topic.schema.as_ref()), lease) {
                (Ok(()), Some(lease)) => return lease,
                // Its last handle is being dropped right now, and another life begins.
                (Ok(()), None) => {}
                (Err(difference), _) => {
                    drop(state);
                    return self.refused_lease(topic, difference);
                }
            }
        }
        let id = topic.id;
        let lease = self.unregistered(topic, None);
        let slot = (lease.hub.clone(), Arc::downgrade(&lease));
        if let Some((old, _)) = state.hubs.insert(id, slot) {
            state.past.push(old);
        }
        drop(state);
        self.changed();
        lease
    }

    fn refused_lease(&self, topic: Topic, reason: String) -> Arc<Lease> {
        warn!(topic = topic.name, reason, "producer refused");
        self.note_refusal(self.0.me, &topic.name, &reason);
        self.unregistered(topic, Some(reason))
    }

    fn unregistered(&self, topic: Topic, refused: Option<String>) -> Arc<Lease> {
        Arc::new(Lease {
            hub: Arc::new(Hub::new(Arc::new(topic), refused)),
            streams: self.clone(),
        })
    }

    /// Registers a consumer and starts its work.
    fn subscribe(&self, intake: Intake) -> Subscription {
        let intake = Arc::new(intake);
        let tasks = self.0.consumers.child();
        let closed = {
            let mut state = self.state();
            if intake.refused().is_none() && !state.closed {
                let entry = (Arc::downgrade(&intake), intake.topic().clone());
                state.intakes.insert(intake.id(), entry);
            }
            state.closed
        };
        if let Some(reason) = intake.refused() {
            warn!(topic = intake.topic().name, reason, "consumer refused");
            self.note_refusal(self.0.me, &intake.topic().name, reason);
            intake.close();
        } else if closed {
            intake.close();
        } else {
            self.changed();
            let supervising = driver::supervise(self.clone(), intake.clone(), tasks.clone());
            self.0.tasks.spawn(supervising);
        }
        Subscription {
            intake,
            streams: self.clone(),
            tasks,
        }
    }

    fn changed(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the handles of one producer share; the hub closes with it.
#[derive(Debug)]
pub(crate) struct Lease {
    hub: Arc<Hub>,
    streams: Inner,
}

impl Lease {
    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    pub(super) fn streams(&self) -> &Inner {
        &self.streams
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.hub.close(CloseCode::Done, "the producer was dropped");
        let mut state = self.streams.state();
        let id = self.hub.topic().id;
        let mine = state.hubs.get(&id);
        if mine.is_some_and(|(hub, _)| Arc::ptr_eq(hub, &self.hub)) {
            state.hubs.remove(&id);
            state.past.push(self.hub.clone());
        }
        drop(state);
        self.streams.changed();
    }
}

/// What a consumer's handle holds; its sessions end with it.
#[derive(Debug)]
pub(crate) struct Subscription {
    intake: Arc<Intake>,
    streams: Inner,
    tasks: Tasks,
}

impl Subscription {
    pub(super) fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    pub(super) fn streams(&self) -> &Inner {
        &self.streams
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.tasks.cancel();
        self.streams.state().intakes.remove(&self.intake.id());
        self.streams.changed();
    }
}
