use mosaik::collections::Map;

#[mosaik::replicated(derive(none))]
struct Store {
    prices: Map<u8, u8>,
}

fn main() {}
