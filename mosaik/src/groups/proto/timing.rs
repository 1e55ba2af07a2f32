//! How fast a group notices that its leader is gone.
//!
//! Unless it is declared, it is measured once, when the group is founded, and stands in the charter: all members have
//! to agree on it. What suits one site would never elect anybody across an ocean, where a vote takes longer to come
//! back than a member waits for it; what suits an ocean would leave one site without a leader for seconds.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Shortest heartbeat interval: below, a busy machine loses its leaders for nothing.
const MIN_HEARTBEAT: Duration = Duration::from_millis(10);
/// Longest election timeout.
const MAX_ELECTION: Duration = Duration::from_secs(600);
/// Round trips up to this are those of one site, or of a busy machine: the defaults serve them well.
const NEAR: Duration = Duration::from_millis(40);
/// Longest round trip that is believed: beyond, a group would notice nothing within a minute.
const FARTHEST: Duration = Duration::from_secs(2);

/// How fast a group notices that its leader is gone. The same on all its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Timing {
    /// How often a leader shows that it is there. Default 60 ms.
    pub(crate) heartbeat: Duration,
    /// Shortest election timeout. Default 150 ms.
    pub(crate) election_min: Duration,
    /// Longest election timeout, and how long a leader's word holds. Default 250 ms.
    pub(crate) election_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(60),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(250),
        }
    }
}

impl Timing {
    /// What suits founders of which one has measured these round trips to the others. Two of those may be as far
    /// from each other as both are from it together.
    ///
    /// The defaults up to 40 ms; beyond, a heartbeat of 3 round trips and an election timeout of 9 to 15.
    pub(crate) fn measured(round_trips: impl IntoIterator<Item = Duration>) -> Self {
        let (mut farthest, mut second) = (Duration::ZERO, Duration::ZERO);
        for round_trip in round_trips {
            if round_trip > farthest {
                second = std::mem::replace(&mut farthest, round_trip);
            } else {
                second = second.max(round_trip);
            }
        }
        let distance = (farthest + second).min(FARTHEST);
        if distance <= NEAR {
            return Self::default();
        }
        // No fractions of milliseconds, which openraft does not know.
        let distance =
            Duration::from_millis(u64::try_from(distance.as_millis()).unwrap_or(u64::MAX));
        Self {
            heartbeat: distance * 3,
            election_min: distance * 9,
            election_max: distance * 15,
        }
    }

    /// Whether a group can work with it; if not, what has to change.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.heartbeat < MIN_HEARTBEAT {
            return Err(format!("`heartbeat` must be at least {MIN_HEARTBEAT:?}"));
        }
        if self.election_min < self.heartbeat.saturating_mul(2)
            || self.election_max <= self.election_min
        {
            return Err(
                "`election_timeout` must begin at twice `heartbeat` or later, and end after that"
                    .into(),
            );
        }
        if self.election_max > MAX_ELECTION {
            return Err(format!("`election_timeout` must end by {MAX_ELECTION:?}"));
        }
        Ok(())
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            heartbeat,
            election_min,
            election_max,
        } = self;
        write!(
            f,
            "a heartbeat every {heartbeat:?}, elections after {election_min:?} to {election_max:?}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn one_site_has_the_defaults() {
        for near in [
            vec![],
            vec![ms(1)],
            vec![ms(40)],
            vec![ms(20), ms(20), ms(3)],
        ] {
            assert_eq!(Timing::measured(near), Timing::default());
        }
    }

    #[test]
    fn what_is_far_counts_as_far_as_two_can_be_apart() {
        let far = |distance: u64| Timing {
            heartbeat: ms(3 * distance),
            election_min: ms(9 * distance),
            election_max: ms(15 * distance),
        };
        assert_eq!(Timing::measured([ms(41)]), far(41));
        assert_eq!(Timing::measured([ms(10), ms(80), ms(5), ms(30)]), far(110));
        assert_eq!(Timing::measured([ms(100), ms(100)]), far(200));
        let odd = Duration::from_micros(90_900);
        assert_eq!(Timing::measured([odd]), far(90));
        // A round trip that cannot be one.
        assert_eq!(Timing::measured([Duration::MAX / 4]), far(2000));
        for distance in [41, 200, 2000] {
            assert_eq!(far(distance).check(), Ok(()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let timing = |heartbeat, election_min, election_max| Timing {
            heartbeat: ms(heartbeat),
            election_min: ms(election_min),
            election_max: ms(election_max),
        };
        assert_eq!(Timing::default().check(), Ok(()));
        assert_eq!(timing(500, 1500, 2500).check(), Ok(()));
        for (bad, named) in [
            (timing(0, 150, 250), "heartbeat"),
            (timing(100, 150, 250), "election_timeout"),
            (timing(60, 200, 200), "election_timeout"),
            (timing(60, 150, 600_001), "election_timeout"),
        ] {
            let refused = bad.check().unwrap_err();
            assert!(refused.contains(named), "{refused}");
        }
    }
}
