//! The check of a history by itself: is there an order that explains the answers?

use std::collections::BTreeMap;

use super::{
    model::Model,
    operation::Operation,
    part::{OperationOf, Part},
    report::Report,
    search::{Chains, Search, Verdict},
    violation::Violation,
};

/// Most configurations that [`check_linearizable`] explores for one key.
///
/// A configuration takes about 250 bytes and a copy of the state: some 250 MB for a small one, and some
/// seconds, before the search gives up.
pub const DEFAULT_LIMIT: u64 = 1_000_000;

/// Checks that a history is linearizable: that every operation seems to take effect at one instant
/// between its invocation and its completion (Herlihy and Wing, 1990).
///
/// An operation that failed has no effect. One of unknown outcome may take effect once, at any time after
/// its invocation, or never.
///
/// ```
/// use mosaik::sim::history::{History, Model, Violation, check_linearizable};
///
/// /// A register that holds 0 at first.
/// struct Register;
///
/// #[derive(Clone, Debug, PartialEq)]
/// enum Op {
///     Write(u64),
///     Read,
/// }
///
/// impl Model for Register {
///     type Op = Op;
///     type Ret = u64;
///     type Key = ();
///     type State = u64;
///
///     fn key(&self, _: &Op) {}
///
///     fn initial(&self, _: &()) -> u64 {
///         0
///     }
///
///     fn apply(&self, state: &mut u64, op: &Op) -> u64 {
///         if let Op::Write(value) = op {
///             *state = *value;
///         }
///         *state
///     }
/// }
///
/// let history = History::new();
/// let write = history.invoke(1, Op::Write(5));
/// history.invoke(2, Op::Read).ok(5); // The write is under way: both 0 and 5 would be right.
/// write.ok(5);
/// assert!(check_linearizable(&Register, &history.operations()).is_ok());
///
/// history.invoke(2, Op::Read).ok(0);
/// let violation = check_linearizable(&Register, &history.operations()).unwrap_err();
/// assert!(matches!(violation, Violation::NotLinearizable { .. }));
/// println!("{violation}");
/// ```
///
/// # Method
///
/// The search of Wing and Gong (*Testing and verifying concurrent objects*, 1993) with the memoisation of
/// Lowe (*Testing for linearizability*, 2017), key by key. The problem is NP-complete (Gibbons and Korach,
/// *Testing shared memories*, 1997). What makes it slow is many operations on one key at a time, and many
/// of unknown outcome that change the state: time is linear in the length of a usual history, but may
/// double with each of those.
///
/// # Errors
///
/// [`Violation::NotLinearizable`] for the first key of which no order explains the answers.
/// [`Violation::TooHard`] if there is none such, but a search came to its limit, [`DEFAULT_LIMIT`].
/// [`Violation::Malformed`] if an id is used twice or an operation completes before it begins.
pub fn check_linearizable<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Ret>],
) -> Result<Report, Violation> {
    check_linearizable_within(model, operations, DEFAULT_LIMIT)
}

/// As [`check_linearizable`], exploring up to `limit` configurations a key.
///
/// A configuration is what has been placed so far and the state it makes. So that the limit bounds time
/// too, 64 operations that were tried count as one more.
///
/// # Errors
///
/// Those of [`check_linearizable`].
pub fn check_linearizable_within<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Ret>],
    limit: u64,
) -> Result<Report, Violation> {
    let mut report = Report::of(operations)?;
    let mut parts: BTreeMap<M::Key, Vec<&OperationOf<M>>> = BTreeMap::new();
    for operation in operations {
        let key = model.key(operation.op());
        parts.entry(key).or_default().push(operation);
    }
    report.keys = parts.len();
    let mut too_hard = None;
    for (key, operations) in parts {
        let part = Part::new(model, operations);
        match search(model, &key, &part, limit) {
            Ok(steps) => report.steps += steps,
            Err(violation @ Violation::TooHard { .. }) => too_hard = too_hard.or(Some(violation)),
            Err(violation) => return Err(violation),
        }
    }
    too_hard.map_or(Ok(report), Err)
}

/// Searches an order for one part, and returns what it took.
fn search<M: Model>(
    model: &M,
    key: &M::Key,
    part: &Part<'_, M>,
    limit: u64,
) -> Result<u64, Violation> {
    // An order seldom needs two uncertain operations in a row, and is found much sooner where none are.
    let mut search = Search::new(model, key, part, Chains::None);
    let mut verdict = search.run(limit);
    let mut steps = search.cost();
    if matches!(verdict, Verdict::Refuted(_)) && !part.uncertain.is_empty() {
        let mut search = Search::new(model, key, part, Chains::Any);
        verdict = search.run(limit.saturating_sub(steps));
        steps += search.cost();
    }
    match verdict {
        Verdict::Found => Ok(steps),
        Verdict::Refuted(best) => Err(part.explain(model, key, &best)),
        Verdict::GivenUp => Err(Violation::TooHard {
            key: format!("{key:?}"),
            limit,
            ok: part.certain.len(),
            unknown: part.uncertain.len(),
        }),
    }
}
