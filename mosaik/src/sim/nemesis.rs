//! Draws schedules of faults.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{Conditions, Fault, Schedule};

/// Shortest time that is drawn around: that of the clock.
const TICK: Duration = Duration::from_millis(1);
/// Furthest that a clock is set, in milliseconds: a day.
const MAX_CLOCK: i64 = 24 * 3600 * 1000;

/// What kinds of faults happen, how often, and for how long.
///
/// The weights say how often a kind happens beside the others; 0 for never.
#[derive(Clone, Debug, PartialEq)]
pub struct Nemesis {
    /// Some hosts are cut off from the others. Default: 4.
    pub partition: u32,
    /// Nothing passes from one host to another. Default: 2.
    pub one_way: u32,
    /// The way between two hosts, or between all, loses, delays and reorders. Default: 2.
    pub degrade: u32,
    /// A host crashes, and is started again. Default: 4.
    pub crash: u32,
    /// A host crashes and loses its disk. Default: 0.
    pub wipe: u32,
    /// A host stands still. Default: 2.
    pub pause: u32,
    /// A wall clock is wrong, by up to a day. Default: 1.
    pub clock: u32,
    /// A disk stalls, fails or is full. Default: 0.
    pub disk: u32,
    /// Mean time between the begins of two faults. Default: 4 s.
    pub every: Duration,
    /// How long a fault lasts at least. Default: 100 ms.
    pub shortest: Duration,
    /// How long a fault lasts at most. Default: 10 s.
    pub longest: Duration,
    /// How long faults begin. Default: 30 s.
    pub duration: Duration,
}

impl Default for Nemesis {
    fn default() -> Self {
        Self {
            partition: 4,
            one_way: 2,
            degrade: 2,
            crash: 4,
            wipe: 0,
            pause: 2,
            clock: 1,
            disk: 0,
            every: Duration::from_secs(4),
            shortest: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            duration: Duration::from_secs(30),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Partition,
    OneWay,
    Degrade,
    Crash,
    Wipe,
    Pause,
    Clock,
    Disk,
}

impl Nemesis {
    /// Draws a schedule for hosts of these names; the same seed draws the same.
    pub fn schedule(&self, seed: u64, hosts: &[String]) -> Schedule {
        let mut random = StdRng::seed_from_u64(seed);
        let mut schedule = Schedule::new();
        let mut at = Duration::ZERO;
        loop {
            at += self.every.max(TICK).mul_f64(random.random_range(0.1..1.9));
            if at >= self.duration {
                return schedule;
            }
            // Short faults are as interesting as long ones, so their logarithm is drawn.
            let shortest = self.shortest.max(TICK).as_secs_f64();
            let longest = self.longest.as_secs_f64().max(shortest);
            let exponent = random.random_range(0.0..=1.0);
            let lasts = shortest * (longest / shortest).powf(exponent);
            if let Some(fault) = self.fault(&mut random, hosts) {
                schedule = schedule.with(at, Duration::from_secs_f64(lasts), fault);
            }
        }
    }

    fn fault(&self, random: &mut StdRng, hosts: &[String]) -> Option<Fault> {
        let weights = [
            (Kind::Partition, self.partition),
            (Kind::OneWay, self.one_way),
            (Kind::Degrade, self.degrade),
            (Kind::Crash, self.crash),
            (Kind::Wipe, self.wipe),
            (Kind::Pause, self.pause),
            (Kind::Clock, self.clock),
            (Kind::Disk, self.disk),
        ];
        let total: u32 = weights.iter().map(|(_, weight)| weight).sum();
        if total == 0 || hosts.is_empty() {
            return None;
        }
        let mut drawn = random.random_range(0..total);
        let (kind, _) = weights.iter().find(|(_, weight)| {
            let here = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            here
        })?;
        let any = |random: &mut StdRng| hosts[random.random_range(0..hosts.len())].clone();
        let host = any(random);
        let other = any(random);
        Some(match kind {
            Kind::Partition => {
                let mut side = hosts.to_vec();
                side.retain(|_| random.random_bool(0.5));
                Fault::Partition(if side.is_empty() { vec![host] } else { side })
            }
            Kind::OneWay => Fault::OneWay(host, other),
            Kind::Degrade => {
                let between = random.random_bool(0.5).then_some((host, other));
                Fault::Degrade(between, degraded(random))
            }
            Kind::Crash => Fault::Crash(host),
            Kind::Wipe => Fault::CrashAndWipe(host),
            Kind::Pause => Fault::Pause(host),
            Kind::Clock => Fault::Clock(host, random.random_range(-MAX_CLOCK..=MAX_CLOCK)),
            Kind::Disk => match random.random_range(0..3) {
                0 => Fault::DiskStall(host),
                1 => Fault::DiskError(host),
                _ => Fault::DiskFull(host),
            },
        })
    }
}

fn degraded(random: &mut StdRng) -> Conditions {
    match random.random_range(0..4) {
        0 => Conditions::wan(),
        1 => Conditions::bad(),
        2 => Conditions {
            loss: random.random_range(0.05..0.5),
            ..Conditions::lan()
        },
        _ => Conditions {
            bandwidth: Some(random.random_range(20_000..1_000_000)),
            ..Conditions::lan()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_schedule_twice() {
        let hosts = ["a", "b", "c"].map(String::from);
        let nemesis = Nemesis {
            wipe: 1,
            disk: 2,
            ..Nemesis::default()
        };
        let (one, other) = (nemesis.schedule(5, &hosts), nemesis.schedule(5, &hosts));
        assert_eq!(one, other);
        assert_ne!(one, nemesis.schedule(6, &hosts));
        assert!(one.steps().iter().all(|step| step.at < nemesis.duration));
        assert!(!one.to_string().is_empty());
    }

    #[test]
    fn times_of_nothing_are_no_trouble() {
        let nemesis = Nemesis {
            every: Duration::ZERO,
            shortest: Duration::ZERO,
            longest: Duration::ZERO,
            duration: Duration::from_secs(1),
            ..Nemesis::default()
        };
        let schedule = nemesis.schedule(1, &["a".into()]);
        assert!(schedule.steps().len() > 100);
        assert!(Nemesis::default().schedule(1, &[]).steps().is_empty());
    }

    #[test]
    fn only_what_has_weight_happens() {
        let hosts = ["a", "b"].map(String::from);
        let nemesis = Nemesis {
            partition: 0,
            one_way: 0,
            degrade: 0,
            pause: 0,
            clock: 0,
            ..Nemesis::default()
        };
        for seed in 0..20 {
            let schedule = nemesis.schedule(seed, &hosts);
            let crash = |fault: &Fault| matches!(fault, Fault::Crash(_));
            assert!(schedule.steps().iter().all(|step| crash(&step.fault)));
        }
    }
}
