//! A network leaves nothing behind. Alone in its binary, because it counts what the process has.

use std::{
    collections::BTreeSet,
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::Duration,
};

use mosaik::{Builder, Entry, Network, PeerAddr, SecretKey};
use mosaik_tests::{Child, loopback, unique, within};

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

/// What happens to two nodes that know each other, before they end.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing; one datum flows.
    None,
    /// A peer in a process of its own is killed.
    Killed,
    /// Datagrams arrive that belong to nothing, and a peer that is no peer is dialed.
    Garbage,
    /// Peers of another network, and without the secret, are refused, and refuse.
    Refused,
}

async fn nodes(fault: Fault, graceful: bool, rendezvous: &Path, data: &Path) {
    let name = unique("leaks");
    let options = || -> Builder {
        let options = loopback(&name);
        match fault {
            Fault::Refused => options.shared_secret("ours"),
            _ => options,
        }
    };
    let folder = data.join(format!("{fault:?} {graceful}"));
    let first = options().data_dir(folder).build().await.unwrap();
    let second = options()
        .local_rendezvous(true)
        .rendezvous_dir(rendezvous)
        .bootstrap([first.local().addr()])
        .build();
    let second = second.await.unwrap();
    let producer = first.streams().produce::<String>();
    let mut consumer = second.streams().consume::<String>();
    within(producer.when().online()).await;
    match fault {
        Fault::None => {}
        Fault::Killed => killed(&name, &first).await,
        Fault::Garbage => garbage(&first).await,
        Fault::Refused => refused(&name, &first).await,
    }
    producer.send("something".into()).await.unwrap();
    assert_eq!(within(consumer.next()).await.unwrap(), "something");
    if graceful {
        within(first.shutdown()).await;
        within(second.shutdown()).await;
    }
}

/// Has a peer come that is killed once it is known: what is open to it breaks while the node ends.
async fn killed(name: &str, first: &Network) {
    let mut catalogs = first.discovery().watch();
    let ticket = first.local().ticket().to_string();
    let mut child = Child::start("numbers", &["consume", name, "-", &ticket, "0"]);
    let is_child = |entry: Entry| entry.has_tag("consume");
    while !within(catalogs.next()).await.unwrap().iter().any(is_child) {}
    child.kill();
}

async fn garbage(first: &Network) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for ip in first.local().addr().ips {
        for len in [0, 1, 100, 1200] {
            socket.send_to(&[0xff; 1200][..len], ip).unwrap();
        }
    }
    let nobody = SecretKey::generate().peer();
    let addr = PeerAddr::new(nobody).with_ip(socket.local_addr().unwrap());
    let dialed = within(first.discovery().dial(addr)).await;
    assert!(dialed.is_err());
}

async fn refused(name: &str, first: &Network) {
    let foreign = loopback(&unique("foreign")).build().await.unwrap();
    let ignorant = loopback(name).build().await.unwrap();
    for stranger in [&foreign, &ignorant] {
        let there = within(stranger.discovery().dial(first.local().addr())).await;
        let back = within(first.discovery().dial(stranger.local().addr())).await;
        assert!(there.is_err() && back.is_err());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_after_shutdown_or_drop_whatever_happened() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let rendezvous = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let before = descriptors();
    for fault in [Fault::None, Fault::Killed, Fault::Garbage, Fault::Refused] {
        for graceful in [true, false] {
            runtime.block_on(nodes(fault, graceful, rendezvous.path(), data.path()));
            let metrics = runtime.metrics();
            let ended = async {
                while metrics.num_alive_tasks() > 0 || !descriptors().is_subset(&before) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let ended = async { tokio::time::timeout(Duration::from_secs(20), ended).await };
            let ended = runtime.block_on(ended);
            let left: Vec<_> = descriptors().difference(&before).cloned().collect();
            assert!(
                ended.is_ok(),
                "{fault:?}, graceful: {graceful}, tasks: {}, descriptors: {left:?}",
                metrics.num_alive_tasks()
            );
            let files = walk(rendezvous.path());
            assert!(files.is_empty(), "{fault:?}: {files:?}");
        }
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
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
