//! The world itself: time, chance, crashes, disks, and that a seed gives the same run twice.

use std::{
    cell::Cell,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mosaik::{
    BuildError, Catalog, Network, Topic as _,
    sim::{Conditions, Crashed, World},
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

#[test]
fn bandwidth_holds_up_what_is_large() {
    let world = World::new(1);
    world.set_conditions(Conditions {
        bandwidth: Some(100_000),
        ..Conditions::lan()
    });
    world.run(async {
        let hosts = world.make_hosts(2);
        let one = simulated(&world, &hosts[0]).await;
        let other = simulated(&world, &hosts[1]).await;
        let producer = one.streams().produce::<Vec<u8>>();
        let mut consumer = other.streams().consume::<Vec<u8>>();
        within(producer.when().online()).await;
        let began = world.elapsed();
        producer.send(vec![0; 1_000_000]).await.unwrap();
        assert_eq!(within(consumer.next()).await.unwrap().len(), 1_000_000);
        let took = world.elapsed() - began;
        assert!((10.0..12.0).contains(&took.as_secs_f64()), "{took:?}");
    });
}

#[test]
fn a_one_way_cut_parts_both_and_heals() {
    let world = World::new(1);
    world.run(async {
        let hosts = world.make_hosts(2);
        let one = simulated(&world, &hosts[0]).await;
        let other = simulated(&world, &hosts[1]).await;
        let producer = Count::producer(&one);
        let mut consumer = Count::consumer(&other);
        for (from, to) in [(0, 1), (1, 0)] {
            within(producer.when().online()).await;
            within(consumer.when().online()).await;
            world.cut_one_way(&hosts[from], &hosts[to]);
            within(producer.when().offline()).await;
            within(consumer.when().offline()).await;
            world.heal(&hosts[from], &hosts[to]);
        }
        within(producer.when().online()).await;
        producer.send(Count(1)).await.unwrap();
        assert_eq!(within(consumer.next()).await.unwrap().0, 1);
    });
}

#[test]
fn a_host_that_stands_still_is_given_up_and_comes_back() {
    let world = World::new(1);
    world.run(async {
        let hosts = world.make_hosts(3);
        let mut networks = Vec::new();
        for host in &hosts {
            networks.push(simulated(&world, host).await);
        }
        let known = |n: usize, count: usize| {
            let mut catalogs = networks[n].discovery().watch();
            async move { while catalogs.next().await.unwrap().len() != count {} }
        };
        within(known(0, 2)).await;
        let beats = Arc::new(AtomicU64::new(0));
        let (beating, clock) = (beats.clone(), world.clone());
        hosts[2].spawn(async move {
            loop {
                clock.sleep(Duration::from_millis(100)).await;
                beating.fetch_add(1, Ordering::Relaxed);
            }
        });
        hosts[2].pause();
        within(known(0, 1)).await;
        within(known(1, 1)).await;
        let before = beats.load(Ordering::Relaxed);
        world.sleep(Duration::from_secs(60)).await;
        assert_eq!(beats.load(Ordering::Relaxed), before, "it stands still");
        hosts[2].resume();
        for n in 0..3 {
            within(known(n, 2)).await;
        }
        assert!(beats.load(Ordering::Relaxed) > before);
    });
}

#[test]
fn a_host_that_crashes_in_a_write_finds_its_key_or_none() {
    let same = Cell::new(0);
    for seed in 0..100 {
        let world = World::new(seed);
        world.run(async {
            let host = world.host("durable");
            host.disk().set_sync_latency(Duration::from_millis(5));
            let build = || host.run(Network::builder("key").data_dir("state").build());
            let crash = async {
                world
                    .sleep(world.random_duration(Duration::from_millis(30)))
                    .await;
                host.crash().await;
            };
            let (first, ()) = tokio::join!(build(), crash);
            // A file that is torn would be refused here.
            let second = build().await.unwrap().unwrap().local().id();
            // What was said to be built has a key that stays.
            if let Ok(first) = first {
                assert_eq!(first.unwrap().local().id(), second, "seed {seed}");
                same.set(same.get() + 1);
            }
            host.crash().await;
            let third = build().await.unwrap().unwrap().local().id();
            assert_eq!(second, third, "seed {seed}");
            host.disk().wipe();
            host.crash().await;
            let fourth = build().await.unwrap().unwrap().local().id();
            assert_ne!(third, fourth, "seed {seed}");
        });
    }
    assert!((1..100).contains(&same.get()), "both cases were seen");
}

#[test]
fn the_power_may_be_cut_before_any_change_of_a_disk() {
    let world = World::new(3);
    world.run(async {
        let host = world.host("durable");
        let build = || host.run(Network::builder("key").data_dir("state").build());
        let mut cuts = 0;
        // Until so many changes are enough to start.
        loop {
            host.disk().wipe();
            host.disk().cut_power_after(cuts);
            let built = build().await.unwrap();
            host.crash().await;
            let again = build().await.unwrap().unwrap().local().id();
            host.crash().await;
            if let Ok(first) = built {
                assert_eq!(first.local().id(), again);
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 4, "{cuts}");
        // The same, of a disk that fails from some change on.
        for changes in 0..cuts {
            host.disk().wipe();
            host.disk().fail_writes_after(changes, io::ErrorKind::Other);
            assert!(matches!(
                build().await.unwrap(),
                Err(BuildError::DataDir { .. })
            ));
            host.disk().repair();
            assert!(build().await.unwrap().is_ok());
            host.crash().await;
        }
    });
}

#[test]
fn what_is_wrong_with_a_disk_is_named() {
    let world = World::new(1);
    world.run(async {
        let host = world.host("a");
        let build = || host.run(Network::builder("disk").data_dir("state").build());
        host.disk().set_capacity(Some(10));
        let Err(BuildError::DataDir { path, kind, .. }) = build().await.unwrap() else {
            panic!("built on a full disk");
        };
        assert_eq!(kind, io::ErrorKind::StorageFull);
        assert!(path.starts_with("state"), "{path:?}");
        host.disk().repair();
        host.disk().fail_writes(Some(io::ErrorKind::Other));
        assert!(matches!(
            build().await.unwrap(),
            Err(BuildError::DataDir { .. })
        ));
        host.disk().repair();
        host.disk().stall(Duration::from_secs(10));
        let began = world.elapsed();
        let peer = build().await.unwrap().unwrap().local().id();
        assert!(world.elapsed() - began >= Duration::from_secs(10));
        host.disk().fail_reads(Some(io::ErrorKind::Other));
        assert!(matches!(
            build().await.unwrap(),
            Err(BuildError::DataDir { .. })
        ));
        host.disk().repair();
        assert_eq!(build().await.unwrap().unwrap().local().id(), peer);
    });
}

#[test]
fn clocks_that_are_wrong_do_no_harm() {
    let world = World::new(1);
    world.run(async {
        let hosts = world.make_hosts(3);
        let day = 24 * 3600 * 1000;
        for (host, ahead) in hosts.iter().zip([-day, 0, 400 * day]) {
            host.set_clock(ahead);
        }
        let mut networks = Vec::new();
        for host in &hosts {
            networks.push(simulated(&world, host).await);
        }
        let agreed = |tag: &'static str| {
            let catalogs: Vec<_> = networks.iter().map(|n| n.discovery().watch()).collect();
            async move {
                for mut catalog in catalogs {
                    let tagged = |c: &Catalog| c.with_tag(tag).count();
                    while tagged(&catalog.next().await.unwrap()) < 2 {}
                }
            }
        };
        for (tag, jump) in [("start", 0), ("jumped", -500 * day), ("jumped again", day)] {
            for host in &hosts {
                host.set_clock(jump);
            }
            for network in &networks {
                network.discovery().add_tags([tag]).unwrap();
            }
            within(agreed(tag)).await;
        }
    });
}

#[test]
fn a_node_whose_clock_lost_its_date_is_seen_after_a_restart() {
    let world = World::new(1);
    world.run(async {
        let hosts = world.make_hosts(2);
        let one = simulated(&world, &hosts[0]).await;
        let before = simulated(&world, &hosts[1]).await;
        let known = |boot: u64| {
            let mut catalogs = one.discovery().watch();
            let peer = hosts[1].peer();
            let boot_of = move |c: &Catalog| c.get(&peer).map(|entry| entry.boot());
            async move { while boot_of(&catalogs.next().await.unwrap()) != Some(boot) {} }
        };
        within(known(before.discovery().me().boot())).await;
        hosts[1].crash().await;
        // As a machine without a battery starts: in 1970.
        hosts[1].set_clock(-1_750_000_000_000);
        let after = simulated(&world, &hosts[1]).await;
        within(known(after.discovery().me().boot())).await;
    });
}

/// What running `scenario` panics with.
fn panic_of(scenario: impl Future<Output = ()>, world: &World) -> String {
    let run = AssertUnwindSafe(|| world.run(scenario));
    let panic = catch_unwind(run).unwrap_err();
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).into())
}

#[test]
fn what_panics_on_a_host_fails_the_run() {
    let world = World::new(1);
    let scenario = async {
        world.host("a").spawn(async { panic!("on a host") });
        std::future::pending::<()>().await;
    };
    assert_eq!(panic_of(scenario, &world), "on a host");
}

#[test]
fn a_run_that_hangs_ends() {
    let world = World::new(1);
    world.set_limit(Duration::from_secs(100));
    let text = panic_of(std::future::pending(), &world);
    assert!(text.contains("had not ended after 100s"), "{text}");
    assert_eq!(world.elapsed(), Duration::from_secs(100));
}

#[test]
fn a_node_of_no_host_is_refused_with_what_to_do() {
    let world = World::new(1);
    world.run(async {
        let refused = Network::builder("nowhere").build().await.unwrap_err();
        assert!(refused.to_string().contains("Host::run"), "{refused}");
    });
}

#[test]
fn what_a_crash_interrupts_says_so() {
    let world = World::new(1);
    world.run(async {
        let host = world.host("a");
        let running = host.run(std::future::pending::<()>());
        let crash = async {
            world.sleep(Duration::from_secs(1)).await;
            host.crash().await;
        };
        let (ran, ()) = tokio::join!(running, crash);
        assert_eq!(ran, Err(Crashed));
        assert!(!host.is_up());
        host.start(|host| async move { assert!(host.is_up()) });
        host.restart().await;
        assert_eq!(host.run(async { 7 }).await, Ok(7));
    });
}

/// Says when it is dropped.
struct Held(Arc<AtomicU64>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_left_of_a_world_that_ended() {
    let dropped = Arc::new(AtomicU64::new(0));
    let world = World::new(1);
    let other = world.clone();
    world.run(async {
        let (program, task) = (Held(dropped.clone()), Held(dropped.clone()));
        let host = world.host("a");
        // A program that holds the world, and a task that never ends.
        let held = world.clone();
        host.start(move |_| {
            let (_, _) = (&program, &held);
            async {}
        });
        host.spawn(async move {
            std::future::pending::<()>().await;
            drop(task);
        });
        world.sleep(Duration::from_secs(1)).await;
    });
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    drop(world);
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
    assert!(other.hosts().is_empty());
}
