//! A peer of the schema test whose `Quote` holds a nested type with a `u32`: produces one.

use mosaik::*;

/// A quote with a nested type.
#[mosaik::stream(name = "test.quote")]
struct Quote {
    symbol: String,
    level: Level,
}

/// One price level.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Level {
    cents: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, network, bootstrap] = args.as_slice() else {
        anyhow::bail!("three arguments, not {}", args.len());
    };
    let network = mosaik_tests::loopback(network)
        .bootstrap((bootstrap != "-").then_some(bootstrap))
        .build()
        .await?;
    println!("ticket {}", network.local().ticket());
    let producer = (role == "produce").then(|| Quote::producer(&network));
    let consumer = (role == "consume").then(|| Quote::consumer(&network));
    // Says what it waits for, whenever that changes, until it is killed.
    let mut told = String::new();
    loop {
        let explained = network.explain().to_string();
        for line in explained
            .lines()
            .filter(|line| line.contains("differently"))
        {
            if !told.contains(line) {
                println!("{line}");
                told.push_str(line);
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        if let Some(producer) = &producer {
            let level = Level { cents: 1 };
            let symbol = "ETH".into();
            if producer.try_send(Quote { symbol, level }).is_ok() {
                println!("sent to a consumer that understands");
            }
        }
        if consumer.as_ref().is_some_and(Consumer::is_online) {
            println!("online");
        }
    }
}
