//! The runtime under another name, while something else has its usual one.

extern crate mosaik as renamed;
extern crate std as mosaik;

use renamed::{__private::DeclaredStore as _, collections::Map};

#[renamed::replicated(crate = ::renamed, name = "prices")]
struct Prices {
    prices: Map<u8, u8>,
}

#[renamed::replicated(crate = ::renamed, name = "one")]
struct One(Map<u8, u8>);

fn main() {
    assert_eq!(__PricesCollections::declaration().name, "prices");
    assert_eq!(__OneCollections::declaration().name, "one");
    let _ = (Prices::writer, PricesReader::view, One::reader);
}
