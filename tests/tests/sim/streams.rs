//! Streams whose consumers are slow, cut off or away.

use mosaik::{Network, Topic as _, sim::World, streams::Event};
use mosaik_tests::{simulated, within};

/// A numbered datum.
#[mosaik::stream(name = "sim.number")]
struct Number(u64);

/// A datum whose buffer is small and whose slow consumers are soon cut.
#[mosaik::stream(name = "sim.hasty", capacity = 16, stall = "200ms")]
struct Hasty(u64);

#[test]
fn a_consumer_that_takes_nothing_is_cut_and_told_how_much_it_missed() {
    let world = World::new(1);
    world.run(async {
        let hosts = world.make_hosts(3);
        let producing = simulated(&world, &hosts[0]).await;
        let idle_node = simulated(&world, &hosts[1]).await;
        let busy_node = simulated(&world, &hosts[2]).await;
        let producer = Hasty::producer(&producing);
        // A window of one byte: one chunk at most is on its way.
        let mut idle = Hasty::consumer_builder(&idle_node).window(1).build();
        let mut busy = Hasty::consumer(&busy_node);
        within(producer.when().subscribed().at_least(2)).await;
        const COUNT: u64 = 2_000;
        let sending = tokio::spawn(async move {
            for value in 0..COUNT {
                producer.send(Hasty(value)).await.unwrap();
            }
            producer
        });
        for expected in 0..COUNT {
            assert_eq!(within(busy.next()).await.unwrap().0, expected);
        }
        let producer = within(sending).await.unwrap();
        // Now the idle one wakes up: what it has, then a gap of exactly what it has not.
        let (mut next, mut missed) = (0, 0);
        while next < COUNT {
            match within(idle.next_event()).await.unwrap() {
                Event::Datum(Hasty(value)) => {
                    assert_eq!(value, next, "after {missed} missed");
                    next += 1;
                }
                Event::Lagged { missed: gap, .. } => {
                    missed += gap;
                    next += gap;
                }
                _ => {}
            }
        }
        assert!(missed > 0 && next == COUNT, "missed {missed}, then {next}");
        // It takes part again.
        within(producer.when().subscribed().at_least(2)).await;
        producer.send(Hasty(COUNT)).await.unwrap();
        assert_eq!(within(idle.next()).await.unwrap().0, COUNT);
    });
}

#[test]
fn a_consumer_that_reconnects_in_time_misses_nothing() {
    let world = World::new(2);
    world.run(async {
        let hosts = world.make_hosts(2);
        let producing = simulated(&world, &hosts[0]).await;
        let consuming = simulated(&world, &hosts[1]).await;
        let producer = Number::producer(&producing);
        let mut numbers = Number::consumer(&consuming);
        within(producer.when().online()).await;
        let sending = tokio::spawn(async move {
            for value in 0..50_000 {
                producer.send(Number(value)).await.unwrap();
            }
            producer.flush().await.unwrap();
            producer
        });
        let mut lost = 0;
        let mut next = 0;
        while next < 50_000 {
            if next == 1_000 && lost == 0 {
                world.cut(&hosts[0], &hosts[1]);
            }
            match within(numbers.next_event()).await.unwrap() {
                Event::Datum(Number(value)) => {
                    assert_eq!(value, next);
                    next += 1;
                }
                Event::Left(_) => {
                    lost += 1;
                    world.heal(&hosts[0], &hosts[1]);
                    // Discovery would find it again by itself, in a while.
                    redial(&consuming, &producing).await;
                }
                Event::Lagged { missed, .. } => panic!("missed {missed}"),
                _ => {}
            }
        }
        assert_eq!(lost, 1);
        drop(within(sending).await.unwrap());
    });
}

/// Dials until it succeeds: a dial that began while nothing passed is shared, and may still fail.
async fn redial(from: &Network, to: &Network) {
    let addr = to.local().addr();
    within(async { while from.discovery().dial(addr.clone()).await.is_err() {} }).await;
}

#[test]
fn a_consumer_that_is_away_for_long_is_told_exactly_what_it_missed() {
    const COUNT: u64 = 30_000;
    let world = World::new(3);
    world.run(async {
        let hosts = world.make_hosts(3);
        let producing = simulated(&world, &hosts[0]).await;
        let away = simulated(&world, &hosts[1]).await;
        let present = simulated(&world, &hosts[2]).await;
        let producer = Hasty::producer(&producing);
        let mut misser = Hasty::consumer(&away);
        let mut other = Hasty::consumer(&present);
        within(producer.when().subscribed().at_least(2)).await;
        for value in 0..10 {
            producer.send(Hasty(value)).await.unwrap();
            assert_eq!(within(misser.next()).await.unwrap().0, value);
            assert_eq!(within(other.next()).await.unwrap().0, value);
        }
        // Away until all have given it up: its place at the producer, and its entry in the catalog.
        let a = producing.local().id();
        world.cut(&hosts[0], &hosts[1]);
        let sending = tokio::spawn(async move {
            for value in 10..COUNT {
                producer.send(Hasty(value)).await.unwrap();
            }
            producer
        });
        for value in 10..COUNT {
            assert_eq!(within(other.next()).await.unwrap().0, value);
        }
        let producer = within(sending).await.unwrap();
        let mut catalogs = away.discovery().watch();
        within(async { while catalogs.next().await.unwrap().contains(&a) {} }).await;
        within(misser.when().offline()).await;
        world.heal(&hosts[0], &hosts[1]);
        redial(&away, &producing).await;
        within(misser.when().online()).await;
        producer.send(Hasty(COUNT)).await.unwrap();
        let (mut next, mut told) = (10, 0);
        while next <= COUNT {
            match within(misser.next_event()).await.unwrap() {
                Event::Datum(Hasty(value)) => {
                    assert_eq!(value, next);
                    next += 1;
                }
                Event::Lagged { missed, .. } => {
                    told += missed;
                    next += missed;
                }
                _ => {}
            }
        }
        assert!(told > 0, "it was away");
    });
}
