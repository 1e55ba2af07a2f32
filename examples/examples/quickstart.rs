//! Five nodes in one process: they find each other, and stream prices from two venues to three traders.
//!
//! Run it with `cargo run -p mosaik-examples --example quickstart`. It ends by itself.

use std::time::Instant;

use mosaik::*;

/// A price as a venue quotes it.
#[mosaik::stream(name = "quickstart.price", online_when = 3)]
struct Price {
    venue: String,
    symbol: String,
    cents: u64,
}

const PRICES: u64 = 10_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The first node. Nobody needs to know its address but the others, once, to find in.
    let first = node("venue", None).await?;
    println!("first node  {}", first.local().id());
    println!("its ticket  {}", first.local().ticket());

    let mut nodes = vec![first];
    for role in ["venue", "trader", "trader", "trader"] {
        let node = node(role, Some(nodes[0].local().addr())).await?;
        println!("joins       {} as {role}", node.local().id());
        nodes.push(node);
    }

    let started = Instant::now();
    let (venues, traders) = nodes.split_at(2);
    let mut consumers: Vec<_> = traders.iter().map(Price::consumer).collect();
    let producers: Vec<_> = venues.iter().map(Price::producer).collect();
    for producer in &producers {
        // Declared with `online_when = 3`: online once all three traders are connected.
        producer.when().online().await;
    }
    println!(
        "online      every trader is connected to both venues after {:?}",
        started.elapsed()
    );

    let started = Instant::now();
    for (number, producer) in producers.iter().enumerate() {
        let producer = producer.clone();
        tokio::spawn(async move {
            for cents in 0..PRICES {
                let price = Price {
                    venue: format!("venue {number}"),
                    symbol: "ETH".into(),
                    cents,
                };
                producer.send(price).await?;
            }
            producer.flush().await
        });
    }
    for (number, prices) in consumers.iter_mut().enumerate() {
        let mut next = [0; 2];
        while next != [PRICES; 2] {
            let price = prices.recv().await?;
            let venue = usize::from(price.venue == "venue 1");
            anyhow::ensure!(
                price.cents == next[venue],
                "prices of a venue come in order"
            );
            anyhow::ensure!(price.symbol == "ETH");
            next[venue] += 1;
        }
        println!("trader {number}    got {} prices, in order", 2 * PRICES);
    }
    println!(
        "streamed    {} datums in {:?}",
        6 * PRICES,
        started.elapsed()
    );

    println!("\nWhat a node says of itself:\n{}", traders[0].explain());
    for node in &nodes {
        node.shutdown().await;
    }
    Ok(())
}

async fn node(tag: &str, bootstrap: Option<PeerAddr>) -> anyhow::Result<Network> {
    let network = Network::builder("quickstart")
        .offline()
        .bind("127.0.0.1:0".parse()?)
        .tags([tag])
        .bootstrap(bootstrap)
        .build()
        .await?;
    Ok(network)
}
