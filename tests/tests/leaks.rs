//! A network leaves nothing behind. Alone in its binary, because it counts what the process has.

use std::{collections::BTreeSet, fs, time::Duration};

use mosaik_tests::{node, unique, within};

/// Sockets and files of this process, by what they are.
fn descriptors() -> BTreeSet<String> {
    let folder = fs::read_dir("/proc/self/fd").unwrap();
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
    let targets = folder.filter_map(|entry| entry.ok().and_then(target));
    let targets = targets.map(|target| target.display().to_string());
    targets
        .filter(|target| !target.contains("/proc/"))
        .collect()
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_after_shutdown_or_drop() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let rendezvous = tempfile::tempdir().unwrap();
    let before = descriptors();
    for graceful in [true, false] {
        runtime.block_on(async {
            let name = unique("leaks");
            let first = node(&name, &[]).await;
            let second = mosaik_tests::loopback(&name)
                .local_rendezvous(true)
                .rendezvous_dir(rendezvous.path())
                .bootstrap([first.local().addr()])
                .build()
                .await
                .unwrap();
            let producer = first.streams().produce::<String>();
            let mut consumer = second.streams().consume::<String>();
            within(producer.when().online()).await;
            producer.send("something".into()).await.unwrap();
            assert_eq!(within(consumer.next()).await.unwrap(), "something");
            if graceful {
                within(first.shutdown()).await;
                within(second.shutdown()).await;
            }
        });
        let metrics = runtime.metrics();
        let ended = async {
            while metrics.num_alive_tasks() > 0 || !descriptors().is_subset(&before) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), ended).await });
        let left: Vec<_> = descriptors().difference(&before).cloned().collect();
        assert!(
            ended.is_ok(),
            "graceful: {graceful}, tasks: {}, descriptors: {left:?}",
            metrics.num_alive_tasks()
        );
    }
    let files = walk(rendezvous.path());
    assert!(files.is_empty(), "{files:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
