//! The collections of a store as one state: a list of them, each with what follows it.
//!
//! What comes to a list is for one of its collections, told by its place: a write of the list is a write of the first
//! or of the rest, and so is all else.

use std::{any::Any, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    feed::Feed,
    place::AnyState,
    state::{State, changes::Changes, deadlines::Expiry, stamp::Stamps},
    twin::Twin,
};
use crate::groups::{Interface, Reply, Unencodable, Unknown};

/// A list of states: `(first, rest)`, and `()` at its end.
pub trait States: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// How their content looks to those who compare layouts.
    type Layout: Serialize + DeserializeOwned;
    /// Where their changes are told.
    type Feeds: Clone + Default + Send + Sync + 'static;
    /// What is not shown yet.
    type Pending: Default + Send + Sync + 'static;
    /// A write of one of them.
    type Write: Send + 'static;
    /// What a transaction has read of one of them, and writes to it.
    type Part: Send + 'static;
    /// How what transactions read looks to those who compare commands.
    type Reads: Serialize + DeserializeOwned;

    /// Adds the commands that write to them, of these names.
    fn describe(names: &[&'static str], interface: &mut Interface);

    /// The write of the one at `index` that `bytes` begin with, and what follows it.
    ///
    /// # Errors
    /// When there is none.
    fn decode_write(index: usize, bytes: &[u8]) -> Result<(Self::Write, &[u8]), Unknown>;

    /// A transaction's part in the one at `index` that `bytes` begin with, and what follows it.
    ///
    /// # Errors
    /// When there is none.
    fn decode_part(index: usize, bytes: &[u8]) -> Result<(Self::Part, &[u8]), Unknown>;

    /// Applies a write, keeps what it changes, and appends what it answers.
    ///
    /// # Errors
    /// When that cannot be encoded.
    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        pending: &mut Self::Pending,
        feeds: &Self::Feeds,
        reply: &mut Reply,
    ) -> Result<(), Unencodable>;

    /// When something in them comes to its end.
    fn expiry(&self) -> Expiry;

    /// Removes what has come to its end at the time of the command under way; returns how much it was.
    fn expire(
        &mut self,
        stamps: &mut Stamps,
        pending: &mut Self::Pending,
        feeds: &Self::Feeds,
    ) -> usize;

    /// Whether a transaction has read nothing of it.
    fn is_blind(part: &Self::Part) -> bool;

    /// Whether a transaction would read now what its part has read.
    fn is_as_read(&self, part: &Self::Part) -> bool;

    /// Applies what a transaction writes.
    fn write_part(
        &mut self,
        part: Self::Part,
        stamps: &mut Stamps,
        pending: &mut Self::Pending,
        feeds: &Self::Feeds,
    );

    /// The states as they are to be shown; those without news are taken from `before`, which are shown now.
    fn gather(&self, pending: &mut Self::Pending, before: &[AnyState], shown: &mut Vec<AnyState>);

    /// Tells the changes that have led to what is shown now, at `version`.
    fn tell(version: u64, pending: &mut Self::Pending, feeds: &Self::Feeds);

    /// They were shown, and what was shown before is no more.
    fn settle(&mut self);

    /// Whether the stamps in them can be from `stamps`.
    fn fit(&self, stamps: &Stamps) -> bool;
}

/// What is for the first of a list, or for one that follows it.
#[derive(Debug)]
pub enum Either<A, B> {
    /// For the first.
    First(A),
    /// For one that follows.
    Rest(B),
}

/// What is for none.
#[derive(Debug)]
pub enum Never {}

/// What a transaction has read of a collection, and writes to it.
#[derive(Debug)]
pub struct Part<R, W> {
    read: R,
    writes: Vec<W>,
}

/// What has become of a collection since it was shown.
pub struct News<S: State> {
    changes: Changes<S::Change>,
    /// Whether something may have changed.
    is_there: bool,
    /// What was put where it is shown, and is to be told.
    shown: Option<Arc<S>>,
}

impl<S: State> News<S> {
    /// An entry begins to write, or goes on: keeps its changes if they are wanted. All of an entry are kept, or none.
    fn begin(&mut self, feed: &Feed<S, S::Change>) -> &mut Changes<S::Change> {
        let is_first = !std::mem::replace(&mut self.is_there, true);
        if is_first && !self.changes.are_kept() && feed.is_wanted() {
            self.changes = Changes::kept();
        }
        &mut self.changes
    }
}

impl<S: State> Default for News<S> {
    fn default() -> Self {
        Self {
            changes: Changes::default(),
            is_there: true,
            shown: None,
        }
    }
}

impl<S: State> std::fmt::Debug for News<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("News").finish_non_exhaustive()
    }
}

impl States for () {
    type Layout = ();
    type Feeds = ();
    type Pending = ();
    type Write = Never;
    type Part = Never;
    type Reads = ();

    fn describe(_: &[&'static str], _: &mut Interface) {}

    fn decode_write(index: usize, _: &[u8]) -> Result<(Never, &[u8]), Unknown> {
        Err(Unknown::method(index as u64))
    }

    fn decode_part(index: usize, _: &[u8]) -> Result<(Never, &[u8]), Unknown> {
        Err(Unknown::method(index as u64))
    }

    fn write(
        &mut self,
        write: Never,
        _: &mut Stamps,
        (): &mut (),
        (): &(),
        _: &mut Reply,
    ) -> Result<(), Unencodable> {
        match write {}
    }

    fn expiry(&self) -> Expiry {
        Expiry::default()
    }

    fn expire(&mut self, _: &mut Stamps, (): &mut (), (): &()) -> usize {
        0
    }

    fn is_blind(part: &Never) -> bool {
        match *part {}
    }

    fn is_as_read(&self, part: &Never) -> bool {
        match *part {}
    }

    fn write_part(&mut self, part: Never, _: &mut Stamps, (): &mut (), (): &()) {
        match part {}
    }

    fn gather(&self, (): &mut (), _: &[AnyState], _: &mut Vec<AnyState>) {}

    fn tell(_: u64, (): &mut (), (): &()) {}

    fn settle(&mut self) {}

    fn fit(&self, _: &Stamps) -> bool {
        true
    }
}

impl<S: State, R: States> States for (Twin<S>, R) {
    type Layout = (S::Layout, R::Layout);
    type Feeds = (Feed<S, S::Change>, R::Feeds);
    type Pending = (News<S>, R::Pending);
    type Write = Either<S::Write, R::Write>;
    type Part = Either<Part<S::Read, S::Write>, R::Part>;
    type Reads = (S::Read, R::Reads);

    fn describe(names: &[&'static str], interface: &mut Interface) {
        if let [name, rest @ ..] = names {
            interface.command::<S::Write, S::Answer>(name);
            R::describe(rest, interface);
        }
    }

    fn decode_write(index: usize, bytes: &[u8]) -> Result<(Self::Write, &[u8]), Unknown> {
        if let Some(index) = index.checked_sub(1) {
            let (write, rest) = R::decode_write(index, bytes)?;
            return Ok((Either::Rest(write), rest));
        }
        let (write, rest) = Unknown::arguments(bytes)?;
        Ok((Either::First(write), rest))
    }

    fn decode_part(index: usize, bytes: &[u8]) -> Result<(Self::Part, &[u8]), Unknown> {
        if let Some(index) = index.checked_sub(1) {
            let (part, rest) = R::decode_part(index, bytes)?;
            return Ok((Either::Rest(part), rest));
        }
        let ((read, writes), rest) = Unknown::arguments(bytes)?;
        Ok((Either::First(Part { read, writes }), rest))
    }

    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        (news, pending): &mut Self::Pending,
        (feed, feeds): &Self::Feeds,
        reply: &mut Reply,
    ) -> Result<(), Unencodable> {
        match write {
            Either::First(write) => {
                reply.put(&self.0.write().write(write, stamps, news.begin(feed)))
            }
            Either::Rest(write) => self.1.write(write, stamps, pending, feeds, reply),
        }
    }

    fn expiry(&self) -> Expiry {
        self.0.get().expiry().or(self.1.expiry())
    }

    fn expire(
        &mut self,
        stamps: &mut Stamps,
        (news, pending): &mut Self::Pending,
        (feed, feeds): &Self::Feeds,
    ) -> usize {
        let expired = match self.0.get().expiry().is_due(stamps.now()) {
            true => self.0.write().expire(stamps, news.begin(feed)),
            false => 0,
        };
        expired + self.1.expire(stamps, pending, feeds)
    }

    fn is_blind(part: &Self::Part) -> bool {
        match part {
            Either::First(part) => part.read == S::Read::default(),
            Either::Rest(part) => R::is_blind(part),
        }
    }

    fn is_as_read(&self, part: &Self::Part) -> bool {
        match part {
            Either::First(part) => self.0.get().is_as_read(&part.read),
            Either::Rest(part) => self.1.is_as_read(part),
        }
    }

    fn write_part(
        &mut self,
        part: Self::Part,
        stamps: &mut Stamps,
        (news, pending): &mut Self::Pending,
        (feed, feeds): &Self::Feeds,
    ) {
        match part {
            Either::First(part) => {
                for write in part.writes {
                    self.0.write().write(write, stamps, news.begin(feed));
                }
            }
            Either::Rest(part) => self.1.write_part(part, stamps, pending, feeds),
        }
    }

    fn gather(
        &self,
        (news, pending): &mut Self::Pending,
        before: &[AnyState],
        shown: &mut Vec<AnyState>,
    ) {
        let state = match before.get(shown.len()) {
            Some(before) if !news.is_there => before.clone(),
            _ => {
                let state = self.0.share();
                news.shown = Some(state.clone());
                news.is_there = false;
                state as Arc<dyn Any + Send + Sync>
            }
        };
        shown.push(state);
        self.1.gather(pending, before, shown);
    }

    fn tell(version: u64, (news, pending): &mut Self::Pending, (feed, feeds): &Self::Feeds) {
        if let Some(state) = news.shown.take() {
            feed.add(version, state, &mut news.changes);
        }
        R::tell(version, pending, feeds);
    }

    fn settle(&mut self) {
        self.0.settle();
        self.1.settle();
    }

    fn fit(&self, stamps: &Stamps) -> bool {
        self.0.get().fits(stamps) && self.1.fit(stamps)
    }
}
