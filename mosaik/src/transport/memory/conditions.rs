//! What a way between two hosts does to what is sent on it.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};

/// Bytes of a packet.
const PACKET: usize = 1200;
/// Shortest time after which a packet that is not acknowledged is sent again.
const MIN_RETRANSMIT: Duration = Duration::from_millis(20);
/// Times that a packet is lost at most before it passes: beyond, a way with so much loss is as good as cut.
const MAX_LOSSES: u32 = 8;
/// A packet that is overtaken is this many times the latency late, at most.
const OVERTAKEN: u32 = 4;

/// What a way between two hosts does to what is sent on it, in one direction.
///
/// The default passes everything on at once. Virtual time has a resolution of one millisecond.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// How long a packet takes. Default: nothing.
    pub latency: Duration,
    /// By how much more, at most, it takes; drawn anew for each packet. Default: nothing.
    pub jitter: Duration,
    /// The share of packets that are lost, from 0 to 1. What carries the streams sends them again, so that
    /// they arrive later, and what follows on their stream with them. At 1 nothing passes. Default: 0.
    pub loss: f64,
    /// The share of packets that arrive so late that others overtake them, from 0 to 1. Default: 0.
    pub reordering: f64,
    /// Bytes a second that pass; what is more queues up. Default: as many as there are.
    pub bandwidth: Option<u64>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            reordering: 0.0,
            bandwidth: None,
        }
    }
}

impl Conditions {
    /// A local network: one to two milliseconds, no loss.
    pub fn lan() -> Self {
        Self {
            latency: Duration::from_millis(1),
            jitter: Duration::from_millis(1),
            ..Self::default()
        }
    }

    /// Machines on two continents: 40 to 50 milliseconds, a packet in a thousand lost, 12.5 MB/s.
    pub fn wan() -> Self {
        Self {
            latency: Duration::from_millis(40),
            jitter: Duration::from_millis(10),
            loss: 0.001,
            reordering: 0.01,
            bandwidth: Some(12_500_000),
        }
    }

    /// A way that works, but badly: 20 to 120 milliseconds, a packet in ten lost, one in ten overtaken.
    pub fn bad() -> Self {
        Self {
            latency: Duration::from_millis(20),
            jitter: Duration::from_millis(100),
            loss: 0.1,
            reordering: 0.1,
            bandwidth: Some(1_000_000),
        }
    }

    /// Whether nothing passes.
    pub(super) fn is_cut(&self) -> bool {
        self.loss >= 1.0
    }

    /// How long `len` bytes occupy the way.
    pub(super) fn occupied(&self, len: usize) -> Duration {
        match self.bandwidth {
            Some(bandwidth) => Duration::from_secs_f64(len as f64 / bandwidth.max(1) as f64),
            None => Duration::ZERO,
        }
    }

    /// How long `len` bytes are under way, what is lost of them sent again.
    pub(super) fn delay(&self, len: usize, random: &mut StdRng) -> Duration {
        let mut delay = self.latency;
        if !self.jitter.is_zero() {
            delay += self.jitter.mul_f64(random.random_range(0.0..1.0));
        }
        if self.reordering > 0.0 && random.random_bool(self.reordering.clamp(0.0, 1.0)) {
            let late = self.latency.saturating_mul(OVERTAKEN);
            delay += late.mul_f64(random.random_range(0.0..1.0));
        }
        if self.loss > 0.0 {
            let packets = i32::try_from(len.div_ceil(PACKET).max(1)).unwrap_or(i32::MAX);
            // That any of the packets is lost; after that, only those are sent again.
            let mut lost = 1.0 - (1.0 - self.loss.clamp(0.0, 1.0)).powi(packets);
            let mut retransmit = MIN_RETRANSMIT.max(self.latency * 3);
            for _ in 0..MAX_LOSSES {
                if !random.random_bool(lost.clamp(0.0, 1.0)) {
                    break;
                }
                delay += retransmit;
                retransmit *= 2;
                lost = self.loss;
            }
        }
        delay
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn delays(conditions: &Conditions, len: usize) -> Vec<Duration> {
        let mut random = StdRng::seed_from_u64(1);
        let delay = |_| conditions.delay(len, &mut random);
        (0..1000).map(delay).collect()
    }

    #[test]
    fn delays_lie_between_latency_and_jitter() {
        let lan = Conditions::lan();
        let found = delays(&lan, 100);
        assert!(
            found
                .iter()
                .all(|d| (lan.latency..lan.latency + lan.jitter).contains(d))
        );
        assert!(found.iter().max() > found.iter().min());
        assert!(
            delays(&Conditions::default(), 100)
                .iter()
                .all(Duration::is_zero)
        );
    }

    #[test]
    fn loss_delays_its_share_and_more_of_what_is_long() {
        let lossy = Conditions {
            loss: 0.1,
            ..Conditions::default()
        };
        let late = |len| delays(&lossy, len).iter().filter(|d| !d.is_zero()).count();
        assert!((70..130).contains(&late(100)), "{}", late(100));
        assert!(late(100 * PACKET) > 990);
    }

    #[test]
    fn bandwidth_is_bytes_a_second() {
        let slow = Conditions {
            bandwidth: Some(1_000),
            ..Conditions::default()
        };
        assert_eq!(slow.occupied(500), Duration::from_millis(500));
        assert_eq!(Conditions::default().occupied(500), Duration::ZERO);
    }
}
