//! What the logs of a group hold in memory after many commands.

use std::time::Duration;

use mosaik::groups::Durability;

use super::{SUBJECT, child::MEMORY};
use crate::{
    child,
    counters::Counters,
    nodes::Nodes,
    plan::Plan,
    process,
    table::{Figure, Row, Target},
};

/// Bytes of one member's log, to be reached: the 96 MiB that the policy for snapshots lets it have, and what is on
/// its way.
const TARGET: f64 = 128.0 * 1024.0 * 1024.0;
const COMMANDS: u64 = 20_000_000;
const QUICK_COMMANDS: u64 = 2_000_000;
const BATCH: usize = 100;
const IN_FLIGHT: usize = 16;
/// Members of the group, all in one process.
const MEMBERS: f64 = 3.0;

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let commands = if plan.is_quick() {
        QUICK_COMMANDS
    } else {
        COMMANDS
    };
    // In a process that has held nothing else.
    let counting = child::start(SUBJECT, &[MEMORY, &commands.to_string()]);
    let line = counting.expect("bytes ");
    let bytes: f64 = line.trim_start_matches("bytes ").parse()?;
    Row {
        case: &format!(
            "log memory after {} M commands, a member",
            commands / 1_000_000
        ),
        reference: None,
        ours: Figure::Size(bytes / MEMBERS),
        target: Some(Target::AtMost(Figure::Size(TARGET))),
    }
    .print();
    Ok(())
}

/// What the child does: counts so far, and says what that has cost.
pub(super) async fn count(commands: u64) -> anyhow::Result<()> {
    let nodes = Nodes::start(None).await?;
    let mut counters = Counters::start(&nodes, Durability::Volatile).await?;
    let group = counters.leader()?;
    let before = process::memory()?;
    while counters.acknowledged() < commands {
        let span = Duration::from_secs(1);
        counters
            .load_batches(&group, IN_FLIGHT, BATCH, span)
            .await?;
        println!("{} counted", counters.acknowledged());
    }
    println!("bytes {}", process::memory()?.saturating_sub(before));
    counters.check().await?;
    nodes.stop().await;
    Ok(())
}
