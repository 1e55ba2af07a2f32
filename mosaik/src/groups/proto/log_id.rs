//! What names an entry of a group's log.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names an entry: no two different entries of a group have one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct LogId {
    /// The term of the leader that proposed it.
    pub(crate) term: u64,
    /// Its place in the log.
    pub(crate) index: u64,
}

impl LogId {
    /// The index behind an entry, or the first if there is none.
    pub(crate) fn behind(last: Option<Self>) -> u64 {
        last.map_or(0, |last| last.index + 1)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}
