//! Transactions, of several nodes at once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use mosaik::{
    GroupError,
    collections::{Map, MapWriter, Set, Vec as List},
};
use mosaik_tests::{unique, within};

use crate::three;

/// Accounts, and what was moved between them.
#[mosaik::replicated(founders = 3)]
struct Bank {
    accounts: Map<u8, u64>,
    moved: List<(u8, u8, u64)>,
    closed: Set<u8>,
}

const ACCOUNTS: u8 = 4;
const EACH: u64 = 100;

/// Moves as much as there is, up to `cents`, unless one of the accounts is closed.
async fn transfer(
    bank: &BankWriter,
    from: u8,
    to: u8,
    cents: u64,
) -> Result<Option<u64>, GroupError> {
    bank.transaction(|bank| {
        if bank.closed.contains(&from) || bank.closed.contains(&to) {
            return Err("closed");
        }
        let there = bank.accounts.get(&from).unwrap_or(0);
        let cents = cents.min(there);
        let after = bank.accounts.get(&to).unwrap_or(0) + cents;
        bank.accounts.insert(from, there - cents);
        bank.accounts.insert(to, after);
        bank.moved.push_back((from, to, cents));
        Ok(cents)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_moved_by_all_nodes_at_once_and_never_made() {
    let networks = three(&unique("bank")).await;
    let banks = networks.each_ref().map(Bank::writer);
    within(banks[0].when().online()).await;
    let accounts = (0..ACCOUNTS).map(|account| (account, EACH));
    within(banks[0].accounts.extend(accounts)).await.unwrap();
    let transfers = banks.iter().enumerate().flat_map(|(node, bank)| {
        (0..20_u8).map(move |n| {
            let from = (n + node as u8) % ACCOUNTS;
            let to = (from + 1 + n % 3) % ACCOUNTS;
            transfer(bank, from, to, u64::from(n) * 3)
        })
    });
    // A view is of one moment, so the sum is always the same there.
    let watched = async {
        for _ in 0..50 {
            let view = banks[1].view();
            if !view.accounts.is_empty() {
                let sum: u64 = view.accounts.values().sum();
                assert_eq!(sum, u64::from(ACCOUNTS) * EACH);
            }
            tokio::task::yield_now().await;
        }
    };
    let moving = async { try_join_all(transfers).await.unwrap() };
    let (moved, ()) = within(async { tokio::join!(moving, watched) }).await;
    assert!(moved.iter().all(Option::is_some), "nobody is closed");

    // What was moved, one after the other, leads to what is there.
    within(banks[2].refresh()).await.unwrap();
    let view = banks[2].view();
    assert_eq!(view.moved.len(), moved.len());
    let mut replayed: BTreeMap<u8, u64> = (0..ACCOUNTS).map(|account| (account, EACH)).collect();
    for (from, to, cents) in view.moved.iter() {
        let there = replayed.get_mut(from).unwrap();
        *there = there.checked_sub(*cents).expect("no more than there was");
        *replayed.get_mut(to).unwrap() += cents;
    }
    let there: BTreeMap<u8, u64> = view
        .accounts
        .iter()
        .map(|(key, value)| (*key, *value))
        .collect();
    assert_eq!(there, replayed);

    // An account that is closed on another node is closed here.
    within(banks[0].closed.insert(1)).await.unwrap();
    assert_eq!(within(transfer(&banks[2], 1, 2, 1)).await.unwrap(), None);
    within(banks[0].closed.remove(1)).await.unwrap();
    assert_eq!(within(transfer(&banks[2], 1, 2, 0)).await.unwrap(), Some(0));
}

/// The map of one store, on three nodes.
async fn counters(name: &str) -> ([mosaik::Network; 3], [MapWriter<u8, u64>; 3]) {
    let networks = three(&unique(name)).await;
    let maps = networks.each_ref().map(|network| {
        let timeout = Duration::from_secs(3);
        Map::builder(network, "counters")
            .founders(3)
            .command_timeout(timeout)
            .writer()
    });
    within(maps[0].when().online()).await;
    (networks, maps)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_and_changed_meanwhile_is_tried_again() {
    let (_networks, maps) = counters("increments").await;
    within(maps[0].insert(9, 9)).await.unwrap();
    let calls = AtomicU64::new(0);
    let increment = |map: &MapWriter<u8, u64>| {
        let map = map.clone();
        let calls = &calls;
        async move {
            map.transaction(|map| {
                calls.fetch_add(1, Ordering::Relaxed);
                let count = map.get(&1).unwrap_or(0) + 1;
                map.insert(1, count);
                Some(count)
            })
            .await
        }
    };
    let increments = (0..60).map(|n| increment(&maps[n % 3]));
    let counts = within(join_all(increments)).await;
    let mut counts: Vec<u64> = counts
        .into_iter()
        .map(|count| count.unwrap().unwrap())
        .collect();
    counts.sort_unstable();
    assert!(
        counts.into_iter().eq(1..=60),
        "each has seen what the one before it left"
    );
    assert!(calls.load(Ordering::Relaxed) > 60, "some have met");

    // Writes that read nothing meet nobody.
    calls.store(0, Ordering::Relaxed);
    let blind = maps.iter().flat_map(|map| {
        let calls = &calls;
        (0..20).map(move |n| {
            map.transaction(move |map| {
                calls.fetch_add(1, Ordering::Relaxed);
                map.insert(2, n);
                Some(())
            })
        })
    });
    within(try_join_all(blind)).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_always_late_says_so() {
    let (_networks, maps) = counters("late").await;
    let writing = maps[1].clone();
    let began = std::time::Instant::now();
    let runtime = tokio::runtime::Handle::current();
    let late = maps[0].transaction(|map| {
        let count = map.get(&1).unwrap_or(0);
        // Somebody else writes between the read and the end, each time.
        let other = writing.insert(1, count + 100);
        tokio::task::block_in_place(|| runtime.block_on(other)).unwrap();
        map.insert(1, 0);
        Some(count)
    });
    let error = within(late).await.unwrap_err();
    assert!(matches!(error, GroupError::Contended), "{error}");
    assert!(began.elapsed() >= Duration::from_secs(3));
    within(maps[0].refresh()).await.unwrap();
    assert!(
        maps[0].get(&1).is_some_and(|count| count >= 100),
        "none was applied"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_by_what_is_out_of_date() {
    let (_networks, maps) = counters("stale").await;
    for n in 0..50 {
        within(maps[0].insert(n, 7)).await.unwrap();
        // This node may not have it yet; it was acknowledged, so it counts.
        let read = maps[1].transaction(|map| map.get(&n));
        assert_eq!(within(read).await.unwrap(), Some(7), "a read");
        let absent = maps[2].transaction(|map| (!map.contains_key(&n)).then_some(()));
        assert_eq!(within(absent).await.unwrap(), None, "an abort");
    }
    let nothing: Result<Option<()>, _> = within(maps[0].transaction(|_| None)).await;
    assert_eq!(nothing.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_refused_before_it_is() {
    let networks = three(&unique("large")).await;
    let [map, _, _] = networks.each_ref().map(|network| {
        Map::<u8, Vec<u8>>::builder(network, "large")
            .founders(3)
            .writer()
    });
    within(map.when().online()).await;
    let large = map.transaction(|map| {
        map.insert(1, vec![0; 5 * 1024 * 1024]);
        Some(())
    });
    let error = within(large).await.unwrap_err();
    assert!(matches!(error, GroupError::TooLarge { .. }), "{error}");
    let many = map.transaction(|map| {
        for key in 0..5 {
            map.insert(key, vec![0; 4 * 1000 * 1000]);
        }
        Some(())
    });
    let error = within(many).await.unwrap_err();
    assert!(matches!(error, GroupError::TooLarge { .. }), "{error}");
    assert!(map.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_timed_out_is_answered_later_as_it_would_have_been() {
    let networks = three(&unique("impatient")).await;
    let [patient, impatient, _third] = [10_000, 1, 10_000].map(Duration::from_millis).map({
        let mut networks = networks.iter();
        move |timeout| {
            let network = networks.next().expect("three");
            let builder = Map::<u64, u64>::builder(network, "impatient").founders(3);
            builder.command_timeout(timeout).writer()
        }
    });
    within(patient.when().online()).await;
    within(impatient.when().online()).await;
    let (mut inserts, mut transactions) = (0, 0);
    for n in 0.. {
        if inserts > 0 && transactions > 0 {
            break;
        }
        match within(impatient.insert(n, n)).await {
            Ok(old) => assert_eq!(old, None),
            Err(GroupError::Timeout(pending)) => {
                let old = within(pending.outcome::<Option<u64>>()).await;
                assert_eq!(old.unwrap(), None);
                inserts += 1;
            }
            // Of a leader that is busy elsewhere nothing is heard for a moment.
            Err(GroupError::Unavailable(_)) => continue,
            Err(other) => panic!("{other}"),
        }
        let written = impatient.transaction(|map| {
            map.insert(n, n + 1);
            Some(())
        });
        match within(written).await {
            Ok(done) => assert_eq!(done, Some(())),
            Err(GroupError::Timeout(pending)) => {
                assert!(within(pending.outcome::<bool>()).await.unwrap());
                transactions += 1;
            }
            Err(GroupError::Unavailable(_)) => continue,
            Err(other) => panic!("{other}"),
        }
        within(patient.refresh()).await.unwrap();
        assert_eq!(patient.get(&n), Some(n + 1));
    }
}

/// What cannot be encoded.
#[derive(Clone, serde::Deserialize)]
struct Unspeakable(bool);

impl serde::Serialize for Unspeakable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 {
            return Err(serde::ser::Error::custom("unspeakable"));
        }
        serializer.serialize_bool(self.0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_encoded_is_an_error() {
    let networks = three(&unique("unspeakable")).await;
    let [map, _, _] = networks.each_ref().map(|network| {
        let builder = Map::<u8, Unspeakable>::builder(network, "unspeakable");
        builder.founders(3).writer()
    });
    within(map.when().online()).await;
    let unspeakable = map.transaction(|map| {
        map.insert(1, Unspeakable(true));
        Some(())
    });
    let error = within(unspeakable).await.unwrap_err();
    assert!(matches!(error, GroupError::Encoding(_)), "{error}");
    assert!(map.is_empty());
    let aborted: Result<Option<()>, _> = within(map.transaction(|map| {
        map.insert(1, Unspeakable(true));
        None
    }))
    .await;
    assert_eq!(aborted.unwrap(), None, "it is not to be sent");
    within(map.insert(1, Unspeakable(false))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_is_answered_however_much_is_written() {
    let (_networks, maps) = counters("busy").await;
    within(maps[0].insert(0, 0)).await.unwrap();
    let goes = std::sync::atomic::AtomicBool::new(true);
    let writing = join_all((0..8).map(|n| {
        let (map, goes) = (&maps[n % 2], &goes);
        async move {
            let mut count = 0;
            while goes.load(Ordering::Relaxed) {
                count += 1;
                map.insert(n as u8, count).await.unwrap();
            }
        }
    }));
    let looking = async {
        for _ in 0..30 {
            let mut calls = 0;
            let looked = maps[2].transaction(|map| {
                calls += 1;
                Some(map.iter().count())
            });
            assert!(looked.await.unwrap().is_some_and(|count| count > 0));
            assert!(calls <= 2, "{calls} calls");
            let aborted: Option<()> = maps[2]
                .transaction(|map| (map.len() > 1_000).then_some(()))
                .await
                .unwrap();
            assert_eq!(aborted, None);
        }
        goes.store(false, Ordering::Relaxed);
    };
    within(async { tokio::join!(writing, looking) }).await;
}
