//! Replicas under faults: whatever happens, they have one state, or one that differs says so.

mod applier;
mod crash;
mod imports;
mod panics;
mod properties;
mod snapshots;
pub(in crate::groups) mod versions;

use std::{cell::Cell, collections::BTreeMap, ops::Range, sync::Mutex, time::UNIX_EPOCH};

use bytes::Bytes;
use rand::RngExt as _;
use serde::{Deserialize, Serialize, Serializer};

use super::{
    Applier, Ctx, ENTRY_FORMAT, Entry, Frozen, Halt, Hosted, Interrupted, Item, ItemReply, Local,
    StateMachine, Store,
    replay::{self, Records},
    state::State,
};
use crate::{
    groups::{
        proto::{
            founding::charter::Epoch,
            session::{Request, SessionId},
        },
        storage::{Kind, LogId, Record},
    },
    id::{GroupId, PeerId},
    wire,
};

const PEER: PeerId = PeerId::from_bytes([9; 32]);
const EPOCH: Epoch = Epoch::from_bytes([5; 16]);

thread_local! {
    /// Whether commands that depend on what they must not depend on panic.
    static MOOD: Cell<bool> = const { Cell::new(false) };
}

fn group() -> GroupId {
    GroupId::from_name("g")
}

/// A state to be replicated. One with another `SKEW` answers otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tally<const SKEW: u64 = 0> {
    sums: BTreeMap<u8, u64>,
    commands: u64,
    blob: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Command {
    Add(u8, u64),
    /// Changes the state, then panics.
    Panic(String),
    /// Panics if the mood is bad.
    Moody,
    Now,
    Index,
    Draw,
    Caller,
    /// Holds so many bytes.
    Fill(u32),
    /// Answers so many bytes.
    Talk(u32),
    /// Answers what cannot be encoded.
    Mumble,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Output {
    Number(u64),
    Numbers([u64; 2]),
    Caller(PeerId),
    Bytes(Bytes),
    #[serde(skip_deserializing)]
    Garbage(Garbage),
}

/// Cannot be encoded.
#[derive(Debug, Default, PartialEq)]
struct Garbage;

impl Serialize for Garbage {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("garbage"))
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Query {
    Sum(u8),
    Panic,
}

impl<const SKEW: u64> StateMachine for Tally<SKEW> {
    type Command = Command;
    type Output = Output;
    type Query = Query;
    type Answer = u64;
    type Snapshot = Self;

    fn apply(&mut self, ctx: &Ctx, command: Command) -> Output {
        self.commands += 1;
        match command {
            Command::Add(key, amount) => {
                let sum = self.sums.entry(key).or_default();
                *sum += amount;
                Output::Number(*sum + SKEW)
            }
            Command::Panic(message) => {
                self.sums.clear();
                // Builds may differ in what they say.
                assert!(SKEW == 0, "{message} ({SKEW})");
                panic!("{message}")
            }
            Command::Moody => {
                assert!(!MOOD.get(), "in a bad mood");
                Output::Number(self.commands)
            }
            Command::Now => {
                let now = ctx.now().duration_since(UNIX_EPOCH).unwrap();
                Output::Number(u64::try_from(now.as_millis()).unwrap())
            }
            Command::Index => Output::Numbers([ctx.index(), ctx.term()]),
            Command::Draw => Output::Numbers([ctx.rng().random(), ctx.rng().random()]),
            Command::Caller => Output::Caller(ctx.caller()),
            Command::Fill(len) => {
                let bytes: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0]).collect();
                self.blob = bytes.into();
                Output::Number(0)
            }
            Command::Talk(len) => Output::Bytes(vec![0; len as usize].into()),
            Command::Mumble => Output::Garbage(Garbage),
        }
    }

    fn query(&self, query: Query) -> u64 {
        match query {
            Query::Sum(key) => self.sums.get(&key).copied().unwrap_or_default(),
            Query::Panic => panic!("no answer"),
        }
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// A log, and the clients that fill it.
#[derive(Debug, Default)]
struct Journal {
    records: Mutex<Vec<Record>>,
}

impl Journal {
    /// Appends an entry with these items; returns it.
    fn push(&self, items: Vec<Item>) -> Record {
        self.push_entry(&Entry {
            now: 0,
            uptime: 0,
            check: None,
            items,
        })
    }

    fn push_entry(&self, entry: &Entry) -> Record {
        let format = ENTRY_FORMAT;
        self.push_record(Kind::Commands { format }, entry.encode().unwrap())
    }

    fn push_record(&self, kind: Kind, payload: Bytes) -> Record {
        let mut records = self.records.lock().unwrap();
        let record = Record {
            id: LogId {
                term: 1,
                index: records.len() as u64,
            },
            kind,
            payload,
        };
        records.push(record.clone());
        record
    }

    fn all(&self) -> Vec<Record> {
        self.records.lock().unwrap().clone()
    }
}

impl Records for Journal {
    /// A few at a time, as logs do.
    async fn read(&self, range: Range<u64>) -> Result<Vec<Record>, Halt> {
        let all = self.all();
        let wanted = all
            .into_iter()
            .filter(|record| range.contains(&record.id.index));
        Ok(wanted.take(3).collect())
    }
}

/// A replica without Raft.
#[derive(Debug)]
struct Replica<const SKEW: u64 = 0> {
    applier: Applier,
    local: Local<Tally<SKEW>>,
    store: Store,
}

impl<const SKEW: u64> Replica<SKEW> {
    /// One that has applied nothing, with snapshots in memory.
    fn new() -> Self {
        Self::on(Store::memory(group(), EPOCH))
    }

    fn on(store: Store) -> Self {
        let hosted = Hosted::<Tally<SKEW>>::new();
        Self {
            local: hosted.local(),
            applier: Applier::new(Box::new(hosted), EPOCH, None).unwrap(),
            store,
        }
    }

    /// Applies an entry in which nothing panics.
    fn apply(&mut self, record: &Record) -> Result<Vec<ItemReply>, Halt> {
        self.applier
            .apply(record)
            .map_err(|interrupted| match interrupted {
                Interrupted::Halt(halt) => halt,
                Interrupted::Panicked { index } => panic!("entry {index} panicked"),
            })
    }

    /// Applies an entry, and undoes what panics.
    async fn apply_any(&mut self, record: &Record, journal: &impl Records) -> Vec<ItemReply> {
        let applied = replay::apply(&mut self.applier, record, &self.store, journal).await;
        self.applier.settle();
        applied.unwrap()
    }

    /// Applies all that it has not yet applied.
    async fn catch_up(&mut self, journal: &Journal) {
        for record in journal.all() {
            if record.id.index >= self.applier.next() {
                self.apply_any(&record, journal).await;
            }
        }
    }

    fn tally(&self) -> Tally<SKEW> {
        self.local.read(Clone::clone).unwrap()
    }

    fn freeze(&self) -> Frozen {
        self.applier.freeze().unwrap()
    }

    /// All that is replicated.
    fn contents(&self) -> (State, Tally<SKEW>) {
        let mut content = Vec::new();
        (self.freeze().encode)(&mut content).unwrap();
        let (state, rest) = postcard::take_from_bytes(&content).unwrap();
        (state, wire::decode(rest).unwrap())
    }
}

/// A replica that has applied nothing.
fn fresh() -> Replica {
    Replica::new()
}

fn open() -> Item {
    Item::Open { peer: PEER }
}

/// The session that the item at `place` of the entry at `index` opens.
fn session(index: u64, place: u64) -> SessionId {
    SessionId(index * super::MAX_ITEMS as u64 + place)
}

fn request(session: SessionId, sequence: u64, unanswered: u64) -> Request {
    Request {
        session,
        sequence,
        unanswered,
    }
}

/// A batch of the first session, whose client waits for no earlier one.
fn batch(sequence: u64, commands: &[Command]) -> Item {
    commands_of(request(session(0, 0), sequence, sequence), commands)
}

fn commands_of(request: Request, commands: &[Command]) -> Item {
    let encoded: Vec<u8> = commands
        .iter()
        .flat_map(|command| wire::encode(command).unwrap())
        .collect();
    Item::Commands {
        request,
        count: u32::try_from(commands.len()).unwrap(),
        commands: encoded.into(),
    }
}

fn applied(outputs: &[Output]) -> ItemReply {
    let encoded: Vec<u8> = outputs
        .iter()
        .flat_map(|output| wire::encode(output).unwrap())
        .collect();
    ItemReply::Applied(encoded.into())
}

fn panicked(command: u32, message: &str) -> ItemReply {
    ItemReply::Panicked {
        command,
        message: message.into(),
    }
}

/// The outputs of a batch of one command.
fn output(reply: &ItemReply) -> Output {
    match reply {
        ItemReply::Applied(outputs) => wire::decode(outputs).unwrap(),
        other => panic!("{other:?}"),
    }
}
