//! The leader leaves in good order while another sends commands.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mosaik::{Group, groups::Durability};
use mosaik_tests::machines::Counter;
use tokio::sync::watch;

use crate::{
    counters::Counters,
    measure::median_duration,
    nodes::Nodes,
    plan::Plan,
    raw,
    table::{Figure, Row, Target},
};

/// Longest time without an acknowledgement, to be reached.
const TARGET: Duration = Duration::from_millis(50);
/// Commands that are acknowledged before the leader leaves, and after it has left.
const AROUND: u64 = 500;

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let (mut gaps, mut failed) = (vec![], 0);
    let rtt = raw::ping(plan.samples() / 5).await?;
    for _ in 0..plan.rounds() {
        let seen = leave().await?;
        gaps.push(seen.gap);
        failed += seen.failed;
    }
    Row {
        case: "graceful leave of the leader, longest gap",
        reference: Some(("RTT", Figure::Time(rtt))),
        ours: Figure::Time(median_duration(&mut gaps)),
        target: Some(Target::AtMost(Figure::Time(TARGET))),
    }
    .print();
    Row {
        case: "graceful leave, failed commands",
        reference: None,
        ours: Figure::Count(failed),
        target: Some(Target::AtMost(Figure::Count(0))),
    }
    .print();
    Ok(())
}

/// What a client has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    acknowledged: u64,
    failed: u64,
    /// Longest time between two acknowledgements.
    gap: Duration,
}

/// Lets the leader leave while a client counts through another.
async fn leave() -> anyhow::Result<Seen> {
    let nodes = Nodes::start(None).await?;
    let counters = Counters::start(&nodes, Durability::Volatile).await?;
    let leader = counters.groups().iter().position(Group::is_leader);
    let leader = leader.context("nobody leads")?;
    let follower = counters.follower()?;
    let (tell, seen) = watch::channel(Seen::default());
    let (stop, stopped) = watch::channel(false);
    let client = tokio::spawn(count(follower.clone(), tell, stopped));
    let reached = async |count| {
        seen.clone()
            .wait_for(|seen| seen.acknowledged >= count)
            .await
            .map(|seen| *seen)
    };
    reached(AROUND).await?;
    nodes.networks()[leader].shutdown().await;
    let left = seen.borrow().acknowledged;
    reached(left + AROUND).await?;
    stop.send_replace(true);
    let seen = client.await??;
    for (n, group) in counters.groups().iter().enumerate() {
        if n != leader {
            let counted = group.query(()).await?;
            let possible = seen.acknowledged..=seen.acknowledged + seen.failed;
            ensure!(possible.contains(&counted), "counted {counted} of {seen:?}");
        }
    }
    nodes.stop().await;
    Ok(seen)
}

/// Counts one by one until told to stop.
async fn count(
    group: Group<Counter>,
    tell: watch::Sender<Seen>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    let mut last = Instant::now();
    while !*stopped.borrow() {
        match group.execute(1).await {
            Ok(_) => {
                seen.acknowledged += 1;
                seen.gap = seen.gap.max(last.elapsed());
                last = Instant::now();
            }
            Err(error) => {
                seen.failed += 1;
                println!("graceful leave: {error}");
            }
        }
        tell.send_replace(seen);
    }
    Ok(seen)
}
