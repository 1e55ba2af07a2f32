//! `compare_exchange`, by value.
//!
//! Values are compared by their own `PartialEq`, which only the caller is known to have: a collection holds any
//! values. So a state compares stamps, and callers values. A caller sends the [stamp](guess) of the value in its own
//! copy of the state that equals the one it expects. If the state has another stamp by then, it answers what it has,
//! and only if that equals the expected value once more the caller [tries again](settle), with the new stamp.
//!
//! That is by value to the letter: what is exchanged equals what was expected when the write was applied, and what
//! is refused did not. A retry takes place only when somebody else wrote an equal value in between, or when the
//! caller's copy is behind. Comparing encodings instead would need no retry, but two encodings of one value may
//! differ (a `HashMap` in it suffices), and then replicas would disagree about who has won.

use super::{
    shared::Shared,
    stamp::{Mark, Origin, Stamp, Stamps},
};

/// What a state answers: what was there before the exchange, or what is there instead of what was expected.
pub(crate) type Exchanged<T> = Result<Option<T>, Option<(Mark, T)>>;

/// What a caller does with a state's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled<T> {
    /// That is the outcome: what was there before, or what is there instead.
    Done(Result<Option<T>, Option<T>>),
    /// The value is the expected one, written again: the same has to be asked with this stamp.
    Again(Mark),
}

/// The stamp to ask with at first, of a caller who sees `here`, of this origin, and expects `current`; `None` stands
/// for no value.
pub(crate) fn guess<T: PartialEq>(
    here: Option<&Shared<T>>,
    origin: Origin,
    current: Option<&T>,
) -> Option<Mark> {
    let current = current?;
    let equal = here.filter(|here| here.value() == current);
    // No value has the stamp `NEVER`: the state answers what it has.
    let stamp = equal.map_or(Stamp::NEVER, Shared::stamp);
    Some(Mark { origin, stamp })
}

/// What marks the value in a caller's copy, of this origin, if there is one.
pub(crate) fn mark<T>(here: Option<&Shared<T>>, origin: Origin) -> Option<Mark> {
    here.map(Shared::stamp).map(|stamp| Mark { origin, stamp })
}

/// What a caller who expects `current` makes of a state's answer.
pub(crate) fn settle<T: PartialEq>(answer: Exchanged<T>, current: Option<&T>) -> Settled<T> {
    match (answer, current) {
        (Ok(before), _) => Settled::Done(Ok(before)),
        (Err(Some((mark, actual))), Some(current)) if actual == *current => Settled::Again(mark),
        (Err(actual), _) => Settled::Done(Err(actual.map(|(_, actual)| actual))),
    }
}

/// The state's part: refuses, with what there is, if what there is has not the stamp `expected`.
pub(crate) fn check<T>(
    actual: Option<&Shared<T>>,
    expected: Option<Mark>,
    stamps: &Stamps,
) -> Result<(), Option<(Mark, Shared<T>)>> {
    let mark = |actual: &Shared<T>| stamps.mark(actual.stamp());
    if actual.map(mark) == expected {
        Ok(())
    } else {
        Err(actual.map(|actual| (mark(actual), actual.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin::of([5; 16]);

    fn mark(stamp: Stamp) -> Mark {
        let origin = ORIGIN;
        Mark { origin, stamp }
    }

    #[test]
    fn a_caller_compares_values() {
        let mut stamps = Stamps::default();
        let (old, new) = (Shared::new(stamps.take(), 7), Shared::new(stamps.take(), 7));
        let guess = |here, current: Option<&u8>| guess(here, ORIGIN, current);
        assert_eq!(guess(Some(&old), Some(&7)), Some(mark(old.stamp())));
        assert_eq!(guess(Some(&old), Some(&8)), Some(mark(Stamp::NEVER)));
        assert_eq!(guess(None, Some(&7)), Some(mark(Stamp::NEVER)));
        assert_eq!(guess(Some(&old), None), None);
        // The same value, written again.
        let answer = Err(Some((mark(new.stamp()), 7)));
        let again = Settled::Again(mark(new.stamp()));
        assert_eq!(settle(answer, Some(&7)), again);
        assert_eq!(settle(answer, Some(&8)), Settled::Done(Err(Some(7))));
        assert_eq!(settle(answer, None), Settled::Done(Err(Some(7))));
        assert_eq!(settle(Err(None), Some(&7)), Settled::Done(Err(None)));
        assert_eq!(settle(Ok(Some(7)), Some(&7)), Settled::Done(Ok(Some(7))));
    }

    #[test]
    fn values_that_equal_nothing_are_never_exchanged() {
        let nan = Shared::new(Stamps::default().take(), f64::NAN);
        let guessed = guess(Some(&nan), ORIGIN, Some(&f64::NAN));
        assert_eq!(guessed, Some(mark(Stamp::NEVER)));
        let settled = settle(Err(Some((mark(nan.stamp()), f64::NAN))), Some(&f64::NAN));
        assert!(matches!(settled, Settled::Done(Err(Some(_)))));
    }

    #[test]
    fn a_stamp_of_another_origin_is_another_one() {
        let mut stamps = Stamps::default();
        stamps.go_on(ORIGIN);
        let value = Shared::new(stamps.take(), 7);
        let mark = stamps.mark(value.stamp());
        assert!(check(Some(&value), Some(mark), &stamps).is_ok());
        stamps.go_on(Origin::of([6; 16]));
        let (actual, found) = check(Some(&value), Some(mark), &stamps)
            .unwrap_err()
            .unwrap();
        assert_eq!(
            (actual, *found),
            (stamps.mark(mark.stamp), 7),
            "to try again with"
        );
        assert!(check(Some(&value), Some(actual), &stamps).is_ok());
    }
}
