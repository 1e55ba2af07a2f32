//! Leaders whose followers answer late, as their disks are slow.

use std::{cell::Cell, time::Duration};

use futures::future::join_all;
use mosaik::sim::World;

use crate::rollback::{founded, leader};

/// An answer waits for one sync or two: longer than the 250 ms for which a leader's word holds, and longer than it
/// takes to be taken for one that nobody hears. Whoever is there is heard all the same.
#[test]
fn a_leader_whose_followers_sync_slowly_stays_one_and_goes_on() {
    for (seed, millis) in [(0, 200), (1, 400), (2, 900)] {
        let sync = Duration::from_millis(millis);
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let groups = founded(&world, &hosts).await;
            let leads = leader(&hosts, &groups);
            let peer = hosts[leads].peer();
            for (at, host) in hosts.iter().enumerate() {
                if at != leads {
                    host.disk().set_sync_latency(sync);
                }
            }
            let (slowest_command, slowest_query) = (Cell::default(), Cell::default());
            let end = world.elapsed() + Duration::from_secs(20);
            let took = |slowest: &Cell<Duration>, began| {
                slowest.set(slowest.get().max(world.elapsed() - began));
            };
            let client = |at: usize| {
                let (group, world, slowest) = (groups[at % 3].clone(), &world, &slowest_command);
                async move {
                    while world.elapsed() < end {
                        let began = world.elapsed();
                        group.execute(1).await.unwrap();
                        took(slowest, began);
                    }
                }
            };
            let reader = async {
                while world.elapsed() < end {
                    let began = world.elapsed();
                    groups[leads].query(()).await.unwrap();
                    took(&slowest_query, began);
                    world.sleep(Duration::from_millis(7)).await;
                }
            };
            let watcher = async {
                while world.elapsed() < end {
                    for group in &groups {
                        assert_eq!(group.leader(), Some(peer), "seed {seed}");
                    }
                    world.sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::join!(join_all((0..9).map(client)), reader, watcher);
            // Each waits for a few syncs at most, and never for a leader.
            let slowest = slowest_command.get().max(slowest_query.get());
            assert!(slowest < sync * 6, "seed {seed}: {slowest:?}");
        });
    }
}
