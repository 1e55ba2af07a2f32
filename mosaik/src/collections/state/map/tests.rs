//! Maps beside those of std.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fmt::Debug,
    hash::{Hash, Hasher},
    ops::{Bound, RangeBounds},
};

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::collections::state::testing::{self, Crowded, Replica, encode};

/// A key as the tests use them.
trait Keys: Key + Copy + Debug + From<u8> {}

impl<K: Key + Copy + Debug + From<u8>> Keys for K {}

type Write<K> = MapWrite<K, u8>;

fn keys<K: Keys>() -> impl Strategy<Value = K> {
    (0..16u8).prop_map(K::from)
}

fn writes<K: Keys>() -> impl Strategy<Value = Vec<Write<K>>> {
    let write = prop_oneof![
        6 => (keys(), 0..4u8).prop_map(|(key, value)| MapWrite::Insert(key, value)),
        3 => keys().prop_map(MapWrite::Remove),
        3 => (keys(), testing::guesses(), prop::option::of(0..4u8)).prop_map(
            |(key, current, new)| MapWrite::CompareExchange { key, current, new }
        ),
        2 => prop::collection::vec((keys(), 0..4u8), 0..40).prop_map(MapWrite::Extend),
        2 => prop::collection::vec(keys(), 0..6).prop_map(MapWrite::RemoveMany),
        1 => testing::spans().prop_map(MapWrite::RemoveRange),
        1 => testing::spans().prop_map(MapWrite::RetainRange),
        1 => Just(MapWrite::Clear),
        4 => (keys(), 0..4u8, 0..9u64).prop_map(
            |(key, value, millis)| MapWrite::InsertFor(key, value, millis)
        ),
    ];
    prop::collection::vec(write, 0..40)
}

/// What std's map answers.
fn expected<K: Keys>(model: &mut BTreeMap<K, u8>, write: &Write<K>) -> MapWrote<u8> {
    let before = model.len();
    match write.clone() {
        MapWrite::Insert(key, value) | MapWrite::InsertFor(key, value, _) => {
            return MapWrote::Old(model.insert(key, value));
        }
        MapWrite::Remove(key) => return MapWrote::Old(model.remove(&key)),
        MapWrite::CompareExchange { .. } => unreachable!("the model knows no stamps"),
        MapWrite::Extend(entries) => model.extend(entries),
        MapWrite::RemoveMany(keys) => model.retain(|key, _| !keys.contains(key)),
        MapWrite::RemoveRange(span) => model.retain(|key, _| !span.contains(key)),
        MapWrite::RetainRange(span) => model.retain(|key, _| span.contains(key)),
        MapWrite::Clear => model.clear(),
    }
    MapWrote::Count(model.len().abs_diff(before) as u64)
}

fn expected_exchange<K: Keys>(
    model: &mut BTreeMap<K, u8>,
    key: K,
    current: Option<u8>,
    new: Option<u8>,
) -> Result<Option<u8>, Option<u8>> {
    let actual = model.get(&key).copied();
    if actual != current {
        return Err(actual);
    }
    match new {
        Some(new) => model.insert(key, new),
        None => model.remove(&key),
    };
    Ok(actual)
}

fn follow<K: Keys>(followed: &mut BTreeMap<K, u8>, changes: Vec<MapChange<K, u8>>) {
    for change in changes {
        match change {
            MapChange::Inserted { key, value } => {
                assert_eq!(followed.insert(key, *value), None);
            }
            MapChange::Updated { key, old, new } => {
                assert_eq!(followed.insert(key, *new), Some(*old));
            }
            MapChange::Removed { key, old } | MapChange::Expired { key, old } => {
                assert_eq!(followed.remove(&key), Some(*old));
            }
            MapChange::Cleared => followed.clear(),
        }
    }
}

fn check_sound<K: Keys, B: Table<K, Shared<u8>>>(state: &MapState<K, u8, B>) {
    assert_eq!(state.iter().count(), state.len());
    assert_eq!(state.is_empty(), state.iter().next().is_none());
    let mut last = None;
    for (key, value) in state.ascending() {
        assert!(last < Some(*key));
        assert!(value.stamp() <= state.changed && value.stamp() > Stamp::NEVER);
        assert_eq!(state.get(key).unwrap().stamp(), value.stamp());
        assert!(state.contains_key(key));
        last = Some(*key);
    }
}

/// When the keys of a model come to their end.
struct Ends<K> {
    now: u64,
    ends: BTreeMap<K, u64>,
}

impl<K: Keys> Ends<K> {
    /// Time passes: returns the keys that have come to their end.
    fn elapse(&mut self, millis: u64) -> Vec<K> {
        self.now += millis;
        let due = self.ends.extract_if(.., |_, at| *at <= self.now);
        due.map(|(key, _)| key).collect()
    }

    /// A write has led to what `model` is now.
    fn follow(&mut self, write: &Write<K>, model: &BTreeMap<K, u8>) {
        let mut put = Vec::new();
        match write {
            MapWrite::Insert(key, _) | MapWrite::InsertFor(key, ..) => put.push(*key),
            MapWrite::Extend(entries) => put.extend(entries.iter().map(|(key, _)| *key)),
            _ => {}
        }
        self.ends
            .retain(|key, _| model.contains_key(key) && !put.contains(key));
        if let MapWrite::InsertFor(key, _, millis) = write {
            self.ends.insert(*key, self.now + millis);
        }
    }
}

/// A write, or a `compare_exchange` by value of a caller who is behind or not; and how much time passes before.
type Step<K> = (Write<K>, Option<u8>, bool, u64);

fn check_model<K: Keys, B: Table<K, Shared<u8>>>(steps: Vec<Step<K>>) {
    let mut replica = Replica::<MapState<K, u8, B>>::default();
    let mut behind = replica.state.clone();
    let (mut model, mut followed) = (BTreeMap::new(), BTreeMap::new());
    let mut ends = Ends {
        now: 0,
        ends: BTreeMap::new(),
    };
    for (write, current, is_behind, pause) in steps {
        for key in ends.elapse(pause) {
            model.remove(&key);
        }
        follow(&mut followed, replica.elapse(ends.now));
        let written = write.clone();
        if let MapWrite::CompareExchange { key, new, .. } = write {
            if !is_behind {
                behind = replica.state.clone();
            }
            let ask = |current| {
                let write = MapWrite::CompareExchange { key, current, new };
                let (answer, changes) = replica.write_marked(&write);
                follow(&mut followed, changes);
                match answer {
                    MapWrote::Exchanged(exchanged) => exchanged,
                    other => panic!("{other:?}"),
                }
            };
            let outcome = testing::exchange(behind.get(&key), current.as_ref(), ask);
            assert_eq!(outcome, expected_exchange(&mut model, key, current, new));
            if outcome.is_ok() && new.is_some() {
                ends.ends.remove(&key);
            }
        } else {
            let (answer, changes) = replica.write_marked(&write);
            assert_eq!(answer, expected(&mut model, &write));
            follow(&mut followed, changes);
        }
        ends.follow(&written, &model);
        let state = &replica.state;
        check_sound(state);
        assert_eq!(state.expiry().clock, ends.ends.values().min().copied());
        for key in model.keys() {
            assert_eq!(state.end_of(key), ends.ends.get(key).copied());
        }
        assert!(
            state
                .ascending()
                .map(|(key, value)| (key, value.value()))
                .eq(&model)
        );
        assert_eq!(followed, model);
    }
}

fn steps<K: Keys>() -> impl Strategy<Value = Vec<Step<K>>> {
    let with = |write| {
        (
            Just(write),
            prop::option::of(0..4u8),
            any::<bool>(),
            0..4u64,
        )
    };
    writes().prop_flat_map(move |writes| writes.into_iter().map(with).collect::<Vec<_>>())
}

/// A key, or the whole.
type Probe<K> = Option<K>;

fn check_reads<K: Keys, B: Table<K, Shared<u8>>>(
    writes: &[Write<K>],
    later: &[Write<K>],
    probes: &[Probe<K>],
) {
    let read = |state: &MapState<K, u8, B>, probe: &Probe<K>, read: &mut MapRead<K>| match probe {
        Some(key) => {
            let value = state.read_key(key, read);
            (
                value.map(Shared::stamp),
                value.map(|value| vec![(*key, **value)]),
            )
        }
        None => {
            state.read_whole(read);
            let entries = state.ascending().map(|(key, value)| (*key, **value));
            (Some(state.changed), Some(entries.collect()))
        }
    };
    testing::check_reads(writes, later, probes, read);
}

fn probes<K: Keys>() -> impl Strategy<Value = Vec<Probe<K>>> {
    let probe = prop_oneof![15 => keys().prop_map(Some), 1 => Just(None)];
    prop::collection::vec(probe, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn it_answers_as_std(hashed in steps::<u8>(), crowded in steps::<Crowded>()) {
        check_model::<_, Hashed<_, _>>(hashed.clone());
        check_model::<_, Sorted<_, _>>(hashed);
        check_model::<_, Hashed<_, _>>(crowded);
    }

    #[test]
    fn replicas_agree(hashed in writes::<u8>(), crowded in writes::<Crowded>(), midst: Index) {
        testing::check_replicas::<MapState<_, _>>(&hashed, midst);
        testing::check_replicas::<SortedMapState<_, _>>(&hashed, midst);
        testing::check_replicas::<MapState<_, _>>(&crowded, midst);
    }

    #[test]
    fn the_two_tables_encode_the_same(writes in writes::<u8>()) {
        let mut hashed = Replica::<MapState<u8, u8>>::default();
        let mut sorted = Replica::<SortedMapState<u8, u8>>::default();
        hashed.write_all(&writes);
        sorted.write_all(&writes);
        prop_assert_eq!(encode(&hashed.state), encode(&sorted.state));
    }

    #[test]
    fn what_is_spoilt_is_refused_or_sound(
        writes in writes::<u8>(), mutations in testing::mutations(), later in writes::<u8>(),
    ) {
        let hashed = check_sound::<_, Hashed<_, _>>;
        let sorted = check_sound::<_, Sorted<_, _>>;
        testing::check_mutated(&writes, &mutations, &later, hashed);
        testing::check_mutated(&writes, &mutations, &later, sorted);
    }

    #[test]
    fn transactions_see_what_they_saw(
        writes in writes::<u8>(), later in writes::<u8>(), probes in probes(),
    ) {
        check_reads::<_, Hashed<_, _>>(&writes, &later, &probes);
        check_reads::<_, Sorted<_, _>>(&writes, &later, &probes);
    }

    #[test]
    fn ranges_are_those_of_std(entries: BTreeMap<u8, u8>, span in testing::spans_below::<u8>(255)) {
        let mut replica = Replica::<SortedMapState<u8, u8>>::default();
        replica.write(&MapWrite::Extend(entries.clone().into_iter().collect()));
        let state = &replica.state;
        let range = state.range(table::as_ref(&span)).map(|(key, value)| (key, value.value()));
        prop_assert!(range.eq(entries.iter().filter(|(key, _)| span.contains(*key))));
        let back = state.range(table::as_ref(&span)).rev().map(|(key, _)| key);
        prop_assert!(back.eq(entries.keys().rev().filter(|key| span.contains(*key))));
        prop_assert_eq!(state.first().map(|(key, _)| key), entries.keys().next());
        prop_assert_eq!(state.last().map(|(key, _)| key), entries.keys().next_back());
    }
}

#[test]
fn what_has_no_effect_leaves_no_trace() {
    let mut replica = Replica::<MapState<u8, u8>>::default();
    let never = Some(replica.stamps.mark(Stamp::NEVER));
    let exchange = |key, current, new| MapWrite::CompareExchange { key, current, new };
    replica.check_no_effect(&[MapWrite::Clear]);
    replica.write(&MapWrite::Insert(1, 1));
    replica.check_no_effect(&[
        MapWrite::Remove(2),
        MapWrite::RemoveMany(vec![2, 3]),
        MapWrite::Extend(Vec::new()),
        MapWrite::RemoveRange((Bound::Excluded(1), Bound::Unbounded)),
        MapWrite::RetainRange((Bound::Included(1), Bound::Included(1))),
        exchange(1, None, Some(1)),
        exchange(1, never, None),
        exchange(2, never, Some(1)),
        exchange(2, None, None),
    ]);
    // The same value once more is another.
    let (_, changes) = replica.write(&MapWrite::Insert(1, 1));
    assert!(matches!(changes.as_slice(), [MapChange::Updated { .. }]));
}

#[test]
fn many_keys_come_and_go() {
    let mut replica = Replica::<MapState<u64, u64>>::default();
    let mut sorted = Replica::<SortedMapState<u64, u64>>::default();
    let key = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let entries: Vec<_> = (0..5000).map(|n| (key(n), n)).collect();
    let removed: Vec<_> = (0..5000).step_by(3).map(key).collect();
    let writes = [MapWrite::Extend(entries), MapWrite::RemoveMany(removed)];
    replica.write_all(&writes);
    sorted.write_all(&writes);
    assert_eq!(replica.state.len(), 3333);
    for n in 0..5000 {
        let expected = (n % 3 != 0).then_some(n);
        assert_eq!(replica.state.get(&key(n)).map(|value| **value), expected);
        assert_eq!(sorted.state.get(&key(n)).map(|value| **value), expected);
    }
    assert_eq!(
        encode(&replica.restored().state),
        encode(&sorted.restored().state)
    );
}

#[test]
fn what_no_writes_lead_to_is_refused() {
    let check = |is_right, changed: u64, entries: &[(u8, u64, u8)]| {
        let none: &[(u64, u8)] = &[];
        let state = testing::decode::<MapState<u8, u8>>(&encode(&(changed, entries, none)));
        assert_eq!(state.is_ok(), is_right, "{changed} {entries:?}");
    };
    let check_ends = |is_right, ends: &[(u64, u8)]| {
        let entries: &[(u8, u64, u8)] = &[(1, 5, 0), (2, 1, 0)];
        let state = testing::decode::<MapState<u8, u8>>(&encode(&(5_u64, entries, ends)));
        assert_eq!(state.is_ok(), is_right, "{ends:?}");
    };
    check_ends(true, &[(7, 2), (7, 1)]);
    check_ends(false, &[(7, 1), (7, 2)]);
    check_ends(false, &[(8, 2), (7, 1)]);
    check_ends(false, &[(7, 2), (8, 2)]);
    check_ends(false, &[(7, 3)]);
    check(true, 0, &[]);
    check(true, 5, &[]);
    check(true, 5, &[(1, 5, 0), (2, 1, 0)]);
    check(false, 5, &[(1, 6, 0)]);
    check(false, 5, &[(1, 0, 0)]);
    check(false, 5, &[(2, 1, 0), (1, 2, 0)]);
    check(false, 5, &[(1, 1, 0), (1, 2, 0)]);
    check(false, u64::MAX, &[]);
    check(false, u64::MAX, &[(1, u64::MAX, 0)]);
    // A length that is not there.
    assert!(testing::decode::<MapState<u8, u8>>(&encode(&(1, u64::MAX))).is_err());
}

/// A name that is the same in capitals, and remembers how it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Name(String);

impl Name {
    fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(&other.folded())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As many as a leaf holds, and more, have one hash.
        self.0.len().hash(state);
    }
}

fn check_names(midst: Index) {
    let name = |n: u8, capital: bool| {
        let letter = if capital { b'A' } else { b'a' };
        Name(format!("{}{n:02}", char::from(letter)))
    };
    let insert = |capital: bool| move |n| MapWrite::Insert(name(n, capital), 0);
    let writes: Vec<MapWrite<Name, u8>> = (0..40)
        .map(insert(false))
        .chain((0..40).step_by(3).map(insert(true)))
        .collect();
    let mut hashed = Replica::<MapState<Name, u8>>::default();
    let mut sorted = Replica::<SortedMapState<Name, u8>>::default();
    hashed.write_all(&writes);
    sorted.write_all(&writes);
    let written = hashed.state.ascending().map(|(key, _)| key.0.clone());
    let expected = (0..40).map(|n| name(n, n % 3 == 0).0);
    assert!(written.eq(expected));
    assert_eq!(encode(&hashed.state), encode(&sorted.state));
    testing::check_replicas::<MapState<Name, u8>>(&writes, midst);
    testing::check_replicas::<SortedMapState<Name, u8>>(&writes, midst);
}

proptest! {
    #[test]
    fn an_equal_key_takes_the_place_of_the_one_that_is_there(midst: Index) {
        check_names(midst);
    }
}
