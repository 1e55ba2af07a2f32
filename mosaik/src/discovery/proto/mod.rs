//! What discovery decides, without clocks, sockets or chance.
//!
//! [`entry`] is what a peer says of itself, [`catalog`] merges entries of many peers, [`sync`] brings
//! two catalogs together, [`burials`] remembers who was given up, [`liveness`] turns lost connections and hearsay into verdicts, and [`rtt`]
//! smooths round-trip times. Time arrives as a [`Time`], jitter as an input.

pub(crate) mod burials;
pub(crate) mod catalog;
pub(crate) mod entry;
pub(crate) mod liveness;
pub(crate) mod rtt;
pub(crate) mod sync;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the clock shows when the node starts: late enough that the birth of the oldest entry that is
/// taken in is a time too, or a young node would take every entry for younger than itself.
pub(crate) const EPOCH: Time = Time(catalog::EXPIRE.as_secs() * 1000 + 1);

/// Milliseconds on a monotonic clock that shows [`EPOCH`] when the node starts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    /// The time `later` than this one.
    pub(crate) fn after(self, later: Duration) -> Self {
        Self(self.0.saturating_add(millis(later)))
    }

    /// How long ago `earlier` was, zero if it is not past.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// `duration` in milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
