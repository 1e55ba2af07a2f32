//! Commands that panic: undone everywhere, and nothing else is.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::groups::machine::{application::MAX_OUTPUT, hosted::MAX_MESSAGE, snapshot::Snapshot};

use Command::{Add, Fill, Moody, Mumble, Panic, Talk};

fn panic(message: &str) -> Command {
    Panic(message.into())
}

/// Makes a snapshot of a replica the one that counts, as if it had a log.
async fn snapshot(replica: &mut Replica) -> Snapshot {
    let snapshot = replica.store.write(replica.freeze()).await.unwrap();
    let storage =
        crate::groups::storage::Storage::volatile(&crate::rt::Tasks::new(tracing::Span::none()));
    let log = storage.open_group(group()).await.unwrap();
    let current = replica.store.publish(&log, snapshot).await.unwrap();
    replica.applier.forget_until(current.header().last);
    current
}

/// Replicas that got there in other ways.
async fn others(journal: &Journal, from: Option<Snapshot>) -> Vec<Replica> {
    let mut replayed = fresh();
    replayed.catch_up(journal).await;
    let mut others = vec![replayed];
    if let Some(snapshot) = from {
        let mut restored = fresh();
        replay::restore(&mut restored.applier, &snapshot)
            .await
            .unwrap();
        restored.catch_up(journal).await;
        others.push(restored);
    }
    others
}

#[tokio::test]
async fn one_item_is_undone_and_the_others_are_not() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let entries = [
        (vec![open()], vec![ItemReply::Opened(session(0, 0))]),
        (
            vec![
                batch(0, &[Add(1, 5)]),
                batch(1, &[Add(1, 1), panic("first"), Add(1, 1)]),
                batch(2, &[Add(1, 2)]),
                batch(3, &[panic("second")]),
                batch(4, &[Add(1, 3)]),
            ],
            vec![
                applied(&[Output::Number(5)]),
                panicked(1, "first"),
                applied(&[Output::Number(7)]),
                panicked(0, "second"),
                applied(&[Output::Number(10)]),
            ],
        ),
        // A copy gets the same answer, and the next one finds the state whole.
        (
            vec![
                commands_of(request(session(0, 0), 3, 3), &[panic("second")]),
                batch(5, &[panic("third")]),
                batch(6, &[Add(1, 4)]),
            ],
            vec![
                ItemReply::Answered,
                panicked(0, "third"),
                applied(&[Output::Number(14)]),
            ],
        ),
        (
            vec![commands_of(request(session(0, 0), 5, 5), &[panic("third")])],
            vec![ItemReply::Answered],
        ),
    ];
    for (items, expected) in entries {
        let record = journal.push(items);
        assert_eq!(replica.apply_any(&record, &journal).await, expected);
    }
    assert_eq!(replica.tally().sums, BTreeMap::from([(1, 14)]));
    assert_eq!(replica.tally().commands, 4);
    for other in others(&journal, None).await {
        assert_eq!(other.contents(), replica.contents());
    }
}

#[tokio::test]
async fn a_copy_of_what_panicked_gets_the_panic() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let session = session(0, 0);
    let item = || commands_of(request(session, 0, 0), &[panic("no")]);
    let record = journal.push(vec![open(), item(), item()]);
    let replies = replica.apply_any(&record, &journal).await;
    assert_eq!(replies[1..], [panicked(0, "no"), panicked(0, "no")]);
}

/// Also where it is the first of what is applied anew, and others of its batch had returned something by then.
#[tokio::test]
async fn what_is_kept_of_a_panic_is_the_panic_alone() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let session = session(0, 0);
    let opening = journal.push(vec![open()]);
    replica.apply_any(&opening, &journal).await;
    let taken = snapshot(&mut replica).await;
    let item = || commands_of(request(session, 0, 0), &[Add(1, 5), panic("no")]);
    for _ in 0..2 {
        let record = journal.push(vec![item()]);
        let replies = replica.apply_any(&record, &journal).await;
        assert_eq!(replies, [panicked(1, "no")]);
    }
    for other in others(&journal, Some(taken)).await {
        assert_eq!(other.contents(), replica.contents());
    }
}

/// With a snapshot before, between and after, and one that is newer than the copy that is kept.
#[tokio::test]
async fn snapshots_are_gone_back_to() {
    let entry = |n: u64| {
        let item = match n % 4 {
            0 => vec![batch(n, &[panic("now and then")])],
            1 => vec![batch(n, &[Add(1, n)])],
            2 => vec![batch(n, &[Add(2, n), Add(3, n)])],
            _ => vec![batch(n, &[Fill(400_000)])],
        };
        if n == 0 { vec![open()] } else { item }
    };
    for at in 0..20 {
        let (journal, mut replica) = (Journal::default(), fresh());
        let mut taken = None;
        for n in 0..20 {
            let record = journal.push(entry(n));
            replica.apply_any(&record, &journal).await;
            if n == at {
                taken = Some(snapshot(&mut replica).await);
            }
        }
        for other in others(&journal, taken).await {
            assert_eq!(other.contents(), replica.contents(), "snapshot at {at}");
        }
    }
}

#[tokio::test]
async fn what_panics_only_while_others_are_undone_is_undone_too() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let entries = [
        vec![open()],
        vec![
            batch(0, &[Moody]),
            batch(1, &[Add(1, 1)]),
            batch(2, &[Moody]),
        ],
        vec![batch(3, &[Moody])],
        vec![batch(4, &[Add(1, 2)])],
    ];
    for items in entries {
        let record = journal.push(items);
        replica.apply_any(&record, &journal).await;
    }
    assert_eq!(replica.tally().commands, 5);
    MOOD.set(true);
    let record = journal.push(vec![batch(5, &[panic("now")]), batch(6, &[Add(1, 4)])]);
    let replies = replica.apply_any(&record, &journal).await;
    MOOD.set(false);
    let expected = [panicked(0, "now"), applied(&[Output::Number(7)])];
    assert_eq!(replies, expected);
    // The three that panicked this time are undone.
    assert_eq!(replica.tally().commands, 3);
    // It differs now, which replicas find out by their digests.
    let others = others(&journal, None).await;
    assert_ne!(others[0].contents().0.digests, replica.contents().0.digests);
}

#[tokio::test]
async fn what_cannot_be_answered_counts_as_a_panic() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let half = u32::try_from(MAX_OUTPUT / 2).unwrap();
    let long = "é".repeat(MAX_MESSAGE);
    let items = vec![
        open(),
        batch(0, &[Talk(half)]),
        batch(1, &[Add(1, 1), Talk(half), Talk(half)]),
        batch(2, &[Mumble]),
        batch(3, &[panic(&long)]),
        batch(4, &[Add(1, 1)]),
    ];
    let replies = replica.apply_any(&journal.push(items), &journal).await;
    assert!(matches!(replies[1], ItemReply::Applied(_)));
    let is_panic = |reply: &ItemReply, at, text: &str| match reply {
        ItemReply::Panicked { command, message } => *command == at && message.contains(text),
        _ => false,
    };
    assert!(is_panic(&replies[2], 2, "over"), "{:?}", replies[2]);
    assert!(is_panic(&replies[3], 0, "encoded"), "{:?}", replies[3]);
    assert_eq!(replies[4], panicked(0, &long[..MAX_MESSAGE]));
    assert_eq!(replies[5], applied(&[Output::Number(1)]));
}

#[tokio::test]
async fn messages_may_differ() {
    let (journal, mut one, mut other) = (Journal::default(), fresh(), Replica::<1>::new());
    journal.push(vec![open(), batch(0, &[panic("no")])]);
    one.catch_up(&journal).await;
    other.catch_up(&journal).await;
    let (one, other) = (one.contents().0, other.contents().0);
    assert_ne!(one.sessions, other.sessions, "they keep what was said");
    assert_eq!(one.digests, other.digests);
}

/// A log that can lose its first entries, and looks at the state of whoever reads it.
struct Watched<'a> {
    journal: &'a Journal,
    local: Local<Tally>,
    purged: AtomicU64,
    /// Entries that were read.
    read: AtomicU64,
}

impl<'a> Watched<'a> {
    fn new(journal: &'a Journal, replica: &Replica) -> Self {
        Self {
            journal,
            local: replica.local.clone(),
            purged: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }
}

impl Records for Watched<'_> {
    async fn read(&self, range: Range<u64>) -> Result<Vec<Record>, Halt> {
        assert_eq!(self.local.read(Clone::clone), None, "it is not whole");
        let first = range.start.max(self.purged.load(Ordering::Relaxed));
        let records = self.journal.read(first..range.end).await?;
        self.read.fetch_add(records.len() as u64, Ordering::Relaxed);
        Ok(records)
    }
}

#[tokio::test]
async fn nobody_reads_a_state_that_is_being_restored() {
    let (journal, mut replica) = (Journal::default(), fresh());
    replica
        .apply_any(&journal.push(vec![open()]), &journal)
        .await;
    let log = Watched::new(&journal, &replica);
    let record = journal.push(vec![batch(0, &[panic("no")])]);
    replica.apply_any(&record, &log).await;
    assert_eq!(log.read.load(Ordering::Relaxed), 1);
    assert_eq!(replica.tally(), Tally::default());
}

/// What was applied before the last panic is not applied once more for the next.
#[tokio::test]
async fn the_next_panic_costs_what_came_since() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let log = Watched::new(&journal, &replica);
    let mut read = Vec::new();
    for n in 0..100 {
        let panics = [50, 60, 61].contains(&n);
        let command = if panics { panic("no") } else { Add(1, n) };
        let item = if n == 0 { open() } else { batch(n, &[command]) };
        replica.apply_any(&journal.push(vec![item]), &log).await;
        if panics {
            read.push(log.read.swap(0, Ordering::Relaxed));
        }
    }
    assert_eq!(read, [50, 10, 1]);
    assert_eq!(log.read.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn entries_that_are_gone_are_in_a_snapshot_or_missed() {
    let (journal, mut replica) = (Journal::default(), fresh());
    for n in 0..4 {
        let items = vec![if n == 0 {
            open()
        } else {
            batch(n, &[Add(1, n)])
        }];
        replica.apply_any(&journal.push(items), &journal).await;
    }
    let log = Watched {
        purged: AtomicU64::new(2),
        ..Watched::new(&journal, &replica)
    };
    let record = journal.push(vec![batch(4, &[panic("no")])]);
    let applied = replay::apply(&mut replica.applier, &record, &replica.store, &log).await;
    assert_eq!(applied, Err(Halt::Missing { index: 0 }));
    assert_eq!(replica.local.read(Clone::clone), None);

    let mut replica = fresh();
    for record in &journal.all()[..4] {
        replica.apply_any(record, &journal).await;
        if record.id.index == 2 {
            snapshot(&mut replica).await;
        }
    }
    let log = Watched {
        purged: AtomicU64::new(3),
        ..Watched::new(&journal, &replica)
    };
    let replies = replica.apply_any(&record, &log).await;
    assert_eq!(replies, [panicked(0, "no")]);
    assert_eq!(replica.tally().sums, BTreeMap::from([(1, 6)]));
}
