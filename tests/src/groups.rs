//! A group under faults: clients on every host, and a history that is checked.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use mosaik::{
    Group, Network,
    groups::{Durability, Event, Events, GroupClient, GroupError, GroupExplanation, StateMachine},
    sim::{
        Campaign, Conditions, Host, Nemesis, Schedule, World,
        history::{History, Model, check_linearizable},
    },
};

use crate::machines::{Change, Registers};

/// Registers that clients use at once.
const KEYS: u64 = 8;
/// Commands of each client at most.
const COMMANDS: u64 = 150;
/// How long nothing has to happen before a lazy group rests.
const HASTE: Duration = Duration::from_millis(100);
/// How long a packet takes between hosts that are far from each other.
const OCEAN: Duration = Duration::from_millis(60);
/// How long a process that could not start stays down.
const RESTART: Duration = Duration::from_millis(500);
/// Time that all may take to be well again after the last fault.
const MEND: Duration = Duration::from_secs(90);

/// Whether a group rests, as far as this member knows.
pub fn rests<M: StateMachine>(group: &Group<M>) -> bool {
    group.explain().to_string().contains("rests")
}

/// A group under faults.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Hosts that take part as writers.
    pub writers: usize,
    /// Hosts that observe.
    pub observers: usize,
    /// Hosts that hold no replica.
    pub clients: usize,
    /// Members that found the group.
    pub founders: usize,
    /// Whether the log is on disk.
    pub durable: bool,
    /// Whether clients pause long enough for the group to rest.
    pub lazy: bool,
    /// Whether the hosts are far from each other.
    pub far: bool,
}

/// A kind of campaign: who takes part, and what goes wrong.
#[derive(Clone, Debug)]
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    /// Who takes part.
    pub plan: Plan,
    /// What goes wrong.
    pub nemesis: Nemesis,
}

/// What goes wrong often, and for short.
fn hasty() -> Nemesis {
    Nemesis {
        every: Duration::from_secs(2),
        longest: Duration::from_secs(6),
        duration: Duration::from_secs(15),
        ..Nemesis::default()
    }
}

/// The campaigns that groups have to survive.
///
/// In each, fewer writers take part than twice the founders: from there on a partition may let two charters be
/// founded before either is heard of, one of which then gives way with all that it acknowledged.
pub fn kinds() -> Vec<Kind> {
    let plan = |writers, observers, founders, durable| Plan {
        writers,
        observers,
        clients: 0,
        founders,
        durable,
        lazy: false,
        far: false,
    };
    let lazy = |plan| Plan { lazy: true, ..plan };
    let far = |plan| Plan { far: true, ..plan };
    let clients = |clients, plan| Plan { clients, ..plan };
    // Nobody's log in memory survives a crash: one at a time.
    let alone = Nemesis {
        partition: 0,
        one_way: 0,
        pause: 0,
        every: Duration::from_secs(90),
        duration: Duration::from_secs(100),
        ..hasty()
    };
    let no_crash = Nemesis {
        crash: 0,
        ..hasty()
    };
    // Elections take seconds here.
    let patient = Nemesis {
        every: Duration::from_secs(10),
        longest: Duration::from_secs(20),
        duration: Duration::from_secs(60),
        ..hasty()
    };
    let broken_disks = Nemesis { disk: 4, ..hasty() };
    let kind = |name, plan, nemesis| Kind {
        name,
        plan,
        nemesis,
    };
    vec![
        kind("durable, 3 and an observer", plan(3, 1, 3, true), hasty()),
        kind(
            "volatile, 5 and an observer",
            plan(5, 1, 3, false),
            no_crash.clone(),
        ),
        kind("volatile, 3, a crash", plan(3, 0, 3, false), alone),
        kind("durable, 3, bad disks", plan(3, 0, 3, true), broken_disks),
        kind("lazy, 3", lazy(plan(3, 1, 3, true)), hasty()),
        kind(
            "lazy, volatile, 5",
            lazy(plan(5, 0, 3, false)),
            no_crash.clone(),
        ),
        kind("far, durable, 3", far(plan(3, 1, 3, true)), patient),
        kind("durable, 2", plan(2, 0, 2, true), hasty()),
        kind("durable, 7", plan(7, 0, 4, true), hasty()),
        kind("durable, 1", plan(1, 2, 1, true), hasty()),
        kind(
            "durable, 3, and clients",
            clients(3, plan(3, 0, 3, true)),
            hasty(),
        ),
        kind(
            "lazy, volatile, 5, and clients",
            lazy(clients(2, plan(5, 0, 3, false))),
            no_crash,
        ),
    ]
}

/// Runs a campaign of a kind; returns what was seen.
pub fn campaign(kind: &Kind, seeds: Range<u64>) -> (u64, Seen) {
    let Plan {
        writers, founders, ..
    } = kind.plan;
    assert!(writers < 2 * founders, "{writers} may found twice");
    let seen = Cell::new(Seen::default());
    let hosts = kind.plan.writers + kind.plan.observers + kind.plan.clients;
    let campaign = Campaign::new(hosts)
        .seeds(seeds)
        .nemesis(kind.nemesis.clone());
    let seeds = campaign.run(|world, schedule| {
        seen.set(seen.get().and(run(world, schedule, kind.plan)));
    });
    (seeds, seen.get())
}

/// What a run has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Commands that were acknowledged.
    pub acknowledged: u64,
    /// Commands whose outcome was never known.
    pub unknown: u64,
    /// Queries that were answered.
    pub queries: u64,
}

impl Seen {
    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            acknowledged: self.acknowledged + other.acknowledged,
            unknown: self.unknown + other.unknown,
            queries: self.queries + other.queries,
        }
    }
}

/// What is asked of registers.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Change one.
    Change(Change),
    /// Read the one with this key.
    Get(u64),
}

/// What registers are supposed to do.
#[derive(Clone, Copy, Debug)]
pub struct Sequential;

impl Model for Sequential {
    type Op = Op;
    type Ret = u64;
    type Key = u64;
    type State = u64;

    fn key(&self, op: &Op) -> u64 {
        match op {
            Op::Change(change) => change.key,
            Op::Get(key) => *key,
        }
    }

    fn initial(&self, _: &u64) -> u64 {
        0
    }

    fn apply(&self, state: &mut u64, op: &Op) -> u64 {
        if let Op::Change(change) = op {
            *state += change.add;
        }
        *state
    }

    fn is_read(&self, op: &Op) -> bool {
        matches!(op, Op::Get(_))
    }
}

/// What a host uses the group by.
#[derive(Clone)]
enum Handle {
    Member(Group<Registers>),
    Client(GroupClient<Registers>),
}

impl Handle {
    fn member(self) -> Option<Group<Registers>> {
        match self {
            Self::Member(group) => Some(group),
            Self::Client(_) => None,
        }
    }

    async fn online(&self) {
        match self {
            Self::Member(group) => group.when().online().await,
            Self::Client(client) => client.when().online().await,
        }
    }

    fn is_online(&self) -> bool {
        match self {
            Self::Member(group) => group.is_online(),
            Self::Client(client) => client.is_online(),
        }
    }

    fn events(&self) -> Events {
        match self {
            Self::Member(group) => group.events(),
            Self::Client(client) => client.events(),
        }
    }

    fn explain(&self) -> GroupExplanation {
        match self {
            Self::Member(group) => group.explain(),
            Self::Client(client) => client.explain(),
        }
    }

    async fn execute(&self, change: Change) -> Result<u64, GroupError> {
        match self {
            Self::Member(group) => group.execute(change).await,
            Self::Client(client) => client.execute(change).await,
        }
    }

    async fn query(&self, key: u64) -> Result<u64, GroupError> {
        match self {
            Self::Member(group) => group.query(key).await,
            Self::Client(client) => client.query(key).await,
        }
    }
}

/// What the tasks of a run share.
#[derive(Clone)]
struct Run {
    world: World,
    plan: Plan,
    history: History<Op, u64>,
    ids: Arc<AtomicU64>,
    /// The handle of each host's present process.
    handles: Arc<Mutex<BTreeMap<String, Handle>>>,
    acknowledged: Arc<Mutex<Vec<u64>>>,
    /// Why it was not well when it was last looked at.
    amiss: Arc<Mutex<String>>,
}

/// Runs one world with a schedule of faults, and checks all that is promised.
///
/// # Panics
/// When anything promised does not hold.
pub fn run(world: &World, schedule: &Schedule, plan: Plan) -> Seen {
    let run = Run {
        world: world.clone(),
        plan,
        history: History::new(),
        ids: Arc::default(),
        handles: Arc::default(),
        acknowledged: Arc::default(),
        amiss: Arc::default(),
    };
    if plan.far {
        world.set_conditions(Conditions {
            latency: OCEAN,
            jitter: OCEAN / 4,
            ..Conditions::default()
        });
    }
    let hosts = world.hosts();
    world.run(async {
        for (n, host) in hosts.iter().enumerate() {
            let run = run.clone();
            host.start(move |host| run.clone().live(host, n));
        }
        schedule.carry_out(world).await;
        let mended = tokio::time::timeout(MEND, run.mended(&hosts)).await;
        let amiss = run.amiss.lock().unwrap().clone();
        assert!(mended.is_ok(), "not well again: {amiss}; {}", run.explain());
        run.check_states(&hosts).await;
    });
    run.check_history()
}

/// Disks lose what was not synced, and everything; nobody sets one back to an older image.
async fn nothing_went_back(mut events: Events) {
    while let Some(event) = events.next().await {
        if let Event::RolledBack(why) = event {
            panic!("what was acknowledged is not there: {why}");
        }
    }
}

impl Run {
    /// The life of one process: a member, and a client that uses it.
    async fn live(self, host: Host, n: usize) {
        // The handle of a process that was killed says nothing any more.
        self.handles.lock().unwrap().remove(host.name());
        let network = self.network(&host).await;
        let durable = if self.plan.durable {
            Durability::Required
        } else {
            Durability::Volatile
        };
        let mut builder = network
            .groups()
            .builder::<Registers>("registers")
            .founders(self.plan.founders)
            .evict_after(Duration::from_secs(10))
            .command_timeout(Duration::from_secs(3))
            .durable(durable);
        if self.plan.lazy {
            builder = builder.quiesce_after(HASTE);
        }
        let members = self.plan.writers + self.plan.observers;
        let handle = if n < self.plan.writers {
            Handle::Member(builder.join())
        } else if n < members {
            Handle::Member(builder.observe())
        } else {
            Handle::Client(builder.connect())
        };
        let name = host.name().to_owned();
        self.handles.lock().unwrap().insert(name, handle.clone());
        let (events, used) = (handle.events(), self.use_it(&handle, n as u64));
        tokio::join!(nothing_went_back(events), used);
        std::future::pending::<()>().await;
    }

    /// A node, once there is one: a disk that is full or broken lets none be built, and whatever supervises
    /// processes starts them again.
    async fn network(&self, host: &Host) -> Network {
        loop {
            let mut builder = host.builder("groups", &self.world.hosts());
            if self.plan.durable {
                builder = builder.data_dir("data");
            }
            if let Ok(network) = builder.build().await {
                return network;
            }
            self.world.sleep(RESTART).await;
        }
    }

    async fn use_it(&self, group: &Handle, client: u64) {
        group.online().await;
        for _ in 0..COMMANDS {
            let key = self.world.random(0..KEYS);
            if self.world.random(0..3) == 0 {
                let pending = self.history.invoke(client, Op::Get(key));
                match group.query(key).await {
                    Ok(value) => pending.ok(value),
                    Err(_) => pending.failed(),
                }
            } else {
                // What became of it is in the history.
                drop(self.change(group, client, key).await);
            }
            let longest = if self.plan.lazy { 3000 } else { 200 };
            let pause = self.world.random_duration(Duration::from_millis(longest));
            self.world.sleep(pause).await;
        }
    }

    async fn change(&self, group: &Handle, client: u64, key: u64) -> Result<(), GroupError> {
        let change = Change {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            key,
            add: self.world.random(1..10),
        };
        let id = change.id;
        let pending = self.history.invoke(client, Op::Change(change.clone()));
        let mut result = group.execute(change).await;
        if let Err(GroupError::Timeout(pending)) = result {
            // Half of the clients wait on; the others never hear of it.
            result = if self.world.random(0..2) == 0 {
                pending.outcome().await
            } else {
                Err(GroupError::SessionExpired)
            };
        }
        match &result {
            Ok(value) => {
                self.acknowledged.lock().unwrap().push(id);
                pending.ok(*value);
            }
            Err(GroupError::Unavailable(_) | GroupError::Busy) => pending.failed(),
            Err(_) => pending.unknown(),
        }
        result.map(drop)
    }

    /// Waits until every host applies the same commands.
    async fn mended(&self, hosts: &[Host]) {
        while let Err(why) = self.probe(hosts).await {
            *self.amiss.lock().unwrap() = why;
            self.world.sleep(Duration::from_millis(500)).await;
        }
    }

    /// Whether a command of each host goes through; if not, why not.
    async fn probe(&self, hosts: &[Host]) -> Result<(), String> {
        let groups = self.handles.lock().unwrap().clone();
        if groups.len() < hosts.len() {
            return Err("not every host has joined".into());
        }
        for (n, (name, group)) in groups.iter().enumerate() {
            if !group.is_online() {
                return Err(format!("{name} is not online"));
            }
            // The handle of a process that is dead by now never gets an answer.
            let change = self.change(group, 1000 + n as u64, 0);
            let result = tokio::time::timeout(Duration::from_secs(10), change).await;
            let result = result.map_err(|_| format!("{name}: no answer"))?;
            result.map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    /// All replicas hold the same, every acknowledged command once.
    async fn check_states(&self, hosts: &[Host]) {
        let handles: Vec<_> = self.handles.lock().unwrap().values().cloned().collect();
        assert_eq!(handles.len(), hosts.len());
        let groups: Vec<_> = handles.into_iter().filter_map(Handle::member).collect();
        // A query on each brings each up to date with all that was acknowledged before; clients go on meanwhile.
        let mut states = Vec::new();
        let acknowledged = loop {
            let acknowledged = self.acknowledged.lock().unwrap().clone();
            states.clear();
            for group in &groups {
                if let Ok(state) = group.read(Registers::clone).await {
                    states.push((group.version(), state));
                }
            }
            let same = states.windows(2).all(|pair| pair[0].1 == pair[1].1);
            if same && states.len() == groups.len() {
                break acknowledged;
            }
            let lengths: Vec<_> = states.iter().map(|(_, s)| s.applied().len()).collect();
            let shortest = states
                .iter()
                .map(|(_, s)| s.applied())
                .min_by_key(|s| s.len());
            if let Some(shortest) = shortest {
                for (_, state) in &states {
                    let (ours, _) = state.applied().split_at(shortest.len());
                    assert_eq!(ours, shortest, "replicas differ: {lengths:?}");
                }
            }
            self.world.sleep(Duration::from_millis(100)).await;
        };
        let (_, state) = &states[0];
        let mut times = BTreeMap::<u64, u64>::new();
        for id in state.applied() {
            *times.entry(*id).or_default() += 1;
        }
        let doubled: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
        assert!(doubled.is_empty(), "applied twice: {doubled:?}");
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|id| !times.contains_key(id))
            .collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    }

    fn check_history(&self) -> Seen {
        let operations = self.history.operations();
        if let Err(violation) = check_linearizable(&Sequential, &operations) {
            assert!(violation.is_inconclusive(), "{violation}");
        }
        let mut seen = Seen::default();
        for operation in &operations {
            match (operation.op(), operation.ret()) {
                (Op::Change(_), Some(_)) => seen.acknowledged += 1,
                (Op::Change(_), None) => seen.unknown += 1,
                (Op::Get(_), Some(_)) => seen.queries += 1,
                (Op::Get(_), None) => {}
            }
        }
        seen
    }

    fn explain(&self) -> String {
        let handles = self.handles.lock().unwrap();
        let explain = |(host, handle): (&String, &Handle)| format!("{host}: {}", handle.explain());
        handles.iter().map(explain).collect()
    }
}

/// Three members and so many who only observe: each sees what is done, also after a member that many follow has
/// crashed. Returns the virtual time that a command took until all had seen it, before and after.
///
/// # Panics
/// When anything of that does not hold.
pub fn followers(count: usize) -> (Duration, Duration) {
    let world = World::new(count as u64);
    world.set_limit(Duration::from_secs(600));
    world.run(async {
        let hosts = world.make_hosts(3 + count);
        let groups: Arc<Mutex<BTreeMap<String, Group<Registers>>>> = Arc::default();
        for (n, host) in hosts.iter().enumerate() {
            let (world, groups) = (world.clone(), groups.clone());
            host.start(move |host| {
                let (world, groups) = (world.clone(), groups.clone());
                async move {
                    // All know the first three, and find each other through them.
                    let known = &world.hosts()[..3];
                    let network = host.builder("followers", known).build().await.unwrap();
                    let builder = network.groups().builder("registers").founders(3);
                    let group = if n < 3 {
                        builder.join()
                    } else {
                        builder.observe()
                    };
                    groups.lock().unwrap().insert(host.name().into(), group);
                    std::future::pending::<()>().await;
                }
            });
        }
        let of = |host: &Host| groups.lock().unwrap().get(host.name()).cloned();
        let mut all = Vec::new();
        for host in &hosts {
            let group = loop {
                match of(host) {
                    Some(group) => break group,
                    None => world.sleep(Duration::from_millis(10)).await,
                }
            };
            group.when().online().await;
            all.push(group);
        }
        let members = all[0].members();
        assert_eq!(members.len(), 3, "who observes is no member: {members:?}");
        let before = spread(&world, &all, 1).await;
        // One that does not lead, so that only those who follow it have to look for another.
        let gone = all[..3]
            .iter()
            .position(|group| !group.is_leader())
            .unwrap();
        hosts[gone].crash().await;
        all.remove(gone);
        let after = spread(&world, &all, 2).await;
        (before, after)
    })
}

/// How long it takes until everybody has seen a command.
async fn spread(world: &World, groups: &[Group<Registers>], id: u64) -> Duration {
    let change = Change { id, key: 0, add: 1 };
    let began = world.elapsed();
    groups[0].execute(change).await.unwrap();
    let version = groups[0].version();
    for group in groups {
        group.when().reaches(version).await;
        assert_eq!(group.local(|state| state.get(0)), Some(id));
    }
    world.elapsed() - began
}
