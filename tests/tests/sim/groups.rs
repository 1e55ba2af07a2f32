//! Groups under faults: every history is linearizable, every acknowledged command is applied exactly once, and
//! all is well again after the last fault.

use std::{cell::Cell, time::Duration};

use mosaik::sim::{Campaign, Nemesis};
use mosaik_tests::groups::{Plan, Seen, run};

/// Runs a campaign, in which something must have happened.
fn campaign(first: u64, seeds: u64, hosts: usize, plan: Plan, nemesis: Nemesis) {
    let all = Cell::new(Seen::default());
    let campaign = Campaign::new(hosts)
        .seeds(first..first + seeds)
        .nemesis(nemesis);
    let seeds = campaign.run(|world, schedule| {
        let seen = run(world, schedule, plan);
        all.set(all.get().and(seen));
    });
    let seen = all.get();
    println!("{seeds} seeds: {seen:?}");
    assert!(
        seen.acknowledged > seeds && seen.queries > seeds,
        "{seen:?}"
    );
}

#[test]
fn durable_groups_survive_crashes_of_all() {
    let plan = Plan {
        writers: 3,
        observers: 1,
        founders: 3,
        durable: true,
    };
    let nemesis = Nemesis {
        crash: 6,
        ..Nemesis::default()
    };
    campaign(0, 40, 4, plan, nemesis);
}

#[test]
fn volatile_groups_survive_partitions_and_pauses() {
    let plan = Plan {
        writers: 5,
        observers: 1,
        founders: 3,
        durable: false,
    };
    let nemesis = Nemesis {
        crash: 0,
        ..Nemesis::default()
    };
    campaign(1000, 40, 6, plan, nemesis);
}

#[test]
fn volatile_groups_survive_crashes_of_one_at_a_time() {
    let plan = Plan {
        writers: 3,
        observers: 0,
        founders: 3,
        durable: false,
    };
    let nemesis = Nemesis {
        partition: 0,
        one_way: 0,
        degrade: 1,
        pause: 0,
        crash: 4,
        every: Duration::from_secs(60),
        longest: Duration::from_secs(5),
        duration: Duration::from_secs(240),
        ..Nemesis::default()
    };
    campaign(2000, 20, 3, plan, nemesis);
}

#[test]
fn two_members_and_seven_survive_too() {
    for (seed, writers, founders) in [(3000, 2, 2), (3100, 7, 3)] {
        let plan = Plan {
            writers,
            observers: 0,
            founders,
            durable: true,
        };
        campaign(seed, 5, writers, plan, Nemesis::default());
    }
}
