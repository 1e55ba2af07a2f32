//! The process of the leader is killed.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mosaik::{Group, Network, PeerId, groups::GroupError};
use mosaik_tests::{DEADLINE, loopback, machines::Counter, unique};

use super::{
    SUBJECT,
    child::MEMBER,
    openraft::{Cluster, Timing},
};
use crate::{
    child,
    measure::median_duration,
    nodes::online,
    plan::Plan,
    table::{Figure, Row, Target},
};

/// What is to be reached.
const TARGET: Duration = Duration::from_millis(600);
/// The group that counts.
const GROUP: &str = "counter";
const FOUNDERS: usize = 3;
/// Commands that are acknowledged before the leader is killed.
const BEFORE: u64 = 100;

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let (mut reference, mut ours) = (vec![], vec![]);
    for _ in 0..plan.rounds() {
        let cluster = Cluster::start(Timing::Default).await?;
        reference.push(cluster.fail_over().await?);
        ours.push(kill().await?);
    }
    Row {
        case: "kill -9 of the leader -> next command",
        reference: Some(("openraft", Figure::Time(median_duration(&mut reference)))),
        ours: Figure::Time(median_duration(&mut ours)),
        target: Some(Target::AtMost(Figure::Time(TARGET))),
    }
    .print();
    Ok(())
}

/// Takes part in the group that counts.
pub(super) fn join(network: &Network) -> Group<Counter> {
    network.groups().builder(GROUP).founders(FOUNDERS).join()
}

/// Kills the leader of three; how long the next command of another then takes.
async fn kill() -> anyhow::Result<Duration> {
    let name = unique("bench");
    let first = loopback(&name).build().await?;
    let second = loopback(&name)
        .bootstrap([first.local().addr()])
        .build()
        .await?;
    let ticket = first.local().ticket().to_string();
    let mut leader = child::start(SUBJECT, &[MEMBER, &name, &ticket]);
    let groups = [join(&first), join(&second)];
    for group in &groups {
        online(group).await?;
    }
    let line = leader.expect("online ");
    let id: PeerId = line.trim_start_matches("online ").parse()?;
    let [group, other] = &groups;
    lead(&groups, id).await?;
    for _ in 0..BEFORE {
        group.execute(1).await?;
    }
    let started = Instant::now();
    leader.kill();
    acknowledged(group).await?;
    let took = started.elapsed();
    for group in [group, other] {
        let counted = group.query(()).await?;
        ensure!(
            counted == BEFORE + 1,
            "counted {counted}, not {}",
            BEFORE + 1
        );
    }
    first.shutdown().await;
    second.shutdown().await;
    Ok(took)
}

/// Makes this peer the leader.
async fn lead(groups: &[Group<Counter>], id: PeerId) -> anyhow::Result<()> {
    if let Some(leader) = groups.iter().find(|group| group.is_leader()) {
        leader.transfer_leadership(id).await?;
    }
    for group in groups {
        let leads = tokio::time::timeout(DEADLINE, group.when().leader_is(id)).await;
        leads.with_context(|| format!("the other does not lead: {}", group.explain()))?;
    }
    Ok(())
}

/// Counts one further, however often it is refused.
async fn acknowledged(group: &Group<Counter>) -> anyhow::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match group.execute(1).await {
            Ok(_) => return Ok(()),
            Err(GroupError::Timeout(pending)) => {
                pending.outcome::<u64>().await?;
                return Ok(());
            }
            // It was not applied.
            Err(GroupError::Unavailable(_)) if Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}
