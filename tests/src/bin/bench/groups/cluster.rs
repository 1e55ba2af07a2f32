//! Three nodes, and a group of them that counts.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use mosaik::{
    Group, Network,
    groups::{Durability, StateMachine},
};
use mosaik_tests::{DEADLINE, loopback, machines::Counter, unique};

use crate::measure::{self, Load};

const MEMBERS: usize = 3;

/// Nodes of this process that know each other.
#[derive(Debug)]
pub(super) struct Nodes {
    name: String,
    networks: Vec<Network>,
}

impl Nodes {
    /// Starts three, with a folder each in `dir` if there is one.
    pub(super) async fn start(dir: Option<&Path>) -> anyhow::Result<Self> {
        let mut nodes = Self {
            name: unique("bench"),
            networks: vec![],
        };
        for n in 0..MEMBERS {
            let dir = dir.map(|dir| dir.join(n.to_string()));
            let network = nodes.build(dir.as_deref()).await?;
            nodes.networks.push(network);
        }
        Ok(nodes)
    }

    /// Builds one more, which knows the first and is none of these.
    pub(super) async fn build(&self, dir: Option<&Path>) -> anyhow::Result<Network> {
        let first = self.networks.first().map(|first| first.local().addr());
        let mut builder = loopback(&self.name).bootstrap(first);
        if let Some(dir) = dir {
            builder = builder.data_dir(dir);
        }
        Ok(builder.build().await?)
    }

    /// Makes a group of the three; all are online when this returns.
    pub(super) async fn join<M: StateMachine>(
        &self,
        group: &str,
        durable: Durability,
    ) -> anyhow::Result<Vec<Group<M>>> {
        let join = |network: &Network| {
            let builder = network.groups().builder(group);
            builder.founders(MEMBERS).durable(durable).join()
        };
        let groups: Vec<Group<M>> = self.networks.iter().map(join).collect();
        for group in &groups {
            online(group).await?;
        }
        Ok(groups)
    }

    /// The nodes.
    pub(super) fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Shuts all down.
    pub(super) async fn stop(self) {
        for network in self.networks {
            network.shutdown().await;
        }
    }
}

/// Waits until commands can be applied.
pub(super) async fn online<M: StateMachine>(group: &Group<M>) -> anyhow::Result<()> {
    let online = tokio::time::timeout(DEADLINE, group.when().online()).await;
    online.with_context(|| format!("not online: {}", group.explain()))
}

/// A group that counts, and what it has acknowledged.
#[derive(Debug)]
pub(super) struct Counters {
    groups: Vec<Group<Counter>>,
    acknowledged: u64,
}

impl Counters {
    /// Makes a group of the nodes.
    pub(super) async fn start(nodes: &Nodes, durable: Durability) -> anyhow::Result<Self> {
        let name = format!("counter, {durable:?}");
        Ok(Self {
            groups: nodes.join(&name, durable).await?,
            acknowledged: 0,
        })
    }

    /// The handles, in the order of the nodes.
    pub(super) fn groups(&self) -> &[Group<Counter>] {
        &self.groups
    }

    /// The member that leads.
    pub(super) fn leader(&self) -> anyhow::Result<Group<Counter>> {
        let leader = self.groups.iter().find(|group| group.is_leader());
        leader.cloned().context("nobody leads")
    }

    /// A member that does not.
    pub(super) fn follower(&self) -> anyhow::Result<Group<Counter>> {
        self.leader()?;
        let follower = self.groups.iter().find(|group| !group.is_leader());
        follower.cloned().context("everybody leads")
    }

    /// How far it must have counted.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Notes what was acknowledged in another way than through this.
    pub(super) fn note(&mut self, acknowledged: u64) {
        self.acknowledged += acknowledged;
    }

    /// Counts one by one for `span`, through `group`; the median time.
    pub(super) async fn in_turn(
        &mut self,
        group: &Group<Counter>,
        span: Duration,
    ) -> anyhow::Result<Duration> {
        let group = group.clone();
        let execute = move || {
            let group = group.clone();
            async move {
                group.execute(1).await?;
                Ok(())
            }
        };
        let mut times = measure::in_turn(span, execute).await?;
        self.acknowledged += u64::try_from(times.len())?;
        Ok(measure::median_duration(&mut times))
    }

    /// Counts for `span` through `group`, with so many commands in flight; what was done a second.
    pub(super) async fn load(
        &mut self,
        group: &Group<Counter>,
        in_flight: usize,
        span: Duration,
    ) -> anyhow::Result<f64> {
        let load = measure::load(in_flight, span, |until| {
            let group = group.clone();
            async move {
                let mut done = 0;
                while Instant::now() < until {
                    group.execute(1).await?;
                    done += 1;
                }
                Ok(done)
            }
        });
        Ok(self.done(load.await?))
    }

    /// The same with batches of so many commands.
    pub(super) async fn load_batches(
        &mut self,
        group: &Group<Counter>,
        in_flight: usize,
        batch: usize,
        span: Duration,
    ) -> anyhow::Result<f64> {
        let load = measure::load(in_flight, span, |until| {
            let group = group.clone();
            async move {
                let mut done = 0;
                while Instant::now() < until {
                    let outputs = group.execute_all(std::iter::repeat_n(1, batch)).await?;
                    done += u64::try_from(outputs.len())?;
                }
                Ok(done)
            }
        });
        Ok(self.done(load.await?))
    }

    fn done(&mut self, load: Load) -> f64 {
        self.acknowledged += load.done;
        load.rate()
    }

    /// Checks that each member has counted what was acknowledged.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        for group in &self.groups {
            let counted = group.query(()).await?;
            let acknowledged = self.acknowledged;
            ensure!(
                counted == acknowledged,
                "{counted} counted, {acknowledged} acknowledged"
            );
        }
        Ok(())
    }
}
