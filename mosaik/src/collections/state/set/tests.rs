//! Sets beside those of std.

use std::{collections::BTreeSet, ops::RangeBounds};

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::collections::state::testing::{self, Crowded, Replica, encode};

fn elements() -> impl Strategy<Value = Crowded> {
    (0..16u8).prop_map(Crowded)
}

fn writes() -> impl Strategy<Value = Vec<SetWrite<Crowded>>> {
    let many = || prop::collection::vec(elements(), 0..12);
    let write = prop_oneof![
        6 => elements().prop_map(SetWrite::Insert),
        3 => elements().prop_map(SetWrite::Remove),
        2 => many().prop_map(SetWrite::Extend),
        2 => many().prop_map(SetWrite::RemoveMany),
        1 => testing::spans().prop_map(SetWrite::RemoveRange),
        1 => testing::spans().prop_map(SetWrite::RetainRange),
        1 => Just(SetWrite::Clear),
    ];
    prop::collection::vec(write, 0..40)
}

/// What std's set answers.
fn expected(model: &mut BTreeSet<Crowded>, write: SetWrite<Crowded>) -> SetWrote {
    let before = model.len();
    match write {
        SetWrite::Insert(element) => return SetWrote::Did(model.insert(element)),
        SetWrite::Remove(element) => return SetWrote::Did(model.remove(&element)),
        SetWrite::Extend(elements) => model.extend(elements),
        SetWrite::RemoveMany(elements) => model.retain(|element| !elements.contains(element)),
        SetWrite::RemoveRange(span) => model.retain(|element| !span.contains(element)),
        SetWrite::RetainRange(span) => model.retain(|element| span.contains(element)),
        SetWrite::Clear => model.clear(),
    }
    SetWrote::Count(model.len().abs_diff(before) as u64)
}

fn follow(followed: &mut BTreeSet<Crowded>, changes: Vec<SetChange<Crowded>>) {
    for change in changes {
        match change {
            SetChange::Inserted(element) => assert!(followed.insert(element)),
            SetChange::Removed(element) => assert!(followed.remove(&element)),
            SetChange::Cleared => followed.clear(),
        }
    }
}

fn check_sound(state: &SetState<Crowded>) {
    assert_eq!(state.iter().len(), state.len());
    assert_eq!(state.is_empty(), state.iter().next().is_none());
    assert!(state.is_empty() || state.changed > Stamp::NEVER);
    assert!(state.ascending().is_sorted_by(|one, next| one < next));
    assert!(state.iter().all(|element| state.contains(element)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_answers_as_std(writes in writes()) {
        let mut replica = Replica::<SetState<Crowded>>::default();
        let (mut model, mut followed) = (BTreeSet::new(), BTreeSet::new());
        for write in writes {
            let (answer, changes) = replica.write_marked(&write);
            prop_assert_eq!(answer, expected(&mut model, write));
            follow(&mut followed, changes);
            check_sound(&replica.state);
            prop_assert!(replica.state.ascending().eq(&model));
            prop_assert_eq!(&followed, &model);
        }
    }

    #[test]
    fn replicas_agree(writes in writes(), midst: Index) {
        testing::check_replicas::<SetState<_>>(&writes, midst);
    }

    #[test]
    fn what_is_spoilt_is_refused_or_sound(
        writes in writes(), mutations in testing::mutations(), later in writes(),
    ) {
        testing::check_mutated(&writes, &mutations, &later, check_sound);
    }

    #[test]
    fn transactions_see_what_they_saw(
        writes in writes(),
        later in writes(),
        probes in prop::collection::vec(prop::option::weighted(0.9, elements()), 0..4),
    ) {
        let read = |state: &SetState<_>, probe: &Option<_>, read: &mut SetRead<_>| match probe {
            Some(element) => {
                let is_there = state.read_key(element, read);
                (Ok(is_there), vec![is_there])
            }
            None => {
                state.read_whole(read);
                let all = (0..16).map(|element| state.contains(&Crowded(element)));
                (Err(state.changed), all.collect())
            }
        };
        testing::check_reads(&writes, &later, &probes, read);
    }
}

#[test]
fn what_has_no_effect_leaves_no_trace() {
    let mut replica = Replica::<SetState<u8>>::default();
    replica.check_no_effect(&[SetWrite::Clear]);
    replica.write(&SetWrite::Insert(1));
    replica.check_no_effect(&[
        SetWrite::Insert(1),
        SetWrite::Remove(2),
        SetWrite::Extend(vec![1, 1]),
        SetWrite::RemoveMany(vec![2]),
    ]);
}

#[test]
fn what_no_writes_lead_to_is_refused() {
    let check = |is_right, changed: u64, elements: &[u8]| {
        let state = testing::decode::<SetState<u8>>(&encode(&(changed, elements)));
        assert_eq!(state.is_ok(), is_right, "{changed} {elements:?}");
    };
    check(true, 0, &[]);
    check(true, 1, &[1, 2]);
    check(false, 0, &[1]);
    check(false, u64::MAX, &[]);
    check(false, 1, &[2, 1]);
    check(false, 1, &[1, 1]);
}
