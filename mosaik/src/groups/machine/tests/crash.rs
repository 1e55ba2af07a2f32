//! Power cuts and errors at every change of the disk, while snapshots come and go.

use std::{io, path::Path};

use futures::FutureExt as _;

use super::{
    snapshots::{Home, content, frozen, id, send},
    *,
};
use crate::{
    groups::storage::{Op, Storage, simulated},
    rt::{Tasks, machine::Machine},
};

const DIR: &str = "d";
/// Bytes of each snapshot: two chunks.
const LEN: usize = 300_000;

/// What is known to be on the disk.
#[derive(Debug, Default)]
struct Known {
    snapshot: Option<u64>,
    last: Option<u64>,
}

async fn append(home: &Home, range: Range<u64>, known: &mut Known) -> io::Result<()> {
    let record = |index| Record {
        id: id(index),
        kind: Kind::Blank,
        payload: Bytes::new(),
    };
    let last = range.end - 1;
    let append = Op::Append(range.map(record).collect());
    let ops = vec![append, Op::Committed(id(last))];
    home.log.write(ops).await.map_err(io::Error::other)?;
    known.last = Some(last);
    Ok(())
}

/// A life with snapshots that are made and received, behind and ahead of the log.
async fn live(home: &Home, known: &mut Known) -> io::Result<()> {
    let publish = async |index| {
        let snapshot = home.store.write(frozen(index, LEN)).await?;
        home.store.publish(&home.log, snapshot).await
    };
    append(home, 0..6, known).await?;
    publish(3).await?;
    known.snapshot = Some(3);
    let purge = vec![Op::Purge(id(2))];
    home.log.write(purge).await.map_err(io::Error::other)?;
    publish(5).await?;
    known.snapshot = Some(5);
    // One comes that is far ahead, and one that nobody asked for.
    let memory = Store::memory(group(), EPOCH);
    for index in [20, 4] {
        let there = memory.write(frozen(index, LEN)).await?;
        let here = send(&there, &home.store).await?;
        home.store.install(&home.log, here).await?;
        known.snapshot = Some(20);
        known.last = Some(20);
    }
    append(home, 21..24, known).await?;
    publish(22).await?;
    known.snapshot = Some(22);
    Ok(())
}

/// Checks that there is what is known, and no more files than that takes.
async fn check(home: &Home, known: &Known) {
    let (purged, last) = home.log.ends();
    let current = home.store.current();
    let held = current.as_ref().map(|held| held.header().last);
    assert!(purged <= held, "the log lost what no snapshot has");
    assert!(held.map(|held| held.index) >= known.snapshot);
    assert!(last.map(|last| last.index) >= known.last);
    if let Some(current) = current {
        let index = current.header().last.index;
        assert_eq!(current.content().await.unwrap(), content(index, LEN));
    }
    let files = crate::rt::fs::list(Path::new(DIR)).unwrap();
    let is_snapshot = |path: &&std::path::PathBuf| path.to_string_lossy().contains("snapshot");
    let files = files.iter().filter(is_snapshot).count();
    assert_eq!(files, usize::from(held.is_some()));
    let log = home.log.read_all(0..u64::MAX).await.unwrap();
    let first = purged.map_or(0, |purged| purged.index + 1);
    let end = last.map_or(0, |last| last.index + 1);
    assert!(log.iter().map(|r| r.id.index).eq(first..end));
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The power is cut.
    Cut,
    /// Writes and syncs fail from then on.
    Fail,
}

/// Lets `fault` strike after so many changes, then the power be cut. Returns whether it struck.
async fn strike(machine: &Machine, fault: Fault, after: u64) -> bool {
    let mut known = Known::default();
    // A database is made first, whose own faults have tests of their own.
    let tasks = Tasks::new(tracing::Span::none());
    let storage = Storage::open(DIR.as_ref(), &tasks).await.unwrap();
    storage.close().await;
    machine.disk().set_faults(|faults| match fault {
        Fault::Cut => faults.cut_after = Some(after),
        Fault::Fail => faults.fail_after = Some((after, io::ErrorKind::StorageFull)),
    });
    let struck = match Home::open(Some(DIR.as_ref())).await {
        Ok(home) => {
            let lived = live(&home, &mut known).await;
            machine.disk().crash();
            lived.is_err()
        }
        Err(_) => {
            machine.disk().crash();
            true
        }
    };
    machine
        .disk()
        .set_faults(|faults| *faults = Default::default());
    // To open it is to change it, too.
    machine
        .disk()
        .set_faults(|faults| faults.cut_after = Some(after % 7));
    drop(Home::open(Some(DIR.as_ref())).await);
    machine.disk().crash();
    let home = Home::open(Some(DIR.as_ref())).await.unwrap();
    check(&home, &known).await;
    struck
}

/// Whoever makes a snapshot count may be dropped on the way; then the log on the disk may still point to the one
/// before.
#[test]
fn a_publication_that_is_dropped_loses_no_snapshot() {
    for (polls, after) in (0..6).flat_map(|polls| (0..30).map(move |after| (polls, after))) {
        simulated(polls * 100 + after, async |machine| {
            let mut known = Known::default();
            let home = Home::open(Some(DIR.as_ref())).await.unwrap();
            append(&home, 0..6, &mut known).await.unwrap();
            let first = home.store.write(frozen(2, LEN)).await.unwrap();
            home.store.publish(&home.log, first).await.unwrap();
            known.snapshot = Some(2);
            let second = home.store.write(frozen(4, LEN)).await.unwrap();
            {
                let publish = home.store.publish(&home.log, second);
                tokio::pin!(publish);
                for _ in 0..polls {
                    if (&mut publish).now_or_never().is_some() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            let cut = |after| {
                let disk = machine.disk();
                disk.set_faults(|faults| faults.cut_after = Some(after));
            };
            cut(after);
            // This removes what nobody needs.
            drop(home.store.write(frozen(5, LEN)).await);
            drop(home.store.write(frozen(5, LEN)).await);
            machine.disk().crash();
            drop(home);
            let home = Home::open(Some(DIR.as_ref())).await.unwrap();
            check(&home, &known).await;
        });
    }
}

/// Says which run failed.
struct Named(Fault, u64, u64);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "it is for whoever reads a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(fault, seed, after) = self;
            eprintln!("{fault:?} after {after} changes, with seed {seed}");
        }
    }
}

fn at_every_change(fault: Fault, seeds: Range<u64>) {
    for seed in seeds {
        let mut after = 0;
        loop {
            let _named = Named(fault, seed, after);
            let seed = seed * 1000 + after;
            if !simulated(seed, async |machine| strike(&machine, fault, after).await) {
                break;
            }
            after += 1;
        }
        assert!(after > 50, "{after} changes are not much of a life");
    }
}

#[test]
fn a_power_cut_leaves_a_snapshot_whole() {
    at_every_change(Fault::Cut, 0..3);
}

#[test]
fn a_full_disk_leaves_a_snapshot_whole() {
    at_every_change(Fault::Fail, 0..1);
}
