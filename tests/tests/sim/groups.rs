//! Groups under faults: every history is linearizable, every acknowledged command is applied exactly once, and
//! all is well again after the last fault.

use std::time::Duration;

use mosaik::{Group, sim::World};
use mosaik_tests::{
    groups::{campaign, followers, kinds},
    machines::Counter,
    simulated, within,
};

/// Runs `seeds` seeds of a kind, in which something must have happened.
fn survive(name: &str, first: u64, seeds: u64) {
    let kinds = kinds();
    let kind = kinds.iter().find(|kind| kind.name == name).unwrap();
    let (seeds, seen) = campaign(kind, first..first + seeds);
    println!("{name}: {seeds} seeds, {seen:?}");
    assert!(seen.acknowledged > seeds && seen.queries > 0, "{seen:?}");
}

#[test]
fn durable_groups_survive_crashes_of_all() {
    survive("durable, 3 and an observer", 0, 50);
}

#[test]
fn volatile_groups_survive_partitions_and_pauses() {
    survive("volatile, 5 and an observer", 1000, 20);
}

#[test]
fn volatile_groups_survive_the_crash_of_one() {
    survive("volatile, 3, a crash", 2000, 20);
}

#[test]
fn durable_groups_survive_bad_disks() {
    survive("durable, 3, bad disks", 3000, 35);
}

/// A leader whose storage failed and was opened anew leads again as the same member. Who never saw another went on
/// sending its commands on a stream that a stopped replica answered: always that it is stopped.
#[test]
fn who_forwards_commands_finds_the_leader_that_opened_its_log_anew() {
    survive("durable, 3, bad disks", 2_003_635, 1);
}

#[test]
fn durable_groups_that_rest_survive_crashes() {
    survive("lazy, 3", 7000, 25);
}

#[test]
fn volatile_groups_that_rest_survive_partitions_and_pauses() {
    survive("lazy, volatile, 5", 8000, 12);
}

#[test]
fn groups_across_an_ocean_survive_crashes() {
    survive("far, durable, 3", 9000, 10);
}

#[test]
fn two_members_survive_crashes() {
    survive("durable, 2", 4000, 35);
}

#[test]
fn seven_members_survive_crashes() {
    survive("durable, 7", 5000, 6);
}

#[test]
fn one_founder_survives_crashes() {
    survive("durable, 1", 6000, 15);
}

#[test]
fn clients_survive_crashes_of_whoever_serves_them() {
    survive("durable, 3, and clients", 10_000, 10);
}

#[test]
fn clients_of_groups_that_rest_survive_partitions_and_pauses() {
    survive("lazy, volatile, 5, and clients", 11_000, 4);
}

#[test]
fn followers_see_everything_and_find_another_to_follow() {
    let (before, after) = followers(20);
    println!("seen by 20 followers within {before:?}, within {after:?} after a crash");
    assert!(before < Duration::from_secs(1), "{before:?}");
    assert!(after < Duration::from_secs(10), "{after:?}");
}

#[test]
fn who_follows_hears_that_the_quorum_is_lost() {
    let world = World::new(11);
    world.run(async {
        let hosts = world.make_hosts(3);
        let mut networks = Vec::new();
        let mut groups: Vec<Group<Counter>> = Vec::new();
        for (n, host) in hosts.iter().enumerate() {
            let network = simulated(&world, host).await;
            let builder = network.groups().builder("counter").founders(2);
            groups.push(if n < 2 {
                builder.join()
            } else {
                builder.observe()
            });
            networks.push(network);
        }
        let observer = &groups[2];
        within(observer.when().online()).await;
        assert_eq!(within(observer.execute(1)).await.unwrap(), 1);
        // It reaches both, and they do not reach each other.
        world.cut(&hosts[0], &hosts[1]);
        within(observer.when().offline()).await;
        let lacks = || {
            let explanation = observer.explain().to_string();
            explanation.contains("1 of the 2 voters needed are connected")
        };
        let told = async {
            while !lacks() {
                world.sleep(Duration::from_millis(100)).await;
            }
        };
        within(told).await;
        world.sleep(Duration::from_secs(30)).await;
        assert!(!observer.is_online());
        world.heal(&hosts[0], &hosts[1]);
        within(observer.when().online()).await;
        assert_eq!(within(observer.execute(1)).await.unwrap(), 2);
    });
}
