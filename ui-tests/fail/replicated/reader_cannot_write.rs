use mosaik::collections::Map;

#[mosaik::replicated]
struct Store {
    prices: Map<u8, u8>,
}

async fn write(store: StoreReader) {
    let _ = store.prices.insert(1, 1).await;
    let _ = store.transaction(|_| Some(())).await;
}

fn main() {
    let _ = write;
}
