//! The node that a command runs.

use std::{fmt, net::SocketAddr, time::Duration};

use anyhow::Context as _;

use super::{args::Node, output::note, run::End, signal::Interrupt};
use crate::{
    network::{Builder, Network},
    rt,
};

/// How long a wait lasts before it is explained.
const PATIENCE: Duration = Duration::from_secs(4);

/// The node's options. It is the `index`-th of the command's nodes, and its ports are as much higher.
pub(super) fn builder(network: &str, node: &Node, index: u16) -> anyhow::Result<Builder> {
    let mut builder = Network::builder(network)
        .bootstrap(node.bootstrap())
        .tags(&node.tags);
    for addr in &node.bind {
        builder = builder.bind(nth(*addr, index)?);
    }
    if let Some(secret) = &node.shared_secret {
        builder = builder.shared_secret(secret);
    }
    if let Some(key) = &node.secret_key {
        builder = builder.secret_key(key.clone());
    }
    for ticket in &node.access_tickets {
        builder = builder.access_ticket(ticket.clone());
    }
    if node.offline {
        builder = builder.offline();
    }
    Ok(builder)
}

fn nth(mut addr: SocketAddr, index: u16) -> anyhow::Result<SocketAddr> {
    if addr.port() != 0 {
        let port = addr.port().checked_add(index);
        let port = port.ok_or_else(|| anyhow::anyhow!("no port is left above {addr}"))?;
        addr.set_port(port);
    }
    Ok(addr)
}

/// Starts a node, does the work, and shuts the node down, also when the work fails or is interrupted.
pub(super) async fn with<F>(
    builder: Builder,
    interrupt: &Interrupt,
    work: impl FnOnce(Network) -> F,
) -> anyhow::Result<End>
where
    F: Future<Output = anyhow::Result<End>>,
{
    let network = builder.build().await.context("cannot start a node")?;
    let end = tokio::select! {
        biased;
        () = interrupt.raised() => Ok(End::Interrupted),
        end = work(network.clone()) => end,
    };
    network.shutdown().await;
    end
}

/// Waits for a condition; says so, and after a while what is in the way.
pub(super) async fn wait(
    network: &Network,
    what: impl fmt::Display,
    condition: impl Future<Output = ()>,
) {
    let explain = async {
        note(format_args!("waiting for {what}"));
        rt::sleep(PATIENCE).await;
        note(format_args!(
            "still waiting for {what}\n{}",
            network.explain()
        ));
        std::future::pending().await
    };
    tokio::select! {
        biased;
        () = condition => {}
        () = explain => {}
    }
}
