//! What clients did and saw, in files that outlive whoever wrote them.
//!
//! A line is written as one, at once, before a command is sent and after it is answered; times are those of the
//! machine's monotonic clock, in nanoseconds.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::Mutex,
};

use anyhow::{Context as _, bail};
use mosaik::sim::history::{Operation, OperationId};
use mosaik_tests::{groups::Op, machines::Change};

/// Now, in nanoseconds.
pub(crate) fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
    u64::try_from(nanos).unwrap_or(0)
}

/// Writes what clients of one process do and see.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<File>);

impl Recorder {
    /// Appends to a file.
    pub(crate) fn new(path: &str) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {path}"))?;
        Ok(Self(Mutex::new(file)))
    }

    /// A client is about to ask for something.
    pub(crate) fn invoke(&self, id: u64, client: u64, op: &Op) -> anyhow::Result<()> {
        let what = match op {
            Op::Change(change) => format!("change {} {}", change.key, change.add),
            Op::Get(key) => format!("get {key}"),
        };
        self.write(&format!("invoke {id} {} {client} {what}", now()))
    }

    /// It was done, and returned this.
    pub(crate) fn ok(&self, id: u64, value: u64) -> anyhow::Result<()> {
        self.write(&format!("ok {id} {} {value}", now()))
    }

    /// It was not done.
    pub(crate) fn failed(&self, id: u64) -> anyhow::Result<()> {
        self.write(&format!("failed {id} {}", now()))
    }

    /// Nobody knows whether it was done.
    pub(crate) fn unknown(&self, id: u64) -> anyhow::Result<()> {
        self.write(&format!("unknown {id} {}", now()))
    }

    fn write(&self, line: &str) -> anyhow::Result<()> {
        let mut file = self.0.lock().ok().context("another client has panicked")?;
        Ok(file.write_all(format!("{line}\n").as_bytes())?)
    }
}

/// What was asked on one host.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The host.
    pub(crate) host: usize,
    /// What it was, and what came of it.
    pub(crate) operation: Operation<Op, u64>,
    /// Whether it was said that nobody knows: who was killed says nothing.
    pub(crate) unknown: bool,
}

impl Asked {
    /// Whether it was answered, but not well.
    pub(crate) fn is_trouble(&self) -> bool {
        let answered = self.operation.completed().is_some();
        self.unknown || (answered && self.operation.ret().is_none())
    }
}

/// Reads what was asked on a host.
pub(crate) fn read(host: usize, path: &Path) -> anyhow::Result<Vec<Asked>> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let mut asked: BTreeMap<u64, Asked> = BTreeMap::new();
    // Who was killed may have written half a line.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let number = |at: usize| -> anyhow::Result<u64> {
            let word = rest.get(at).with_context(|| format!("short: {line}"))?;
            Ok(word.parse()?)
        };
        let (id, at) = (number(0)?, number(1)?);
        if what == "invoke" {
            let op = match rest.get(3).copied() {
                Some("change") => Op::Change(Change {
                    id,
                    key: number(4)?,
                    add: number(5)?,
                }),
                Some("get") => Op::Get(number(4)?),
                _ => bail!("not understood: {line}"),
            };
            let operation = Operation::new(OperationId::from(id), number(2)?, op, at);
            let unknown = false;
            let begun = Asked {
                host,
                operation,
                unknown,
            };
            asked.insert(id, begun);
            continue;
        }
        let Some(mut begun) = asked.remove(&id) else {
            bail!("answered before it was asked: {line}");
        };
        begun.operation = match what {
            "ok" => begun.operation.ok(at, number(2)?),
            "failed" => begun.operation.failed(at),
            "unknown" => begun.operation,
            _ => bail!("not understood: {line}"),
        };
        begun.unknown = what == "unknown";
        asked.insert(id, begun);
    }
    Ok(asked.into_values().collect())
}
