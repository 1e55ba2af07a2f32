//! `mosaik beacon`: a peer to start from, for any application of a network.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Context as _;
use futures::future::join_all;

use super::{args::Beacon, node, output::Output, run::End, signal::Interrupt};
use crate::{network::Network, rt};

/// How often the address is looked for until there is one.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(args: Beacon, interrupt: &Interrupt) -> anyhow::Result<End> {
    let mut networks = Vec::new();
    let served = tokio::select! {
        biased;
        () = interrupt.raised() => Ok(()),
        served = serve(&args, &mut networks) => served,
    };
    join_all(networks.iter().map(Network::shutdown)).await;
    served.map(|()| End::Done)
}

/// Serves all networks for ever.
async fn serve(args: &Beacon, networks: &mut Vec<Network>) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    let names = args.networks.iter().filter(|name| seen.insert(*name));
    let names: Vec<_> = names.collect();
    for (index, name) in names.iter().enumerate() {
        let index = u16::try_from(index).context("too many networks")?;
        let mut builder = node::builder(name, &args.node, index)?;
        if let Some(dir) = &args.data_dir {
            builder = match names.len() {
                1 => builder.data_dir(dir),
                _ => builder.data_dir(dir.join(folder(name))),
            };
        }
        let network = builder.build().await;
        networks.push(network.with_context(|| format!("cannot serve network `{name}`"))?);
    }
    let mut tickets = Vec::new();
    for (name, network) in names.iter().zip(&*networks) {
        addressed(network).await;
        let ticket = network.local().ticket();
        tickets.push(match names.len() {
            1 => ticket.to_string(),
            _ => format!("{name} {ticket}"),
        });
    }
    let mut out = Output::new();
    // Whoever closes the pipe has read enough; the beacon serves on.
    let _ = out.line(tickets.join("\n").as_bytes())?;
    let _ = out.flush()?;
    std::future::pending().await
}

/// The folder of one network among several: a directory belongs to one. Not the network's id, nor the public
/// digest of it.
fn folder(name: &str) -> String {
    let digest = blake3::derive_key("mosaik/beacon/folder/1", name.as_bytes());
    data_encoding::HEXLOWER.encode(&digest[..16])
}

/// Completes once the node knows an address of itself.
async fn addressed(network: &Network) {
    let known = async {
        while network.local().addr().is_empty() {
            rt::sleep(LOOK).await;
        }
    };
    node::wait(network, "an address of this node", known).await;
}
