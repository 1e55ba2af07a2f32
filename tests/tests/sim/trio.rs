//! Three members of one group, each on a host of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mosaik::{
    Group,
    groups::StateMachine,
    sim::{Host, World},
};

type Groups<M> = Arc<Mutex<BTreeMap<String, Group<M>>>>;

/// How long something may take in a world in which nothing else happens.
const SOON: Duration = Duration::from_secs(30);

/// Three members of one group with default options, but for three founders.
pub(crate) struct Trio<M: StateMachine> {
    pub(crate) world: World,
    pub(crate) hosts: Vec<Host>,
    groups: Groups<M>,
}

impl<M: StateMachine> Trio<M> {
    /// The world of this seed, in which they are not started yet.
    pub(crate) fn new(seed: u64) -> Self {
        let world = World::new(seed);
        world.set_limit(Duration::from_secs(600));
        Self {
            hosts: world.make_hosts(3),
            groups: Groups::default(),
            world,
        }
    }

    /// Starts all.
    pub(crate) fn start(&self) {
        for host in &self.hosts {
            let (world, groups) = (self.world.clone(), self.groups.clone());
            host.start(move |host| {
                let (world, groups) = (world.clone(), groups.clone());
                async move {
                    let network = host.builder("trio", &world.hosts()).build().await;
                    let network = network.unwrap();
                    let group = network.groups().builder::<M>("g");
                    let group = group.founders(3).join();
                    let name = host.name().to_owned();
                    groups.lock().unwrap().insert(name, group);
                    std::future::pending::<()>().await;
                }
            });
        }
    }

    /// The group on a host, once it has joined.
    pub(crate) fn group(&self, host: &Host) -> Option<Group<M>> {
        self.groups.lock().unwrap().get(host.name()).cloned()
    }

    /// Waits until something holds; how long that took.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
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

    /// Whether something holds wherever a host is up.
    pub(crate) fn all(&self, holds: impl Fn(&Group<M>) -> bool) -> bool {
        let up = self.hosts.iter().filter(|host| host.is_up());
        up.map(|host| self.group(host))
            .all(|group| group.is_some_and(|group| holds(&group)))
    }

    /// Who leads, as all see it.
    pub(crate) fn leader(&self) -> usize {
        let leads = |host: &Host| {
            let group = self.group(host).unwrap();
            group.leader() == Some(host.peer())
        };
        self.hosts.iter().position(leads).expect("a leader")
    }
}
