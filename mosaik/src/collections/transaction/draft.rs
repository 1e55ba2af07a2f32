//! What a transaction sees of one collection, and does to it, until it is put to the log.

use std::{cell::RefCell, fmt, sync::Arc};

use serde::Serialize;

use crate::{
    collections::{
        handle::may_be_sent,
        place::Shot,
        state::{
            State,
            changes::Changes,
            stamp::{Origin, Stamp, Stamps},
        },
    },
    groups::{GroupError, append},
};

/// A collection as a transaction finds it, and as it becomes by what the transaction writes.
///
/// What it writes is applied to a copy, which costs nothing to begin with, so the transaction reads what it has
/// written. What it reads is noted by what it was when the transaction began.
pub struct Draft<S, R> {
    /// The collection's place in the list that the store consists of.
    index: usize,
    /// The number of the command that writes to it.
    number: u64,
    base: Arc<S>,
    now: S,
    stamps: Stamps,
    read: RefCell<R>,
    writes: Writes,
}

/// Writes, encoded one after the other.
#[derive(Default)]
struct Writes {
    count: u64,
    bytes: Vec<u8>,
    /// Why there is one that cannot be sent.
    fault: Option<GroupError>,
}

impl Writes {
    fn push<S: State>(&mut self, write: &S::Write) -> Result<(), GroupError> {
        let before = self.bytes.len();
        self.count += 1;
        self.bytes = append(std::mem::take(&mut self.bytes), write)?;
        may_be_sent::<S>(write, self.bytes.len() - before)
    }
}

impl<S: State> Draft<S, S::Read> {
    /// Begins with the collection at a place as it is, which the command of this number writes to.
    pub(crate) fn new(index: usize, number: u64, base: Arc<S>) -> Self {
        Self {
            index,
            number,
            now: S::clone(&base),
            stamps: Stamps::behind(base.last_stamp()),
            read: RefCell::default(),
            writes: Writes::default(),
            base,
        }
    }

    /// Looks at the collection as it is by now; `look` is given the one it was, and notes there what it reads.
    pub(super) fn look<'a, T>(&'a self, look: impl FnOnce(&'a S, &'a S, &mut S::Read) -> T) -> T {
        look(&self.now, &self.base, &mut self.read.borrow_mut())
    }

    /// The collection as it is by now, of which nothing is noted.
    pub(super) fn now(&self) -> &S {
        &self.now
    }

    /// Whether the transaction has written what has this stamp.
    pub(super) fn is_own(&self, stamp: Stamp) -> bool {
        stamp > self.base.last_stamp()
    }

    /// Whether the transaction has written anything to it.
    pub(super) fn has_written(&self) -> bool {
        self.writes.count > 0
    }

    /// Writes to it.
    pub(super) fn write(&mut self, write: S::Write) -> S::Wrote {
        let pushed = self.writes.push::<S>(&write);
        self.writes.fault = self.writes.fault.take().or(pushed.err());
        let ignored = &mut Changes::ignored();
        self.now.write(write, &mut self.stamps, ignored)
    }

    /// What was read and written, as it comes from the log.
    #[cfg(test)]
    pub(super) fn recorded(self) -> (S::Read, Vec<S::Write>) {
        let mut bytes = append(Vec::new(), &(self.read.into_inner(), self.writes.count)).unwrap();
        bytes.extend(self.writes.bytes);
        crate::wire::decode(&bytes).unwrap()
    }

    /// Puts it to `proposal`.
    pub(crate) fn put(self, proposal: &mut Proposal) {
        let Self {
            index,
            number,
            read,
            mut writes,
            ..
        } = self;
        let read = read.into_inner();
        let fault = writes.fault.take();
        proposal.fault = proposal.fault.take().or(fault);
        if read == S::Read::default() && writes.count == 0 {
            return;
        }
        let put = proposal.add(number, &read, &writes);
        proposal.fault = proposal.fault.take().or(put.err());
        let is_still = move |shot: &Shot| shot.state::<S>(index).is_as_read(&read);
        proposal.reads.push(Box::new(is_still));
    }
}

impl<S, R> fmt::Debug for Draft<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft")
            .field("writes", &self.writes.count)
            .finish_non_exhaustive()
    }
}

/// Whether what was read of a collection would be read again.
type IsStill = Box<dyn Fn(&Shot) -> bool + Send>;

/// What a transaction has read and writes, of all collections.
pub struct Proposal {
    origin: Origin,
    count: u32,
    bytes: Vec<u8>,
    has_writes: bool,
    /// Whether what it has read of each collection is still the same.
    reads: Vec<IsStill>,
    /// Why it cannot be sent.
    fault: Option<GroupError>,
}

impl Proposal {
    /// Of one that began with what was shown then.
    pub(crate) fn new(shot: &Shot) -> Self {
        Self {
            origin: shot.origin,
            count: 0,
            bytes: Vec::new(),
            has_writes: false,
            reads: Vec::new(),
            fault: None,
        }
    }

    fn add<R: Serialize>(
        &mut self,
        number: u64,
        read: &R,
        writes: &Writes,
    ) -> Result<(), GroupError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes = append(bytes, &(read, writes.count))?;
        bytes.extend_from_slice(&writes.bytes);
        self.bytes = bytes;
        self.count += 1;
        self.has_writes |= writes.count > 0;
        Ok(())
    }

    /// Whether it writes anything.
    pub(super) fn has_writes(&self) -> bool {
        self.has_writes
    }

    /// Whether it would read what it has read if it began with this.
    pub(super) fn is_as_read(&self, shot: &Shot) -> bool {
        self.origin == shot.origin && self.reads.iter().all(|is_still| is_still(shot))
    }

    /// The arguments of the command.
    ///
    /// # Errors
    /// When something in it cannot be sent.
    pub(crate) fn encode(mut self) -> Result<Vec<u8>, GroupError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut bytes = append(Vec::new(), &(self.origin, self.count))?;
        bytes.append(&mut self.bytes);
        Ok(bytes)
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposal")
            .field("collections", &self.count)
            .finish_non_exhaustive()
    }
}
