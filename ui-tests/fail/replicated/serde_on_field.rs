use mosaik::collections::Map;

#[mosaik::replicated]
struct Store {
    #[serde(default)]
    prices: Map<u8, u8>,
}

fn main() {}
