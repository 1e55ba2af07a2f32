//! A consumer that never takes anything costs a bounded amount of memory. Alone in its binary, because it
//! measures the process.
#![cfg(target_os = "linux")]

use std::sync::PoisonError;

use futures::FutureExt as _;
use mosaik::{streams::*, *};
use mosaik_tests::{node, unique, within};

/// A kilobyte. Nobody needs to be there, so that sending goes on when the consumer is cut.
#[mosaik::stream(name = "test.block", stall = "300ms", online_when = 0)]
struct Block(Vec<u8>);

/// Bytes whose consumers are not cut before the test is over.
#[mosaik::stream(name = "test.held", stall = "1h")]
struct Held(Vec<u8>);

/// What ring, window, transport and allocator may take together, in bytes.
const ALLOWED: usize = 48 << 20;
/// What is sent, in bytes.
const SENT: usize = 192 << 20;

/// One measurement at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn a_reader_that_never_reads_and_is_cut_leaves_memory_flat() {
    alone(async {
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
    });
}

#[test]
fn a_reader_that_never_reads_and_stays_connected_makes_the_producer_wait_and_memory_flat() {
    for size in [1, 1022] {
        alone(held(size));
    }
}

/// Fills ring, window and transport with datums of `size` bytes, and then tries on and on.
async fn held(size: usize) {
    let name = unique("held");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, &[&producing]).await;
    let producer = Held::producer(&producing);
    let idle = Held::consumer(&consuming);
    within(producer.when().online()).await;
    let before = resident();
    let mut sent = 0u64;
    let mut refused = 0;
    // Many times what fits, and refused for so long that nothing is on the way any more.
    while refused < 200_000 {
        match producer.try_send(Held(vec![7; size])) {
            Ok(()) => (sent, refused) = (sent + 1, 0),
            Err(TrySendError::Full(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    let waiting = producer.send(Held(vec![7; size]));
    assert!(waiting.now_or_never().is_none(), "the producer waits");
    let grown = resident().saturating_sub(before);
    let record = size as u64 + 5;
    let fits = (2 << 20) / record + 16_384 + (1 << 20) / record;
    assert!(sent <= fits, "{sent} datums of {size} bytes were taken");
    assert!(grown < 24 << 20, "{size}: grew by {} KiB", grown >> 10);
    let [channel] = &producer.consumers()[..] else {
        panic!("one consumer");
    };
    assert_eq!(channel.state, ChannelState::Connected);
    let held = idle.producers()[0].lag;
    // What is left of the window may be less than the next chunk and its cost.
    let full = (2 << 20) - 128 * 1024;
    assert!(held >= full, "the window is not full: {held} bytes");
    assert!(held <= 2 * 1024 * 1024 + 256 * 1024, "{held} bytes");
}

fn alone(test: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
