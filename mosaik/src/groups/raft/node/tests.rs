//! A group of members in memory, and what can go wrong between them.

mod cluster;
mod compaction;
mod distance;
mod hostile;
mod snapshots;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, StoredMembership,
    storage::EntryResponder,
    type_config::alias::{SnapshotMetaOf, SnapshotOf, StoredMembershipOf},
};

use super::*;
use crate::{
    groups::{
        machine::Frozen,
        raft::{LineError, Purpose, Slots, serve},
        storage::{GroupLog, Storage},
    },
    id::{NetworkId, PeerAddr, PeerId, SecretKey},
    rt,
    rt::lock,
    transport::{
        Alpn, CarrierConfig, CloseCode, Config as EndpointConfig, Connection, Endpoint, Identity,
        Link, Pool, RecvHalf, SendHalf, memory::Fabric,
    },
    wire,
};

/// Far above what anything here takes, in virtual time.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long everything takes one way, unless a test says otherwise.
const LATENCY: Duration = Duration::from_micros(300);
/// Largest header of a stream, in bytes.
const HEADER: usize = 1024;

const GROUP: &str = "g";
const EPOCH: Epoch = Epoch::from_bytes([7; 16]);

/// What a stream begins with.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct StreamHeader {
    from: MemberId,
    to: MemberId,
    purpose: Purpose,
}

type Book = Arc<Mutex<BTreeMap<PeerId, PeerAddr>>>;

/// Members that can reach each other.
struct World {
    fabric: Fabric,
    book: Book,
    options: Options,
    /// Whether the nodes of all members show themselves.
    shown: Arc<AtomicBool>,
    /// How often serving a stream panicked.
    panics: Arc<AtomicUsize>,
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let panics = self.panics.load(Ordering::Relaxed);
            assert_eq!(panics, 0, "streams were served with a panic");
        }
    }
}

/// What members are started with.
#[derive(Clone, Default)]
struct Options {
    timing: Timing,
    limits: Limits,
}

impl Options {
    fn config(&self, me: MemberId) -> Config {
        Config {
            timing: self.timing,
            limits: self.limits,
            ..Config::new(me, GroupId::from_name(GROUP), EPOCH)
        }
    }
}

/// A member, and what carries it.
struct Host {
    me: MemberId,
    node: Node,
    machine: Recorder,
    log: GroupLog,
    lines: Arc<PoolLines>,
    tasks: Tasks,
}

impl World {
    fn new(options: Options) -> Self {
        let fabric = Fabric::default();
        fabric.set_latency(LATENCY);
        Self {
            fabric,
            book: Book::default(),
            options,
            shown: Arc::default(),
            panics: Arc::default(),
        }
    }

    /// A member that knows nothing yet.
    async fn join(&self) -> Host {
        let key = SecretKey::generate();
        let me = MemberId {
            peer: key.peer(),
            boot: 1,
        };
        let tasks = Tasks::new(tracing::Span::none());
        let identity = Identity::new(key, NetworkId::from("n"), None);
        let endpoint = Endpoint::bind(EndpointConfig {
            identity: Arc::new(identity),
            carrier: CarrierConfig::memory(self.fabric.clone()),
        });
        let endpoint = endpoint.await.unwrap();
        let addr = endpoint
            .addr()
            .wait_for(|a| !a.is_empty())
            .await
            .unwrap()
            .clone();
        lock(&self.book).insert(me.peer, addr);
        let (pool, mut fresh) = Pool::new(endpoint.clone(), Alpn::Streams, tasks.clone());
        let lines = Arc::new(PoolLines {
            me,
            pool: pool.clone(),
            book: self.book.clone(),
            opened: AtomicUsize::new(0),
            shown: self.shown.clone(),
        });
        let storage = Storage::volatile(&tasks);
        let log = storage.open_group(GroupId::from_name(GROUP)).await.unwrap();
        let machine = Recorder::default();
        let config = self.options.config(me);
        let node = Node::start(
            config,
            RaftLog::new(log.clone()),
            machine.clone(),
            Store::memory(GroupId::from_name(GROUP), EPOCH),
            lines.clone(),
            Slots::default(),
            &tasks,
        );
        let node = node.await.unwrap();
        let accept = tasks.clone();
        tasks.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let pool = pool.clone();
                accept.spawn(async move { drop(Pool::accept(&[pool], incoming).await) });
            }
        });
        let (serving, spawn) = (node.clone(), tasks.clone());
        let panics = self.panics.clone();
        tasks.spawn(async move {
            while let Some(connection) = fresh.recv().await {
                let (panics, each) = (panics.clone(), spawn.clone());
                spawn.spawn(answer(me, serving.clone(), connection, each, panics));
            }
        });
        Host {
            me,
            node,
            machine,
            log,
            lines,
            tasks,
        }
    }

    /// So many members that have founded their group and elected a leader.
    async fn founded(options: Options, count: usize) -> (Self, Vec<Host>) {
        let world = Self::new(options);
        let mut hosts = Vec::new();
        for _ in 0..count {
            hosts.push(world.join().await);
        }
        let founders: BTreeSet<_> = hosts.iter().map(|host| host.me).collect();
        for host in &hosts {
            host.node.initialize(founders.clone()).await.unwrap();
            // A second time does nothing.
            host.node.initialize(founders.clone()).await.unwrap();
        }
        leader(&hosts).await;
        (world, hosts)
    }

    /// Cuts one off from all others, or lets it back.
    fn isolate(&self, host: &Host, hosts: &[Host], cut: bool) {
        for other in hosts.iter().filter(|other| other.me != host.me) {
            if cut {
                self.fabric.cut(host.me.peer, other.me.peer);
            } else {
                self.fabric.heal(host.me.peer, other.me.peer);
            }
        }
    }
}

impl Host {
    /// How it stands, once that is as wanted.
    async fn until(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut status = self.node.status();
        let reached = rt::timeout(DEADLINE, status.wait_for(wanted)).await;
        match reached {
            Ok(status) => status.unwrap().clone(),
            Err(_) => panic!("{}", self.standing()),
        }
    }

    fn standing(&self) -> String {
        format!("{:?}: {:?}", self.me, *self.node.status().borrow())
    }

    /// Proposes a payload, and waits until it is applied here.
    async fn write(&self, payload: impl Into<Bytes>) -> Result<LogId, ProposeError> {
        let proposed = self.node.propose(proposal(payload)).await?;
        Ok(proposed.await?.0)
    }

    /// What it applied, once that is so many payloads.
    async fn applied(&self, count: usize) -> Vec<Bytes> {
        let mut applied = self.machine.watch.subscribe();
        let reached = rt::timeout(DEADLINE, applied.wait_for(|applied| *applied >= count));
        if reached.await.is_err() {
            let applied = self.machine.payloads().len();
            panic!("{applied} of {count} applied, {}", self.standing());
        }
        self.machine.payloads()
    }

    /// Opens a stream to another as this one would.
    async fn open(&self, to: MemberId, purpose: Purpose) -> (SendHalf, RecvHalf) {
        self.lines.open(to, purpose).await.unwrap()
    }
}

fn proposal(payload: impl Into<Bytes>) -> Proposal {
    Proposal {
        format: 1,
        bytes: payload.into(),
    }
}

/// The one that leads, once a majority of `hosts` follows it and it takes proposals.
async fn leader(hosts: &[Host]) -> &Host {
    let led = async {
        loop {
            for host in hosts {
                let status = host.node.status().borrow().clone();
                if status.role == Role::Leader && host.write("lead").await.is_ok() {
                    return host;
                }
            }
            rt::sleep(Duration::from_millis(20)).await;
        }
    };
    let led = rt::timeout(DEADLINE, led).await;
    led.unwrap_or_else(|_| {
        let standing: Vec<_> = hosts.iter().map(Host::standing).collect();
        panic!("{standing:#?}")
    })
}

/// Answers the streams of a connection.
async fn answer(
    me: MemberId,
    node: Node,
    connection: Connection,
    tasks: Tasks,
    panics: Arc<AtomicUsize>,
) {
    while let Ok(halves) = connection.accept_bi().await {
        let (node, panics) = (node.clone(), panics.clone());
        let peer = connection.peer();
        tasks.spawn(async move {
            let Link { tx, mut rx } = Link::<(), StreamHeader>::new(halves, HEADER);
            let mut tx = tx.into_half();
            match rx.recv().await {
                Ok(Some(header)) if header.to == me && header.from.peer == peer => {
                    let opened = (tx, rx.into_half());
                    let served = serve(&node, header.purpose, header.from, opened);
                    if AssertUnwindSafe(served).catch_unwind().await.is_err() {
                        panics.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ => tx.reset(CloseCode::NotFound),
            }
        });
    }
}

/// Ways over the connections of a pool.
#[derive(Debug)]
struct PoolLines {
    me: MemberId,
    pool: Pool,
    book: Book,
    opened: AtomicUsize,
    shown: Arc<AtomicBool>,
}

impl PoolLines {
    /// How many streams it opened.
    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Lines for PoolLines {
    fn open(
        &self,
        to: MemberId,
        purpose: Purpose,
    ) -> futures::future::BoxFuture<'static, Result<(SendHalf, RecvHalf), LineError>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let (pool, from) = (self.pool.clone(), self.me);
        let addr = lock(&self.book).get(&to.peer).cloned();
        Box::pin(async move {
            let addr = addr.ok_or(LineError::Down)?;
            let connection = pool.connect(&addr).await.map_err(|_| LineError::Down)?;
            let (mut send, recv) = connection.open_bi().await?;
            let header = StreamHeader { from, to, purpose };
            let header = wire::encode_frame(&header, HEADER).unwrap();
            send.write_all(&header).await?;
            Ok((send, recv))
        })
    }

    fn rtt(&self, to: MemberId) -> Option<Duration> {
        self.pool.get(&to.peer)?.rtt()
    }

    fn heard(&self, _from: MemberId) -> Option<Instant> {
        self.shown.load(Ordering::Relaxed).then(rt::now)
    }
}

/// A state machine that keeps what it applied. Clones share it.
#[derive(Clone, Debug, Default)]
struct Recorder {
    state: Arc<Mutex<Recorded>>,
    watch: Arc<watch::Sender<usize>>,
}

#[derive(Debug, Default)]
struct Recorded {
    last: Option<types::RaftLogId>,
    membership: StoredMembershipOf<Types>,
    payloads: Vec<Bytes>,
    snapshot: Option<(SnapshotMetaOf<Types>, Snapshot)>,
    installed: usize,
    /// Whether nothing can be applied any more.
    broken: bool,
}

impl Recorder {
    fn payloads(&self) -> Vec<Bytes> {
        lock(&self.state).payloads.clone()
    }
}

impl RaftSnapshotBuilder<Types> for Recorder {
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Snapshot>> {
        let (meta, frozen) = {
            let recorded = lock(&self.state);
            let meta = SnapshotMetaOf::<Types> {
                last_log_id: recorded.last,
                last_membership: recorded.membership.clone(),
            };
            let state = wire::encode(&recorded.payloads).unwrap();
            let membership = recorded.membership.membership();
            let frozen = Frozen {
                last: types::log_id(&recorded.last.unwrap()),
                membership: types::encode_membership(membership).unwrap(),
                membership_at: recorded.membership.log_id().as_ref().map(types::log_id),
                encode: Box::new(move |write| write.write_all(&state)),
            };
            (meta, frozen)
        };
        let store = Store::memory(GroupId::from_name(GROUP), EPOCH);
        let snapshot = store.write(frozen).await?;
        lock(&self.state).snapshot = Some((meta.clone(), snapshot.clone()));
        Ok(SnapshotOf::<Types, _> { meta, snapshot })
    }
}

impl Imaged for Recorder {
    fn image(&self) -> Option<Image> {
        None
    }
}

impl RaftStateMachine<Types> for Recorder {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<types::RaftLogId>, StoredMembershipOf<Types>)> {
        let recorded = lock(&self.state);
        Ok((recorded.last, recorded.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            {
                let mut recorded = lock(&self.state);
                if recorded.broken {
                    return Err(io::Error::other("the state is broken"));
                }
                recorded.last = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Membership(membership) => {
                        recorded.membership = StoredMembership::new(Some(entry.log_id), membership);
                    }
                    EntryPayload::Normal(proposal) => recorded.payloads.push(proposal.bytes),
                    EntryPayload::Blank => {}
                }
            }
            if let Some(responder) = responder {
                responder.send(Reply::default());
            }
        }
        self.watch.send_replace(self.payloads().len());
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Snapshot,
    ) -> io::Result<()> {
        let payloads: Vec<Bytes> = wire::decode(&snapshot.content().await?).unwrap();
        let count = payloads.len();
        {
            let mut recorded = lock(&self.state);
            recorded.last = meta.last_log_id;
            recorded.membership = meta.last_membership.clone();
            recorded.payloads = payloads;
            recorded.snapshot = Some((meta.clone(), snapshot));
            recorded.installed += 1;
        }
        self.watch.send_replace(count);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Snapshot>>> {
        let snapshot = lock(&self.state).snapshot.clone();
        Ok(snapshot.map(|(meta, snapshot)| SnapshotOf::<Types, _> { meta, snapshot }))
    }
}
