//! Commands of a group whose log is on disk.

use std::time::Duration;

use mosaik::groups::Durability;

use crate::{
    counters::Counters,
    disk,
    measure::{median, median_duration},
    nodes::Nodes,
    plan::Plan,
    table::{Figure, Row, Target},
};

/// Commands a second with many in flight, to be reached.
const IN_FLIGHT: f64 = 1e5;
/// Syncs of the disk that measure one.
const SYNCS: usize = 200;

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let nodes = Nodes::start(Some(dir.path())).await?;
    let mut durable = Counters::start(&nodes, Durability::Required).await?;
    let mut volatile = Counters::start(&nodes, Durability::Volatile).await?;
    let (mut syncs, mut without, mut with, mut rates) = (vec![], vec![], vec![], vec![]);
    for _ in 0..plan.rounds() {
        syncs.push(disk::sync(dir.path(), SYNCS).await?);
        let group = volatile.leader()?;
        without.push(volatile.in_turn(&group, plan.span()).await?);
        let group = durable.leader()?;
        with.push(durable.in_turn(&group, plan.span()).await?);
        rates.push(durable.load(&group, 1024, plan.span()).await?);
    }
    let (sync, without) = (median_duration(&mut syncs), median_duration(&mut without));
    let reference = Some(("sync", Figure::Time(sync)));
    Row {
        case: "durable, one after another, leader, p50",
        reference,
        ours: Figure::Time(median_duration(&mut with)),
        target: Some(Target::AtMost(Figure::Time(without + 2 * sync))),
    }
    .print();
    let one_each = Duration::from_secs(1).div_duration_f64(sync);
    Row {
        case: "durable, 1,024 in flight, leader",
        reference: Some(("a sync each", Figure::Rate(one_each))),
        ours: Figure::Rate(median(&mut rates)),
        target: Some(Target::AtLeast(Figure::Rate(IN_FLIGHT))),
    }
    .print();
    volatile.check().await?;
    durable.check().await?;
    nodes.stop().await;
    Ok(())
}
