//! What a child does for groups: it is a member that is killed, a process of idle groups, or one whose memory counts.

use mosaik_tests::loopback;

use super::{fail_over, idle, memory, restart};
use crate::{
    child::{build, line},
    nodes::online,
};

/// `MEMBER NETWORK TICKET`: takes part in the group that counts until it is killed.
pub(super) const MEMBER: &str = "member";
/// `IDLE NETWORK COUNT FOUNDERS TICKET…`: takes part in idle groups until its input ends.
pub(super) const IDLE: &str = "idle";
/// `RESTART NETWORK DIR TICKET…`: takes part in the group that weighs, from a data directory, until it is killed.
pub(super) const RESTART: &str = "restart";
/// `MEMORY COMMANDS`: counts so far with three nodes, and says how much memory that has taken.
pub(super) const MEMORY: &str = "memory";

/// Does what a child is told.
pub(crate) async fn child(args: &[String]) -> anyhow::Result<()> {
    match args {
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
