use mosaik::collections::Map;

#[mosaik::replicated]
struct Store<'a> {
    prices: Map<&'a str, u8>,
}

fn main() {}
