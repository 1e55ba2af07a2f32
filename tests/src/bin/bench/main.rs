//! Measures streams beside the raw transport of the same run: `cargo run --release -p mosaik-tests --bin
//! bench`, with `-- --quick` for a short run, and `-- "32 B"` for the rows whose name holds that.
//!
//! Every row prints the raw figure, ours, and the ratio, which is the figure that counts: machines
//! differ. Rows are repeated, raw and ours in turn, and the medians are compared. Nothing may be lost or
//! out of order, and a row below its floor fails a full run.

mod ours;
mod raw;

use std::time::{Duration, Instant};

use anyhow::ensure;

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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (flags, wanted): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|arg| arg.starts_with("--"));
    let quick = flags.iter().any(|flag| flag == "--quick");
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    let (divisor, rounds) = if quick { (4, 3) } else { (1, 5) };
    println!(
        "{:<16} {:>14} {:>14} {:>8}   {:>10} {:>10}",
        "case", "raw /s", "mosaik /s", "ratio", "raw MB/s", "MB/s"
    );
    let mut below = vec![];
    for row in ROWS.iter().filter(|row| runs(row.name)) {
        let (mut raw, mut ours) = (vec![], vec![]);
        for _ in 0..rounds {
            let datums = row.datums / divisor;
            raw.push(rate(
                row,
                datums,
                raw::run(row.size, row.consumers, datums).await?,
            ));
            ours.push(rate(
                row,
                datums,
                ours::run(row.size, row.consumers, datums).await?,
            ));
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
        if ratio < row.floor {
            below.push(row.name);
        }
    }
    if runs(LATENCY) {
        let samples = if quick { 1_000 } else { 5_000 };
        let half = raw::ping(samples).await? / 2;
        let ours = ours::latency(samples).await?;
        let ratio = ours.as_secs_f64() / half.as_secs_f64();
        println!("{LATENCY}: half the raw round trip {half:?}, mosaik {ours:?}, ratio {ratio:.2}");
    }
    // A short run on a busy machine says too little to fail anybody.
    ensure!(quick || below.is_empty(), "below the floor: {below:?}");
    Ok(())
}

/// Datums a second over all consumers.
fn rate(row: &Row, datums: u64, took: Duration) -> f64 {
    datums as f64 * row.consumers as f64 / took.as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The middle of many durations.
fn median_duration(values: &mut [Duration]) -> Duration {
    values.sort();
    values[values.len() / 2]
}

/// Nanoseconds since the first call in this process.
fn clock() -> u64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
