//! The documented exchange: several collections in one store.

use anyhow::Result;
use futures::StreamExt as _;
use mosaik::collections::{Cell, Map, MapChange, Once, PriorityQueue, Set, Vec};
use mosaik_tests::{node, unique, within};
use serde::{Deserialize, Serialize};

type OrderId = u64;
type Cents = u64;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    cents: Cents,
}

impl Order {
    fn fill(self) -> Trade {
        Trade { cents: self.cents }
    }
}

/// What was had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trade {
    cents: Cents,
}

/// An exchange.
#[mosaik::replicated(name = "exchange", founders = 3)]
struct Exchange {
    /// All orders that are open.
    pub orders: Map<OrderId, Order>,
    pub bids: PriorityQueue<Cents, OrderId, Order>,
    pub trades: Vec<Trade>,
    pub halted: Cell<bool>,
    pub venues: Set<String>,
    pub genesis: Once<String>,
}

/// The program of the documentation.
async fn documented(x: ExchangeWriter, r: ExchangeReader) -> Result<()> {
    let (id, order, new) = (7, Order { cents: 10 }, Order { cents: 11 });
    x.when().online().await;
    let old = x.orders.insert(id, order.clone()).await?;
    assert_eq!(old, None);
    assert_eq!(x.orders.get(&id), Some(order.clone()));
    assert_eq!(
        x.orders.iter().collect::<std::vec::Vec<_>>(),
        [(id, order.clone())]
    );
    assert_eq!(x.trades.len(), 0);
    x.transaction(|tx| {
        let o = tx.orders.remove(&id)?;
        tx.trades.push_back(o.fill());
        Some(())
    })
    .await?;
    let current = x.orders.get(&id);
    assert_eq!(current, None);
    let exchanged = x.orders.compare_exchange(id, current, Some(new)).await?;
    assert_eq!(exchanged, Ok(None));
    r.when().reaches(x.version()).await;
    assert_eq!(r.trades.get(0), Some(order.fill()));
    let mut changes = r.orders.changes();
    let (version, change) = changes.next().await.expect("a beginning");
    let MapChange::Reset(view) = change else {
        panic!("{change:?}");
    };
    assert!(version <= r.version() && view.len() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_exchange_works() -> Result<()> {
    let name = unique("exchange");
    let networks = crate::three(&name).await;
    let [x, two, three] = networks.each_ref().map(Exchange::writer);
    let reading = node(&name, &[&networks[0]]).await;
    let r = Exchange::reader(&reading);
    within(documented(x.clone(), r.clone())).await?;

    // Every collection, from every node, in one log.
    within(two.bids.insert(5, 1, Order { cents: 5 })).await?;
    within(three.halted.set(true)).await?;
    within(two.venues.insert("here".into())).await?;
    assert_eq!(within(three.genesis.set("block 0".into())).await?, Ok(()));
    let version = three.version();
    within(r.when().reaches(version)).await;
    assert_eq!(r.bids.peek_max().map(|bid| bid.1), Some(1));
    assert_eq!(
        (r.halted.get(), r.venues.contains(&"here".into())),
        (Some(true), true)
    );
    assert_eq!(within(r.genesis.wait()).await?, "block 0");

    // All of one moment.
    let view = r.view();
    within(x.transaction(|x| {
        x.bids.pop_max()?;
        x.halted.set(false);
        Some(())
    }))
    .await?;
    within(r.refresh()).await?;
    assert_eq!((view.bids.len(), view.halted.get()), (1, Some(&true)));
    assert!(view.version() >= version && view.version() < r.view().version());
    assert_eq!((r.bids.len(), r.halted.get()), (0, Some(false)));
    assert_eq!(r.name(), "exchange");
    Ok(())
}
