//! A state under openraft: written, cut short, and found again.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    path::Path,
    sync::Arc,
    time::Duration,
};

use openraft::{
    AnyError, Config, OptionalSend, Raft, RaftNetworkFactory, RaftNetworkV2, SnapshotPolicy,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    groups::{
        machine::{
            Ctx, DIGEST_EVERY, ENTRY_FORMAT, Entry, Halt, Hosted, Item, ItemReply, Local,
            MAX_ITEMS, Snapshot, StateMachine, Store,
        },
        proto::{
            founding::charter::Epoch,
            session::{Request, SessionId},
        },
        raft::machine::{Applied as Watched, RaftMachine},
        storage::{GroupLog, Kind, Op, Record, simulated},
    },
    rt::{self, watch},
    wire,
};

const EPOCH: Epoch = Epoch::from_bytes([3; 16]);
/// How long anything here may take.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sums(BTreeMap<u8, u64>);

#[derive(Debug, Serialize, Deserialize)]
enum Command {
    Add(u8, u64),
    Panic,
}

impl StateMachine for Sums {
    type Command = Command;
    type Output = u64;
    type Query = ();
    type Answer = ();
    type Snapshot = Self;

    fn apply(&mut self, _: &Ctx, command: Command) -> u64 {
        match command {
            Command::Add(key, amount) => {
                let sum = self.0.entry(key).or_default();
                *sum += amount;
                *sum
            }
            Command::Panic => {
                self.0.clear();
                panic!("no")
            }
        }
    }

    fn query(&self, (): ()) {}

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// Reaches nobody.
struct Alone;

impl RaftNetworkFactory<Types> for Alone {
    type Network = Self;

    async fn new_client(&mut self, _: MemberId, _: &openraft::EmptyNode) -> Self {
        Self
    }
}

fn unreachable() -> Unreachable<Types> {
    Unreachable::new(&AnyError::error("nobody is there"))
}

impl RaftNetworkV2<Types> for Alone {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn vote(
        &mut self,
        _: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(unreachable()))
    }

    async fn full_snapshot(
        &mut self,
        _: types::RaftVote,
        _: SnapshotOf<Types, Snapshot>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(unreachable()))
    }
}

/// A member that is alone in its group.
struct Member {
    raft: Raft<Types, RaftMachine>,
    applied: Watched,
    log: GroupLog,
    local: Local<Sums>,
}

fn me() -> MemberId {
    MemberId::from(1)
}

impl Member {
    async fn start(storage: &Storage, store: &Store, hosted: &Hosted<Sums>) -> Self {
        let log = storage.open_group(store.group()).await.unwrap();
        let machine = Box::new(hosted.clone());
        let (machine, applied) =
            RaftMachine::new(machine, store.clone(), log.clone(), Arc::default()).unwrap();
        let config = Config {
            heartbeat_interval: 20,
            election_timeout_min: 50,
            election_timeout_max: 100,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 5,
            purge_batch_size: 1,
            ..Config::default()
        };
        let raft_log = RaftLog::new(log.clone());
        let config = Arc::new(config.validate().unwrap());
        let raft = Raft::new(me(), config, Alone, raft_log, machine);
        let raft = raft.await.unwrap();
        // Who has initialized it before is told so.
        drop(raft.initialize(BTreeSet::from([me()])).await);
        let leads = raft.wait(Some(LIMIT));
        leads.current_leader(me(), "it is alone").await.unwrap();
        Self {
            raft,
            applied,
            log,
            local: hosted.local(),
        }
    }

    async fn write(&self, items: Vec<Item>) -> (u64, Vec<ItemReply>) {
        let written = self.raft.client_write(proposal(items)).await.unwrap();
        let index = written.log_id.index;
        assert!(
            self.applied.index() >= Some(index),
            "what is answered can be seen"
        );
        (index, written.data.items)
    }

    async fn snapshot(&self) {
        let at = self.applied.index();
        self.raft.trigger().snapshot().await.unwrap();
        let wait = self.raft.wait(Some(LIMIT));
        let made = move |metrics: &openraft::RaftMetrics<Types>| {
            metrics.snapshot.as_ref().map(|id| id.index) >= at
        };
        wait.metrics(made, "it makes a snapshot").await.unwrap();
        let purged = |metrics: &openraft::RaftMetrics<Types>| metrics.purged.is_some();
        let wait = self.raft.wait(Some(LIMIT));
        wait.metrics(purged, "it purges the log").await.unwrap();
    }

    fn sums(&self) -> Sums {
        self.local.read(Clone::clone).unwrap()
    }
}

fn proposal(items: Vec<Item>) -> Proposal {
    let entry = Entry {
        now: 0,
        uptime: 0,
        check: None,
        items,
    };
    Proposal {
        format: ENTRY_FORMAT,
        bytes: entry.encode().unwrap(),
    }
}

fn batch(session: SessionId, sequence: u64, commands: &[Command]) -> Item {
    let encoded = commands
        .iter()
        .map(|command| wire::encode(command).unwrap());
    Item::Commands {
        request: Request {
            session,
            sequence,
            unanswered: sequence.saturating_sub(10),
        },
        count: u32::try_from(commands.len()).unwrap(),
        commands: encoded.flatten().collect::<Vec<_>>().into(),
    }
}

fn sum(reply: &ItemReply) -> u64 {
    match reply {
        ItemReply::Applied(outputs) => wire::decode(outputs).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn seen<T: Clone>(mut watch: watch::Receiver<T>, wanted: impl Fn(&T) -> bool) -> T {
    let wait = async {
        loop {
            let value = watch.borrow_and_update().clone();
            if wanted(&value) {
                return value;
            }
            watch.changed().await.unwrap();
        }
    };
    rt::timeout(LIMIT, wait).await.unwrap()
}

/// Writes, panics, snapshots, purges; returns the session, with answers up to 29.
async fn first_life(member: &Member) -> SessionId {
    let opened = Item::Open { peer: me().peer };
    let (index, replies) = member.write(vec![opened]).await;
    let session = SessionId(index * MAX_ITEMS as u64);
    assert_eq!(replies, [ItemReply::Opened(session)]);
    for n in 0..20 {
        let (_, replies) = member
            .write(vec![batch(session, n, &[Command::Add(1, n)])])
            .await;
        assert_eq!(sum(&replies[0]), (0..=n).sum::<u64>());
    }
    member.snapshot().await;
    for n in 20..30 {
        let commands = if n == 25 {
            Command::Panic
        } else {
            Command::Add(2, n)
        };
        let beside = batch(session, n, &[commands]);
        let (_, replies) = member.write(vec![beside]).await;
        assert_eq!(matches!(replies[0], ItemReply::Panicked { .. }), n == 25);
    }
    let sums = member.sums();
    assert_eq!(sums.0, BTreeMap::from([(1, 190), (2, 245 - 25)]));
    session
}

/// After a restart: the same state, and the same answers.
async fn second_life(member: &Member, session: SessionId) {
    let watch = member.applied.watch();
    let progress = seen(watch, |progress| progress.commands).await;
    assert!(progress.is_established());
    let membership = progress.membership.unwrap();
    assert_eq!(membership.voters, BTreeSet::from([me()]));
    assert_eq!(progress.halted, None);
    assert!(member.log.ends().0.is_some(), "the log was purged");
    assert_eq!(member.sums().0, BTreeMap::from([(1, 190), (2, 220)]));
    let again = vec![
        batch(session, 29, &[Command::Add(2, 29)]),
        batch(session, 25, &[Command::Panic]),
        batch(session, 30, &[Command::Add(1, 10)]),
    ];
    let (_, replies) = member.write(again).await;
    assert_eq!(sum(&replies[0]), 220);
    assert!(matches!(replies[1], ItemReply::Panicked { .. }));
    assert_eq!(sum(&replies[2]), 200);
    member.snapshot().await;
}

#[tokio::test]
async fn a_restart_in_memory_finds_the_state() {
    let storage = Storage::volatile(&tasks());
    let store = Store::memory(GroupId::from_name("g"), EPOCH);
    let hosted = Hosted::new();
    let member = Member::start(&storage, &store, &hosted).await;
    let session = first_life(&member).await;
    member.raft.shutdown().await.unwrap();
    // What others see never goes back to what it was before.
    let log = storage.open_group(store.group()).await.unwrap();
    let machine = Box::new(hosted.clone());
    drop(RaftMachine::new(machine, store.clone(), log, Arc::default()).unwrap());
    assert_eq!(member.local.read(Clone::clone), None);
    let member = Member::start(&storage, &store, &hosted).await;
    second_life(&member, session).await;
    member.raft.shutdown().await.unwrap();
}

async fn storage_in(dir: &Path) -> (Storage, Store) {
    let storage = Storage::open(dir, &tasks()).await.unwrap();
    let log = storage.open_group(GroupId::from_name("g")).await.unwrap();
    let store = Store::open(dir, EPOCH, &log).await.unwrap();
    (storage, store)
}

#[tokio::test]
async fn a_restart_on_a_disk_finds_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, store) = storage_in(dir.path()).await;
    let member = Member::start(&storage, &store, &Hosted::new()).await;
    let session = first_life(&member).await;
    member.raft.shutdown().await.unwrap();
    storage.close().await;
    drop((member, store));
    for life in 0..2 {
        let (storage, store) = storage_in(dir.path()).await;
        let member = Member::start(&storage, &store, &Hosted::new()).await;
        if life == 0 {
            second_life(&member, session).await;
        } else {
            assert_eq!(member.sums().0, BTreeMap::from([(1, 200), (2, 220)]));
        }
        member.raft.shutdown().await.unwrap();
        storage.close().await;
    }
}

#[tokio::test]
async fn what_is_not_known_stops_raft_and_says_why() {
    let storage = Storage::volatile(&tasks());
    let store = Store::memory(GroupId::from_name("g"), EPOCH);
    let member = Member::start(&storage, &store, &Hosted::new()).await;
    let newer = Proposal {
        format: ENTRY_FORMAT + 1,
        bytes: Default::default(),
    };
    let written = rt::timeout(LIMIT, member.raft.client_write(newer)).await;
    assert!(written.unwrap().is_err());
    let halted = seen(member.applied.watch(), |progress| progress.halted.is_some()).await;
    assert!(matches!(halted.halted, Some(Halt::Format { .. })));
    let again = member.raft.client_write(proposal(Vec::new()));
    assert!(rt::timeout(LIMIT, again).await.unwrap().is_err());
}

/// A disk that is full for a while costs no snapshot and no replica, and what was begun takes no room.
#[test]
fn a_full_disk_delays_a_snapshot() {
    simulated(1, async |disk| {
        let dir = Path::new("d");
        let (storage, store) = storage_in(dir).await;
        let member = Member::start(&storage, &store, &Hosted::new()).await;
        let session = first_life(&member).await;
        let before = store.current().unwrap().header().last;
        let (at, _) = member.write(vec![batch(session, 200, &[])]).await;
        disk.disk().set_faults(|faults| faults.capacity = Some(0));
        member.raft.trigger().snapshot().await.unwrap();
        let full = seen(member.applied.watch(), |progress| progress.full.is_some()).await;
        assert_eq!(full.halted, None);
        let drafts = rt::fs::list(dir).unwrap();
        let is_draft = |path: &&std::path::PathBuf| path.to_string_lossy().ends_with(".new");
        assert_eq!(drafts.iter().filter(is_draft).count(), 0);
        // What fits into the log goes on.
        member.write(vec![batch(session, 201, &[])]).await;
        rt::sleep(Duration::from_secs(60)).await;
        assert_eq!(store.current().unwrap().header().last, before);
        disk.disk().set_faults(|faults| faults.capacity = None);
        seen(member.applied.watch(), |progress| progress.full.is_none()).await;
        assert_eq!(store.current().unwrap().header().last.index, at);
        member.write(vec![batch(session, 202, &[])]).await;
        member.raft.shutdown().await.unwrap();
    });
}

/// What else is wrong with a disk stops it.
#[test]
fn a_broken_disk_stops_who_makes_a_snapshot() {
    simulated(1, async |disk| {
        let (storage, store) = storage_in("d".as_ref()).await;
        let member = Member::start(&storage, &store, &Hosted::new()).await;
        let fault = Some(io::ErrorKind::Other);
        disk.disk().set_faults(|faults| faults.write_error = fault);
        member.raft.trigger().snapshot().await.unwrap();
        let halted = seen(member.applied.watch(), |progress| progress.halted.is_some()).await;
        assert!(matches!(halted.halted, Some(Halt::Snapshot { .. })));
    });
}

/// A machine without Raft, and its log, which lacks the entries that are applied.
struct Alike {
    machine: RaftMachine,
    applied: Watched,
    local: Local<Sums>,
    store: Store,
    log: GroupLog,
    _storage: Storage,
}

impl Alike {
    async fn new() -> Self {
        let storage = Storage::volatile(&tasks());
        let store = Store::memory(GroupId::from_name("g"), EPOCH);
        let log = storage.open_group(store.group()).await.unwrap();
        let hosted = Box::new(Hosted::<Sums>::new());
        let local = hosted.local();
        let (machine, applied) =
            RaftMachine::new(hosted, store.clone(), log.clone(), Arc::default()).unwrap();
        Self {
            machine,
            applied,
            local,
            store,
            log,
            _storage: storage,
        }
    }

    /// Applies an entry for each of these items, the first at `next`, all at once.
    async fn apply_items(
        &mut self,
        next: u64,
        items: impl IntoIterator<Item = Item, IntoIter: Send + 'static>,
    ) -> io::Result<()> {
        let entry = |(item, index)| {
            let entry = RaftEntry {
                log_id: types::raft_log_id(LogId { term: 1, index }),
                payload: EntryPayload::Normal(proposal(vec![item])),
            };
            Ok((entry, None))
        };
        let entries = items.into_iter().zip(next..).map(entry);
        self.machine.apply(futures::stream::iter(entries)).await
    }

    /// Applies the entries up to this one that it has not applied.
    async fn apply_to(&mut self, last: u64) {
        let next = self.applied.index().map_or(0, |index| index + 1);
        let open = (next..=last).map(|_| Item::Open { peer: me().peer });
        self.apply_items(next, open).await.unwrap();
        assert_eq!(self.applied.index(), Some(last));
        let applied = self.applied.watch().borrow().applied;
        assert_eq!(applied.map(|id| id.index), Some(last));
    }

    async fn install(&mut self, from: &Alike) -> io::Result<()> {
        let snapshot = from.store.current().unwrap();
        let mut receiving = self.store.receive(snapshot.header().clone()).await?;
        while let Some(chunk) = snapshot.chunk(receiving.next()).await? {
            receiving.push(chunk).await?;
        }
        let snapshot = receiving.finish().await?;
        let meta = super::super::machine::snapshot_meta(snapshot.header())?;
        self.machine.install_snapshot(&meta, snapshot).await
    }
}

/// Entries that are applied together are shown together, and none is once one of them has halted the replica.
#[tokio::test]
async fn what_is_gone_back_to_is_never_shown() {
    let add = |n| batch(SessionId(0), n, &[Command::Add(1, n)]);
    let open = Item::Open { peer: me().peer };
    let mut whole = Alike::new().await;
    let items = std::iter::once(open.clone()).chain((1..40).map(add));
    whole.apply_items(0, items).await.unwrap();
    assert_eq!(whole.applied.index(), Some(39));
    let sums = whole.local.read(Clone::clone).unwrap();
    assert_eq!(sums.0, BTreeMap::from([(1, 780)]));
    // What panics is undone by going back, and the log lacks what is to be applied from there on.
    let mut halted = Alike::new().await;
    let panics = batch(SessionId(0), 3, &[Command::Panic]);
    let items = vec![open, add(1), add(2), panics];
    assert!(halted.apply_items(0, items).await.is_err());
    assert_eq!(halted.applied.index(), None);
    assert_eq!(halted.local.read(Clone::clone), None);
    let progress = halted.applied.watch().borrow().clone();
    assert!(progress.halted.is_some());
}

async fn build(mut builder: super::super::machine::Builder) -> u64 {
    let built = builder.build_snapshot().await.unwrap();
    assert_eq!(
        built.meta.last_log_id,
        Some(types::raft_log_id(built.snapshot.header().last))
    );
    built.snapshot.header().last.index
}

#[tokio::test]
async fn a_snapshot_that_is_made_never_replaces_one_that_was_installed() {
    let mut ahead = Alike::new().await;
    ahead.apply_to(10).await;
    build(ahead.machine.get_snapshot_builder().await).await;
    // Before, at the same time, and after.
    for order in 0..3 {
        let mut behind = Alike::new().await;
        behind.apply_to(5).await;
        let builder = behind.machine.get_snapshot_builder().await;
        match order {
            0 => {
                assert_eq!(build(builder).await, 5);
                behind.install(&ahead).await.unwrap();
            }
            1 => {
                let (installed, built) = tokio::join!(behind.install(&ahead), build(builder));
                installed.unwrap();
                assert!(built == 5 || built == 10);
            }
            _ => {
                behind.install(&ahead).await.unwrap();
                assert_eq!(build(builder).await, 10);
            }
        }
        assert_eq!(behind.store.current().unwrap().header().last.index, 10);
        assert_eq!(behind.log.ends().0.map(|id| id.index), Some(10));
        let (last, _) = behind.machine.applied_state().await.unwrap();
        assert_eq!(last.map(|id| id.index), Some(10));
        behind.apply_to(11).await;
        // One that is older changes nothing.
        let mut old = Alike::new().await;
        old.apply_to(3).await;
        build(old.machine.get_snapshot_builder().await).await;
        behind.install(&old).await.unwrap();
        assert_eq!(behind.applied.index(), Some(11));
        assert_eq!(behind.store.current().unwrap().header().last.index, 10);
    }
}

#[tokio::test]
async fn a_snapshot_is_of_when_it_was_begun() {
    let mut member = Alike::new().await;
    member.apply_to(5).await;
    let builder = member.machine.get_snapshot_builder().await;
    member.apply_to(9).await;
    assert_eq!(build(builder).await, 5);
    let mut other = Alike::new().await;
    other.install(&member).await.unwrap();
    assert_eq!(other.applied.index(), Some(5));
    other.apply_to(9).await;
}

#[tokio::test]
async fn what_a_leader_stamps_is_the_latest_digest() {
    let (mut one, mut other) = (Alike::new().await, Alike::new().await);
    one.apply_to(DIGEST_EVERY - 1).await;
    assert_eq!(one.applied.check().unwrap().at, 0);
    one.apply_to(3 * DIGEST_EVERY - 1).await;
    let check = one.applied.check().unwrap();
    assert_eq!(check.at, 2 * DIGEST_EVERY);
    // Also behind a snapshot.
    build(one.machine.get_snapshot_builder().await).await;
    other.install(&one).await.unwrap();
    assert_eq!(other.applied.check(), Some(check));
}

#[tokio::test]
async fn nothing_is_no_snapshot() {
    let mut member = Alike::new().await;
    let mut builder = member.machine.try_create_snapshot_builder(true).await;
    let built = builder.as_mut().unwrap().build_snapshot().await;
    assert_eq!(built.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(
        member
            .machine
            .get_current_snapshot()
            .await
            .unwrap()
            .is_none()
    );
}

/// Of another group, or with another announcement.
#[tokio::test]
async fn a_snapshot_of_something_else_is_not_installed() {
    let mut from = Alike::new().await;
    from.apply_to(5).await;
    build(from.machine.get_snapshot_builder().await).await;
    let snapshot = from.store.current().unwrap();
    let meta = super::super::machine::snapshot_meta(snapshot.header()).unwrap();
    let mut to = Alike::new().await;
    let mut other = meta.clone();
    other.last_log_id = Some(types::raft_log_id(LogId { term: 1, index: 6 }));
    let refused = to.machine.install_snapshot(&other, snapshot.clone()).await;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(to.store.current().is_none());
    let foreign = Store::memory(GroupId::from_name("g"), Epoch::from_bytes([4; 16]));
    let refused = foreign.install(&to.log, snapshot).await;
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(foreign.current().is_none());
}

/// A publication that nobody waited for is made good by the next start.
#[tokio::test]
async fn a_start_says_in_the_log_which_snapshot_counts() {
    let mut member = Alike::new().await;
    let record = |index| Record {
        id: LogId { term: 1, index },
        kind: Kind::Commands {
            format: ENTRY_FORMAT,
        },
        payload: proposal(vec![Item::Open { peer: me().peer }]).bytes,
    };
    let append = Op::Append((0..8).map(record).collect());
    member.log.write(vec![append]).await.unwrap();
    member.apply_to(5).await;
    build(member.machine.get_snapshot_builder().await).await;
    let note = crate::groups::notes::SNAPSHOT_NOTE;
    let said = member.log.state().notes[&note].clone();
    member.log.write(vec![Op::Note(note, None)]).await.unwrap();
    let current = member
        .machine
        .get_current_snapshot()
        .await
        .unwrap()
        .unwrap();
    let installed = member
        .machine
        .install_snapshot(&current.meta, current.snapshot);
    installed.await.unwrap();
    assert_eq!(member.log.state().notes[&note], said);
}

/// openraft's own tests of a state, but for one that leaves out entries.
#[tokio::test]
async fn the_suite_passes() {
    struct States;
    impl StoreBuilder<Types, RaftLog, RaftMachine, Storage> for States {
        async fn build(&self) -> Result<(Storage, RaftLog, RaftMachine), StorageError<Types>> {
            let Alike {
                machine,
                log,
                _storage: storage,
                ..
            } = Alike::new().await;
            Ok((storage, RaftLog::new(log), machine))
        }
    }
    macro_rules! pass {
        ($($name:ident)*) => {$(
            let (_storage, log, machine) = States.build().await.unwrap();
            Suite::<Types, RaftLog, RaftMachine, States, Storage>::$name(log, machine).await.unwrap();
        )*};
    }
    pass! {
        last_membership_in_log_initial
        get_membership_from_log_and_empty_sm
        get_membership_from_log_le_sm_last_applied
        get_membership_from_log_gt_sm_last_applied_1
        get_membership_from_log_gt_sm_last_applied_2
        get_initial_state_without_init
        get_initial_state_with_state
        get_initial_state_membership_from_log_insm_is_smaller
        get_initial_state_last_log_gt_sm
        get_initial_state_re_apply_committed
        snapshot_meta
        snapshot_meta_optional
        apply_single
        apply_multiple
    }
    Suite::<Types, RaftLog, RaftMachine, States, Storage>::transfer_snapshot(&States)
        .await
        .unwrap();
}
