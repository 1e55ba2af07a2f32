//! Real time against the log: what was over before another operation began stands before it.

use std::{collections::HashMap, fmt::Debug};

use super::{
    operation::{Operation, OperationId, Position},
    violation::Violation,
};

/// Checks that positions agree with real time, in O(n log n).
///
/// An operation of unknown outcome that is in the log is never over, but it did begin.
///
/// # Errors
///
/// [`Violation::Stale`] for a read, [`Violation::OutOfOrder`] for an entry that stands too early.
pub(super) fn check<O: Debug, R: Debug>(
    operations: &[Operation<O, R>],
    applied: &HashMap<OperationId, u64>,
) -> Result<(), Violation> {
    let place = |operation: &'_ Operation<O, R>| {
        let entry = applied.get(&operation.id()).copied().map(Position::Entry);
        operation.position().or(entry)
    };
    let placed = operations.iter().filter_map(|one| Some((place(one)?, one)));
    let mut beginning: Vec<(Position, &Operation<O, R>)> = placed.collect();
    let over = beginning
        .iter()
        .filter_map(|(place, one)| Some((one.completed()?, *place, *one)));
    let mut ending: Vec<(u64, Position, &Operation<O, R>)> = over.collect();
    beginning.sort_by_key(|(_, one)| one.invoked());
    ending.sort_by_key(|(completed, ..)| *completed);
    let mut ending = ending.into_iter().peekable();
    let mut furthest: Option<(Position, &Operation<O, R>)> = None;
    for (place, one) in beginning {
        while let Some((_, at, earlier)) =
            ending.next_if(|(completed, ..)| *completed < one.invoked())
        {
            if furthest.is_none_or(|(far, _)| rank(far) < rank(at)) {
                furthest = Some((at, earlier));
            }
        }
        if let Some((far, earlier)) = furthest
            && rank(place) < rank(far)
        {
            return Err(Violation::unordered(earlier, one));
        }
    }
    Ok(())
}

/// Reads come between the entry that they are after and the next. Reads of one state are in no order;
/// two entries never share a place.
fn rank(position: Position) -> (u64, bool) {
    match position {
        Position::Entry(index) => (index, false),
        Position::After(index) => (index, true),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Kind {
        Entry,
        Read,
        /// In the log, of unknown outcome.
        Applied,
        /// Not in the log, of unknown outcome.
        Lost,
    }

    type Timed = (u64, u64, u64, Kind);

    fn timed() -> impl Strategy<Value = Vec<Timed>> {
        let kind = prop_oneof![
            Just(Kind::Entry),
            Just(Kind::Read),
            Just(Kind::Applied),
            Just(Kind::Lost),
        ];
        prop::collection::vec((0..8u64, 0..4u64, 0..6u64, kind), 0..5)
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_look_at_every_pair(timed in timed()) {
            let mut applied = HashMap::new();
            let mut operations = Vec::new();
            for (id, (invoked, length, index, kind)) in (0..).zip(&timed) {
                let id = OperationId::from(id);
                let completed = invoked + length;
                let start = Operation::new(id, 1, (), *invoked);
                if matches!(kind, Kind::Entry | Kind::Applied) {
                    applied.insert(id, *index);
                }
                operations.push(match kind {
                    Kind::Entry => start.ok_at(completed, (), Position::Entry(*index)),
                    Kind::Read => start.ok_at(completed, (), Position::After(*index)),
                    Kind::Applied | Kind::Lost => start,
                });
            }
            // Reads stand half-way between entries.
            let place = |(_, _, index, kind): &Timed| match kind {
                Kind::Entry | Kind::Applied => Some(2 * index),
                Kind::Read => Some(2 * index + 1),
                Kind::Lost => None,
            };
            let answered = |timed: &&Timed| matches!(timed.3, Kind::Entry | Kind::Read);
            let agrees = timed.iter().filter(answered).all(|first| {
                let mut later = timed.iter().filter(|later| first.0 + first.1 < later.0);
                later.all(|later| place(later).is_none_or(|at| Some(at) >= place(first)))
            });
            prop_assert_eq!(check(&operations, &applied).is_ok(), agrees);
        }
    }
}
