//! Prices between processes. In two terminals, or on two machines:
//!
//! ```text
//! cargo run -p mosaik-examples --example prices -- venue
//! cargo run -p mosaik-examples --example prices -- trader
//! ```
//!
//! On one machine they find each other by themselves. Between machines, give each the ticket that another
//! printed as a second argument: `… -- trader mosaik1…`. Start more of either, stop some with Ctrl-C, kill
//! some, and start them again: the others go on.

use std::time::Duration;

use mosaik::{streams::Event, *};

/// A price as a venue quotes it.
#[mosaik::stream(name = "prices.tick", stall = "2s")]
#[derive(Debug)]
struct Tick {
    number: u64,
    side: Side,
    cents: u64,
}

/// Which side of the book a price is on.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
enum Side {
    Bid,
    Ask,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let role = args.next().unwrap_or_default();
    let network = Network::builder("prices example")
        .offline()
        .tags([role.as_str()])
        .bootstrap(args.next())
        .build()
        .await?;
    println!("this is  {}", network.local().id());
    println!("ticket   {}", network.local().ticket());
    let work = async {
        match role.as_str() {
            "venue" => quote(&network).await,
            "trader" => watch(&network).await,
            _ => anyhow::bail!("say `venue` or `trader`, and perhaps a ticket"),
        }
    };
    tokio::select! {
        result = work => result?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    network.shutdown().await;
    Ok(())
}

/// Quotes ten prices a second to whoever listens.
async fn quote(network: &Network) -> anyhow::Result<()> {
    let ticks = Tick::producer(network);
    if !ticks.is_online() {
        println!("waiting for a trader");
    }
    let mut clock = tokio::time::interval(Duration::from_millis(100));
    for number in 0.. {
        clock.tick().await;
        let side = if number % 2 == 0 {
            Side::Bid
        } else {
            Side::Ask
        };
        let cents = 10_000 + number * 7 % 100;
        ticks
            .send(Tick {
                number,
                side,
                cents,
            })
            .await?;
        if number % 20 == 0 {
            println!("quoted {number} to {} trader(s)", ticks.consumers().len());
        }
    }
    Ok(())
}

/// Prints what comes, from every venue there is.
async fn watch(network: &Network) -> anyhow::Result<()> {
    let mut ticks = Tick::consumer(network);
    while let Some(event) = ticks.next_event().await {
        match event {
            Event::Datum(tick) => println!("{tick:?}"),
            Event::Joined(venue) => println!("venue {} is here", venue.short()),
            Event::Left(venue) => println!("venue {} is gone", venue.short()),
            Event::Lagged { producer, missed } => {
                println!("missed {missed} of venue {}", producer.short());
            }
            _ => {}
        }
    }
    Ok(())
}
