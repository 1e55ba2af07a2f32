//! Groups that rest while there is nothing to do, and what wakes them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mosaik::{
    Group,
    sim::{Host, World},
};
use mosaik_tests::{groups::rests, machines::Counter};

type Groups = Arc<Mutex<BTreeMap<String, Group<Counter>>>>;

/// How long something may take in a world in which nothing else happens.
const SOON: Duration = Duration::from_secs(30);

/// Three members of one group, each in a process of its own.
struct Trio {
    world: World,
    hosts: Vec<Host>,
    groups: Groups,
}

impl Trio {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        world.set_limit(Duration::from_secs(600));
        Self {
            hosts: world.make_hosts(3),
            groups: Groups::default(),
            world,
        }
    }

    fn start(&self) {
        for host in &self.hosts {
            let (world, groups) = (self.world.clone(), self.groups.clone());
            host.start(move |host| {
                let (world, groups) = (world.clone(), groups.clone());
                async move {
                    let network = host.builder("rest", &world.hosts()).build().await;
                    let network = network.unwrap();
                    let group = network.groups().builder::<Counter>("idle");
                    let group = group.founders(3).join();
                    let name = host.name().to_owned();
                    groups.lock().unwrap().insert(name, group);
                    std::future::pending::<()>().await;
                }
            });
        }
    }

    fn group(&self, host: &Host) -> Option<Group<Counter>> {
        self.groups.lock().unwrap().get(host.name()).cloned()
    }

    /// Waits until something holds.
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let began = self.world.elapsed();
        while !holds(self) {
            let explain = || {
                let groups = self.groups.lock().unwrap();
                let texts = groups.values().map(|group| group.explain().to_string());
                texts.collect::<String>()
            };
            let late = self.world.elapsed() - began > SOON;
            assert!(!late, "not {what}: {}", explain());
            self.world.sleep(Duration::from_millis(1)).await;
        }
        self.world.elapsed() - began
    }

    fn all(&self, holds: impl Fn(&Group<Counter>) -> bool) -> bool {
        let up = self.hosts.iter().filter(|host| host.is_up());
        up.map(|host| self.group(host))
            .all(|group| group.is_some_and(|group| holds(&group)))
    }

    async fn rested(&self) {
        self.until("at rest", |trio| trio.all(rests)).await;
    }

    /// Who leads, as all see it.
    fn leader(&self) -> usize {
        let leads = |host: &Host| {
            let group = self.group(host).unwrap();
            group.leader() == Some(host.peer())
        };
        self.hosts.iter().position(leads).expect("a leader")
    }
}

#[test]
fn a_group_with_nothing_to_do_rests_until_there_is() {
    let trio = Trio::new(1);
    trio.world.run(async {
        trio.start();
        trio.rested().await;
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
            trio.rested().await;
            let began = trio.world.elapsed();
            group.query(()).await.unwrap();
            let took = trio.world.elapsed() - began;
            assert!(took < Duration::from_millis(50), "{took:?}");
            trio.rested().await;
        }
        assert_eq!(trio.leader(), leader);
    });
}

#[test]
fn the_crash_of_a_resting_leader_is_noticed() {
    let trio = Trio::new(2);
    trio.world.run(async {
        trio.start();
        trio.rested().await;
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
    let trio = Trio::new(3);
    trio.world.run(async {
        trio.start();
        trio.rested().await;
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
    let trio = Trio::new(4);
    trio.world.run(async {
        trio.start();
        trio.rested().await;
        let old = trio.leader();
        let paused = &trio.hosts[old];
        paused.pause();
        let other = trio.group(&trio.hosts[(old + 1) % 3]).unwrap();
        let led = |trio: &Trio| {
            let group = trio.group(&trio.hosts[(old + 1) % 3]).unwrap();
            group.leader().is_some_and(|leader| leader != paused.peer())
        };
        let took = trio.until("led by another", led).await;
        assert!(took < Duration::from_millis(1500), "{took:?}");
        other.execute(2).await.unwrap();
        paused.resume();
        let group = trio.group(paused).unwrap();
        assert_eq!(group.query(()).await.unwrap(), 2);
        trio.rested().await;
    });
}
