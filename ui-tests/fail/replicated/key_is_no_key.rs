use mosaik::collections::Map;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Price(f64);

#[mosaik::replicated]
struct Store {
    by_price: Map<Price, u8>,
}

fn main() {}
