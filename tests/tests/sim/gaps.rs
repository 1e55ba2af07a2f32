//! Whatever goes wrong, a consumer sees the datums of each life of a producer in order and none twice, is
//! told the size of every hole, and hears of every producer again once all is mended.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use mosaik::{
    PeerId, Producer, Topic as _,
    sim::{Campaign, Host, Nemesis, Schedule, World},
    streams::{ChannelState, Event},
};

/// A datum that says which life of its producer it is from, and which start of the host's program.
#[mosaik::stream(name = "sim.life", capacity = 64, stall = "2s")]
struct Life {
    producer: String,
    start: u64,
    life: u64,
    value: u64,
}

/// Time that all may take to be well again after the last fault.
const MEND: Duration = Duration::from_secs(60);

/// What the consumers of one host saw.
#[derive(Default)]
struct Log {
    /// Counts the starts of the host's program, and the lives of its producer in all of them.
    starts: u64,
    lives: u64,
    /// How many datums each life that ended had.
    lengths: BTreeMap<u64, u64>,
    /// What its present start knows of each producer.
    seen: BTreeMap<PeerId, Seen>,
    /// Datums that were taken, and that were told to be missing, by all its lives.
    taken: u64,
    missed: u64,
    /// Anything that should not be.
    wrong: Vec<String>,
}

/// What a consumer knows of a producer.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Seen {
    start: u64,
    life: u64,
    next: u64,
}

type Logs = Arc<Mutex<BTreeMap<String, Log>>>;

impl Log {
    /// Takes a datum of a producer whose lives had `lengths`.
    fn take(&mut self, producer: PeerId, lengths: &BTreeMap<u64, u64>, datum: &Life) {
        self.taken += 1;
        if let Some(Seen { start, life, next }) = self.seen.get(&producer) {
            if *life > datum.life {
                self.wrong.push(format!("life {} after {life}", datum.life));
            }
            if *life == datum.life && *next != datum.value {
                let what = format!("life {life}: {} in place of {next}", datum.value);
                self.wrong.push(what);
            }
            // While its process lives, a producer owes what it sent before it ended.
            let length = lengths.get(life).filter(|_| *life < datum.life);
            if *start == datum.start && length.is_some_and(|length| length != next) {
                let what = format!("life {life} ended at {next} in place of {length:?}");
                self.wrong.push(what);
            }
        }
        let seen = Seen {
            start: datum.start,
            life: datum.life,
            next: datum.value + 1,
        };
        self.seen.insert(producer, seen);
    }

    fn lag(&mut self, producer: PeerId, lengths: &BTreeMap<u64, u64>, missed: u64) {
        self.missed += missed;
        if missed == 0 {
            self.wrong.push("a hole of nothing".into());
        }
        // A hole behind the end of one life is in another, of which nothing was seen yet.
        if let Some(seen) = self.seen.get_mut(&producer)
            && lengths.get(&seen.life) != Some(&seen.next)
        {
            seen.next += missed;
        }
    }
}

/// What the producer of a host had sent when each of its lives ended.
fn lengths(logs: &Logs, host: &Host) -> BTreeMap<u64, u64> {
    log(logs, host, |log| log.lengths.clone())
}

fn log<T>(logs: &Logs, host: &Host, act: impl FnOnce(&mut Log) -> T) -> T {
    act(logs.lock().unwrap().entry(host.name().into()).or_default())
}

/// Produces for ever, at a pace between nothing and far too much, and ends and begins anew now and then.
async fn produce(world: World, host: Host, logs: Logs) {
    let start = log(&logs, &host, |log| {
        log.starts += 1;
        log.starts
    });
    let network = host.builder("gaps", &world.hosts()).build().await.unwrap();
    loop {
        let life = log(&logs, &host, |log| {
            log.lives += 1;
            log.lives
        });
        let producer = Life::producer(&network);
        let sent = live(&world, &host, &producer, start, life).await;
        drop(producer);
        log(&logs, &host, |log| log.lengths.insert(life, sent));
        let pause = world.random_duration(Duration::from_secs(3));
        world.sleep(pause).await;
    }
}

/// One life of a producer; returns how many datums it sent.
async fn live(world: &World, host: &Host, producer: &Producer<Life>, start: u64, life: u64) -> u64 {
    let mut value = 0;
    for _ in 0..world.random(1..60) {
        for _ in 0..world.random(0..40) {
            let datum = Life {
                producer: host.name().to_owned(),
                start,
                life,
                value,
            };
            producer.send(datum).await.unwrap();
            value += 1;
            for channel in producer.consumers() {
                // Who was cut holds nothing up; what it is behind is what it will be told.
                let is_held = channel.state != ChannelState::Cut;
                assert!(!is_held || channel.lag <= 64, "{channel:?} in a ring of 64");
            }
        }
        let pause = world.random_duration(Duration::from_millis(400));
        world.sleep(pause).await;
    }
    value
}

/// Consumes for ever, sometimes slowly.
async fn consume(world: World, host: Host, logs: Logs) {
    log(&logs, &host, |log| {
        log.starts += 1;
        log.seen.clear();
    });
    let network = host.builder("gaps", &world.hosts()).build().await.unwrap();
    let mut lives = Life::consumer(&network);
    while let Some(event) = lives.next_event().await {
        match event {
            Event::Datum(datum) => {
                let producer = world.host(&datum.producer);
                let lengths = lengths(&logs, &producer);
                log(&logs, &host, |log| {
                    log.take(producer.peer(), &lengths, &datum);
                });
            }
            Event::Lagged { producer, missed } => {
                let hosts = world.hosts();
                let from = hosts.iter().find(|host| host.peer() == producer);
                let lengths = lengths(&logs, from.unwrap());
                log(&logs, &host, |log| log.lag(producer, &lengths, missed));
            }
            _ => {}
        }
        if world.random(0..200) == 0 {
            let pause = world.random_duration(Duration::from_secs(3));
            world.sleep(pause).await;
        }
    }
    panic!("the consumer ended");
}

/// Runs one world; yields how many datums were taken, and how many were told to be missing.
fn scenario(world: &World, schedule: &Schedule) -> (u64, u64) {
    let logs = Logs::default();
    let hosts = world.hosts();
    world.run(async {
        for (n, host) in hosts.iter().enumerate() {
            let (world, logs) = (world.clone(), logs.clone());
            if n < 2 {
                host.start(move |host| produce(world.clone(), host, logs.clone()));
            } else {
                host.start(move |host| consume(world.clone(), host, logs.clone()));
            }
        }
        schedule.carry_out(world).await;
        let well = async {
            let before = progress(&logs);
            loop {
                world.sleep(Duration::from_millis(100)).await;
                let after = progress(&logs);
                let moved = after
                    .iter()
                    .filter(|(at, next)| before.get(at) < Some(next));
                if moved.count() == 4 {
                    return;
                }
            }
        };
        let well = tokio::time::timeout(MEND, well).await;
        assert!(well.is_ok(), "not all hear of all: {:?}", progress(&logs));
    });
    let logs = logs.lock().unwrap();
    for (host, log) in &*logs {
        assert!(log.wrong.is_empty(), "{host}: {:?}", log.wrong);
    }
    let sum = |of: fn(&Log) -> u64| logs.values().map(of).sum();
    (sum(|log| log.taken), sum(|log| log.missed))
}

/// Runs a campaign, in which there must have been something to see.
fn campaign(first: u64, nemesis: Nemesis) {
    let (taken, missed) = (Cell::new(0), Cell::new(0));
    let campaign = Campaign::new(4).seeds(first..first + 100).nemesis(nemesis);
    let seeds = campaign.run(|world, schedule| {
        let (more, holes) = scenario(world, schedule);
        taken.set(taken.get() + more);
        missed.set(missed.get() + holes);
    });
    println!(
        "{seeds} seeds: {} datums taken, {} missed and told",
        taken.get(),
        missed.get()
    );
    // A seed alone may see no hole.
    assert!(taken.get() > 0 && (missed.get() > 0 || seeds < 100));
}

/// What each consumer expects next of each producer.
fn progress(logs: &Logs) -> BTreeMap<(String, PeerId), (u64, Seen)> {
    let logs = logs.lock().unwrap();
    let consumers = logs.iter().flat_map(|(host, log)| {
        let of = |(peer, seen): (&PeerId, &Seen)| ((host.clone(), *peer), (log.starts, *seen));
        log.seen.iter().map(of).collect::<Vec<_>>()
    });
    consumers.collect()
}

#[test]
fn every_hole_is_told_under_partitions_pauses_and_bad_ways() {
    let nemesis = Nemesis {
        crash: 0,
        ..Nemesis::default()
    };
    campaign(0, nemesis);
}

#[test]
fn every_hole_is_told_under_crashes() {
    let nemesis = Nemesis {
        crash: 8,
        ..Nemesis::default()
    };
    campaign(1000, nemesis);
}
