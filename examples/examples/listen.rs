//! The other side of `introduction`: prints the first line that anybody sends, and ends.

use mosaik::*;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let network = Network::new("my-app".into()).await?;
    let mut lines = network.streams().consume::<String>();
    if let Some(line) = lines.next().await {
        println!("{line}");
    }
    Ok(())
}
