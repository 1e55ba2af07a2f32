//! A member that may not take part gets a handle that says why.

use mosaik::{GroupError, Network};

#[mosaik::group(durable = required, command_timeout = "2s")]
#[derive(Default)]
struct Branch {
    total: u64,
}

#[mosaik::group]
impl Branch {
    #[command]
    fn add(&mut self, cents: u64) -> u64 {
        self.total += cents;
        self.total
    }

    #[query]
    fn total(&self) -> u64 {
        self.total
    }
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let network = Network::builder("ui-tests refused").offline().build().await?;
    let bank = Branch::join(&network);
    let why = bank.when().closed().await;
    assert!(why.contains("no data directory"), "{why}");
    assert!(matches!(bank.add(1).await, Err(GroupError::Refused(_))));
    assert!(matches!(bank.add_many([1]).await, Err(GroupError::Refused(_))));
    assert!(matches!(bank.batch().add(1).await, Err(GroupError::Refused(_))));
    assert!(matches!(bank.total().await, Err(GroupError::Refused(_))));
    assert_eq!(bank.local().total(), 0);
    network.shutdown().await;
    Ok(())
}
