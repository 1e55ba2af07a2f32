//! Enums with variants of every kind, nested and recursive.

use mosaik::declare::Declared;
use serde::{Deserialize, Serialize};

#[mosaik::stream]
#[derive(Debug)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
enum Order {
    Cancelled,
    Filled(u64),
    Split(Box<Order>, Box<Order>),
    Placed { side: Side, limit: Option<u64> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Side {
    Buy,
    Sell,
}

pub fn main() {
    let _ = [Side::Buy, Side::Sell];
    let decl = Order::declaration();
    let schema = decl.schema.resolve(decl.name).unwrap();
    assert_eq!(
        schema.to_string(),
        "enum Order { cancelled, filled(u64), split(Order, Order), \
         placed { side: Side, limit: Option<u64> } }; enum Side { Buy, Sell }"
    );
}
