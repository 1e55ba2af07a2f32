//! Locks that nodes hold in turn.

use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use mosaik::collections::{Cell, Lock, LockChange, LockWriter, Vec as List};
use mosaik_tests::{node, unique, within};

use crate::three;

/// A lease that no test waits for.
const LEASE: Duration = Duration::from_secs(3600);

/// What is done in turn.
#[mosaik::replicated(founders = 3)]
struct Turns {
    lock: Lock,
    owner: Cell<u64>,
    done: List<u64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_hold_a_lock_in_turn() {
    let networks = three(&unique("turns")).await;
    let writers = networks.each_ref().map(Turns::writer);
    for writer in &writers {
        within(writer.when().online()).await;
    }
    let take_turns = |turns: &TurnsWriter| {
        let turns = turns.clone();
        async move {
            for _ in 0..5 {
                let guard = turns.lock.acquire(LEASE).await.unwrap();
                let token = guard.token();
                turns.owner.set(token).await.unwrap();
                let done = turns.transaction(|turns| {
                    turns.done.push_back(token);
                    turns.lock.is_held_by(token).then_some(())
                });
                assert_eq!(done.await.unwrap(), Some(()));
                // Nobody else has written here meanwhile.
                assert_eq!(turns.owner.get(), Some(token));
                assert!(guard.is_held() && guard.lost().now_or_never().is_none());
                assert!(guard.release().await.unwrap());
            }
        }
    };
    let turns = writers.each_ref().map(take_turns);
    within(futures::future::join_all(turns)).await;
    let [one, ..] = &writers;
    within(one.refresh()).await.unwrap();
    let done: Vec<_> = one.done.iter().collect();
    assert_eq!(done.len(), 15);
    assert!(done.is_sorted_by(|one, next| one < next), "{done:?}");
    assert_eq!(one.lock.holder(), None);
}

async fn acquired(lock: &LockWriter, peer: mosaik::PeerId) -> u64 {
    let mut changes = lock.changes();
    loop {
        match within(changes.next()).await.unwrap().1 {
            LockChange::Reset(Some(holder)) | LockChange::Acquired(holder)
                if holder.peer == peer =>
            {
                return holder.token;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_free_when_its_guard_is_dropped_or_who_waits_gives_up() {
    let networks = three(&unique("guards")).await;
    let [one, two, _three] = networks
        .each_ref()
        .map(|network| Lock::builder(network, "lock").founders(3).writer());
    let guard = within(one.acquire(LEASE)).await.unwrap();
    let refused = within(two.try_acquire(LEASE)).await.unwrap().unwrap_err();
    assert_eq!(
        (refused.peer, refused.token),
        (networks[0].local().id(), guard.token())
    );
    // Who gives up gets nothing.
    let mut waiting = two.acquire(LEASE);
    let waits = tokio::time::timeout(Duration::from_millis(100), &mut waiting);
    assert!(waits.await.is_err());
    drop(waiting);
    let waiting = tokio::spawn(two.acquire(LEASE));
    let lost = guard.lost();
    let first = guard.token();
    drop(guard);
    within(lost).await;
    let guard = within(waiting).await.unwrap().unwrap();
    assert!(guard.token() > first);
    assert_eq!(
        acquired(&one, networks[1].local().id()).await,
        guard.token()
    );
    assert!(within(guard.release()).await.unwrap());
    // Nobody waits for what this acquires.
    let mut taking = one.acquire(LEASE);
    assert!((&mut taking).now_or_never().is_none());
    assert!(acquired(&two, networks[0].local().id()).await > first);
    drop(taking);
    let guard = within(two.acquire(LEASE)).await.unwrap();
    // To wait for it is not needed to give it up.
    let lost = guard.lost();
    drop(guard.release());
    assert!(lost.now_or_never().is_some(), "it is lost at once");
    let guard = within(one.acquire(LEASE)).await.unwrap();
    // An operator takes it from who is gone.
    assert!(!within(two.revoke(first)).await.unwrap());
    assert!(within(two.revoke(guard.token())).await.unwrap());
    within(guard.lost()).await;
    assert!(!within(guard.release()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_it_is_held_and_ends_with_its_node() {
    let name = unique("leases");
    let first = node(&name, &[]).await;
    let second = node(&name, &[&first]).await;
    let third = node(&name, &[&first]).await;
    let open = |network| Lock::builder(network, "lock").founders(3).writer();
    let (one, two, three) = (open(&first), open(&second), open(&third));
    for lock in [&one, &two, &three] {
        within(lock.when().online()).await;
    }
    let short = Duration::from_secs(6);
    let guard = within(one.acquire(short)).await.unwrap();
    let mut renewals = 0;
    let mut changes = two.changes();
    while renewals < 2 {
        match within(changes.next()).await.unwrap().1 {
            LockChange::Renewed(holder) => {
                assert_eq!(holder.token, guard.token());
                renewals += 1;
            }
            LockChange::Reset(_) | LockChange::Acquired(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(guard.is_held());
    let (token, lost) = (guard.token(), guard.lost());
    // The node is gone, and gives up nothing.
    within(first.shutdown()).await;
    within(lost).await;
    assert!(!guard.is_held());
    let next = within(two.acquire(short)).await.unwrap();
    assert!(next.token() > token);
    assert!(within(next.release()).await.unwrap());
    assert_eq!(
        guard.release().now_or_never().map(|held| held.is_err()),
        Some(true)
    );
    drop(third);
}
