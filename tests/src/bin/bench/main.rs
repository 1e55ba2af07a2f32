//! Measures mosaik beside references of the same run: `cargo run --release -p mosaik-tests --bin bench`, with
//! `-- streams`, `-- groups` or `-- collections` for one subject, `-- "32 B"` for the rows whose name holds that, and
//! `-- --quick` for a short run.
//!
//! Every row prints the reference, ours, and the ratio, which is the figure that counts: machines differ. What
//! is durable is measured in the directory for temporary files; say `TMPDIR` if that is no disk.

mod child;
mod collections;
mod counters;
mod disk;
mod groups;
mod measure;
mod nodes;
mod plan;
mod process;
mod raw;
mod sections;
mod streams;
mod table;

use plan::Plan;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, args @ ..] = args.as_slice()
        && first == child::CHILD
    {
        return child::run(args).await;
    }
    let plan = Plan::parse(args)?;
    streams::run(&plan).await?;
    let groups = groups::run(&plan).await;
    collections::run(&plan).await.and(groups)
}
