//! The documented programs, as they are written in the documentation.

use anyhow::Result;
use mosaik::{declare::Declaration, *};
use mosaik_tests::{loopback, unique, within};

/// A price tick.
#[mosaik::stream]
#[derive(Debug)]
pub struct Price {
    /// What is traded.
    pub symbol: String,
    /// For how much.
    pub cents: u64,
}

/// A tick of an oracle.
#[mosaik::stream(
    name = "oracle.price",
    capacity = 4096,
    lag = block,
    stall = "5s",
    max_consumers = 8,
    online_when = 2,
)]
#[derive(Debug)]
pub struct Tick {
    /// What is traded.
    pub symbol: String,
    /// For how much.
    pub cents: u64,
}

#[tokio::test]
async fn a_declared_topic_is_found_by_its_type() -> Result<()> {
    let name = unique("api");
    let network = loopback(&name).build().await?;
    let other = loopback(&name)
        .bootstrap([network.local().addr()])
        .tags(["trusted"])
        .build()
        .await?;
    let producer = Price::producer(&network);
    let mut prices = other.streams().consume::<Price>();
    within(producer.when().online()).await;
    let price = Price {
        symbol: "ETH".into(),
        cents: 123,
    };
    producer.send(price.clone()).await?;
    producer.try_send(price)?;
    for _ in 0..2 {
        let got = within(prices.next()).await.unwrap();
        assert_eq!((got.symbol.as_str(), got.cents), ("ETH", 123));
    }
    within(producer.when().subscribed().at_least(1).with_tag("trusted")).await;
    assert_eq!(producer.topic(), "mosaik-tests/Price");
    Ok(())
}

#[tokio::test]
async fn the_options_of_a_declaration_count() -> Result<()> {
    let name = unique("api options");
    let network = loopback(&name).build().await?;
    let producer = Tick::producer(&network);
    let mut first = Tick::consumer(&network);
    within(producer.when().subscribed()).await;
    assert!(producer.when().offline().holds(), "one of two consumers");
    let mut second = Tick::consumer_builder(&network).build();
    within(producer.when().online()).await;
    let tick = Tick {
        symbol: "BTC".into(),
        cents: 1,
    };
    producer.send(tick).await?;
    assert_eq!(within(first.recv()).await?.cents, 1);
    assert_eq!(within(second.recv()).await?.cents, 1);
    Ok(())
}

#[test]
fn a_binary_lists_what_it_declares() {
    let declared = declarations();
    let tick = declared.iter().find_map(|decl| match decl {
        Declaration::Topic(topic) if topic.name == "oracle.price" => Some(topic),
        _ => None,
    });
    let tick = tick.expect("a declaration");
    assert_eq!(
        (tick.options.capacity, tick.options.max_consumers),
        (4096, 8)
    );
    assert!(tick.type_name.ends_with("Tick"));
    assert!(tick.location.file.ends_with("api.rs"));
}
