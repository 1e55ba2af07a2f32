//! The checks against each other and against brute force, on random tiny histories.

use std::{cell::Cell, collections::BTreeMap};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    Model, Operation, OperationId, Outcome, Position, Violation, check_exactly_once,
    check_linearizable, check_log,
    samples::{Store, StoreOp, StoreRet},
};

/// Enough to have found every mistake that was tried.
const CASES: u32 = 5_000;

type StoreOperation = Operation<StoreOp, StoreRet>;

/// How one operation comes about.
#[derive(Clone, Debug)]
struct Plan {
    op: StoreOp,
    invoked: u64,
    length: u64,
    /// Where in its interval it takes effect, in tenths.
    point: u64,
    fate: Fate,
    /// What the client is told in place of the truth.
    lie: Option<StoreRet>,
    /// By how much the position that the client is told is off.
    shift: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Answered,
    Refused,
    /// It takes effect, and nobody is told.
    Silent,
    /// Nothing happens, and nobody is told.
    Vanished,
}

fn ops() -> impl Strategy<Value = StoreOp> {
    let key = || prop_oneof![4 => Just(0u8), 1 => Just(1)];
    let value = || 0..3u64;
    prop_oneof![
        3 => key().prop_map(StoreOp::Get),
        2 => (key(), value()).prop_map(|(k, v)| StoreOp::Put(k, v)),
        1 => (key(), value(), value()).prop_map(|(k, a, b)| StoreOp::CompareAndSet(k, a, b)),
        2 => key().prop_map(|k| StoreOp::Add(k, 1)),
    ]
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let fate = prop_oneof![
        7 => Just(Fate::Answered),
        1 => Just(Fate::Refused),
        4 => Just(Fate::Silent),
        2 => Just(Fate::Vanished),
    ];
    let ret = prop_oneof![
        3 => (0..3u64).prop_map(StoreRet::Value),
        1 => any::<bool>().prop_map(StoreRet::Changed),
    ];
    let lie = prop_oneof![6 => Just(None), 1 => ret.prop_map(Some)];
    let shift = prop_oneof![8 => Just(0), 1 => 1..4u64];
    let plan = (ops(), 0..10u64, 0..8u64, 0..=10u64, fate, lie, shift);
    let plan = plan.prop_map(|(op, invoked, length, point, fate, lie, shift)| Plan {
        op,
        invoked,
        length,
        point,
        fate,
        lie,
        shift,
    });
    prop::collection::vec(plan, 0..=6)
}

/// What the clients record, and the log behind it.
fn play(plans: &[Plan]) -> (Vec<StoreOperation>, Vec<(u64, OperationId)>) {
    let mut order: Vec<usize> = (0..plans.len()).collect();
    order.sort_by_key(|i| plans[*i].invoked * 10 + plans[*i].length * plans[*i].point);
    let mut states = BTreeMap::new();
    let mut operations = Vec::new();
    let mut log = Vec::new();
    for index in order {
        let plan = &plans[index];
        let id = OperationId::from(index as u64);
        let operation = Operation::new(id, index as u64 % 3, plan.op.clone(), plan.invoked);
        let completed = plan.invoked + plan.length;
        match plan.fate {
            Fate::Refused => operations.push(operation.failed(completed)),
            Fate::Vanished => operations.push(operation),
            Fate::Answered | Fate::Silent => {
                let state = states.entry(Store.key(&plan.op)).or_insert(0);
                let truth = Store.apply(state, &plan.op);
                let position = if Store.is_read(&plan.op) {
                    Position::After(log.len() as u64 + plan.shift)
                } else {
                    log.push((log.len() as u64 + 1, id));
                    Position::Entry(log.len() as u64 + plan.shift)
                };
                let ret = plan.lie.clone().unwrap_or(truth);
                operations.push(match plan.fate {
                    Fate::Answered => operation.ok_at(completed, ret, position),
                    _ => operation,
                });
            }
        }
    }
    (operations, log)
}

/// Whether any order of any choice of the uncertain operations, and all that were answered, explains the
/// answers.
fn brute_force(operations: &[StoreOperation]) -> bool {
    let of = |unknown: bool| {
        let chosen = operations.iter().filter(move |operation| {
            matches!(
                (operation.outcome(), unknown),
                (Outcome::Ok { .. }, false) | (Outcome::Unknown, true)
            )
        });
        chosen.collect::<Vec<_>>()
    };
    let (certain, uncertain) = (of(false), of(true));
    (0..1u32 << uncertain.len()).any(|choice| {
        let chosen = uncertain.iter().enumerate();
        let chosen = chosen.filter(|(i, _)| choice & (1 << i) != 0);
        let mut order: Vec<_> = chosen.map(|(_, operation)| *operation).collect();
        order.extend(&certain);
        any_permutation(&mut order, 0)
    })
}

fn any_permutation(order: &mut Vec<&StoreOperation>, fixed: usize) -> bool {
    if fixed == order.len() {
        return explains(order);
    }
    (fixed..order.len()).any(|next| {
        order.swap(fixed, next);
        let found = any_permutation(order, fixed + 1);
        order.swap(fixed, next);
        found
    })
}

/// Whether an order agrees with real time and gives every answer.
fn explains(order: &[&StoreOperation]) -> bool {
    let mut later = order.iter().enumerate().map(|(i, one)| (one, &order[i..]));
    let mut states = BTreeMap::new();
    later.all(|(one, rest)| rest.iter().all(|other| !other.precedes(one)))
        && order.iter().all(|one| {
            let state = states.entry(Store.key(one.op())).or_insert(0);
            let ret = Store.apply(state, one.op());
            one.ret().is_none_or(|answer| *answer == ret)
        })
}

/// That a violation says the truth: its order explains its answers, and what is stuck does not fit.
fn is_sound(violation: &Violation, operations: &[StoreOperation]) -> bool {
    let Violation::NotLinearizable { placed, stuck, .. } = violation else {
        return false;
    };
    let named = |id| operations.iter().find(|one| one.id() == id).unwrap();
    let order: Vec<_> = placed.iter().map(|witness| named(witness.id)).collect();
    let misfit = |stuck: &super::Stuck| {
        let answer = named(stuck.operation.id).ret();
        answer.is_some_and(|answer| format!("{answer:?}") != stuck.expected)
    };
    // An operation of unknown outcome at the end would explain nothing.
    let ends_well = order.last().is_none_or(|last| last.ret().is_some());
    explains(&order) && ends_well && !stuck.is_empty() && stuck.iter().all(misfit)
}

/// Runs a property on random plans; it returns whether the history passed, and both must be common.
fn for_each_history(property: impl Fn(&[Plan]) -> Result<bool, TestCaseError>) {
    let (passed, failed) = (Cell::new(0u32), Cell::new(0u32));
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(CASES)
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&plans(), |plans| {
        let count = if property(&plans)? { &passed } else { &failed };
        count.set(count.get() + 1);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}\n{runner}");
    }
    assert!(passed.get().min(failed.get()) > CASES / 10);
}

#[test]
fn the_search_agrees_with_brute_force() {
    for_each_history(|plans| {
        let (operations, _) = play(plans);
        let result = check_linearizable(&Store, &operations);
        prop_assert_eq!(result.is_ok(), brute_force(&operations), "{:?}", result);
        if let Err(violation) = &result {
            prop_assert!(is_sound(violation, &operations), "{}", violation);
        }
        Ok(result.is_ok())
    });
}

#[test]
fn what_the_log_explains_is_linearizable() {
    for_each_history(|plans| {
        let (operations, log) = play(plans);
        let result = check_log(&Store, &operations, &log);
        if result.is_ok() {
            prop_assert!(check_linearizable(&Store, &operations).is_ok());
            let applied: Vec<_> = log.iter().map(|(_, id)| *id).collect();
            prop_assert!(check_exactly_once(&operations, &applied).is_ok());
        }
        let honest =
            |plan: &Plan| plan.fate != Fate::Answered || (plan.lie.is_none() && plan.shift == 0);
        if plans.iter().all(honest) {
            prop_assert!(result.is_ok(), "{:?}", result);
        }
        Ok(result.is_ok())
    });
}
