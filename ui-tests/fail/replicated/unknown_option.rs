use mosaik::collections::Map;

#[mosaik::replicated(capacity = 5)]
struct Store {
    prices: Map<u8, u8>,
}

fn main() {}
