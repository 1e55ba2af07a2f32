//! The table beside a map of std.

use std::{collections::BTreeMap, hash::Hasher, sync::Weak};

use proptest::prelude::*;

use super::*;

/// A key that has one of `N` hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct OneOf<const N: u16>(u16);

impl<const N: u16> Hash for OneOf<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 % N).hash(state);
    }
}

/// The hash of a key is the key.
fn at(hash: u64, depth: u32) -> Path {
    Path { hash, depth }
}

type Table<const N: u16> = Hashed<OneOf<N>, Arc<u32>>;

/// Checks that all below a node is where it is looked for, and nothing larger than need be; returns the count of it.
fn check_node<const N: u16>(node: &Node<OneOf<N>, Arc<u32>>, depth: u32, prefix: u64) -> usize {
    assert!(!node.is_too_large());
    match node {
        Node::Empty => 0,
        Node::Small(leaf) => check_leaf(leaf, depth, prefix),
        Node::Middle(leaf) => check_leaf(leaf, depth, prefix),
        Node::Large(leaf) => check_leaf(leaf, depth, prefix),
        Node::Branch(branch) => {
            let child = |(index, child)| check_node(child, depth + 1, (prefix << BITS) | index);
            let len: usize = (0..).zip(&branch.children).map(child).sum();
            assert_eq!(branch.len, len);
            len
        }
        Node::Crowd(crowd) => {
            assert_eq!(depth, DEPTH);
            assert!(crowd.is_sorted_by(|(one, _), (other, _)| one < other));
            crowd.len()
        }
    }
}

fn check_leaf<const N: u16, const M: usize>(
    leaf: &Leaf<OneOf<N>, Arc<u32>, M>,
    depth: u32,
    prefix: u64,
) -> usize {
    for (index, entry) in leaf.entries.iter().enumerate() {
        assert_eq!(entry.is_some(), index < leaf.len);
        let Some((key, _)) = entry else {
            continue;
        };
        let path = Path::to(key);
        assert_eq!(leaf.tags[index], path.tag());
        let shifted = path.hash.checked_shr(u64::BITS - BITS * depth);
        assert_eq!(shifted.unwrap_or(0), prefix);
    }
    leaf.len
}

fn check_table<const N: u16>(table: &Table<N>, model: &BTreeMap<u16, u32>) {
    assert_eq!(check_node(&table.root, 0, 0), model.len());
    assert_eq!(
        (table.len(), table.is_empty()),
        (model.len(), model.is_empty())
    );
    let iter = table.iter();
    assert_eq!(iter.len(), model.len());
    let listed: BTreeMap<u16, u32> = iter.map(|(key, item)| (key.0, **item)).collect();
    assert_eq!(listed, *model);
    assert_eq!(table.keys().len(), model.len());
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u16),
    Remove(u16),
    /// Keeps a copy, which is to stay as it is.
    Copy,
    /// Removes all but a few.
    Thin(u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..300u16;
    let step = prop_oneof![
        12 => key.clone().prop_map(Step::Insert),
        4 => key.prop_map(Step::Remove),
        1 => Just(Step::Copy),
        1 => (1..60u16).prop_map(Step::Thin),
    ];
    prop::collection::vec(step, 0..600)
}

/// Does the same to a table and to a map of std.
fn check_model<const N: u16>(steps: &[Step]) {
    let (mut table, mut model) = (Table::<N>::default(), BTreeMap::new());
    let mut copies = Vec::new();
    for (count, step) in (0u32..).zip(steps) {
        match step {
            Step::Insert(key) => {
                let old = table.insert(OneOf(*key), Arc::new(count));
                assert_eq!(old.as_deref().copied(), model.insert(*key, count));
            }
            Step::Remove(key) => {
                let removed = table.remove(&OneOf(*key));
                assert_eq!(removed.as_deref().copied(), model.remove(key));
            }
            Step::Copy => copies.push((table.clone(), model.clone())),
            Step::Thin(nth) => {
                let keys: Vec<u16> = model.keys().copied().collect();
                for key in keys.into_iter().filter(|key| key % nth != 0) {
                    assert!(table.remove(&OneOf(key)).is_some());
                    model.remove(&key);
                }
            }
        }
    }
    check_table(&table, &model);
    // Whether they are there or not, and however many.
    for few in [0, 1, AHEAD, 300] {
        table.read_ahead(&(0..few as u16).map(OneOf).collect::<Vec<_>>());
    }
    for key in 0..300 {
        let there = table.get(&OneOf(key)).map(|item| **item);
        assert_eq!(there, model.get(&key).copied());
        assert_eq!(table.contains_key(&OneOf(key)), model.contains_key(&key));
    }
    for (copy, model) in &copies {
        check_table(copy, model);
    }
}

proptest! {
    #[test]
    fn a_table_does_what_a_map_does_and_its_copies_stay_as_they_are(steps in steps()) {
        check_model::<{ u16::MAX }>(&steps);
        check_model::<40>(&steps);
        check_model::<3>(&steps);
    }

    #[test]
    fn equal_bytes_are_found_wherever_they_are(
        bytes in prop::array::uniform32(0..4u8),
        any in any::<[u8; 32]>(),
        byte in 0..4u8,
    ) {
        for bytes in [bytes, any] {
            let bits = (0..32).filter(|index| bytes[*index] == byte);
            prop_assert_eq!(equal(&bytes, byte), bits.fold(0, |bits, bit| bits | (1 << bit)));
            let all = (0..=255).map(|byte| equal(&bytes, byte).count_ones());
            prop_assert_eq!(all.sum::<u32>(), 32);
        }
    }
}

#[test]
fn a_path_shares_no_bits_with_the_tag() {
    let hash = (0o123_456_701_234_567_654 << 10) | 0x2a5;
    let mut path = at(hash, 0);
    let mut children = Vec::new();
    for _ in 0..DEPTH {
        let (child, next) = path.step();
        children.push(child);
        path = next;
    }
    let digits = format!("{:018o}", hash >> 10);
    let digits: Vec<usize> = digits
        .bytes()
        .map(|digit| usize::from(digit - b'0'))
        .collect();
    assert_eq!(children, digits);
    assert_eq!(path.tag(), 0xa5);
}

#[test]
fn what_is_not_shared_is_not_copied_and_nothing_that_is_gone_is_kept() {
    let mut table = Hashed::<u16, Arc<u32>>::default();
    let held: Vec<Weak<u32>> = (0..1000u16)
        .map(|key| {
            let item = Arc::new(u32::from(key));
            let held = Arc::downgrade(&item);
            table.insert(key, item);
            held
        })
        .collect();
    // Had a leaf been copied, what it holds would be there twice.
    assert!(held.iter().all(|item| item.strong_count() == 1));
    for key in 0..500 {
        table.remove(&key);
    }
    assert!(held[..500].iter().all(|item| item.strong_count() == 0));
    assert!(held[500..].iter().all(|item| item.strong_count() == 1));
    let copy = table.clone();
    assert!(held[500..].iter().all(|item| item.strong_count() == 1));
    // What is not there is not written, and copies nothing.
    assert_eq!(table.remove(&0), None);
    assert!(held[500..].iter().all(|item| item.strong_count() == 1));
    table.insert(0, Arc::new(0));
    let copied = held[500..].iter().filter(|item| item.strong_count() == 2);
    assert!((1..=32).contains(&copied.count()));
    drop(copy);
    assert!(held[500..].iter().all(|item| item.strong_count() == 1));
}
