//! Whatever goes wrong, catalogs agree once it is mended, and who left stays gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use mosaik::{
    Network, PeerId,
    discovery::{DepartReason, Event},
    sim::{Campaign, Host, Nemesis, Schedule, World},
};

/// Time that all may take to agree after the last fault.
const MEND: Duration = Duration::from_secs(90);

/// What the present life of a host knows.
#[derive(Default)]
struct View {
    network: Option<Network>,
    /// Boots of peers that are known to have left.
    left: BTreeSet<(PeerId, u64)>,
    boots: BTreeMap<PeerId, u64>,
    wrong: Vec<String>,
}

type Views = Arc<Mutex<BTreeMap<String, View>>>;

fn view<T>(views: &Views, host: &Host, act: impl FnOnce(&mut View) -> T) -> T {
    act(views.lock().unwrap().entry(host.name().into()).or_default())
}

impl View {
    fn note(&mut self, event: Event) {
        match event {
            Event::Discovered(entry) | Event::Updated(entry) => {
                let (peer, boot) = (entry.peer(), entry.boot());
                if self.left.contains(&(peer, boot)) {
                    self.wrong
                        .push(format!("{} is back from having left", peer.short()));
                }
                self.boots.insert(peer, boot);
            }
            Event::Departed { peer, reason } => {
                let boot = self.boots.remove(&peer);
                if let (DepartReason::Left, Some(boot)) = (reason, boot) {
                    self.left.insert((peer, boot));
                }
            }
            _ => {}
        }
    }
}

/// Lives, and changes its tags now and then. All but two are somewhere else after each start.
async fn live(world: World, host: Host, views: Views) {
    let hosts = world.hosts();
    let builder = if hosts[..2].iter().any(|known| known.name() == host.name()) {
        host.builder("sim", &hosts)
    } else {
        let known = hosts[..2].iter().map(Host::addr);
        Network::builder("sim")
            .secret_key(host.key())
            .bootstrap(known)
    };
    let network = builder.build().await.unwrap();
    let mut events = network.discovery().events();
    view(&views, &host, |view| {
        *view = View {
            wrong: std::mem::take(&mut view.wrong),
            network: Some(network.clone()),
            ..View::default()
        };
    });
    let (noting, noted_by) = (views.clone(), host.clone());
    host.spawn(async move {
        while let Some(event) = events.next().await {
            view(&noting, &noted_by, |view| view.note(event));
        }
    });
    for n in 0_u64.. {
        let pause = world.random_duration(Duration::from_millis(10_000));
        world.sleep(pause).await;
        let tag = world.random(0..u64::MAX).to_string();
        if network.discovery().add_tags([tag]).is_err() {
            // It has left.
            return;
        }
        if n % 8 == 7 {
            let tags: Vec<_> = network.discovery().me().tags().map(String::from).collect();
            network.discovery().remove_tags(tags);
        }
    }
}

/// Whether everybody who is there knows everybody who is there, as they are, and nobody else.
fn agree(views: &Views, gone: &Host) -> Result<(), String> {
    let views = views.lock().unwrap();
    let networks = views.iter().filter(|(host, _)| *host != gone.name());
    let networks: Vec<_> = networks
        .filter_map(|(_, view)| view.network.as_ref())
        .collect();
    for one in &networks {
        let catalog = one.discovery().catalog();
        for other in networks
            .iter()
            .filter(|other| other.local().id() != one.local().id())
        {
            let (me, other) = (one.local().id().short(), other.discovery().me());
            let Some(entry) = catalog.get(&other.peer()) else {
                return Err(format!("{me} does not know {}", other.peer().short()));
            };
            if entry.boot() != other.boot() || !entry.tags().eq(other.tags()) {
                return Err(format!("{me} has an old entry of {}", other.peer().short()));
            }
        }
        if catalog.len() != networks.len() - 1 {
            return Err(format!(
                "{} knows {} peers",
                one.local().id().short(),
                catalog.len()
            ));
        }
    }
    Ok(())
}

fn scenario(world: &World, schedule: &Schedule) {
    let views = Views::default();
    let hosts = world.hosts();
    world.run(async {
        for host in &hosts {
            let (world, views) = (world.clone(), views.clone());
            host.start(move |host| live(world.clone(), host, views.clone()));
        }
        // One leaves in the middle of it. Its host may be down then, and may come back; so its program ends.
        let leaver = hosts[hosts.len() - 1].clone();
        let leave = async {
            world.sleep(schedule.ends() / 2).await;
            let network = view(&views, &leaver, |view| view.network.clone());
            leaver.start(|_| async {});
            if let Some(network) = network {
                network.shutdown().await;
            }
        };
        tokio::join!(schedule.carry_out(world), leave);
        let agreed = async {
            while agree(&views, &leaver).is_err() {
                world.sleep(Duration::from_millis(100)).await;
            }
        };
        let agreed = tokio::time::timeout(MEND, agreed).await;
        assert!(agreed.is_ok(), "no agreement: {:?}", agree(&views, &leaver));
    });
    for (host, view) in &mut *views.lock().unwrap() {
        view.network = None;
        assert!(view.wrong.is_empty(), "{host}: {:?}", view.wrong);
    }
}

#[test]
fn catalogs_agree_after_partitions_pauses_and_bad_ways() {
    let nemesis = Nemesis {
        crash: 0,
        ..Nemesis::default()
    };
    Campaign::new(5)
        .seeds(0..100)
        .nemesis(nemesis)
        .run(scenario);
}

#[test]
fn catalogs_agree_after_crashes() {
    let nemesis = Nemesis {
        crash: 8,
        ..Nemesis::default()
    };
    Campaign::new(5)
        .seeds(1000..1100)
        .nemesis(nemesis)
        .run(scenario);
}

#[test]
fn many_nodes_find_each_other_within_seconds_and_miss_the_dead() {
    const COUNT: usize = 40;
    let world = World::new(1);
    world.run(async {
        let hosts = world.make_hosts(COUNT);
        let mut networks = Vec::new();
        for host in &hosts {
            // All know only the first.
            let built = host.run(host.builder("many", &hosts[..1]).build()).await;
            networks.push(built.unwrap().unwrap());
        }
        let all_know = async |networks: &[Network], count| {
            for network in networks {
                let mut catalogs = network.discovery().watch();
                while catalogs.next().await.unwrap().len() != count {}
            }
        };
        let began = world.elapsed();
        let limit = Duration::from_secs(5);
        let met = tokio::time::timeout(limit, all_know(&networks, COUNT - 1)).await;
        assert!(met.is_ok(), "not all had met after {limit:?}");
        println!("all {COUNT} had met after {:?}", world.elapsed() - began);
        // A tenth of them dies at once.
        let (dead, alive) = (COUNT / 10, COUNT - COUNT / 10);
        for host in &hosts[alive..] {
            host.crash().await;
        }
        let began = world.elapsed();
        let limit = Duration::from_secs(15);
        let missed = tokio::time::timeout(limit, all_know(&networks[..alive], alive - 1)).await;
        assert!(
            missed.is_ok(),
            "{dead} dead were not missed by all after {limit:?}"
        );
        println!(
            "{dead} dead were missed after {:?}",
            world.elapsed() - began
        );
    });
}
