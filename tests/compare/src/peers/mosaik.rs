//! mosaik: a node in this process, and a group that keeps accounts.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use mosaik::{Network, groups::Durability};

use super::{
    Member, System,
    member::{ACCOUNT, AMOUNT},
};
use crate::seat::Seat;

/// What each account holds.
#[mosaik::group(name = "accounts", founders = 3)]
#[derive(Default)]
struct Accounts {
    balances: BTreeMap<String, u64>,
}

#[mosaik::group]
impl Accounts {
    /// Pays in; the answer is the new balance.
    #[command]
    fn pay_in(&mut self, account: String, amount: u64) -> u64 {
        let balance = self.balances.entry(account).or_default();
        *balance += amount;
        *balance
    }

    /// What an account holds.
    #[query]
    fn balance(&self, account: &str) -> u64 {
        self.balances.get(account).copied().unwrap_or_default()
    }
}

/// A member of the group.
#[derive(Debug)]
pub(crate) struct Mosaik {
    accounts: AccountsGroup,
    /// Lives as long as the member.
    _network: Network,
}

impl Mosaik {
    /// Joins the group; the members find each other in a directory of the cluster.
    pub(crate) async fn start(seat: &Seat) -> anyhow::Result<Self> {
        let name = seat.dir.to_string_lossy();
        let mut builder = Network::builder(name.as_ref())
            .offline()
            .bind(([127, 0, 0, 1], 0).into())
            .rendezvous_dir(seat.dir.join("rendezvous"));
        let durable = match seat.system {
            System::Mosaik => Durability::Required,
            System::InMemory => Durability::Volatile,
            other => bail!("{} is not mosaik", other.name()),
        };
        if durable == Durability::Required {
            builder = builder.data_dir(seat.own_dir());
        }
        let network = builder.build().await.context("no node")?;
        let group = Accounts::group_builder(&network).durable(durable).join();
        group.when().online().await;
        Ok(Self {
            accounts: group.into(),
            _network: network,
        })
    }
}

impl Member for Mosaik {
    async fn write(&self) -> anyhow::Result<()> {
        self.accounts.pay_in(ACCOUNT.to_owned(), AMOUNT).await?;
        Ok(())
    }

    async fn read(&self) -> anyhow::Result<u64> {
        Ok(self.accounts.balance(ACCOUNT).await?)
    }

    async fn leads(&self) -> anyhow::Result<bool> {
        Ok(self.accounts.is_leader())
    }
}
