//! Declared by a user's macro, with types that it is given.

use mosaik::collections::{Map, Vec};

macro_rules! store {
    ($(#[$attribute:meta])* $name:ident { $($field:ident: $ty:ty),* }) => {
        $(#[$attribute])*
        #[mosaik::replicated]
        pub struct $name {
            $(pub $field: $ty,)*
        }
    };
}

store!(
    /// Made.
    Made { orders: Map<u64, String>, trades: Vec<u8> }
);

pub fn main() {
    let _ = |made: &MadeWriter| (made.orders.get(&1), made.trades.len());
    assert!(here!()[0].name().ends_with("/Made"));
}
