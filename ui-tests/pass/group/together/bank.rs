//! The bank of the documentation, by one node alone.

use std::collections::BTreeMap;

use mosaik::*;

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Overdrawn;

#[mosaik::group(name = "bank", founders = 1, voters = 5)]
#[derive(Default)]
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

    #[command]
    pub fn transfer(
        &mut self,
        ctx: &Ctx,
        from: String,
        to: String,
        cents: u64,
    ) -> Result<(), Overdrawn> {
        assert!(ctx.index() > 0);
        let balance = self.accounts.get(&from).copied().unwrap_or(0);
        let left = balance.checked_sub(cents).ok_or(Overdrawn)?;
        self.accounts.insert(from, left);
        self.deposit(to, cents);
        Ok(())
    }

    #[query]
    pub fn balance(&self, account: &str) -> Option<u64> {
        self.accounts.get(account).copied()
    }

    #[query]
    fn total(&self) -> u64 {
        self.accounts.values().sum()
    }
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let network = Network::builder("ui-tests bank").offline().build().await?;
    let bank = Bank::join(&network);
    bank.when().online().await;
    let now = bank.deposit("alice".into(), 100).await?;
    assert_eq!(now, 100);
    let b = bank.balance("alice").await?;
    assert_eq!(b, Some(100));
    let b = bank.local().balance("alice");
    assert_eq!(b, Some(100));
    let (a, b) = bank.batch().deposit("a".into(), 1).deposit("b".into(), 2).await?;
    assert_eq!((a, b), (1, 2));
    let () = bank.batch().await?;
    let both = bank.deposit_many([("a".into(), 1), ("b".into(), 2)]).await?;
    assert_eq!(both, vec![2, 4]);
    let refused = bank.transfer("a".into(), "b".into(), 5).await?;
    assert_eq!(refused, Err(Overdrawn));
    let (done, sum) = bank.batch().transfer("a".into(), "b".into(), 2).deposit("a".into(), 7).await?;
    assert_eq!((done, sum), (Ok(()), 7));
    assert_eq!(bank.total().await?, 113);
    assert!(bank.is_leader() && bank.leader() == Some(network.local().id()));
    assert_eq!((bank.name(), bank.members().len()), ("bank", 1));
    bank.when().leader().await;
    bank.when().reaches(bank.version()).await;
    assert!(u64::from(bank.version()) > 0);
    let client = Bank::connect(&network);
    client.when().online().await;
    assert_eq!(client.deposit("alice".into(), 1).await?, 101);
    assert_eq!(client.balance("alice").await?, Some(101));
    let (a, b) = client.batch().deposit("a".into(), 1).deposit("b".into(), 2).await?;
    assert_eq!((a, b), (8, 8));
    assert_eq!(client.deposit_many([("a".into(), 1)]).await?, vec![9]);
    assert_eq!((client.total().await?, client.leader()), (118, bank.leader()));
    network.shutdown().await;
    Ok(())
}
