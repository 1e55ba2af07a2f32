//! What a system is supposed to do, as a sequential program.

use std::{fmt::Debug, hash::Hash};

/// The sequential specification of a system: what it would answer if there were one copy of it and one
/// client at a time.
///
/// ```
/// use mosaik::sim::history::Model;
///
/// /// Named counters.
/// struct Counters;
///
/// #[derive(Clone, Debug, PartialEq)]
/// enum Op {
///     Add(&'static str, i64),
///     Get(&'static str),
/// }
///
/// impl Model for Counters {
///     type Op = Op;
///     type Ret = i64;
///     type Key = &'static str;
///     type State = i64;
///
///     fn key(&self, op: &Op) -> &'static str {
///         match op {
///             Op::Add(name, _) | Op::Get(name) => name,
///         }
///     }
///
///     fn initial(&self, _: &&'static str) -> i64 {
///         0
///     }
///
///     fn apply(&self, state: &mut i64, op: &Op) -> i64 {
///         if let Op::Add(_, amount) = op {
///             *state += amount;
///         }
///         *state
///     }
///
///     fn is_read(&self, op: &Op) -> bool {
///         matches!(op, Op::Get(_))
///     }
/// }
/// ```
pub trait Model {
    /// What clients ask for. Equal operations must do the same.
    type Op: PartialEq + Debug;
    /// What they are answered.
    type Ret: PartialEq + Debug;
    /// Names an independent part of the state; `()` if there is but one.
    ///
    /// A history is linearizable if and only if its part for each key is (locality: Herlihy and Wing,
    /// *Linearizability: a correctness condition for concurrent objects*, 1990), and many short searches
    /// are much faster than a long one. So make parts as small as operations allow.
    type Key: Ord + Clone + Debug;
    /// The state of one part. The search keeps many copies.
    type State: Clone + Eq + Hash;

    /// The part of the state that an operation reads or changes.
    fn key(&self, op: &Self::Op) -> Self::Key;

    /// The state of a part before any operation.
    fn initial(&self, key: &Self::Key) -> Self::State;

    /// Does what is asked, and answers. It must depend on nothing but its arguments.
    fn apply(&self, state: &mut Self::State, op: &Self::Op) -> Self::Ret;

    /// Whether an operation can never change any state. Saying `false` is always right, and slower; a
    /// wrong `true` makes verdicts wrong.
    ///
    /// A read of unknown outcome has no effect that anybody could see, so the search leaves it out. One
    /// that was answered is placed as soon as its answer fits.
    fn is_read(&self, op: &Self::Op) -> bool {
        let _ = op;
        false
    }
}
