//! What the test suites share: nodes that keep to themselves, deadlines, child processes.

pub mod bank;
mod child;
pub mod groups;
pub mod machines;
pub mod transfers;
pub mod upgrade;

/// The page of the book whose examples need the feature `sim`.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../book/src/simulation.md")]
    mod simulation {}
}

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

pub use child::Child;
use mosaik::{
    Builder, Network,
    sim::{Host, World},
};

/// Far above what any step takes, even on a busy machine: a step that takes longer hangs.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A network name that no other test of this machine uses.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{name} {} {number}", std::process::id())
}

/// Options of a node on loopback that finds only the peers it is given.
pub fn loopback(network: &str) -> Builder {
    Network::builder(network)
        .offline()
        .local_rendezvous(false)
        .bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
}

/// A node on loopback, with `peers` to start from.
///
/// # Panics
/// When it cannot be built.
pub async fn node(network: &str, peers: &[&Network]) -> Network {
    let peers = peers.iter().map(|peer| peer.local().addr());
    let built = loopback(network).bootstrap(peers).build().await;
    built.expect("a node on loopback")
}

/// A node on a simulated host, which knows where all hosts of the world are.
///
/// # Panics
/// When it cannot be built.
pub async fn simulated(world: &World, host: &Host) -> Network {
    let built = host.run(host.builder("simulated", &world.hosts()).build());
    let built = built.await.expect("a host that does not crash");
    built.expect("a node on a simulated host")
}

/// The outcome of `future`, which must be there within [`DEADLINE`].
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(output) => output,
            Err(_) => panic!("{caller}: took longer than {DEADLINE:?}"),
        }
    }
}
