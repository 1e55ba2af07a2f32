//! Small histories with a known verdict: faults that replicated systems have had, and their near misses.

mod bad;
mod good;

use std::fmt::Debug;

use super::{
    History, Model, OperationId, Position, Report, Violation, check_linearizable, check_log,
};

/// A history, and what each check must say to it: `passes`, or what the violation's message starts with.
struct Case {
    name: &'static str,
    story: fn() -> Verdicts,
    search: &'static str,
    log: &'static str,
}

/// What the two checks say to a history.
struct Verdicts {
    search: Result<Report, Violation>,
    log: Result<Report, Violation>,
}

fn judge<M>(model: &M, history: &History<M::Op, M::Ret>, log: &[(u64, OperationId)]) -> Verdicts
where
    M: Model<Op: Clone, Ret: Clone>,
{
    let operations = history.operations();
    Verdicts {
        search: check_linearizable(model, &operations),
        log: check_log(model, &operations, log),
    }
}

/// Records an operation that nothing overlaps.
fn done<O: Debug, R: Debug>(
    history: &History<O, R>,
    client: u64,
    op: O,
    ret: R,
    position: Position,
) -> OperationId {
    let pending = history.invoke(client, op);
    let id = pending.id();
    pending.ok_at(ret, position);
    id
}

fn verdict(result: &Result<Report, Violation>) -> String {
    match result {
        Ok(_) => "passes".to_owned(),
        Err(violation) => {
            let message = violation.to_string();
            message.split(':').next().unwrap_or_default().to_owned()
        }
    }
}

fn check(cases: &[Case]) {
    let mut wrong = Vec::new();
    for case in cases {
        let verdicts = (case.story)();
        for (check, result, expected) in [
            ("search", &verdicts.search, case.search),
            ("log", &verdicts.log, case.log),
        ] {
            if verdict(result) != expected {
                let name = case.name;
                wrong.push(format!("{name}, {check}: not {expected:?}: {result:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_known_fault_is_found() {
    assert!(bad::CASES.len() >= 16);
    check(&bad::CASES);
}

#[test]
fn each_near_miss_passes() {
    check(&good::CASES);
}
