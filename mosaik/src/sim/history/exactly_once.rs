//! What was answered was applied, once, and nothing else.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt::Debug,
};

use super::{
    operation::{Operation, OperationId, Outcome, Position},
    report::Report,
    violation::Violation,
};

/// Checks that every operation that was answered was applied exactly once, and every other at most once,
/// or never if it was refused.
///
/// `applied` names the operations in the order in which a replica applied them; positions in a violation
/// count it from 0. Reads that were answered [`Position::After`] an entry are no part of it; leave other
/// reads that do not pass through the log out of `operations`.
///
/// This needs neither model nor positions; [`check_log`](super::check_log) includes it.
///
/// ```
/// use mosaik::sim::history::{History, Violation, check_exactly_once};
///
/// let history = History::new();
/// let retried = history.invoke(1, "deposit");
/// let id = retried.id();
/// retried.ok(());
/// let operations = history.operations();
/// assert!(check_exactly_once(&operations, &[id]).is_ok());
/// let violation = check_exactly_once(&operations, &[id, id]).unwrap_err();
/// assert!(matches!(violation, Violation::Doubled { .. }));
/// ```
///
/// # Errors
///
/// [`Violation::Phantom`], [`Violation::Resurrected`], [`Violation::Doubled`], [`Violation::Lost`];
/// [`Violation::Malformed`] if an id is used twice or an operation completes before it begins.
pub fn check_exactly_once<O: Debug, R: Debug>(
    operations: &[Operation<O, R>],
    applied: &[OperationId],
) -> Result<Report, Violation> {
    let report = Report::of(operations)?;
    let log: Vec<(u64, OperationId)> = (0..).zip(applied.iter().copied()).collect();
    self::applied(operations, &log)?;
    Ok(report)
}

/// Where each operation of a log is, if it holds what it must, once.
///
/// # Errors
///
/// Those of [`check_exactly_once`].
pub(super) fn applied<O: Debug, R: Debug>(
    operations: &[Operation<O, R>],
    log: &[(u64, OperationId)],
) -> Result<HashMap<OperationId, u64>, Violation> {
    let named = operations
        .iter()
        .map(|operation| (operation.id(), operation));
    let named: HashMap<OperationId, &Operation<O, R>> = named.collect();
    let mut applied = HashMap::with_capacity(log.len());
    for (position, id) in log.iter().copied() {
        let Some(operation) = named.get(&id).copied() else {
            return Err(Violation::Phantom { id, position });
        };
        if matches!(operation.outcome(), Outcome::Failed { .. }) {
            let operation = operation.into();
            return Err(Violation::Resurrected {
                operation,
                position,
            });
        }
        match applied.entry(id) {
            Entry::Vacant(entry) => entry.insert(position),
            Entry::Occupied(entry) => {
                return Err(Violation::Doubled {
                    operation: operation.into(),
                    first: *entry.get(),
                    second: position,
                });
            }
        };
    }
    let lost = operations.iter().find(|operation| {
        let is_read = matches!(operation.position(), Some(Position::After(_)));
        operation.ret().is_some() && !is_read && !applied.contains_key(&operation.id())
    });
    match lost {
        Some(operation) => Err(Violation::Lost {
            operation: operation.into(),
        }),
        None => Ok(applied),
    }
}
