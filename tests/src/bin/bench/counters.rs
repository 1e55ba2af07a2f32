//! A group that counts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mosaik::{Group, groups::Durability};
use mosaik_tests::machines::Counter;

use crate::{
    measure::{self, Load},
    nodes::Nodes,
};

/// A group that counts, and what it has acknowledged.
#[derive(Debug)]
pub(crate) struct Counters {
    groups: Vec<Group<Counter>>,
    acknowledged: u64,
}

impl Counters {
    /// Makes a group of the nodes.
    pub(crate) async fn start(nodes: &Nodes, durable: Durability) -> anyhow::Result<Self> {
        let name = format!("counter, {durable:?}");
        Ok(Self {
            groups: nodes.join(&name, durable).await?,
            acknowledged: 0,
        })
    }

    /// The handles, in the order of the nodes.
    pub(crate) fn groups(&self) -> &[Group<Counter>] {
        &self.groups
    }

    /// The member that leads.
    pub(crate) fn leader(&self) -> anyhow::Result<Group<Counter>> {
        let leader = self.groups.iter().find(|group| group.is_leader());
        leader.cloned().context("nobody leads")
    }

    /// A member that does not.
    pub(crate) fn follower(&self) -> anyhow::Result<Group<Counter>> {
        self.leader()?;
        let follower = self.groups.iter().find(|group| !group.is_leader());
        follower.cloned().context("everybody leads")
    }

    /// How far it must have counted.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Notes what was acknowledged in another way than through this.
    pub(crate) fn note(&mut self, acknowledged: u64) {
        self.acknowledged += acknowledged;
    }

    /// Counts one by one for `span`, through `group`; the median time.
    pub(crate) async fn in_turn(
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
    pub(crate) async fn load(
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
    pub(crate) async fn load_batches(
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
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
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
