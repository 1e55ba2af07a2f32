//! Several collections, as the documentation shows them.

use mosaik::{
    Network,
    collections::{Cell, Map, Once, PriorityQueue, Set, SortedMap, Vec},
};

/// An order.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Order {
    cents: u64,
}

/// An exchange.
#[mosaik::replicated(name = "exchange")]
pub struct Exchange {
    /// All orders that are open.
    pub orders: Map<u64, Order>,
    /// Those that want to buy.
    pub bids: PriorityQueue<u64, u64, Order>,
    pub(crate) trades: Vec<Order>,
    pub halted: Cell<bool>,
    venues: Set<String>,
    pub genesis: Once<String>,
    pub prices: SortedMap<u64, u64>,
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let network = Network::builder("ui-tests exchange").offline().build().await?;
    let x: ExchangeWriter = Exchange::writer(&network);
    let r: ExchangeReader = Exchange::reader(&network);
    x.when().online().await;
    assert_eq!(x.name(), "exchange");
    let order = Order { cents: 10 };
    assert_eq!(x.orders.insert(1, order.clone()).await?, None);
    x.venues.insert("here".into()).await?;
    let taken = x
        .transaction(|tx: &mut ExchangeTransaction| {
            let order = tx.orders.remove(&1)?;
            tx.trades.push_back(order.clone());
            tx.prices.insert(1, order.cents);
            Some(order)
        })
        .await?;
    assert_eq!(taken, Some(order.clone()));
    let none = x.transaction(|tx| tx.orders.remove(&1).ok_or("gone")).await?;
    assert_eq!(none, None);
    let view: ExchangeView = x.view();
    assert_eq!((view.orders.len(), view.trades.get(0)), (0, Some(&order)));
    assert_eq!(view.version(), r.version());
    assert_eq!(r.clone().prices.get(&1), Some(10));
    let spawned = tokio::spawn({
        let x = x.clone();
        async move { x.transaction(|tx| Some(tx.venues.contains(&"here".into()))).await }
    });
    assert_eq!(spawned.await??, Some(true));
    let declared = here!();
    assert_eq!((declared[0].kind(), declared[0].name()), ("store", "exchange"));
    println!("{x:?} {r:?} {view:?}");
    Ok(())
}
