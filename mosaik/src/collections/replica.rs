//! What a group replicates for a store: its collections, and the stamps of what is written to them.
//!
//! Who reads does so without a lock and without waiting: once entries of the log are applied, the states are put where the
//! handles find them, and second copies of them are written to next.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    place::Shown,
    state::{
        State,
        stamp::{Moment, Origin, Stamps},
    },
    states::States,
    twin::Twin,
};
use crate::{
    declare::{Schema, SchemaSource},
    groups::{Application, AskError, Ctx, Here, Interface, Reply, Unencodable, Unknown, number},
};

/// What a store consists of.
pub(crate) trait Layout: Send + Sync + 'static {
    /// Its collections.
    type States: States;

    /// The names of the commands that write to them, each for itself.
    const WRITES: &'static [&'static str];

    /// How their schema is found.
    fn schema() -> SchemaSource;
}

/// The name of the command that writes to several collections if they are as they were read.
pub(super) const TRANSACTION: &str = "transaction";
/// The name of the command that only makes time pass: what has come to its end is removed.
pub(super) const EXPIRE: &str = "expire";
/// The name of the command that writes to the only collection of a store.
pub(super) const WRITE: &str = "write";

/// A store of one collection.
#[derive(Debug)]
pub(crate) struct Alone<S>(PhantomData<fn() -> S>);

impl<S: State> Layout for Alone<S> {
    type States = (Twin<S>, ());

    const WRITES: &'static [&'static str] = &[WRITE];

    fn schema() -> SchemaSource {
        SchemaSource::Traced(Schema::trace::<S::Layout>)
    }
}

/// The replicated state of a store.
pub(crate) struct Replica<L: Layout> {
    states: L::States,
    stamps: Stamps,
    shown: Shown<L::States>,
    pending: Pending<L>,
    /// Whether something may have changed since it was shown last.
    is_news: bool,
}

type Pending<L> = <<L as Layout>::States as States>::Pending;
type Feeds<L> = <<L as Layout>::States as States>::Feeds;

/// A command.
pub(crate) enum Operation<T: States> {
    /// A write of one collection.
    Write(T::Write),
    /// Writes of several collections, if they are as they were read.
    Transaction {
        /// Whose stamps were read.
        origin: Origin,
        /// What was read and is to be written, a collection each.
        parts: Vec<T::Part>,
    },
    /// None: there is something that has come to its end.
    Expire,
}

impl<L: Layout> Replica<L> {
    fn new(states: L::States, stamps: Stamps) -> Self {
        Self {
            states,
            stamps,
            shown: Shown::default(),
            pending: Pending::<L>::default(),
            is_news: true,
        }
    }

    /// Where its collections are shown.
    pub(super) fn shown(&self) -> Shown<L::States> {
        self.shown.clone()
    }

    /// The place of the collection that the command of this number writes to.
    fn written_by(number: u64) -> Result<usize, Unknown> {
        let mut names = L::WRITES.iter().map(|name| self::number(name));
        let index = names.position(|known| known == number);
        index.ok_or_else(|| Unknown::method(number))
    }

    /// The transaction that `bytes` begin with, and what follows it.
    fn decode_transaction(bytes: &[u8]) -> Result<(Operation<L::States>, &[u8]), Unknown> {
        let ((origin, count), mut rest) = Unknown::arguments::<(Origin, u32)>(bytes)?;
        let mut parts = Vec::new();
        for _ in 0..count {
            let (number, part) = Unknown::number(rest)?;
            let (part, behind) = L::States::decode_part(Self::written_by(number)?, part)?;
            parts.push(part);
            rest = behind;
        }
        Ok((Operation::Transaction { origin, parts }, rest))
    }

    /// Applies the writes of a transaction if it would read now what it has read.
    fn transact(&mut self, origin: Origin, parts: Vec<Part<L>>) -> bool {
        let is_as_read = |part: &Part<L>| {
            L::States::is_blind(part)
                || (origin == self.stamps.origin() && self.states.is_as_read(part))
        };
        let is_as_read = parts.iter().all(is_as_read);
        if is_as_read {
            let (states, stamps, pending, feeds) = self.writing();
            for part in parts {
                states.write_part(part, stamps, pending, feeds);
            }
        }
        is_as_read
    }

    /// A command begins at this time: removes what has come to its end by then, and returns how much it was.
    fn elapse(&mut self, now: Moment) -> usize {
        self.stamps.begin(now);
        if !self.states.expiry().is_due(now) {
            return 0;
        }
        let (states, stamps, pending, feeds) = self.writing();
        states.expire(stamps, pending, feeds)
    }

    /// Goes on with another origin. To be shown even if nothing is written, or transactions would try again in vain.
    fn go_on(&mut self, origin: Origin) {
        self.stamps.go_on(origin);
        self.is_news = true;
    }

    /// What a write needs; there will be news to show.
    fn writing(&mut self) -> (&mut L::States, &mut Stamps, &mut Pending<L>, &Feeds<L>) {
        self.is_news = true;
        (
            &mut self.states,
            &mut self.stamps,
            &mut self.pending,
            &self.shown.feeds,
        )
    }
}

type Part<L> = <<L as Layout>::States as States>::Part;

/// How a transaction looks to those who compare commands: the origin of what was read, and for some collections their
/// numbers, what was read, and how many writes follow, which are as in the commands that write.
type AnyTransaction<L> = (
    Origin,
    u32,
    u64,
    <<L as Layout>::States as States>::Reads,
    u64,
);

impl<L: Layout> Default for Replica<L> {
    fn default() -> Self {
        Self::new(L::States::default(), Stamps::default())
    }
}

impl<L: Layout> fmt::Debug for Replica<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("stamps", &self.stamps)
            .finish_non_exhaustive()
    }
}

impl<L: Layout> Application for Replica<L> {
    type Operation = Operation<L::States>;
    type Image = Image<L::States>;

    fn interface() -> Interface {
        let mut interface = Interface::of::<<L::States as States>::Layout>(L::schema());
        // A snapshot has no names: those that changed places would be taken for each other.
        interface.parts(L::WRITES);
        L::States::describe(L::WRITES, &mut interface);
        interface.command::<AnyTransaction<L>, bool>(TRANSACTION);
        interface.command::<(), u64>(EXPIRE);
        interface
    }

    fn decode(bytes: &[u8]) -> Result<(Self::Operation, &[u8]), Unknown> {
        const TRANSACTION_NUMBER: u64 = number(TRANSACTION);
        const EXPIRE_NUMBER: u64 = number(EXPIRE);
        let (number, arguments) = Unknown::number(bytes)?;
        match number {
            TRANSACTION_NUMBER => return Self::decode_transaction(arguments),
            EXPIRE_NUMBER => return Ok((Operation::Expire, arguments)),
            _ => {}
        }
        let index = Self::written_by(number)?;
        let (write, rest) = L::States::decode_write(index, arguments)?;
        Ok((Operation::Write(write), rest))
    }

    fn run(
        &mut self,
        ctx: &Ctx,
        operation: Self::Operation,
        reply: &mut Reply,
    ) -> Result<(), Unencodable> {
        if self.stamps.origin().epoch() != ctx.epoch() {
            self.go_on(Origin::of(ctx.epoch()));
        }
        let expired = self.elapse(Moment {
            clock: ctx.now_millis(),
            uptime: ctx.uptime_millis(),
        });
        match operation {
            Operation::Expire => reply.put(&(expired as u64)),
            Operation::Write(write) => {
                let (states, stamps, pending, feeds) = self.writing();
                states.write(write, stamps, pending, feeds, reply)
            }
            Operation::Transaction { origin, parts } => reply.put(&self.transact(origin, parts)),
        }
    }

    fn ask(_: &Here<'_, Self>, query: &[u8], _: &mut Reply) -> Result<(), AskError> {
        let (number, _) = Unknown::number(query)?;
        Err(Unknown::method(number).into())
    }

    fn image(&self) -> Self::Image {
        Image {
            stamps: self.stamps.clone(),
            states: self.states.clone(),
        }
    }

    fn from_image(image: Self::Image) -> Self {
        Self::new(image.states, image.stamps)
    }

    fn mark(&self) -> Option<u64> {
        // Answers hold values, and a `HashMap` in one is in another order on each replica.
        Some(self.stamps.given())
    }

    fn succeed(&mut self, before: &mut Self) {
        self.shown = before.shown.clone();
    }

    fn imported(&mut self, epoch: [u8; 16], index: u64) {
        self.go_on(Origin::imported(epoch, index));
    }

    fn has_news(&self) -> bool {
        self.is_news
    }

    fn publish(&mut self, applied: u64) {
        self.is_news = false;
        let (states, pending) = (&mut self.states, &mut self.pending);
        self.shown.show(states, applied, &self.stamps, pending);
    }
}

/// A store as a snapshot holds it.
pub(crate) struct Image<T> {
    stamps: Stamps,
    states: T,
}

impl<T: Serialize> Serialize for Image<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.stamps, &self.states).serialize(serializer)
    }
}

impl<'de, T: States> Deserialize<'de> for Image<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (stamps, states) = <(Stamps, T)>::deserialize(deserializer)?;
        if !states.fit(&stamps) {
            return Err(de::Error::custom(
                "it holds more stamps than were given out",
            ));
        }
        Ok(Self { stamps, states })
    }
}

impl<T> fmt::Debug for Image<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").finish_non_exhaustive()
    }
}
