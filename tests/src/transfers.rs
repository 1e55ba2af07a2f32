//! Money that is moved between accounts by transactions, and the check that they were strictly serializable.
//!
//! Each transfer writes down what it has read, in a list that is a part of the same store. So the order in which
//! transfers took effect is known, and everything can be checked along it: that each has read what those before it
//! left, that none is missing or stands there twice, and that none took effect before it was asked for, or after one
//! that began when it was done. Reads say how long the list was.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use mosaik::{
    GroupError,
    collections::{Map, Vec as List},
};
use serde::{Deserialize, Serialize};

/// Accounts there are.
pub const ACCOUNTS: u64 = 6;
/// What is in each at first.
pub const EACH: u64 = 100;

/// Accounts, and what was moved between them.
#[mosaik::replicated(name = "transfers", founders = 3)]
pub struct Bank {
    /// What is in each account; `EACH` where nothing is said.
    pub accounts: Map<u64, u64>,
    /// All transfers, in their order.
    pub moved: List<Transfer>,
}

/// A transfer that took effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Whose it is.
    pub id: u64,
    /// From where.
    pub from: u64,
    /// Where to.
    pub to: u64,
    /// How much.
    pub cents: u64,
    /// What was in both accounts.
    pub before: (u64, u64),
}

impl BankTransaction {
    /// What is in an account.
    fn balance(&self, account: u64) -> u64 {
        self.accounts.get(&account).unwrap_or(EACH)
    }

    /// Moves money, if there is enough.
    ///
    /// # Errors
    /// What is there, if that is not enough.
    pub fn transfer(&mut self, id: u64, from: u64, to: u64, cents: u64) -> Result<(), Saw> {
        let before = (self.balance(from), self.balance(to));
        let Some(rest) = before.0.checked_sub(cents) else {
            return Err(Saw {
                len: self.moved.len(),
                balances: BTreeMap::from([(from, before.0)]),
            });
        };
        self.accounts.insert(from, rest);
        self.accounts.insert(to, before.1 + cents);
        self.moved.push_back(Transfer {
            id,
            from,
            to,
            cents,
            before,
        });
        Ok(())
    }

    /// Looks at everything.
    pub fn look(&self) -> Saw {
        Saw {
            len: self.moved.len(),
            balances: (0..ACCOUNTS)
                .map(|account| (account, self.balance(account)))
                .collect(),
        }
    }
}

impl BankWriter {
    /// Moves money, and says what became of it.
    pub async fn try_transfer(&self, id: u64, from: u64, to: u64, cents: u64) -> Fate {
        let mut refused = None;
        let done = self.transaction(|bank| {
            let done = bank.transfer(id, from, to, cents);
            refused = done.clone().err();
            done
        });
        match (done.await, refused) {
            (Ok(Some(())), _) => Fate::Moved(id),
            (Ok(None), Some(saw)) => Fate::Refused(id, saw),
            (Err(GroupError::Unavailable(_) | GroupError::Busy | GroupError::Contended), _) => {
                Fate::Failed(id)
            }
            _ => Fate::Unknown(id),
        }
    }

    /// Looks at everything, and says what was seen.
    pub async fn try_look(&self, id: u64) -> Fate {
        let saw = self.transaction(|bank| Some(bank.look()));
        match saw.await {
            Ok(Some(saw)) => Fate::Saw(saw),
            _ => Fate::Failed(id),
        }
    }
}

impl BankView {
    /// The accounts that something is said of, in their order.
    pub fn entries(&self) -> Vec<(u64, u64)> {
        let entries = self.accounts.ascending();
        entries.map(|(key, value)| (*key, *value)).collect()
    }

    /// What is there altogether: it never changes.
    pub fn sum(&self) -> u64 {
        let balance = |account| self.accounts.get(&account).copied().unwrap_or(EACH);
        (0..ACCOUNTS).map(balance).sum()
    }
}

/// What a transaction saw that wrote nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saw {
    /// How many transfers there were.
    pub len: usize,
    /// What was in accounts.
    pub balances: BTreeMap<u64, u64>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// The transfer of this number took effect.
    Moved(u64),
    /// What became of the transfer of this number is not known.
    Unknown(u64),
    /// The transfer of this number did not take effect, as something went wrong.
    Failed(u64),
    /// The transfer of this number was not made, for what it saw.
    Refused(u64, Saw),
    /// This was seen.
    Saw(Saw),
}

/// A call: when it was made, when it returned, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// When it was made.
    pub invoked: u64,
    /// When it returned.
    pub completed: u64,
    /// What became of it.
    pub fate: Fate,
}

/// Why transfers were not strictly serializable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(Violation(format!($($why)+)));
        }
    };
}

/// Checks calls against the list of transfers that they left. Calls that never returned are listed as
/// [`Fate::Unknown`], with the greatest time there is.
///
/// # Errors
/// What is wrong, with the first that is.
pub fn check(calls: &[Call], moved: &[Transfer]) -> Result<(), Violation> {
    let states = replay(moved)?;
    let places: BTreeMap<u64, usize> = moved.iter().map(|each| each.id).zip(0..).collect();
    let mut known = BTreeSet::new();
    // When the transfer at each place was asked for, and when it was known to have taken effect.
    let mut times = vec![(0, u64::MAX); moved.len()];
    for call in calls {
        let (id, is_there) = match call.fate {
            Fate::Moved(id) => (id, Some(true)),
            Fate::Unknown(id) => (id, None),
            Fate::Failed(id) | Fate::Refused(id, _) => (id, Some(false)),
            Fate::Saw(_) => continue,
        };
        known.insert(id);
        let place = places.get(&id);
        ensure!(
            is_there.is_none_or(|is_there| is_there == place.is_some()),
            "{call:?}, but it is at {place:?}"
        );
        if let Some(place) = place {
            let completed = if is_there.is_some() {
                call.completed
            } else {
                u64::MAX
            };
            times[*place] = (call.invoked, completed);
        }
    }
    let unknown = places.keys().find(|id| !known.contains(id));
    ensure!(unknown.is_none(), "nobody asked for {unknown:?}");
    for call in calls {
        if let Fate::Saw(saw) | Fate::Refused(_, saw) = &call.fate {
            // Whoever has seen a transfer knows that it has taken effect.
            for (_, completed) in times.iter_mut().take(saw.len) {
                *completed = call.completed.min(*completed);
            }
        }
    }
    check_order(&times)?;
    for call in calls {
        if let Fate::Saw(saw) | Fate::Refused(_, saw) = &call.fate {
            check_seen(call, saw, &states, &times)?;
        }
    }
    Ok(())
}

/// The balances before each transfer and after the last; each has read those that it says.
fn replay(moved: &[Transfer]) -> Result<Vec<BTreeMap<u64, u64>>, Violation> {
    let mut now: BTreeMap<u64, u64> = (0..ACCOUNTS).map(|account| (account, EACH)).collect();
    let mut states = vec![now.clone()];
    let mut ids = BTreeSet::new();
    for each in moved {
        ensure!(ids.insert(each.id), "{each:?} took effect twice");
        let before = (now[&each.from], now[&each.to]);
        ensure!(each.before == before, "{each:?} has not read {before:?}");
        let rest = each.before.0.checked_sub(each.cents);
        ensure!(rest.is_some(), "{each:?} has moved more than there was");
        now.insert(each.from, rest.unwrap_or(0));
        now.insert(each.to, before.1 + each.cents);
        states.push(now.clone());
    }
    Ok(states)
}

/// None stands behind one that was asked for after it was done.
fn check_order(times: &[(u64, u64)]) -> Result<(), Violation> {
    let mut latest = 0;
    for (place, (invoked, completed)) in times.iter().enumerate() {
        ensure!(
            *completed >= latest,
            "what is at {place} was done at {completed}, before one ahead of it was asked for"
        );
        latest = latest.max(*invoked);
    }
    Ok(())
}

/// What was seen was there, at a moment of the call.
fn check_seen(
    call: &Call,
    saw: &Saw,
    states: &[BTreeMap<u64, u64>],
    times: &[(u64, u64)],
) -> Result<(), Violation> {
    let state = states.get(saw.len);
    let is_there = |state: &BTreeMap<u64, u64>| {
        saw.balances
            .iter()
            .all(|(account, balance)| state.get(account) == Some(balance))
    };
    ensure!(
        state.is_some_and(is_there),
        "{call:?} has seen what never was: {state:?}"
    );
    let (before, after) = times.split_at(saw.len);
    let early = before.iter().find(|(invoked, _)| *invoked > call.completed);
    ensure!(
        early.is_none(),
        "{call:?} has seen what was asked for later: {early:?}"
    );
    let missed = after
        .iter()
        .find(|(_, completed)| *completed < call.invoked);
    ensure!(
        missed.is_none(),
        "{call:?} has missed what was done before: {missed:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(invoked: u64, completed: u64, fate: Fate) -> Call {
        Call {
            invoked,
            completed,
            fate,
        }
    }

    fn transfer(id: u64, cents: u64, before: (u64, u64)) -> Transfer {
        Transfer {
            id,
            from: 0,
            to: 1,
            cents,
            before,
        }
    }

    fn saw(len: usize, balance: u64) -> Saw {
        Saw {
            len,
            balances: BTreeMap::from([(0, balance)]),
        }
    }

    #[test]
    fn what_is_right_passes_and_every_mistake_is_found() {
        let moved = [transfer(1, 60, (100, 100)), transfer(2, 30, (40, 160))];
        let first = call(1, 4, Fate::Moved(1));
        let second = call(3, 6, Fate::Moved(2));
        let refused = call(7, 8, Fate::Refused(3, saw(2, 10)));
        let read = call(2, 5, Fate::Saw(saw(1, 40)));
        let right = vec![first.clone(), second.clone(), refused, read];
        assert_eq!(check(&right, &moved), Ok(()));
        let lost_answer = [first.clone(), call(3, 3, Fate::Unknown(2))];
        assert_eq!(check(&lost_answer, &moved), Ok(()));
        assert_eq!(check(&lost_answer, &moved[..1]), Ok(()));

        let wrong = |calls: &[Call], moved: &[Transfer], why: &str| {
            let found = check(calls, moved).unwrap_err().to_string();
            assert!(found.contains(why), "{found}");
        };
        wrong(&right, &moved[..1], "but it is at None");
        wrong(&right[..1], &moved, "nobody asked");
        let twice = [moved[0].clone(), transfer(1, 10, (40, 160))];
        wrong(&right, &twice, "twice");
        wrong(
            &right,
            &[moved[0].clone(), transfer(2, 30, (100, 100))],
            "has not read",
        );
        wrong(
            &right,
            &[moved[0].clone(), transfer(2, 50, (40, 160))],
            "more than there was",
        );
        let failed = [first.clone(), call(3, 6, Fate::Failed(2))];
        wrong(&failed, &moved, "but it is at Some(1)");
        // The second was done before the first was asked for.
        let reversed = [call(5, 6, Fate::Moved(1)), call(1, 2, Fate::Moved(2))];
        wrong(&reversed, &moved, "before one ahead");
        let with = |fate, invoked, completed| {
            let mut calls = right.clone();
            calls.push(call(invoked, completed, fate));
            calls
        };
        wrong(&with(Fate::Saw(saw(1, 100)), 2, 5), &moved, "never was");
        wrong(&with(Fate::Saw(saw(3, 10)), 2, 9), &moved, "never was");
        wrong(&with(Fate::Saw(saw(0, 100)), 5, 6), &moved, "has missed");
        wrong(
            &with(Fate::Saw(saw(2, 10)), 1, 2),
            &moved,
            "asked for later",
        );
        wrong(
            &with(Fate::Refused(4, saw(1, 40)), 7, 8),
            &moved,
            "has missed",
        );

        // The second is under way all the while: seen by one, then not by another.
        let under_way = [
            first,
            call(2, 90, Fate::Moved(2)),
            call(10, 11, Fate::Saw(saw(2, 10))),
        ];
        assert_eq!(check(&under_way, &moved), Ok(()));
        let mut back = under_way.to_vec();
        back.push(call(12, 13, Fate::Saw(saw(1, 40))));
        wrong(&back, &moved, "has missed");
    }
}
