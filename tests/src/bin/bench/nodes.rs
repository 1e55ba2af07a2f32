//! Three nodes, and groups of them.

use std::path::Path;

use anyhow::Context as _;
use futures::future::join_all;
use mosaik::{
    Group, Network,
    groups::{Durability, StateMachine},
};
use mosaik_tests::{DEADLINE, loopback, unique};

/// How many there are.
pub(crate) const MEMBERS: usize = 3;

/// Nodes of this process that know each other.
#[derive(Debug)]
pub(crate) struct Nodes {
    name: String,
    networks: Vec<Network>,
}

impl Nodes {
    /// Starts three, with a folder each in `dir` if there is one.
    pub(crate) async fn start(dir: Option<&Path>) -> anyhow::Result<Self> {
        let mut nodes = Self {
            name: unique("bench"),
            networks: vec![],
        };
        for n in 0..MEMBERS {
            let dir = dir.map(|dir| dir.join(n.to_string()));
            let network = nodes.build(dir.as_deref()).await?;
            nodes.networks.push(network);
        }
        Ok(nodes)
    }

    /// Builds one more, which knows the first and is none of these.
    pub(crate) async fn build(&self, dir: Option<&Path>) -> anyhow::Result<Network> {
        let first = self.networks.first().map(|first| first.local().addr());
        let mut builder = loopback(&self.name).bootstrap(first);
        if let Some(dir) = dir {
            builder = builder.data_dir(dir);
        }
        Ok(builder.build().await?)
    }

    /// Makes a group of the three; all are online when this returns.
    pub(crate) async fn join<M: StateMachine>(
        &self,
        group: &str,
        durable: Durability,
    ) -> anyhow::Result<Vec<Group<M>>> {
        let join = |network: &Network| {
            let builder = network.groups().builder(group);
            builder.founders(MEMBERS).durable(durable).join()
        };
        let groups: Vec<Group<M>> = self.networks.iter().map(join).collect();
        for group in &groups {
            online(group).await?;
        }
        Ok(groups)
    }

    /// The name of their network.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The nodes.
    pub(crate) fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// Shuts all down, at once.
    pub(crate) async fn stop(self) {
        join_all(self.networks.iter().map(Network::shutdown)).await;
    }
}

/// Waits until commands can be applied.
pub(crate) async fn online<M: StateMachine>(group: &Group<M>) -> anyhow::Result<()> {
    let online = tokio::time::timeout(DEADLINE, group.when().online()).await;
    online.with_context(|| format!("not online: {}", group.explain()))
}
