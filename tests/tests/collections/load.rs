//! Several collections of one store: readers that join while others write, snapshots, commands that panic, and a quorum
//! that is lost.

use std::{cmp::Ordering, time::Duration};

use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{join_all, select_all},
};
use mosaik::{
    GroupError, Network,
    collections::{Counter, Map, SortedMap, Vec as List},
};
use mosaik_tests::{node, unique, within};
use serde::{Deserialize, Serialize};

use crate::three;

/// Bytes of what makes the log long.
const BALLAST: usize = 512 * 1024;
/// How often that is written before readers join: more than a log is long before a snapshot takes the place of its
/// beginning.
const BALLASTS: u64 = 150;

/// What writers have done, in several ways.
#[mosaik::replicated(founders = 3)]
struct Deeds {
    /// How much each has done.
    counts: Map<u64, u64>,
    /// What was done, in that order: by whom, and the how-manyeth that was.
    done: List<(u64, u64)>,
    all: Counter,
    ballast: Map<u64, Bytes>,
}

impl DeedsTransaction {
    fn act(&mut self, writer: u64) -> Option<u64> {
        let count = self.counts.get(&writer).unwrap_or(0);
        self.counts.insert(writer, count + 1);
        self.done.push_back((writer, count));
        self.all.add(1);
        Some(count)
    }
}

impl DeedsView {
    /// Everything in it is of one moment: returns how much was done.
    fn check(&self) -> usize {
        let mut counts = std::collections::BTreeMap::new();
        for (writer, n) in self.done.iter() {
            let count: &mut u64 = counts.entry(*writer).or_default();
            assert_eq!((count, n), (&mut n.clone(), n), "of {writer}");
            *counts.entry(*writer).or_default() += 1;
        }
        assert!(self.counts.ascending().eq(&counts));
        assert_eq!(self.all.get(), self.done.len() as i128);
        self.done.len()
    }
}

/// Writes until it is dropped.
async fn act(deeds: DeedsWriter, writer: u64) {
    loop {
        match deeds.transaction(|deeds| deeds.act(writer)).await {
            Ok(done) => assert!(done.is_some()),
            // Whatever became of it, all that was done counts.
            Err(GroupError::Timeout(pending)) => drop(pending.outcome::<bool>().await),
            Err(GroupError::Unavailable(_) | GroupError::Contended | GroupError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Joins as a reader, and follows for a while.
async fn join(name: &str, first: &Network, behind: mosaik::Version) -> usize {
    let network = node(name, &[first]).await;
    let reader = Deeds::reader(&network);
    within(reader.when().reaches(behind)).await;
    let held = reader.view();
    let before = held.check();
    assert!(held.version() >= behind);
    let mut changes = reader.all.changes();
    while reader.view().done.len() < before + 50 {
        within(changes.next()).await.unwrap();
    }
    assert_eq!(held.check(), before, "a view stays as it is");
    within(reader.refresh()).await.unwrap();
    let seen = reader.view().check();
    within(network.shutdown()).await;
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_join_while_others_write_and_snapshots_are_taken() {
    let name = unique("deeds");
    let networks = {
        let first = node(&name, &[]).await;
        let second = node(&name, &[&first]).await;
        let third = node(&name, &[&first]).await;
        [first, second, third]
    };
    let writers = networks.each_ref().map(Deeds::writer);
    for writer in &writers {
        within(writer.when().online()).await;
    }
    let acting = select_all(
        (0..)
            .zip(&writers)
            .map(|(n, writer)| act(writer.clone(), n).boxed()),
    );
    let readers = async {
        // Snapshots are taken meanwhile, of what is written to.
        for n in 0..BALLASTS {
            let ballast = Bytes::from(vec![n as u8; BALLAST]);
            within(writers[0].ballast.insert(n % 8, ballast))
                .await
                .unwrap();
        }
        let behind = writers[0].view().version();
        // The first entries are there no longer: they begin with a snapshot.
        let joining = (0..4).map(|_| join(&name, &networks[0], behind));
        join_all(joining).await
    };
    let seen = tokio::select! {
        seen = readers => seen,
        _ = acting => panic!("a writer ended"),
    };
    within(writers[1].refresh()).await.unwrap();
    let all = writers[1].view().check();
    assert!(seen.iter().all(|seen| *seen <= all), "{seen:?} of {all}");
    assert_eq!(writers[1].ballast.len(), 8);
}

/// A key that cannot be compared with 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Touchy(u8);

impl Ord for Touchy {
    fn cmp(&self, other: &Self) -> Ordering {
        assert!(self.0 != 13 && other.0 != 13, "thirteen");
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Touchy {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Collections of which one may panic.
#[mosaik::replicated(founders = 3)]
struct Fragile {
    before: Map<u64, u64>,
    touchy: SortedMap<Touchy, u64>,
    behind: List<u64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_panics_leaves_all_collections_as_they_were() {
    let networks = three(&unique("fragile")).await;
    let [one, two, _three] = networks.each_ref().map(Fragile::writer);
    for writer in [&one, &two] {
        within(writer.when().online()).await;
    }
    let fill = one.transaction(|store| {
        store.before.insert(1, 1);
        store.touchy.insert(Touchy(1), 1);
        store.behind.push_back(1);
        Some(())
    });
    within(fill).await.unwrap();
    let held = one.view();
    let panicked = within(one.touchy.extend([(Touchy(2), 2), (Touchy(13), 13)])).await;
    assert!(
        matches!(panicked, Err(GroupError::Panicked { .. })),
        "{panicked:?}"
    );
    let content = |view: &FragileView| {
        let touchy: Vec<_> = view
            .touchy
            .iter()
            .map(|(key, value)| (key.0, *value))
            .collect();
        (view.before.len(), touchy, view.behind.len())
    };
    for store in [&one, &two] {
        within(store.refresh()).await.unwrap();
        assert_eq!(content(&store.view()), (1, vec![(1, 1)], 1));
    }
    // What was read before is as good as it was, and all goes on.
    let moved = two.transaction(|store| {
        let value = store.touchy.remove(&Touchy(1))?;
        store.before.insert(2, value);
        store.behind.push_back(value);
        Some(value)
    });
    assert_eq!(within(moved).await.unwrap(), Some(1));
    within(one.refresh()).await.unwrap();
    assert_eq!(content(&one.view()), (2, vec![], 2));
    assert_eq!(content(&held), (1, vec![(1, 1)], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_recovered_goes_on_with_all_that_was_there() {
    let networks = three(&unique("recovered")).await;
    let writers = networks.each_ref().map(Deeds::writer);
    for writer in &writers {
        within(writer.when().voters(3)).await;
        within(writer.when().online()).await;
    }
    let [one, two, three] = writers;
    for n in 0..10 {
        within(two.transaction(|deeds| deeds.act(n % 2)))
            .await
            .unwrap();
    }
    within(one.refresh()).await.unwrap();
    let before = one.view();
    let [first, second, third] = networks;
    within(second.shutdown()).await;
    within(third.shutdown()).await;
    drop((two, three));
    within(one.when().offline()).await;
    // Neither of the two comes back.
    let recovered = tokio::time::timeout(Duration::from_secs(40), one.recover()).await;
    recovered.unwrap().unwrap();
    within(one.when().online()).await;
    assert_eq!(one.view().check(), 10);
    assert_eq!(
        within(one.transaction(|deeds| deeds.act(0))).await.unwrap(),
        Some(5)
    );
    assert_eq!((before.check(), one.view().check()), (10, 11));
    within(first.shutdown()).await;
}
