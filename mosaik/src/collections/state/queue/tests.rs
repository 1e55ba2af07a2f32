//! Queues beside a list that is searched from end to end.

use std::{collections::BTreeMap, ops::RangeBounds};

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::collections::state::{
    codec,
    testing::{self, Crowded, Replica, encode},
};

type State = QueueState<u8, Crowded, u8>;
type Write = QueueWrite<u8, Crowded, u8>;
type Answer = QueueWrote<u8, Crowded, u8>;
type Triple = (u8, Crowded, u8);

fn keys() -> impl Strategy<Value = Crowded> {
    (0..12u8).prop_map(Crowded)
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Min), Just(End::Max)]
}

fn writes() -> impl Strategy<Value = Vec<Write>> {
    let limit = (0..8u64, ends()).prop_map(|(len, evict)| Limit { len, evict });
    let triple = || (0..4u8, keys(), 0..4u8);
    let write = prop_oneof![
        8 => triple().prop_map(|(priority, key, value)| QueueWrite::Insert(priority, key, value)),
        2 => prop::collection::vec(triple(), 0..12).prop_map(QueueWrite::Extend),
        3 => (keys(), 0..4u8).prop_map(|(key, priority)| QueueWrite::UpdatePriority(key, priority)),
        3 => (keys(), 0..4u8).prop_map(|(key, value)| QueueWrite::UpdateValue(key, value)),
        2 => keys().prop_map(QueueWrite::Remove),
        3 => ends().prop_map(QueueWrite::Pop),
        1 => testing::spans().prop_map(QueueWrite::RemoveRange),
        1 => Just(QueueWrite::Clear),
        2 => prop::option::of(limit).prop_map(QueueWrite::SetLimit),
    ];
    prop::collection::vec(write, 0..40)
}

/// The items in the order in which they got their places.
#[derive(Default)]
struct Model {
    items: Vec<Triple>,
    limit: Option<Limit>,
}

impl Model {
    fn find(&self, key: Crowded) -> Option<usize> {
        self.items.iter().position(|item| item.1 == key)
    }

    fn remove(&mut self, key: Crowded) -> Option<Triple> {
        self.find(key).map(|index| self.items.remove(index))
    }

    fn first(&self, end: End) -> Option<usize> {
        let priorities = self.items.iter().map(|item| item.0);
        let priority = match end {
            End::Min => priorities.min(),
            End::Max => priorities.max(),
        };
        self.items.iter().position(|item| Some(item.0) == priority)
    }

    fn pop(&mut self, end: End) -> Option<Triple> {
        self.first(end).map(|index| self.items.remove(index))
    }

    fn evict(&mut self) -> Option<Triple> {
        let limit = self
            .limit
            .filter(|limit| self.items.len() as u64 > limit.len)?;
        let priority = self.items[self.first(limit.evict)?].0;
        let last = self.items.iter().rposition(|item| item.0 == priority)?;
        Some(self.items.remove(last))
    }

    fn insert(&mut self, item: Triple) -> (Option<Triple>, Option<Triple>) {
        let replaced = match self.find(item.1) {
            Some(index) if self.items[index].0 == item.0 => {
                return (Some(std::mem::replace(&mut self.items[index], item)), None);
            }
            Some(index) => Some(self.items.remove(index)),
            None => None,
        };
        self.items.push(item);
        (replaced, self.evict())
    }

    fn expected(&mut self, write: &Write) -> Answer {
        let before = self.items.len();
        match write {
            QueueWrite::Insert(priority, key, value) => {
                let (replaced, evicted) = self.insert((*priority, *key, *value));
                let replaced = replaced.map(|item| (item.0, item.2));
                return QueueWrote::Inserted { replaced, evicted };
            }
            QueueWrite::Extend(items) => {
                let (mut inserted, mut evicted) = (0, 0);
                for item in items {
                    let (replaced, gone) = self.insert(*item);
                    let is_in = gone.is_none_or(|gone| gone.1 != item.1);
                    inserted += u64::from(replaced.is_none() && is_in);
                    evicted += u64::from(gone.is_some());
                }
                return QueueWrote::Extended { inserted, evicted };
            }
            QueueWrite::UpdatePriority(key, priority) => {
                let old = self.find(*key).map(|index| self.items[index]);
                if let Some(old) = old.filter(|old| old.0 != *priority) {
                    self.remove(*key);
                    self.items.push((*priority, *key, old.2));
                }
                return QueueWrote::Priority(old.map(|old| old.0));
            }
            QueueWrite::UpdateValue(key, value) => {
                let index = self.find(*key);
                let old = index.map(|index| std::mem::replace(&mut self.items[index].2, *value));
                return QueueWrote::Value(old);
            }
            QueueWrite::Remove(key) => {
                return QueueWrote::Removed(self.remove(*key).map(|item| (item.0, item.2)));
            }
            QueueWrite::Pop(end) => return QueueWrote::Popped(self.pop(*end)),
            QueueWrite::RemoveRange(span) => self.items.retain(|item| !span.contains(&item.0)),
            QueueWrite::Clear => self.items.clear(),
            QueueWrite::SetLimit(limit) => {
                self.limit = *limit;
                while self.evict().is_some() {}
            }
        }
        QueueWrote::Count((before - self.items.len()) as u64)
    }

    fn popped(&self, end: End) -> Vec<Triple> {
        let mut rest = Self {
            items: self.items.clone(),
            limit: None,
        };
        std::iter::from_fn(|| rest.pop(end)).collect()
    }
}

/// What who follows the changes has: a map of the items, and the limit.
#[derive(Default)]
struct Followed {
    items: BTreeMap<Crowded, (u8, Stamp, u8)>,
    limit: Option<Limit>,
}

impl Followed {
    fn follow(&mut self, changes: Vec<QueueChange<u8, Crowded, u8>>) {
        let content = |item: &Queued<_, _, u8>| (item.priority, item.order, *item.value);
        for change in changes {
            match change {
                QueueChange::Inserted(item) => {
                    assert_eq!(self.items.insert(item.key, content(&item)), None);
                }
                QueueChange::Updated { old, new } => {
                    let before = self.items.insert(new.key, content(&new));
                    assert_eq!((before, old.key), (Some(content(&old)), new.key));
                }
                QueueChange::Removed(item) | QueueChange::Evicted(item) => {
                    assert_eq!(self.items.remove(&item.key), Some(content(&item)));
                }
                QueueChange::Cleared => self.items.clear(),
                QueueChange::Limited(limit) => self.limit = limit,
            }
        }
    }

    fn ascending(&self) -> Vec<Triple> {
        let items = self.items.iter();
        let mut items: Vec<_> = items
            .map(|(key, (p, order, value))| (*p, *order, *key, *value))
            .collect();
        items.sort_unstable();
        items
            .into_iter()
            .map(|(p, _, key, value)| (p, key, value))
            .collect()
    }
}

fn triple(item: &Queued<u8, Crowded, u8>) -> Triple {
    (item.priority, item.key, *item.value)
}

fn check_sound(state: &State) {
    assert_eq!(state.by_key.len(), state.by_place.len());
    assert_eq!(state.is_empty(), state.ascending().next().is_none());
    for (place, item) in state.by_place.iter() {
        assert_eq!((place.priority, place.order), (item.priority, item.order));
        assert!(Arc::ptr_eq(item, state.by_key.get(&item.key).unwrap()));
        assert!(item.order > Stamp::NEVER && item.value.stamp() > Stamp::NEVER);
        assert!(item.stamp() <= state.changed);
    }
    let stamps = state.ascending().map(Queued::stamp).collect();
    assert_eq!(codec::check_differ(stamps), Ok(()));
    assert!(
        state
            .limit
            .is_none_or(|limit| state.len() as u64 <= limit.len)
    );
}

/// What a transaction reads.
#[derive(Clone, Copy, Debug)]
enum Probe {
    Key(Crowded),
    End(End),
    Whole,
}

fn probes() -> impl Strategy<Value = Vec<Probe>> {
    let probe = prop_oneof![
        8 => keys().prop_map(Probe::Key),
        4 => ends().prop_map(Probe::End),
        1 => Just(Probe::Whole),
    ];
    prop::collection::vec(probe, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn it_answers_as_a_list(writes in writes(), span in testing::spans::<u8>()) {
        let mut replica = Replica::<State>::default();
        let (mut model, mut followed) = (Model::default(), Followed::default());
        for write in &writes {
            let (answer, changes) = replica.write_marked(write);
            prop_assert_eq!(answer, model.expected(write));
            followed.follow(changes);
            let state = &replica.state;
            check_sound(state);
            let ascending: Vec<_> = state.ascending().map(triple).collect();
            prop_assert_eq!(&ascending, &model.popped(End::Min));
            prop_assert_eq!(&ascending, &followed.ascending());
            let descending: Vec<_> = state.descending().map(triple).collect();
            prop_assert_eq!(descending, model.popped(End::Max));
            for end in [End::Min, End::Max] {
                let first = model.first(end).map(|first| model.items[first]);
                prop_assert_eq!(state.peek(end).map(triple), first);
            }
            prop_assert_eq!(state.limit(), model.limit);
            prop_assert_eq!(followed.limit, model.limit);
        }
        let state = &replica.state;
        let range: Vec<_> = state.range(table::as_ref(&span)).map(triple).collect();
        let mut expected = model.popped(End::Min);
        expected.retain(|item| span.contains(&item.0));
        prop_assert_eq!(range, expected);
        for item in &model.items {
            prop_assert_eq!(state.get(&item.1).map(triple), Some(*item));
        }
    }

    #[test]
    fn replicas_agree(writes in writes(), midst: Index) {
        testing::check_replicas::<State>(&writes, midst);
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
        let read = |state: &State, probe: &Probe, read: &mut QueueRead<_>| match probe {
            Probe::Key(key) => {
                let item = state.read_key(key, read);
                (item.map(Queued::stamp), item.map(|item| vec![triple(item)]))
            }
            Probe::End(end) => {
                state.read_end(*end, |_| true, read);
                let item = state.peek(*end);
                (item.map(Queued::stamp), item.map(|item| vec![triple(item)]))
            }
            Probe::Whole => {
                state.read_whole(read);
                (Some(state.changed), Some(state.ascending().map(triple).collect()))
            }
        };
        testing::check_reads(&writes, &later, &probes, read);
    }
}

#[test]
fn who_came_first_is_served_first_at_both_ends() {
    let mut replica = Replica::<State>::default();
    let put = |key, value| QueueWrite::Insert(1, Crowded(key), value);
    replica.write_all(&[put(1, 0), put(2, 0), put(3, 0)]);
    // A value, or the same priority once more, leaves an item where it is; another priority does not.
    replica.write_all(&[
        QueueWrite::UpdateValue(Crowded(1), 9),
        QueueWrite::UpdatePriority(Crowded(1), 1),
        put(1, 9),
        QueueWrite::UpdatePriority(Crowded(2), 5),
        QueueWrite::UpdatePriority(Crowded(2), 1),
    ]);
    let order = [(1, Crowded(1), 9), (1, Crowded(3), 0), (1, Crowded(2), 0)];
    for end in [End::Min, End::Max] {
        let mut replica = replica.clone();
        for item in order {
            let (answer, _) = replica.write(&QueueWrite::Pop(end));
            assert_eq!(answer, QueueWrote::Popped(Some(item)));
        }
    }
}

/// As many items as make the trees several levels deep.
#[test]
fn many_items_come_and_go() {
    let mut replica = Replica::<QueueState<u64, u64, u64>>::default();
    let random = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let mut model: Vec<_> = (0..3000).map(|n| (random(n) % 100, n, n)).collect();
    replica.write_all(&[QueueWrite::Extend(model.clone())]);
    // A stable sort: first come, first served.
    model.sort_by_key(|item| std::cmp::Reverse(item.0));
    let triple = |item: &Queued<u64, u64, u64>| (item.priority, item.key, *item.value);
    assert!(
        replica
            .state
            .descending()
            .map(triple)
            .eq(model.iter().copied())
    );
    let replica = &mut replica.restored();
    for item in model.iter().take(1000) {
        assert_eq!(replica.state.peek(End::Max).map(triple), Some(*item));
        replica.write_all(&[QueueWrite::Pop(End::Max)]);
    }
    model.drain(..1000);
    model.sort_by_key(|item| item.0);
    assert!(
        replica
            .state
            .ascending()
            .map(triple)
            .eq(model.iter().copied())
    );
}

#[test]
fn a_limit_keeps_those_who_came_first() {
    let mut replica = Replica::<State>::default();
    let evict = End::Min;
    let put = |priority, key| QueueWrite::Insert(priority, Crowded(key), 0);
    replica.write_all(&[
        QueueWrite::SetLimit(Some(Limit { len: 2, evict })),
        put(1, 1),
        put(1, 2),
    ]);
    let mut check = |write, evicted: Option<(u8, u8)>| {
        let (answer, _) = replica.write(&write);
        let evicted = evicted.map(|(priority, key)| (priority, Crowded(key), 0));
        let replaced = None;
        assert_eq!(answer, QueueWrote::Inserted { replaced, evicted });
    };
    check(put(1, 3), Some((1, 3)));
    check(put(0, 3), Some((0, 3)));
    check(put(2, 3), Some((1, 2)));
    check(put(2, 4), Some((1, 1)));
}

#[test]
fn what_has_no_effect_leaves_no_trace() {
    let mut replica = Replica::<State>::default();
    let limit = Some(Limit {
        len: 1,
        evict: End::Min,
    });
    replica.check_no_effect(&[QueueWrite::Clear, QueueWrite::Pop(End::Max)]);
    replica.write_all(&[
        QueueWrite::SetLimit(limit),
        QueueWrite::Insert(1, Crowded(1), 1),
    ]);
    replica.check_no_effect(&[
        QueueWrite::SetLimit(limit),
        QueueWrite::UpdatePriority(Crowded(1), 1),
        QueueWrite::UpdatePriority(Crowded(2), 1),
        QueueWrite::UpdateValue(Crowded(2), 1),
        QueueWrite::Remove(Crowded(2)),
        QueueWrite::RemoveRange((Bound::Excluded(1), Bound::Unbounded)),
        QueueWrite::Insert(1, Crowded(2), 1),
    ]);
}

#[test]
fn what_no_writes_lead_to_is_refused() {
    let check = |is_right, changed: u64, limit: u64, items: &[(u8, (u64, u64), u8, u8)]| {
        let limit = Some(Limit {
            len: limit,
            evict: End::Max,
        });
        let state = testing::decode::<QueueState<u8, u8, u8>>(&encode(&(changed, limit, items)));
        assert_eq!(state.is_ok(), is_right, "{changed} {items:?}");
    };
    check(true, 0, 0, &[]);
    check(true, 4, 2, &[(1, (1, 4), 1, 0), (1, (2, 2), 2, 0)]);
    check(false, 4, 1, &[(1, (1, 4), 1, 0), (1, (2, 2), 2, 0)]);
    check(false, 3, 2, &[(1, (1, 4), 1, 0), (1, (2, 2), 2, 0)]);
    check(false, 4, 2, &[(1, (2, 2), 1, 0), (1, (1, 1), 2, 0)]);
    check(false, 4, 2, &[(1, (1, 1), 1, 0), (1, (1, 2), 2, 0)]);
    check(false, 4, 2, &[(1, (1, 1), 1, 0), (1, (2, 2), 1, 0)]);
    check(false, 4, 2, &[(1, (1, 3), 1, 0), (2, (3, 2), 2, 0)]);
    check(false, 4, 2, &[(1, (0, 1), 1, 0)]);
    check(false, u64::MAX, 2, &[(1, (u64::MAX, 1), 1, 0)]);
}
