//! Streams whose consumers are slow, cut off or away.

use std::time::Duration;

use mosaik::{
    Consumer, Network, Topic as _,
    sim::{Conditions, Host, World},
    streams::Event,
};
use mosaik_tests::{simulated, within};

/// A numbered datum.
#[mosaik::stream(name = "sim.number")]
struct Number(u64);

/// A datum whose buffer is small and whose slow consumers are soon cut.
#[mosaik::stream(name = "sim.hasty", capacity = 16, stall = "200ms")]
struct Hasty(u64);

impl From<Number> for u64 {
    fn from(Number(value): Number) -> Self {
        value
    }
}

impl From<Hasty> for u64 {
    fn from(Hasty(value): Hasty) -> Self {
        value
    }
}

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

/// What a consumer of numbers gets until it was told of `count`: how many came, and how many it missed.
async fn told<T>(consumer: &mut Consumer<T>, count: u64, from: u64) -> (u64, u64)
where
    T: Into<u64> + serde::de::DeserializeOwned,
{
    let (mut next, mut missed) = (from, 0);
    while next < count {
        match within(consumer.next_event()).await.unwrap() {
            Event::Datum(datum) => {
                assert_eq!(datum.into(), next, "after {missed} missed");
                next += 1;
            }
            Event::Lagged { missed: gap, .. } => {
                missed += gap;
                next += gap;
            }
            _ => {}
        }
    }
    assert_eq!(next, count);
    (count - from - missed, missed)
}

#[test]
fn a_slow_consumer_that_goes_on_taking_is_never_cut() {
    const COUNT: u64 = 1_000;
    /// A kilobyte with a number.
    #[mosaik::stream(name = "test.work", capacity = 64, online_when = 0)]
    struct Work(u64, Vec<u8>);

    let world = World::new(11);
    world.set_limit(Duration::from_secs(2 * 3600));
    world.run(async {
        let hosts = world.make_hosts(2);
        let producing = simulated(&world, &hosts[0]).await;
        let consuming = simulated(&world, &hosts[1]).await;
        let producer = Work::producer(&producing);
        let remote = Work::consumer_builder(&consuming).window(16 * 1024).build();
        let local = Work::consumer_builder(&producing).window(16 * 1024).build();
        within(producer.when().subscribed().at_least(2)).await;
        let working = [remote, local].map(|mut consumer| {
            tokio::spawn(async move {
                for expected in 0..COUNT {
                    match within(consumer.next_event()).await.unwrap() {
                        Event::Datum(Work(value, _)) => assert_eq!(value, expected),
                        Event::Joined(_) if expected == 0 => {
                            assert_eq!(within(consumer.next()).await.unwrap().0, 0);
                        }
                        other => panic!("{:?}", std::mem::discriminant(&other)),
                    }
                    // Its work, a little and a lot in turn: a window of it takes far longer than `stall`.
                    let millis = if expected % 2 == 0 { 1 } else { 4_000 };
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
            })
        });
        for value in 0..COUNT {
            producer.send(Work(value, vec![7; 1024])).await.unwrap();
        }
        for working in working {
            working.await.unwrap();
        }
    });
}

/// Two nodes that are cut off from each other, and the consumer on the second: it took the first of a thousand
/// numbers, the others were sent after the cut, and the producer has ended.
async fn ended_while_cut_off(world: &World) -> (Vec<Host>, [Network; 2], Consumer<Number>) {
    let hosts = world.make_hosts(2);
    let producing = simulated(world, &hosts[0]).await;
    let consuming = simulated(world, &hosts[1]).await;
    let producer = Number::producer(&producing);
    let mut numbers = Number::consumer(&consuming);
    within(producer.when().online()).await;
    producer.send(Number(0)).await.unwrap();
    assert_eq!(within(numbers.next()).await.unwrap().0, 0);
    world.cut(&hosts[0], &hosts[1]);
    for value in 1..1_000 {
        producer.send(Number(value)).await.unwrap();
    }
    (hosts, [producing, consuming], numbers)
}

#[test]
fn what_was_sent_before_the_producer_was_dropped_arrives_after_a_lost_connection() {
    let world = World::new(12);
    world.run(async {
        let (hosts, _networks, mut numbers) = ended_while_cut_off(&world).await;
        within(numbers.when().offline()).await;
        world.heal(&hosts[0], &hosts[1]);
        assert_eq!(told(&mut numbers, 1_000, 1).await, (999, 0));
    });
}

#[test]
fn a_consumer_that_comes_back_too_late_to_an_ended_producer_is_told_what_it_missed() {
    let world = World::new(13);
    world.run(async {
        let (hosts, [producing, consuming], mut numbers) = ended_while_cut_off(&world).await;
        let mut catalogs = consuming.discovery().watch();
        within(async { while catalogs.next().await.unwrap().contains(&hosts[0].peer()) {} }).await;
        // Until long after the place was given up.
        world.sleep(Duration::from_secs(60)).await;
        // Another life of the topic must not hide what the first one owes.
        let producer = Number::producer(&producing);
        world.heal(&hosts[0], &hosts[1]);
        redial(&consuming, &producing).await;
        assert_eq!(told(&mut numbers, 1_000, 1).await, (0, 999));
        within(producer.when().online()).await;
        producer.send(Number(7)).await.unwrap();
        assert_eq!(within(numbers.next()).await.unwrap().0, 7);
    });
}

#[test]
fn a_consumer_that_was_cut_is_told_what_it_missed_though_the_producer_has_ended() {
    const COUNT: u64 = 2_000;
    let world = World::new(14);
    world.run(async {
        let hosts = world.make_hosts(2);
        let producing = simulated(&world, &hosts[0]).await;
        let idle_node = simulated(&world, &hosts[1]).await;
        let producer = Hasty::producer(&producing);
        let mut idle = Hasty::consumer_builder(&idle_node).window(1).build();
        let mut local = Hasty::consumer_builder(&producing).window(1).build();
        let mut busy = Hasty::consumer(&producing);
        within(producer.when().subscribed().at_least(3)).await;
        let sending = tokio::spawn(async move {
            for value in 0..COUNT {
                producer.send(Hasty(value)).await.unwrap();
            }
        });
        assert_eq!(told(&mut busy, COUNT, 0).await, (COUNT, 0));
        within(sending).await.unwrap();
        world.sleep(Duration::from_secs(60)).await;
        for consumer in [&mut idle, &mut local] {
            let (came, missed) = told(consumer, COUNT, 0).await;
            assert!(came > 0 && missed > 0, "{came} came, {missed} were missed");
        }
    });
}

#[test]
fn a_consumer_that_is_dropped_while_it_subscribes_leaves_no_seat() {
    /// A datum that is kept for long.
    #[mosaik::stream(name = "test.ghost", stall = "1h")]
    struct Ghost(u64);

    let world = World::new(15);
    world.run(async {
        let hosts = world.make_hosts(2);
        let producing = simulated(&world, &hosts[0]).await;
        let consuming = simulated(&world, &hosts[1]).await;
        let producer = Ghost::producer(&producing);
        let consumer = Ghost::consumer(&consuming);
        world.set_conditions(Conditions {
            latency: Duration::from_millis(100),
            ..Conditions::default()
        });
        within(producer.when().subscribed()).await;
        // The producer's answer is on its way.
        drop(consumer);
        within(producer.when().unsubscribed()).await;
        assert!(
            producer.consumers().is_empty(),
            "{:?}",
            producer.consumers()
        );
        producer.try_send(Ghost(1)).unwrap_err();
    });
}
