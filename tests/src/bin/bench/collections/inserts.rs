//! Inserts: one after another, many in flight, many a call.
//!
//! The reference is a group that counts, on the same nodes, with as many commands in flight; for many a call, which a
//! count is no match for, the raw transport that sends as much to two. What is to be reached was set on another machine:
//! beside it stands the same as a ratio to what the raw transport does, there and here.

use mosaik::groups::Durability;

use super::{
    kind::{Hashed, KEY, SIZE},
    stores::Stores,
};
use crate::{
    counters::Counters,
    measure::median,
    nodes::{MEMBERS, Nodes},
    plan::Plan,
    raw,
    table::{Figure, Row, Target},
};

/// Inserts a second with some in flight, to be reached on any node.
const TARGET: f64 = 1e5;
/// What the raw transport did where that was set, a second: datums of 1 KiB on one stream.
const RAW_THERE: f64 = 416e3;
/// Bytes of such a datum.
const RAW_SIZE: usize = 1024;
/// Entries of a round at most, for the sake of memory.
const MOST: u64 = 500_000;
/// Entries that the raw transport sends.
const SENT: u64 = 100_000;

/// So many calls in flight, on one node.
struct Case {
    name: &'static str,
    in_flight: usize,
    /// Whether the node leads.
    leads: bool,
    target: Option<Target>,
}

const CASES: [Case; 6] = [
    Case {
        name: "insert, 1 in flight, leader",
        in_flight: 1,
        leads: true,
        target: None,
    },
    Case {
        name: "insert, 1 in flight, follower",
        in_flight: 1,
        leads: false,
        target: None,
    },
    Case {
        name: "insert, 64 in flight, leader",
        in_flight: 64,
        leads: true,
        target: Some(Target::AtLeast(Figure::Rate(TARGET))),
    },
    Case {
        name: "insert, 64 in flight, follower",
        in_flight: 64,
        leads: false,
        target: Some(Target::AtLeast(Figure::Rate(TARGET))),
    },
    Case {
        name: "insert, 1,024 in flight, leader",
        in_flight: 1024,
        leads: true,
        target: None,
    },
    Case {
        name: "insert, 1,024 in flight, follower",
        in_flight: 1024,
        leads: false,
        target: None,
    },
];

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let nodes = Nodes::start(None).await?;
    let mut bench = Bench {
        plan,
        counters: Counters::start(&nodes, Durability::Volatile).await?,
        stores: Stores::start(&nodes).await?,
    };
    for case in &CASES {
        bench.insert(case).await?;
    }
    bench.extend().await?;
    nodes.stop().await;
    Ok(())
}

struct Bench<'a> {
    plan: &'a Plan,
    counters: Counters,
    stores: Stores<Hashed>,
}

impl Bench<'_> {
    async fn insert(&mut self, case: &Case) -> anyhow::Result<()> {
        let (mut reference, mut ours, mut raw) = (vec![], vec![], vec![]);
        let (in_flight, span) = (case.in_flight, self.plan.span());
        for _ in 0..self.plan.rounds() {
            let (group, writer) = if case.leads {
                (self.counters.leader()?, self.stores.leader()?)
            } else {
                (self.counters.follower()?, self.stores.follower()?)
            };
            reference.push(self.counters.load(&group, in_flight, span).await?);
            if case.target.is_some() {
                let took = raw::run(RAW_SIZE, 1, SENT).await?;
                raw.push(SENT as f64 / took.as_secs_f64());
            }
            let load = self.stores.insert(&writer, in_flight, span, MOST);
            ours.push(load.await?.rate());
            self.check().await?;
        }
        print(case.name, ("group", reference), ours.clone(), case.target);
        if case.target.is_some() {
            let there = TARGET / RAW_THERE * median(&mut raw);
            let target = Target::AtLeast(Figure::Rate(there));
            print("  the same", ("iroh, 1 KiB", raw), ours, Some(target));
        }
        Ok(())
    }

    async fn extend(&mut self) -> anyhow::Result<()> {
        let (mut reference, mut ours) = (vec![], vec![]);
        let span = self.plan.span();
        for _ in 0..self.plan.rounds() {
            let took = raw::run(KEY + SIZE, MEMBERS - 1, SENT).await?;
            reference.push(SENT as f64 / took.as_secs_f64());
            let writer = self.stores.leader()?;
            ours.push(self.stores.extend(&writer, span, MOST).await?.rate());
            self.check().await?;
        }
        let case = "extend by 1,000, 16 in flight, leader";
        print(case, ("iroh to two", reference), ours, None);
        Ok(())
    }

    /// Checks what is there, and makes room.
    async fn check(&mut self) -> anyhow::Result<()> {
        self.counters.check().await?;
        self.stores.check().await?;
        self.stores.clear().await
    }
}

fn print(
    case: &str,
    (name, mut reference): (&'static str, Vec<f64>),
    mut ours: Vec<f64>,
    target: Option<Target>,
) {
    Row {
        case,
        reference: Some((name, Figure::Rate(median(&mut reference)))),
        ours: Figure::Rate(median(&mut ours)),
        target,
    }
    .print();
}
