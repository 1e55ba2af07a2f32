//! Commands in memory: one after another, many in flight, in batches.

use std::time::{Duration, Instant};

use mosaik::groups::Durability;

use super::openraft::{Client, Cluster, Timing};
use crate::{
    counters::Counters,
    measure::{self, median, median_duration},
    nodes::Nodes,
    plan::Plan,
    raw,
    table::{Figure, Row, Target},
};

/// Share of openraft in memory that a leader is to reach with many commands in flight.
const OF_OPENRAFT: f64 = 0.5;
/// Share of the leader's rate that a follower is to reach.
const OF_LEADER: f64 = 0.7;
/// What one command is to cost besides the way to a majority, in openraft's own.
const OWN_COST: f64 = 1.2;
/// Commands a second in batches, to be reached.
const BATCHED: f64 = 2.5e6;
const BATCH: usize = 100;
const BATCHES: usize = 16;

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let nodes = Nodes::start(None).await?;
    let mut bench = Bench {
        plan,
        counters: Counters::start(&nodes, Durability::Volatile).await?,
        reference: Reference {
            cluster: Cluster::start(Timing::Calm).await?,
            acknowledged: 0,
        },
    };
    bench.in_turn().await?;
    bench
        .in_flight(64, ["64 in flight, leader", "64 in flight, follower"])
        .await?;
    let cases = ["1,024 in flight, leader", "1,024 in flight, follower"];
    bench.in_flight(1024, cases).await?;
    bench.batches().await?;
    bench.reference.cluster.stop().await?;
    nodes.stop().await;
    Ok(())
}

struct Bench<'a> {
    plan: &'a Plan,
    counters: Counters,
    reference: Reference,
}

impl Bench<'_> {
    async fn in_turn(&mut self) -> anyhow::Result<()> {
        let (mut rtt, mut reference) = (vec![], vec![]);
        let (mut leading, mut following) = (vec![], vec![]);
        let span = self.plan.span();
        for _ in 0..self.plan.rounds() {
            rtt.push(raw::ping(self.plan.samples() / 5).await?);
            reference.push(self.reference.in_turn(span).await?);
            let group = self.counters.leader()?;
            leading.push(self.counters.in_turn(&group, span).await?);
            let group = self.counters.follower()?;
            following.push(self.counters.in_turn(&group, span).await?);
        }
        let (rtt, reference) = (median_duration(&mut rtt), median_duration(&mut reference));
        let own = reference.mul_f64(OWN_COST);
        let row = |case, reference, mut times: Vec<Duration>, target| Row {
            case,
            reference: Some(reference),
            ours: Figure::Time(median_duration(&mut times)),
            target: Some(Target::AtMost(Figure::Time(target))),
        };
        let openraft = ("openraft", Figure::Time(reference));
        row(
            "one after another, leader, p50",
            openraft,
            leading,
            rtt + own,
        )
        .print();
        let round_trip = ("RTT", Figure::Time(rtt));
        row(
            "one after another, follower, p50",
            round_trip,
            following,
            2 * rtt + own,
        )
        .print();
        self.check().await
    }

    async fn in_flight(&mut self, width: usize, cases: [&str; 2]) -> anyhow::Result<()> {
        let (mut reference, mut leading, mut following) = (vec![], vec![], vec![]);
        let span = self.plan.span();
        for _ in 0..self.plan.rounds() {
            reference.push(self.reference.load(width, span).await?);
            let group = self.counters.leader()?;
            leading.push(self.counters.load(&group, width, span).await?);
            let group = self.counters.follower()?;
            following.push(self.counters.load(&group, width, span).await?);
        }
        let reference = median(&mut reference);
        let (leading, following) = (median(&mut leading), median(&mut following));
        let targets = [reference * OF_OPENRAFT, leading * OF_LEADER];
        for ((case, rate), target) in cases.into_iter().zip([leading, following]).zip(targets) {
            Row {
                case,
                reference: Some(("openraft", Figure::Rate(reference))),
                ours: Figure::Rate(rate),
                target: Some(Target::AtLeast(Figure::Rate(target))),
            }
            .print();
        }
        self.check().await
    }

    async fn batches(&mut self) -> anyhow::Result<()> {
        let (mut reference, mut ours) = (vec![], vec![]);
        let span = self.plan.span();
        for _ in 0..self.plan.rounds() {
            reference.push(self.reference.load_batches(BATCHES, BATCH, span).await?);
            let group = self.counters.leader()?;
            let rate = self
                .counters
                .load_batches(&group, BATCHES, BATCH, span)
                .await?;
            ours.push(rate);
        }
        Row {
            case: "batches of 100, 16 in flight, leader",
            reference: Some(("openraft", Figure::Rate(median(&mut reference)))),
            ours: Figure::Rate(median(&mut ours)),
            target: Some(Target::AtLeast(Figure::Rate(BATCHED))),
        }
        .print();
        self.check().await
    }

    async fn check(&self) -> anyhow::Result<()> {
        self.reference
            .cluster
            .check(self.reference.acknowledged)
            .await?;
        self.counters.check().await
    }
}

/// openraft in memory, and what it has acknowledged.
struct Reference {
    cluster: Cluster,
    acknowledged: u64,
}

impl Reference {
    async fn in_turn(&mut self, span: Duration) -> anyhow::Result<Duration> {
        let client = self.cluster.client();
        let execute = move || {
            let client = client.clone();
            async move {
                client.execute().await?;
                Ok(())
            }
        };
        let mut times = measure::in_turn(span, execute).await?;
        self.acknowledged += u64::try_from(times.len())?;
        Ok(median_duration(&mut times))
    }

    async fn load(&mut self, width: usize, span: Duration) -> anyhow::Result<f64> {
        let client = self.cluster.client();
        let load = measure::load(width, span, |until| execute(client.clone(), until)).await?;
        self.acknowledged += load.done;
        Ok(load.rate())
    }

    async fn load_batches(
        &mut self,
        width: usize,
        batch: usize,
        span: Duration,
    ) -> anyhow::Result<f64> {
        let client = self.cluster.client();
        let caller = |until| execute_all(client.clone(), batch, until);
        let load = measure::load(width, span, caller).await?;
        self.acknowledged += load.done;
        Ok(load.rate())
    }
}

async fn execute(client: Client, until: Instant) -> anyhow::Result<u64> {
    let mut done = 0;
    while Instant::now() < until {
        client.execute().await?;
        done += 1;
    }
    Ok(done)
}

async fn execute_all(client: Client, batch: usize, until: Instant) -> anyhow::Result<u64> {
    let mut done = 0;
    while Instant::now() < until {
        client.execute_all(batch).await?;
        done += u64::try_from(batch)?;
    }
    Ok(done)
}
