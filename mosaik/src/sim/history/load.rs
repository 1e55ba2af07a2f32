//! Large histories: what a check takes stays small, and what it cannot decide it says.
//!
//! Bounds are in steps, not in seconds, so that they hold on any machine.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    Model, Operation, OperationId, Position, Violation, check_linearizable,
    check_linearizable_within, check_log,
    samples::{Store, StoreOp, StoreRet},
};

/// A run of clients that ask one after the other, each its own, against a store that never errs.
struct Workload {
    clients: u64,
    operations: usize,
    keys: u8,
    /// Operations of unknown outcome in a thousand; half of them take effect.
    unknown: u32,
    /// Makes a write of a key, given a number that is not used twice.
    writes: fn(&mut StdRng, u8, u64) -> StoreOp,
}

fn put_unique(_: &mut StdRng, key: u8, unique: u64) -> StoreOp {
    StoreOp::Put(key, unique)
}

fn put_small(random: &mut StdRng, key: u8, _: u64) -> StoreOp {
    StoreOp::Put(key, random.random_range(0..4))
}

fn add(_: &mut StdRng, key: u8, _: u64) -> StoreOp {
    StoreOp::Add(key, 1)
}

fn mixed(random: &mut StdRng, key: u8, unique: u64) -> StoreOp {
    match random.random_range(0..3) {
        0 => StoreOp::Put(key, unique % 5),
        1 => StoreOp::CompareAndSet(key, unique % 5, unique % 7),
        _ => StoreOp::Add(key, 1),
    }
}

type Recorded = (Vec<Operation<StoreOp, StoreRet>>, Vec<(u64, OperationId)>);

impl Workload {
    /// The history, and the log behind it.
    fn run(&self, seed: u64) -> Recorded {
        let mut random = StdRng::seed_from_u64(seed);
        let mut free_at = vec![0; self.clients as usize];
        let mut asked = Vec::new();
        for number in 0..self.operations as u64 {
            let client = random.random_range(0..self.clients);
            let invoked = free_at[client as usize] + random.random_range(1..20);
            let length: u64 = random.random_range(1..100);
            free_at[client as usize] = invoked + length;
            let key = random.random_range(0..self.keys);
            let op = if random.random_bool(0.5) {
                StoreOp::Get(key)
            } else {
                (self.writes)(&mut random, key, number)
            };
            let point = invoked + random.random_range(0..=length);
            let operation = Operation::new(number.into(), client, op, invoked);
            asked.push((point, invoked + length, operation));
        }
        asked.sort_by_key(|(point, _, operation)| (*point, operation.id()));
        self.answer(&mut random, asked)
    }

    fn answer(
        &self,
        random: &mut StdRng,
        asked: Vec<(u64, u64, Operation<StoreOp, StoreRet>)>,
    ) -> Recorded {
        let mut states = vec![0; usize::from(self.keys)];
        let mut log = Vec::new();
        let mut operations = Vec::new();
        for (_, completed, operation) in asked {
            let is_unknown = random.random_ratio(self.unknown, 1000);
            if is_unknown && random.random_bool(0.5) {
                operations.push(operation);
                continue;
            }
            let key = Store.key(operation.op());
            let ret = Store.apply(&mut states[usize::from(key)], operation.op());
            let position = if Store.is_read(operation.op()) {
                Position::After(log.len() as u64)
            } else {
                log.push((log.len() as u64 + 1, operation.id()));
                Position::Entry(log.len() as u64)
            };
            operations.push(if is_unknown {
                operation
            } else {
                operation.ok_at(completed, ret, position)
            });
        }
        (operations, log)
    }
}

/// Fifty keys, ten clients, five thousand operations, one in fifty of unknown outcome.
fn usual(writes: fn(&mut StdRng, u8, u64) -> StoreOp) -> Workload {
    Workload {
        clients: 10,
        operations: 5_000,
        keys: 50,
        unknown: 20,
        writes,
    }
}

/// Makes one read in the middle see a value that never was.
fn spoil(operations: &mut [Operation<StoreOp, StoreRet>]) -> OperationId {
    let is_read =
        |one: &Operation<StoreOp, StoreRet>| Store.is_read(one.op()) && one.completed().is_some();
    let middle = operations.len() / 2;
    let mut rest = operations[middle..].iter_mut();
    let read = rest.find(|one| is_read(one)).expect("half are reads");
    let (completed, position) = (read.completed().unwrap(), read.position().unwrap());
    *read = read
        .clone()
        .ok_at(completed, StoreRet::Value(u64::MAX), position);
    read.id()
}

#[test]
fn a_usual_history_takes_a_few_steps_an_operation() {
    for writes in [put_unique, put_small, add, mixed] {
        for seed in 0..3 {
            let (operations, log) = usual(writes).run(seed);
            let report = check_linearizable(&Store, &operations).unwrap();
            assert_eq!((report.keys, report.ok + report.unknown), (50, 5_000));
            assert!(report.unknown > 50 && report.steps < 20_000, "{report:?}");
            let replayed = check_log(&Store, &operations, &log).unwrap();
            assert!(replayed.steps <= 5_000);
        }
    }
}

#[test]
fn a_fault_in_a_usual_history_is_found() {
    for writes in [put_unique, put_small, add, mixed] {
        let (mut operations, log) = usual(writes).run(7);
        let spoiled = spoil(&mut operations);
        let violation = check_linearizable(&Store, &operations).unwrap_err();
        let Violation::NotLinearizable { stuck, .. } = &violation else {
            panic!("{violation}");
        };
        assert!(stuck.iter().any(|stuck| stuck.operation.id == spoiled));
        let violation = check_log(&Store, &operations, &log).unwrap_err();
        assert!(
            matches!(violation, Violation::WrongAnswer { operation, .. } if operation.id == spoiled)
        );
    }
}

#[test]
fn one_key_and_many_unknown_do_not_explode() {
    for writes in [put_unique, put_small, add] {
        let workload = Workload {
            keys: 1,
            unknown: 200,
            operations: 1_000,
            ..usual(writes)
        };
        let (operations, _) = workload.run(1);
        let report = check_linearizable(&Store, &operations).unwrap();
        assert!(report.unknown > 150 && report.steps < 100_000, "{report:?}");
    }
}

#[test]
fn reads_under_way_together_do_not_explode() {
    let reads = (0..40).map(|i| Operation::new(i.into(), i, StoreOp::Get(0), 0));
    let mut operations: Vec<_> = reads.map(|read| read.ok(9, StoreRet::Value(0))).collect();
    let wrong = Operation::new(40.into(), 40, StoreOp::Get(0), 0);
    operations.push(wrong.ok(9, StoreRet::Value(1)));
    let violation = check_linearizable_within(&Store, &operations, 100).unwrap_err();
    assert!(matches!(violation, Violation::NotLinearizable { placed, .. } if placed.len() == 40));
}

#[test]
fn unknown_writes_that_nobody_saw_do_not_explode() {
    let unknown = (0..40).map(|i| Operation::new(i.into(), i, StoreOp::Put(0, i), 0));
    let mut operations: Vec<_> = unknown.collect();
    for i in 40..60 {
        let put = Operation::new(i.into(), 0, StoreOp::Put(0, i), 2 * i);
        operations.push(put.ok(2 * i + 1, StoreRet::Done));
    }
    let wrong = Operation::new(60.into(), 0, StoreOp::Get(0), 200);
    operations.push(wrong.ok(201, StoreRet::Value(99)));
    let violation = check_linearizable_within(&Store, &operations, 3_000).unwrap_err();
    assert!(matches!(violation, Violation::NotLinearizable { placed, .. } if placed.len() == 20));
}

#[test]
fn what_is_too_hard_is_said() {
    // Sums of distinct amounts: which of them happened is a knapsack.
    let mut operations: Vec<_> = (0..40)
        .map(|i| Operation::new(i.into(), i, StoreOp::Add(0, 1 << i), 0))
        .collect();
    let read = Operation::new(40.into(), 40, StoreOp::Get(0), 0);
    operations.push(read.ok(1, StoreRet::Value(u64::MAX)));
    let violation = check_linearizable_within(&Store, &operations, 1_000).unwrap_err();
    assert!(violation.is_inconclusive());
    let expected = Violation::TooHard {
        key: "0".to_owned(),
        limit: 1_000,
        ok: 1,
        unknown: 40,
    };
    assert_eq!(violation, expected);
    // A proof on another key stands above it.
    let read = Operation::new(41.into(), 40, StoreOp::Get(1), 0);
    operations.push(read.ok(1, StoreRet::Value(3)));
    let violation = check_linearizable_within(&Store, &operations, 1_000).unwrap_err();
    assert!(matches!(violation, Violation::NotLinearizable { key, .. } if key == "1"));
}
