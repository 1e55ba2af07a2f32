//! Streams beside the raw transport: what consumers get, and how late.
//!
//! Rows are repeated, raw and ours in turn, and the medians are compared. Nothing may be lost or out of
//! order, and a row below its floor fails a full run.

mod ours;

use std::time::Duration;

use anyhow::ensure;

use crate::{measure::median, plan::Plan, raw};

/// The subject's name on the command line.
const SUBJECT: &str = "streams";

/// One measurement: what one consumer gets.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    /// Bytes of a datum.
    size: usize,
    consumers: usize,
    /// Datums in a full run.
    datums: u64,
    /// Lowest accepted share of the raw figure.
    floor: f64,
}

const ROWS: &[Row] = &[
    Row {
        name: "1 -> 1, 32 B",
        size: 32,
        consumers: 1,
        datums: 6_000_000,
        floor: 0.25,
    },
    Row {
        name: "1 -> 1, 1 KiB",
        size: 1024,
        consumers: 1,
        datums: 600_000,
        floor: 0.70,
    },
    Row {
        name: "1 -> 1, 64 KiB",
        size: 64 * 1024,
        consumers: 1,
        datums: 10_000,
        floor: 0.70,
    },
    Row {
        name: "1 -> 8, 1 KiB",
        size: 1024,
        consumers: 8,
        datums: 100_000,
        floor: 0.70,
    },
];

/// The row of another kind.
const LATENCY: &str = "one way, 32 B, 1 k/s";

/// Measures what the plan wants.
pub(crate) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let rows: Vec<_> = ROWS
        .iter()
        .filter(|row| plan.wants(SUBJECT, row.name))
        .collect();
    if !rows.is_empty() {
        println!(
            "{:<16} {:>14} {:>14} {:>8}   {:>10} {:>10}",
            "streams", "raw /s", "mosaik /s", "ratio", "raw MB/s", "MB/s"
        );
    }
    let mut below = vec![];
    for row in rows {
        if measure(row, plan).await? < row.floor {
            below.push(row.name);
        }
    }
    if plan.wants(SUBJECT, LATENCY) {
        let samples = plan.samples();
        let half = raw::ping(samples).await? / 2;
        let ours = ours::latency(samples).await?;
        let ratio = ours.as_secs_f64() / half.as_secs_f64();
        println!("{LATENCY}: half the raw round trip {half:?}, mosaik {ours:?}, ratio {ratio:.2}");
    }
    // A short run on a busy machine says too little to fail anybody.
    ensure!(
        plan.is_quick() || below.is_empty(),
        "below the floor: {below:?}"
    );
    Ok(())
}

/// Measures and prints a row; the share of the raw figure that we reach.
async fn measure(row: &Row, plan: &Plan) -> anyhow::Result<f64> {
    let datums = if plan.is_quick() {
        row.datums / 4
    } else {
        row.datums
    };
    let (mut raw, mut ours) = (vec![], vec![]);
    for _ in 0..plan.rounds() {
        let took = raw::run(row.size, row.consumers, datums).await?;
        raw.push(rate(row, datums, took));
        let took = ours::run(row.size, row.consumers, datums).await?;
        ours.push(rate(row, datums, took));
    }
    let (raw, ours) = (median(&mut raw), median(&mut ours));
    let ratio = ours / raw;
    let megabytes = |rate: f64| rate * row.size as f64 / 1e6;
    println!(
        "{:<16} {raw:>14.0} {ours:>14.0} {:>7.1}%   {:>10.0} {:>10.0}",
        row.name,
        ratio * 100.0,
        megabytes(raw),
        megabytes(ours)
    );
    Ok(ratio)
}

/// Datums a second over all consumers.
fn rate(row: &Row, datums: u64, took: Duration) -> f64 {
    datums as f64 * row.consumers as f64 / took.as_secs_f64()
}
