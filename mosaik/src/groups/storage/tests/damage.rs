//! Files that were altered: the state is one that was there, or the refusal names the file.

use std::{fs, path::Path, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{DIR, History, Run, record, simulated};
use crate::{
    groups::storage::{Op, OpenError},
    id::GroupId,
    rt::{self, fs::File},
};

const FILES: [&str; 2] = ["d/groups.redb", "d/groups.mark"];

/// The files of a storage that was killed when it was quiet, or closed.
fn files(closed: bool) -> (History, Vec<Vec<u8>>) {
    simulated(3, async |machine| {
        let run = Run::open(Path::new(DIR)).await.unwrap();
        let mut history = History::new("g", 3);
        let log = run.storage.open_group(history.group).await.unwrap();
        history.write(&log, 40).await.unwrap();
        if closed {
            run.storage.close().await;
        } else {
            rt::sleep(Duration::from_secs(1)).await;
        }
        machine.disk().crash();
        run.kill().await;
        let read = |name: &&str| rt::fs::read(Path::new(name)).unwrap();
        (history, FILES.iter().map(read).collect())
    })
}

/// Whether a storage with these files opens; then it holds what it should.
fn opens(history: &History, files: &[Vec<u8>]) -> bool {
    simulated(4, async |_| {
        for (name, bytes) in FILES.iter().zip(files) {
            File::create_private(Path::new(name))
                .unwrap()
                .write(bytes)
                .unwrap();
        }
        match Run::open(Path::new(DIR)).await {
            Ok(run) => {
                let log = run.storage.open_group(history.group).await.unwrap();
                history.check(&log).await;
                run.storage.close().await;
                true
            }
            Err(error) => {
                let text = error.to_string();
                assert!(FILES.iter().any(|name| text.contains(name)), "{text}");
                false
            }
        }
    })
}

#[test]
fn flipped_bits_are_refused_or_do_no_harm() {
    for closed in [false, true] {
        let (history, files) = files(closed);
        assert!(opens(&history, &files));
        let mut random = StdRng::seed_from_u64(5);
        let mut refused = 0;
        for (file, bytes) in files.iter().enumerate() {
            let used: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            let header = 0..bytes.len().min(320);
            let elsewhere = (0..150).map(|_| used[random.random_range(0..used.len())]);
            for at in header.chain(elsewhere).collect::<Vec<_>>() {
                let mut files = files.clone();
                files[file][at] ^= 1 << random.random_range(0..8);
                refused += u32::from(!opens(&history, &files));
            }
        }
        assert!(refused > 50, "{refused} refusals are few");
    }
}

#[test]
fn files_that_end_early_are_refused() {
    let (history, files) = files(false);
    for (file, bytes) in files.iter().enumerate() {
        for part in 0..20 {
            let mut files = files.clone();
            files[file].truncate(bytes.len() * part / 20);
            // A mark of one slot is still one.
            assert!(!opens(&history, &files) || (file == 1 && part > 0));
        }
    }
}

/// A directory with a log of so many commits.
async fn written(dir: &Path, commits: u64) {
    let run = Run::open(dir).await.unwrap();
    let log = run
        .storage
        .open_group(GroupId::from_name("g"))
        .await
        .unwrap();
    let next = log.state().next();
    for index in next..next + commits {
        let append = Op::Append(vec![record(1, index, vec![1; 100])]);
        log.write(vec![append]).await.unwrap();
    }
    run.storage.close().await;
}

#[tokio::test]
async fn a_missing_file_is_named() {
    for name in ["groups.redb", "groups.mark"] {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 1).await;
        fs::remove_file(dir.path().join(name)).unwrap();
        let refused = Run::open(dir.path()).await.err();
        let named =
            matches!(&refused, Some(OpenError::Missing { path, .. }) if path.ends_with(name));
        assert!(named, "{refused:?}");
    }
}

#[tokio::test]
async fn an_older_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (database, copy) = (dir.path().join("groups.redb"), dir.path().join("copy"));
    written(dir.path(), 3).await;
    fs::copy(&database, &copy).unwrap();
    written(dir.path(), 3).await;
    fs::copy(&copy, &database).unwrap();
    let refused = Run::open(dir.path()).await.err();
    assert!(
        matches!(refused, Some(OpenError::RolledBack { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_file_of_another_directory_is_refused() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        written(dir.path(), 3).await;
    }
    let [from, to] = dirs.each_ref().map(|dir| dir.path().join("groups.redb"));
    fs::copy(from, to).unwrap();
    let refused = Run::open(dirs[1].path()).await.err();
    assert!(
        matches!(refused, Some(OpenError::Damaged { .. })),
        "{refused:?}"
    );
}
