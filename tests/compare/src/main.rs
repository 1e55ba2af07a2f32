//! Measures groups beside what one would take instead, etcd and hiqlite, in one run: `cargo run --release` in this
//! directory, with `-- etcd` or `-- hiqlite` for one of them, and `-- --quick` for a short run.
//!
//! What all do is the same: three processes on loopback, each with a member in it or beside it, add to the balance
//! of one account and read it. Options are the defaults, except that every acknowledged write is on the disks of a
//! majority, which hiqlite has to be told. Data directories are among the temporary files; say `TMPDIR` if that
//! is no disk. After each load every member must hold exactly what was acknowledged.
//!
//! etcd is a server of its own: Debian has it in `etcd-server`, and its client is built with `protobuf-compiler`. A
//! peer that is not there is named and left out; `--no-default-features --features hiqlite` builds without etcd.

mod child;
mod cluster;
mod disk;
mod measure;
mod peers;
mod plan;
mod process;
mod round;
mod seat;
mod table;

use std::collections::BTreeSet;

use anyhow::{bail, ensure};

use crate::{peers::System, plan::Plan, table::Table};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == child::CHILD).is_some() {
        return child::run(args.collect()).await;
    }
    let plan = Plan::parse(args)?;
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!("interrupted; nothing is left behind")
        }
        compared = compare(&plan) => compared,
    }
}

/// Measures all systems that are there, one after another, and all once more.
async fn compare(plan: &Plan) -> anyhow::Result<()> {
    let systems = present(plan);
    let sync = disk::sync().await?;
    println!("100 B written in place and synced, p50: {sync:.1?}");
    let mut table = Table::default();
    let mut failed = BTreeSet::new();
    for n in 1..=plan.rounds() {
        for system in &systems {
            eprintln!("round {n} of {}: {}", plan.rounds(), system.name());
            if let Err(error) = round::run(*system, plan, &mut table).await {
                println!("{}: {error:#}", system.name());
                failed.insert(system.name());
            }
        }
    }
    table.print(&systems);
    ensure!(failed.is_empty(), "not measured, or wrong: {failed:?}");
    Ok(())
}

/// The systems that are wanted and can be had; says which cannot.
fn present(plan: &Plan) -> Vec<System> {
    let wanted = System::ALL.into_iter().filter(|system| plan.wants(*system));
    let present = wanted.filter(|system| match system.version() {
        Ok(version) => {
            println!("{}: {version}", system.name());
            true
        }
        Err(missing) => {
            println!("{}: left out: {missing:#}", system.name());
            false
        }
    });
    present.collect()
}
