use mosaik::collections::Map;

#[mosaik::replicated(voters = 4, name = "")]
struct Store {
    #[serde(skip)]
    prices: Map<u8, u8>,
    __more: Map<u8, u8>,
}

fn main() {}
