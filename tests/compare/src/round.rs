//! One cluster, from its start until its leader is killed.

use std::time::Instant;

use crate::{
    cluster::Cluster,
    peers::System,
    plan::Plan,
    seat::MEMBERS,
    table::{Case, Table},
};

/// Callers at once, of writes and of reads.
const MANY: usize = 64;
const VERY_MANY: usize = 1024;

/// Measures every row once, and notes it as soon as it is known.
pub(crate) async fn run(system: System, plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    let mut note = |case, figure: f64| table.note(system, case, figure);
    let span = plan.span();
    let started = Instant::now();
    let mut cluster = Cluster::start(system).await?;
    note(Case::Start, started.elapsed().as_secs_f64());
    // What idles is measured while it does.
    tokio::time::sleep(span).await;
    let memory = cluster.memory()?;
    note(Case::Memory, memory.resident as f64);
    note(Case::AnonymousMemory, memory.anonymous as f64);
    // Connections that are made with the first call are there.
    for member in 0..MEMBERS {
        cluster.write(member, 1, span / 10).await?;
    }

    let (leader, follower) = cluster.roles().await?;
    for (member, p50, p99) in [
        (leader, Case::LeaderP50, Case::LeaderP99),
        (follower, Case::FollowerP50, Case::FollowerP99),
    ] {
        let load = cluster.write(member, 1, span).await?;
        note(p50, load.p50.as_secs_f64());
        note(p99, load.p99.as_secs_f64());
    }
    for (member, callers, case) in [
        (leader, MANY, Case::LeaderMany),
        (follower, MANY, Case::FollowerMany),
        (leader, VERY_MANY, Case::LeaderVeryMany),
        (follower, VERY_MANY, Case::FollowerVeryMany),
    ] {
        note(case, cluster.write(member, callers, span).await?.rate);
    }
    cluster.check().await?;
    let load = cluster.read(follower, 1, span).await?;
    note(Case::ReadP50, load.p50.as_secs_f64());
    note(
        Case::ReadMany,
        cluster.read(follower, MANY, span).await?.rate,
    );

    let took = cluster.fail_over(leader, follower).await?;
    note(Case::FailOver, took.as_secs_f64());
    Ok(())
}
