//! How much of a peer is taken in, over whatever connections and streams it comes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    id::PeerId,
    rt::{self, Instant},
};

/// Mean time between gossip messages of a peer that are taken in: 500 a second.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(2);
/// Messages that may come faster than that, as when much changes at once.
const GOSSIP_BURST: u32 = 2000;
/// Bytes of gossip that count for a message, so that 512 KiB a second are taken in, and 2 MiB at once.
const GOSSIP_UNIT: usize = 1024;
/// Mean time between streams of a peer that are accepted.
const STREAM_INTERVAL: Duration = Duration::from_millis(5);
/// Streams that may come faster than that.
const STREAM_BURST: u32 = 400;
/// Mean time between exchanges that a peer begins: each costs a copy of the catalog's index.
const EXCHANGE_INTERVAL: Duration = Duration::from_millis(250);
/// Exchanges that may begin faster than that.
const EXCHANGE_BURST: u32 = 16;

/// The meters of all peers.
#[derive(Debug, Default)]
pub(super) struct Meters {
    peers: Mutex<BTreeMap<PeerId, Arc<Meter>>>,
}

impl Meters {
    /// The meter of a peer, whatever connection it has.
    pub(super) fn of(&self, peer: PeerId) -> Arc<Meter> {
        self.peers().entry(peer).or_default().clone()
    }

    /// Forgets those that are not in use and would admit everything anyway; call now and then.
    pub(super) fn sweep(&self) {
        let now = rt::now();
        self.peers()
            .retain(|_, meter| Arc::strong_count(meter) > 1 || !meter.is_full(now));
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<Meter>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The meter of one peer.
#[derive(Debug)]
pub(super) struct Meter {
    rates: Mutex<Rates>,
}

#[derive(Debug)]
struct Rates {
    gossip: Rate,
    streams: Rate,
    exchanges: Rate,
}

impl Default for Meter {
    fn default() -> Self {
        let now = rt::now();
        Self {
            rates: Mutex::new(Rates {
                gossip: Rate::new(GOSSIP_INTERVAL, GOSSIP_BURST, now),
                streams: Rate::new(STREAM_INTERVAL, STREAM_BURST, now),
                exchanges: Rate::new(EXCHANGE_INTERVAL, EXCHANGE_BURST, now),
            }),
        }
    }
}

impl Meter {
    /// Whether a gossip message of `len` bytes is taken in.
    pub(super) fn admits_gossip(&self, len: usize) -> bool {
        let units = u32::try_from(len / GOSSIP_UNIT).unwrap_or(u32::MAX).max(1);
        self.rates().gossip.admit(rt::now(), units)
    }

    /// Waits until one more stream may be accepted.
    pub(super) async fn stream(&self) {
        let wait = self.rates().streams.reserve(rt::now());
        rt::sleep(wait).await;
    }

    /// Waits until one more exchange may begin.
    pub(super) async fn exchange(&self) {
        let wait = self.rates().exchanges.reserve(rt::now());
        rt::sleep(wait).await;
    }

    fn is_full(&self, now: Instant) -> bool {
        let rates = self.rates();
        let all = [&rates.gossip, &rates.streams, &rates.exchanges];
        all.iter().all(|rate| rate.theoretical <= now)
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A burst, then a steady rate (the generic cell rate algorithm, ITU-T I.371).
#[derive(Debug)]
struct Rate {
    interval: Duration,
    burst: u32,
    /// When what came so far would have come at the steady rate.
    theoretical: Instant,
}

impl Rate {
    fn new(interval: Duration, burst: u32, now: Instant) -> Self {
        Self {
            interval,
            burst,
            theoretical: now,
        }
    }

    /// Whether so much may come now.
    fn admit(&mut self, now: Instant, units: u32) -> bool {
        let theoretical = self.theoretical.max(now);
        let admitted = theoretical - now < self.interval * self.burst;
        if admitted {
            self.theoretical = theoretical + self.interval.saturating_mul(units);
        }
        admitted
    }

    /// How long one more has to wait, which comes then.
    fn reserve(&mut self, now: Instant) -> Duration {
        let theoretical = self.theoretical.max(now);
        self.theoretical = theoretical + self.interval;
        (self.theoretical - now).saturating_sub(self.interval * self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_admitted_and_then_a_steady_rate() {
        let now = rt::now();
        let mut rate = Rate::new(GOSSIP_INTERVAL, GOSSIP_BURST, now);
        let burst = (0..GOSSIP_BURST * 2).filter(|_| rate.admit(now, 1)).count();
        assert_eq!(burst, GOSSIP_BURST as usize);
        let later = now + GOSSIP_INTERVAL * 10;
        assert_eq!((0..20).filter(|_| rate.admit(later, 1)).count(), 10);
    }

    #[test]
    fn what_may_not_come_yet_waits_its_turn() {
        let now = rt::now();
        let mut rate = Rate::new(STREAM_INTERVAL, STREAM_BURST, now);
        assert!((0..STREAM_BURST).all(|_| rate.reserve(now).is_zero()));
        assert_eq!(rate.reserve(now), STREAM_INTERVAL);
        assert_eq!(rate.reserve(now), STREAM_INTERVAL * 2);
        assert!(rate.reserve(now + STREAM_INTERVAL * 3).is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn large_messages_count_for_several() {
        let meter = Meter::default();
        let large = GOSSIP_UNIT * 16;
        let admitted = (0..GOSSIP_BURST).filter(|_| meter.admits_gossip(large));
        assert_eq!(admitted.count(), GOSSIP_BURST as usize / 16);
        rt::sleep(GOSSIP_INTERVAL).await;
        assert!(meter.admits_gossip(usize::MAX));
        assert!(!meter.admits_gossip(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_meter_outlives_connections_until_it_admits_everything() {
        let meters = Meters::default();
        let peer = PeerId::from_bytes([1; 32]);
        while meters.of(peer).admits_gossip(0) {}
        meters.sweep();
        assert!(!meters.of(peer).admits_gossip(0));
        rt::sleep(GOSSIP_INTERVAL * GOSSIP_BURST).await;
        meters.sweep();
        assert!(meters.peers().is_empty());
    }
}
