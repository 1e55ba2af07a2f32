//! Reads: of what is acknowledged, through a follower, and of what is here.

use std::{
    hint::black_box,
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use anyhow::ensure;
use mosaik::{Group, groups::Durability};
use mosaik_tests::machines::Counter;

use super::openraft::{Cluster, Timing};
use crate::{
    counters::Counters,
    measure::{self, median, median_duration},
    nodes::Nodes,
    plan::Plan,
    raw,
    table::{Figure, Row, Target},
};

const READERS: usize = 64;
/// Round trips that one read is to take at most.
const ROUND_TRIPS: f64 = 2.6;
/// Reads a second of all readers, to be reached.
const READS: f64 = 1e5;
/// Local reads a second, to be reached.
const LOCAL_READS: f64 = 1e7;
/// Local reads between two looks at the clock.
const STRIDE: u64 = 1000;

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let nodes = Nodes::start(None).await?;
    let mut counters = Counters::start(&nodes, Durability::Volatile).await?;
    let group = counters.leader()?;
    counters.load(&group, READERS, plan.span()).await?;
    in_turn(plan, &counters).await?;
    at_once(plan, &counters).await?;
    local(plan, &counters).await?;
    counters.check().await?;
    nodes.stop().await;
    Ok(())
}

async fn in_turn(plan: &Plan, counters: &Counters) -> anyhow::Result<()> {
    let (mut reference, mut ours) = (vec![], vec![]);
    let expected = counters.acknowledged();
    for _ in 0..plan.rounds() {
        reference.push(raw::ping(plan.samples() / 5).await?);
        let group = counters.follower()?;
        let read = move || read(group.clone(), expected);
        ours.extend(measure::in_turn(plan.span(), read).await?);
    }
    let rtt = median_duration(&mut reference);
    Row {
        case: "linearizable read, follower, p50",
        reference: Some(("RTT", Figure::Time(rtt))),
        ours: Figure::Time(median_duration(&mut ours)),
        target: Some(Target::AtMost(Figure::Time(rtt.mul_f64(ROUND_TRIPS)))),
    }
    .print();
    Ok(())
}

/// Reads once what was acknowledged.
async fn read(group: Group<Counter>, expected: u64) -> anyhow::Result<()> {
    let counted = group.query(()).await?;
    ensure!(
        counted == expected,
        "read {counted}, {expected} acknowledged"
    );
    Ok(())
}

async fn at_once(plan: &Plan, counters: &Counters) -> anyhow::Result<()> {
    let (mut reference, mut ours) = (vec![], vec![]);
    let expected = counters.acknowledged();
    let cluster = Cluster::start(Timing::Calm).await?;
    for _ in 0..plan.rounds() {
        let client = cluster.client();
        let load = measure::load(READERS, plan.span(), |until| {
            let client = client.clone();
            async move {
                let mut done = 0;
                while Instant::now() < until {
                    client.read().await?;
                    done += 1;
                }
                Ok(done)
            }
        });
        reference.push(load.await?.rate());
        let group = counters.follower()?;
        let load = measure::load(READERS, plan.span(), |until| {
            let group = group.clone();
            async move {
                let mut done = 0;
                while Instant::now() < until {
                    read(group.clone(), expected).await?;
                    done += 1;
                }
                Ok(done)
            }
        });
        ours.push(load.await?.rate());
    }
    cluster.stop().await?;
    Row {
        case: "linearizable read, follower, 64 readers",
        reference: Some(("openraft, leader", Figure::Rate(median(&mut reference)))),
        ours: Figure::Rate(median(&mut ours)),
        target: Some(Target::AtLeast(Figure::Rate(READS))),
    }
    .print();
    Ok(())
}

async fn local(plan: &Plan, counters: &Counters) -> anyhow::Result<()> {
    let (mut reference, mut ours) = (vec![], vec![]);
    let expected = counters.acknowledged();
    for _ in 0..plan.rounds() {
        let counted = RwLock::new(expected);
        let read = move || Some(*counted.read().unwrap_or_else(PoisonError::into_inner));
        reference.push(repeat(plan.span(), expected, read).await?);
        let group = counters.follower()?;
        let read = move || group.local(Counter::value);
        ours.push(repeat(plan.span(), expected, read).await?);
    }
    Row {
        case: "local read, one thread",
        reference: Some(("std RwLock", Figure::Rate(median(&mut reference)))),
        ours: Figure::Rate(median(&mut ours)),
        target: Some(Target::AtLeast(Figure::Rate(LOCAL_READS))),
    }
    .print();
    Ok(())
}

/// Reads on a thread for `span`; how often a second.
async fn repeat(
    span: Duration,
    expected: u64,
    read: impl Fn() -> Option<u64> + Send + 'static,
) -> anyhow::Result<f64> {
    let repeating = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let mut done = 0;
        while started.elapsed() < span {
            for _ in 0..STRIDE {
                let counted = black_box(&read)();
                ensure!(
                    counted == Some(expected),
                    "{counted:?} here, {expected} acknowledged"
                );
            }
            done += STRIDE;
        }
        Ok(done as f64 / started.elapsed().as_secs_f64())
    });
    repeating.await?
}
