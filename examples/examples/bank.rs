//! A bank that its processes keep together. In three terminals:
//!
//! ```text
//! cargo run -p mosaik-examples --example bank
//! ```
//!
//! Each waits until it has found the two others, and pays a cent a second into an account of its own from then on.
//! On one machine they find each other by themselves; between machines, give each the ticket that another printed.
//! Kill any one of them, and the other two go on; start it again, and it has everything that was ever paid in.
//! Kill two, and the third says what it waits for. A `-` stands for no ticket.
//!
//! A second argument is a directory to keep the log in, for each process its own; without one it is in memory. So
//! this goes on where it was, whatever is killed, all three at once included:
//!
//! ```text
//! cargo run -p mosaik-examples --example bank -- - target/bank-1
//! ```
//!
//! `RUST_LOG=info` shows what goes on underneath.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use mosaik::*;
use tracing_subscriber::EnvFilter;

/// An account has less than was to be taken from it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Overdrawn {
    /// What it has, in cents.
    pub has: u64,
}

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
    #[command]
    pub fn transfer(&mut self, from: String, to: String, cents: u64) -> Result<(), Overdrawn> {
        let has = self.accounts.get(&from).copied().unwrap_or(0);
        let left = has.checked_sub(cents).ok_or(Overdrawn { has })?;
        self.accounts.insert(from, left);
        self.deposit(to, cents);
        Ok(())
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    log.with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (ticket, dir) = (args.next().filter(|arg| arg != "-"), args.next());
    let mut builder = Network::builder("bank example").offline().bootstrap(ticket);
    if let Some(dir) = dir {
        builder = builder.data_dir(dir);
    }
    let network = builder.build().await?;
    println!("this is  {}", network.local().id());
    println!("ticket   {}", network.local().ticket());
    let bank = Bank::join(&network);
    tokio::select! {
        result = pay(&network, &bank) => result?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    network.shutdown().await;
    Ok(())
}

/// Pays in, and says what is there; while the group cannot, says what it waits for.
async fn pay(network: &Network, bank: &BankGroup) -> anyhow::Result<()> {
    let account = network.local().id().short().to_string();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        second.tick().await;
        if !bank.is_online() {
            println!("{}", bank.explain());
            bank.when().online().await;
        }
        match bank.deposit(account.clone(), 1).await {
            Ok(balance) => {
                let total = bank.local().total();
                let leader = bank.leader().map(|leader| leader.short().to_string());
                let leader = leader.unwrap_or_else(|| "nobody".into());
                println!("{account} has {balance} of {total} cents; {leader} leads");
            }
            // It is under way, and may not be sent anew.
            Err(GroupError::Timeout(pending)) => {
                let balance: u64 = pending.outcome().await.context("the last payment")?;
                println!("{account} has {balance} cents at last");
            }
            Err(GroupError::Unavailable(why)) => println!("not paid in: {why}"),
            Err(error) => return Err(error.into()),
        }
    }
}
