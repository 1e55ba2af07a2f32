//! State machines that the suites replicate: a counter, a ledger, and registers.

use std::{collections::BTreeMap, sync::Arc};

use mosaik::groups::{Ctx, StateMachine};
use serde::{Deserialize, Serialize};

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    value: u64,
}

impl Counter {
    /// How far it has counted.
    pub fn value(&self) -> u64 {
        self.value
    }
}

impl StateMachine for Counter {
    type Command = u64;
    type Output = u64;
    type Query = ();
    type Answer = u64;
    type Snapshot = Self;

    fn apply(&mut self, _: &Ctx, amount: u64) -> u64 {
        self.value += amount;
        self.value
    }

    fn query(&self, (): ()) -> u64 {
        self.value
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// Accounts, between which money is moved and never made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    accounts: BTreeMap<String, u64>,
    /// What was ever paid in.
    paid_in: u64,
}

/// What a ledger is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Booking {
    /// Pays in; the output is the new balance.
    Deposit {
        /// To which account.
        account: String,
        /// How much.
        cents: u64,
    },
    /// Moves money, if there is enough.
    Transfer {
        /// From which account.
        from: String,
        /// To which account.
        to: String,
        /// How much.
        cents: u64,
    },
    /// Panics.
    Break,
}

/// An account has less than was to be taken from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overdrawn {
    /// What it has.
    pub balance: u64,
}

impl Ledger {
    /// The sum of all accounts, which is what was paid in.
    ///
    /// # Panics
    /// When it is not.
    pub fn total(&self) -> u64 {
        let total = self.accounts.values().sum();
        assert_eq!(total, self.paid_in, "money was made or lost");
        total
    }
}

impl StateMachine for Ledger {
    type Command = Booking;
    type Output = Result<u64, Overdrawn>;
    type Query = String;
    type Answer = Option<u64>;
    type Snapshot = Self;

    fn apply(&mut self, _: &Ctx, booking: Booking) -> Result<u64, Overdrawn> {
        match booking {
            Booking::Deposit { account, cents } => {
                self.paid_in += cents;
                let balance = self.accounts.entry(account).or_default();
                *balance += cents;
                Ok(*balance)
            }
            Booking::Transfer { from, to, cents } => {
                let balance = self.accounts.get(&from).copied().unwrap_or(0);
                if balance < cents {
                    return Err(Overdrawn { balance });
                }
                self.accounts.insert(from, balance - cents);
                let balance = self.accounts.entry(to).or_default();
                *balance += cents;
                Ok(*balance)
            }
            Booking::Break => {
                self.accounts.clear();
                panic!("broken on purpose")
            }
        }
    }

    fn query(&self, account: String) -> Option<u64> {
        self.accounts.get(&account).copied()
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// Numbers under keys, and the log of everything that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    values: BTreeMap<u64, u64>,
    /// The unique number of every command that was applied, in order.
    applied: Vec<u64>,
    /// What the leader's clock and chance gave, folded: must be the same everywhere.
    context: u64,
}

/// What a register is asked to do; each command has a number of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Tells it from every other.
    pub id: u64,
    /// Which register.
    pub key: u64,
    /// What is added.
    pub add: u64,
}

impl Registers {
    /// The value of a register.
    pub fn get(&self, key: u64) -> u64 {
        self.values.get(&key).copied().unwrap_or(0)
    }

    /// The numbers of the commands that were applied, in order.
    pub fn applied(&self) -> &[u64] {
        &self.applied
    }

    /// What depends on clock and chance.
    pub fn context(&self) -> u64 {
        self.context
    }
}

impl StateMachine for Registers {
    type Command = Change;
    type Output = u64;
    type Query = u64;
    type Answer = u64;
    type Snapshot = Self;

    fn apply(&mut self, ctx: &Ctx, change: Change) -> u64 {
        use rand::Rng as _;
        self.applied.push(change.id);
        let millis = ctx.now().duration_since(std::time::UNIX_EPOCH);
        let millis = millis.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
        let chance = ctx.rng().next_u64();
        self.context = self.context.rotate_left(7) ^ millis ^ chance ^ ctx.index();
        let value = self.values.entry(change.key).or_default();
        *value += change.add;
        *value
    }

    fn query(&self, key: u64) -> u64 {
        self.get(key)
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// Shares a value between the tasks of a scenario.
pub type Held<T> = Arc<std::sync::Mutex<T>>;
