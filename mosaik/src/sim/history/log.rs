//! The check of a history against the replicated log that explains it.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    fmt::Debug,
};

use super::{
    exactly_once,
    model::Model,
    operation::{Operation, OperationId, Outcome, Position},
    part::OperationOf,
    real_time,
    report::Report,
    violation::Violation,
};

/// Checks a history against the log of operations that a replica applied.
///
/// Where there is a log there is nothing to search: the log is the order. The check takes O(n log n) for
/// n operations, whatever their number on one key and however many are of unknown outcome, and it is
/// sharper than [`check_linearizable`](super::check_linearizable): every answer must be right *at its
/// place*. A history that passes is linearizable.
///
/// `log` holds the position and the name of each operation that was applied, in the order of application.
/// There may be holes, where the system logs entries of its own. Take it from the replica that is furthest
/// ahead when the run is over, and compare the others' with [`check_prefix`](super::check_prefix).
///
/// ```
/// use mosaik::sim::history::{History, Model, Position, Violation, check_log};
///
/// /// A counter: every operation adds to it, and answers what it is then. Adding 0 reads it.
/// struct Counter;
///
/// impl Model for Counter {
///     type Op = u64;
///     type Ret = u64;
///     type Key = ();
///     type State = u64;
///
///     fn key(&self, _: &u64) {}
///
///     fn initial(&self, _: &()) -> u64 {
///         0
///     }
///
///     fn apply(&self, state: &mut u64, amount: &u64) -> u64 {
///         *state += amount;
///         *state
///     }
///
///     fn is_read(&self, amount: &u64) -> bool {
///         *amount == 0
///     }
/// }
///
/// let history = History::new();
/// let mut log = Vec::new();
///
/// let add = history.invoke(1, 5);
/// log.push((3, add.id())); // The replica applied it as entry 3.
/// add.ok_at(5, Position::Entry(3));
/// history.invoke(2, 0).ok_at(5, Position::After(3));
/// assert!(check_log(&Counter, &history.operations(), &log).is_ok());
///
/// history.invoke(2, 0).ok_at(0, Position::After(2));
/// let violation = check_log(&Counter, &history.operations(), &log).unwrap_err();
/// assert!(matches!(violation, Violation::Stale { .. }));
/// ```
///
/// # Errors
///
/// The first of these that does not hold:
///
/// - The history can be: else [`Violation::Malformed`]. Every answer must have a [`Position`], and what is
///   answered [`Position::After`] must not change the state.
/// - The positions of the log increase: [`Violation::Disordered`].
/// - It holds only what was invoked ([`Violation::Phantom`]) and not refused
///   ([`Violation::Resurrected`]), and that once ([`Violation::Doubled`]).
/// - Everything that was answered as an entry is there ([`Violation::Lost`]), at the position that the
///   answer gave, and no read is ([`Violation::Moved`]).
/// - What was over before another operation began stands before it: [`Violation::OutOfOrder`],
///   [`Violation::Stale`].
/// - The model, taken through the log, gives every answer: [`Violation::WrongAnswer`].
pub fn check_log<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Ret>],
    log: &[(u64, OperationId)],
) -> Result<Report, Violation> {
    let mut report = Report::of(operations)?;
    for operation in operations {
        if operation.ret().is_some() && operation.position().is_none() {
            let reason = "it was answered without a position, see `ok_at`";
            return Err(Violation::malformed(operation, reason));
        }
    }
    check_increasing(log)?;
    let applied = exactly_once::applied(operations, log)?;
    check_places(operations, &applied)?;
    real_time::check(operations, &applied)?;
    let mut replay = Replay {
        model,
        states: BTreeMap::new(),
        steps: 0,
    };
    replay.run(operations, log)?;
    report.keys = replay.states.len();
    report.steps = replay.steps;
    Ok(report)
}

fn check_increasing(log: &[(u64, OperationId)]) -> Result<(), Violation> {
    let disordered = log.windows(2).find(|pair| pair[0].0 >= pair[1].0);
    match disordered {
        Some(pair) => Err(Violation::Disordered {
            previous: pair[0].0,
            position: pair[1].0,
        }),
        None => Ok(()),
    }
}

/// That every answer's position is where the operation is.
fn check_places<O: Debug, R: Debug>(
    operations: &[Operation<O, R>],
    applied: &HashMap<OperationId, u64>,
) -> Result<(), Violation> {
    for operation in operations {
        let at = applied.get(&operation.id()).copied();
        match (operation.position(), at) {
            (Some(Position::Entry(answered)), Some(at)) if at != answered => {
                return Err(Violation::moved(operation, at));
            }
            (Some(Position::After(_)), Some(at)) => return Err(Violation::moved(operation, at)),
            _ => {}
        }
    }
    Ok(())
}

/// A model on its way through a log.
struct Replay<'a, M: Model> {
    model: &'a M,
    states: BTreeMap<M::Key, M::State>,
    steps: u64,
}

impl<M: Model> Replay<'_, M> {
    fn run(
        &mut self,
        operations: &[OperationOf<M>],
        log: &[(u64, OperationId)],
    ) -> Result<(), Violation> {
        let named = operations
            .iter()
            .map(|operation| (operation.id(), operation));
        let named: HashMap<OperationId, &OperationOf<M>> = named.collect();
        let read = |operation| match Operation::position(operation) {
            Some(Position::After(index)) => Some((index, operation)),
            _ => None,
        };
        let mut reads: Vec<(u64, &OperationOf<M>)> = operations.iter().filter_map(read).collect();
        reads.sort_by_key(|(index, _)| *index);
        let mut reads = reads.into_iter().peekable();
        for (position, id) in log {
            while let Some((_, read)) = reads.next_if(|(index, _)| index < position) {
                self.read(read)?;
            }
            let operation = named[id];
            let ret = self.apply(operation);
            Self::compare(operation, &ret)?;
        }
        reads.try_for_each(|(_, read)| self.read(read))
    }

    fn apply(&mut self, operation: &OperationOf<M>) -> M::Ret {
        self.steps += 1;
        let model = self.model;
        model.apply(self.state(operation), operation.op())
    }

    fn read(&mut self, operation: &OperationOf<M>) -> Result<(), Violation> {
        let trusted = self.model.is_read(operation.op());
        let before = (!trusted).then(|| self.state(operation).clone());
        let ret = self.apply(operation);
        if before.is_some_and(|before| *self.state(operation) != before) {
            let reason = "it was answered as a read, but changes the state";
            return Err(Violation::malformed(operation, reason));
        }
        Self::compare(operation, &ret)
    }

    fn state(&mut self, operation: &OperationOf<M>) -> &mut M::State {
        let model = self.model;
        match self.states.entry(model.key(operation.op())) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let state = model.initial(entry.key());
                entry.insert(state)
            }
        }
    }

    fn compare(operation: &OperationOf<M>, expected: &M::Ret) -> Result<(), Violation> {
        match operation.outcome() {
            Outcome::Ok { ret, .. } if ret != expected => Err(Violation::WrongAnswer {
                operation: operation.into(),
                expected: format!("{expected:?}"),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            History,
            samples::{
                Store,
                StoreOp::{Add, Get, Put},
                StoreRet::{Done, Value},
            },
        },
        *,
    };

    #[test]
    fn a_violation_names_both_sides() {
        let history = History::new();
        let first = history.invoke(1, Put(0, 1));
        let log = [(1, first.id())];
        first.ok_at(Done, Position::Entry(1));
        history
            .invoke(2, Get(1))
            .ok_at(Value(0), Position::After(0));
        let Err(Violation::Stale { read, newer }) = check_log(&Store, &history.operations(), &log)
        else {
            panic!("a read of any key must see the log so far");
        };
        assert_eq!((read.id, newer.id), (1.into(), 0.into()));
    }

    #[test]
    fn what_is_answered_as_a_read_must_be_one() {
        let history = History::new();
        history
            .invoke(1, Add(0, 1))
            .ok_at(Value(1), Position::After(0));
        let violation = check_log(&Store, &history.operations(), &[]).unwrap_err();
        assert!(
            matches!(violation, Violation::Malformed { .. }),
            "{violation}"
        );
        let history = History::new();
        history
            .invoke(1, Add(0, 0))
            .ok_at(Value(0), Position::After(0));
        assert!(check_log(&Store, &history.operations(), &[]).is_ok());
    }

    #[test]
    fn a_report_says_what_was_replayed() {
        let history = History::new();
        let unknown = history.invoke(1, Put(0, 1));
        history.invoke(1, Put(1, 1)).failed();
        history
            .invoke(2, Get(0))
            .ok_at(Value(1), Position::After(5));
        history
            .invoke(2, Get(2))
            .ok_at(Value(0), Position::After(4));
        let log = [(5, unknown.id())];
        let violation = check_log(&Store, &history.operations(), &log).unwrap_err();
        assert!(matches!(violation, Violation::Stale { .. }), "{violation}");
        let operations = &history.operations()[..3];
        let report = check_log(&Store, operations, &log).unwrap();
        let expected = Report {
            ok: 1,
            failed: 1,
            unknown: 1,
            keys: 1,
            steps: 2,
        };
        assert_eq!(report, expected);
    }
}
