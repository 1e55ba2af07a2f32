use mosaik::collections::Map;

#[mosaik::replicated]
enum Store {
    Prices(Map<u8, u8>),
}

fn main() {}
