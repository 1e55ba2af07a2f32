use mosaik::collections::Map;

#[mosaik::replicated]
struct Store {
    prices: Map<u8, u8>,
}

async fn write(store: StoreWriter) {
    let mut kept = None;
    let _ = store
        .transaction(|tx| {
            kept = Some(tx);
            Some(())
        })
        .await;
}

fn main() {
    let _ = write;
}
