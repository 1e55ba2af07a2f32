//! What the tests of the states have in common: replicas, and properties that hold for every state.

use std::{
    fmt::Debug,
    hash::{Hash, Hasher},
    ops::Bound,
    sync::Arc,
};

use proptest::{prelude::*, sample::Index};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    State,
    changes::Changes,
    stamp::{Mark, Moment, Origin, Stamps},
    table::Span,
};
use crate::collections::twin::Twin;

/// Encodes as snapshots and answers are.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap()
}

/// Decodes what fills `bytes`.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(postcard::Error::DeserializeBadEncoding)
    }
}

/// A key whose hashes collide: the whole of them in half of all pairs.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Crowded(pub(crate) u8);

impl Hash for Crowded {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0 % 2).hash(state);
    }
}

impl From<u8> for Crowded {
    fn from(key: u8) -> Self {
        Self(key)
    }
}

/// When both clocks show this.
fn at(millis: u64) -> Moment {
    Moment {
        clock: millis,
        uptime: millis,
    }
}

/// Ranges of keys, of which some end before they begin.
pub(crate) fn spans<K: From<u8> + Clone + Debug>() -> impl Strategy<Value = Span<K>> {
    spans_below(16)
}

/// Such ranges whose bounds are below `end`.
pub(crate) fn spans_below<K: From<u8> + Clone + Debug>(end: u8) -> impl Strategy<Value = Span<K>> {
    let bound = move || {
        prop_oneof![
            (0..end).prop_map(|key| Bound::Included(key.into())),
            (0..end).prop_map(|key| Bound::Excluded(key.into())),
            Just(Bound::Unbounded),
        ]
    };
    (bound(), bound())
}

/// Stamps that may be some that were given out, or none at all.
pub(crate) fn guesses() -> impl Strategy<Value = Option<Mark>> {
    let mark = |stamp: u64| Mark {
        origin: Origin::default(),
        stamp: decode(&encode(&stamp)).unwrap(),
    };
    prop::option::of((0..20u64).prop_map(mark))
}

/// A state with its stamps, as a replica has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica<S> {
    pub(crate) state: S,
    pub(crate) stamps: Stamps,
}

impl<S: State> Replica<S> {
    /// Applies a write as it comes from the log; returns the answer as it arrives, and the changes.
    pub(crate) fn write(&mut self, write: &S::Write) -> (S::Answer, Vec<S::Change>) {
        let before = (encode(&self.state), encode(&self.stamps));
        let mut changes = Changes::kept();
        let write = decode(&encode(write)).unwrap();
        let wrote = self.state.write(write, &mut self.stamps, &mut changes);
        let changes = changes.take();
        if changes.is_empty() {
            assert_eq!((encode(&self.state), encode(&self.stamps)), before);
        }
        assert!(self.state.fits(&self.stamps));
        (decode(&encode(&wrote)).unwrap(), changes)
    }

    /// As [`Self::write`], of a collection that remembers when it changed: it does so exactly if there are changes.
    pub(crate) fn write_marked(&mut self, write: &S::Write) -> (S::Answer, Vec<S::Change>) {
        let before = self.state.last_stamp();
        let (answer, changes) = self.write(write);
        assert_eq!(self.state.last_stamp() > before, !changes.is_empty());
        (answer, changes)
    }

    /// The next command comes at this time: removes what has come to its end, and returns the changes.
    pub(crate) fn elapse(&mut self, now: u64) -> Vec<S::Change> {
        let now = at(now);
        self.stamps.begin(now);
        let mut changes = Changes::kept();
        let is_due = self.state.expiry().is_due(now);
        let expired = self.state.expire(&mut self.stamps, &mut changes);
        let changes = changes.take();
        assert_eq!((expired > 0, changes.len()), (is_due, expired));
        changes
    }

    /// The same, of a state that nobody follows.
    pub(crate) fn elapse_unseen(&mut self, now: u64) {
        self.stamps.begin(at(now));
        let ignored = &mut Changes::ignored();
        self.state.expire(&mut self.stamps, ignored);
    }

    /// Checks that none of the writes changes anything, or says that it did.
    pub(crate) fn check_no_effect(&mut self, writes: &[S::Write]) {
        for (n, write) in writes.iter().enumerate() {
            let (_, changes) = self.write(write);
            assert!(changes.is_empty(), "the write at {n} has an effect");
        }
    }

    /// Applies writes whose answers and changes are of no interest.
    pub(crate) fn write_all(&mut self, writes: &[S::Write]) {
        for write in writes {
            let ignored = &mut Changes::ignored();
            self.state.write(write.clone(), &mut self.stamps, ignored);
        }
    }

    /// The replica that restores a snapshot of this one.
    pub(crate) fn restored(&self) -> Self {
        let (state, stamps) = (encode(&self.state), encode(&self.stamps));
        let restored = Self {
            state: decode(&state).unwrap(),
            stamps: decode(&stamps).unwrap(),
        };
        assert_eq!(encode(&restored.state), state);
        assert!(restored.state.fits(&restored.stamps));
        restored
    }
}

/// Replicas that apply the same writes agree to the byte, and answer the same: one that is followed, one that nobody
/// follows, and one that restores a snapshot in the midst. What was cloned in the midst stays as it was.
pub(crate) fn check_replicas<S: State>(writes: &[S::Write], midst: Index)
where
    S::Answer: PartialEq + Debug,
{
    let (before, after) = writes.split_at(midst.index(writes.len() + 1));
    let (mut followed, mut other) = (Replica::<S>::default(), Replica::<S>::default());
    let mut times = (0..).step_by(2);
    for (write, now) in before.iter().zip(&mut times) {
        followed.elapse(now);
        followed.write(write);
    }
    for (write, now) in writes.iter().zip((0..).step_by(2)) {
        other.elapse_unseen(now);
        other.write_all(std::slice::from_ref(write));
    }
    let mut restored = followed.restored();
    let (snapshot, bytes) = (followed.state.clone(), encode(&followed.state));
    for (write, now) in after.iter().zip(times) {
        let expired = (followed.elapse(now).len(), restored.elapse(now).len());
        assert_eq!(expired.0, expired.1);
        assert_eq!(followed.write(write).0, restored.write(write).0);
    }
    assert_eq!(encode(&followed.state), encode(&other.state));
    assert_eq!(encode(&followed.state), encode(&restored.state));
    assert_eq!(encode(&followed.stamps), encode(&restored.stamps));
    assert_eq!(encode(&snapshot), bytes);
    check_twin::<S>(writes, midst.index(usize::MAX), &encode(&other.state));
}

/// A state that is written to while it is shown, and what was shown before is still read, comes to the same.
///
/// What is shown when, and read for how long, is up to `choices`.
fn check_twin<S: State>(writes: &[S::Write], choices: usize, expected: &[u8]) {
    let (mut twin, mut stamps) = (Twin::<S>::default(), Stamps::default());
    let mut shown = twin.share();
    let mut read: Vec<(Arc<S>, Vec<u8>)> = Vec::new();
    let check_read = |(state, bytes): (Arc<S>, Vec<u8>)| assert_eq!(encode(&*state), bytes);
    for (n, write) in (0u32..).zip(writes) {
        stamps.begin(at(2 * u64::from(n)));
        let ignored = &mut Changes::ignored();
        twin.write().expire(&mut stamps, ignored);
        twin.write().write(write.clone(), &mut stamps, ignored);
        let choices = choices.rotate_right(5 * n);
        if choices & 1 != 0 {
            shown = twin.share();
            if choices & 6 == 6 {
                read.push((shown.clone(), encode(&*shown)));
            }
            twin.settle();
            assert_eq!(encode(twin.get()), encode(&*shown));
        }
        if choices & 24 == 24 {
            read.drain(..).for_each(check_read);
        }
    }
    assert_eq!(encode(&twin), expected);
    assert_eq!(encode(&twin.clone()), expected);
    drop(shown);
    read.into_iter().for_each(check_read);
}

/// How bytes are spoilt: at a place, a byte is put in the place of one, inserted, or removed.
pub(crate) type Mutation = (Index, u8, u8);

/// One or more mutations.
pub(crate) fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    // Small bytes are those of small stamps and keys.
    let byte = prop_oneof![0..24u8, any::<u8>()];
    prop::collection::vec((any::<Index>(), 0..4u8, byte), 1..4)
}

/// What is spoilt is refused, or is a state like any other: `check_sound` holds for it, and after further writes.
pub(crate) fn check_mutated<S: State>(
    writes: &[S::Write],
    mutations: &[Mutation],
    later: &[S::Write],
    check_sound: impl Fn(&S),
) {
    let mut replica = Replica::<S>::default();
    replica.write_all(writes);
    let mut bytes = encode(&replica.state);
    for (index, kind, byte) in mutations {
        let at = index.index(bytes.len().max(1));
        match kind {
            0 => bytes.insert(at, *byte),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ if !bytes.is_empty() => bytes[at] = *byte,
            _ => {}
        }
    }
    let Ok(state) = decode::<S>(&bytes) else {
        return;
    };
    let stamps = Stamps::behind(state.last_stamp());
    let stamps = decode(&encode(&stamps)).unwrap_or_default();
    let mut replica = Replica { state, stamps };
    check_sound(&replica.restored_state());
    check_sound(&replica.state);
    if replica.state.fits(&replica.stamps) {
        replica.elapse(2);
        replica.write_all(later);
        check_sound(&replica.state);
        replica.elapse(u64::MAX);
        check_sound(&replica.state);
        replica.restored();
    }
}

impl<S: State> Replica<S> {
    /// The state of its snapshot, whether or not the stamps fit.
    fn restored_state(&self) -> S {
        let bytes = encode(&self.state);
        let state: S = decode(&bytes).unwrap();
        assert_eq!(encode(&state), bytes);
        state
    }
}

/// A transaction that has read what `read` reads of `probes` is still valid after further writes if and only if
/// every probe finds the same stamps; then it finds the same values, too.
///
/// `read` notes what it reads, and returns the stamps and the values.
pub(crate) fn check_reads<S: State, P, F: PartialEq + Debug, O: PartialEq + Debug>(
    writes: &[S::Write],
    later: &[S::Write],
    probes: &[P],
    read: impl Fn(&S, &P, &mut S::Read) -> (F, O),
) {
    let mut replica = Replica::<S>::default();
    replica.write_all(writes);
    let reads = |state: &S| {
        let mut noted = S::Read::default();
        let found = probes.iter().map(|probe| read(state, probe, &mut noted));
        let found: (Vec<F>, Vec<O>) = found.unzip();
        let noted: S::Read = decode(&encode(&noted)).unwrap();
        (noted, found)
    };
    let (noted, (stamps, values)) = reads(&replica.state);
    assert!(replica.state.is_as_read(&noted));
    for (write, now) in later.iter().zip(0..) {
        replica.elapse(now);
        replica.write_all(std::slice::from_ref(write));
        let (_, (stamps_now, values_now)) = reads(&replica.state);
        let is_as_read = replica.state.is_as_read(&noted);
        assert_eq!(
            is_as_read,
            stamps_now == stamps,
            "{stamps_now:?} {stamps:?}"
        );
        if is_as_read {
            assert_eq!(values_now, values);
        }
    }
}

/// Asks by value until it is settled, as a caller does that is `behind`: `ask` puts the question to the state.
pub(crate) fn exchange<T: PartialEq + Clone>(
    behind: Option<&super::shared::Shared<T>>,
    current: Option<&T>,
    mut ask: impl FnMut(Option<Mark>) -> super::exchange::Exchanged<T>,
) -> Result<Option<T>, Option<T>> {
    use super::exchange::{Settled, guess, settle};
    let mut mark = guess(behind, Origin::default(), current);
    for _ in 0..2 {
        match settle(ask(mark), current) {
            Settled::Done(outcome) => return outcome,
            Settled::Again(actual) => mark = Some(actual),
        }
    }
    panic!("nobody else writes, and yet it has to be asked a third time");
}
