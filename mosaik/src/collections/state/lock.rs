//! The lock: who holds it, and until when.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    State,
    changes::Changes,
    codec::Unsound,
    deadlines::Expiry,
    stamp::{Stamp, Stamps},
};
use crate::id::PeerId;

/// A lock that one holder has at a time, for as long as its lease lasts.
#[derive(Clone, Debug, Default)]
pub struct LockState {
    holder: Option<Holder>,
    /// The last token that was given out.
    last: u64,
    /// The stamp of the last change.
    changed: Stamp,
}

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The peer that it was acquired from.
    pub(crate) peer: PeerId,
    /// What tells this time from all others, and is greater than all before.
    pub(crate) token: u64,
    /// The end of its lease, by the group's uptime in milliseconds.
    pub(crate) until: u64,
}

/// A change of a lock that is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum LockWrite {
    /// Takes the lock if nobody holds it; answers [`LockWrote::Held`], of whoever holds it then.
    Acquire {
        /// The peer that asks.
        peer: PeerId,
        /// Milliseconds of its lease.
        lease: u64,
    },
    /// Begins the lease anew if the lock is held with this token; answers whether it is.
    Renew {
        /// The token.
        token: u64,
        /// Milliseconds of the lease.
        lease: u64,
    },
    /// Gives the lock up if it is held with this token; answers whether it was.
    Release {
        /// The token.
        token: u64,
    },
}

/// What a write of a lock answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockWrote {
    /// Who holds it now, and whether that is who has asked.
    Held(Holder, bool),
    /// Whether it was held with the token.
    Was(bool),
}

/// A change of a lock that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockChange {
    /// Somebody holds it.
    Acquired(Holder),
    /// Whoever holds it holds it for longer.
    Renewed(Holder),
    /// Whoever held it has given it up.
    Released(Holder),
    /// The lease of whoever held it has ended.
    Expired(Holder),
}

/// What a transaction has read of a lock: the token that it was held with, if it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRead(Option<Option<u64>>);

impl LockState {
    /// Who holds it.
    pub(crate) fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// Notes that a transaction reads who holds it; returns that.
    pub(crate) fn read(&self, read: &mut LockRead) -> Option<&Holder> {
        read.0.get_or_insert(self.token());
        self.holder()
    }

    fn token(&self) -> Option<u64> {
        self.holder.map(|holder| holder.token)
    }

    fn acquire(
        &mut self,
        peer: PeerId,
        lease: u64,
        stamps: &mut Stamps,
        changes: &mut Changes<LockChange>,
    ) -> LockWrote {
        if let Some(holder) = self.holder {
            return LockWrote::Held(holder, false);
        }
        // A group that was founded anew may have lost tokens that were given out: the time is ahead of them.
        self.last = stamps.now().clock.max(self.last.saturating_add(1));
        let holder = Holder {
            peer,
            token: self.last,
            until: end_of(lease, stamps),
        };
        self.put(Some(holder), LockChange::Acquired(holder), stamps, changes);
        LockWrote::Held(holder, true)
    }

    /// Who holds it with this token.
    fn held_with(&self, token: u64) -> Option<Holder> {
        self.holder.filter(|holder| holder.token == token)
    }

    fn put(
        &mut self,
        holder: Option<Holder>,
        change: LockChange,
        stamps: &mut Stamps,
        changes: &mut Changes<LockChange>,
    ) {
        self.holder = holder;
        self.changed = stamps.take();
        changes.tell(|| change);
    }
}

/// The end of a lease that begins with the command under way.
fn end_of(lease: u64, stamps: &Stamps) -> u64 {
    stamps.now().uptime.saturating_add(lease)
}

impl State for LockState {
    type Layout = Lock;
    type Write = LockWrite;
    type Wrote = LockWrote;
    type Answer = LockWrote;
    type Read = LockRead;
    type Change = LockChange;

    fn write(
        &mut self,
        write: LockWrite,
        stamps: &mut Stamps,
        changes: &mut Changes<LockChange>,
    ) -> LockWrote {
        match write {
            LockWrite::Acquire { peer, lease } => self.acquire(peer, lease, stamps, changes),
            LockWrite::Renew { token, lease } => {
                let held = self.held_with(token);
                if let Some(mut holder) = held {
                    holder.until = end_of(lease, stamps);
                    self.put(Some(holder), LockChange::Renewed(holder), stamps, changes);
                }
                LockWrote::Was(held.is_some())
            }
            LockWrite::Release { token } => {
                let held = self.held_with(token);
                if let Some(holder) = held {
                    self.put(None, LockChange::Released(holder), stamps, changes);
                }
                LockWrote::Was(held.is_some())
            }
        }
    }

    fn expire(&mut self, stamps: &mut Stamps, changes: &mut Changes<LockChange>) -> usize {
        let due = self
            .holder
            .filter(|holder| holder.until <= stamps.now().uptime);
        if let Some(holder) = due {
            self.put(None, LockChange::Expired(holder), stamps, changes);
        }
        usize::from(due.is_some())
    }

    fn expiry(&self) -> Expiry {
        Expiry {
            clock: None,
            uptime: self.holder.map(|holder| holder.until),
        }
    }

    fn is_as_read(&self, LockRead(seen): &LockRead) -> bool {
        seen.is_none_or(|seen| seen == self.token())
    }

    fn last_stamp(&self) -> Stamp {
        self.changed
    }
}

/// How a lock looks to those who compare layouts.
#[derive(Debug, Serialize, Deserialize)]
pub struct Lock {
    holder: Option<Holder>,
    last: u64,
}

impl Serialize for LockState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.holder, self.last, self.changed).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LockState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (holder, last, changed) = <(Option<Holder>, u64, Stamp)>::deserialize(deserializer)?;
        let is_last = holder.is_none_or(|holder| holder.token == last);
        let has_changed = changed > Stamp::NEVER && changed < Stamp::MAX;
        if !is_last || (last > 0) != has_changed {
            return Err(de::Error::custom(Unsound::Token));
        }
        Ok(Self {
            holder,
            last,
            changed,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;
    use crate::collections::state::testing::{self, Replica};

    const PEER: PeerId = PeerId::from_bytes([3; 32]);

    fn writes() -> impl Strategy<Value = Vec<LockWrite>> {
        let write = prop_oneof![
            3 => (0..9u64).prop_map(|lease| LockWrite::Acquire { peer: PEER, lease }),
            2 => (0..6u64, 0..9u64).prop_map(|(token, lease)| LockWrite::Renew { token, lease }),
            2 => (0..6u64).prop_map(|token| LockWrite::Release { token }),
        ];
        prop::collection::vec(write, 0..20)
    }

    /// What is known of a lock whose commands come at some times.
    #[derive(Default)]
    struct Model {
        held: Option<(u64, u64)>,
        last: u64,
    }

    impl Model {
        fn expect(&mut self, write: &LockWrite, now: u64) -> LockWrote {
            self.held = self.held.filter(|(_, until)| *until > now);
            let token = self.held.map(|(token, _)| token);
            match *write {
                LockWrite::Acquire { lease, .. } => {
                    if token.is_none() {
                        self.last = now.max(self.last + 1);
                        self.held = Some((self.last, now + lease));
                    }
                    let (held, until) = self.held.unwrap();
                    let holder = Holder {
                        peer: PEER,
                        token: held,
                        until,
                    };
                    LockWrote::Held(holder, token.is_none())
                }
                LockWrite::Renew {
                    token: asked,
                    lease,
                } => {
                    if token == Some(asked) {
                        self.held = Some((asked, now + lease));
                    }
                    LockWrote::Was(token == Some(asked))
                }
                LockWrite::Release { token: asked } => {
                    if token == Some(asked) {
                        self.held = None;
                    }
                    LockWrote::Was(token == Some(asked))
                }
            }
        }
    }

    fn follow(followed: &mut Option<Holder>, change: LockChange) {
        let before = *followed;
        *followed = match change {
            LockChange::Acquired(holder) => {
                assert_eq!(before, None);
                Some(holder)
            }
            LockChange::Renewed(holder) => {
                assert_eq!(before.map(|before| before.token), Some(holder.token));
                Some(holder)
            }
            LockChange::Released(holder) | LockChange::Expired(holder) => {
                assert_eq!(before, Some(holder));
                None
            }
        };
    }

    proptest! {
        #[test]
        fn one_holds_it_until_it_is_given_up_or_ends(
            writes in writes(), pauses in prop::collection::vec(0..4u64, 20),
        ) {
            let mut replica = Replica::<LockState>::default();
            let (mut model, mut followed, mut now) = (Model::default(), None, 0);
            for (write, pause) in writes.iter().zip(pauses) {
                now += pause;
                for change in replica.elapse(now) {
                    follow(&mut followed, change);
                }
                let before = model.last;
                let expected = model.expect(write, now);
                let (answer, changes) = replica.write_marked(write);
                prop_assert_eq!(answer, expected);
                for change in changes {
                    follow(&mut followed, change);
                }
                prop_assert_eq!(replica.state.holder().copied(), followed);
                prop_assert_eq!(replica.state.expiry().uptime, model.held.map(|(_, until)| until));
                prop_assert!(replica.state.last >= before);
            }
        }

        #[test]
        fn replicas_agree(writes in writes(), midst: Index) {
            testing::check_replicas::<LockState>(&writes, midst);
        }

        #[test]
        fn what_is_spoilt_is_refused_or_sound(
            writes in writes(), mutations in testing::mutations(), later in writes(),
        ) {
            testing::check_mutated(&writes, &mutations, &later, |state: &LockState| {
                assert!(state.holder().is_none_or(|holder| holder.token <= state.last));
            });
        }

        #[test]
        fn transactions_see_what_they_saw(
            writes in writes(), later in writes(), probes in prop::collection::vec(Just(()), 0..2),
        ) {
            let read = |state: &LockState, (): &(), read: &mut LockRead| {
                let token = state.read(read).map(|holder| holder.token);
                (token, token)
            };
            testing::check_reads(&writes, &later, &probes, read);
        }
    }

    #[test]
    fn tokens_are_ahead_of_those_that_were_lost() {
        let mut replica = Replica::<LockState>::default();
        let acquire = LockWrite::Acquire {
            peer: PEER,
            lease: 5,
        };
        let token = |replica: &Replica<LockState>| replica.state.holder().unwrap().token;
        replica.elapse(1000);
        let behind = replica.clone();
        replica.write(&acquire);
        let lost = token(&replica);
        let mut founded_anew = behind;
        founded_anew.elapse(1001);
        founded_anew.write(&acquire);
        assert!(token(&founded_anew) > lost);
    }
}
