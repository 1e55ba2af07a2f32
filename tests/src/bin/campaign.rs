//! Runs groups under faults, seed after seed: `cargo run -p mosaik-tests --release --bin campaign -- --seeds N
//! [--first SEED] [--kind NAME]`.
//!
//! The seeds are shared out among all kinds of campaigns, unless one is named. A seed that fails ends it, with the
//! command that repeats just that run. `--followers N` runs one world of a group with so many observers instead.

use std::time::Instant;

use anyhow::{Context as _, bail};
use mosaik_tests::groups::{Seen, campaign, followers, kinds};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut seeds, mut first, mut wanted) = (1000, 0, None);
    while let Some(arg) = args.next() {
        let value = args
            .next()
            .with_context(|| format!("`{arg}` needs a value"))?;
        match arg.as_str() {
            "--seeds" => seeds = value.parse()?,
            "--first" => first = value.parse()?,
            "--kind" => wanted = Some(value),
            "--followers" => {
                let (before, after) = followers(value.parse()?);
                println!("seen by all within {before:?}, within {after:?} after a crash");
                return Ok(());
            }
            other => bail!("no option `{other}`: see the head of this file"),
        }
    }
    let mut kinds = kinds();
    if let Some(wanted) = &wanted {
        kinds.retain(|kind| kind.name == wanted);
    }
    let count = u64::try_from(kinds.len())?;
    if count == 0 {
        bail!("no kind of that name");
    }
    let mut all = Seen::default();
    let started = Instant::now();
    let mut next: u64 = first;
    for (n, kind) in (0..).zip(&kinds) {
        let share = seeds / count + u64::from(n < seeds % count);
        let (ran, seen) = campaign(kind, next..next + share);
        next += share;
        all = all.and(seen);
        println!(
            "{}: {ran} seeds, {seen:?}, {:?}",
            kind.name,
            started.elapsed()
        );
    }
    println!("all: {seeds} seeds, {all:?}, {:?}", started.elapsed());
    Ok(())
}
