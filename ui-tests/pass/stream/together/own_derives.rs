//! Derives that stand below the attribute are not added again, however they are spelt.

use mosaik::declare::Declared;
use serde::{Deserialize, Serialize};

#[mosaik::stream]
#[derive(Clone, Serialize, Deserialize)]
struct All {
    #[serde(rename = "c")]
    cents: u64,
}

#[mosaik::stream]
#[derive(Debug, serde::Serialize)]
#[derive(std::clone::Clone, Copy)]
struct Mixed {
    cents: u64,
}

#[mosaik::stream]
#[derive(Deserialize)]
#[serde(crate = "serde")]
struct OtherHalf {
    cents: u64,
}

pub fn main() {
    let _ = (All { cents: 1 }.cents, Mixed { cents: 1 }.cents, OtherHalf { cents: 1 }.cents);
    let decl = All::declaration();
    let schema = decl.schema.resolve(decl.name).unwrap();
    assert_eq!(schema.to_string(), "struct All { c: u64 }");
    assert_eq!(here!().len(), 3);
}
