//! Vectors beside those of std.

use std::collections::VecDeque;

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::collections::state::testing::{self, Replica, encode};

type Write = VecWrite<u8>;

/// Indices inside and outside, and the greatest there is.
fn indices() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..16u64, 4 => 0..300u64, 1 => Just(u64::MAX)]
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let value = || 0..4u8;
    let write = prop_oneof![
        3 => value().prop_map(VecWrite::PushBack),
        3 => value().prop_map(VecWrite::PushFront),
        2 => prop::collection::vec(value(), 0..150).prop_map(VecWrite::Extend),
        2 => Just(VecWrite::PopBack),
        2 => Just(VecWrite::PopFront),
        4 => (indices(), value()).prop_map(|(index, value)| VecWrite::Insert(index, value)),
        4 => indices().prop_map(VecWrite::Remove),
        3 => (indices(), indices()).prop_map(|(one, other)| VecWrite::Swap(one, other)),
        3 => (indices(), value()).prop_map(|(index, value)| VecWrite::Set(index, value)),
        1 => indices().prop_map(VecWrite::Truncate),
        1 => Just(VecWrite::Clear),
    ];
    prop::collection::vec(write, 0..30)
}

/// What std's deque answers, where it does not panic.
fn expected(model: &mut VecDeque<u8>, write: &Write) -> VecWrote<u8> {
    let len = model.len();
    let out = OutOfBounds { len: len as u64 };
    let place = |index: &u64| usize::try_from(*index).unwrap();
    match write {
        VecWrite::PushBack(value) => model.push_back(*value),
        VecWrite::PushFront(value) => model.push_front(*value),
        VecWrite::Extend(values) => model.extend(values),
        VecWrite::PopBack => return VecWrote::Old(model.pop_back()),
        VecWrite::PopFront => return VecWrote::Old(model.pop_front()),
        VecWrite::Insert(index, value) => {
            let is_inside = place(index) <= len;
            return VecWrote::Moved(if is_inside {
                model.insert(place(index), *value);
                Ok(())
            } else {
                Err(out)
            });
        }
        VecWrite::Remove(index) => return VecWrote::Old(model.remove(place(index))),
        VecWrite::Swap(one, other) => {
            let is_inside = place(one) < len && place(other) < len;
            return VecWrote::Moved(if is_inside {
                model.swap(place(one), place(other));
                Ok(())
            } else {
                Err(out)
            });
        }
        VecWrite::Set(index, value) => {
            let old = model.get_mut(place(index));
            let old = old.map(|old| std::mem::replace(old, *value));
            return VecWrote::Replaced(old.ok_or(out));
        }
        VecWrite::Truncate(to) => model.truncate(place(to)),
        VecWrite::Clear => model.clear(),
    }
    match write {
        VecWrite::Truncate(_) | VecWrite::Clear => VecWrote::Count((len - model.len()) as u64),
        _ => VecWrote::Done,
    }
}

fn follow(followed: &mut VecDeque<u8>, changes: Vec<VecChange<u8>>) {
    for change in changes {
        match change {
            VecChange::Inserted { index, value } => followed.insert(index as usize, *value),
            VecChange::Updated { index, old, new } => {
                assert_eq!(followed[index as usize], *old);
                followed[index as usize] = *new;
            }
            VecChange::Removed { index, old } => {
                assert_eq!(followed.remove(index as usize), Some(*old));
            }
            VecChange::Swapped(one, other) => followed.swap(one as usize, other as usize),
            VecChange::Truncated(len) => {
                assert!((len as usize) < followed.len());
                followed.truncate(len as usize);
            }
        }
    }
}

fn check_sound(state: &VecState<u8>) {
    assert_eq!(state.iter().len() as u64, state.len());
    assert_eq!(state.is_empty(), state.iter().next().is_none());
    let stamps: Vec<_> = state.iter().map(Shared::stamp).collect();
    assert!(
        stamps
            .iter()
            .all(|stamp| *stamp <= state.changed && *stamp > Stamp::NEVER)
    );
    assert_eq!(codec::check_differ(stamps), Ok(()));
}

/// What a transaction reads.
#[derive(Clone, Copy, Debug)]
enum Probe {
    Index(u64),
    Back,
    Len,
    Whole,
}

fn probes() -> impl Strategy<Value = Vec<Probe>> {
    let probe = prop_oneof![
        8 => indices().prop_map(Probe::Index),
        2 => Just(Probe::Back),
        2 => Just(Probe::Len),
        1 => Just(Probe::Whole),
    ];
    prop::collection::vec(probe, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn it_answers_as_std(writes in writes(), (start, end) in (indices(), indices())) {
        let mut replica = Replica::<VecState<u8>>::default();
        let (mut model, mut followed) = (VecDeque::new(), VecDeque::new());
        for write in &writes {
            let (answer, changes) = replica.write_marked(write);
            prop_assert_eq!(answer, expected(&mut model, write));
            follow(&mut followed, changes);
            let state = &replica.state;
            prop_assert!(state.iter().map(Shared::value).eq(&model));
            prop_assert_eq!(&followed, &model);
        }
        let state = &replica.state;
        check_sound(state);
        prop_assert!(state.iter().rev().map(Shared::value).eq(model.iter().rev()));
        prop_assert_eq!(state.front().map(|value| **value), model.front().copied());
        prop_assert_eq!(state.back().map(|value| **value), model.back().copied());
        let index = model.iter().position(|value| *value == 3);
        prop_assert_eq!(state.index_of(&3), index.map(|index| index as u64));
        for index in [start, end, 0, model.len() as u64] {
            let value = state.get(index).map(|value| **value);
            prop_assert_eq!(value, model.get(index as usize).copied());
        }
        let values = state.range(start, end).map(|value| **value);
        let (start, end) = (start as usize, end as usize);
        let expected = model.iter().copied().take(end).skip(start);
        prop_assert_eq!(values.len(), expected.len());
        prop_assert!(values.rev().eq(expected.rev()));
    }

    #[test]
    fn replicas_agree(writes in writes(), midst: Index) {
        testing::check_replicas::<VecState<_>>(&writes, midst);
    }

    #[test]
    fn what_is_spoilt_is_refused_or_sound(
        writes in writes(), mutations in testing::mutations(), later in writes(),
    ) {
        testing::check_mutated(&writes, &mutations, &later, check_sound);
    }

    #[test]
    fn transactions_see_what_they_saw(
        writes in writes(), later in writes(), probes in probes(),
    ) {
        let read = |state: &VecState<u8>, probe: &Probe, read: &mut VecRead| match probe {
            Probe::Index(index) => {
                let element = state.read_index(*index, read);
                (element.map(Shared::stamp), element.map(|element| vec![**element]))
            }
            Probe::Back => {
                let element = state.read_back(read);
                (element.map(Shared::stamp), element.map(|element| vec![**element]))
            }
            Probe::Len => {
                state.read_len(read);
                // A length is as good as any stamp.
                let len: Stamp = testing::decode(&encode(&state.len())).unwrap();
                (Some(len), Some(vec![state.len() as u8]))
            }
            Probe::Whole => {
                state.read_whole(read);
                (Some(state.changed), Some(state.iter().map(|element| **element).collect()))
            }
        };
        testing::check_reads(&writes, &later, &probes, read);
    }
}

/// As many elements as make the tree several levels deep, with splits and joins all over it.
#[test]
fn many_elements_come_and_go() {
    let mut replica = Replica::<VecState<u32>>::default();
    let mut model: Vec<u32> = (0..6000).collect();
    replica.write_all(&[VecWrite::Extend(model.clone())]);
    let mut random = 1u64;
    for n in 0..2000 {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let index = (random >> 33) % model.len() as u64;
        if random >> 63 == 0 {
            replica.write_all(&[VecWrite::Insert(index, n)]);
            model.insert(index as usize, n);
        } else {
            replica.write_all(&[VecWrite::Remove(index)]);
            model.remove(index as usize);
        }
    }
    let snapshot = replica.clone();
    assert!(snapshot.state.iter().map(Shared::value).eq(&model));
    replica.write_all(&[VecWrite::Truncate(100), VecWrite::PushFront(7)]);
    assert!(
        snapshot
            .restored()
            .state
            .iter()
            .map(Shared::value)
            .eq(&model)
    );
    assert_eq!(replica.state.len(), 101);
}

#[test]
fn blind_writes_at_the_back_disturb_nobody_who_reads_an_index() {
    let mut replica = Replica::<VecState<u8>>::default();
    replica.write(&VecWrite::Extend(vec![1, 2]));
    let (mut index, mut back, mut whole) = Default::default();
    replica.state.read_index(1, &mut index);
    replica.state.read_back(&mut back);
    replica.state.read_whole(&mut whole);
    replica.write(&VecWrite::PushBack(2));
    assert!(replica.state.is_as_read(&index));
    assert!(!replica.state.is_as_read(&back));
    assert!(!replica.state.is_as_read(&whole));
    // What moves is noticed, even if its value is the same.
    replica.write(&VecWrite::Swap(1, 2));
    assert!(!replica.state.is_as_read(&index));
    replica.write(&VecWrite::Swap(2, 1));
    assert!(replica.state.is_as_read(&index));
}

#[test]
fn what_has_no_effect_leaves_no_trace() {
    let mut replica = Replica::<VecState<u8>>::default();
    replica.check_no_effect(&[VecWrite::Clear, VecWrite::PopBack, VecWrite::PopFront]);
    replica.write(&VecWrite::PushBack(1));
    replica.check_no_effect(&[
        VecWrite::Swap(0, 0),
        VecWrite::Swap(0, 1),
        VecWrite::Set(1, 1),
        VecWrite::Insert(2, 1),
        VecWrite::Remove(1),
        VecWrite::Truncate(1),
        VecWrite::Truncate(u64::MAX),
        VecWrite::Extend(Vec::new()),
    ]);
}

#[test]
fn what_no_writes_lead_to_is_refused() {
    let check = |is_right, changed: u64, elements: &[(u64, u8)]| {
        let state = testing::decode::<VecState<u8>>(&encode(&(changed, elements)));
        assert_eq!(state.is_ok(), is_right, "{changed} {elements:?}");
    };
    check(true, 0, &[]);
    check(true, 9, &[(5, 0), (1, 0)]);
    check(false, 4, &[(5, 0), (1, 0)]);
    check(false, 9, &[(5, 0), (5, 0)]);
    check(false, 9, &[(0, 0)]);
    check(false, u64::MAX, &[(1, 0)]);
}
