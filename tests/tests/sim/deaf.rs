//! Leaders whom the others hear, and who hear nobody.

use std::time::Duration;

use futures::future::join_all;
use mosaik::{Group, sim::Conditions};
use mosaik_tests::machines::Counter;

use crate::trio::Trio;

/// Every entry that it sends says that it is there. It has to fall silent all the same, or nobody else ever stands.
#[test]
fn a_leader_that_hears_nobody_is_replaced_as_soon_as_one_that_is_gone() {
    for seed in 0..5 {
        let trio = Trio::<Counter>::new(seed);
        trio.world.run(async {
            // Far enough that what is under way takes about as long as a lease.
            trio.world.set_conditions(Conditions {
                latency: Duration::from_millis(30),
                ..Conditions::default()
            });
            trio.start();
            trio.until("online", |trio| trio.all(Group::is_online))
                .await;
            let deaf = trio.leader();
            let others: Vec<usize> = (0..3).filter(|host| *host != deaf).collect();
            for other in &others {
                trio.world
                    .cut_one_way(&trio.hosts[*other], &trio.hosts[deaf]);
            }
            let group = |host: usize| trio.group(&trio.hosts[host]).unwrap();
            // It has something to say all the while.
            let busy = async {
                let group = group(deaf);
                let client = |at: u64| {
                    let (group, world) = (group.clone(), &trio.world);
                    async move {
                        loop {
                            world.sleep(Duration::from_millis(at)).await;
                            drop(group.execute(1).await);
                        }
                    }
                };
                join_all((1..50).map(client)).await
            };
            let peer = trio.hosts[deaf].peer();
            let replaced = trio.until("led by another", |_| {
                let led = |host: &usize| group(*host).leader().is_some_and(|led| led != peer);
                others.iter().all(led)
            });
            let took = tokio::select! {
                biased;
                took = replaced => took,
                _ = busy => unreachable!("it goes on for ever"),
            };
            // A lease of 1.8 s until it falls silent, another until the others believe it, and an election.
            assert!(took < Duration::from_secs(6), "{took:?}");
            group(others[0]).execute(1).await.unwrap();
            trio.world.heal_all();
            trio.until("online", |trio| trio.all(Group::is_online))
                .await;
            group(deaf).execute(1).await.unwrap();
        });
    }
}
