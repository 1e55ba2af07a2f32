use mosaik::collections::{Map, Set};

#[mosaik::replicated]
struct Store(Map<u8, u8>, Set<u8>);

fn main() {}
