use std::collections::HashSet;

#[mosaik::group]
#[derive(Default)]
struct Bank {
    seen: Vec<Option<HashSet<u64>>>,
}

#[mosaik::group]
impl Bank {}

fn main() {
    let _ = Bank::default();
}
