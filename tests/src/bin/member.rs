//! A member of the process tests: replicates a counter and a ledger, and does what it is told until it is killed.
//!
//! `member NETWORK DIR FOUNDERS BOOTSTRAP…`, with `-` as DIR for a volatile member. It reads lines: `add N`,
//! `deposit ACCOUNT CENTS`, `transfer FROM TO CENTS`, `break`, `count`, `balance ACCOUNT`, `total`, `leader`,
//! `explain`, `load N` (as many increments, many at a time), `stop`.

use mosaik::{Group, PeerId};
use mosaik_tests::machines::{Booking, Counter, Ledger};
use tokio::io::{AsyncBufReadExt as _, BufReader};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [network, dir, founders, bootstrap @ ..] = args.as_slice() else {
        anyhow::bail!("at least three arguments, not {}", args.len());
    };
    let mut builder = mosaik_tests::loopback(network)
        .founders(founders.parse()?)
        .bootstrap(bootstrap);
    if dir != "-" {
        builder = builder.data_dir(dir);
    }
    let network = builder.build().await?;
    println!("ticket {}", network.local().ticket());
    let counter: Group<Counter> = network.groups().join("counter");
    let ledger: Group<Ledger> = network.groups().join("ledger");
    counter.when().online().await;
    ledger.when().online().await;
    println!("online {}", network.local().id());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["stop"] => break,
            ["add", amount] => match counter.execute(amount.parse()?).await {
                Ok(value) => println!("counted {value}"),
                Err(error) => println!("error {error}"),
            },
            ["load", count] => load(&counter, count.parse()?).await?,
            ["count"] => match counter.query(()).await {
                Ok(value) => println!("count {value}"),
                Err(error) => println!("error {error}"),
            },
            ["balance", account] => match ledger.query((*account).to_owned()).await {
                Ok(balance) => println!("balance {balance:?}"),
                Err(error) => println!("error {error}"),
            },
            ["total"] => match ledger.read(Ledger::total).await {
                Ok(total) => println!("total {total}"),
                Err(error) => println!("error {error}"),
            },
            ["leader"] => println!(
                "leader {:?}",
                counter.leader().map(|leader| leader.to_string())
            ),
            ["lead", peer] => {
                let peer: PeerId = peer.parse()?;
                println!("led {:?}", counter.transfer_leadership(peer).await);
            }
            ["explain"] => println!("{}", network.explain().to_string().replace('\n', " | ")),
            other => book(&ledger, other).await?,
        }
    }
    network.shutdown().await;
    println!("stopped");
    Ok(())
}

async fn book(ledger: &Group<Ledger>, words: &[&str]) -> anyhow::Result<()> {
    let booking = match words {
        ["deposit", account, cents] => Booking::Deposit {
            account: (*account).to_owned(),
            cents: cents.parse()?,
        },
        ["transfer", from, to, cents] => Booking::Transfer {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            cents: cents.parse()?,
        },
        ["break"] => Booking::Break,
        other => anyhow::bail!("no command {other:?}"),
    };
    match ledger.execute(booking).await {
        Ok(Ok(balance)) => println!("booked {balance}"),
        Ok(Err(overdrawn)) => println!("overdrawn {}", overdrawn.balance),
        Err(error) => println!("error {error}"),
    }
    Ok(())
}

/// Increments the counter `count` times, up to 64 at a time, and prints every tenth that is acknowledged.
async fn load(counter: &Group<Counter>, count: u64) -> anyhow::Result<()> {
    use futures::StreamExt as _;
    let increments = futures::stream::iter(0..count).map(|_| counter.execute(1));
    let mut increments = increments.buffer_unordered(64);
    let mut acknowledged = 0;
    while let Some(result) = increments.next().await {
        result?;
        acknowledged += 1;
        if acknowledged % 10 == 0 {
            println!("acknowledged {acknowledged}");
        }
    }
    println!("loaded {acknowledged}");
    Ok(())
}
