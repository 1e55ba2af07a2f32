//! What peers announce by gossip, and how often.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::proto::{
    catalog::EXPIRE,
    entry::{Record, SignedEntry, Version},
};
use crate::{id::PeerId, rt::Instant, wire};

/// Largest entry that is announced in full, in bytes: 3.5 KiB, what fits a gossip message.
pub(super) const MAX_INLINE: usize = 3584;
/// How long changes are gathered before they are announced.
const COALESCE: Duration = Duration::from_millis(10);
/// Mean time between announcements of one peer that changes all the time.
const MIN_INTERVAL: Duration = Duration::from_millis(250);
/// Announcements that may follow each other faster than that.
const BURST: u32 = 8;
/// Time between refreshes of an unchanged entry in a small network.
const REFRESH: Duration = Duration::from_secs(15);
/// Peers at which that time doubles.
const REFRESH_PEERS: u32 = 50;
/// Longest time between refreshes: a quarter of the time to expiry, so that three may be lost.
const MAX_REFRESH: Duration = Duration::from_secs(EXPIRE.as_secs() / 4);

/// A payload of the gossip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announcement {
    /// Tells equal announcements apart, which gossip would suppress. Zero where that is wanted.
    pub(super) nonce: u64,
    /// What is announced.
    pub(super) news: News,
}

/// What is announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum News {
    /// A peer's entry.
    Entry(SignedEntry),
    /// That there is an entry, which is too large to be announced.
    Hint {
        /// The peer.
        peer: PeerId,
        /// How new its entry is.
        version: Version,
    },
    /// That a boot of a peer did not answer.
    Suspect {
        /// The peer.
        peer: PeerId,
        /// Its boot.
        boot: u64,
    },
}

impl Announcement {
    /// Announces an entry, as a hint if it is large.
    pub(super) fn of(record: &Record, nonce: u64) -> Self {
        let news = if record.signed().len() <= MAX_INLINE {
            News::Entry(record.signed().clone())
        } else {
            News::Hint {
                peer: record.peer(),
                version: record.version(),
            }
        };
        Self { nonce, news }
    }

    /// Its encoding.
    pub(super) fn encode(&self) -> Result<Bytes, wire::EncodeError> {
        wire::encode(self).map(Bytes::from)
    }
}

/// Paces announcements: a burst at once, then a steady rate (the generic cell rate algorithm, ITU-T
/// I.371).
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// When the announcements so far would have been made at the steady rate.
    theoretical: Instant,
}

impl Pace {
    /// Nothing was announced yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { theoretical: now }
    }

    /// How long what has changed now waits to be announced.
    pub(super) fn delay(&self, now: Instant) -> Duration {
        let ahead = self.theoretical.saturating_duration_since(now);
        ahead.saturating_sub(MIN_INTERVAL * BURST).max(COALESCE)
    }

    /// Notes an announcement.
    pub(super) fn announced(&mut self, now: Instant) {
        self.theoretical = self.theoretical.max(now) + MIN_INTERVAL;
    }
}

/// Time between refreshes in a network of `peers`: each peer's gossip load stays about the same.
pub(super) fn refresh_interval(peers: usize) -> Duration {
    let peers = u32::try_from(peers).unwrap_or(u32::MAX);
    let grown = REFRESH.saturating_mul(peers.saturating_add(REFRESH_PEERS)) / REFRESH_PEERS;
    grown.min(MAX_REFRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_announced_at_once_and_then_at_a_steady_rate() {
        let now = crate::rt::now();
        let mut pace = Pace::new(now);
        for _ in 0..=BURST {
            assert_eq!(pace.delay(now), COALESCE);
            pace.announced(now);
        }
        assert_eq!(pace.delay(now), MIN_INTERVAL);
        assert_eq!(pace.delay(now + MIN_INTERVAL), COALESCE);
    }

    #[test]
    fn the_refresh_interval_grows_and_stays_below_expiry() {
        assert_eq!(refresh_interval(0), REFRESH);
        assert_eq!(refresh_interval(50), 2 * REFRESH);
        assert_eq!(refresh_interval(usize::MAX), MAX_REFRESH);
        assert!(MAX_REFRESH.mul_f64(1.5) * 2 < EXPIRE);
    }
}
