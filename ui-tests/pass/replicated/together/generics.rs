//! Parameters, bounds, defaults and conditions; the bounds that the collections need are not said.

use mosaik::{
    Network,
    collections::{Key, Map, Value, Vec},
};

#[mosaik::replicated(name = "book")]
struct Book<K, V = u64, const N: usize = 3>
where
    Self: Sized,
    V: Clone,
{
    orders: Map<K, V>,
    last: Vec<[V; 1]>,
    others: Map<u8, std::vec::Vec<K>>,
}

/// The bounds may be said all the same.
#[mosaik::replicated]
struct Bounded<K: Key, V: Value> {
    orders: Map<K, V>,
}

async fn first<K: Key>(book: &BookWriter<K>, key: K) -> Result<Option<u64>, mosaik::GroupError> {
    let old = book.orders.insert(key.clone(), 7).await?;
    book.transaction(|book| {
        let found = book.orders.get(&key)?;
        book.others.insert(0, vec![key.clone()]);
        old.or(Some(found))
    })
    .await
}

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let network = Network::builder("ui-tests replicated generics").offline().build().await?;
    let book = Book::<String>::writer(&network);
    book.when().online().await;
    assert_eq!(first(&book, "a".into()).await?, Some(7));
    assert!(book.last.is_empty());
    let other = Book::<u64, String, 5>::reader(&network);
    assert_ne!(book.name(), other.name());
    assert!(book.name().starts_with("book<"));
    let bounded = Bounded::<u8, u8>::writer(&network);
    bounded.when().online().await;
    bounded.orders.insert(1, 2).await?;
    assert_eq!(bounded.view().orders.get(&1), Some(&2));
    Ok(())
}
