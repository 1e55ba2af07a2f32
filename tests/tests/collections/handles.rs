//! The collections, each for itself.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures::{
    StreamExt as _,
    future::{join_all, try_join_all},
};
use mosaik::{
    GroupError, Network,
    collections::{
        Cell, CellChange, End, Inserted, Limit, Map, MapChange, MapWriter, Once, OutOfBounds,
        PriorityQueue, PriorityQueueChange, Set, SetChange, SortedMap, Vec as List, VecChange,
    },
    groups::Refusal,
};
use mosaik_tests::{loopback, node, unique, within};

use crate::three;

/// The map `name` of three nodes, online on each.
async fn maps(networks: &[Network; 3], name: &str) -> [MapWriter<String, u64>; 3] {
    let maps = networks
        .each_ref()
        .map(|network| Map::builder(network, name).founders(3).writer());
    for map in &maps {
        within(map.when().online()).await;
    }
    maps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_map_is_the_same_everywhere_and_answers_as_std_does() {
    let networks = three(&unique("map")).await;
    let [one, two, three] = maps(&networks, "prices").await;
    let key = |name: &str| name.to_owned();
    assert_eq!(within(one.insert(key("a"), 1)).await.unwrap(), None);
    // What was written here is read here at once.
    assert_eq!(one.get(&key("a")), Some(1));
    assert_eq!(within(two.insert(key("a"), 2)).await.unwrap(), Some(1));
    assert_eq!(within(three.remove(key("b"))).await.unwrap(), None);
    let more = (0..5).map(|n| (format!("k{n}"), n));
    assert_eq!(within(three.extend(more)).await.unwrap(), 5);
    within(one.refresh()).await.unwrap();
    assert_eq!(one.len(), 6);

    // A view stays as it is, and a range is one of keys.
    let before = one.view();
    let removed = two.remove_range(key("k1")..=key("k3"));
    assert_eq!(within(removed).await.unwrap(), 3);
    within(one.refresh()).await.unwrap();
    assert_eq!((before.len(), one.len()), (6, 3));
    let mut keys: Vec<_> = one.keys().collect();
    keys.sort();
    assert_eq!(keys, ["a", "k0", "k4"]);

    // By value, whoever wrote it, and wherever it was read.
    let exchanged = three.compare_exchange(key("a"), Some(2), Some(3));
    assert_eq!(within(exchanged).await.unwrap(), Ok(Some(2)));
    let exchanged = one.compare_exchange(key("a"), Some(2), Some(4));
    assert_eq!(within(exchanged).await.unwrap(), Err(Some(3)));
    within(two.insert(key("a"), 3)).await.unwrap();
    let exchanged = one.compare_exchange(key("a"), Some(3), None);
    assert_eq!(within(exchanged).await.unwrap(), Ok(Some(3)));
    let exchanged = two.compare_exchange(key("a"), None, Some(9));
    assert_eq!(within(exchanged).await.unwrap(), Ok(None));

    let gone = two.remove_many(["a", "x", "k0"].map(key));
    assert_eq!(within(gone).await.unwrap(), 2);
    assert_eq!(within(three.clear()).await.unwrap(), 1);
    assert!(three.is_empty() && !before.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_many_nodes_lose_nothing() {
    let networks = three(&unique("updates")).await;
    let maps = maps(&networks, "counters").await;
    let add = |map: &MapWriter<String, u64>| {
        let map = map.clone();
        async move {
            for _ in 0..20 {
                let add = |count: Option<&u64>| Some(count.copied().unwrap_or(0) + 1);
                map.update("count".into(), add).await?;
            }
            Ok::<_, GroupError>(())
        }
    };
    let adding = maps.iter().chain(&maps).map(add);
    within(try_join_all(adding)).await.unwrap();
    for map in &maps {
        within(map.refresh()).await.unwrap();
        assert_eq!(map.get(&"count".into()), Some(120));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sorted_map_has_ranges() {
    let network = node(&unique("sorted"), &[]).await;
    let map = SortedMap::<u64, String>::writer(&network, "sorted");
    within(map.when().online()).await;
    let entries = [30, 10, 20].map(|n| (n, n.to_string()));
    assert_eq!(within(map.extend(entries)).await.unwrap(), 3);
    let view = map.view();
    let range = |view: &mosaik::collections::SortedMapView<u64, String>, from| {
        view.range(from..).map(|(key, _)| *key).collect::<Vec<_>>()
    };
    assert_eq!(range(&view, 11), [20, 30]);
    assert_eq!(map.first(), Some((10, "10".into())));
    let keys: Vec<u64> = map.range(..=20).rev().map(|(key, _)| key).collect();
    assert_eq!(keys, [20, 10]);
    assert_eq!(within(map.retain_range(20..30)).await.unwrap(), 2);
    assert_eq!(map.last(), Some((20, "20".into())));
    assert_eq!(range(&view, 11), [20, 30], "as it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vector_says_what_its_indices_have_come_to() {
    let networks = three(&unique("vec")).await;
    let [one, two, three] = networks
        .each_ref()
        .map(|network| List::<u64>::builder(network, "list").founders(3).writer());
    within(one.when().online()).await;
    within(one.extend([1, 2, 3])).await.unwrap();
    within(two.push_front(0)).await.unwrap();
    within(three.push_back(4)).await.unwrap();
    within(one.refresh()).await.unwrap();
    assert_eq!(one.iter().as_slice(), [0, 1, 2, 3, 4]);
    assert_eq!((one.front(), one.back()), (Some(0), Some(4)));
    assert_eq!(within(two.set(1, 10)).await.unwrap(), Ok(1));
    let beyond = Err(OutOfBounds { len: 5 });
    assert_eq!(within(two.set(5, 9)).await.unwrap(), beyond);
    let beyond = Err(OutOfBounds { len: 5 });
    assert_eq!(within(two.swap(0, usize::MAX)).await.unwrap(), beyond);
    assert_eq!(within(two.insert(6, 9)).await.unwrap(), beyond);
    assert_eq!(within(two.insert(5, 5)).await.unwrap(), Ok(()));
    assert_eq!(within(two.swap(0, 5)).await.unwrap(), Ok(()));
    assert_eq!(within(two.remove(9)).await.unwrap(), None);
    assert_eq!(two.iter().as_slice(), [5, 10, 2, 3, 4, 0]);
    let view = two.view();
    assert_eq!(view.range(1..3).copied().collect::<Vec<_>>(), [10, 2]);
    assert_eq!(view.range(4..9).copied().collect::<Vec<_>>(), [4, 0]);
    assert_eq!(view.index_of(&3), Some(3));
    assert_eq!(within(two.pop_back()).await.unwrap(), Some(0));
    assert_eq!(within(two.pop_front()).await.unwrap(), Some(5));
    assert_eq!(within(two.truncate(1)).await.unwrap(), 3);
    assert_eq!(within(two.clear()).await.unwrap(), 1);
    assert_eq!(within(two.pop_back()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_meet_in_views() {
    let network = node(&unique("set"), &[]).await;
    let [left, right] = ["left", "right"].map(|name| Set::<u64>::writer(&network, name));
    within(left.when().online()).await;
    within(right.when().online()).await;
    assert!(within(left.insert(1)).await.unwrap());
    assert!(!within(left.insert(1)).await.unwrap());
    assert_eq!(within(left.extend([1, 2, 3])).await.unwrap(), 2);
    assert_eq!(within(right.extend([2, 3, 4])).await.unwrap(), 3);
    let (these, those) = (left.view(), right.view());
    let sorted = |elements: Vec<&u64>| {
        let mut elements: Vec<u64> = elements.into_iter().copied().collect();
        elements.sort_unstable();
        elements
    };
    assert_eq!(sorted(these.union(&those).collect()), [1, 2, 3, 4]);
    assert_eq!(sorted(these.intersection(&those).collect()), [2, 3]);
    assert_eq!(sorted(these.difference(&those).collect()), [1]);
    assert_eq!(sorted(these.symmetric_difference(&those).collect()), [1, 4]);
    assert!(!these.is_subset(&those) && !these.is_disjoint(&those));
    assert_eq!(within(left.remove_range(2..)).await.unwrap(), 2);
    assert!(within(left.remove(1)).await.unwrap() && left.is_empty());
    assert!(left.view().is_subset(&those) && those.is_superset(&left.view()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_decides_once_and_all_hear_of_it() {
    let networks = three(&unique("once")).await;
    let cells = networks.each_ref().map(|network| {
        Once::<usize>::builder(network, "genesis")
            .founders(3)
            .writer()
    });
    let reader = Once::<usize>::builder(&networks[0], "genesis")
        .founders(3)
        .reader();
    let waiting = tokio::spawn(async move { reader.wait().await });
    within(cells[0].when().online()).await;
    assert_eq!(cells[1].get(), None);
    let setting = cells.iter().enumerate().map(|(n, cell)| cell.set(n));
    let outcomes = within(join_all(setting)).await;
    let winners: Vec<_> = outcomes
        .iter()
        .enumerate()
        .filter(|(n, outcome)| match outcome.as_ref().unwrap() {
            Ok(()) => true,
            Err(mine) => {
                assert_eq!(mine, n);
                false
            }
        })
        .map(|(n, _)| n)
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(within(waiting).await.unwrap().unwrap(), winners[0]);
    for cell in &cells {
        assert_eq!(within(cell.wait()).await.unwrap(), winners[0]);
    }

    let cell = Cell::<u64>::builder(&networks[0], "cell")
        .founders(1)
        .writer();
    within(cell.when().online()).await;
    assert_eq!(within(cell.swap(1)).await.unwrap(), None);
    within(cell.set(2)).await.unwrap();
    let exchanged = cell.compare_exchange(Some(2), Some(3));
    assert_eq!(within(exchanged).await.unwrap(), Ok(Some(2)));
    let doubled = cell.update(|value| value.map(|value| value * 2));
    assert_eq!(within(doubled).await.unwrap(), Some(6));
    assert_eq!(within(cell.clear()).await.unwrap(), Some(6));
    assert_eq!(cell.get(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_popped_is_popped_once_and_in_its_turn() {
    let networks = three(&unique("queue")).await;
    let queues = networks.each_ref().map(|network| {
        PriorityQueue::<u64, String, u32>::builder(network, "bids")
            .founders(3)
            .writer()
    });
    let [one, two, three] = &queues;
    within(one.when().online()).await;
    let bids = [(99, "a", 10), (101, "b", 5), (101, "c", 7)];
    let bids = bids.map(|(price, id, size)| (price, id.to_owned(), size));
    assert_eq!(within(one.extend(bids)).await.unwrap(), 3);
    within(two.refresh()).await.unwrap();
    assert_eq!(two.peek_max(), Some((101, "b".into(), 5)));
    // Another size keeps the place, another price does not, and it does not come back with the price.
    assert_eq!(
        within(two.update_value("b".into(), 6)).await.unwrap(),
        Some(5)
    );
    assert_eq!(two.peek_max(), Some((101, "b".into(), 6)));
    for (before, price) in [(101, 102), (102, 101)] {
        let update = two.update_priority("b".into(), price);
        assert_eq!(within(update).await.unwrap(), Some(before));
    }
    assert_eq!(two.peek_max().unwrap().1, "c");
    assert_eq!(two.peek_min().unwrap().1, "a");
    let limit = Limit {
        len: 3,
        evict: End::Min,
    };
    assert_eq!(within(two.set_limit(Some(limit))).await.unwrap(), 0);
    let inserted = Inserted {
        replaced: None,
        evicted: Some((99, "a".into(), 10)),
    };
    assert_eq!(
        within(three.insert(100, "d".into(), 1)).await.unwrap(),
        inserted
    );
    assert_eq!(
        within(three.remove("d".into())).await.unwrap(),
        Some((100, 1))
    );
    within(three.set_limit(None)).await.unwrap();
    within(three.clear()).await.unwrap();

    let items = (0..60).map(|n| (n % 7, format!("{n:02}"), 0));
    within(three.extend(items)).await.unwrap();
    let pop = async |queue: &mosaik::collections::PriorityQueueWriter<u64, String, u32>| {
        let mut popped = Vec::new();
        while let Some((priority, key, _)) = queue.pop_max().await? {
            popped.push((priority, key));
        }
        Ok::<_, GroupError>(popped)
    };
    let popped = within(try_join_all(queues.iter().map(pop))).await.unwrap();
    for one in &popped {
        assert!(one.is_sorted_by(|a, b| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1)));
    }
    let all: BTreeMap<_, _> = popped.iter().flatten().map(|(p, k)| (k, p)).collect();
    assert_eq!(all.len(), 60);
    assert_eq!(popped.iter().map(Vec::len).sum::<usize>(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_follow_and_handles_are_one_store() {
    let name = unique("readers");
    let networks = three(&name).await;
    let [one, ..] = maps(&networks, "prices").await;
    let late = node(&name, &[&networks[0]]).await;
    within(one.extend((0..100).map(|n| (n.to_string(), n))))
        .await
        .unwrap();
    let reader = Map::<String, u64>::builder(&late, "prices")
        .founders(3)
        .reader();
    within(reader.when().online()).await;
    within(reader.refresh()).await.unwrap();
    assert_eq!(reader.len(), 100);
    // The version that a writer has reached, a reader reaches.
    within(one.insert("x".into(), 1)).await.unwrap();
    within(reader.when().reaches(one.version())).await;
    assert_eq!(reader.get(&"x".into()), Some(1));
    assert!(one.explain().to_string().contains("prices"));

    let other = Map::<String, u64>::builder(&networks[0], "prices")
        .founders(3)
        .writer();
    drop(one);
    within(other.insert("y".into(), 2)).await.unwrap();
    within(reader.when().reaches(other.version())).await;
    assert_eq!(reader.get(&"y".into()), Some(2));
    within(reader.leave()).await;
    assert!(matches!(
        within(reader.refresh()).await,
        Err(GroupError::Closed)
    ));
    assert_eq!(reader.len(), 102, "what was read can still be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_of_one_name_and_other_types_refuse_each_other() {
    let name = unique("types");
    let first = node(&name, &[]).await;
    let map = Map::<u64, u64>::writer(&first, "store");
    within(map.when().online()).await;
    let second = node(&name, &[&first]).await;
    let other = Map::<u64, String>::builder(&second, "store")
        .command_timeout(Duration::from_secs(60))
        .reader();
    let refused = async {
        while !other.explain().to_string().contains("refuse") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(refused).await;
    // In one process it is told at once.
    let vec = List::<u64>::writer(&first, "store");
    let refused = within(vec.push_back(1)).await;
    assert!(
        matches!(refused, Err(GroupError::Refused(Refusal::Declared))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_is_there_again() {
    let name = unique("disk");
    let dir = tempfile::tempdir().unwrap();
    let start = async || loopback(&name).data_dir(dir.path()).build().await.unwrap();
    let network = start().await;
    let queue = PriorityQueue::<u64, u64, String>::writer(&network, "queue");
    within(queue.when().online()).await;
    let items = (0..50).map(|n| (n % 5, n, n.to_string()));
    within(queue.extend(items)).await.unwrap();
    let popped = within(queue.pop_min()).await.unwrap();
    assert_eq!(popped, Some((0, 0, "0".into())));
    within(network.shutdown()).await;
    assert_eq!(queue.len(), 49);
    drop((queue, network));
    let network = start().await;
    let queue = PriorityQueue::<u64, u64, String>::writer(&network, "queue");
    within(queue.when().online()).await;
    within(queue.refresh()).await.unwrap();
    assert_eq!(queue.len(), 49);
    assert_eq!(queue.peek_min(), Some((0, 5, "5".into())));
    let popped = within(queue.pop_max()).await.unwrap();
    assert_eq!(popped, Some((4, 4, "4".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_feed_has_the_same() {
    let networks = three(&unique("feed")).await;
    let [one, two, _] = maps(&networks, "prices").await;
    let key = |n: u64| n.to_string();
    within(one.extend((0..5).map(|n| (key(n), n))))
        .await
        .unwrap();
    within(two.refresh()).await.unwrap();
    let mut changes = two.changes();
    let mut copy = BTreeMap::new();
    let (version, change) = within(changes.next()).await.unwrap();
    let MapChange::Reset(view) = change else {
        panic!("{change:?}");
    };
    assert!(version <= two.version());
    copy.extend(view.ascending().map(|(key, value)| (key.clone(), *value)));
    assert_eq!(copy.len(), 5);

    within(one.insert(key(1), 10)).await.unwrap();
    within(one.remove(key(2))).await.unwrap();
    within(one.insert(key(7), 7)).await.unwrap();
    within(one.remove(key(99))).await.unwrap();
    let removed = within(one.remove_range(key(3)..)).await.unwrap();
    assert_eq!(removed, 3);
    within(one.insert(key(8), 8)).await.unwrap();
    let mut last = version;
    while copy.get(&key(8)) != Some(&8) {
        let (version, change) = within(changes.next()).await.unwrap();
        assert!(version >= last);
        last = version;
        match change {
            MapChange::Inserted { key, value } => assert_eq!(copy.insert(key, value), None),
            MapChange::Updated { key, old, new } => assert_eq!(copy.insert(key, new), Some(old)),
            MapChange::Removed { key, old } => assert_eq!(copy.remove(&key), Some(old)),
            other => panic!("{other:?}"),
        }
    }
    let view = two.view();
    let there = view.ascending().map(|(key, price)| (key.clone(), *price));
    assert!(copy.into_iter().eq(there));

    // From a version on, here where it was read, and there where no feed was open.
    within(one.insert(key(9), 9)).await.unwrap();
    let mut again = two.changes_since(last);
    let (version, change) = within(again.next()).await.unwrap();
    assert!(
        matches!(change, MapChange::Inserted { value: 9, .. }),
        "{change:?}"
    );
    assert!(version > last);
    let (_, change) = within(one.changes_since(last).next()).await.unwrap();
    assert!(matches!(change, MapChange::Reset(_)), "{change:?}");
    within(two.leave()).await;
    while within(changes.next()).await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn all_collections_have_feeds() {
    let network = node(&unique("feeds"), &[]).await;
    let list = List::<u64>::writer(&network, "list");
    let set = Set::<u64>::writer(&network, "set");
    let cell = Cell::<u64>::writer(&network, "cell");
    let queue = PriorityQueue::<u64, u64, u64>::writer(&network, "queue");
    within(list.when().online()).await;
    within(set.when().online()).await;
    within(cell.when().online()).await;
    within(queue.when().online()).await;
    let (mut lists, mut sets) = (list.changes(), set.changes());
    let (mut cells, mut queues) = (cell.changes(), queue.changes());
    assert!(matches!(
        within(lists.next()).await,
        Some((_, VecChange::Reset(_)))
    ));
    assert!(matches!(
        within(sets.next()).await,
        Some((_, SetChange::Reset(_)))
    ));
    assert!(matches!(
        within(cells.next()).await,
        Some((_, CellChange::Reset(None)))
    ));
    assert!(matches!(
        within(queues.next()).await,
        Some((_, PriorityQueueChange::Reset(_)))
    ));
    within(list.push_front(0)).await.unwrap();
    let (_, change) = within(lists.next()).await.unwrap();
    assert!(
        matches!(change, VecChange::Inserted { index: 0, value: 0 }),
        "{change:?}"
    );
    within(set.insert(1)).await.unwrap();
    let (_, change) = within(sets.next()).await.unwrap();
    assert!(matches!(change, SetChange::Inserted(1)), "{change:?}");
    within(cell.set(1)).await.unwrap();
    within(cell.swap(2)).await.unwrap();
    let (_, change) = within(cells.next()).await.unwrap();
    assert!(
        matches!(change, CellChange::Set { old: None, new: 1 }),
        "{change:?}"
    );
    let (_, change) = within(cells.next()).await.unwrap();
    assert!(
        matches!(
            change,
            CellChange::Set {
                old: Some(1),
                new: 2
            }
        ),
        "{change:?}"
    );
    within(queue.insert(1, 1, 1)).await.unwrap();
    let (_, change) = within(queues.next()).await.unwrap();
    assert!(
        matches!(change, PriorityQueueChange::Inserted { .. }),
        "{change:?}"
    );
    within(queue.update_priority(1, 5)).await.unwrap();
    let (_, change) = within(queues.next()).await.unwrap();
    let PriorityQueueChange::Updated { key: 1, old, new } = change else {
        panic!("{change:?}");
    };
    assert_eq!((old, new), ((1, 1), (5, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_encoded_in_many_ways_are_the_same_everywhere() {
    type Bags = HashMap<u64, u64>;
    let networks = three(&unique("bags")).await;
    let maps = networks.each_ref().map(|network| {
        Map::<u64, Bags>::builder(network, "bags")
            .founders(3)
            .writer()
    });
    for map in &maps {
        within(map.when().online()).await;
    }
    let bag = |n: u64| (0..20).map(|i| (i, n)).collect::<Bags>();
    // Members compare what they have done every 1024 entries: each of these answers the bag before.
    for n in 0..1100 {
        let old = within(maps[0].insert(1, bag(n))).await.unwrap();
        assert_eq!(old, n.checked_sub(1).map(bag));
    }
    for map in &maps {
        within(map.refresh()).await.unwrap();
        assert_eq!(map.get(&1), Some(bag(1099)));
        let swapped = map.compare_exchange(1, Some(bag(1099)), Some(bag(1099)));
        assert_eq!(within(swapped).await.unwrap(), Ok(Some(bag(1099))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_taken_out_is_not_put_in() {
    const MIB: usize = 1024 * 1024;
    let network = node(&unique("large"), &[]).await;
    let list = List::<Vec<u8>>::writer(&network, "list");
    within(list.when().online()).await;
    let is_too_large = |result: Result<(), GroupError>| {
        assert!(
            matches!(result, Err(GroupError::TooLarge { .. })),
            "{result:?}"
        );
    };
    is_too_large(within(list.push_back(vec![1; 5 * MIB])).await);
    is_too_large(within(list.extend([vec![1; 5 * MIB], vec![2]])).await);
    // Many that are not too large may be more together.
    let most = vec![7; 4 * MIB - 4096];
    within(list.extend([most.clone(), most.clone(), most.clone()]))
        .await
        .unwrap();
    assert_eq!(within(list.pop_back()).await.unwrap(), Some(most.clone()));
    assert_eq!(within(list.pop_front()).await.unwrap(), Some(most.clone()));
    let set = within(list.set(0, vec![])).await.unwrap();
    assert_eq!(set, Ok(most));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_follows_a_store_says_that_it_cannot_vote() {
    let name = unique("follows");
    let first = node(&name, &[]).await;
    let writer = Map::<u64, u64>::writer(&first, "store");
    within(writer.when().online()).await;
    within(writer.insert(1, 1)).await.unwrap();
    let second = node(&name, &[&first]).await;
    let reader = Map::<u64, u64>::reader(&second, "store");
    within(reader.when().reaches(writer.version())).await;
    let late = Map::<u64, u64>::writer(&second, "store");
    let refused = within(late.insert(2, 2)).await;
    assert!(
        matches!(refused, Err(GroupError::Refused(Refusal::Declared))),
        "{refused:?}"
    );
    assert_eq!(reader.get(&1), Some(1), "the reader goes on");
    // The other way round they are one member.
    let shared = Map::<u64, u64>::reader(&first, "store");
    assert_eq!(shared.get(&1), Some(1));
    let waiting = Once::<u64>::reader(&second, "store");
    let refused = within(waiting.wait()).await;
    assert!(
        matches!(refused, Err(GroupError::Refused(Refusal::Declared))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_disk_shows_in_the_version_that_it_belongs_to() {
    let name = unique("versions");
    let dir = tempfile::tempdir().unwrap();
    let start = async || loopback(&name).data_dir(dir.path()).build().await.unwrap();
    let network = start().await;
    let map = Map::<u64, u64>::writer(&network, "map");
    within(map.when().online()).await;
    within(map.insert(0, 0)).await.unwrap();
    let version = map.version();
    for n in 1..200 {
        within(map.insert(n, n)).await.unwrap();
    }
    within(network.shutdown()).await;
    drop((map, network));
    let network = start().await;
    let map = Map::<u64, u64>::writer(&network, "map");
    within(map.when().reaches(version)).await;
    assert_eq!(map.get(&0), Some(0));
    // Futures can be sent to tasks of their own.
    let inserting = tokio::spawn(map.insert(1, 2));
    assert_eq!(within(inserting).await.unwrap().unwrap(), Some(1));
    let updating = tokio::spawn(map.update(1, |value| value.map(|value| value + 1)));
    assert_eq!(within(updating).await.unwrap().unwrap(), Some(3));
    let keys = [1, 2];
    let removing = tokio::spawn(map.remove_many(keys.iter().copied()));
    assert_eq!(within(removing).await.unwrap().unwrap(), 2);
}
