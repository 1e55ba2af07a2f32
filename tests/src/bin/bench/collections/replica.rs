//! What the entries of one replica take in memory, beside the same map of std.
//!
//! Each fills its map in a process of its own. The replica is the only member of its group, and its log is in memory,
//! too: a hundred thousand entries are too few for a snapshot, so the log has them all as well.

use std::{hint::black_box, time::Duration};

use mosaik_tests::unique;

use super::{
    SUBJECT,
    child::{REPLICA, STD},
    kind::{self, Hashed, Kind, Sorted, entries},
    stores::{ITEMS, online},
};
use crate::{
    child,
    measure::median,
    plan::Plan,
    process,
    table::{Figure, Row, Target},
};

/// Share of the counterpart's memory that a replica may take.
const OF_STD: f64 = 2.5;
const ENTRIES: u64 = 100_000;
/// How long a process is left alone before its memory counts.
pub(super) const SETTLE: Duration = Duration::from_secs(1);

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    measure::<Hashed>(plan)?;
    measure::<Sorted>(plan)
}

fn measure<K: Kind>(plan: &Plan) -> anyhow::Result<()> {
    let (mut reference, mut ours) = (vec![], vec![]);
    for _ in 0..plan.few_rounds() {
        reference.push(std_bytes::<K>(ENTRIES)?);
        ours.push(bytes::<K>(REPLICA, ENTRIES)?);
    }
    let reference = median(&mut reference);
    Row {
        case: &format!("{}: 100 k entries, with their log", K::NAME),
        reference: Some((K::STD, Figure::Size(reference))),
        ours: Figure::Size(median(&mut ours)),
        target: Some(Target::AtMost(Figure::Size(reference * OF_STD))),
    }
    .print();
    Ok(())
}

/// Bytes that so many entries take in the counterpart.
pub(super) fn std_bytes<K: Kind>(entries: u64) -> anyhow::Result<f64> {
    bytes::<K>(STD, entries)
}

/// Bytes that a child says it holds.
fn bytes<K: Kind>(role: &str, entries: u64) -> anyhow::Result<f64> {
    let holding = child::start(SUBJECT, &[role, K::NAME, &entries.to_string()]);
    let line = holding.expect("bytes ");
    Ok(line.trim_start_matches("bytes ").parse()?)
}

/// What a child does: holds so many entries as the only member of a group.
pub(super) async fn hold<K: Kind>(count: u64) -> anyhow::Result<()> {
    let network = child::build(&unique("bench"), &[]).await?;
    let writer = K::writer(&network, 1);
    online(&writer).await?;
    let before = process::memory()?;
    for first in (0..count).step_by(usize::try_from(ITEMS)?) {
        let last = count.min(first + ITEMS);
        K::extend(&writer, entries(first..last)).await?;
    }
    tokio::time::sleep(SETTLE).await;
    println!("bytes {}", process::memory()?.saturating_sub(before));
    kind::check::<K>(&writer, count)?;
    network.shutdown().await;
    Ok(())
}

/// What a child does: holds so many entries in the counterpart.
pub(super) fn hold_std<K: Kind>(count: u64) -> anyhow::Result<()> {
    let before = process::memory()?;
    let mut map = K::Std::default();
    for first in (0..count).step_by(usize::try_from(ITEMS)?) {
        map.extend(entries(first..count.min(first + ITEMS)));
    }
    println!("bytes {}", process::memory()?.saturating_sub(before));
    drop(black_box(map));
    Ok(())
}
