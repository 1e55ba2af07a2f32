use mosaik::collections::Map;

#[mosaik::replicated(founders = 10)]
struct Store {
    prices: Map<u8, u8>,
}

fn main() {}
