//! Members whose log grows.

use super::*;
use crate::groups::proto::compaction::Length;

const KIB: u64 = 1024;

/// Limits of bytes that a test reaches; the entries are never so many.
fn by_bytes() -> Options {
    let length = |bytes| Length {
        entries: 1_000_000,
        bytes,
    };
    Options {
        limits: Limits {
            every: length(1024 * KIB),
            keep: length(256 * KIB),
        },
        ..Options::default()
    }
}

fn held(host: &Host) -> u64 {
    host.log.sizes(|log| log.bytes(0..u64::MAX))
}

#[tokio::test(start_paused = true)]
async fn few_large_entries_lead_to_a_snapshot_and_a_purged_log() {
    let (_world, hosts) = World::founded(by_bytes(), 3).await;
    let leads = leader(&hosts).await;
    let mut most = 0;
    for _ in 0..128 {
        leads.write(vec![7; 64 * 1024]).await.unwrap();
        most = hosts.iter().map(held).fold(most, u64::max);
    }
    // 8 MiB were written. Beyond the limits, the log holds what is written while a snapshot is made.
    assert!((1024 * KIB..3 * 1024 * KIB).contains(&most), "{most}");
    let last = leads.write("last").await.unwrap();
    for host in &hosts {
        let status = host.until(|s| s.applied >= Some(last)).await;
        let snapshot = status.snapshot.unwrap();
        // A snapshot ends no further back than the limits let the log become behind it.
        assert!(last.index - snapshot.index < 48, "{status:?}");
        let purged = host.log.ends().0.unwrap();
        assert!(purged <= snapshot, "{purged} and {snapshot}");
        assert!(snapshot.index - purged.index <= 4, "{purged}, {snapshot}");
    }
    // Whoever comes now cannot be sent the beginning of the log, and has it all the same.
    let (all, (_, state)) = (leads.machine.payloads(), {
        let snapshot = lock(&leads.machine.state).snapshot.clone();
        snapshot.unwrap()
    });
    let kept: Vec<Bytes> = wire::decode(&state.content().await.unwrap()).unwrap();
    assert_eq!(all[..kept.len()], kept);
}

/// Where nothing is written, nothing is made anew.
#[tokio::test(start_paused = true)]
async fn an_idle_member_makes_no_snapshot() {
    let (_world, hosts) = World::founded(by_bytes(), 1).await;
    let host = &hosts[0];
    for _ in 0..20 {
        host.write(vec![7; 64 * 1024]).await.unwrap();
    }
    let status = host.until(|s| s.snapshot.is_some()).await;
    rt::sleep(Duration::from_secs(60)).await;
    let after = host.node.status().borrow().snapshot;
    assert_eq!(after, status.snapshot);
}
