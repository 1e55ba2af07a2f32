//! How long it takes to start three nodes and to have a group of them.

use std::time::{Duration, Instant};

use mosaik::groups::Durability;

use crate::{
    counters::Counters,
    measure::median_duration,
    nodes::Nodes,
    plan::Plan,
    raw,
    table::{Figure, Row, Target},
};

/// What is to be reached.
const TARGET: Duration = Duration::from_secs(1);

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let (mut reference, mut ours) = (vec![], vec![]);
    for _ in 0..plan.rounds() {
        reference.push(raw::three().await?);
        let started = Instant::now();
        let nodes = Nodes::start(None).await?;
        let mut counters = Counters::start(&nodes, Durability::Volatile).await?;
        ours.push(started.elapsed());
        for group in counters.groups() {
            group.execute(1).await?;
        }
        let members = u64::try_from(counters.groups().len())?;
        counters.note(members);
        counters.check().await?;
        nodes.stop().await;
    }
    let reference = median_duration(&mut reference);
    Row {
        case: "start -> all online",
        reference: Some(("iroh", Figure::Time(reference))),
        ours: Figure::Time(median_duration(&mut ours)),
        target: Some(Target::AtMost(Figure::Time(TARGET))),
    }
    .print();
    Ok(())
}
