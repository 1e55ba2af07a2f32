//! A member of the upgrade tests: the bank with a command and a query more.

use std::{collections::BTreeMap, time::Duration};

use mosaik::{Network, groups::GroupError};
use mosaik_tests::upgrade::{Version, run};

/// Accounts, in cents.
#[mosaik::group(name = "upgraded bank", founders = 3, voters = 3)]
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

    /// Takes from an account what there is, if it is not more than that; returns what is left.
    #[command]
    pub fn withdraw(&mut self, account: String, cents: u64) -> u64 {
        let balance = self.accounts.entry(account).or_default();
        *balance = balance.saturating_sub(cents);
        *balance
    }

    /// What an account has.
    #[query]
    pub fn balance(&self, account: &str) -> Option<u64> {
        self.accounts.get(account).copied()
    }

    /// What all accounts have together.
    #[query]
    pub fn total(&self) -> u64 {
        self.accounts.values().sum()
    }
}

impl Version for BankGroup {
    type State = Bank;

    fn join(network: &Network, patience: Duration) -> Self {
        let builder = Bank::group_builder(network);
        builder.command_timeout(patience).join().into()
    }

    async fn deposit(&self, account: String) -> Result<u64, GroupError> {
        Self::deposit(self, account, 1).await
    }

    async fn balance(&self, account: String) -> Result<Option<u64>, GroupError> {
        Self::balance(self, &account).await
    }

    async fn special(&self) -> Result<u64, GroupError> {
        // One, of what everybody has together.
        self.withdraw("load".into(), 1).await?;
        self.total().await
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run::<BankGroup>().await
}
