//! Stores that are declared inside functions, and two of one name beside each other.

use mosaik::{
    __private::DeclaredStore as _,
    collections::{Cell, Map},
};

fn one() -> &'static str {
    #[mosaik::replicated(name = "one")]
    struct Inner {
        prices: Map<u8, u8>,
    }
    let _ = InnerWriter::clone;
    __InnerCollections::declaration().name
}

fn other() -> &'static str {
    #[mosaik::replicated(name = "other")]
    struct Inner {
        on: Cell<bool>,
    }
    let _ = InnerWriter::clone;
    __InnerCollections::declaration().name
}

pub fn main() {
    assert_eq!((one(), other()), ("one", "other"));
    let names: Vec<_> = here!().iter().map(|decl| decl.name()).collect();
    assert_eq!(names, ["one", "other"]);
}
