//! This program once more, as a child: a member that is killed, a process of idle groups, or one whose memory counts.

use mosaik::Network;
use mosaik_tests::loopback;

use super::{cluster::online, fail_over, idle, memory, restart};

/// The first argument of a child.
pub(crate) const CHILD: &str = "--child";
/// `MEMBER NETWORK TICKET`: takes part in the group that counts until it is killed.
pub(super) const MEMBER: &str = "member";
/// `IDLE NETWORK COUNT FOUNDERS TICKET…`: takes part in idle groups until its input ends.
pub(super) const IDLE: &str = "idle";
/// `RESTART NETWORK DIR TICKET…`: takes part in the group that weighs, from a data directory, until it is killed.
pub(super) const RESTART: &str = "restart";
/// `MEMORY COMMANDS`: counts so far with three nodes, and says how much memory that has taken.
pub(super) const MEMORY: &str = "memory";

/// Does what a child is told.
pub(crate) async fn child(args: Vec<String>) -> anyhow::Result<()> {
    match args.as_slice() {
        [role, name, bootstrap @ ..] if role == MEMBER => {
            let network = build(name, bootstrap).await?;
            let group = fail_over::join(&network);
            online(&group).await?;
            println!("online {}", network.local().id());
            while line().await?.is_some() {}
            network.shutdown().await;
        }
        [role, name, count, founders, bootstrap @ ..] if role == IDLE => {
            let network = build(name, bootstrap).await?;
            println!("ticket {}", network.local().ticket());
            idle::take_part(&network, count.parse()?, founders.parse()?).await?;
            network.shutdown().await;
        }
        [role, name, dir, bootstrap @ ..] if role == RESTART => {
            let builder = loopback(name).bootstrap(bootstrap).data_dir(dir);
            let network = builder.build().await?;
            restart::take_part(&network).await?;
            network.shutdown().await;
        }
        [role, commands] if role == MEMORY => memory::count(commands.parse()?).await?,
        other => anyhow::bail!("a child cannot do {other:?}"),
    }
    Ok(())
}

async fn build(name: &str, bootstrap: &[String]) -> anyhow::Result<Network> {
    Ok(loopback(name).bootstrap(bootstrap).build().await?)
}

/// The next line that the parent writes; none once it is gone.
pub(super) async fn line() -> anyhow::Result<Option<String>> {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose());
    Ok(line.await??)
}
