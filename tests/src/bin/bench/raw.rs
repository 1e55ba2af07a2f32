//! The reference: iroh alone. One connection and one stream a consumer, framed data in 64 KiB writes.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::try_join_all;
use iroh::{
    Endpoint, EndpointAddr, RelayMode,
    endpoint::{Connection, QuicTransportConfig, VarInt, presets},
};
use tokio::io::AsyncReadExt as _;

use crate::measure;

const ALPN: &[u8] = b"mosaik/bench/raw";
/// Bytes of one write.
const WRITE: usize = 64 * 1024;

/// Sends `datums` of `size` bytes to each consumer; how long until all have them.
pub(crate) async fn run(size: usize, consumers: usize, datums: u64) -> anyhow::Result<Duration> {
    let producer = endpoint().await?;
    let mut receiving = vec![];
    let mut sending = vec![];
    for _ in 0..consumers {
        let consumer = endpoint().await?;
        let (out, back) = connect(&producer, &consumer).await?;
        sending.push(out);
        receiving.push((consumer, back));
    }
    let started = Instant::now();
    let receivers: Vec<_> = receiving
        .into_iter()
        .map(|(endpoint, connection)| {
            tokio::spawn(async move {
                let mut stream = connection.accept_uni().await?;
                count(&mut stream, datums).await?;
                let done = Instant::now();
                connection.close(VarInt::from_u32(0), b"");
                anyhow::Ok((done, endpoint))
            })
        })
        .collect();
    // Where our producer runs too: on the thread of the benchmark itself.
    try_join_all(
        sending
            .into_iter()
            .map(|connection| send(connection, size, datums)),
    )
    .await?;
    let mut last = started;
    let mut endpoints = vec![producer];
    for receiver in receivers {
        let (done, endpoint) = receiver.await??;
        last = last.max(done);
        endpoints.push(endpoint);
    }
    for endpoint in endpoints {
        endpoint.close().await;
    }
    Ok(last - started)
}

async fn send(connection: Connection, size: usize, datums: u64) -> anyhow::Result<()> {
    let mut stream = connection.open_uni().await?;
    let padding = vec![7u8; size - 8];
    let mut batch = BytesMut::with_capacity(WRITE + size + 4);
    for number in 0..datums {
        batch.put_u32_le(u32::try_from(size)?);
        batch.put_u64_le(number);
        batch.put_slice(&padding);
        if batch.len() >= WRITE {
            stream.write_chunk(batch.split().freeze()).await?;
            batch.reserve(WRITE + size + 4);
        }
    }
    stream.write_chunk(batch.freeze()).await?;
    stream.finish()?;
    // The receiver closes once it has everything.
    connection.closed().await;
    Ok(())
}

/// Takes `datums`, which must come in order.
async fn count(stream: &mut iroh::endpoint::RecvStream, datums: u64) -> anyhow::Result<()> {
    let mut buffer = BytesMut::with_capacity(2 * WRITE);
    let mut got = 0;
    while got < datums {
        ensure!(
            stream.read_buf(&mut buffer).await? > 0,
            "{got} of {datums} came"
        );
        let mut at = 0;
        while let Some(header) = buffer[at..].first_chunk::<4>() {
            let end = at + 4 + u32::from_le_bytes(*header) as usize;
            if end > buffer.len() {
                break;
            }
            let number = buffer[at + 4..].first_chunk().copied();
            let number = u64::from_le_bytes(number.context("a number")?);
            ensure!(number == got, "{number}, not {got}");
            at = end;
            got += 1;
        }
        drop::<Bytes>(buffer.split_to(at).freeze());
        buffer.reserve(2 * WRITE);
    }
    Ok(())
}

/// The median round trip of 32 bytes, a thousand a second.
pub(crate) async fn ping(samples: usize) -> anyhow::Result<Duration> {
    let (near, far) = (endpoint().await?, endpoint().await?);
    let (out, back) = connect(&near, &far).await?;
    let echo = tokio::spawn(async move {
        let (mut send, mut recv) = back.accept_bi().await?;
        let mut datum = [0; 32];
        while recv.read_exact(&mut datum).await.is_ok() {
            send.write_all(&datum).await?;
        }
        anyhow::Ok(())
    });
    let (mut send, mut recv) = out.open_bi().await?;
    let mut trips = Vec::with_capacity(samples);
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let mut datum = [0; 32];
    for _ in 0..samples {
        tick.tick().await;
        let started = Instant::now();
        send.write_all(&datum).await?;
        recv.read_exact(&mut datum).await?;
        trips.push(started.elapsed());
    }
    send.finish()?;
    out.close(VarInt::from_u32(0), b"");
    drop(echo.await?);
    near.close().await;
    far.close().await;
    Ok(measure::median_duration(&mut trips))
}

/// How long it takes to bind three endpoints and to connect each to the others.
pub(crate) async fn three() -> anyhow::Result<Duration> {
    let started = Instant::now();
    let endpoints = [endpoint().await?, endpoint().await?, endpoint().await?];
    let [first, second, third] = &endpoints;
    let connections = (
        connect(first, second).await?,
        connect(second, third).await?,
        connect(third, first).await?,
    );
    let took = started.elapsed();
    drop(connections);
    for endpoint in endpoints {
        endpoint.close().await;
    }
    Ok(took)
}

async fn endpoint() -> anyhow::Result<Endpoint> {
    let config = QuicTransportConfig::builder()
        .stream_receive_window(VarInt::from_u32(2 * 1024 * 1024))
        .receive_window(VarInt::from_u32(64 * 1024 * 1024))
        .build();
    let endpoint = Endpoint::builder(presets::Minimal)
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")?
        .alpns(vec![ALPN.to_vec()])
        .transport_config(config)
        .bind()
        .await?;
    Ok(endpoint)
}

async fn connect(from: &Endpoint, to: &Endpoint) -> anyhow::Result<(Connection, Connection)> {
    let socket = to.bound_sockets().into_iter().next();
    let addr = EndpointAddr::new(to.id()).with_ip_addr(socket.context("a bound socket")?);
    let accept = async {
        let incoming = to.accept().await.context("an endpoint that accepts")?;
        anyhow::Ok(incoming.await?)
    };
    let (out, back) = tokio::join!(from.connect(addr, ALPN), accept);
    Ok((out?, back?))
}
