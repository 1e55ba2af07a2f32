//! The reference: openraft alone. Three members in this process that call each other directly, with a log in
//! memory; the version and, as far as it matters here, the configuration that groups use.

mod log;
mod machine;
mod network;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use openraft::{Config, EmptyNode, Raft, ReadPolicy, SnapshotPolicy, impls};
use openraft_rt_tokio::TokioRuntime;

use self::{log::MemoryLog, machine::Counting, network::Peers};

openraft::declare_raft_types!(
    /// What openraft is instantiated with.
    pub(super) Types:
        D = u64,
        R = u64,
        NodeId = u64,
        Node = EmptyNode,
        Term = u64,
        LeaderId = impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = TokioRuntime,
);

const MEMBERS: u64 = 3;
/// How long a leader may take to be there.
const ELECTION: Duration = Duration::from_secs(10);

/// How fast a group notices that its leader is gone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timing {
    /// So slowly that no leader is lost to a busy machine.
    Calm,
    /// As groups do by default.
    Default,
}

/// A running group.
pub(super) struct Cluster {
    members: Vec<Member>,
    peers: Peers,
    leader: usize,
}

struct Member {
    raft: Raft<Types, Counting>,
    counting: Counting,
}

/// Uses a group through the member that led it when this was made. Clones share it.
#[derive(Clone)]
pub(super) struct Client(Raft<Types, Counting>);

impl Client {
    /// Counts one further; what is counted then.
    pub(super) async fn execute(&self) -> anyhow::Result<u64> {
        Ok(self.0.client_write(1).await?.data)
    }

    /// Counts `count` further in one call.
    pub(super) async fn execute_all(&self, count: usize) -> anyhow::Result<()> {
        let mut answers = self
            .0
            .client_write_many(std::iter::repeat_n(1, count))
            .await?;
        while let Some(answer) = answers.next().await {
            answer??;
        }
        Ok(())
    }

    /// Waits until the leader knows that it leads still.
    pub(super) async fn read(&self) -> anyhow::Result<()> {
        self.0.ensure_linearizable(ReadPolicy::ReadIndex).await?;
        Ok(())
    }
}

impl Cluster {
    /// Starts three members; one leads when this returns.
    pub(super) async fn start(timing: Timing) -> anyhow::Result<Self> {
        let config = Arc::new(config(timing).validate()?);
        let peers = Peers::default();
        let mut members = vec![];
        for id in 0..MEMBERS {
            let counting = Counting::default();
            let (log, machine) = (MemoryLog::default(), counting.clone());
            let raft = Raft::new(id, config.clone(), peers.clone(), log, machine).await?;
            peers.add(id, raft.clone());
            members.push(Member { raft, counting });
        }
        let first = members.first().context("a member")?;
        let all = (0..MEMBERS).map(|id| (id, EmptyNode::new()));
        first
            .raft
            .initialize(all.collect::<BTreeMap<_, _>>())
            .await?;
        let mut cluster = Self {
            members,
            peers,
            leader: 0,
        };
        cluster.leader = cluster.elected(None).await?;
        Ok(cluster)
    }

    /// Uses the group.
    pub(super) fn client(&self) -> Client {
        Client(self.members[self.leader].raft.clone())
    }

    /// Checks that every member counts what was acknowledged, once it has heard of it.
    pub(super) async fn check(&self, acknowledged: u64) -> anyhow::Result<()> {
        let client = self.client();
        let last = client.0.write_blank().await?.log_id.index;
        for member in &self.members {
            let wait = member.raft.wait(Some(ELECTION));
            wait.applied_index_at_least(Some(last), "everything")
                .await?;
            let counted = member.counting.count();
            ensure!(
                counted == acknowledged,
                "openraft counted {counted}, and acknowledged {acknowledged}"
            );
        }
        Ok(())
    }

    /// How long the next command takes to be acknowledged, from when the leader stops at once.
    pub(super) async fn fail_over(mut self) -> anyhow::Result<Duration> {
        let id = u64::try_from(self.leader)?;
        let started = Instant::now();
        self.peers.remove(id);
        let stopping = self.members[self.leader].raft.clone();
        let stopped = tokio::spawn(async move { stopping.shutdown().await });
        self.leader = self.elected(Some(id)).await?;
        let took = started.elapsed();
        stopped.await??;
        self.stop().await?;
        Ok(took)
    }

    /// Ends all members.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        for id in 0..MEMBERS {
            self.peers.remove(id);
        }
        for member in self.members {
            // A member that stopped before does so again at once.
            member.raft.shutdown().await?;
        }
        Ok(())
    }

    /// Which member, other than `gone`, leads and has acknowledged a command.
    async fn elected(&self, gone: Option<u64>) -> anyhow::Result<usize> {
        let asked = usize::from(gone == Some(0));
        let deadline = Instant::now() + ELECTION;
        loop {
            let wait = self.members[asked].raft.wait(Some(ELECTION));
            let led = |leader: Option<u64>| leader.is_some() && leader != gone;
            let led = wait.metrics(|metrics| led(metrics.current_leader), "a leader");
            let leader = led.await?.current_leader.context("a leader")?;
            let leader = usize::try_from(leader)?;
            match self.members[leader].raft.write_blank().await {
                Ok(_) => return Ok(leader),
                // It does not lead yet, or any more.
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

fn config(timing: Timing) -> Config {
    let (heartbeat, min, max) = match timing {
        Timing::Calm => (500, 5_000, 10_000),
        Timing::Default => (60, 150, 250),
    };
    Config {
        cluster_name: "bench".into(),
        heartbeat_interval: heartbeat,
        election_timeout_min: min,
        election_timeout_max: max,
        enable_pre_vote: Some(true),
        broadcast_submitted_on_append: Some(true),
        max_payload_entries: 1024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(50_000),
        replication_lag_threshold: 100_000,
        max_in_snapshot_log_to_keep: 10_000,
        purge_batch_size: 1024,
        ..Config::default()
    }
}
