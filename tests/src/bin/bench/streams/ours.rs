//! The same work through mosaik's streams.

use std::time::{Duration, Instant};

use anyhow::ensure;
use bytes::Bytes;
use mosaik::{Network, PeerAddr};
use serde::{Deserialize, Serialize};

use crate::measure;

/// 32 bytes as postcard.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Small {
    number: [u8; 8],
    padding: [u8; 24],
}

/// Any number of bytes.
#[derive(Clone, Serialize, Deserialize)]
struct Large {
    number: [u8; 8],
    padding: Bytes,
}

/// Sends `datums` of `size` bytes to each consumer; how long until all have them.
pub(crate) async fn run(size: usize, consumers: usize, datums: u64) -> anyhow::Result<Duration> {
    if size == 32 {
        let make = |number: u64| Small {
            number: number.to_le_bytes(),
            padding: [7; 24],
        };
        stream(consumers, datums, make, |small| {
            u64::from_le_bytes(small.number)
        })
        .await
    } else {
        // The length of the padding takes two bytes, and three from 16 KiB on.
        let prefix = if size < 16 * 1024 { 2 } else { 3 };
        let padding = Bytes::from(vec![7u8; size - 8 - prefix]);
        // The same bytes each time: cloning them costs nothing, as little as the raw run's padding.
        let make = move |number: u64| Large {
            number: number.to_le_bytes(),
            padding: padding.clone(),
        };
        stream(consumers, datums, make, |large| {
            u64::from_le_bytes(large.number)
        })
        .await
    }
}

async fn stream<T>(
    consumers: usize,
    datums: u64,
    make: impl Fn(u64) -> T,
    number: impl Fn(&T) -> u64 + Copy + Send + Sync + 'static,
) -> anyhow::Result<Duration>
where
    T: Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let producing = node(None).await?;
    let producer = producing.streams().topic::<T>("bench").produce();
    let mut nodes = vec![];
    let mut receiving = vec![];
    for _ in 0..consumers {
        let node = node(Some(producing.local().addr())).await?;
        receiving.push(node.streams().topic::<T>("bench").consume());
        nodes.push(node);
    }
    producer.when().subscribed().at_least(consumers).await;
    let started = Instant::now();
    let receivers: Vec<_> = receiving
        .into_iter()
        .map(|mut consumer| {
            tokio::spawn(async move {
                for expected in 0..datums {
                    let datum = consumer.recv().await?;
                    let got = number(&datum);
                    ensure!(got == expected, "{got}, not {expected}");
                }
                anyhow::Ok(Instant::now())
            })
        })
        .collect();
    for number in 0..datums {
        producer.send(make(number)).await?;
    }
    let mut last = started;
    for receiver in receivers {
        last = last.max(receiver.await??);
    }
    for node in nodes {
        node.shutdown().await;
    }
    producing.shutdown().await;
    Ok(last - started)
}

/// The median one-way latency of 32 bytes, a thousand a second.
pub(crate) async fn latency(samples: usize) -> anyhow::Result<Duration> {
    let producing = node(None).await?;
    let producer = producing.streams().topic::<Small>("latency").produce();
    let consuming = node(Some(producing.local().addr())).await?;
    let mut consumer = consuming.streams().topic::<Small>("latency").consume();
    producer.when().online().await;
    let receiver = tokio::spawn(async move {
        let mut trips = Vec::with_capacity(samples);
        for _ in 0..samples {
            let sent = u64::from_le_bytes(consumer.recv().await?.number);
            trips.push(Duration::from_nanos(measure::clock() - sent));
        }
        anyhow::Ok(trips)
    });
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    for _ in 0..samples {
        tick.tick().await;
        producer
            .send(Small {
                number: measure::clock().to_le_bytes(),
                padding: [7; 24],
            })
            .await?;
    }
    let mut trips = receiver.await??;
    consuming.shutdown().await;
    producing.shutdown().await;
    Ok(measure::median_duration(&mut trips))
}

async fn node(bootstrap: Option<PeerAddr>) -> anyhow::Result<Network> {
    let network = Network::builder(format!("bench {}", std::process::id()))
        .offline()
        .bind("127.0.0.1:0".parse()?)
        .local_rendezvous(false)
        .bootstrap(bootstrap)
        .build()
        .await?;
    Ok(network)
}
