//! A consumer that never takes anything costs a bounded amount of memory. Alone in its binary, because it
//! measures the process.

use mosaik::*;
use mosaik_tests::{node, unique, within};

/// A kilobyte. Nobody needs to be there, so that sending goes on when the consumer is cut.
#[mosaik::stream(name = "test.block", stall = "300ms", online_when = 0)]
struct Block(Vec<u8>);

/// What ring, window, transport and allocator may take together, in bytes.
const ALLOWED: usize = 48 << 20;
/// What is sent, in bytes.
const SENT: usize = 192 << 20;

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_leaves_memory_flat() {
    let name = unique("never reads");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, &[&producing]).await;
    let producer = Block::producer(&producing);
    let idle = Block::consumer(&consuming);
    within(producer.when().subscribed()).await;
    let before = resident();
    let mut peak = 0;
    let mut bounded = 0;
    for sent in 0..SENT / 1024 {
        within(producer.send(Block(vec![7; 1022]))).await.unwrap();
        bounded = bounded.max(producer.buffered_bytes());
        if sent % 1024 == 0 {
            peak = peak.max(resident());
        }
    }
    let grown = peak.saturating_sub(before);
    assert!(grown < ALLOWED, "grew by {} MiB", grown >> 20);
    assert!(bounded <= 5 << 20, "the ring held {bounded} bytes");
    let held: u64 = idle.producers().iter().map(|channel| channel.lag).sum();
    assert!(held > 0 && held < 3 << 20, "the consumer held {held} bytes");
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
