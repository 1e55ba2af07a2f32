//! Models for the tests: a store of numbers, a lock, a bank.

use super::model::Model;

/// Numbers by key, 0 at first.
#[derive(Debug)]
pub(super) struct Store;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum StoreOp {
    Get(u8),
    Put(u8, u64),
    /// Key, old, new.
    CompareAndSet(u8, u64, u64),
    /// Answers the sum.
    Add(u8, u64),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum StoreRet {
    Done,
    Value(u64),
    Changed(bool),
}

impl Model for Store {
    type Op = StoreOp;
    type Ret = StoreRet;
    type Key = u8;
    type State = u64;

    fn key(&self, op: &StoreOp) -> u8 {
        match op {
            StoreOp::Get(key)
            | StoreOp::Put(key, _)
            | StoreOp::CompareAndSet(key, _, _)
            | StoreOp::Add(key, _) => *key,
        }
    }

    fn initial(&self, _: &u8) -> u64 {
        0
    }

    fn apply(&self, state: &mut u64, op: &StoreOp) -> StoreRet {
        match op {
            StoreOp::Get(_) => StoreRet::Value(*state),
            StoreOp::Put(_, value) => {
                *state = *value;
                StoreRet::Done
            }
            StoreOp::CompareAndSet(_, old, new) => {
                let changed = state == old;
                if changed {
                    *state = *new;
                }
                StoreRet::Changed(changed)
            }
            StoreOp::Add(_, amount) => {
                *state += amount;
                StoreRet::Value(*state)
            }
        }
    }

    fn is_read(&self, op: &StoreOp) -> bool {
        matches!(op, StoreOp::Get(_))
    }
}

/// A lock that one client holds at a time.
#[derive(Debug)]
pub(super) struct Lock;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum LockOp {
    Acquire(u64),
    Release(u64),
}

impl Model for Lock {
    type Op = LockOp;
    type Ret = bool;
    type Key = ();
    type State = Option<u64>;

    fn key(&self, _: &LockOp) {}

    fn initial(&self, (): &()) -> Option<u64> {
        None
    }

    fn apply(&self, holder: &mut Option<u64>, op: &LockOp) -> bool {
        let (from, to) = match op {
            LockOp::Acquire(client) => (None, Some(*client)),
            LockOp::Release(client) => (Some(*client), None),
        };
        let granted = *holder == from;
        if granted {
            *holder = to;
        }
        granted
    }
}

/// Three accounts with 10 each.
#[derive(Debug)]
pub(super) struct Bank;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum BankOp {
    /// From, to, amount; refused if there is less.
    Transfer(usize, usize, u64),
    Balances,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum BankRet {
    Moved(bool),
    Balances([u64; 3]),
}

impl Model for Bank {
    type Op = BankOp;
    type Ret = BankRet;
    type Key = ();
    type State = [u64; 3];

    fn key(&self, _: &BankOp) {}

    fn initial(&self, (): &()) -> [u64; 3] {
        [10; 3]
    }

    fn apply(&self, accounts: &mut [u64; 3], op: &BankOp) -> BankRet {
        match op {
            BankOp::Transfer(from, to, amount) => {
                let enough = accounts[*from] >= *amount;
                if enough {
                    accounts[*from] -= amount;
                    accounts[*to] += amount;
                }
                BankRet::Moved(enough)
            }
            BankOp::Balances => BankRet::Balances(*accounts),
        }
    }

    fn is_read(&self, op: &BankOp) -> bool {
        matches!(op, BankOp::Balances)
    }
}
