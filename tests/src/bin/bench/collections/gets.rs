//! Reads of what a node holds, beside the maps of std under a lock. Both clone what they find.

use std::{
    hint::black_box,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use tokio::time::MissedTickBehavior;

use super::{
    kind::{Hashed, KEY, Kind, Sorted, belongs, entries, value},
    stores::{Keys, Stores},
};
use crate::{
    measure::median,
    nodes::Nodes,
    plan::Plan,
    table::{Figure, Row, Target},
};

const ENTRIES: u64 = 100_000;
/// Share of the counterpart that one thread is to reach.
const OF_STD: f64 = 0.5;
/// Reads between two looks at the clock.
const STRIDE: u64 = 1000;
/// Threads that read while somebody writes.
const READERS: usize = 2;
/// How often somebody writes then.
const TICK: Duration = Duration::from_millis(1);

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let nodes = Nodes::start(None).await?;
    measure::<Hashed>(plan, &nodes).await?;
    measure::<Sorted>(plan, &nodes).await?;
    nodes.stop().await;
    Ok(())
}

async fn measure<K: Kind>(plan: &Plan, nodes: &Nodes) -> anyhow::Result<()> {
    let bench = Bench::<K> {
        plan,
        stores: Stores::start(nodes).await?,
        std: Arc::default(),
    };
    bench.stores.fill(ENTRIES).await?;
    bench.std.write(entries(0..ENTRIES));
    bench.get().await?;
    bench.iter().await?;
    bench.get_while_written().await
}

struct Bench<'a, K: Kind> {
    plan: &'a Plan,
    stores: Stores<K>,
    std: Arc<Locked<K>>,
}

impl<K: Kind> Bench<'_, K> {
    async fn get(&self) -> anyhow::Result<()> {
        let (mut reference, mut ours) = (vec![], vec![]);
        for _ in 0..self.plan.rounds() {
            reference.push(self.std_gets(1).await?);
            ours.push(self.gets(1).await?);
        }
        let reference = median(&mut reference);
        let target = Target::AtLeast(Figure::Rate(reference * OF_STD));
        self.print("get, one thread", reference, &mut ours, Some(target));
        self.stores.check().await
    }

    async fn iter(&self) -> anyhow::Result<()> {
        let (mut reference, mut ours) = (vec![], vec![]);
        for _ in 0..self.plan.rounds() {
            let std = self.std.clone();
            let iterate = move |_: &mut Chance| {
                let mut sum = Sum::default();
                K::std_each(&std.read(), |key, value| sum.add(key, value));
                sum.check()
            };
            reference.push(repeat(1, self.plan.span(), iterate).await?);
            let writer = self.stores.follower()?;
            let iterate = move |_: &mut Chance| {
                let mut sum = Sum::default();
                K::each(&writer, |key, value| sum.add(key, value));
                sum.check()
            };
            ours.push(repeat(1, self.plan.span(), iterate).await?);
        }
        let reference = median(&mut reference);
        self.print("entries by iter, one thread", reference, &mut ours, None);
        self.stores.check().await
    }

    async fn get_while_written(&self) -> anyhow::Result<()> {
        let (mut reference, mut ours) = (vec![], vec![]);
        let (span, keys) = (self.plan.span(), Keys::default());
        keys.take(ENTRIES, ENTRIES);
        for _ in 0..self.plan.rounds() {
            let writing = every_tick(span, || {
                let key = keys.take(1, u64::MAX);
                self.std.write(entries(key));
                std::future::ready(Ok(()))
            });
            let (rate, ()) = tokio::try_join!(self.std_gets(READERS), writing)?;
            reference.push(rate);
            let writer = self.stores.leader()?;
            let writing = every_tick(span, || {
                let (writer, key) = (writer.clone(), self.stores.keys().take(1, u64::MAX));
                async move {
                    let key = key.context("no key is left")?;
                    let old = K::insert(&writer, key, value(key)).await?;
                    ensure!(old.is_none(), "{key} was there before");
                    Ok(())
                }
            });
            let (rate, ()) = tokio::try_join!(self.gets(READERS), writing)?;
            ours.push(rate);
        }
        let reference = median(&mut reference);
        let case = "get, 2 threads, an insert a ms";
        self.print(case, reference, &mut ours, None);
        self.stores.check().await
    }

    /// Gets through a follower; how often a second.
    async fn gets(&self, threads: usize) -> anyhow::Result<f64> {
        let writer = self.stores.follower()?;
        let get = move |key| K::get(&writer, key);
        repeat(threads, self.plan.span(), strides(get)).await
    }

    /// The same of the counterpart.
    async fn std_gets(&self, threads: usize) -> anyhow::Result<f64> {
        let std = self.std.clone();
        let get = move |key| K::std_get(&std.read(), key);
        repeat(threads, self.plan.span(), strides(get)).await
    }

    fn print(&self, case: &str, reference: f64, ours: &mut [f64], target: Option<Target>) {
        Row {
            case: &format!("{}: {case}", K::NAME),
            reference: Some((K::STD, Figure::Rate(reference))),
            ours: Figure::Rate(median(ours)),
            target,
        }
        .print();
    }
}

/// The counterpart of a map, under a lock.
struct Locked<K: Kind>(RwLock<K::Std>);

impl<K: Kind> Locked<K> {
    fn read(&self) -> RwLockReadGuard<'_, K::Std> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, entries: Vec<(u64, Bytes)>) {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        map.extend(entries);
    }
}

impl<K: Kind> Default for Locked<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

/// Writes once a tick for `span`; a tick that comes late moves all that follow.
async fn every_tick<F: Future<Output = anyhow::Result<()>>>(
    span: Duration,
    write: impl Fn() -> F,
) -> anyhow::Result<()> {
    let until = Instant::now() + span;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        tick.tick().await;
        write().await?;
    }
    Ok(())
}

/// Does `step` again and again for `span`, on so many threads; what it reports a second, of all.
async fn repeat(
    threads: usize,
    span: Duration,
    step: impl Fn(&mut Chance) -> anyhow::Result<u64> + Clone + Send + 'static,
) -> anyhow::Result<f64> {
    let started = Instant::now();
    let repeating = (0..threads).map(|thread| {
        let step = step.clone();
        tokio::task::spawn_blocking(move || {
            let mut chance = Chance::new(thread);
            let mut done = 0;
            while started.elapsed() < span {
                done += step(&mut chance)?;
            }
            anyhow::Ok(done as f64 / started.elapsed().as_secs_f64())
        })
    });
    let rates = try_join_all(repeating).await?;
    rates.into_iter().sum()
}

/// Some gets of any keys.
fn strides(
    get: impl Fn(u64) -> Option<Bytes> + Clone,
) -> impl Fn(&mut Chance) -> anyhow::Result<u64> + Clone {
    move |chance| {
        for _ in 0..STRIDE {
            let key = chance.below(ENTRIES);
            let value = black_box(&get)(key);
            ensure!(
                value.is_some_and(|value| belongs(&value, key)),
                "another value than that of {key}"
            );
        }
        Ok(STRIDE)
    }
}

/// What was seen of all entries.
#[derive(Debug, Default)]
struct Sum {
    count: u64,
    keys: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, key: u64, value: &Bytes) {
        self.count += 1;
        self.keys += key;
        self.bytes += u64::from(value[KEY]);
    }

    /// Checks that all were seen; their number.
    fn check(&self) -> anyhow::Result<u64> {
        let keys = ENTRIES * (ENTRIES - 1) / 2;
        ensure!(
            self.count == ENTRIES && self.keys == keys && self.bytes == 7 * ENTRIES,
            "not all entries, but {self:?}"
        );
        Ok(self.count)
    }
}

/// Numbers at random, the same in every run. After G. Marsaglia, *Xorshift RNGs* (2003).
struct Chance(u64);

impl Chance {
    fn new(seed: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ seed as u64)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
