//! A bank, declared.

use std::collections::BTreeMap;

use mosaik::{Ctx, PeerId};

use crate::machines::Overdrawn;

/// Accounts, in cents.
#[mosaik::group(name = "bank", founders = 3)]
#[derive(Debug, Default)]
pub struct Bank {
    accounts: BTreeMap<String, u64>,
}

#[mosaik::group]
impl Bank {
    /// Adds to an account; returns the new balance.
    #[command]
    pub fn deposit(&mut self, account: String, cents: u64) -> u64 {
        let balance = self.accounts.entry(account).or_default();
        *balance += cents;
        *balance
    }

    /// Moves money between accounts, if there is enough.
    ///
    /// # Errors
    /// When there is not.
    #[command]
    pub fn transfer(&mut self, from: String, to: String, cents: u64) -> Result<(), Overdrawn> {
        let balance = self.accounts.get(&from).copied().unwrap_or(0);
        let left = balance.checked_sub(cents).ok_or(Overdrawn { balance })?;
        self.accounts.insert(from, left);
        self.deposit(to, cents);
        Ok(())
    }

    /// Who sent it.
    #[command]
    pub fn whoami(&mut self, ctx: &Ctx) -> PeerId {
        ctx.caller()
    }

    /// Panics, with all accounts gone.
    ///
    /// # Panics
    /// Always.
    #[command]
    pub fn fail(&mut self) {
        self.accounts.clear();
        panic!("broken on purpose")
    }

    /// What an account has.
    #[query]
    pub fn balance(&self, account: &str) -> Option<u64> {
        self.accounts.get(account).copied()
    }

    /// Whether an account has nothing.
    #[query]
    pub fn is_empty(&self, account: &str) -> bool {
        self.balance(account).unwrap_or(0) == 0
    }

    /// What all accounts have together.
    #[query]
    pub fn total(&self) -> u64 {
        self.accounts.values().sum()
    }
}
