//! Sets of small numbers, as bits.

const WORD: usize = u64::BITS as usize;

/// A set of numbers below a bound.
///
/// It knows its full words at the bottom and its empty words at the top, so that a copy of what lies
/// between stays short however far a search has come.
#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    /// All words before it are full.
    full: usize,
    /// All words from it on are empty.
    end: usize,
}

/// A copy of a set, without the words at either end that go without saying.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Packed {
    full: usize,
    words: Box<[u64]>,
}

impl Bits {
    /// An empty set of numbers below `bound`.
    pub(super) fn new(bound: usize) -> Self {
        Self {
            words: vec![0; bound.div_ceil(WORD)],
            full: 0,
            end: 0,
        }
    }

    /// Whether a number is in it.
    pub(super) fn contains(&self, number: usize) -> bool {
        self.words[number / WORD] & mask(number) != 0
    }

    /// Adds a number.
    pub(super) fn insert(&mut self, number: usize) {
        let word = number / WORD;
        self.words[word] |= mask(number);
        self.end = self.end.max(word + 1);
        while self.full < self.end && self.words[self.full] == u64::MAX {
            self.full += 1;
        }
    }

    /// Removes a number.
    pub(super) fn remove(&mut self, number: usize) {
        let word = number / WORD;
        self.words[word] &= !mask(number);
        self.full = self.full.min(word);
        while self.end > 0 && self.words[self.end - 1] == 0 {
            self.end -= 1;
        }
    }

    /// A copy.
    pub(super) fn pack(&self) -> Packed {
        Packed {
            full: self.full,
            words: self.words[self.full..self.end].into(),
        }
    }
}

impl Packed {
    /// Whether every number of this set is in the other.
    pub(super) fn is_subset(&self, other: &Self) -> bool {
        let end = self.full + self.words.len();
        (0..end).all(|index| self.word(index) & !other.word(index) == 0)
    }

    fn word(&self, index: usize) -> u64 {
        match index.checked_sub(self.full) {
            Some(index) => self.words.get(index).copied().unwrap_or(0),
            None => u64::MAX,
        }
    }
}

fn mask(number: usize) -> u64 {
    1 << (number % WORD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn packed(numbers: &BTreeSet<usize>) -> Packed {
        let mut bits = Bits::new(300);
        numbers.iter().for_each(|number| bits.insert(*number));
        bits.pack()
    }

    fn sets() -> impl Strategy<Value = BTreeSet<usize>> {
        // Most of a range, so that words fill up.
        (0..300usize, prop::collection::btree_set(0..300usize, 0..4)).prop_map(|(low, flipped)| {
            let range: BTreeSet<usize> = (0..low).collect();
            range.symmetric_difference(&flipped).copied().collect()
        })
    }

    proptest! {
        #[test]
        fn a_packed_set_is_the_set(a in sets(), b in sets()) {
            prop_assert_eq!(packed(&a) == packed(&b), a == b);
            prop_assert_eq!(packed(&a).is_subset(&packed(&b)), a.is_subset(&b));
            let mut bits = Bits::new(300);
            a.union(&b).for_each(|number| bits.insert(*number));
            b.difference(&a).for_each(|number| bits.remove(*number));
            prop_assert_eq!(bits.pack(), packed(&a));
            prop_assert!((0..300).all(|number| bits.contains(number) == a.contains(&number)));
        }
    }
}
