//! What a crate of the edition 2021 declares: the attributes expand to what is right in that, too.

use mosaik::collections::{Cell, Counter, Lock, Map, PriorityQueue};
use serde::{Deserialize, Serialize};

/// What is told.
#[mosaik::stream]
#[derive(Debug, PartialEq)]
pub struct Tick(pub u64);

/// What is agreed on.
#[derive(Debug, Default)]
#[mosaik::group(founders = 1)]
pub struct Tally {
    count: u64,
}

#[mosaik::group]
impl Tally {
    /// Adds to it.
    #[command]
    pub fn add(&mut self, number: u64) -> u64 {
        self.count += number;
        self.count
    }

    /// What there is.
    #[query]
    pub fn total(&self) -> u64 {
        self.count
    }
}

/// What a book holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// How many.
    pub size: u32,
}

/// What is replicated.
#[mosaik::replicated(founders = 1)]
pub struct Book {
    /// By number.
    pub orders: Map<u64, Order>,
    /// By price.
    pub bids: PriorityQueue<u64, u64, Order>,
    /// Whether nobody may trade.
    pub halted: Cell<bool>,
    /// Orders there ever were.
    pub count: Counter,
    /// Who settles.
    pub settlement: Lock,
}

/// Prices, by whatever has one.
#[mosaik::replicated(founders = 1)]
pub struct PricesOf<K>(pub Map<K, u64>);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mosaik::Topic as _;

    use super::*;

    async fn network(name: &str) -> anyhow::Result<mosaik::Network> {
        let name = format!("edition 2021 {name} {}", std::process::id());
        Ok(mosaik::Network::builder(name).offline().build().await?)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_and_stores_run() -> anyhow::Result<()> {
        let network = network("stores").await?;
        let tally = Tally::join(&network);
        tally.when().online().await;
        assert_eq!((tally.add(2).await?, tally.total().await?), (2, 2));
        let book = Book::writer(&network);
        book.when().online().await;
        let guard = book.settlement.acquire(Duration::from_secs(60)).await?;
        let done = book.transaction(|book| {
            book.orders.insert(1, Order { size: 3 });
            book.count.add(1);
            book.settlement.is_held_by(guard.token()).then_some(())
        });
        assert_eq!(done.await?, Some(()));
        assert_eq!(book.view().orders.get(&1), Some(&Order { size: 3 }));
        let prices = PricesOf::<u64>::writer(&network);
        prices.when().online().await;
        // Futures of methods borrow nothing, which in this edition is not so by itself.
        let insert = {
            let prices = prices.clone();
            prices.insert(1, 2)
        };
        assert_eq!(insert.await?, None);
        network.shutdown().await;
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_flows() -> anyhow::Result<()> {
        let network = network("streams").await?;
        let producer = Tick::producer(&network);
        let mut consumer = Tick::consumer(&network);
        producer.when().subscribed().await;
        producer.send(Tick(7)).await?;
        assert_eq!(consumer.next().await, Some(Tick(7)));
        network.shutdown().await;
        Ok(())
    }
}
