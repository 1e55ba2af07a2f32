//! The operations on one independent part of the state, as the search wants them.

use super::{
    model::Model,
    operation::{Operation, Outcome},
    violation::{Stuck, Violation, Witness},
};

/// How far back to look for an equal operation of unknown outcome. To miss one costs time only.
const TWIN_LOOKBACK: usize = 256;

/// An operation of a model.
pub(super) type OperationOf<M> = Operation<<M as Model>::Op, <M as Model>::Ret>;

/// One operation of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// One that was answered.
    Certain(usize),
    /// One of unknown outcome.
    Uncertain(usize),
}

/// The operations on one part of the state; both lists are by invocation.
pub(super) struct Part<'a, M: Model> {
    /// The operations that must be placed.
    pub(super) certain: Vec<Certain<'a, M>>,
    /// The operations that may be placed.
    pub(super) uncertain: Vec<Uncertain<'a, M>>,
}

/// An operation that took effect.
pub(super) struct Certain<'a, M: Model> {
    pub(super) operation: &'a OperationOf<M>,
    pub(super) completed: u64,
    pub(super) ret: &'a M::Ret,
}

/// An operation that may have taken effect.
pub(super) struct Uncertain<'a, M: Model> {
    pub(super) operation: &'a OperationOf<M>,
    /// The one before it that is equal. The two are interchangeable, so this one is tried only when that
    /// one is used.
    pub(super) twin: Option<usize>,
}

impl<'a, M: Model> Part<'a, M> {
    /// The operations of a part, without those that have no effect.
    pub(super) fn new(model: &M, operations: Vec<&'a OperationOf<M>>) -> Self {
        let mut part = Self {
            certain: Vec::new(),
            uncertain: Vec::new(),
        };
        for operation in operations {
            match operation.outcome() {
                Outcome::Ok { completed, ret, .. } => part.certain.push(Certain {
                    operation,
                    completed: *completed,
                    ret,
                }),
                Outcome::Unknown if !model.is_read(operation.op()) => {
                    part.uncertain.push(Uncertain {
                        operation,
                        twin: None,
                    });
                }
                Outcome::Unknown | Outcome::Failed { .. } => {}
            }
        }
        part.certain.sort_by_key(|one| one.operation.invoked());
        part.uncertain.sort_by_key(|one| one.operation.invoked());
        part.find_twins();
        part
    }

    /// The intervals of the operations that must be placed.
    pub(super) fn intervals(&self) -> Vec<(u64, u64)> {
        let certain = self.certain.iter();
        certain
            .map(|one| (one.operation.invoked(), one.completed))
            .collect()
    }

    /// What a step asks for, and what was answered if that is known.
    pub(super) fn step(&self, step: Step) -> (&'a M::Op, Option<&'a M::Ret>) {
        match step {
            Step::Certain(index) => {
                let one = &self.certain[index];
                (one.operation.op(), Some(one.ret))
            }
            Step::Uncertain(index) => (self.uncertain[index].operation.op(), None),
        }
    }

    /// Shows why the order `best`, the longest that was found, cannot go on.
    pub(super) fn explain(&self, model: &M, key: &M::Key, best: &[Step]) -> Violation {
        // Uncertain operations at the end were tried in vain.
        let is_certain = |step: &Step| matches!(step, Step::Certain(_));
        let end = best.iter().rposition(is_certain).map_or(0, |last| last + 1);
        let placed = &best[..end];
        let mut state = model.initial(key);
        for step in placed {
            model.apply(&mut state, self.step(*step).0);
        }
        let stuck = self.next(placed).into_iter().map(|one| Stuck {
            operation: one.operation.into(),
            expected: format!("{:?}", model.apply(&mut state.clone(), one.operation.op())),
        });
        Violation::NotLinearizable {
            key: format!("{key:?}"),
            placed: placed.iter().map(|step| self.witness(*step)).collect(),
            stuck: stuck.collect(),
        }
    }

    /// The certain operations that real time allows behind `placed`, by completion.
    fn next(&self, placed: &[Step]) -> Vec<&Certain<'a, M>> {
        let mut is_left = vec![true; self.certain.len()];
        for step in placed {
            if let Step::Certain(index) = step {
                is_left[*index] = false;
            }
        }
        let left = self.certain.iter().zip(is_left);
        let left = left.filter_map(|(one, is_left)| is_left.then_some(one));
        let mut next: Vec<_> = left.collect();
        next.sort_by_key(|one| one.completed);
        if let Some(deadline) = next.first().map(|one| one.completed) {
            next.retain(|one| one.operation.invoked() <= deadline);
        }
        next
    }

    fn witness(&self, step: Step) -> Witness {
        match step {
            Step::Certain(index) => self.certain[index].operation.into(),
            Step::Uncertain(index) => self.uncertain[index].operation.into(),
        }
    }

    fn find_twins(&mut self) {
        for index in 0..self.uncertain.len() {
            let op = self.uncertain[index].operation.op();
            let earlier = (0..index).rev().take(TWIN_LOOKBACK);
            let mut equal = earlier.filter(|at| self.uncertain[*at].operation.op() == op);
            let twin = equal.next();
            self.uncertain[index].twin = twin;
        }
    }
}
