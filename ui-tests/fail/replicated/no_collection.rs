use std::collections::HashMap;

#[mosaik::replicated]
struct Store {
    prices: HashMap<u8, u8>,
}

fn main() {}
