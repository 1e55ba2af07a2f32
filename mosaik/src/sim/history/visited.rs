//! The configurations that a search has been in.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

use super::bits::Packed;

/// The configurations that a search has been in: which certain operations are placed, the state, and
/// which uncertain operations were used to get there.
///
/// One that used more uncertain operations than another, for the same, can do nothing that the other
/// cannot, and counts as visited.
#[derive(Debug)]
pub(super) struct Visited<S> {
    used: HashMap<(Packed, S), Vec<Packed>>,
    len: u64,
    comparisons: u64,
}

impl<S: Eq + Hash> Visited<S> {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            used: HashMap::new(),
            len: 0,
            comparisons: 0,
        }
    }

    /// Adds a configuration, and returns whether it is new.
    pub(super) fn insert(&mut self, placed: Packed, state: S, used: Packed) -> bool {
        match self.used.entry((placed, state)) {
            Entry::Vacant(entry) => {
                entry.insert(vec![used]);
            }
            Entry::Occupied(mut entry) => {
                let others = entry.get_mut();
                self.comparisons += others.len() as u64;
                if others.iter().any(|other| other.is_subset(&used)) {
                    return false;
                }
                others.push(used);
            }
        }
        self.len += 1;
        true
    }

    /// Number of configurations.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// How many configurations were compared with others so far.
    pub(super) fn comparisons(&self) -> u64 {
        self.comparisons
    }
}

#[cfg(test)]
mod tests {
    use super::{super::bits::Bits, *};

    fn set(numbers: &[usize]) -> Packed {
        let mut bits = Bits::new(200);
        numbers.iter().for_each(|number| bits.insert(*number));
        bits.pack()
    }

    #[test]
    fn what_used_more_for_the_same_is_not_new() {
        let mut visited = Visited::new();
        let cases: [(&[usize], &str, &[usize], bool); 7] = [
            (&[1], "state", &[1, 2], true),
            (&[1], "state", &[1, 2], false),
            (&[1], "state", &[1, 2, 199], false),
            (&[1], "state", &[2], true),
            (&[1], "state", &[2, 3], false),
            (&[1], "other", &[2, 3], true),
            (&[1, 2], "state", &[2, 3], true),
        ];
        for (placed, state, used, new) in cases {
            let inserted = visited.insert(set(placed), state, set(used));
            assert_eq!(inserted, new, "{placed:?} {state} {used:?}");
        }
        assert_eq!(visited.len(), 4);
    }
}
