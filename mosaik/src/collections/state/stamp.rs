//! Stamps: the names of everything that was ever written to a store.

use serde::{Deserialize, Serialize};

/// Marks one value that was written to a store, or one change of a collection. Never used twice, so whoever finds a
/// stamp again finds what it marked, unchanged.
#[derive(
    Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Stamp(u64);

impl Stamp {
    /// Below all stamps, and marks nothing.
    pub(crate) const NEVER: Self = Self(0);
    /// Not below any stamp, and marks nothing.
    pub(crate) const MAX: Self = Self(u64::MAX);
}

/// Whose stamps they are. A group that was founded anew may give out stamps that an earlier charter gave out too, for
/// other values, and so may one whose state was imported: whoever compares stamps of two moments compares their
/// origins too.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The charter of the group whose members give them out.
    epoch: [u8; 16],
    /// The index of the entry that the state was imported in; 0 if it was not.
    imported: u64,
}

impl Origin {
    /// That of a state that came to be under a charter.
    pub(crate) const fn of(epoch: [u8; 16]) -> Self {
        Self::imported(epoch, 0)
    }

    /// That of a state that was imported under a charter, in the entry at `index`.
    pub(crate) const fn imported(epoch: [u8; 16], index: u64) -> Self {
        Self {
            epoch,
            imported: index,
        }
    }

    /// The charter.
    pub(crate) fn epoch(&self) -> [u8; 16] {
        self.epoch
    }
}

/// A stamp, and whose it is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub(crate) origin: Origin,
    pub(crate) stamp: Stamp,
}

/// When a command is applied, by both clocks of its group, in milliseconds.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since 1970. It never goes back, and may jump forward.
    pub(crate) clock: u64,
    /// For how long the group had leaders. It goes no faster than time does.
    pub(crate) uptime: u64,
}

/// Gives out stamps, and says what time it is. A part of a store's state, one for all its collections, so the same on
/// every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(Origin, u64)", into = "(Origin, u64)")]
pub struct Stamps {
    origin: Origin,
    next: u64,
    /// The time of the command under way, which each says anew.
    now: Moment,
}

/// Stamps that are decoded have given out fewer: what is left lasts for longer than anything runs.
const MOST_GIVEN: u64 = 1 << 63;

impl Stamps {
    /// Gives out stamps behind `last`.
    pub(crate) fn behind(last: Stamp) -> Self {
        Self {
            origin: Origin::default(),
            next: last.0.saturating_add(1),
            now: Moment::default(),
        }
    }

    /// Whose they are.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Goes on giving them out, as `origin`.
    pub(crate) fn go_on(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// A command begins at this time.
    pub(crate) fn begin(&mut self, now: Moment) {
        self.now = now;
    }

    /// The time of the command under way.
    pub(crate) fn now(&self) -> Moment {
        self.now
    }

    /// The stamp, as one of these.
    pub(crate) fn mark(&self, stamp: Stamp) -> Mark {
        let origin = self.origin;
        Mark { origin, stamp }
    }

    /// Gives out a stamp that was not given out before.
    pub(crate) fn take(&mut self) -> Stamp {
        let stamp = Stamp(self.next);
        self.next = self.next.saturating_add(1);
        stamp
    }

    /// A number that grows with each stamp that is given out.
    pub(crate) fn given(&self) -> u64 {
        self.next
    }

    /// Whether it has given out `stamp`, or `stamp` is [`Stamp::NEVER`].
    pub(crate) fn gave(&self, stamp: Stamp) -> bool {
        stamp.0 < self.next
    }
}

impl Default for Stamps {
    fn default() -> Self {
        Self::behind(Stamp::NEVER)
    }
}

impl From<Stamps> for (Origin, u64) {
    fn from(stamps: Stamps) -> Self {
        (stamps.origin, stamps.next)
    }
}

impl TryFrom<(Origin, u64)> for Stamps {
    type Error = NoStamps;

    fn try_from((origin, next): (Origin, u64)) -> Result<Self, NoStamps> {
        if (1..MOST_GIVEN).contains(&next) {
            let now = Moment::default();
            Ok(Self { origin, next, now })
        } else {
            Err(NoStamps { next })
        }
    }
}

/// A number that is no next stamp: the snapshot is faulty, and another one is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{next} is no next stamp")]
pub struct NoStamps {
    next: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collections::state::testing::{decode, encode};

    #[test]
    fn stamps_go_on_where_they_were() {
        let mut stamps = Stamps::default();
        stamps.go_on(Origin::of([3; 16]));
        assert!(stamps.gave(Stamp::NEVER));
        let first = stamps.take();
        assert!(first > Stamp::NEVER && stamps.gave(first));
        let mut decoded: Stamps = decode(&encode(&stamps)).unwrap();
        assert_eq!(decoded, stamps);
        let second = decoded.take();
        assert!(second > first && !stamps.gave(second));
    }

    #[test]
    fn stamps_that_would_run_out_are_refused() {
        for (next, is_right) in [
            (0, false),
            (1, true),
            (MOST_GIVEN - 1, true),
            (MOST_GIVEN, false),
            (u64::MAX, false),
        ] {
            assert_eq!(
                Stamps::try_from((Origin::default(), next)).is_ok(),
                is_right,
                "{next}"
            );
        }
    }
}
