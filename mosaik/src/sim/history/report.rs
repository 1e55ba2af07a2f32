//! What a check has looked at, for a test to see that it was not nothing.

use std::{collections::HashSet, fmt::Debug};

use super::{
    operation::{Operation, Outcome},
    violation::Violation,
};

/// What a history that passed consists of, and what the check took.
///
/// A test should look at it: a history of nothing but failed operations passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Operations that were answered.
    pub ok: usize,
    /// Operations that were refused.
    pub failed: usize,
    /// Operations of unknown outcome.
    pub unknown: usize,
    /// Independent parts of the state that were checked; 0 without a model.
    pub keys: usize,
    /// What it took: configurations explored by a search, operations replayed from a log; 0 without a
    /// model.
    pub steps: u64,
}

impl Report {
    /// Counts the operations, and refuses those that no history can contain.
    pub(super) fn of<O: Debug, R: Debug>(
        operations: &[Operation<O, R>],
    ) -> Result<Self, Violation> {
        let mut report = Self::default();
        let mut ids = HashSet::with_capacity(operations.len());
        for operation in operations {
            if !ids.insert(operation.id()) {
                return Err(Violation::malformed(operation, "its id is used twice"));
            }
            if let Some(completed) = operation.completed()
                && completed < operation.invoked()
            {
                let reason = "it completed before it was invoked";
                return Err(Violation::malformed(operation, reason));
            }
            match operation.outcome() {
                Outcome::Ok { .. } => report.ok += 1,
                Outcome::Failed { .. } => report.failed += 1,
                Outcome::Unknown => report.unknown += 1,
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::check_exactly_once, *};

    #[test]
    fn it_counts_outcomes() {
        let start = |id: u64| Operation::<_, u64>::new(id.into(), 1, "add", 0);
        let operations = [start(0).ok(1, 5), start(1).failed(1), start(2), start(3)];
        let report = check_exactly_once(&operations, &[0.into(), 3.into()]).unwrap();
        assert_eq!((report.ok, report.failed, report.unknown), (1, 1, 2));
    }

    #[test]
    fn what_no_recording_can_contain_is_refused() {
        let start = |id: u64| Operation::<_, u64>::new(id.into(), 1, "add", 5);
        let cases = [
            (vec![start(3), start(3)], "its id is used twice"),
            (
                vec![start(0).ok(4, 1)],
                "it completed before it was invoked",
            ),
            (
                vec![start(0).failed(4)],
                "it completed before it was invoked",
            ),
        ];
        for (operations, expected) in cases {
            let violation = check_exactly_once(&operations, &[]).unwrap_err();
            assert!(violation.is_inconclusive());
            let Violation::Malformed { reason, .. } = violation else {
                panic!("{violation}");
            };
            assert_eq!(reason, expected);
        }
    }
}
