//! What a storage in service does: order, acknowledgement, fences, batches, bounds, failures.

use std::{io, path::Path, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{DIR, EMPTY, Run, group, record, simulated};
use crate::{
    groups::storage::{Failure, GroupLog, Kind, LogId, Op, Record, Refusal, Storage, WriteError},
    rt::{self, Tasks, machine::Machine},
};

async fn append(log: &GroupLog, index: u64) -> Result<(), WriteError> {
    log.write(vec![Op::Append(vec![record(1, index, vec![1; 100])])])
        .await
}

/// A scenario on each engine.
fn on_each(scenario: impl AsyncFn(&Storage)) {
    simulated(1, async |_| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        scenario(&run.storage).await;
        run.storage.close().await;
        let storage = Storage::volatile(&Tasks::new(tracing::Span::none()));
        scenario(&storage).await;
        storage.close().await;
        let refused = storage.open_group(group("late")).await.err();
        assert_eq!(refused, Some(WriteError::Failed(Failure::Closed)));
    });
}

#[test]
fn an_earlier_incarnation_is_fenced() {
    on_each(async |storage| {
        let old = storage.open_group(group("g")).await.unwrap();
        append(&old, 0).await.unwrap();
        let new = storage.open_group(group("g")).await.unwrap();
        let refused = append(&old, 1).await.unwrap_err();
        let fenced = WriteError::Fenced {
            group: group("g"),
            incarnation: 1,
            current: 2,
        };
        assert_eq!(refused, fenced);
        assert_eq!(new.state().next(), 1);
        append(&new, 1).await.unwrap();
        assert_eq!(new.state().boot, old.state().boot);
        assert_eq!(new.read_all(0..9).await.unwrap().len(), 2);
    });
}

#[test]
fn what_would_break_a_log_is_refused() {
    on_each(async |storage| {
        let log = storage.open_group(group("g")).await.unwrap();
        append(&log, 0).await.unwrap();
        append(&log, 1).await.unwrap();
        let refused = append(&log, 3).await.unwrap_err();
        assert!(matches!(
            refused,
            WriteError::Refused(Refusal::NotNext { .. })
        ));
        let last = LogId { term: 1, index: 1 };
        log.save_committed(last).await.unwrap();
        let refused = log.write(vec![Op::Truncate(None)]).await.unwrap_err();
        assert!(matches!(
            refused,
            WriteError::Refused(Refusal::Committed { .. })
        ));
        // What goes beyond the log is not noted.
        log.save_committed(LogId { term: 1, index: 2 })
            .await
            .unwrap();
        assert_eq!(log.committed(), Some(last));
        append(&log, 2).await.unwrap();
    });
}

#[test]
fn an_erased_log_is_another_members() {
    on_each(async |storage| {
        let log = storage.open_group(group("g")).await.unwrap();
        append(&log, 0).await.unwrap();
        log.write(vec![Op::Erase { boot: 42 }]).await.unwrap();
        assert_eq!(log.read_all(0..9).await.unwrap(), []);
        append(&log, 0).await.unwrap();
        let again = storage.open_group(group("g")).await.unwrap();
        assert_eq!((again.state().boot, again.state().next()), (42, 1));
        assert_eq!(storage.groups().unwrap(), [group("g")]);
    });
}

#[test]
fn what_is_appended_is_readable_before_it_is_acknowledged() {
    simulated(1, async |machine| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        stall(&machine, Duration::from_secs(60));
        let (tell, mut told) = oneshot::channel();
        let done = |result| tell.send(result).unwrap();
        let records = vec![record(1, 0, vec![1; 10])];
        log.append(records.clone(), done).await.unwrap();
        assert_eq!(log.read(0..9, 1).await.unwrap(), records);
        rt::sleep(Duration::from_secs(59)).await;
        assert!(told.try_recv().is_err(), "the disk stands still");
        told.await.unwrap().unwrap();
        machine.disk().crash();
        run.kill().await;
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        assert_eq!(log.read_all(0..9).await.unwrap(), records);
    });
}

fn stall(machine: &Machine, duration: Duration) {
    let until = rt::now() + duration;
    machine
        .disk()
        .set_faults(|faults| faults.stalled_until = Some(until));
}

#[test]
fn groups_share_a_sync() {
    simulated(1, async |_| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let before = run.storage.counts();
        let client = async |n: u64| {
            let log = run.storage.open_group(group(&n.to_string())).await.unwrap();
            for index in 0..50 {
                append(&log, index).await.unwrap();
            }
        };
        join_all((0..64).map(client)).await;
        let after = run.storage.counts();
        let (commits, writes) = (after.commits - before.commits, after.writes - before.writes);
        assert_eq!(writes, 64 * 51);
        // While some wait for a sync, the others gather for the next: two a round.
        assert!(commits <= 110, "{writes} writes took {commits} commits");
    });
}

#[test]
fn how_far_it_is_committed_costs_no_sync_of_its_own() {
    simulated(1, async |machine| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        for index in 0..20 {
            append(&log, index).await.unwrap();
            log.save_committed(LogId { term: 1, index }).await.unwrap();
        }
        assert_eq!(run.storage.counts().commits, 21);
        rt::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            run.storage.counts().commits,
            22,
            "it is written when it is quiet"
        );
        machine.disk().crash();
        run.kill().await;
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        assert_eq!(log.committed(), Some(LogId { term: 1, index: 19 }));
    });
}

#[test]
fn writes_wait_for_room() {
    simulated(1, async |machine| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        stall(&machine, Duration::from_secs(3600));
        for (size, most) in [(0, 4096), (8 << 20, 10)] {
            let mut count = 0;
            loop {
                let records = vec![Record {
                    payload: vec![0; size].into(),
                    ..record(1, log.state().next(), Vec::new())
                }];
                let append = log.append(records, |_| {});
                match rt::timeout(Duration::from_secs(1), append).await {
                    Ok(appended) => appended.unwrap(),
                    Err(_) => break,
                }
                count += 1;
                assert!(count < most, "{count} writes of {size} bytes found room");
            }
        }
    });
}

/// One failure is that of every group; after it is repaired and opened anew, what was acknowledged is there.
#[test]
fn a_full_disk_stops_every_group_by_name() {
    simulated(1, async |machine| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let [a, b] = ["a", "b"].map(|name| run.storage.open_group(group(name)));
        let (a, b) = (a.await.unwrap(), b.await.unwrap());
        machine
            .disk()
            .set_faults(|faults| faults.capacity = Some(4 << 20));
        let mut acked = 0;
        let failure = loop {
            let big = vec![Op::Append(vec![record(1, acked, vec![1; 100_000])])];
            match a.write(big).await {
                Ok(()) => acked += 1,
                Err(error) => break error,
            }
        };
        let WriteError::Failed(Failure::Io { kind, path, .. }) = &failure else {
            panic!("{failure:?}");
        };
        assert_eq!(*kind, io::ErrorKind::StorageFull);
        assert!(path.ends_with("groups.redb"), "{path:?}");
        machine.disk().set_faults(|faults| faults.capacity = None);
        assert_eq!(
            append(&b, 0).await.unwrap_err(),
            failure,
            "nothing is tried again"
        );
        run.storage.close().await;
        let again = Run::open(Path::new(DIR)).await.unwrap();
        let a = again.storage.open_group(group("a")).await.unwrap();
        assert!(a.state().next() >= acked);
        append(&a, a.state().next()).await.unwrap();
    });
}

#[test]
fn an_entry_that_cannot_be_read_stops_every_group() {
    simulated(1, async |machine| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        for index in 0..3 {
            append(&log, index).await.unwrap();
        }
        run.storage.close().await;
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        machine
            .disk()
            .set_faults(|faults| faults.read_error = Some(io::ErrorKind::Other));
        // What redb has in memory it may still read; then nothing was wrong.
        if log.read_all(0..9).await.is_err() {
            assert!(append(&log, 3).await.is_err());
        }
    });
}

#[test]
fn long_logs_are_read_from_memory_and_disk() {
    on_each(async |storage| {
        let log = storage.open_group(group("g")).await.unwrap();
        let blank = |index| Record {
            id: LogId { term: 1, index },
            kind: Kind::Blank,
            payload: EMPTY,
        };
        let (sender, mut acked) = mpsc::channel(8);
        for batch in 0..8 {
            let records = (batch * 500..(batch + 1) * 500).map(blank).collect();
            let sender = sender.clone();
            let done = move |result: Result<(), _>| sender.try_send(result).unwrap();
            log.append(records, done).await.unwrap();
        }
        for _ in 0..8 {
            acked.recv().await.unwrap().unwrap();
        }
        let all: Vec<_> = (0..4000).map(blank).collect();
        assert_eq!(log.read_all(0..u64::MAX).await.unwrap(), all);
        assert_eq!(log.read_all(17..3999).await.unwrap(), all[17..3999]);
        log.write(vec![Op::Purge(LogId { term: 1, index: 99 })])
            .await
            .unwrap();
        assert_eq!(log.read_all(0..200).await.unwrap(), all[100..200]);
        let cut = Op::Truncate(Some(LogId {
            term: 1,
            index: 149,
        }));
        log.write(vec![cut]).await.unwrap();
        assert_eq!(log.read_all(0..200).await.unwrap(), all[100..150]);
    });
}

/// A log that is cut and grows to where it was, in one commit, looks the same from outside.
#[test]
fn entries_are_replaced_within_one_commit() {
    on_each(async |storage| {
        let log = storage.open_group(group("g")).await.unwrap();
        let old = (0..4).map(|index| record(1, index, vec![1; 10])).collect();
        log.write(vec![Op::Append(old)]).await.unwrap();
        let new: Vec<_> = (1..4).map(|index| record(1, index, vec![2; 10])).collect();
        let cut = Op::Truncate(Some(LogId { term: 1, index: 0 }));
        log.write(vec![cut, Op::Append(new.clone())]).await.unwrap();
        let again = storage.open_group(group("g")).await.unwrap();
        assert_eq!(again.read_all(1..9).await.unwrap(), new);
    });
}

/// Storage must not make a run depend on anything but its seed.
#[test]
fn one_seed_writes_one_file() {
    let file = || {
        simulated(9, async |_| {
            let run = Run::open(Path::new(DIR)).await.unwrap();
            let client = async |n: u64| {
                let log = run.storage.open_group(group(&n.to_string())).await.unwrap();
                for index in 0..20 {
                    append(&log, index).await.unwrap();
                }
            };
            join_all((0..8).map(client)).await;
            let bytes = rt::fs::read(Path::new("d/groups.redb")).unwrap();
            blake3::hash(&bytes)
        })
    };
    assert_eq!(file(), file());
}

/// What is handed over is written although the storage is closed at once, and later writes hear of it.
#[test]
fn closing_writes_what_was_handed_over() {
    simulated(1, async |_| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        let told = Arc::new(Notify::new());
        for index in 0..10 {
            let told = told.clone();
            let done = move |result: Result<(), WriteError>| {
                result.unwrap();
                told.notify_one();
            };
            log.append(vec![record(1, index, vec![2; 10])], done)
                .await
                .unwrap();
        }
        run.storage.close().await;
        told.notified().await;
        assert_eq!(
            append(&log, 10).await,
            Err(WriteError::Failed(Failure::Closed))
        );
        run.storage.close().await;
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let log = run.storage.open_group(group("g")).await.unwrap();
        assert_eq!(log.state().next(), 10);
    });
}

/// How large a log is does not depend on who has it open.
#[test]
fn a_log_that_is_opened_again_is_as_large_as_before() {
    on_each(async |storage| {
        let log = storage.open_group(group("g")).await.unwrap();
        let other = storage.open_group(group("h")).await.unwrap();
        append(&other, 0).await.unwrap();
        for index in 0..40 {
            let record = record(1, index, vec![1; 100 * 1024]);
            log.write(vec![Op::Append(vec![record])]).await.unwrap();
        }
        log.write(vec![Op::Purge(LogId { term: 1, index: 9 })])
            .await
            .unwrap();
        let again = storage.open_group(group("g")).await.unwrap();
        for range in [0..u64::MAX, 10..20, 25..26] {
            let [before, after] = [&log, &again].map(|log| log.sizes(|s| s.bytes(range.clone())));
            let entries = range.end.min(40) - range.start.max(10);
            assert!(before >= entries * 100 * 1024, "{before}");
            // The disk has some bytes around each entry.
            assert!(before.abs_diff(after) < entries * 100, "{before}, {after}");
        }
        let ends = again.sizes(|sizes| (sizes.first(), sizes.next()));
        assert_eq!(ends, (10, 40));
    });
}
