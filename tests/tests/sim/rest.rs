//! Groups that rest while there is nothing to do, and what wakes them.

use std::time::Duration;

use mosaik::Group;
use mosaik_tests::{groups::rests, machines::Counter};

use crate::trio::Trio;

async fn rested(trio: &Trio<Counter>) {
    trio.until("at rest", |trio| trio.all(rests)).await;
}

#[test]
fn a_group_with_nothing_to_do_rests_until_there_is() {
    let trio = Trio::<Counter>::new(1);
    trio.world.run(async {
        trio.start();
        rested(&trio).await;
        let leader = trio.leader();
        trio.world.sleep(Duration::from_secs(60)).await;
        assert!(trio.all(|group| rests(group) && group.is_online()));
        // Whoever asks: the leader, then another.
        for n in [leader, (leader + 1) % 3] {
            let group = trio.group(&trio.hosts[n]).unwrap();
            let began = trio.world.elapsed();
            group.execute(1).await.unwrap();
            let took = trio.world.elapsed() - began;
            assert!(took < Duration::from_millis(50), "{took:?}");
            rested(&trio).await;
            let began = trio.world.elapsed();
            group.query(()).await.unwrap();
            let took = trio.world.elapsed() - began;
            assert!(took < Duration::from_millis(50), "{took:?}");
            rested(&trio).await;
        }
        assert_eq!(trio.leader(), leader);
    });
}

#[test]
fn the_crash_of_a_resting_leader_is_noticed() {
    let trio = Trio::<Counter>::new(2);
    trio.world.run(async {
        trio.start();
        rested(&trio).await;
        let old = trio.leader();
        let gone = trio.hosts[old].peer();
        trio.hosts[old].crash().await;
        let changed = |group: &Group<Counter>| {
            group.is_online() && group.leader().is_some_and(|leader| leader != gone)
        };
        let took = trio.until("led by another", |trio| trio.all(changed)).await;
        assert!(took < Duration::from_millis(1500), "{took:?}");
        let other = trio.group(&trio.hosts[(old + 1) % 3]).unwrap();
        other.execute(1).await.unwrap();
    });
}

#[test]
fn the_crash_of_a_resting_follower_is_noticed() {
    let trio = Trio::<Counter>::new(3);
    trio.world.run(async {
        trio.start();
        rested(&trio).await;
        let leader = trio.leader();
        trio.hosts[(leader + 1) % 3].crash().await;
        trio.until("awake", |trio| trio.all(|group| !rests(group)))
            .await;
        let group = trio.group(&trio.hosts[leader]).unwrap();
        group.execute(1).await.unwrap();
        assert_eq!(trio.leader(), leader);
        // One that is missing keeps the others awake.
        trio.world.sleep(Duration::from_secs(10)).await;
        assert!(trio.all(|group| !rests(group)));
    });
}

#[test]
fn a_leader_that_stood_still_while_it_rested_follows_the_next() {
    let trio = Trio::<Counter>::new(4);
    trio.world.run(async {
        trio.start();
        rested(&trio).await;
        let old = trio.leader();
        let paused = &trio.hosts[old];
        paused.pause();
        let other = trio.group(&trio.hosts[(old + 1) % 3]).unwrap();
        let led = |trio: &Trio<Counter>| {
            let group = trio.group(&trio.hosts[(old + 1) % 3]).unwrap();
            group.leader().is_some_and(|leader| leader != paused.peer())
        };
        let took = trio.until("led by another", led).await;
        assert!(took < Duration::from_millis(1500), "{took:?}");
        other.execute(2).await.unwrap();
        paused.resume();
        let group = trio.group(paused).unwrap();
        assert_eq!(group.query(()).await.unwrap(), 2);
        rested(&trio).await;
    });
}
