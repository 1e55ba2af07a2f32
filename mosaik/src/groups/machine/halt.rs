//! Why a replica stops.

use super::entry::ENTRY_FORMAT;
use crate::groups::proto::log_id::LogId;

/// Why a replica applies nothing any more. It never skips an entry: that would make it another state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Halt {
    /// The leader runs a newer version: update this member.
    #[error("entry {index} has format {found}, this version knows {ENTRY_FORMAT}")]
    Format {
        /// The entry.
        index: u64,
        /// Its format.
        found: u8,
    },
    /// The leader is faulty or runs another version: see which versions the members run.
    #[error("entry {index} cannot be decoded: {reason}")]
    Malformed {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The leader runs a version that has commands which this one has not: update this member.
    #[error(
        "entry {index} holds a command that this version does not know; update this member: {reason}"
    )]
    Unknown {
        /// The entry.
        index: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// Something in a command depends on more than the state and its arguments: a clock, randomness, the order
    /// of a `HashMap`, the version of the program. Remove that, then this member's data of the group, and let
    /// it join anew.
    #[error("this member's state gave other answers than the leader's up to entry {at}")]
    Diverged {
        /// Up to which entry.
        at: u64,
    },
    /// A fault of the program: report it.
    #[error("entry {got} cannot be applied behind {last:?}")]
    Order {
        /// The last entry that was applied.
        last: Option<LogId>,
        /// The one that is not the next.
        got: LogId,
    },
    /// A fault of the program: report it. The member finds its state again when it is started anew.
    #[error("a command that panicked cannot be undone: the log has no entry {index}")]
    Missing {
        /// The entry.
        index: u64,
    },
    /// The snapshot comes from a newer version, or cannot be read: update this member, see to the disk.
    #[error("the state cannot be restored: {reason}")]
    Restore {
        /// What is wrong.
        reason: String,
    },
    /// The disk is broken, or the state's type cannot be encoded: see to it.
    #[error("a snapshot cannot be made: {reason}")]
    Snapshot {
        /// What is wrong.
        reason: String,
    },
    /// The disk is broken: see to it.
    #[error("the log cannot be read: {reason}")]
    Log {
        /// What is wrong.
        reason: String,
    },
}

impl Halt {
    pub(super) fn malformed(index: u64, reason: &impl ToString) -> Self {
        let reason = reason.to_string();
        Self::Malformed { index, reason }
    }

    pub(crate) fn restore(reason: &impl ToString) -> Self {
        let reason = reason.to_string();
        Self::Restore { reason }
    }

    pub(crate) fn snapshot(reason: &impl ToString) -> Self {
        let reason = reason.to_string();
        Self::Snapshot { reason }
    }
}
