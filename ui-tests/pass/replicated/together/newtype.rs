//! One collection with a name, which is that of the collection by itself.

use mosaik::{
    Network,
    collections::{Map, MapReader, MapWriter, Set},
};

/// Prices, by symbol.
#[mosaik::replicated(name = "prices")]
struct Prices(Map<String, u64>);

#[mosaik::replicated]
pub struct Seen<T>(pub Set<T>);

#[tokio::main]
pub async fn main() -> anyhow::Result<()> {
    let network = Network::builder("ui-tests newtype").offline().build().await?;
    let prices: MapWriter<String, u64> = Prices::writer(&network);
    let reader: MapReader<String, u64> = Prices::reader(&network);
    prices.when().online().await;
    prices.insert("ETH".into(), 4).await?;
    assert_eq!(reader.get(&"ETH".into()), Some(4));
    assert_eq!(prices.name(), "prices");
    let seen = Seen::<u64>::builder(&network).founders(1).writer();
    seen.when().online().await;
    assert!(seen.insert(1).await?);
    assert!(seen.name().ends_with("/Seen<u64>"), "{}", seen.name());
    Ok(())
}
