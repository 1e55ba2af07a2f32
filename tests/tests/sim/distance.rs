//! Groups whose members are far from each other, with default options.

use std::time::Duration;

use mosaik::{
    Group,
    sim::{Conditions, World},
};
use mosaik_tests::machines::Counter;

use crate::trio::Trio;

fn set_latency(world: &World, latency: Duration) {
    world.set_conditions(Conditions {
        latency,
        ..Conditions::default()
    });
}

fn terms(trio: &Trio<Counter>) -> Vec<String> {
    let explained = trio
        .hosts
        .iter()
        .map(|host| trio.group(host).unwrap().explain().to_string());
    let term = |text: String| {
        let line = text
            .lines()
            .find(|line| line.contains("leader: "))
            .map(str::to_owned);
        line.unwrap_or(text)
    };
    explained.map(term).collect()
}

/// A vote across an ocean takes longer than the members of one site wait for it.
#[test]
fn a_group_across_an_ocean_forms_and_keeps_its_leader() {
    let trio = Trio::<Counter>::new(1);
    trio.world.run(async {
        set_latency(&trio.world, Duration::from_millis(90));
        trio.start();
        trio.until("online", |trio| trio.all(Group::is_online))
            .await;
        let leader = trio.leader();
        let group = trio.group(&trio.hosts[leader]).unwrap();
        // Two of the others may be 360 ms from each other and back.
        let text = group.explain().to_string();
        let timing = "timing: a heartbeat every 1.08s, elections after 3.24s to 5.4s";
        assert!(text.contains(timing), "{text}");
        let before = terms(&trio);
        for pause in [1, 20, 60] {
            trio.world.sleep(Duration::from_secs(pause)).await;
            for host in &trio.hosts {
                trio.group(host).unwrap().execute(1).await.unwrap();
            }
        }
        assert_eq!(terms(&trio), before);
        // It is noticed all the same when the leader is gone.
        let gone = trio.hosts[leader].peer();
        trio.hosts[leader].crash().await;
        let changed = |group: &Group<Counter>| {
            group.is_online() && group.leader().is_some_and(|leader| leader != gone)
        };
        let took = trio.until("led by another", |trio| trio.all(changed)).await;
        assert!(took < Duration::from_secs(20), "{took:?}");
        let other = trio.group(&trio.hosts[(leader + 1) % 3]).unwrap();
        assert_eq!(other.query(()).await.unwrap(), 9);
    });
}

#[test]
fn a_group_of_one_site_says_nothing_of_its_timing() {
    let trio = Trio::<Counter>::new(2);
    trio.world.run(async {
        trio.start();
        trio.until("online", |trio| trio.all(Group::is_online))
            .await;
        let group = trio.group(&trio.hosts[trio.leader()]).unwrap();
        let text = group.explain().to_string();
        assert!(!text.contains("timing"), "{text}");
    });
}
