//! The introduction's program: waits for one consumer and sends it a line. Start `listen` beside it.

#[expect(
    unused_imports,
    reason = "`send` is inherent, so the trait is not needed"
)]
use futures::SinkExt;
use mosaik::*;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let network_id: NetworkId = "my-app".into();
    let network = Network::new(network_id).await?;

    // The node is now online and discoverable
    println!("Node {} is online", network.local().id());

    // Create a typed producer (any serializable type works)
    let producer = network.streams().produce::<String>();

    // Wait for at least one consumer to connect
    producer.when().online().await;

    // Send data
    producer.send("hello, world".to_string()).await?;

    Ok(())
}
