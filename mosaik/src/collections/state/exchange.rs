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

use super::{shared::Shared, stamp::Stamp};

/// What a state answers: what was there before the exchange, or what is there instead of what was expected.
pub(crate) type Exchanged<T> = Result<Option<T>, Option<(Stamp, T)>>;

/// What a caller does with a state's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled<T> {
    /// That is the outcome: what was there before, or what is there instead.
    Done(Result<Option<T>, Option<T>>),
    /// The value is the expected one, written again: the same has to be asked with this stamp.
    Again(Stamp),
}

/// The stamp to ask with at first, of a caller who sees `here` and expects `current`; `None` stands for no value.
pub(crate) fn guess<T: PartialEq>(here: Option<&Shared<T>>, current: Option<&T>) -> Option<Stamp> {
    let current = current?;
    let equal = here.filter(|here| here.value() == current);
    // No value has the stamp `NEVER`: the state answers what it has.
    Some(equal.map_or(Stamp::NEVER, Shared::stamp))
}

/// What a caller who expects `current` makes of a state's answer.
pub(crate) fn settle<T: PartialEq>(answer: Exchanged<T>, current: Option<&T>) -> Settled<T> {
    match (answer, current) {
        (Ok(before), _) => Settled::Done(Ok(before)),
        (Err(Some((stamp, actual))), Some(current)) if actual == *current => Settled::Again(stamp),
        (Err(actual), _) => Settled::Done(Err(actual.map(|(_, actual)| actual))),
    }
}

/// The state's part: refuses, with what there is, if what there is has not the stamp `expected`.
pub(crate) fn check<T>(
    actual: Option<&Shared<T>>,
    expected: Option<Stamp>,
) -> Result<(), Option<(Stamp, Shared<T>)>> {
    if actual.map(Shared::stamp) == expected {
        Ok(())
    } else {
        Err(actual.map(|actual| (actual.stamp(), actual.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_compares_values() {
        let mut stamps = crate::collections::state::stamp::Stamps::default();
        let (old, new) = (Shared::new(stamps.take(), 7), Shared::new(stamps.take(), 7));
        assert_eq!(guess(Some(&old), Some(&7)), Some(old.stamp()));
        assert_eq!(guess(Some(&old), Some(&8)), Some(Stamp::NEVER));
        assert_eq!(guess(None, Some(&7)), Some(Stamp::NEVER));
        assert_eq!(guess(Some(&old), None), None);
        // The same value, written again.
        let answer = Err(Some((new.stamp(), 7)));
        assert_eq!(settle(answer, Some(&7)), Settled::Again(new.stamp()));
        assert_eq!(settle(answer, Some(&8)), Settled::Done(Err(Some(7))));
        assert_eq!(settle(answer, None), Settled::Done(Err(Some(7))));
        assert_eq!(settle(Err(None), Some(&7)), Settled::Done(Err(None)));
        assert_eq!(settle(Ok(Some(7)), Some(&7)), Settled::Done(Ok(Some(7))));
    }

    #[test]
    fn values_that_equal_nothing_are_never_exchanged() {
        let mut stamps = crate::collections::state::stamp::Stamps::default();
        let nan = Shared::new(stamps.take(), f64::NAN);
        assert_eq!(guess(Some(&nan), Some(&f64::NAN)), Some(Stamp::NEVER));
        let settled = settle(Err(Some((nan.stamp(), f64::NAN))), Some(&f64::NAN));
        assert!(matches!(settled, Settled::Done(Err(Some(_)))));
    }
}
