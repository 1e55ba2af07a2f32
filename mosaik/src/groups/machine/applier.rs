//! A replica: applies the entries of a log to a state.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::{
    Ctx, Halt,
    ctx::LAST_MOMENT,
    entry::{Check, ENTRY_FORMAT, Entry, Item, ItemReply, MAX_ITEMS},
    hosted::{ApplyError, CheckError, Encode, Machine},
    image::Image,
    import::{Standing, Step, Taken},
    state::{Digest, MAX_INDEX, State, Superseded},
    used::Used,
};
use crate::{
    groups::{
        proto::{
            blob::Blob,
            founding::charter::{Charter, Epoch},
            log_id::LogId,
            session::{Request, Verdict},
        },
        storage::{Kind, Record},
    },
    wire,
};

/// Bytes of an answer beyond which it is not copied.
const LARGE: usize = 4096;

/// Applies the entries of a log, one after the other, to a [`Machine`] and what is replicated besides it.
///
/// A command that panics leaves it *broken*: it applies nothing more until it is taken back to before that
/// entry. What panicked is remembered, and answers the panic when the entry is applied again.
/// [`replay`](super::replay) does all that.
#[derive(Debug)]
pub(crate) struct Applier {
    machine: Box<dyn Machine>,
    epoch: Epoch,
    state: State,
    /// Of the entries behind the state that can be gone back to: which items panicked.
    panicked: BTreeMap<(u64, u32), (u32, String)>,
    /// What belongs to the copy of the user's state that is kept.
    kept: Option<State>,
    broken: bool,
    /// Whether nobody reads the state.
    hidden: bool,
    /// Nobody reads it before this entry is applied.
    hidden_until: Option<LogId>,
    /// What is encoded next goes here first, so that it takes no more memory than it has to. Empty in between.
    scratch: Vec<u8>,
}

/// Why an entry was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// It cannot be.
    Halt(Halt),
    /// A command panicked. It is remembered.
    Panicked {
        /// The entry.
        index: u64,
    },
}

/// A state as it was, to be encoded.
pub(crate) struct Frozen {
    /// The last entry that it has applied.
    pub(crate) last: LogId,
    /// The last membership among them, as it stands in the log; empty if there is none.
    pub(crate) membership: Bytes,
    /// The entry that it is in.
    pub(crate) membership_at: Option<LogId>,
    /// Writes all of it.
    pub(crate) encode: Encode,
}

impl From<Halt> for Interrupted {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

impl Applier {
    /// A replica that has applied nothing. Nobody reads its state before it has applied `known`, which is known
    /// to be committed.
    pub(crate) fn new(
        machine: Box<dyn Machine>,
        epoch: Epoch,
        known: Option<LogId>,
    ) -> Result<Self, Halt> {
        let mut applier = Self {
            machine,
            epoch,
            state: State::default(),
            panicked: BTreeMap::new(),
            kept: None,
            broken: false,
            hidden: true,
            hidden_until: known,
            scratch: Vec::new(),
        };
        applier.reset()?;
        applier.settle();
        Ok(applier)
    }

    /// Applies the next entry, and returns what its items get.
    ///
    /// # Errors
    /// After [`Interrupted::Panicked`] it has to be taken back, after [`Interrupted::Halt`] it is done for.
    pub(crate) fn apply(&mut self, record: &Record) -> Result<Vec<ItemReply>, Interrupted> {
        let (last, got) = (self.state.last, record.id);
        let follows = last.is_none_or(|last| got.index == last.index + 1 && got.term >= last.term);
        if !follows || got.index >= MAX_INDEX || self.broken {
            return Err(Halt::Order { last, got }.into());
        }
        // Until all of it is applied.
        self.broken = true;
        let mut answers = Answers {
            replies: Vec::new(),
            digest: self.state.digests.begin(record.id.index),
        };
        match record.kind {
            Kind::Blank => {}
            Kind::Membership => {
                self.state.membership = record.payload.clone();
                self.state.membership_at = Some(record.id);
            }
            Kind::Commands { format } => {
                self.apply_entry(record.id, format, &record.payload, &mut answers)?;
            }
        }
        self.state.digests.end(answers.digest);
        self.state.last = Some(record.id);
        self.broken = false;
        Ok(answers.replies)
    }

    fn apply_entry(
        &mut self,
        id: LogId,
        format: u8,
        payload: &[u8],
        answers: &mut Answers,
    ) -> Result<(), Interrupted> {
        let index = id.index;
        if format != ENTRY_FORMAT {
            let found = format;
            return Err(Halt::Format { index, found }.into());
        }
        let entry = Entry::decode(payload).map_err(|error| Halt::malformed(index, &error))?;
        if let Some(check) = &entry.check
            && self.state.digests.contradict(check)
        {
            return Err(Halt::Diverged { at: check.at }.into());
        }
        self.state.now = self.state.now.max(entry.now.min(LAST_MOMENT));
        for session in self.state.sessions.elapse(entry.uptime) {
            tracing::debug!(?session, "a session expired");
        }
        self.state.imports.elapse(self.state.sessions.uptime());
        answers.replies.reserve(entry.items.len());
        for (place, item) in (0..).zip(entry.items) {
            let reply = self.apply_item(id, place, item)?;
            let mark = self.machine.mark();
            let encoded = answers.add(reply, mark, &mut self.scratch, index)?;
            if let Some((request, answer)) = encoded {
                self.state.sessions.record(request, answer);
            }
        }
        Ok(())
    }

    /// Applies an item. An answer with its request is to be kept for that.
    fn apply_item(
        &mut self,
        id: LogId,
        place: u32,
        item: Item<&[u8]>,
    ) -> Result<(ItemReply, Option<Request>), Interrupted> {
        let state = &mut self.state;
        let reply = match item {
            Item::Open { .. } if state.superseded.is_some() => ItemReply::Superseded,
            Item::Open { peer } => {
                let opened = id.index * MAX_ITEMS as u64 + u64::from(place);
                let opened = state.sessions.open(opened, peer);
                opened.map_or(ItemReply::TooManySessions, ItemReply::Opened)
            }
            Item::Close { session } => {
                state.sessions.close(session);
                ItemReply::Closed
            }
            Item::Commands {
                request,
                count,
                commands,
            } => match self.begin(id.index, request)? {
                Some(reply) => reply,
                None if self.state.sessions.is_full(request.session) => ItemReply::Ahead,
                None => {
                    let reply = self.apply_batch(id, place, request, count, commands)?;
                    return Ok((reply, Some(request)));
                }
            },
            Item::Withdraw { request } => match self.begin(id.index, request)? {
                Some(reply) => reply,
                None => return Ok((ItemReply::Withdrawn, Some(request))),
            },
            Item::Verdict { winner } => {
                self.settle_conflict(*winner);
                ItemReply::Verdict
            }
            Item::Import(step) => ItemReply::Import(self.import(id.index, *step)),
        };
        Ok((reply, None))
    }

    /// What a batch is answered without being applied, if so.
    fn begin(&mut self, index: u64, request: Request) -> Result<Option<ItemReply>, Halt> {
        Ok(Some(match self.state.sessions.begin(request) {
            Verdict::Apply if self.state.superseded.is_some() => ItemReply::Superseded,
            Verdict::Apply => return Ok(None),
            Verdict::Repeat(answer) => {
                ItemReply::decode(&answer).map_err(|error| Halt::malformed(index, &error))?
            }
            Verdict::Answered => ItemReply::Answered,
            Verdict::Expired => ItemReply::Expired,
            Verdict::Ahead => ItemReply::Ahead,
        }))
    }

    fn apply_batch(
        &mut self,
        id: LogId,
        place: u32,
        request: Request,
        count: u32,
        commands: &[u8],
    ) -> Result<ItemReply, Interrupted> {
        let index = id.index;
        let unknown = |error: CheckError| {
            let reason = error.to_string();
            Interrupted::Halt(Halt::Unknown { index, reason })
        };
        let used = &mut self.state.used;
        if let Some((command, message)) = self.panicked.get(&(index, place)) {
            // It stands in the log, though it does nothing.
            let checked = self.machine.check(count, commands, &mut |n| used.add(n));
            checked.map_err(unknown)?;
            return Ok(ItemReply::Panicked {
                command: *command,
                message: message.clone(),
            });
        }
        let caller = self.state.sessions.peer(request.session);
        let Some(caller) = caller else {
            return Ok(ItemReply::Expired);
        };
        let ctx = Ctx {
            epoch: self.epoch,
            index,
            term: id.term,
            now: self.state.now,
            uptime: self.state.sessions.uptime(),
            caller,
            item: place,
            command: 0,
            generators: Cell::new(0),
        };
        let outputs = &mut self.scratch;
        let numbers = &mut |number| used.add(number);
        let machine = &mut self.machine;
        match machine.apply(&ctx, count, commands, outputs, numbers) {
            Ok(()) => {
                self.state.commands |= count > 0;
                Ok(ItemReply::Applied(taken(outputs)))
            }
            Err(ApplyError::Unknown(error)) => Err(unknown(error)),
            Err(ApplyError::Panicked { command, message }) => {
                // What the commands before it returned.
                *outputs = Vec::new();
                tracing::error!(index, command, %message, "a command panicked, and is undone");
                self.panicked.insert((index, place), (command, message));
                self.hidden = true;
                Err(Interrupted::Panicked { index })
            }
        }
    }

    /// Takes a step of an import. What it brings counts as made by commands: it may not be lost to another charter.
    fn import(&mut self, index: u64, step: Step) -> Taken {
        let state = &mut self.state;
        let standing = Standing {
            commands: state.commands,
            superseded: state.superseded.is_some(),
            uptime: state.sessions.uptime(),
        };
        let restore = self.machine.restore();
        let mut is_new = false;
        let taken = state.imports.take(step, standing, |bytes| {
            let restored = restore(bytes);
            if let Err(error) = &restored {
                tracing::error!(%error, "a state that was imported cannot be read");
            }
            is_new = restored.is_ok();
            is_new
        });
        if is_new {
            self.machine.imported(*self.epoch.as_bytes(), index);
        }
        state.commands |= taken == Taken::Imported;
        taken
    }

    /// What becomes of this charter when another one was met. The first verdict counts.
    fn settle_conflict(&mut self, winner: Charter) {
        let state = &mut self.state;
        if winner.epoch != self.epoch && state.superseded.is_none() {
            let commands = state.commands;
            state.superseded = Some(Superseded { winner, commands });
        }
    }

    /// The last entry that was applied.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.state.last
    }

    /// The index of the entry to be applied next.
    pub(crate) fn next(&self) -> u64 {
        self.state.last.map_or(0, |last| last.index + 1)
    }

    /// The last membership that was applied, as it stands in the log, and the entry that it is in.
    pub(crate) fn membership(&self) -> (&Bytes, Option<LogId>) {
        (&self.state.membership, self.state.membership_at)
    }

    /// For how long the group had leaders.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_millis(self.state.sessions.uptime())
    }

    /// Whether a command was ever applied.
    pub(crate) fn has_commands(&self) -> bool {
        self.state.commands
    }

    /// Which commands were ever applied.
    pub(crate) fn used(&self) -> &Used {
        &self.state.used
    }

    /// Whether another charter lives on instead.
    pub(crate) fn superseded(&self) -> Option<&Superseded> {
        self.state.superseded.as_ref()
    }

    /// Whether nobody may read the state.
    pub(crate) fn is_hidden(&self) -> bool {
        self.hidden
    }

    /// What a leader stamps into an entry, so that replicas that differ find out; each once is enough.
    pub(crate) fn check(&self) -> Option<Check> {
        self.state.digests.latest()
    }

    /// The state as it is, to be encoded elsewhere; `None` if nothing was applied.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        let last = self.state.last.filter(|_| !self.broken)?;
        let state = self.state.clone();
        let encode = self.machine.snapshot();
        Some(Frozen {
            last,
            membership: state.membership.clone(),
            membership_at: state.membership_at,
            encode: Box::new(move |write| {
                // An encoder of types that are all our own fails only where the writer does.
                let encoded = wire::encode(&state).map_err(std::io::Error::other)?;
                write.write_all(&encoded)?;
                encode(write)
            }),
        })
    }

    /// The user's state as it is, to be read elsewhere; `None` if nothing was applied.
    pub(crate) fn image(&self) -> Option<Image> {
        let last = self.state.last.filter(|_| !self.broken)?;
        Some(Image::new(last, self.machine.snapshot()))
    }

    /// Prepares to take the state of a snapshot: what it returns takes its content, takes long, and may run
    /// elsewhere; [`restored`](Self::restored) ends it.
    pub(super) fn restoring(
        &mut self,
    ) -> impl FnOnce(&[u8]) -> Result<State, Halt> + Send + 'static + use<> {
        let restore = self.machine.restore();
        move |content| State::restore(content, restore)
    }

    /// Makes what was applied the beginning of another charter, with these members.
    pub(crate) fn found(&mut self, epoch: Epoch, membership: Bytes) {
        self.epoch = epoch;
        self.state.membership = membership;
        self.state.membership_at = self.state.last;
    }

    /// Has taken the state of a snapshot.
    pub(super) fn restored(&mut self, state: State) {
        self.state = state;
        self.broken = false;
        self.forget();
        self.prune();
    }

    /// Takes it back to where nothing was applied.
    pub(super) fn reset(&mut self) -> Result<(), Halt> {
        let reset = self.machine.reset();
        reset.map_err(|error| Halt::restore(&error))?;
        self.hidden = true;
        self.forget();
        self.state = State::default();
        self.broken = false;
        Ok(())
    }

    /// Keeps a copy of the state in memory to go back to. It is a way to be fast, so it may fail.
    pub(super) fn keep(&mut self) {
        self.kept = self.machine.keep().then(|| self.state.clone());
        if self.kept.is_some() {
            self.prune();
        }
    }

    /// The last entry of the copy that is kept.
    pub(super) fn kept(&self) -> Option<LogId> {
        self.kept.as_ref()?.last
    }

    /// Goes back to the copy that is kept; returns whether there is one.
    pub(super) fn roll_back(&mut self) -> bool {
        let Some(kept) = self.kept.take().filter(|_| self.machine.roll_back()) else {
            return false;
        };
        self.state = kept.clone();
        self.kept = Some(kept);
        self.broken = false;
        true
    }

    /// Forgets what was needed to go back to before the end of a snapshot, which is at `last`.
    pub(crate) fn forget_until(&mut self, last: LogId) {
        if self.kept().is_some_and(|kept| kept.index <= last.index) {
            self.forget();
        }
        self.panicked.retain(|(index, _), _| *index > last.index);
    }

    /// Lets others read the state, and shows it, if it is not behind what they may have seen.
    pub(crate) fn settle(&mut self) {
        if self.hidden && self.state.last >= self.hidden_until {
            self.hidden = false;
            self.hidden_until = None;
            self.machine.mend();
        }
        if let Some(last) = self.state.last.filter(|_| !self.hidden) {
            self.machine.publish(last.index);
        }
    }

    fn forget(&mut self) {
        self.kept = None;
        self.machine.forget();
    }

    /// Forgets what panicked in entries that are never applied again.
    fn prune(&mut self) {
        let next = self.next();
        self.panicked.retain(|(index, _), _| *index >= next);
    }
}

/// Takes out what is in `scratch`: a copy that is as large as it is, unless that takes longer than it is worth.
fn taken(scratch: &mut Vec<u8>) -> Blob {
    if scratch.len() > LARGE {
        return std::mem::take(scratch).into();
    }
    let taken = scratch.as_slice().into();
    scratch.clear();
    taken
}

/// What the items of an entry get.
#[derive(Debug)]
struct Answers {
    replies: Vec<ItemReply>,
    digest: Digest,
}

impl Answers {
    /// Adds one; returns it as it is to be kept, if it is. A mark stands for its outputs, if there is one.
    fn add(
        &mut self,
        (reply, request): (ItemReply, Option<Request>),
        mark: Option<u64>,
        scratch: &mut Vec<u8>,
        index: u64,
    ) -> Result<Option<(Request, Blob)>, Halt> {
        let mut encode = |reply: &ItemReply| {
            let encoded = reply.encode_onto(scratch);
            encoded.map_err(|error| Halt::malformed(index, &error))?;
            Ok(taken(scratch))
        };
        let encoded = encode(&reply)?;
        match (&reply, mark) {
            (ItemReply::Panicked { command, .. }, _) => {
                let (command, message) = (*command, String::new());
                let unsaid = ItemReply::Panicked { command, message };
                self.digest.add(&encode(&unsaid)?);
            }
            (ItemReply::Applied(_), Some(mark)) => self.digest.add(&mark.to_le_bytes()),
            _ => self.digest.add(&encoded),
        }
        self.replies.push(reply);
        Ok(request.map(|request| (request, encoded)))
    }
}
