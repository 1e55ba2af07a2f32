//! A newcomer catches up with a group that holds 100 k entries of 100 B.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use mosaik::{
    Group,
    groups::{Ctx, Durability, StateMachine},
};
use mosaik_tests::DEADLINE;

use crate::{
    measure::{self, median_duration},
    nodes::Nodes,
    plan::Plan,
    raw,
    table::{Figure, Row, Target},
};

/// What is to be reached.
const TARGET: Duration = Duration::from_secs(1);
const ENTRIES: u64 = 100_000;
/// Bytes of an entry.
const SIZE: usize = 100;
const IN_FLIGHT: u64 = 1000;
const GROUP: &str = "journal";

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let nodes = Nodes::start(None).await?;
    let groups = nodes.join::<Journal>(GROUP, Durability::Volatile).await?;
    let first = groups.first().context("a group")?;
    fill(first).await?;
    let (mut reference, mut ours) = (vec![], vec![]);
    for _ in 0..plan.rounds() {
        reference.push(raw::run(SIZE, 1, ENTRIES).await?);
        ours.push(catch_up(&nodes, first).await?);
    }
    Row {
        case: "newcomer catches up 100 k x 100 B",
        reference: Some(("iroh", Figure::Time(median_duration(&mut reference)))),
        ours: Figure::Time(median_duration(&mut ours)),
        target: Some(Target::AtMost(Figure::Time(TARGET))),
    }
    .print();
    nodes.stop().await;
    Ok(())
}

/// Executes all entries, many at a time.
async fn fill(group: &Group<Journal>) -> anyhow::Result<()> {
    let callers = usize::try_from(IN_FLIGHT)?;
    let filled = measure::load(callers, DEADLINE, |_| {
        let group = group.clone();
        async move {
            for _ in 0..ENTRIES / IN_FLIGHT {
                group.execute(Bytes::from_static(&[7; SIZE])).await?;
            }
            Ok(ENTRIES / IN_FLIGHT)
        }
    });
    let filled = filled.await?.done;
    let kept = group.query(()).await?;
    ensure!(kept == filled, "{kept} kept, {filled} acknowledged");
    Ok(())
}

/// Starts a node and makes it a member; how long until it holds all that `group` does.
async fn catch_up(nodes: &Nodes, group: &Group<Journal>) -> anyhow::Result<Duration> {
    let version = group.version();
    let started = Instant::now();
    let network = nodes.build(None).await?;
    let builder = network.groups().builder::<Journal>(GROUP).founders(3);
    let newcomer = builder.durable(Durability::Volatile).join();
    let caught_up = tokio::time::timeout(DEADLINE, newcomer.when().reaches(version)).await;
    let took = started.elapsed();
    caught_up.with_context(|| format!("not caught up: {}", newcomer.explain()))?;
    let sizes = newcomer.local(|journal| {
        let whole = journal.entries.iter().all(|entry| entry.len() == SIZE);
        (journal.entries.len(), whole)
    });
    let expected = Some((usize::try_from(ENTRIES)?, true));
    ensure!(
        sizes == expected,
        "the newcomer has {sizes:?}, not {expected:?}"
    );
    newcomer.leave().await;
    network.shutdown().await;
    Ok(took)
}

/// Keeps all that it is told.
#[derive(Default)]
struct Journal {
    entries: Vec<Bytes>,
}

impl StateMachine for Journal {
    type Command = Bytes;
    type Output = ();
    type Query = ();
    type Answer = u64;
    type Snapshot = Vec<Bytes>;

    fn apply(&mut self, _: &Ctx, entry: Bytes) {
        self.entries.push(entry);
    }

    fn query(&self, (): ()) -> u64 {
        self.entries.len() as u64
    }

    fn snapshot(&self) -> Vec<Bytes> {
        self.entries.clone()
    }

    fn restore(entries: Vec<Bytes>) -> Self {
        Self { entries }
    }
}
