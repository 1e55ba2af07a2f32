//! Groups that have nothing to do: what they cost all the same.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use mosaik::{Group, Network, groups::Durability};
use mosaik_tests::{Child, groups::rests, machines::Counter, unique};

use super::{SUBJECT, child::IDLE};
use crate::{
    child::{self, line},
    nodes::online,
    plan::Plan,
    process,
    table::{Figure, Row, Target},
};

/// Processor time of a process with 1,000 groups, in cores, to be reached.
const CORES: f64 = 0.25;
/// Bytes of a group, to be reached.
const SIZE: f64 = 256.0 * 1024.0;
/// How long processor time is measured.
const SPAN: Duration = Duration::from_secs(10);
const QUICK_SPAN: Duration = Duration::from_secs(2);
/// How long groups may take to rest, and how often it is looked at.
const REST: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// Groups of a child between two lines that say that it makes progress.
const PROGRESS: usize = 10;
/// What a child is told to do.
const MEASURE: &str = "measure ";

/// One set of processes.
struct Case {
    name: &'static str,
    groups: u32,
    processes: usize,
}

const CASES: [Case; 2] = [
    Case {
        name: "1,000 idle groups, one node",
        groups: 1000,
        processes: 1,
    },
    Case {
        name: "100 idle groups, each of three processes",
        groups: 100,
        processes: 3,
    },
];

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    for case in &CASES {
        let cost = measure(plan, case)?;
        let cores = CORES * f64::from(case.groups) / 1000.0;
        Row {
            case: case.name,
            reference: None,
            ours: Figure::Cores(cost.cores),
            target: Some(Target::AtMost(Figure::Cores(cores))),
        }
        .print();
        Row {
            case: "  memory of one of them",
            reference: None,
            ours: Figure::Size(cost.bytes),
            target: Some(Target::AtMost(Figure::Size(SIZE))),
        }
        .print();
    }
    Ok(())
}

/// What idle groups cost the process that they cost most.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    cores: f64,
    /// Of one group.
    bytes: f64,
}

/// Lets processes take part in the same groups.
fn measure(plan: &Plan, case: &Case) -> anyhow::Result<Cost> {
    let (name, count) = (unique("bench"), case.groups.to_string());
    let founders = case.processes.to_string();
    let mut args = vec![IDLE, &name, &count, &founders];
    let first = child::start(SUBJECT, &args);
    let ticket = first.expect("ticket ");
    args.push(ticket.trim_start_matches("ticket "));
    let others = (1..case.processes).map(|_| child::start(SUBJECT, &args));
    let mut children: Vec<Child> = std::iter::once(first).chain(others).collect();
    let mut cost = Cost::default();
    for child in &children {
        let line = child.expect("online ");
        cost.bytes = cost.bytes.max(line.trim_start_matches("online ").parse()?);
    }
    let span = if plan.is_quick() { QUICK_SPAN } else { SPAN };
    for child in &mut children {
        child.tell(&format!("{MEASURE}{}", span.as_millis()));
    }
    for child in &children {
        let line = child.expect("cores ");
        cost.cores = cost.cores.max(line.trim_start_matches("cores ").parse()?);
    }
    Ok(cost)
}

/// Waits until all groups rest.
async fn rested(groups: &[Group<Counter>]) {
    for group in groups {
        while !rests(group) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Takes part in so many groups, and measures when told to, until the input ends.
pub(super) async fn take_part(
    network: &Network,
    count: u32,
    founders: usize,
) -> anyhow::Result<()> {
    let before = process::memory()?;
    let join = |n| {
        let builder = network.groups().builder(format!("idle {n}"));
        builder
            .founders(founders)
            .durable(Durability::Volatile)
            .join()
    };
    let groups: Vec<Group<Counter>> = (0..count).map(join).collect();
    for (n, group) in groups.iter().enumerate() {
        online(group).await?;
        if n % PROGRESS == 0 {
            println!("{n} of {count} are there");
        }
    }
    let bytes = process::memory()?.saturating_sub(before);
    println!("online {}", bytes as f64 / f64::from(count));
    while let Some(line) = line().await? {
        let millis = line.strip_prefix(MEASURE).context("not told to measure")?;
        // Groups rest once nothing has happened for a while.
        tokio::time::timeout(REST, rested(&groups)).await?;
        let (started, before) = (Instant::now(), process::cpu()?);
        tokio::time::sleep(Duration::from_millis(millis.parse()?)).await;
        let used = process::cpu()?.saturating_sub(before);
        println!("cores {}", used.div_duration_f64(started.elapsed()));
    }
    Ok(())
}
