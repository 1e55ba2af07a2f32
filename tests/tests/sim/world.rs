//! The world itself: time, chance, crashes, disks, and that a seed gives the same run twice.

use std::time::{Duration, Instant};

use mosaik::{
    Topic as _,
    sim::{Conditions, World},
};
use mosaik_tests::{simulated, within};

/// A numbered datum.
#[mosaik::stream(name = "sim.count")]
struct Count(u64);

/// Three nodes, a producer and two consumers, and a node that crashes; returns the digest of the run.
fn busy(seed: u64) -> String {
    let world = World::new(seed);
    world.set_conditions(Conditions::bad());
    world.run(async {
        let hosts = world.make_hosts(4);
        let mut networks = Vec::new();
        for host in &hosts {
            networks.push(simulated(&world, host).await);
        }
        let producer = Count::producer(&networks[0]);
        let mut one = Count::consumer(&networks[1]);
        let mut two = Count::consumer(&networks[2]);
        within(producer.when().subscribed().at_least(2)).await;
        hosts[3].crash().await;
        for value in 0..100 {
            producer.send(Count(value)).await.unwrap();
            assert_eq!(within(one.next()).await.unwrap().0, value);
            assert_eq!(within(two.next()).await.unwrap().0, value);
        }
        world.sleep(Duration::from_secs(20)).await;
        assert_eq!(networks[0].discovery().catalog().len(), 2);
        for network in &networks[..3] {
            network.shutdown().await;
        }
    });
    world.digest()
}

#[test]
fn a_seed_gives_the_same_run_twice_and_another_another() {
    let mut digests = Vec::new();
    for seed in 0..5 {
        let first = busy(seed);
        assert_eq!(first, busy(seed), "seed {seed}");
        digests.push(first);
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 5);
}

#[test]
fn an_idle_minute_takes_a_moment() {
    let world = World::new(1);
    let began = Instant::now();
    world.run(async {
        let mut networks = Vec::new();
        for host in world.make_hosts(5) {
            networks.push(simulated(&world, &host).await);
        }
        let mut catalog = networks[4].discovery().watch();
        within(async { while catalog.next().await.unwrap().len() < 4 {} }).await;
        world.sleep(Duration::from_secs(60)).await;
    });
    let took = began.elapsed();
    println!("{:?} of virtual time in {took:?}", world.elapsed());
    assert!(world.elapsed() >= Duration::from_secs(60));
    // Far above what it takes, on a loaded machine.
    assert!(took < Duration::from_secs(20), "{took:?}");
}
