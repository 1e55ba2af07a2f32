//! What a log is besides its entries, and what writes do to it.
//!
//! Engines and handles share this: the handle applies a write to what readers see, the engine applies the
//! same write to what is on the disk.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    error::Refusal,
    record::{LogId, MAX_PAYLOAD, Record, Vote},
};

/// A part of a write. The parts of one write are on the disk all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Entries that follow the last.
    Append(Vec<Record>),
    /// Removes what follows this entry; all entries if `None`.
    Truncate(Option<LogId>),
    /// Removes everything up to this entry, which may lie beyond the last.
    Purge(LogId),
    /// Whom the member votes for.
    Vote(Vote),
    /// Everything up to this entry is committed. Nothing happens where the log does not reach so far.
    Committed(LogId),
    /// A small thing that belongs to the log, such as the charter: kept under a number, or removed.
    Note(u8, Option<Bytes>),
    /// Removes all that the group has, and makes it another member.
    Erase {
        /// The new member's boot.
        boot: u64,
    },
}

impl Op {
    /// About how much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Append(records) => records.iter().map(Record::size).sum(),
                Self::Note(_, Some(bytes)) => bytes.len(),
                _ => 0,
            }
    }
}

/// A group's log, but for its entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupState {
    /// Counts how often the log was opened. Only the latest may write.
    pub(crate) incarnation: u64,
    /// Tells the member whose log this is from those the peer was before.
    pub(crate) boot: u64,
    /// Whom the member votes for.
    pub(crate) vote: Option<Vote>,
    /// Everything up to it is known to be committed.
    pub(crate) committed: Option<LogId>,
    /// Everything up to it was removed because a snapshot has it.
    pub(crate) purged: Option<LogId>,
    /// The last entry, or the last that was purged if there is none.
    pub(crate) last: Option<LogId>,
    /// Index of the first entry, if there is one.
    pub(crate) first: u64,
    /// Small things that belong to the log.
    pub(crate) notes: BTreeMap<u8, Bytes>,
}

impl GroupState {
    /// A log that was never opened.
    pub(super) fn new(boot: u64) -> Self {
        Self {
            incarnation: 0,
            boot,
            vote: None,
            committed: None,
            purged: None,
            last: None,
            first: 0,
            notes: BTreeMap::new(),
        }
    }

    /// Index behind the last entry.
    pub(crate) fn next(&self) -> u64 {
        self.last.map_or(self.first, |last| last.index + 1)
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u64 {
        self.next() - self.first
    }

    /// Does all of a write, or nothing.
    pub(super) fn apply(&mut self, ops: &[Op]) -> Result<(), Refusal> {
        match ops {
            // One alone does nothing before it is sure to succeed.
            [op] => self.apply_one(op),
            ops => {
                let mut after = self.clone();
                for op in ops {
                    after.apply_one(op)?;
                }
                *self = after;
                Ok(())
            }
        }
    }

    fn apply_one(&mut self, op: &Op) -> Result<(), Refusal> {
        match op {
            Op::Append(records) => self.append(records)?,
            Op::Truncate(after) => self.truncate(*after)?,
            Op::Purge(upto) => self.purge(*upto),
            Op::Vote(vote) => self.set_vote(*vote)?,
            Op::Committed(upto) => {
                let reached = self.last.is_some_and(|last| last.index >= upto.index);
                if reached && self.committed.is_none_or(|held| held.index < upto.index) {
                    self.committed = Some(*upto);
                }
            }
            Op::Note(number, Some(bytes)) => drop(self.notes.insert(*number, bytes.clone())),
            Op::Note(number, None) => drop(self.notes.remove(number)),
            Op::Erase { boot } => {
                let incarnation = self.incarnation;
                *self = Self::new(*boot);
                self.incarnation = incarnation;
            }
        }
        Ok(())
    }

    fn append(&mut self, records: &[Record]) -> Result<(), Refusal> {
        let mut last = self.last;
        for record in records {
            if let Some(last) = last
                && (record.id.index != last.index + 1 || record.id.term < last.term)
            {
                let got = record.id;
                return Err(Refusal::NotNext { last, got });
            }
            let len = record.payload.len();
            if len > MAX_PAYLOAD {
                let limit = MAX_PAYLOAD;
                return Err(Refusal::TooLarge { len, limit });
            }
            last = Some(record.id);
        }
        // A log that holds nothing, and never did, begins where it is told to.
        if let (None, Some(first)) = (self.last, records.first()) {
            self.first = first.id.index;
        }
        self.last = last;
        Ok(())
    }

    fn truncate(&mut self, after: Option<LogId>) -> Result<(), Refusal> {
        let next = after.map_or(0, |after| after.index + 1);
        if next >= self.next() {
            return Ok(());
        }
        if let Some(committed) = self.committed.filter(|held| held.index >= next) {
            return Err(Refusal::Committed { after, committed });
        }
        if let Some(purged) = self.purged.filter(|held| held.index >= next) {
            // To cut behind what was purged is to cut all there is.
            if after.is_some() {
                return Err(Refusal::Purged { after, purged });
            }
        }
        self.last = match after {
            Some(after) if after.index >= self.first => Some(after),
            _ => self.purged,
        };
        Ok(())
    }

    fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|held| held.index >= upto.index) {
            return;
        }
        self.purged = Some(upto);
        self.first = upto.index + 1;
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
    }

    /// A second vote in one term is for the leader that others elected.
    fn set_vote(&mut self, vote: Vote) -> Result<(), Refusal> {
        if let Some(held) = self.vote {
            let fine = if held.term == vote.term {
                match (held.candidate == vote.candidate, held.committed) {
                    (true, was) => vote.committed || !was,
                    (false, was) => vote.committed && !was,
                }
            } else {
                held.term < vote.term
            };
            if !fine {
                let (held, got) = (held.term, vote.term);
                return Err(Refusal::Vote { held, got });
            }
        }
        self.vote = Some(vote);
        Ok(())
    }
}
