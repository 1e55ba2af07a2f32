//! The once: a value that is set once.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    State, Value,
    cell::{self, CellRead},
    changes::Changes,
    shared::Shared,
    stamp::{Stamp, Stamps},
};

/// A value that is set once, and stays.
#[derive(Clone, Debug)]
pub struct OnceState<T> {
    value: Option<Shared<T>>,
}

/// A change of a once that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum OnceWrite<T> {
    /// Puts the value if there is none.
    Set(T),
}

/// What a write of a once answers: the value that was proposed comes back if it is not the one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceWrote<T>(pub(crate) Result<(), T>);

/// A change of a once that was made: it has its value.
#[derive(Clone, Debug)]
pub struct OnceChange<T>(pub(crate) Shared<T>);

impl<T: Value> OnceState<T> {
    /// The value.
    pub(crate) fn get(&self) -> Option<&Shared<T>> {
        self.value.as_ref()
    }

    /// Notes that a transaction reads the value; returns it.
    pub(crate) fn read(&self, read: &mut CellRead) -> Option<&Shared<T>> {
        read.note(self.get());
        self.get()
    }
}

/// Tells a once from a cell, where layouts are compared.
#[derive(Debug, Serialize, Deserialize)]
pub struct SetOnce;

impl<T: Value> State for OnceState<T> {
    type Layout = (SetOnce, Option<T>);
    type Write = OnceWrite<T>;
    type Wrote = OnceWrote<T>;
    type Answer = OnceWrote<T>;
    type Read = CellRead;
    type Change = OnceChange<T>;

    fn write(
        &mut self,
        OnceWrite::Set(value): Self::Write,
        stamps: &mut Stamps,
        changes: &mut Changes<Self::Change>,
    ) -> Self::Wrote {
        if self.value.is_some() {
            return OnceWrote(Err(value));
        }
        let value = Shared::new(stamps.take(), value);
        changes.tell(|| OnceChange(value.clone()));
        self.value = Some(value);
        OnceWrote(Ok(()))
    }

    fn is_as_read(&self, read: &Self::Read) -> bool {
        read.is_still(self.get())
    }

    fn last_stamp(&self) -> Stamp {
        self.get().map_or(Stamp::NEVER, Shared::stamp)
    }
}

impl<T> Default for OnceState<T> {
    fn default() -> Self {
        Self { value: None }
    }
}

/// Encodes as a cell does.
impl<T: Serialize> Serialize for OnceState<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        cell::serialize(self.value.as_ref(), serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OnceState<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = cell::deserialize(deserializer)?;
        Ok(Self { value })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::collections::state::testing::{self, Replica};

    fn writes() -> impl Strategy<Value = Vec<OnceWrite<u8>>> {
        prop::collection::vec((0..4u8).prop_map(OnceWrite::Set), 0..3)
    }

    proptest! {
        #[test]
        fn it_answers_as_std(writes in writes()) {
            let mut replica = Replica::<OnceState<u8>>::default();
            let (model, mut followed) = (OnceLock::new(), None);
            for write in writes {
                let (OnceWrote(answer), changes) = replica.write(&write);
                let OnceWrite::Set(value) = write;
                prop_assert_eq!(answer, model.set(value));
                for OnceChange(value) in changes {
                    prop_assert_eq!(followed.replace(*value), None);
                }
                prop_assert_eq!(replica.state.get().map(Shared::value), model.get());
                prop_assert_eq!(followed.as_ref(), model.get());
            }
        }

        #[test]
        fn replicas_agree(writes in writes(), midst: Index) {
            testing::check_replicas::<OnceState<u8>>(&writes, midst);
        }

        #[test]
        fn what_is_spoilt_is_refused_or_sound(
            writes in writes(), mutations in testing::mutations(), later in writes(),
        ) {
            testing::check_mutated(&writes, &mutations, &later, |state: &OnceState<u8>| {
                assert!(state.get().is_none_or(|value| value.stamp() > Stamp::NEVER));
            });
        }

        #[test]
        fn transactions_see_what_they_saw(
            writes in writes(), later in writes(), probes in prop::collection::vec(Just(()), 0..2),
        ) {
            let read = |state: &OnceState<u8>, (): &(), read: &mut CellRead| {
                let value = state.read(read);
                (value.map(Shared::stamp), value.map(|value| **value))
            };
            testing::check_reads(&writes, &later, &probes, read);
        }
    }
}
