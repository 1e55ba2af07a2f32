//! Whether a member's clock may be told to the group: as far as the clocks of the voters agree with it.
//!
//! Nobody knows the right time, so the voters' median stands for it. A clock that is more than [`LIMIT`] away
//! from that is wrong: its member neither stands for election nor stamps entries. As long as most clocks of the
//! voters are about right, those that are not are found, and no right one is taken for wrong.
//!
//! What is known of a clock is an interval, and doubt always speaks for the member that is judged. A clock that
//! nobody has told of may show anything. So it takes a majority of all voters, heard of and surely more than
//! [`LIMIT`] to the same side, to call a clock wrong; of one voter, or two, none ever is. While what is known
//! is true, somebody among the voters is always right, namely whoever has the median.

use std::{fmt, time::Duration};

/// Milliseconds from the voters' median beyond which a clock is wrong: 10 s.
pub(crate) const LIMIT: u64 = 10_000;
/// Milliseconds from the voters' median within which a clock that was wrong is right again, and within which
/// another voter is handed leadership: 5 s. In between it stays what it was, so that nothing goes back and forth.
pub(crate) const CLOSE: u64 = 5_000;
/// A clock may gain or lose one part in so many: more than any that works does.
const DRIFT: i64 = 1000;
/// What whole milliseconds hide of two clocks.
const ROUNDED: i64 = 2;

/// What another's clock showed at some moment, in milliseconds since 1970: something in between, or either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reading {
    least: u64,
    most: u64,
}

impl Reading {
    /// What the clock shows when the answer that tells it arrives, so long after the question was sent: it told
    /// the time at some moment in between (F. Cristian, Probabilistic clock synchronization, 1989).
    pub(crate) fn new(told: u64, round_trip: Duration) -> Self {
        let most = told.saturating_add(millis(round_trip));
        Self { least: told, most }
    }

    /// How far the clock is ahead of one that shows `mine`, so long after the reading.
    pub(crate) fn ahead_of(&self, mine: u64, age: Duration) -> Offset {
        let age = millis(age);
        let doubt = signed(age) / DRIFT + ROUNDED;
        let ahead = |then: u64| signed(then.saturating_add(age)).saturating_sub(signed(mine));
        Offset {
            least: ahead(self.least).saturating_sub(doubt),
            most: ahead(self.most).saturating_add(doubt),
        }
    }
}

/// How many milliseconds a clock is ahead of the own, or behind if negative: something in between, or either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Offset {
    /// At least so many.
    pub(crate) least: i64,
    /// At most so many.
    pub(crate) most: i64,
}

impl Offset {
    /// That of the own clock.
    pub(crate) const OWN: Self = Self { least: 0, most: 0 };
    /// That of a clock of which nothing is known.
    const UNKNOWN: Self = Self {
        least: i64::MIN,
        most: i64::MAX,
    };

    /// How far this clock is ahead of the median of the voters' clocks at least, or behind if negative; 0 if it
    /// may be the same.
    pub(crate) fn ahead_of_median(self, voters: &[Option<Self>]) -> i64 {
        let median = median(voters);
        if self.least > median.most {
            self.least.saturating_sub(median.most)
        } else {
            self.most.saturating_sub(median.least).min(0)
        }
    }
}

/// Between what the median of the voters' clocks lies. Of an even number, it may be either of the middle two.
fn median(voters: &[Option<Offset>]) -> Offset {
    let all = voters.iter().map(|known| known.unwrap_or(Offset::UNKNOWN));
    let (mut least, mut most): (Vec<i64>, Vec<i64>) =
        all.map(|offset| (offset.least, offset.most)).unzip();
    least.sort_unstable();
    most.sort_unstable();
    let count = voters.len();
    let low = least.get(count.saturating_sub(1) / 2);
    let high = most.get(count / 2);
    Offset {
        least: low.copied().unwrap_or(i64::MIN),
        most: high.copied().unwrap_or(i64::MAX),
    }
}

/// Whether a clock so far from the median is one to hand leadership to.
pub(crate) fn is_close(ahead: i64) -> bool {
    ahead.unsigned_abs() <= CLOSE
}

/// What a clock is, by those of the voters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// It may be used.
    #[default]
    Sound,
    /// It is wrong.
    Wrong {
        /// Milliseconds that it is ahead at least, or behind if negative.
        ahead: i64,
    },
}

impl Verdict {
    /// Whether the clock may be used.
    pub(crate) fn is_sound(self) -> bool {
        self == Self::Sound
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Wrong { ahead } = self else {
            return f.write_str("this member's clock agrees with the voters'");
        };
        let secs = (ahead.unsigned_abs() + 500) / 1000;
        let side = if *ahead > 0 { "ahead of" } else { "behind" };
        write!(
            f,
            "this member's clock is {secs} s {side} the voters' median"
        )
    }
}

/// Judges one clock again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Judge {
    wrong: bool,
}

impl Judge {
    /// Judges the clock, which is so many milliseconds ahead of the voters' median.
    pub(crate) fn judge(&mut self, ahead: i64) -> Verdict {
        let limit = if self.wrong { CLOSE } else { LIMIT };
        self.wrong = ahead.unsigned_abs() > limit;
        if self.wrong {
            Verdict::Wrong { ahead }
        } else {
            Verdict::Sound
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
