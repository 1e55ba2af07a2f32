use mosaik::collections::Map;

#[mosaik::replicated]
struct Store {
    __prices: Map<u8, u8>,
}

fn main() {}
