//! What an insert costs the wire, beside what it has to bring to two followers.
//!
//! The figure is that of the loopback interface: it counts the headers of all layers, what followers send back, and
//! whatever else talks on this machine. The last can only add to it, so the least of several rounds counts.

use super::{
    kind::{Hashed, KEY, SIZE},
    stores::Stores,
};
use crate::{
    nodes::{MEMBERS, Nodes},
    plan::Plan,
    process,
    table::{Figure, Row},
};

const IN_FLIGHT: usize = 64;
/// Entries of a round at most, for the sake of memory.
const MOST: u64 = 500_000;

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let nodes = Nodes::start(None).await?;
    let mut stores: Stores<Hashed> = Stores::start(&nodes).await?;
    let mut least = f64::INFINITY;
    for _ in 0..plan.rounds() {
        let writer = stores.leader()?;
        let before = process::loopback()?;
        let load = stores.insert(&writer, IN_FLIGHT, plan.span(), MOST).await?;
        let bytes = process::loopback()?.saturating_sub(before);
        least = least.min(bytes as f64 / load.done as f64);
        stores.check().await?;
        stores.clear().await?;
    }
    let payload = ((MEMBERS - 1) * (KEY + SIZE)) as f64;
    Row {
        case: "bytes on loopback, an insert, 64 in flight",
        reference: Some(("two payloads", Figure::Size(payload))),
        ours: Figure::Size(least),
        target: None,
    }
    .print();
    nodes.stop().await;
    Ok(())
}
