//! Collections on several nodes of loopback.

mod exchange;
mod handles;
mod lives;
mod load;
mod locks;
mod transactions;

use mosaik::Network;
use mosaik_tests::node;

/// Three nodes, of which the later know the first.
async fn three(name: &str) -> [Network; 3] {
    let first = node(name, &[]).await;
    let second = node(name, &[&first]).await;
    let third = node(name, &[&first]).await;
    [first, second, third]
}
