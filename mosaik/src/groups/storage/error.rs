//! What goes wrong with storage.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::record::LogId;
use crate::id::GroupId;

/// Why the logs in a directory cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// See to the disk and to permissions, and start again.
    #[error("cannot use {}: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system called it.
        kind: io::ErrorKind,
        /// What it said.
        reason: String,
    },
    /// The file was altered or the medium lost a part of it. Restore the whole directory from a backup that
    /// is not older than the last write, or remove it: the node then joins its groups as a new member.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not verify.
        reason: String,
    },
    /// As for a damaged file.
    #[error("{} is missing, although {} is there", path.display(), other.display())]
    Missing {
        /// The file that should be there.
        path: PathBuf,
        /// The file that says so.
        other: PathBuf,
    },
    /// As for a damaged file: this one lacks writes that were acknowledged.
    #[error("{} ends at commit {found}, but commit {expected} was on the disk", path.display())]
    RolledBack {
        /// The file.
        path: PathBuf,
        /// The last commit in it.
        found: u64,
        /// A commit that was acknowledged.
        expected: u64,
    },
    /// Run the version that wrote it, or a newer one.
    #[error("{} has format {found}, this version knows {supported}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format of this version.
        supported: u64,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io {
            path: path.into(),
            kind: error.kind(),
            reason: error.to_string(),
        }
    }

    pub(super) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged {
            path: path.into(),
            reason: reason.to_string(),
        }
    }
}

/// What an engine failed of. Nothing works on it any more; open the storage anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// The disk is full or broken: see to it, then open the storage anew.
    #[error("{} failed: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system called it.
        kind: io::ErrorKind,
        /// What it said.
        reason: String,
    },
    /// What was read does not verify: opening the storage anew says what can be done.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not verify.
        reason: String,
    },
    /// A fault of the program: open the storage anew, and report it.
    #[error("storage in {} panicked: {reason}", path.display())]
    Panicked {
        /// The file.
        path: PathBuf,
        /// The panic's message.
        reason: String,
    },
    /// The storage was closed.
    #[error("storage is closed")]
    Closed,
}

impl Failure {
    /// What the operating system would call it.
    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { kind, .. } => *kind,
            Self::Damaged { .. } => io::ErrorKind::InvalidData,
            Self::Panicked { .. } => io::ErrorKind::Other,
            Self::Closed => io::ErrorKind::NotConnected,
        }
    }
}

/// Why something was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WriteError {
    /// The engine is done for; whether this was written shows when the storage is opened anew.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The group's log was opened again since, by somebody who goes on with it: stop.
    #[error("{group:?} was opened again as incarnation {current}, this is {incarnation}")]
    Fenced {
        /// The group.
        group: GroupId,
        /// The incarnation that wanted to write.
        incarnation: u64,
        /// The one that may.
        current: u64,
    },
    /// A fault of the program: it would break what a log promises, and was not written.
    #[error("refused to write: {0}")]
    Refused(#[from] Refusal),
}

impl WriteError {
    /// What the operating system would call it.
    pub(crate) fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Failed(failure) => failure.kind(),
            Self::Fenced { .. } => io::ErrorKind::PermissionDenied,
            Self::Refused(_) => io::ErrorKind::InvalidInput,
        }
    }
}

/// Which promise of a log a write would break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// A log has no holes and does not overlap itself.
    #[error("entry {got} cannot follow entry {last}")]
    NotNext {
        /// The last entry.
        last: LogId,
        /// The entry to be appended.
        got: LogId,
    },
    /// What is committed is never taken back.
    #[error("cannot cut the log behind {after:?}, entry {committed} is committed")]
    Committed {
        /// The last entry that would be kept.
        after: Option<LogId>,
        /// What is committed.
        committed: LogId,
    },
    /// What was purged cannot be cut.
    #[error("cannot cut the log behind {after:?}, entry {purged} was purged")]
    Purged {
        /// The last entry that would be kept.
        after: Option<LogId>,
        /// The last that was purged.
        purged: LogId,
    },
    /// A member votes once a term, and never in an earlier one.
    #[error("a vote in term {got} cannot replace one in term {held}")]
    Vote {
        /// The term of the vote that is held.
        held: u64,
        /// The term of the one that would replace it.
        got: u64,
    },
    /// Write less at once.
    #[error("an entry of {len} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Why entries could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReadError {
    /// The engine is done for: open the storage anew.
    #[error(transparent)]
    Failed(#[from] Failure),
}
