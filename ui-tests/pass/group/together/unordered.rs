//! Collections of no order, where the author vouches for them.

use std::collections::{HashMap, HashSet};

#[mosaik::group]
#[derive(Default)]
struct Seen {
    #[nondeterministic_ok]
    by_id: HashMap<u64, String>,
}

#[mosaik::group]
impl Seen {
    #[command]
    fn see(&mut self, id: u64, name: String) -> bool {
        self.by_id.insert(id, name).is_none()
    }
}

#[mosaik::group]
enum Either {
    One(#[nondeterministic_ok] HashSet<u64>),
    Other { #[nondeterministic_ok] all: Vec<HashSet<u64>> },
}

impl Default for Either {
    fn default() -> Self {
        Self::One(HashSet::new())
    }
}

#[mosaik::group]
impl Either {
    #[command]
    fn turn(&mut self) {
        *self = match self {
            Self::One(one) => Self::Other { all: vec![std::mem::take(one)] },
            Self::Other { all } => Self::One(all.pop().unwrap_or_default()),
        };
    }
}

pub fn main() {
    assert!(Seen::default().see(1, "one".into()));
    Either::default().turn();
}
