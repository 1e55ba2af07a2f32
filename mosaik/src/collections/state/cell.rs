//! The cell: one value, or none.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    State, Value,
    changes::Changes,
    codec::{Newest, Unsound},
    exchange::{self, Exchanged},
    shared::Shared,
    stamp::{Mark, Stamp, Stamps},
};

/// One value, or none.
#[derive(Clone, Debug)]
pub struct CellState<T> {
    value: Option<Shared<T>>,
}

/// A change of a cell that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum CellWrite<T> {
    /// Puts a value; answers [`CellWrote::Done`].
    Set(T),
    /// Puts a value; answers [`CellWrote::Old`].
    Swap(T),
    /// Puts or removes the value if what is there is what is expected; answers [`CellWrote::Exchanged`].
    CompareExchange {
        /// The [stamp](exchange::guess) of the value that is expected; `None` expects none.
        current: Option<Mark>,
        /// The value to be there; `None` removes it.
        new: Option<T>,
    },
    /// Removes the value; answers [`CellWrote::Old`].
    Clear,
}

/// What a write of a cell answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CellWrote<T> {
    /// Nothing that was not known.
    Done,
    /// What was there.
    Old(Option<T>),
    /// How a `compare_exchange` ended.
    Exchanged(Exchanged<T>),
}

/// A change of a cell that was made.
#[derive(Clone, Debug)]
pub enum CellChange<T> {
    /// There is a value.
    Set {
        /// What was there before.
        old: Option<Shared<T>>,
        /// The value.
        new: Shared<T>,
    },
    /// The value is gone.
    Cleared {
        /// The value before.
        old: Shared<T>,
    },
}

/// What a transaction has read of a cell or a once: the stamp of the value, if there was one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellRead(Option<Option<Stamp>>);

impl CellRead {
    /// Notes that `value` was there. What a transaction read first counts.
    pub(crate) fn note<T>(&mut self, value: Option<&Shared<T>>) {
        self.0.get_or_insert(value.map(Shared::stamp));
    }

    /// Whether it would be read again if `value` is there.
    pub(crate) fn is_still<T>(&self, value: Option<&Shared<T>>) -> bool {
        self.0.is_none_or(|seen| seen == value.map(Shared::stamp))
    }
}

impl<T: Value> CellState<T> {
    /// The value.
    pub(crate) fn get(&self) -> Option<&Shared<T>> {
        self.value.as_ref()
    }

    /// Notes that a transaction reads the value; returns it.
    pub(crate) fn read(&self, read: &mut CellRead) -> Option<&Shared<T>> {
        read.note(self.get());
        self.get()
    }

    fn put(
        &mut self,
        value: T,
        stamps: &mut Stamps,
        changes: &mut Changes<CellChange<T>>,
    ) -> Option<Shared<T>> {
        let new = Shared::new(stamps.take(), value);
        let old = self.value.replace(new.clone());
        changes.tell(|| CellChange::Set {
            old: old.clone(),
            new,
        });
        old
    }

    fn clear(&mut self, changes: &mut Changes<CellChange<T>>) -> Option<Shared<T>> {
        let old = self.value.take()?;
        changes.tell(|| CellChange::Cleared { old: old.clone() });
        Some(old)
    }

    fn compare_exchange(
        &mut self,
        current: Option<Mark>,
        new: Option<T>,
        stamps: &mut Stamps,
        changes: &mut Changes<CellChange<T>>,
    ) -> Exchanged<Shared<T>> {
        exchange::check(self.get(), current, stamps)?;
        Ok(match new {
            Some(new) => self.put(new, stamps, changes),
            None => self.clear(changes),
        })
    }
}

/// Tells a cell from a once, where layouts are compared.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetAgain;

impl<T: Value> State for CellState<T> {
    type Layout = (SetAgain, Option<T>);
    type Write = CellWrite<T>;
    type Wrote = CellWrote<Shared<T>>;
    type Answer = CellWrote<T>;
    type Read = CellRead;
    type Change = CellChange<T>;

    fn write(
        &mut self,
        write: Self::Write,
        stamps: &mut Stamps,
        changes: &mut Changes<Self::Change>,
    ) -> Self::Wrote {
        match write {
            CellWrite::Set(value) => {
                self.put(value, stamps, changes);
                CellWrote::Done
            }
            CellWrite::Swap(value) => CellWrote::Old(self.put(value, stamps, changes)),
            CellWrite::CompareExchange { current, new } => {
                CellWrote::Exchanged(self.compare_exchange(current, new, stamps, changes))
            }
            CellWrite::Clear => CellWrote::Old(self.clear(changes)),
        }
    }

    fn is_as_read(&self, read: &Self::Read) -> bool {
        read.is_still(self.get())
    }

    fn last_stamp(&self) -> Stamp {
        self.get().map_or(Stamp::NEVER, Shared::stamp)
    }
}

impl<T> Default for CellState<T> {
    fn default() -> Self {
        Self { value: None }
    }
}

/// Encodes the stamp and the value, if there is one.
impl<T: Serialize> Serialize for CellState<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(self.value.as_ref(), serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for CellState<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserialize(deserializer)?;
        Ok(Self { value })
    }
}

/// Encodes the stamp and the value, if there is one.
pub(crate) fn serialize<T: Serialize, S: Serializer>(
    value: Option<&Shared<T>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let value = value.map(|value| (value.stamp(), value));
    value.serialize(serializer)
}

/// Decodes what [`serialize`] encodes.
pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Shared<T>>, D::Error> {
    let read = <Option<(Stamp, T)>>::deserialize(deserializer)?;
    let checked = read.map(|(stamp, value)| {
        Newest::default().check(stamp)?;
        Ok(Shared::new(stamp, value))
    });
    checked
        .transpose()
        .map_err(|error: Unsound| de::Error::custom(error))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::collections::state::testing::{self, Replica};

    type Write = CellWrite<u8>;

    fn writes() -> impl Strategy<Value = Vec<Write>> {
        let value = || 0..4u8;
        let write = prop_oneof![
            value().prop_map(CellWrite::Set),
            value().prop_map(CellWrite::Swap),
            (testing::guesses(), prop::option::of(value()))
                .prop_map(|(current, new)| CellWrite::CompareExchange { current, new }),
            Just(CellWrite::Clear),
        ];
        prop::collection::vec(write, 0..20)
    }

    fn follow(followed: &mut Option<u8>, changes: Vec<CellChange<u8>>) {
        for change in changes {
            match change {
                CellChange::Set { old, new } => {
                    assert_eq!(followed.replace(*new), old.map(|old| *old));
                }
                CellChange::Cleared { old } => assert_eq!(followed.take(), Some(*old)),
            }
        }
    }

    proptest! {
        #[test]
        fn it_answers_as_an_option(
            writes in writes(),
            exchanges in prop::collection::vec((prop::option::of(0..4u8), any::<bool>()), 20),
        ) {
            let mut replica = Replica::<CellState<u8>>::default();
            let mut behind = replica.state.clone();
            let (mut model, mut followed) = (None, None);
            for (write, (current, is_behind)) in writes.into_iter().zip(exchanges) {
                if let CellWrite::CompareExchange { new, .. } = write {
                    if !is_behind {
                        behind = replica.state.clone();
                    }
                    let ask = |current| {
                        let (answer, changes) =
                            replica.write(&CellWrite::CompareExchange { current, new });
                        follow(&mut followed, changes);
                        match answer {
                            CellWrote::Exchanged(exchanged) => exchanged,
                            other => panic!("{other:?}"),
                        }
                    };
                    let outcome = testing::exchange(behind.get(), current.as_ref(), ask);
                    let actual = model;
                    prop_assert_eq!(outcome, if actual == current {
                        model = new;
                        Ok(actual)
                    } else {
                        Err(actual)
                    });
                } else {
                    let (answer, changes) = replica.write(&write);
                    prop_assert_eq!(answer, match write {
                        CellWrite::Set(value) => {
                            model = Some(value);
                            CellWrote::Done
                        }
                        CellWrite::Swap(value) => CellWrote::Old(model.replace(value)),
                        _ => CellWrote::Old(model.take()),
                    });
                    follow(&mut followed, changes);
                }
                prop_assert_eq!(replica.state.get().map(|value| **value), model);
                prop_assert_eq!(followed, model);
            }
        }

        #[test]
        fn replicas_agree(writes in writes(), midst: Index) {
            testing::check_replicas::<CellState<u8>>(&writes, midst);
        }

        #[test]
        fn what_is_spoilt_is_refused_or_sound(
            writes in writes(), mutations in testing::mutations(), later in writes(),
        ) {
            testing::check_mutated(&writes, &mutations, &later, |state: &CellState<u8>| {
                assert!(state.get().is_none_or(|value| value.stamp() > Stamp::NEVER));
            });
        }

        #[test]
        fn transactions_see_what_they_saw(
            writes in writes(), later in writes(), probes in prop::collection::vec(Just(()), 0..2),
        ) {
            let read = |state: &CellState<u8>, (): &(), read: &mut CellRead| {
                let value = state.read(read);
                (value.map(Shared::stamp), value.map(|value| **value))
            };
            testing::check_reads(&writes, &later, &probes, read);
        }
    }
}
