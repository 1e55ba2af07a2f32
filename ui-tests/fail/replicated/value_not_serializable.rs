use mosaik::collections::Map;

#[derive(Clone)]
struct Order;

#[mosaik::replicated]
struct Store {
    orders: Map<u8, Order>,
}

fn main() {}
