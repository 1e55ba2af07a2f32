//! A peer of the process tests: streams numbers, or counts them, until it is killed.
//!
//! `numbers produce|consume NETWORK KEY BOOTSTRAP FIRST`, with `-` for no key or bootstrap.

use mosaik::*;

/// A numbered datum.
#[mosaik::stream(name = "test.numbers", stall = "1s")]
struct Number {
    value: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [role, network, key, bootstrap, first] = args.as_slice() else {
        anyhow::bail!("five arguments, not {}", args.len());
    };
    let mut builder = mosaik_tests::loopback(network)
        .tags([role])
        .bootstrap((bootstrap != "-").then_some(bootstrap));
    if key != "-" {
        let byte: u8 = key.parse()?;
        builder = builder.secret_key(SecretKey::from_bytes([byte; 32]));
    }
    let network = builder.build().await?;
    println!("ticket {}", network.local().ticket());
    match role.as_str() {
        "produce" => {
            let producer = Number::producer(&network);
            for value in first.parse::<u64>()?.. {
                producer.send(Number { value }).await?;
            }
        }
        "consume" => {
            let mut numbers = Number::consumer(&network);
            while let Some(number) = numbers.next().await {
                if number.value % 10_000 == 0 {
                    println!("got {}", number.value);
                }
            }
        }
        other => anyhow::bail!("no role `{other}`"),
    }
    Ok(())
}
