//! What a channel between a producer and a consumer has done so far.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::id::PeerId;

/// One channel: a producer here and a consumer there, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// The other side; this peer itself when both are here.
    pub peer: PeerId,
    /// How the channel stands.
    pub state: ChannelState,
    /// Datums sent, or received, since it connected.
    pub datums: u64,
    /// Bytes of them, with 4 bytes of framing each.
    pub bytes: u64,
    /// At a producer: datums that the consumer does not have yet. At a consumer: bytes that have arrived
    /// and were not taken yet.
    pub lag: u64,
    /// Round-trip time of the connection; `None` within this peer, or before it is measured.
    pub rtt: Option<Duration>,
}

/// How a channel stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelState {
    /// Dialing, or asking for the subscription.
    Connecting,
    /// Datums flow.
    Connected,
    /// The connection is lost; the position is kept for a while.
    Reconnecting,
    /// The consumer took nothing for too long and is told so. It may come back for a while, to what is still
    /// there.
    Cut,
    /// The producer refused the subscription, or this side did; the text says why. It is tried again
    /// now and then.
    Refused(String),
}

/// Counts of one channel.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    datums: AtomicU64,
    bytes: AtomicU64,
    /// In nanoseconds; zero for not measured.
    rtt: AtomicU64,
}

impl Counters {
    pub(crate) fn add(&self, datums: u64, bytes: usize) {
        self.datums.fetch_add(datums, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        self.rtt.store(nanos, Ordering::Relaxed);
    }

    pub(crate) fn datums(&self) -> u64 {
        self.datums.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        match self.rtt.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}
