//! Transactions beside each other, without a network.
//!
//! A transaction is a script. It is played on a state, and others write after that. If the state holds that it is as it
//! was read, the script has to see the same when it is played on that state, and to leave what its recorded writes leave.

use std::{fmt::Debug, ops::Bound, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::collections::{
    Cell, Counter, End, Limit, Lock, Map, Once, PriorityQueue, Set, SortedMap, Vec as List,
    list::{DraftOf, Stored},
    state::{
        State,
        cell::CellWrite,
        changes::Changes,
        counter::CounterWrite,
        lock::LockWrite,
        map::MapWrite,
        once::OnceWrite,
        queue::QueueWrite,
        set::SetWrite,
        table::Span,
        testing::{Crowded, Replica, spans_below},
        vec::VecWrite,
    },
};
use crate::id::PeerId;

type Write<C> = <<C as Stored>::State as State>::Write;

/// Plays `script` on a state: what it sees, and what it did.
fn play<C: Stored, T>(
    state: &C::State,
    script: &[T],
    step: &impl Fn(&mut C::Transaction, &T) -> String,
) -> (Vec<String>, DraftOf<C>) {
    let mut transaction = C::begin(Draft::new(0, 0, Arc::new(state.clone())));
    let seen = script.iter().map(|each| step(&mut transaction, each));
    (seen.collect(), C::end(transaction))
}

/// Checks that a transaction is as good as one that was played later, whenever it is held to be so. `content` says what
/// is in a state, stamps aside.
fn check<C: Stored, T>(
    before: &[Write<C>],
    script: &[T],
    later: &[Write<C>],
    step: impl Fn(&mut C::Transaction, &T) -> String,
    content: impl Fn(&C::State) -> String,
) {
    let mut replica = Replica::<C::State>::default();
    replica.write_all(before);
    let (seen, draft) = play::<C, T>(&replica.state, script, &step);
    let (read, writes) = draft.recorded();
    assert!(replica.state.is_as_read(&read));
    for count in 0..=later.len() {
        replica.write_all(&later[count.saturating_sub(1)..count]);
        if !replica.state.is_as_read(&read) {
            continue;
        }
        let (seen_now, draft) = play::<C, T>(&replica.state, script, &step);
        assert_eq!(seen_now, seen, "after {count} of the later writes");
        let mut applied = replica.clone();
        for write in writes.clone() {
            let stamps = &mut applied.stamps;
            applied.state.write(write, stamps, &mut Changes::ignored());
        }
        assert_eq!(content(&applied.state), content(draft.now()));
    }
}

fn shown(value: impl Debug) -> String {
    format!("{value:?}")
}

fn key() -> impl Strategy<Value = Crowded> {
    (0..5u8).prop_map(Crowded)
}

/// One of these, several times.
fn several<T: Debug>(
    strategy: impl Strategy<Value = T>,
    most: usize,
) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(strategy, 0..most)
}

#[derive(Clone, Debug)]
enum MapStep {
    Get(Crowded),
    Contains(Crowded),
    Remove(Crowded),
    Replace(Crowded, u8),
    Len,
    Iter,
    Write(MapWrite<Crowded, u8>),
}

fn map_write() -> impl Strategy<Value = MapWrite<Crowded, u8>> {
    prop_oneof![
        4 => (key(), 0..3u8).prop_map(|(key, value)| MapWrite::Insert(key, value)),
        3 => key().prop_map(MapWrite::Remove),
        1 => several((key(), 0..3u8), 3).prop_map(MapWrite::Extend),
        1 => several(key(), 3).prop_map(MapWrite::RemoveMany),
        1 => spans_below(5).prop_map(MapWrite::RemoveRange),
        1 => spans_below(5).prop_map(MapWrite::RetainRange),
        1 => Just(MapWrite::Clear),
        1 => (key(), 0..3u8, 0..3u64).prop_map(
            |(key, value, millis)| MapWrite::InsertFor(key, value, millis)
        ),
    ]
}

fn map_step() -> impl Strategy<Value = MapStep> {
    prop_oneof![
        4 => key().prop_map(MapStep::Get),
        2 => key().prop_map(MapStep::Contains),
        3 => key().prop_map(MapStep::Remove),
        2 => (key(), 0..3u8).prop_map(|(key, value)| MapStep::Replace(key, value)),
        1 => Just(MapStep::Len),
        1 => Just(MapStep::Iter),
        5 => map_write().prop_map(MapStep::Write),
    ]
}

macro_rules! map_steps {
    ($Transaction:ident) => {
        |map: &mut $Transaction<Crowded, u8>, step: &MapStep| match step.clone() {
            MapStep::Get(key) => shown(map.get(&key)),
            MapStep::Contains(key) => shown(map.contains_key(&key)),
            MapStep::Remove(key) => shown(map.remove(&key)),
            MapStep::Replace(key, value) => shown(map.replace(key, value)),
            MapStep::Len => shown((map.len(), map.is_empty())),
            MapStep::Iter => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort();
                assert_eq!(map.keys().count(), map.values().count());
                shown(entries)
            }
            MapStep::Write(write) => {
                match write {
                    MapWrite::Insert(key, value) => map.insert(key, value),
                    MapWrite::InsertFor(key, value, millis) => {
                        map.insert_for(key, value, Duration::from_millis(millis));
                    }
                    MapWrite::Remove(key) => drop(map.remove(&key)),
                    MapWrite::Extend(entries) => map.extend(entries),
                    MapWrite::RemoveMany(keys) => map.remove_many(keys),
                    MapWrite::RemoveRange(span) => map.remove_range(span),
                    MapWrite::RetainRange(span) => map.retain_range(span),
                    _ => map.clear(),
                }
                String::new()
            }
        }
    };
}

#[derive(Clone, Debug)]
enum SetStep {
    Contains(u8),
    Remove(u8),
    Len,
    Iter,
    Write(SetWrite<u8>),
}

fn set_write() -> impl Strategy<Value = SetWrite<u8>> {
    prop_oneof![
        4 => (0..5u8).prop_map(SetWrite::Insert),
        3 => (0..5u8).prop_map(SetWrite::Remove),
        1 => several(0..5u8, 3).prop_map(SetWrite::Extend),
        1 => several(0..5u8, 3).prop_map(SetWrite::RemoveMany),
        1 => spans_below(5).prop_map(SetWrite::RemoveRange),
        1 => spans_below(5).prop_map(SetWrite::RetainRange),
        1 => Just(SetWrite::Clear),
    ]
}

fn set_step() -> impl Strategy<Value = SetStep> {
    prop_oneof![
        4 => (0..5u8).prop_map(SetStep::Contains),
        3 => (0..5u8).prop_map(SetStep::Remove),
        1 => Just(SetStep::Len),
        1 => Just(SetStep::Iter),
        5 => set_write().prop_map(SetStep::Write),
    ]
}

fn play_set(set: &mut SetTransaction<u8>, step: &SetStep) -> String {
    match step.clone() {
        SetStep::Contains(element) => return shown(set.contains(&element)),
        SetStep::Remove(element) => return shown(set.remove(&element)),
        SetStep::Len => return shown((set.len(), set.is_empty())),
        SetStep::Iter => {
            let mut elements: Vec<_> = set.iter().collect();
            elements.sort_unstable();
            return shown(elements);
        }
        SetStep::Write(SetWrite::Insert(element)) => set.insert(element),
        SetStep::Write(SetWrite::Remove(element)) => drop(set.remove(&element)),
        SetStep::Write(SetWrite::Extend(elements)) => set.extend(elements),
        SetStep::Write(SetWrite::RemoveMany(elements)) => set.remove_many(elements),
        SetStep::Write(SetWrite::RemoveRange(span)) => set.remove_range(span),
        SetStep::Write(SetWrite::RetainRange(span)) => set.retain_range(span),
        SetStep::Write(SetWrite::Clear) => set.clear(),
    }
    String::new()
}

#[derive(Clone, Debug)]
enum VecStep {
    Get(u8),
    Ends,
    Len,
    Iter,
    IndexOf(u8),
    PopBack,
    PopFront,
    Insert(u8, u8),
    Remove(u8),
    Swap(u8, u8),
    Set(u8, u8),
    PushBack(u8),
    PushFront(u8),
    Extend(Vec<u8>),
    Truncate(u8),
    Clear,
}

fn vec_step() -> impl Strategy<Value = VecStep> {
    let (index, value) = (|| 0..5u8, || 0..3u8);
    prop_oneof![
        4 => index().prop_map(VecStep::Get),
        3 => Just(VecStep::Ends),
        1 => Just(VecStep::Len),
        1 => Just(VecStep::Iter),
        1 => value().prop_map(VecStep::IndexOf),
        3 => Just(VecStep::PopBack),
        3 => Just(VecStep::PopFront),
        2 => (index(), value()).prop_map(|(index, value)| VecStep::Insert(index, value)),
        2 => index().prop_map(VecStep::Remove),
        2 => (index(), index()).prop_map(|(one, other)| VecStep::Swap(one, other)),
        2 => (index(), value()).prop_map(|(index, value)| VecStep::Set(index, value)),
        3 => value().prop_map(VecStep::PushBack),
        3 => value().prop_map(VecStep::PushFront),
        1 => several(value(), 3).prop_map(VecStep::Extend),
        1 => index().prop_map(VecStep::Truncate),
        1 => Just(VecStep::Clear),
    ]
}

fn vec_write() -> impl Strategy<Value = VecWrite<u8>> {
    let (index, value) = (|| 0..5u64, || 0..3u8);
    prop_oneof![
        4 => value().prop_map(VecWrite::PushBack),
        2 => value().prop_map(VecWrite::PushFront),
        2 => Just(VecWrite::PopBack),
        2 => Just(VecWrite::PopFront),
        1 => (index(), value()).prop_map(|(index, value)| VecWrite::Insert(index, value)),
        1 => index().prop_map(VecWrite::Remove),
        1 => (index(), index()).prop_map(|(one, other)| VecWrite::Swap(one, other)),
        1 => (index(), value()).prop_map(|(index, value)| VecWrite::Set(index, value)),
        1 => several(value(), 3).prop_map(VecWrite::Extend),
        1 => index().prop_map(VecWrite::Truncate),
    ]
}

fn play_vec(vec: &mut VecTransaction<u8>, step: &VecStep) -> String {
    let at = |index: u8| usize::from(index);
    match step.clone() {
        VecStep::Get(index) => return shown(vec.get(at(index))),
        VecStep::Ends => return shown((vec.front(), vec.back())),
        VecStep::Len => return shown((vec.len(), vec.is_empty())),
        VecStep::Iter => return shown(vec.iter().collect::<Vec<_>>()),
        VecStep::IndexOf(value) => return shown(vec.index_of(&value)),
        VecStep::PopBack => return shown(vec.pop_back()),
        VecStep::PopFront => return shown(vec.pop_front()),
        VecStep::Insert(index, value) => return shown(vec.insert(at(index), value)),
        VecStep::Remove(index) => return shown(vec.remove(at(index))),
        VecStep::Swap(one, other) => return shown(vec.swap(at(one), at(other))),
        VecStep::Set(index, value) => return shown(vec.set(at(index), value)),
        VecStep::PushBack(value) => vec.push_back(value),
        VecStep::PushFront(value) => vec.push_front(value),
        VecStep::Extend(values) => vec.extend(values),
        VecStep::Truncate(len) => vec.truncate(at(len)),
        VecStep::Clear => vec.clear(),
    }
    String::new()
}

#[derive(Clone, Debug)]
enum QueueStep {
    Get(Crowded),
    Peek(End),
    Pop(End),
    Len,
    Limit,
    Iter(End),
    Remove(Crowded),
    UpdatePriority(Crowded, u8),
    UpdateValue(Crowded, u8),
    Write(QueueWrite<u8, Crowded, u8>),
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Min), Just(End::Max)]
}

fn queue_write() -> impl Strategy<Value = QueueWrite<u8, Crowded, u8>> {
    let limit = (0..4u64, end()).prop_map(|(len, evict)| Limit { len, evict });
    let item = || (0..3u8, key(), 0..3u8);
    prop_oneof![
        8 => item().prop_map(|(priority, key, value)| QueueWrite::Insert(priority, key, value)),
        2 => several(item(), 3).prop_map(QueueWrite::Extend),
        1 => spans_below(3).prop_map(|span: Span<u8>| QueueWrite::RemoveRange(span)),
        1 => Just(QueueWrite::Clear),
        3 => prop::option::of(limit).prop_map(QueueWrite::SetLimit),
    ]
}

fn queue_later() -> impl Strategy<Value = QueueWrite<u8, Crowded, u8>> {
    prop_oneof![
        4 => queue_write(),
        2 => key().prop_map(QueueWrite::Remove),
        2 => end().prop_map(QueueWrite::Pop),
        1 => (key(), 0..3u8).prop_map(|(key, priority)| QueueWrite::UpdatePriority(key, priority)),
        1 => (key(), 0..3u8).prop_map(|(key, value)| QueueWrite::UpdateValue(key, value)),
    ]
}

fn queue_step() -> impl Strategy<Value = QueueStep> {
    prop_oneof![
        3 => key().prop_map(QueueStep::Get),
        3 => end().prop_map(QueueStep::Peek),
        4 => end().prop_map(QueueStep::Pop),
        1 => Just(QueueStep::Len),
        1 => Just(QueueStep::Limit),
        1 => end().prop_map(QueueStep::Iter),
        2 => key().prop_map(QueueStep::Remove),
        2 => (key(), 0..3u8).prop_map(|(key, priority)| QueueStep::UpdatePriority(key, priority)),
        2 => (key(), 0..3u8).prop_map(|(key, value)| QueueStep::UpdateValue(key, value)),
        6 => queue_write().prop_map(QueueStep::Write),
    ]
}

fn play_queue(queue: &mut PriorityQueueTransaction<u8, Crowded, u8>, step: &QueueStep) -> String {
    match step.clone() {
        QueueStep::Get(key) => return shown((queue.get(&key), queue.contains_key(&key))),
        QueueStep::Peek(End::Min) => return shown(queue.peek_min()),
        QueueStep::Peek(End::Max) => return shown(queue.peek_max()),
        QueueStep::Pop(End::Min) => return shown(queue.pop_min()),
        QueueStep::Pop(End::Max) => return shown(queue.pop_max()),
        QueueStep::Len => return shown((queue.len(), queue.is_empty())),
        QueueStep::Limit => return shown(queue.limit()),
        QueueStep::Iter(End::Min) => return shown(queue.ascending().collect::<Vec<_>>()),
        QueueStep::Iter(End::Max) => return shown(queue.descending().collect::<Vec<_>>()),
        QueueStep::Remove(key) => return shown(queue.remove(&key)),
        QueueStep::UpdatePriority(key, priority) => {
            return shown(queue.update_priority(&key, priority));
        }
        QueueStep::UpdateValue(key, value) => return shown(queue.update_value(&key, value)),
        QueueStep::Write(QueueWrite::Insert(priority, key, value)) => {
            queue.insert(priority, key, value);
        }
        QueueStep::Write(QueueWrite::Extend(items)) => queue.extend(items),
        QueueStep::Write(QueueWrite::RemoveRange(span)) => queue.remove_range(span),
        QueueStep::Write(QueueWrite::SetLimit(limit)) => queue.set_limit(limit),
        QueueStep::Write(_) => queue.clear(),
    }
    String::new()
}

#[derive(Clone, Copy, Debug)]
enum CellStep {
    Get,
    Set(u8),
    Swap(u8),
    Take,
    Clear,
}

fn cell_step() -> impl Strategy<Value = CellStep> {
    prop_oneof![
        Just(CellStep::Get),
        (0..3u8).prop_map(CellStep::Set),
        (0..3u8).prop_map(CellStep::Swap),
        Just(CellStep::Take),
        Just(CellStep::Clear),
    ]
}

fn play_cell(cell: &mut CellTransaction<u8>, step: &CellStep) -> String {
    match *step {
        CellStep::Get => return shown(cell.get()),
        CellStep::Set(value) => cell.set(value),
        CellStep::Swap(value) => return shown(cell.swap(value)),
        CellStep::Take => return shown(cell.take()),
        CellStep::Clear => cell.clear(),
    }
    String::new()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn maps(
        before in several(map_write(), 8), script in several(map_step(), 6), later in several(map_write(), 4),
    ) {
        let content = |state: &<Map<Crowded, u8> as Stored>::State| shown(state.ascending().collect::<Vec<_>>());
        check::<Map<Crowded, u8>, MapStep>(&before, &script, &later, map_steps!(MapTransaction), content);
        let content = |state: &<SortedMap<Crowded, u8> as Stored>::State| shown(state.ascending().collect::<Vec<_>>());
        check::<SortedMap<Crowded, u8>, MapStep>(
            &before, &script, &later, map_steps!(SortedMapTransaction), content,
        );
    }

    #[test]
    fn sets(
        before in several(set_write(), 8), script in several(set_step(), 6), later in several(set_write(), 4),
    ) {
        let content = |state: &<Set<u8> as Stored>::State| shown(state.ascending().collect::<Vec<_>>());
        check::<Set<u8>, _>(&before, &script, &later, play_set, content);
    }

    #[test]
    fn vectors(
        before in several(vec_write(), 8), script in several(vec_step(), 6), later in several(vec_write(), 4),
    ) {
        let content = |state: &<List<u8> as Stored>::State| shown(state.iter().collect::<Vec<_>>());
        check::<List<u8>, _>(&before, &script, &later, play_vec, content);
    }

    #[test]
    fn queues(
        before in several(queue_later(), 8), script in several(queue_step(), 6), later in several(queue_later(), 4),
    ) {
        let content = |state: &<PriorityQueue<u8, Crowded, u8> as Stored>::State| {
            let items = state.ascending().map(|item| (item.priority, item.key, *item.value.value()));
            shown((items.collect::<Vec<_>>(), state.limit()))
        };
        check::<PriorityQueue<u8, Crowded, u8>, QueueStep>(&before, &script, &later, play_queue, content);
    }

    #[test]
    fn cells(
        before in several(Just(CellWrite::Set(1)), 2),
        script in several(cell_step(), 6),
        later in several(prop_oneof![(0..3u8).prop_map(CellWrite::Set), Just(CellWrite::Clear)], 3),
    ) {
        let content = |state: &<Cell<u8> as Stored>::State| shown(state.get());
        check::<Cell<u8>, _>(&before, &script, &later, play_cell, content);
    }

    #[test]
    fn onces(
        before in several(Just(OnceWrite::Set(1)), 2),
        script in several(prop::option::of(0..3u8), 4),
        later in several(Just(OnceWrite::Set(2)), 2),
    ) {
        let step = |once: &mut OnceTransaction<u8>, set: &Option<u8>| match *set {
            Some(value) => shown(once.set(value)),
            None => shown(once.get()),
        };
        let content = |state: &<Once<u8> as Stored>::State| shown(state.get());
        check::<Once<u8>, _>(&before, &script, &later, step, content);
    }
}

/// Whether what a transaction does survives what others write: 3 elements, or keys 1 to 3, are there.
fn survives<C: Stored>(
    before: &[Write<C>],
    transaction: impl Fn(&mut C::Transaction),
    later: &[Write<C>],
) -> bool {
    let mut replica = Replica::<C::State>::default();
    replica.write_all(before);
    let mut begun = C::begin(Draft::new(0, 0, Arc::new(replica.state.clone())));
    transaction(&mut begun);
    let (read, _) = C::end(begun).recorded();
    replica.write_all(later);
    replica.state.is_as_read(&read)
}

#[test]
fn what_others_do_elsewhere_is_no_conflict() {
    type Prices = Map<u8, u8>;
    let insert = |key| MapWrite::Insert(key, 0);
    let three = [insert(1), insert(2), insert(3)];
    let reads_one = |map: &mut MapTransaction<u8, u8>| assert_eq!(map.remove(&1), Some(0));
    assert!(survives::<Prices>(
        &three,
        reads_one,
        &[insert(2), insert(4)]
    ));
    assert!(!survives::<Prices>(&three, reads_one, &[insert(1)]));
    // What it has written itself is no read.
    let own = |map: &mut MapTransaction<u8, u8>| {
        map.insert(1, 7);
        assert_eq!(map.get(&1), Some(7));
    };
    assert!(survives::<Prices>(&three, own, &[insert(1)]));
    let whole = |map: &mut MapTransaction<u8, u8>| assert_eq!(map.len(), 3);
    assert!(!survives::<Prices>(&three, whole, &[insert(4)]));
}

#[test]
fn who_pushes_and_who_pops_at_the_other_end_do_not_meet() {
    type Trades = List<u8>;
    let three = [VecWrite::Extend(vec![1, 2, 3])];
    let pops = |vec: &mut VecTransaction<u8>| {
        assert_eq!((vec.pop_front(), vec.pop_front()), (Some(1), Some(2)));
    };
    assert!(survives::<Trades>(&three, pops, &[VecWrite::PushBack(4)]));
    assert!(!survives::<Trades>(&three, pops, &[VecWrite::PopFront]));
    let pushes = |vec: &mut VecTransaction<u8>| {
        vec.push_back(4);
        vec.push_front(0);
    };
    let anything = [
        VecWrite::PopFront,
        VecWrite::PushBack(5),
        VecWrite::Truncate(0),
    ];
    assert!(survives::<Trades>(&three, pushes, &anything));
}

#[test]
fn who_matches_orders_does_not_meet_those_that_come_behind() {
    type Orders = PriorityQueue<u8, u8, u8>;
    let order = |price, key| QueueWrite::Insert(price, key, 0);
    let three = [order(10, 1), order(11, 2), order(12, 3)];
    // Takes two, and reads the third.
    let matches = |queue: &mut PriorityQueueTransaction<u8, u8, u8>| {
        assert_eq!(queue.pop_min().map(|order| order.1), Some(1));
        assert_eq!(queue.pop_min().map(|order| order.1), Some(2));
        assert_eq!(queue.peek_min().map(|order| order.1), Some(3));
    };
    assert!(survives::<Orders>(
        &three,
        matches,
        &[order(12, 4), order(20, 5)]
    ));
    assert!(!survives::<Orders>(&three, matches, &[order(11, 4)]));
    let own = |queue: &mut PriorityQueueTransaction<u8, u8, u8>| {
        queue.insert(1, 9, 0);
        assert_eq!(queue.get(&9), Some((1, 0)));
    };
    assert!(survives::<Orders>(&three, own, &[QueueWrite::Clear]));
    let limit = QueueWrite::SetLimit(Some(Limit {
        len: 9,
        evict: End::Max,
    }));
    assert!(
        !survives::<Orders>(&three, own, &[limit]),
        "its own may have been evicted"
    );
    // What has gone by a limit that was lifted again has gone by it.
    let lifted = |queue: &mut PriorityQueueTransaction<u8, u8, u8>| {
        queue.set_limit(Some(Limit {
            len: 1,
            evict: End::Max,
        }));
        queue.set_limit(None);
        assert_eq!(queue.get(&1), Some((10, 0)));
    };
    assert!(!survives::<Orders>(&three, lifted, &[order(1, 4)]));
    let range = QueueWrite::RemoveRange((Bound::Included(15), Bound::Unbounded));
    assert!(survives::<Orders>(&three, matches, &[order(20, 5), range]));
}

#[test]
fn each_kind_of_read_meets_only_what_it_read() {
    let three = [VecWrite::Extend(vec![1, 2, 3])];
    let back = |vec: &mut VecTransaction<u8>| assert_eq!(vec.back(), Some(3));
    assert!(survives::<List<u8>>(&three, back, &[VecWrite::Set(0, 9)]));
    assert!(!survives::<List<u8>>(
        &three,
        back,
        &[VecWrite::PushBack(4)]
    ));
    let len = |vec: &mut VecTransaction<u8>| assert_eq!(vec.len(), 3);
    assert!(survives::<List<u8>>(
        &three,
        len,
        &[VecWrite::Set(0, 9), VecWrite::Swap(1, 2)]
    ));
    assert!(!survives::<List<u8>>(&three, len, &[VecWrite::PopFront]));
    let has = |set: &mut SetTransaction<u8>| assert!(set.contains(&1));
    let one = [SetWrite::Insert(1)];
    assert!(survives::<Set<u8>>(
        &one,
        has,
        &[SetWrite::Insert(2), SetWrite::Insert(1)]
    ));
    assert!(!survives::<Set<u8>>(&one, has, &[SetWrite::Clear]));
    let sorted = |map: &mut SortedMapTransaction<u8, u8>| assert!(map.contains_key(&1));
    let key = |key| MapWrite::Insert(key, 0);
    assert!(survives::<SortedMap<u8, u8>>(&[key(1)], sorted, &[key(2)]));
    assert!(!survives::<SortedMap<u8, u8>>(&[key(1)], sorted, &[key(1)]));
    let limit = |queue: &mut PriorityQueueTransaction<u8, u8, u8>| assert_eq!(queue.limit(), None);
    let item = QueueWrite::Insert(1, 1, 1);
    assert!(survives::<PriorityQueue<u8, u8, u8>>(&[], limit, &[item]));
}

#[test]
fn additions_meet_only_who_reads_the_sum() {
    let adds = |counter: &mut CounterTransaction| counter.add(2);
    let one = [CounterWrite::Add(1)];
    assert!(survives::<Counter>(&one, adds, &one));
    let reads = |counter: &mut CounterTransaction| {
        counter.add(2);
        assert_eq!(counter.get(), 3);
    };
    assert!(!survives::<Counter>(&one, reads, &one));
    let nothing = [CounterWrite::Add(0), CounterWrite::Swap(1)];
    assert!(survives::<Counter>(&one, reads, &nothing));
    let swaps = |counter: &mut CounterTransaction| assert_eq!(counter.swap(5), 1);
    assert!(!survives::<Counter>(&one, swaps, &one));
    let sets = |counter: &mut CounterTransaction| counter.set(5);
    assert!(survives::<Counter>(&one, sets, &one));
}

#[test]
fn a_token_is_good_as_long_as_the_lock_is_held_with_it() {
    let peer = PeerId::from_bytes([1; 32]);
    let acquire = LockWrite::Acquire { peer, lease: 5 };
    let held = std::slice::from_ref(&acquire);
    let fenced = |lock: &mut LockTransaction| {
        assert!(lock.is_held_by(1));
        assert_eq!(lock.holder().map(|holder| holder.peer), Some(peer));
    };
    let renew = LockWrite::Renew { token: 1, lease: 9 };
    assert!(survives::<Lock>(held, fenced, &[acquire.clone(), renew]));
    let release = LockWrite::Release { token: 1 };
    let taken = [release, acquire.clone()];
    assert!(!survives::<Lock>(held, fenced, &taken[..1]));
    assert!(!survives::<Lock>(held, fenced, &taken));
    let free = |lock: &mut LockTransaction| assert!(!lock.is_held_by(1));
    assert!(survives::<Lock>(&[], free, &[]));
    assert!(!survives::<Lock>(&[], free, held));
}
