//! A reader, in a process of its own, catches up with a map: how soon, and with how much memory.
//!
//! What it holds once it is settled are the entries, and in memory the snapshot and the log that it got them by, for
//! others that follow it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mosaik::Network;

use super::{
    SUBJECT,
    child::READER,
    kind::{self, Hashed, Kind, SIZE},
    replica::{SETTLE, std_bytes},
    stores::Stores,
};
use crate::{
    child,
    measure::{median, median_duration},
    nodes::{MEMBERS, Nodes},
    plan::Plan,
    process, raw,
    table::{Figure, Row, Target},
};

/// How often a reader looks whether it has everything, and how often it says what it has.
const LOOK: Duration = Duration::from_millis(2);
const SAY: Duration = Duration::from_secs(1);
/// What is to be reached at the peak, of what the reader holds in the end.
const OF_SETTLED: f64 = 2.5;

/// So many entries.
struct Case {
    name: &'static str,
    entries: u64,
    target: Option<Target>,
}

const CASES: [Case; 2] = [
    Case {
        name: "reader catches up 100 k entries",
        entries: 100_000,
        target: None,
    },
    Case {
        name: "reader catches up 1 M entries",
        entries: 1_000_000,
        target: Some(Target::AtMost(Figure::Time(Duration::from_secs(10)))),
    },
];

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    for case in &CASES {
        let nodes = Nodes::start(None).await?;
        let stores: Stores<Hashed> = Stores::start(&nodes).await?;
        stores.fill(case.entries).await?;
        measure(plan, case, &nodes).await?;
        stores.check().await?;
        nodes.stop().await;
    }
    Ok(())
}

async fn measure(plan: &Plan, case: &Case, nodes: &Nodes) -> anyhow::Result<()> {
    let (mut reference, mut took) = (vec![], vec![]);
    let (mut peak, mut settled) = (vec![], vec![]);
    for _ in 0..plan.few_rounds() {
        reference.push(raw::run(SIZE, 1, case.entries).await?);
        let seen = tokio::task::block_in_place(|| read(nodes, case.entries))?;
        took.push(seen.took);
        peak.push(seen.peak);
        settled.push(seen.settled);
    }
    let (peak, settled) = (median(&mut peak), median(&mut settled));
    let std = tokio::task::block_in_place(|| std_bytes::<Hashed>(case.entries))?;
    Row {
        case: case.name,
        reference: Some(("iroh", Figure::Time(median_duration(&mut reference)))),
        ours: Figure::Time(median_duration(&mut took)),
        target: case.target,
    }
    .print();
    Row {
        case: "  memory of the reader, at its peak",
        reference: Some(("settled", Figure::Size(settled))),
        ours: Figure::Size(peak),
        target: Some(Target::AtMost(Figure::Size(settled * OF_SETTLED))),
    }
    .print();
    Row {
        case: "  memory of the reader, settled",
        reference: Some((Hashed::STD, Figure::Size(std))),
        ours: Figure::Size(settled),
        target: None,
    }
    .print();
    Ok(())
}

/// What a reader says of itself.
struct Seen {
    took: Duration,
    peak: f64,
    settled: f64,
}

/// Lets a child read all.
fn read(nodes: &Nodes, entries: u64) -> anyhow::Result<Seen> {
    let first = nodes.networks().first().context("a node")?;
    let (entries, ticket) = (entries.to_string(), first.local().ticket().to_string());
    let reading = child::start(SUBJECT, &[READER, nodes.name(), &entries, &ticket]);
    let line = reading.expect("caught up ");
    let mut numbers = line.trim_start_matches("caught up ").split(' ');
    let mut number = || anyhow::Ok(numbers.next().context("too few numbers")?.parse::<f64>()?);
    let seen = Seen {
        took: Duration::from_secs_f64(number()?),
        peak: number()?,
        settled: number()?,
    };
    // It leaves in good order.
    while reading.line().is_some() {}
    Ok(seen)
}

/// What the child does: reads until it has so many entries.
pub(super) async fn follow(network: &Network, entries: u64) -> anyhow::Result<()> {
    let before = process::memory()?;
    let started = Instant::now();
    let reader = Hashed::reader(network, MEMBERS);
    let mut said = started;
    while (Hashed::len(&reader) as u64) < entries {
        if said.elapsed() >= SAY {
            said = Instant::now();
            println!(
                "{} of {entries}: {}",
                Hashed::len(&reader),
                reader.explain()
            );
        }
        tokio::time::sleep(LOOK).await;
    }
    let took = started.elapsed().as_secs_f64();
    tokio::time::sleep(SETTLE).await;
    let settled = process::memory()?.saturating_sub(before);
    let peak = process::peak()?.saturating_sub(before);
    kind::check::<Hashed>(&reader, entries)?;
    ensure!(peak >= settled, "a peak of {peak} bytes, below {settled}");
    println!("caught up {took} {peak} {settled}");
    Ok(())
}
