//! What is replicated besides the user's state.

use std::collections::VecDeque;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ctx::LAST_MOMENT, entry::Check, hosted::Restore, import::Imports, snapshot::Header, used::Used,
};
use crate::groups::{
    machine::Halt,
    proto::{founding::charter::Charter, log_id::LogId, session::Sessions},
};

/// Index that no entry reaches: 2^52. Session ids are made of an index and a place in an entry.
pub(crate) const MAX_INDEX: u64 = 1 << 52;
/// Entries after which the digest of the answers is remembered.
pub(crate) const DIGEST_EVERY: u64 = 1024;
/// Digests that are remembered: a leader may be so many behind when it stamps one.
const DIGESTS: usize = 4;

/// What is replicated besides the user's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The last entry that was applied.
    pub(super) last: Option<LogId>,
    /// The last membership among them, as it stands in the log; empty if there is none.
    pub(super) membership: Bytes,
    /// The entry that it is in.
    pub(super) membership_at: Option<LogId>,
    /// The time that commands see, in milliseconds since 1970.
    pub(super) now: u64,
    pub(super) sessions: Sessions,
    pub(super) digests: Digests,
    /// Whether a command was ever applied.
    pub(super) commands: bool,
    pub(super) superseded: Option<Superseded>,
    pub(super) used: Used,
    pub(super) imports: Imports,
}

/// Why a state does not change any more: another charter of its group lives on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Superseded {
    /// That charter.
    pub(crate) winner: Charter,
    /// Whether this state has commands, which are then lost to the other; if not, it can dissolve.
    pub(crate) commands: bool,
}

/// Digests of all answers: running, and as they were at some entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Digests {
    running: [u8; 32],
    remembered: VecDeque<Check>,
}

/// The digest of what an entry answers.
#[derive(Debug)]
pub(super) struct Digest {
    index: u64,
    hasher: blake3::Hasher,
}

impl Digest {
    /// Adds the next answer, encoded; a panic without its message, in which builds may differ.
    pub(super) fn add(&mut self, answer: &[u8]) {
        self.hasher.update(answer);
    }
}

impl State {
    /// Decodes what a snapshot holds: the state besides the user's, then that.
    pub(super) fn restore(content: &[u8], restore: Restore) -> Result<Self, Halt> {
        let (state, rest): (Self, _) =
            postcard::take_from_bytes(content).map_err(|error| Halt::restore(&error))?;
        if !state.is_sound() {
            return Err(Halt::restore(&"the snapshot contradicts itself"));
        }
        restore(rest).map_err(|error| Halt::restore(&error))?;
        Ok(state)
    }

    /// Whether a snapshot with this header can hold it.
    pub(super) fn is_that_of(&self, header: &Header) -> bool {
        self.last == Some(header.last)
            && self.membership == header.membership
            && self.membership_at == header.membership_at
    }

    /// Whether nothing in it can drive a later step into a fault.
    fn is_sound(&self) -> bool {
        self.last.is_none_or(|last| last.index < MAX_INDEX)
            && self.now <= LAST_MOMENT
            && self.sessions.is_sound()
            && self.digests.remembered.len() <= DIGESTS
            && self.used.is_sound()
            && self.imports.is_sound()
    }
}

impl Digests {
    /// Begins with the entry at `index`.
    pub(super) fn begin(&self, index: u64) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.running);
        hasher.update(&index.to_le_bytes());
        Digest { index, hasher }
    }

    /// All that an entry answered was added.
    pub(super) fn end(&mut self, Digest { index, hasher }: Digest) {
        self.running = *hasher.finalize().as_bytes();
        if index.is_multiple_of(DIGEST_EVERY) {
            if self.remembered.len() == DIGESTS {
                self.remembered.pop_front();
            }
            self.remembered.push_back(Check {
                at: index,
                digest: self.running,
            });
        }
    }

    /// The latest that is remembered.
    pub(super) fn latest(&self) -> Option<Check> {
        self.remembered.back().copied()
    }

    /// Whether another digest is remembered of that entry.
    pub(super) fn contradict(&self, check: &Check) -> bool {
        let mut remembered = self.remembered.iter();
        remembered.any(|held| held.at == check.at && held.digest != check.digest)
    }
}
