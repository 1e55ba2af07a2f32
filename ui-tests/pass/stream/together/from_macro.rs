//! The attribute in the expansion of a macro, with other attributes around it.

use mosaik::declare::Declared;

macro_rules! topics {
    ($($name:ident($type:ty) as $topic:literal),+ $(,)?) => {$(
        #[must_use]
        #[mosaik::stream(name = $topic)]
        #[derive(Debug)]
        #[cfg(not(any()))]
        struct $name($type);
    )+};
}

topics! { Price(u64) as "price", Trade(Vec<Price>) as "trade" }

pub fn main() {
    println!("{:?}", (Price(1).0, Trade(vec![]).0));
    assert_eq!(Price::declaration().name, "price");
    assert_eq!(Trade::declaration().name, "trade");
    assert_eq!(here!().len(), 2);
}
