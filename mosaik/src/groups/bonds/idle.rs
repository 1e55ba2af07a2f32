//! Ends connections that nobody uses any more. Members keep theirs; those that were opened for clients and operators
//! would stay open for ever.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tracing::debug;

use super::Bonds;
use crate::{id::PeerId, rt, transport::CloseCode};

/// How often it is looked for connections that nobody uses. One that was not used in between is closed.
const LOOK: Duration = Duration::from_secs(30);

/// How a connection is used by others than members. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    active: AtomicUsize,
}

impl Uses {
    /// Something begins to use it, until what is returned is dropped.
    pub(super) fn begin(&self) -> Use {
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        self.0.active.fetch_add(1, Ordering::AcqRel);
        Use(self.0.clone())
    }

    /// How often something has begun to use it, if nothing does now.
    pub(super) fn idle(&self) -> Option<u64> {
        let begun = self.0.begun.load(Ordering::Acquire);
        (self.0.active.load(Ordering::Acquire) == 0).then_some(begun)
    }
}

/// Keeps a connection open.
#[derive(Debug)]
pub(super) struct Use(Arc<Counts>);

impl Drop for Use {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Closes what this node has dialed for clients and operators once they have gone, as long as the network. What
/// another has dialed is that one's to close: it may want to keep it.
pub(super) async fn run(bonds: Bonds) {
    let mut before = BTreeMap::new();
    loop {
        rt::sleep(LOOK).await;
        before = look(&bonds, &before);
    }
}

/// A connection, and how often it had been used.
type Seen = (u64, u64);

/// Closes the connections that are as they were before; returns the others that are not in use.
fn look(bonds: &Bonds, before: &BTreeMap<PeerId, Seen>) -> BTreeMap<PeerId, Seen> {
    let mut idle = BTreeMap::new();
    for line in bonds.unshared() {
        let peer = line.connection.peer();
        let Some(begun) = line.uses.idle().filter(|_| line.connection.dialed()) else {
            continue;
        };
        let seen = (line.connection.stable_id(), begun);
        if before.get(&peer) == Some(&seen) {
            debug!(peer = %peer.short(), "nobody uses a connection any more");
            line.connection.close(CloseCode::Done, "not used any more");
        } else {
            idle.insert(peer, seen);
        }
    }
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Network,
        groups::follow::tests::Nothing,
        sim::{Host, World},
    };

    async fn node(world: &World, host: &Host) -> Network {
        let network = host.run(host.builder("idle", &world.hosts()).build()).await;
        network.unwrap().unwrap()
    }

    fn lines(network: &Network) -> usize {
        network.groups().bonds().lines().len()
    }

    /// Looks so often that what nobody uses is closed, and nothing else; how many connections there are then.
    async fn looked(world: &World, network: &Network) -> usize {
        let bonds = network.groups().bonds();
        let mut before = BTreeMap::new();
        for _ in 0..5 {
            before = look(bonds, &before);
            world.sleep(Duration::from_secs(1)).await;
        }
        bonds.lines().len()
    }

    #[test]
    fn a_connection_of_clients_ends_after_the_last_of_them() {
        let world = World::new(1);
        world.run(async {
            let hosts = world.make_hosts(3);
            let member = node(&world, &hosts[0]).await;
            let other = node(&world, &hosts[1]).await;
            let clients = node(&world, &hosts[2]).await;
            for node in [&member, &other] {
                let group = node.groups().join::<Nothing>("g");
                group.when().online().await;
            }
            for _ in 0..2 {
                let client = clients.groups().connect::<Nothing>("g");
                client.execute(()).await.unwrap();
                // One that has nothing to say keeps its own.
                assert_eq!(looked(&world, &clients).await, 1);
                let second = clients.groups().connect::<Nothing>("g");
                second.execute(()).await.unwrap();
                drop(client);
                assert_eq!(looked(&world, &clients).await, 1);
                drop(second);
                assert_eq!(looked(&world, &clients).await, 0);
            }
            // Operators come and go, too.
            clients.groups().report("g").await.unwrap();
            assert_eq!(lines(&clients), 2);
            assert_eq!(looked(&world, &member).await, 2, "not its own to close");
            assert_eq!(looked(&world, &clients).await, 0);
            // Members keep what they have, and so does who becomes one.
            assert_eq!(looked(&world, &member).await, 1);
            assert_eq!(looked(&world, &other).await, 1);
            clients.groups().report("g").await.unwrap();
            let third = clients.groups().observe::<Nothing>("g");
            third.when().online().await;
            assert_eq!(looked(&world, &clients).await, 2);
        });
    }

    #[test]
    fn by_itself_it_takes_a_minute_at_most() {
        let world = World::new(1);
        world.run(async {
            let hosts = world.make_hosts(2);
            let member = node(&world, &hosts[0]).await;
            let operator = node(&world, &hosts[1]).await;
            let group = member.groups().join::<Nothing>("g");
            group.when().online().await;
            operator.groups().report("g").await.unwrap();
            assert_eq!(lines(&operator), 1);
            world.sleep(LOOK * 2 + Duration::from_secs(1)).await;
            assert_eq!([lines(&operator), lines(&member)], [0, 0]);
        });
    }
}
