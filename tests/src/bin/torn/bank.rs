//! Tellers: in each member somebody moves money in a store of collections, while everything is torn apart.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use mosaik::{Network, groups::Durability};
use mosaik_tests::transfers::{ACCOUNTS, Bank, BankWriter, Call, EACH, Fate, Transfer, check};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use super::record::now;

/// What is appended to the name of a file for what is here.
const SUFFIX: &str = "bank";

/// Moves money, and writes down what becomes of it.
pub(crate) struct Teller {
    bank: BankWriter,
    file: Mutex<File>,
}

/// What a member holds.
#[derive(Serialize, Deserialize, PartialEq)]
struct Held {
    accounts: Vec<(u64, u64)>,
    moved: Vec<Transfer>,
}

impl Teller {
    /// Takes part in the store, and writes beside `record`.
    pub(crate) fn new(network: &Network, durable: bool, record: &str) -> anyhow::Result<Self> {
        let durable = if durable {
            Durability::Required
        } else {
            Durability::Volatile
        };
        let bank = Bank::builder(network)
            .evict_after(Duration::from_secs(10))
            .command_timeout(Duration::from_secs(3))
            .durable(durable)
            .writer();
        let path = beside(Path::new(record));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let file = Mutex::new(file);
        Ok(Self { bank, file })
    }

    /// Waits until money can be moved.
    pub(crate) async fn online(&self) {
        self.bank.when().online().await;
    }

    /// Moves money once, or looks at all there is.
    pub(crate) async fn once(&self, id: u64) -> anyhow::Result<()> {
        ensure!(
            self.bank.view().sum() == ACCOUNTS * EACH,
            "a view of no moment"
        );
        let invoked = now();
        // Who is killed never says what became of it.
        self.note(id, invoked, u64::MAX, Fate::Unknown(id))?;
        let looks = rand::rng().random_range(0..4) == 0;
        let fate = if looks {
            self.bank.try_look(id).await
        } else {
            self.transfer(id).await
        };
        self.note(id, invoked, now(), fate)
    }

    async fn transfer(&self, id: u64) -> Fate {
        let (from, to, cents) = {
            let mut random = rand::rng();
            let from = random.random_range(0..ACCOUNTS);
            let to = (from + random.random_range(1..ACCOUNTS)) % ACCOUNTS;
            (from, to, random.random_range(0..EACH))
        };
        self.bank.try_transfer(id, from, to, cents).await
    }

    fn note(&self, id: u64, invoked: u64, completed: u64, fate: Fate) -> anyhow::Result<()> {
        let call = Call {
            invoked,
            completed,
            fate,
        };
        let line = format!("{}\n", serde_json::to_string(&(id, call))?);
        let Ok(mut file) = self.file.lock() else {
            bail!("somebody failed to write");
        };
        file.write_all(line.as_bytes())?;
        Ok(())
    }

    /// Writes what this member holds beside `path`, with all that was acknowledged before.
    pub(crate) async fn write_state(&self, path: &str) -> anyhow::Result<()> {
        self.bank.refresh().await?;
        let view = self.bank.view();
        let held = Held {
            accounts: view.entries(),
            moved: view.moved.iter().cloned().collect(),
        };
        fs::write(beside(Path::new(path)), serde_json::to_string(&held)?)?;
        Ok(())
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension(SUFFIX)
}

/// Checks what tellers wrote beside these records against what members hold, who wrote beside these states.
pub(crate) fn verdict<'a>(
    records: impl IntoIterator<Item = &'a Path>,
    states: impl IntoIterator<Item = PathBuf>,
) -> anyhow::Result<String> {
    let mut calls: BTreeMap<u64, Call> = BTreeMap::new();
    for record in records.into_iter().map(beside) {
        if !record.exists() {
            // That of a client.
            continue;
        }
        for line in fs::read_to_string(&record)?.lines() {
            // The last line of one that was killed may be cut.
            if let Ok((id, call)) = serde_json::from_str(line) {
                calls.insert(id, call);
            }
        }
    }
    let mut first: Option<Held> = None;
    for state in states {
        let held: Held = serde_json::from_str(&fs::read_to_string(beside(&state))?)?;
        match &first {
            Some(first) => ensure!(*first == held, "stores differ"),
            None => first = Some(held),
        }
    }
    let held = first.context("no stores")?;
    let calls: Vec<Call> = calls.into_values().collect();
    if let Err(violation) = check(&calls, &held.moved) {
        bail!("{violation}");
    }
    let count = |is: fn(&Fate) -> bool| calls.iter().filter(|call| is(&call.fate)).count();
    let moved = count(|fate| matches!(fate, Fate::Moved(_)));
    let saw = count(|fate| matches!(fate, Fate::Saw(_) | Fate::Refused(..)));
    ensure!(moved > 0 && saw > 0, "nothing was moved, or nothing seen");
    let there = held.moved.len();
    Ok(format!(
        "{moved} transfers acknowledged, {there} made, {saw} looks: strictly serializable, no money lost"
    ))
}
