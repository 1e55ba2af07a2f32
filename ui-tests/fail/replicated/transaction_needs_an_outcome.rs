use mosaik::collections::Map;

#[mosaik::replicated]
struct Store {
    prices: Map<u8, u8>,
}

async fn write(store: StoreWriter) {
    let _ = store.transaction(|tx| tx.prices.insert(1, 1)).await;
}

fn main() {
    let _ = write;
}
