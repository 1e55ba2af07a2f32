//! What has a time to live, and counters.

use std::time::{Duration, SystemTime};

use futures::{StreamExt as _, future::try_join_all};
use mosaik::{
    Network,
    collections::{Counter, CounterChange, Map, MapChange, SortedMap},
};
use mosaik_tests::{loopback, node, unique, within};

use crate::three;

/// A time to live that the tests wait for.
const SHORT: Duration = Duration::from_secs(4);
/// One that they do not.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread")]
async fn what_has_lived_for_its_time_is_gone_on_every_node_though_nobody_writes() {
    let networks = three(&unique("lives")).await;
    let [one, two, three] = networks.each_ref().map(|network| {
        Map::<String, u64>::builder(network, "sessions")
            .founders(3)
            .writer()
    });
    for map in [&one, &two, &three] {
        within(map.when().online()).await;
    }
    let mut changes = three.changes();
    let key = |name: &str| name.to_owned();
    let began = SystemTime::now();
    assert_eq!(
        within(one.insert_for(key("a"), 1, SHORT)).await.unwrap(),
        None
    );
    within(two.insert_for(key("b"), 2, LONG)).await.unwrap();
    within(two.insert(key("c"), 3)).await.unwrap();
    // What is put once more lives for ever.
    within(one.insert_for(key("d"), 4, SHORT)).await.unwrap();
    let old = within(two.insert(key("d"), 5)).await.unwrap();
    assert_eq!(old, Some(4));
    within(three.refresh()).await.unwrap();
    let end = three.expires_at(&key("a")).unwrap();
    // The group counts whole milliseconds.
    assert!(end + Duration::from_millis(1) >= began + SHORT, "{end:?}");
    assert_eq!(three.expires_at(&key("c")), None);
    assert_eq!(three.expires_at(&key("d")), None);
    let gone = async {
        loop {
            if let Some((_, MapChange::Expired { key, old })) = changes.next().await {
                return (key, old);
            }
        }
    };
    assert_eq!(within(gone).await, (key("a"), 1));
    assert!(SystemTime::now() >= end, "before its time");
    within(one.refresh()).await.unwrap();
    assert_eq!(one.get(&key("a")), None);
    assert_eq!((one.len(), one.get(&key("d"))), (3, Some(5)));
    assert!(one.view().expires_at(&key("b")).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn times_to_live_go_on_over_a_restart() {
    let name = unique("lives on disk");
    let dir = tempfile::tempdir().unwrap();
    let start = async || loopback(&name).data_dir(dir.path()).build().await.unwrap();
    let open = |network: &Network| SortedMap::<u64, u64>::writer(network, "map");
    let network = start().await;
    let map = open(&network);
    within(map.when().online()).await;
    within(map.insert_for(1, 1, SHORT)).await.unwrap();
    within(map.insert_for(2, 2, LONG)).await.unwrap();
    let end = map.expires_at(&2);
    within(network.shutdown()).await;
    drop((map, network));
    let network = start().await;
    let map = open(&network);
    within(map.when().online()).await;
    let mut changes = map.changes();
    while map.contains_key(&1) {
        within(changes.next()).await;
    }
    assert_eq!(map.expires_at(&2), end);
    assert_eq!(map.last(), Some((2, 2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_may_put_what_ends() {
    let network = node(&unique("lives in transactions"), &[]).await;
    let map = Map::<u64, u64>::writer(&network, "map");
    within(map.when().online()).await;
    let put = map.transaction(|map| {
        map.insert_for(1, 1, SHORT);
        map.get(&1)
    });
    assert_eq!(within(put).await.unwrap(), Some(1));
    let mut changes = map.changes();
    while map.contains_key(&1) {
        within(changes.next()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_add_to_one_counter() {
    let networks = three(&unique("counter")).await;
    let counters = networks
        .each_ref()
        .map(|network| Counter::builder(network, "orders").founders(3).writer());
    for counter in &counters {
        within(counter.when().online()).await;
    }
    let mut changes = counters[2].changes();
    let begun = within(changes.next()).await.map(|(_, change)| change);
    assert_eq!(begun, Some(CounterChange::Reset(0)));
    let adding = counters
        .iter()
        .flat_map(|counter| (0..50).map(move |_| counter.add(1)));
    let mut sums = within(try_join_all(adding)).await.unwrap();
    sums.sort_unstable();
    assert!(sums.into_iter().eq(1..=150), "each sum once");
    assert_eq!(within(counters[0].add(-50)).await.unwrap(), 100);
    assert_eq!(within(counters[1].swap(7)).await.unwrap(), 100);
    within(counters[2].refresh()).await.unwrap();
    assert_eq!((counters[2].get(), counters[2].view().get()), (7, 7));
    let mut last = 0;
    while last != 7 {
        match within(changes.next()).await {
            Some((_, CounterChange::Changed { old, new })) if old == last => last = new,
            other => panic!("{other:?} after {last}"),
        }
    }
    let doubled = counters[1].transaction(|counter| {
        let sum = counter.get();
        counter.add(sum);
        Some(sum)
    });
    assert_eq!(within(doubled).await.unwrap(), Some(7));
    assert_eq!(counters[1].get(), 14);
}
