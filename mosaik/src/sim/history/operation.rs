//! An operation of a client: what was asked, when, and what came of it.

use std::fmt;

/// Names an operation of a history.
///
/// A recorder numbers operations from 0. Where operations are built by hand any numbers do, as long as
/// none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(u64);

impl From<u64> for OperationId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<OperationId> for u64 {
    fn from(id: OperationId) -> Self {
        id.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where in the replicated log an operation took place, as its answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// It is the entry with this index.
    Entry(u64),
    /// It is not in the log: a read of the state that all entries up to this index make.
    After(u64),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(index) => write!(f, "at entry {index}"),
            Self::After(index) => write!(f, "after entry {index}"),
        }
    }
}

/// What a client knows of its operation in the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome<R> {
    /// It was answered: it took effect, once, between its invocation and its completion.
    Ok {
        /// Stamp of the answer.
        completed: u64,
        /// The answer.
        ret: R,
        /// Where in the log, if the answer says so.
        position: Option<Position>,
    },
    /// It was refused: it never took effect, and never will.
    Failed {
        /// Stamp of the refusal.
        completed: u64,
    },
    /// Nobody knows. It may take effect once at any time after its invocation, even long after its
    /// client gave up, or never.
    Unknown,
}

/// One operation of a history.
///
/// [`History`](super::History) makes them. Build them by hand to check a recording of another kind, such
/// as the merged logs of real processes:
///
/// ```
/// use mosaik::sim::history::{Operation, OperationId, Position};
///
/// // Client 7 asked at time 100 and was answered at time 130.
/// let write = Operation::new(OperationId::from(1), 7, "put x", 100);
/// let write = write.ok_at(130, true, Position::Entry(4));
/// // Client 8 asked at time 130, and was never answered.
/// let lost = Operation::<_, bool>::new(OperationId::from(2), 8, "put y", 130);
/// assert!(!write.precedes(&lost), "equal stamps are concurrent");
/// ```
///
/// Stamps are of any unit. They must come from one clock, or from clocks whose error is taken off each
/// `invoked` and put onto each `completed`: an interval that is too long weakens the check, one that is
/// too short makes it accuse the innocent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation<O, R> {
    id: OperationId,
    client: u64,
    op: O,
    invoked: u64,
    outcome: Outcome<R>,
}

impl<O, R> Operation<O, R> {
    /// An operation that `client` invoked at the stamp `invoked`; its outcome is unknown.
    ///
    /// The client is a label. Operations of one client may overlap.
    pub fn new(id: OperationId, client: u64, op: O, invoked: u64) -> Self {
        Self {
            id,
            client,
            op,
            invoked,
            outcome: Outcome::Unknown,
        }
    }

    /// The same operation, answered with `ret` at the stamp `completed`.
    #[must_use]
    pub fn ok(self, completed: u64, ret: R) -> Self {
        self.with_outcome(Outcome::Ok {
            completed,
            ret,
            position: None,
        })
    }

    /// The same operation, answered with `ret` at the stamp `completed`, and told its place in the log.
    #[must_use]
    pub fn ok_at(self, completed: u64, ret: R, position: Position) -> Self {
        self.with_outcome(Outcome::Ok {
            completed,
            ret,
            position: Some(position),
        })
    }

    /// The same operation, refused at the stamp `completed`: it definitely did not happen.
    #[must_use]
    pub fn failed(self, completed: u64) -> Self {
        self.with_outcome(Outcome::Failed { completed })
    }

    /// Its name.
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// Who invoked it.
    pub fn client(&self) -> u64 {
        self.client
    }

    /// What was asked.
    pub fn op(&self) -> &O {
        &self.op
    }

    /// Stamp of the invocation.
    pub fn invoked(&self) -> u64 {
        self.invoked
    }

    /// What its client knows of it.
    pub fn outcome(&self) -> &Outcome<R> {
        &self.outcome
    }

    /// Stamp of the answer or the refusal, if there was one.
    pub fn completed(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::Ok { completed, .. } | Outcome::Failed { completed } => Some(*completed),
            Outcome::Unknown => None,
        }
    }

    /// The answer, if there was one.
    pub fn ret(&self) -> Option<&R> {
        match &self.outcome {
            Outcome::Ok { ret, .. } => Some(ret),
            Outcome::Failed { .. } | Outcome::Unknown => None,
        }
    }

    /// Where in the log, if it was answered and the answer says so.
    pub fn position(&self) -> Option<Position> {
        match &self.outcome {
            Outcome::Ok { position, .. } => *position,
            Outcome::Failed { .. } | Outcome::Unknown => None,
        }
    }

    /// Whether it was over before the other began. Neither of two concurrent operations precedes the
    /// other; equal stamps are concurrent.
    pub fn precedes(&self, other: &Self) -> bool {
        self.completed()
            .is_some_and(|completed| completed < other.invoked)
    }

    fn with_outcome(self, outcome: Outcome<R>) -> Self {
        Self { outcome, ..self }
    }

    pub(super) fn set_outcome(&mut self, outcome: Outcome<R>) {
        self.outcome = outcome;
    }
}

/// On one line: name, client, what was asked and answered, and the stamps.
impl<O: fmt::Debug, R: fmt::Debug> fmt::Display for Operation<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            client,
            op,
            invoked,
            outcome,
        } = self;
        write!(f, "{id} by client {client}: {op:?} -> ")?;
        match outcome {
            Outcome::Ok {
                completed,
                ret,
                position,
            } => {
                write!(f, "{ret:?}")?;
                if let Some(position) = position {
                    write!(f, " {position}")?;
                }
                write!(f, " [{invoked}, {completed}]")
            }
            Outcome::Failed { completed } => write!(f, "failed [{invoked}, {completed}]"),
            Outcome::Unknown => write!(f, "unknown [{invoked}, ..]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(id: u64, invoked: u64) -> Operation<&'static str, u64> {
        Operation::new(id.into(), 3, "put", invoked)
    }

    #[test]
    fn only_what_is_over_precedes() {
        let later = write(1, 6);
        assert!(write(0, 0).ok(5, 1).precedes(&later));
        assert!(write(0, 0).failed(5).precedes(&later));
        assert!(!write(0, 0).ok(6, 1).precedes(&later), "equal stamps");
        assert!(!write(0, 0).precedes(&later), "never over");
    }

    #[test]
    fn it_reads_as_one_line() {
        let cases = [
            (write(0, 2), "#0 by client 3: \"put\" -> unknown [2, ..]"),
            (
                write(0, 2).failed(4),
                "#0 by client 3: \"put\" -> failed [2, 4]",
            ),
            (write(0, 2).ok(4, 9), "#0 by client 3: \"put\" -> 9 [2, 4]"),
            (
                write(0, 2).ok_at(4, 9, Position::After(7)),
                "#0 by client 3: \"put\" -> 9 after entry 7 [2, 4]",
            ),
        ];
        for (operation, text) in cases {
            assert_eq!(operation.to_string(), text);
        }
    }
}
