//! The counter: a number that is added to.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    State,
    changes::Changes,
    codec::Unsound,
    stamp::{Stamp, Stamps},
};

/// A number, at first zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct CounterState {
    value: i128,
    /// The stamp of the last change.
    changed: Stamp,
}

/// A change of a counter that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum CounterWrite {
    /// Adds to it; answers the sum.
    Add(i128),
    /// Puts a number; answers the one before.
    Swap(i128),
}

/// What a write of a counter answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterWrote(pub(crate) i128);

/// A change of a counter that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterChange {
    /// The number before.
    pub(crate) old: i128,
    /// The number.
    pub(crate) new: i128,
}

/// What a transaction has read of a counter: when it had changed last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRead(Option<Stamp>);

impl CounterState {
    /// The number.
    pub(crate) fn get(&self) -> i128 {
        self.value
    }

    /// Notes that a transaction reads the number.
    pub(crate) fn read(&self, read: &mut CounterRead) {
        read.0.get_or_insert(self.changed);
    }
}

impl State for CounterState {
    type Layout = Counter;
    type Write = CounterWrite;
    type Wrote = CounterWrote;
    type Answer = CounterWrote;
    type Read = CounterRead;
    type Change = CounterChange;

    fn write(
        &mut self,
        write: CounterWrite,
        stamps: &mut Stamps,
        changes: &mut Changes<CounterChange>,
    ) -> CounterWrote {
        let old = self.value;
        let (new, answer) = match write {
            CounterWrite::Add(number) => {
                let sum = old.saturating_add(number);
                (sum, sum)
            }
            CounterWrite::Swap(number) => (number, old),
        };
        if new != old {
            self.value = new;
            self.changed = stamps.take();
            changes.tell(|| CounterChange { old, new });
        }
        CounterWrote(answer)
    }

    fn is_as_read(&self, CounterRead(seen): &CounterRead) -> bool {
        seen.is_none_or(|seen| seen == self.changed)
    }

    fn last_stamp(&self) -> Stamp {
        self.changed
    }
}

/// How a counter looks to those who compare layouts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Counter {
    counter: i128,
}

impl Serialize for CounterState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.value, self.changed).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CounterState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (value, changed) = <(i128, Stamp)>::deserialize(deserializer)?;
        let is_sound = changed != Stamp::MAX && (value == 0 || changed > Stamp::NEVER);
        if !is_sound {
            return Err(de::Error::custom(Unsound::Stamps));
        }
        Ok(Self { value, changed })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::collections::state::testing::{self, Replica};

    fn writes() -> impl Strategy<Value = Vec<CounterWrite>> {
        let number = || {
            prop_oneof![
                8 => -3..4i128,
                1 => prop::sample::select(vec![i128::MIN, i128::MAX]),
            ]
        };
        let write = prop_oneof![
            4 => number().prop_map(CounterWrite::Add),
            1 => number().prop_map(CounterWrite::Swap),
        ];
        prop::collection::vec(write, 0..20)
    }

    proptest! {
        #[test]
        fn it_answers_as_a_number(writes in writes()) {
            let mut replica = Replica::<CounterState>::default();
            let (model, mut followed) = (Cell::new(0_i128), 0);
            for write in writes {
                let (CounterWrote(answer), changes) = replica.write_marked(&write);
                prop_assert_eq!(answer, match write {
                    CounterWrite::Add(number) => {
                        model.set(model.get().saturating_add(number));
                        model.get()
                    }
                    CounterWrite::Swap(number) => model.replace(number),
                });
                for CounterChange { old, new } in changes {
                    prop_assert_eq!(std::mem::replace(&mut followed, new), old);
                }
                prop_assert_eq!(replica.state.get(), model.get());
                prop_assert_eq!(followed, model.get());
            }
        }

        #[test]
        fn replicas_agree(writes in writes(), midst: Index) {
            testing::check_replicas::<CounterState>(&writes, midst);
        }

        #[test]
        fn what_is_spoilt_is_refused_or_sound(
            writes in writes(), mutations in testing::mutations(), later in writes(),
        ) {
            testing::check_mutated(&writes, &mutations, &later, |state: &CounterState| {
                assert!(state.get() == 0 || state.last_stamp() > Stamp::NEVER);
            });
        }

        #[test]
        fn transactions_see_what_they_saw(
            writes in writes(), later in writes(), probes in prop::collection::vec(Just(()), 0..2),
        ) {
            let read = |state: &CounterState, (): &(), read: &mut CounterRead| {
                state.read(read);
                (state.last_stamp(), state.get())
            };
            testing::check_reads(&writes, &later, &probes, read);
        }
    }
}
