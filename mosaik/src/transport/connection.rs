//! A proved connection to a peer, and the halves of its streams.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};

#[cfg(any(test, feature = "sim"))]
use super::memory;
use super::{Alpn, CloseCode, LinkError, iroh};
use crate::id::PeerId;

/// Longest reason of a peer that is kept, in characters.
const MAX_REASON: usize = 256;

/// A connection whose two ends have proved themselves to each other.
///
/// Clones share the connection; it closes when the last is dropped.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(super) carrier: Carrier,
    pub(super) facts: Arc<Facts>,
}

/// What is known of a connection from its start.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) peer: PeerId,
    pub(super) boot: u64,
    pub(super) alpn: Alpn,
    pub(super) dialed: bool,
    pub(super) stable_id: u64,
}

/// What carries the bytes.
#[derive(Clone)]
pub(super) enum Carrier {
    Iroh(iroh::Connection),
    #[cfg(any(test, feature = "sim"))]
    Memory(memory::Connection),
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// The code, [`CloseCode::TimedOut`] when the peer went silent.
    pub(crate) code: CloseCode,
    /// The reason in words.
    pub(crate) reason: String,
}

impl Closed {
    /// What a peer said, fit to be shown: peers choose the words, and terminals obey control characters.
    pub(super) fn told(code: CloseCode, reason: &str) -> Self {
        let shown = reason.chars().take(MAX_REASON);
        let shown = shown.map(|c| {
            if is_control(c) {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        });
        Self {
            code,
            reason: shown.collect(),
        }
    }
}

/// Whether a character does something rather than show something: control characters, and those that turn the
/// direction of a text.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason.is_empty() {
            write!(f, "{}", self.code)
        } else {
            write!(f, "{}: {}", self.code, self.reason)
        }
    }
}

macro_rules! carried {
    ($carrier:expr, $inner:ident => $call:expr) => {
        match $carrier {
            Carrier::Iroh($inner) => $call,
            #[cfg(any(test, feature = "sim"))]
            Carrier::Memory($inner) => $call,
        }
    };
}

impl Connection {
    /// The peer at the other end.
    pub(crate) fn peer(&self) -> PeerId {
        self.facts.peer
    }

    /// Which boot of the peer it is: a random number of the peer's endpoint.
    pub(crate) fn boot(&self) -> u64 {
        self.facts.boot
    }

    /// The protocol it is for.
    pub(crate) fn alpn(&self) -> Alpn {
        self.facts.alpn
    }

    /// Whether this end dialed.
    pub(crate) fn dialed(&self) -> bool {
        self.facts.dialed
    }

    /// A number that no other connection of this process has.
    pub(crate) fn stable_id(&self) -> u64 {
        self.facts.stable_id
    }

    /// The smoothed round-trip time, once measured.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        carried!(&self.carrier, c => c.rtt())
    }

    /// Opens a stream. The peer sees it with the first bytes on it.
    pub(crate) async fn open_bi(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        match &self.carrier {
            Carrier::Iroh(c) => c.open_bi().await,
            #[cfg(any(test, feature = "sim"))]
            Carrier::Memory(c) => c.open_bi().await,
        }
    }

    /// Waits for a stream that the peer opens.
    pub(crate) async fn accept_bi(&self) -> Result<(SendHalf, RecvHalf), LinkError> {
        match &self.carrier {
            Carrier::Iroh(c) => c.accept_bi().await,
            #[cfg(any(test, feature = "sim"))]
            Carrier::Memory(c) => c.accept_bi().await,
        }
    }

    /// Closes all of it at once; what is not delivered is lost.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        carried!(&self.carrier, c => c.close(code, reason));
    }

    /// Waits for its end.
    pub(crate) async fn closed(&self) -> Closed {
        let Closed { code, reason } = carried!(&self.carrier, c => c.closed().await);
        Closed::told(code, &reason)
    }

    /// Whether it still works, as far as this end knows.
    pub(crate) fn is_open(&self) -> bool {
        carried!(&self.carrier, c => c.close_reason().is_none())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.facts.peer)
            .field("alpn", &self.facts.alpn)
            .field("stable_id", &self.facts.stable_id)
            .finish_non_exhaustive()
    }
}

/// The sending half of a stream.
///
/// Dropping it without [`finish`](SendHalf::finish) looks like a clean end to the carrier, so links
/// mark their ends in-band.
pub(crate) enum SendHalf {
    Iroh(iroh::SendHalf),
    #[cfg(any(test, feature = "sim"))]
    Memory(memory::SendHalf),
}

impl SendHalf {
    /// Writes all of `bytes`, waiting for room.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        match self {
            Self::Iroh(half) => half.write_all(bytes).await,
            #[cfg(any(test, feature = "sim"))]
            Self::Memory(half) => half.write_all(bytes).await,
        }
    }

    /// Writes all of `chunks` without copying them, waiting for room.
    pub(crate) async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        match self {
            Self::Iroh(half) => half.write_chunks(chunks).await,
            #[cfg(any(test, feature = "sim"))]
            Self::Memory(half) => half.write_chunks(chunks).await,
        }
    }

    /// Says that nothing follows, and waits until the peer has taken everything or stopped reading.
    pub(crate) async fn finish(&mut self) -> Result<(), LinkError> {
        match self {
            Self::Iroh(half) => half.finish().await,
            #[cfg(any(test, feature = "sim"))]
            Self::Memory(half) => half.finish().await,
        }
    }

    /// Gives the stream up; what is not delivered is lost.
    pub(crate) fn reset(&mut self, code: CloseCode) {
        match self {
            Self::Iroh(half) => half.reset(code),
            #[cfg(any(test, feature = "sim"))]
            Self::Memory(half) => half.reset(code),
        }
    }
}

/// The receiving half of a stream.
pub(crate) enum RecvHalf {
    Iroh(iroh::RecvHalf),
    #[cfg(any(test, feature = "sim"))]
    Memory(memory::RecvHalf),
}

impl RecvHalf {
    /// Appends what has arrived to `buffer`, at most its spare capacity, waiting for at least a byte.
    /// Zero says that the stream ended. Cancel-safe.
    pub(crate) async fn read_buf(&mut self, buffer: &mut BytesMut) -> Result<usize, LinkError> {
        match self {
            Self::Iroh(half) => half.read_buf(buffer).await,
            #[cfg(any(test, feature = "sim"))]
            Self::Memory(half) => half.read_buf(buffer).await,
        }
    }

    /// Tells the peer to send no more.
    pub(crate) fn stop(&mut self, code: CloseCode) {
        match self {
            Self::Iroh(half) => half.stop(code),
            #[cfg(any(test, feature = "sim"))]
            Self::Memory(half) => half.stop(code),
        }
    }
}

impl fmt::Debug for SendHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendHalf").finish_non_exhaustive()
    }
}

impl fmt::Debug for RecvHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvHalf").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_of_peers_are_fit_for_a_terminal() {
        let told = |reason: &str| Closed::told(CloseCode::Done, reason).reason;
        assert_eq!(told("another network; é ✓"), "another network; é ✓");
        let shown = told("\x1b]0;owned\x07\r\n\u{202e}txt\u{9b}2J");
        assert_eq!(
            shown,
            "\u{fffd}]0;owned\u{fffd}\u{fffd}\u{fffd}\u{fffd}txt\u{fffd}2J"
        );
        assert_eq!(told(&"x".repeat(10_000)).len(), MAX_REASON);
    }
}
