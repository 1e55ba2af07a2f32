//! Parameters, bounds and conditions, on the state and on its methods.

use std::collections::BTreeMap;

use mosaik::{Network, groups::DeclaredGroup};

trait Token {}
impl Token for u64 {}

/// A default that the methods rely on, a bound on `Self`, and names that the expansion might have taken.
#[mosaik::group]
#[derive(Default)]
struct Calc<Outputs, const N: usize = 3>
where
    Self: Sized,
{
    last: Option<Outputs>,
    seen: Operation,
}

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
struct Operation {
    count: u64,
}

#[mosaik::group]
impl<Outputs> Calc<Outputs>
where
    Self: Sync,
    Outputs: Clone,
{
    #[command]
    fn run(&mut self, operation: Operation, outputs: Outputs) -> (Operation, Outputs) {
        self.seen = operation.clone();
        self.last = Some(outputs.clone());
        (operation, outputs)
    }

    #[query]
    fn last(&self) -> Option<Outputs> {
        self.last.clone()
    }
}

#[mosaik::group(name = "store")]
#[derive(Default)]
struct Store<T, const N: usize = 2>
where
    T: Clone,
{
    items: BTreeMap<String, T>,
}

#[mosaik::group]
impl<T, const N: usize> Store<T, N>
where
    T: Clone + Token,
{
    #[command]
    fn put(&mut self, name: String, item: T) -> Option<T> {
        if self.items.len() < N { self.items.insert(name, item) } else { Some(item) }
    }

    #[command]
    fn clear(&mut self) {
        self.items.clear();
    }

    #[query]
    fn find(&self, name: &str) -> Option<T> {
        self.items.get(name).cloned()
    }

    #[query]
    fn has(&self, item: &T) -> bool
    {
        let _ = item;
        !self.items.is_empty()
    }
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    assert_eq!(Store::<u64>::declaration().name, "store<u64>");
    assert!(here!().is_empty(), "instances register on first use");
    let network = Network::builder("ui-tests generics").offline().build().await?;
    let store = Store::<u64, 1>::join(&network);
    store.when().online().await;
    assert_eq!(store.put("a".into(), 1).await?, None);
    assert_eq!(store.put("b".into(), 2).await?, Some(2));
    assert_eq!(store.find("a").await?, Some(1));
    assert!(store.has(&1).await? && store.local().has(&7));
    let ((), none, many) = store.batch().clear().put("c".into(), 3).put("d".into(), 4).await?;
    assert_eq!(((), none, many), ((), None, Some(4)));
    assert_eq!(store.local().find("c"), Some(3));
    let client: StoreClient<u64, 1> = Store::connect(&network);
    assert_eq!(client.find("c").await?, Some(3));
    let ((), none) = client.batch().clear().put("e".into(), 5).await?;
    assert_eq!(((), none), ((), None));
    assert!(client.has(&5).await?);
    assert_eq!(here!().len(), 1);
    let calc: CalcGroup<u64> = Calc::join(&network);
    calc.when().online().await;
    let operation = Operation { count: 7 };
    let (pair,) = calc.batch().run(operation.clone(), 9).await?;
    assert_eq!(pair, (operation, 9));
    assert_eq!(calc.local().last(), Some(9));
    network.shutdown().await;
    Ok(())
}
