//! Members on disk whose processes are killed: how soon they are back, and with what.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use mosaik::{
    Group, Network,
    groups::{Ctx, Durability, StateMachine},
};
use mosaik_tests::{Child, DEADLINE, unique};

use super::{SUBJECT, child::RESTART};
use crate::{
    child::{self, line},
    measure,
    nodes::online,
    plan::Plan,
    table::{Figure, Row, Target},
};

/// What is to be reached.
const TARGET: Duration = Duration::from_secs(2);
/// Bytes of all commands before the first member is killed.
const BYTES: u64 = 1 << 30;
const QUICK_BYTES: u64 = 1 << 27;
/// Bytes of a command.
const SIZE: usize = 64 * 1024;
const IN_FLIGHT: usize = 64;
/// Commands that a child acknowledges at a time, so that it is seen to make progress.
const PORTION: u64 = 512;
const MEMBERS: usize = 3;
const GROUP: &str = "weigher";
/// What a child is told to do.
const FILL: &str = "fill ";

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let name = unique("bench");
    let bytes = if plan.is_quick() { QUICK_BYTES } else { BYTES };
    // They found together: none is online before all are there.
    let mut members = start(&name, dir.path());
    let mut weighed = members
        .iter()
        .map(Member::online)
        .collect::<Result<Vec<_>, _>>()?;
    ensure!(
        weighed.iter().all(|weight| *weight == 0),
        "a new group has {weighed:?} bytes"
    );
    let mut acknowledged = 0;
    while acknowledged < bytes {
        acknowledged += members[0].fill(PORTION)?;
    }
    let mut took = vec![];
    let [first, .., last] = members.as_mut_slice() else {
        anyhow::bail!("too few members");
    };
    for _ in 0..plan.rounds() {
        last.child.kill();
        let started = Instant::now();
        *last = Member::start(&name, &last.dir, Some(&first.ticket));
        let weight = last.online()?;
        took.push(started.elapsed());
        ensure!(weight == acknowledged, "{weight} bytes, not {acknowledged}");
        acknowledged += last.fill(1)?;
    }
    Row {
        case: &format!("durable restart after {} MiB, kill -9", bytes >> 20),
        reference: None,
        ours: Figure::Time(measure::median_duration(&mut took)),
        target: Some(Target::AtMost(Figure::Time(TARGET))),
    }
    .print();
    for member in &mut members {
        member.child.kill();
    }
    members = start(&name, dir.path());
    weighed = members
        .iter()
        .map(Member::online)
        .collect::<Result<_, _>>()?;
    let least = weighed.iter().copied().min().unwrap_or_default();
    Row {
        case: "bytes lost after kill -9 of all",
        reference: None,
        ours: Figure::Count(acknowledged.saturating_sub(least)),
        target: Some(Target::AtMost(Figure::Count(0))),
    }
    .print();
    ensure!(
        least == acknowledged,
        "{weighed:?} bytes, not {acknowledged}"
    );
    Ok(())
}

/// Starts all members, with a folder each.
fn start(name: &str, dir: &Path) -> Vec<Member> {
    let mut members: Vec<Member> = vec![];
    for n in 0..MEMBERS {
        let ticket = members.first().map(|first| first.ticket.clone());
        let dir = dir.join(n.to_string()).display().to_string();
        members.push(Member::start(name, &dir, ticket.as_deref()));
    }
    members
}

/// A member, in a process of its own.
struct Member {
    child: Child,
    dir: String,
    ticket: String,
}

impl Member {
    fn start(name: &str, dir: &str, ticket: Option<&str>) -> Self {
        let args = [RESTART, name, dir].into_iter().chain(ticket);
        let child = child::start(SUBJECT, &args.collect::<Vec<_>>());
        let ticket = child.expect("ticket ");
        Self {
            child,
            dir: dir.into(),
            ticket: ticket.trim_start_matches("ticket ").into(),
        }
    }

    /// Waits until it is online; how many bytes it has weighed.
    fn online(&self) -> anyhow::Result<u64> {
        let line = self.child.expect("online ");
        Ok(line.trim_start_matches("online ").parse()?)
    }

    /// Executes so many commands; their bytes.
    fn fill(&mut self, commands: u64) -> anyhow::Result<u64> {
        self.child.tell(&format!("{FILL}{commands}"));
        let line = self.child.expect("filled ");
        Ok(line.trim_start_matches("filled ").parse()?)
    }
}

/// What the child does: takes part, until its input ends.
pub(super) async fn take_part(network: &Network) -> anyhow::Result<()> {
    println!("ticket {}", network.local().ticket());
    let builder = network.groups().builder::<Weigher>(GROUP).founders(MEMBERS);
    let group = builder.durable(Durability::Required).join();
    online(&group).await?;
    println!("online {}", group.query(()).await?);
    while let Some(line) = line().await? {
        let commands = line.strip_prefix(FILL).context("not told to fill")?;
        println!("filled {}", fill(&group, commands.parse()?).await?);
    }
    Ok(())
}

/// Executes so many commands, many at a time; their bytes.
async fn fill(group: &Group<Weigher>, commands: u64) -> anyhow::Result<u64> {
    let callers = IN_FLIGHT.min(usize::try_from(commands)?);
    let each = commands / callers as u64;
    let filled = measure::load(callers, DEADLINE, |_| {
        let group = group.clone();
        async move {
            for _ in 0..each {
                group.execute(Bytes::from_static(&[7; SIZE])).await?;
            }
            Ok(each * SIZE as u64)
        }
    });
    Ok(filled.await?.done)
}

/// Weighs what it is told.
#[derive(Default)]
struct Weigher {
    bytes: u64,
}

impl StateMachine for Weigher {
    type Command = Bytes;
    type Output = ();
    type Query = ();
    type Answer = u64;
    type Snapshot = u64;

    fn apply(&mut self, _: &Ctx, load: Bytes) {
        self.bytes += load.len() as u64;
    }

    fn query(&self, (): ()) -> u64 {
        self.bytes
    }

    fn snapshot(&self) -> u64 {
        self.bytes
    }

    fn restore(bytes: u64) -> Self {
        Self { bytes }
    }
}
