//! openraft's own tests of a runtime; where tasks end, and that a seed decides all that a group does.
#![expect(
    clippy::async_yields_async,
    reason = "handles of tasks are handed out of the scope that spawned them"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use openraft::{
    AnyError, AsyncRuntime as _, Config, EmptyNode, OptionalSend, Raft, RaftNetworkFactory,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::{RPCOption, v2::RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
    },
    rt::{
        WatchReceiver as _,
        testing::{DetsimSuite, Suite},
    },
    type_config::alias::{SnapshotOf, VoteOf},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::{
        log::RaftLog,
        tests::Applied,
        types::{Proposal, Types},
    },
    JoinError, Runtime, text,
};
use crate::{
    groups::storage::{Storage, simulated},
    id::{GroupId, MemberId},
    rt::{
        self, Tasks, lock,
        machine::{Machine, Process},
    },
};

/// How long a message takes, about.
const LATENCY: Duration = Duration::from_millis(4);

/// In virtual time, because the suite takes for done what takes longer on a loaded machine.
#[test]
fn the_suite_of_openraft_passes() {
    let mut tokio = tokio::runtime::Builder::new_current_thread();
    let tokio = tokio.enable_all().start_paused(true).build().unwrap();
    Suite::test_all_on(&mut Runtime { tokio });
    DetsimSuite::<Runtime>::test_all();
}

fn tasks() -> Tasks {
    Tasks::new(tracing::Span::none())
}

#[tokio::test]
async fn a_task_tells_how_it_ended() {
    assert_eq!(Runtime::spawn(async { 7 }).await, Ok(7));

    let panicked: Result<(), JoinError> = Runtime::spawn(async { panic!("a bug: {}", 7) }).await;
    let error = panicked.unwrap_err();
    assert_eq!(error, JoinError::Panicked("a bug: 7".into()));
    assert!(Runtime::is_panic(&error));

    let set = tasks();
    let endless = set.scope(async { Runtime::spawn(std::future::pending::<()>()) });
    let endless = endless.await;
    set.cancel();
    set.wait().await;
    let error = endless.await.unwrap_err();
    assert_eq!(error, JoinError::Cancelled);
    assert!(!Runtime::is_panic(&error));
}

#[tokio::test]
async fn what_a_task_spawns_ends_with_its_set() {
    let set = tasks().nested();
    let child = set
        .scope(async {
            let parent = Runtime::spawn(async { Runtime::spawn(std::future::pending::<()>()) });
            parent.await.unwrap()
        })
        .await;
    assert_eq!(set.len(), 1);
    set.cancel();
    set.wait().await;
    assert_eq!(set.len(), 0);
    assert_eq!(child.await, Err(JoinError::Cancelled));
}

/// Runs `future` as a task of `process`.
async fn on<F>(process: &Process, future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    process.spawn(async move { drop(tell.send(future.await)) });
    told.await.expect("a process that is not killed")
}

#[tokio::test(start_paused = true)]
async fn a_simulated_world_fails_of_a_panic_only_if_nobody_else_hears_of_it() {
    let (panics, mut died) = mpsc::channel(1);
    let process = Machine::new("m", Ipv4Addr::LOCALHOST.into(), 1, panics).boot();

    let heard = on(&process, async {
        Runtime::spawn(async { panic!("heard") }).await
    });
    let heard: Result<(), JoinError> = heard.await;
    assert_eq!(heard, Err(JoinError::Panicked("heard".into())));
    assert!(died.try_recv().is_err());

    on(&process, async {
        drop(Runtime::spawn(async { panic!("unheard") }))
    })
    .await;
    assert_eq!(text(&*died.recv().await.unwrap()), "unheard");
}

#[test]
fn tasks_are_gone_when_their_process_is_killed() {
    simulated(1, async |machine| {
        let process = machine.boot();
        let alive = Arc::new(());
        let held = alive.clone();
        let spawn = async {
            Runtime::spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            })
        };
        let task = on(&process, spawn).await;
        assert_eq!(Arc::strong_count(&alive), 2);
        process.kill().await;
        assert_eq!(Arc::strong_count(&alive), 1);
        assert_eq!(task.await, Err(JoinError::Cancelled));
    });
}

/// Members by their id, and all that passed between them.
#[derive(Clone, Default)]
struct Cluster {
    members: Arc<Mutex<BTreeMap<MemberId, Member>>>,
    trace: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone)]
struct Member {
    raft: Raft<Types, Applied>,
    tasks: Tasks,
}

impl Cluster {
    async fn start(storage: &Storage, tasks: &Tasks, size: u64) -> Self {
        let cluster = Self::default();
        let config = Config {
            heartbeat_interval: 50,
            election_timeout_min: 150,
            election_timeout_max: 300,
            ..Config::default()
        };
        let config = Arc::new(config.validate().unwrap());
        for boot in 1..=size {
            let id = MemberId::from(boot);
            let group = GroupId::from_name(&boot.to_string());
            let log = RaftLog::new(storage.open_group(group).await.unwrap());
            let ways = Ways {
                from: id,
                cluster: cluster.clone(),
            };
            let tasks = tasks.nested();
            let raft = Raft::new(id, config.clone(), ways, log, Applied::default());
            let raft = tasks.scope(raft).await.unwrap();
            lock(&cluster.members).insert(id, Member { raft, tasks });
        }
        let first = cluster.member(MemberId::from(1));
        let founders: BTreeSet<_> = (1..=size).map(MemberId::from).collect();
        first.raft.initialize(founders).await.unwrap();
        cluster
    }

    fn member(&self, id: MemberId) -> Member {
        lock(&self.members)[&id].clone()
    }

    /// Who leads, once the others have acknowledged that.
    async fn leader(&self) -> MemberId {
        let members = lock(&self.members).clone();
        let leads = members.iter().map(|(id, member)| {
            let mut metrics = member.raft.metrics();
            Box::pin(async move {
                let leads = metrics.wait_until(|m| {
                    let term = m.last_applied.map(|applied| applied.leader_id.term);
                    m.current_leader == Some(*id) && term == Some(m.current_term)
                });
                leads.await.unwrap();
                *id
            })
        });
        futures::future::select_all(leads).await.0
    }

    async fn write(&self, count: u8) {
        let leader = self.member(self.leader().await);
        for n in 0..count {
            let proposal = Proposal {
                format: 1,
                bytes: Bytes::from(vec![n]),
            };
            let written = leader.raft.client_write(proposal).await.unwrap();
            self.note(format!("written at {}", written.log_id));
        }
    }

    fn note(&self, what: String) {
        let line = format!("{} {what}", rt::unix_millis());
        lock(&self.trace).push(line);
    }
}

/// Three members elect a leader and write; the leader's tasks are taken away, and the others go on. Returns
/// all that passed between them.
fn lives(seed: u64) -> Vec<String> {
    let program = async {
        let tasks = tasks();
        let storage = Storage::open("d".as_ref(), &tasks).await.unwrap();
        let cluster = Cluster::start(&storage, &tasks, 3).await;
        cluster.write(20).await;

        let leader = cluster.leader().await;
        let gone = lock(&cluster.members).remove(&leader).unwrap();
        let others = tasks.len() - gone.tasks.len();
        gone.tasks.cancel();
        gone.tasks.wait().await;
        assert_eq!(gone.tasks.len(), 0);
        assert_eq!(tasks.len(), others);
        gone.raft.metrics().wait_until(|_| false).await.unwrap_err();

        assert_ne!(cluster.leader().await, leader);
        cluster.write(20).await;
        tasks.cancel();
        tasks.wait().await;
        std::mem::take(&mut *lock(&cluster.trace))
    };
    simulated(seed, async |machine| on(&machine.boot(), program).await)
}

#[test]
fn a_seed_decides_all_that_a_group_does() {
    let mut traces = BTreeSet::new();
    for seed in 0..5 {
        let trace = lives(seed);
        assert!(trace.len() > 100, "{trace:#?}");
        let again = lives(seed);
        let differ = trace.iter().zip(&again).find(|(one, other)| one != other);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(trace.len(), again.len(), "seed {seed}");
        traces.insert(trace);
    }
    assert_eq!(traces.len(), 5);
}

/// What a member reaches the others through: calls, after a moment.
struct Ways {
    from: MemberId,
    cluster: Cluster,
}

struct Way {
    from: MemberId,
    to: MemberId,
    cluster: Cluster,
}

impl Way {
    /// The other end, when the message gets there.
    async fn carry(&self, what: String) -> Result<Raft<Types, Applied>, Unreachable<Types>> {
        let (from, to) = (self.from.boot, self.to.boot);
        self.cluster.note(format!("{from} to {to}: {what}"));
        rt::sleep(rt::jitter(LATENCY)).await;
        let members = lock(&self.cluster.members);
        let member = members.get(&self.to);
        member.map(|member| member.raft.clone()).ok_or_else(gone)
    }

    async fn answered(&self, what: String) {
        let (from, to) = (self.from.boot, self.to.boot);
        rt::sleep(rt::jitter(LATENCY)).await;
        self.cluster.note(format!("{to} answers {from}: {what}"));
    }
}

fn gone() -> Unreachable<Types> {
    Unreachable::new(&AnyError::error("the member is gone"))
}

impl RaftNetworkFactory<Types> for Ways {
    type Network = Way;

    async fn new_client(&mut self, to: MemberId, _: &EmptyNode) -> Way {
        Way {
            from: self.from,
            to,
            cluster: self.cluster.clone(),
        }
    }
}

impl RaftNetworkV2<Types> for Way {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let other = self.carry(rpc.to_string()).await?;
        let answer = other.append_entries(rpc).await.map_err(|_| gone())?;
        self.answered(format!("{answer:?}")).await;
        Ok(answer)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let other = self.carry(rpc.to_string()).await?;
        let answer = other.vote(rpc).await.map_err(|_| gone())?;
        self.answered(format!("{answer:?}")).await;
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, ()>,
        _: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let other = self.carry(format!("{:?}", snapshot.meta)).await?;
        let answer = other.install_full_snapshot(vote, snapshot).await;
        answer.map_err(|_| gone().into())
    }
}
