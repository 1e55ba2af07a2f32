use mosaik::collections::Map;

#[mosaik::replicated]
struct Store {
    prices: Map<u8, u8>,
    #[cfg(debug_assertions)]
    more: Map<u8, u8>,
}

fn main() {}
