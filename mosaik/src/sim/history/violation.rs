//! Why a history did not pass.

use std::fmt::{self, Debug};

use super::operation::{Operation, OperationId, Position};

/// Most operations of an order that a message shows; the last ones matter.
const SHOWN: usize = 12;

/// Why a history did not pass.
///
/// Two kinds say nothing about the system: [`TooHard`](Self::TooHard) and
/// [`Malformed`](Self::Malformed); see [`Violation::is_inconclusive`]. Each of the others proves that it
/// broke its promise, or that the model does not describe it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// No order of the operations explains the answers. Look at what is stuck: its answers and the
    /// model's differ at the end of the longest order that was found.
    #[error("{}", render_not_linearizable(key, placed, stuck))]
    NotLinearizable {
        /// The part of the state.
        key: String,
        /// The longest order that explains its answers, of those that were found.
        placed: Vec<Witness>,
        /// The operations that real time allows next, by completion. None of them fits; the first was
        /// the first to be over.
        stuck: Vec<Stuck>,
    },
    /// The search was given up: neither proved nor refuted. Record fewer operations a key, fewer of
    /// unknown outcome, or raise the limit with
    /// [`check_linearizable_within`](super::check_linearizable_within).
    #[error(
        "gave up on key {key} after {limit} configurations: \
         it has {ok} operations that were answered and {unknown} of unknown outcome"
    )]
    TooHard {
        /// The part of the state.
        key: String,
        /// What was allowed.
        limit: u64,
        /// How many operations were answered.
        ok: usize,
        /// How many operations are of unknown outcome, reads not counted.
        unknown: usize,
    },
    /// No recording can contain this; correct the recorder.
    #[error("the history is malformed: {operation}: {reason}")]
    Malformed {
        /// The operation.
        operation: Witness,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An operation was answered but is not in the log.
    #[error("lost: {operation} is not in the log")]
    Lost {
        /// The operation.
        operation: Witness,
    },
    /// An operation is in the log more than once.
    #[error("doubled: {operation} was applied at {first} and again at {second}")]
    Doubled {
        /// The operation.
        operation: Witness,
        /// Where it is first.
        first: u64,
        /// Where it is again.
        second: u64,
    },
    /// An operation is in the log elsewhere than its answer said.
    #[error("moved: {operation} was applied at {applied}")]
    Moved {
        /// The operation, and where its answer saw it.
        operation: Witness,
        /// Where it is.
        applied: u64,
    },
    /// An operation that was refused is in the log.
    #[error("resurrected: {operation} was applied at {position}")]
    Resurrected {
        /// The operation.
        operation: Witness,
        /// Where it is.
        position: u64,
    },
    /// Something is in the log that no client asked for.
    #[error("phantom: {id}, applied at {position}, was never invoked")]
    Phantom {
        /// Its name.
        id: OperationId,
        /// Where it is.
        position: u64,
    },
    /// The positions of a log do not increase.
    #[error("disordered: the log goes on from entry {previous} with entry {position}")]
    Disordered {
        /// The position before.
        previous: u64,
        /// The position that is not above it.
        position: u64,
    },
    /// An operation took effect before another that was over when it began.
    #[error("out of order: {second} stands before {first}, which was over when it began")]
    OutOfOrder {
        /// The earlier operation by time.
        first: Witness,
        /// The earlier one by position.
        second: Witness,
    },
    /// A read did not see what had already been answered when it began.
    #[error("stale: {read} does not see {newer}, which was over when it began")]
    Stale {
        /// The read.
        read: Witness,
        /// What it should have seen: a write, or a read of a later state.
        newer: Witness,
    },
    /// An operation got another answer than the log gives.
    #[error("wrong answer: {operation}, but the log gives {expected}")]
    WrongAnswer {
        /// The operation, and the answer that it got.
        operation: Witness,
        /// The answer that it should have got.
        expected: String,
    },
    /// Two replicas applied different things.
    #[error(
        "diverged: number {at} is {} on replica {}, and {} on replica {}",
        entries.0, replicas.0, entries.1, replicas.1
    )]
    Diverged {
        /// Index of the first difference in the logs.
        at: usize,
        /// Indices of the two logs.
        replicas: (usize, usize),
        /// What each has there.
        entries: (String, String),
    },
}

/// An operation as a message shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Witness {
    /// Its name.
    pub id: OperationId,
    /// All of it, on one line.
    pub text: String,
}

/// An operation that does not fit, and what would.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stuck {
    /// The operation, and the answer that it got.
    pub operation: Witness,
    /// What the model answers.
    pub expected: String,
}

impl Violation {
    /// Whether this says nothing about the system: the search was given up, or the recording is wrong.
    pub fn is_inconclusive(&self) -> bool {
        matches!(self, Self::TooHard { .. } | Self::Malformed { .. })
    }

    pub(super) fn malformed<O: Debug, R: Debug>(
        operation: &Operation<O, R>,
        reason: &'static str,
    ) -> Self {
        Self::Malformed {
            operation: operation.into(),
            reason,
        }
    }

    pub(super) fn moved<O: Debug, R: Debug>(operation: &Operation<O, R>, applied: u64) -> Self {
        Self::Moved {
            operation: operation.into(),
            applied,
        }
    }

    /// That `second` does not stand behind `first`, which preceded it.
    pub(super) fn unordered<O: Debug, R: Debug>(
        first: &Operation<O, R>,
        second: &Operation<O, R>,
    ) -> Self {
        if matches!(second.position(), Some(Position::After(_))) {
            Self::Stale {
                read: second.into(),
                newer: first.into(),
            }
        } else {
            Self::OutOfOrder {
                first: first.into(),
                second: second.into(),
            }
        }
    }
}

impl<O: Debug, R: Debug> From<&Operation<O, R>> for Witness {
    fn from(operation: &Operation<O, R>) -> Self {
        Self {
            id: operation.id(),
            text: operation.to_string(),
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; the model answers {}", self.operation, self.expected)
    }
}

fn render_not_linearizable(key: &str, placed: &[Witness], stuck: &[Stuck]) -> String {
    let mut lines = vec![format!("not linearizable: the operations on key {key}")];
    let hidden = placed.len().saturating_sub(SHOWN);
    lines.push(match placed.len() {
        0 => "nothing can come first".to_owned(),
        count => format!("the longest order that explains its answers has {count}:"),
    });
    if hidden > 0 {
        lines.push(format!("  (the first {hidden} are left out)"));
    }
    let shown = placed.iter().skip(hidden);
    lines.extend(shown.map(|witness| format!("  {witness}")));
    lines.push("and none of these can be next:".to_owned());
    lines.extend(stuck.iter().take(SHOWN).map(|stuck| format!("  {stuck}")));
    if stuck.len() > SHOWN {
        lines.push(format!("  (and {} more)", stuck.len() - SHOWN));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(id: u64) -> Witness {
        Witness {
            id: id.into(),
            text: format!("#{id} by client 1: Get -> {id} [0, 1]"),
        }
    }

    #[test]
    fn a_long_order_is_shown_by_its_end() {
        let violation = Violation::NotLinearizable {
            key: "\"x\"".to_owned(),
            placed: (0..15).map(witness).collect(),
            stuck: vec![Stuck {
                operation: witness(15),
                expected: "3".to_owned(),
            }],
        };
        let text = violation.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3 + SHOWN + 2);
        assert_eq!(lines[0], "not linearizable: the operations on key \"x\"");
        assert_eq!(lines[2], "  (the first 3 are left out)");
        assert_eq!(lines[3], "  #3 by client 1: Get -> 3 [0, 1]");
        let last = "  #15 by client 1: Get -> 15 [0, 1]; the model answers 3";
        assert_eq!(lines.last(), Some(&last));
    }

    #[test]
    fn messages_name_the_operations_at_fault() {
        let operation = witness;
        let cases = [
            (
                Violation::Moved {
                    operation: operation(1),
                    applied: 4,
                },
                "moved: #1 by client 1: Get -> 1 [0, 1] was applied at 4",
            ),
            (
                Violation::Stale {
                    read: operation(2),
                    newer: operation(1),
                },
                "stale: #2 by client 1: Get -> 2 [0, 1] does not see \
                 #1 by client 1: Get -> 1 [0, 1], which was over when it began",
            ),
            (
                Violation::Diverged {
                    at: 3,
                    replicas: (0, 2),
                    entries: ("put".to_owned(), "add".to_owned()),
                },
                "diverged: number 3 is put on replica 0, and add on replica 2",
            ),
        ];
        for (violation, text) in cases {
            assert_eq!(violation.to_string(), text);
            assert!(!violation.is_inconclusive());
        }
    }
}
