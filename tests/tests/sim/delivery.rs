//! What was sent before a producer ends arrives, and ends where it should.

use std::time::Duration;

use mosaik::{
    Network, Topic as _,
    sim::{Conditions, World},
    streams::Event,
};
use mosaik_tests::{simulated, within};

/// A datum of some size.
#[mosaik::stream(name = "sim.parcel")]
struct Parcel {
    number: u64,
    weight: Vec<u8>,
}

/// Three nodes; the consumers of all of them, one on the producer's own.
async fn consumers(world: &World) -> (Vec<Network>, Vec<mosaik::Consumer<Parcel>>) {
    let hosts = world.make_hosts(3);
    let mut networks = Vec::new();
    for host in &hosts {
        networks.push(simulated(world, host).await);
    }
    let consumers = networks.iter().map(Parcel::consumer).collect();
    (networks, consumers)
}

/// Takes everything until the producer has left; says how much that was.
async fn take_all(mut consumer: mosaik::Consumer<Parcel>) -> u64 {
    let mut next = 0;
    loop {
        match consumer.next_event().await {
            Some(Event::Datum(parcel)) => {
                assert_eq!(parcel.number, next);
                next += 1;
            }
            Some(Event::Lagged { missed, .. }) => panic!("{missed} missed at {next}"),
            Some(Event::Left(_)) | None => return next,
            _ => {}
        }
    }
}

/// Sends some, then ends in the way of `end`, over ways that are `conditions`.
fn all_arrives(conditions: &Conditions, end: impl AsyncFn(Network, mosaik::Producer<Parcel>)) {
    for seed in 0..40 {
        let world = World::new(seed);
        world.set_conditions(conditions.clone());
        world.run(async {
            let (networks, consumers) = consumers(&world).await;
            let producer = Parcel::producer(&networks[0]);
            within(producer.when().subscribed().at_least(3)).await;
            let taking: Vec<_> = consumers.into_iter().map(take_all).collect();
            let sent = world.random(1..300);
            let send = async {
                for number in 0..sent {
                    let weight = vec![0; usize::try_from(world.random(0..400)).unwrap()];
                    producer.send(Parcel { number, weight }).await.unwrap();
                }
                end(networks[0].clone(), producer).await;
            };
            let (taken, ()) = tokio::join!(within(futures::future::join_all(taking)), send);
            assert_eq!(taken, [sent; 3], "seed {seed}");
        });
    }
}

#[test]
fn what_was_sent_before_a_shutdown_arrives() {
    let end = async |network: Network, producer| {
        network.shutdown().await;
        drop(producer);
    };
    all_arrives(&Conditions::lan(), end);
    all_arrives(&Conditions::wan(), end);
    all_arrives(&Conditions::bad(), end);
}

#[test]
fn what_was_sent_before_the_producer_is_dropped_arrives() {
    let end = async |_, producer| drop(producer);
    all_arrives(&Conditions::lan(), end);
    all_arrives(&Conditions::bad(), end);
}

#[test]
fn what_was_flushed_is_there_when_the_producer_crashes() {
    for seed in 0..40 {
        let world = World::new(seed);
        world.set_conditions(Conditions::bad());
        world.run(async {
            let (networks, mut consumers) = consumers(&world).await;
            let mut consumer = consumers.remove(2);
            drop(consumers);
            let producer = Parcel::producer(&networks[0]);
            within(producer.when().online()).await;
            within(consumer.when().online()).await;
            let sent = world.random(1..50);
            for number in 0..sent {
                let weight = Vec::new();
                producer.send(Parcel { number, weight }).await.unwrap();
            }
            within(producer.flush()).await.unwrap();
            world.host("n1").crash().await;
            for number in 0..sent {
                assert_eq!(within(consumer.next()).await.unwrap().number, number);
            }
            // The crash itself is noticed within seconds.
            let began = world.elapsed();
            within(consumer.when().offline()).await;
            let took = world.elapsed() - began;
            assert!(took < Duration::from_secs(6), "{took:?}");
        });
    }
}
