//! Noticing that the disk of a member went back: that it holds less than the member has already said it holds.
//!
//! A machine that is restored from an older image comes back as the member that it was, with a log and a vote of the
//! past. It would vote a second time in a term, and others would count on entries that it no longer has: acknowledged
//! writes would be lost. So each member remembers of every other what must be on its disk, and compares it with what
//! a new process of that member finds there. Who went back takes no further part as that member: the leader takes it
//! in as another, with nothing.
//!
//! What must be there: the highest term in which it answered, and the committed entries that it acknowledged. A log
//! may otherwise be cut, which is no going back.
//!
//! It is a safety net, not a proof. Only those who remember notice, what they know is gone with their own process, and
//! of a member's entries only those know that led it or were told by itself.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::founding::charter::Epoch;
use crate::id::MemberId;

/// Members that are remembered.
const MAX_MEMBERS: usize = 1024;

/// What a process found on the disk of a member when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// A random number that tells the process from others.
    pub(crate) process: u64,
    /// The charter whose log it is, if there is one.
    pub(crate) epoch: Option<Epoch>,
    /// What is in the log.
    pub(crate) extent: Extent,
    /// Entries that it knew to be committed.
    pub(crate) committed: u64,
}

/// How far a log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Extent {
    /// The last term in which the member voted, or followed.
    pub(crate) term: u64,
    /// The number of its entries, those in a snapshot included.
    pub(crate) entries: u64,
}

/// What must be on the disks of other members.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    known: BTreeMap<MemberId, Promise>,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    /// The process whose disk was found sound.
    process: u64,
    epoch: Option<Epoch>,
    least: Extent,
}

/// A member's disk went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "its disk holds {found}, where it has acknowledged {acknowledged}: it was restored from an older image"
)]
pub(crate) struct Rollback {
    /// What must be there.
    pub(crate) acknowledged: Extent,
    /// What is.
    pub(crate) found: Extent,
}

impl Found {
    /// What the same process has after it erased what it found.
    pub(crate) fn forgotten(self) -> Self {
        Self {
            process: self.process,
            epoch: None,
            extent: Extent::default(),
            committed: 0,
        }
    }
}

impl Promises {
    /// A member follows in `term`, and holds the first so many entries, which are committed. Counts once it has said
    /// what its process [found](Self::found).
    pub(crate) fn acknowledged(&mut self, member: MemberId, epoch: Epoch, least: Extent) {
        if let Some(promise) = self.known.get_mut(&member) {
            promise.raise(Some(epoch), least);
        }
    }

    /// A member says what its process found. What the same process says again does not count: it is of its start.
    ///
    /// # Errors
    /// When there must be more.
    pub(crate) fn found(&mut self, member: MemberId, found: Found) -> Result<(), Rollback> {
        if let Some(known) = self.known.get(&member) {
            if known.process == found.process {
                return Ok(());
            }
            // A log of another charter has taken the place of this one; no log has not, once entries of it were
            // committed.
            let comparable = match found.epoch {
                Some(_) => found.epoch == known.epoch,
                None => known.least.entries > 0,
            };
            if comparable && !found.extent.reaches(known.least) {
                return Err(Rollback {
                    acknowledged: known.least,
                    found: found.extent,
                });
            }
        } else {
            self.known.retain(|known, _| known.peer != member.peer);
            if self.known.len() >= MAX_MEMBERS {
                return Ok(());
            }
        }
        let promise = self.known.entry(member).or_insert(Promise {
            process: found.process,
            epoch: found.epoch,
            least: Extent::default(),
        });
        promise.process = found.process;
        let least = Extent {
            term: found.extent.term,
            entries: found.committed,
        };
        promise.raise(found.epoch, least);
        Ok(())
    }

    /// Forgets what was promised: this member is another, or of another charter.
    pub(crate) fn forgive(&mut self) {
        for promise in self.known.values_mut() {
            promise.epoch = None;
            promise.least = Extent::default();
        }
    }
}

impl Promise {
    fn raise(&mut self, epoch: Option<Epoch>, least: Extent) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.least = Extent::default();
        }
        self.least.term = self.least.term.max(least.term);
        self.least.entries = self.least.entries.max(least.entries);
    }
}

impl Extent {
    fn reaches(self, least: Self) -> bool {
        self.term >= least.term && self.entries >= least.entries
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries and term {}", self.entries, self.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;

    const EPOCH: Epoch = Epoch::from_bytes([1; 16]);
    const OTHER: Epoch = Epoch::from_bytes([2; 16]);

    fn member(peer: u8, boot: u64) -> MemberId {
        MemberId {
            peer: PeerId::from_bytes([peer; 32]),
            boot,
        }
    }

    fn extent(term: u64, entries: u64) -> Extent {
        Extent { term, entries }
    }

    fn found(process: u64, term: u64, entries: u64) -> Found {
        Found {
            process,
            epoch: Some(EPOCH),
            extent: extent(term, entries),
            committed: entries,
        }
    }

    #[test]
    fn a_disk_that_holds_what_was_acknowledged_is_sound() {
        let mut promises = Promises::default();
        assert_eq!(promises.found(member(1, 1), found(1, 1, 10)), Ok(()));
        promises.acknowledged(member(1, 1), EPOCH, extent(2, 20));
        assert_eq!(promises.found(member(1, 1), found(2, 2, 20)), Ok(()));
        assert_eq!(promises.found(member(1, 1), found(3, 3, 25)), Ok(()));
    }

    #[test]
    fn fewer_entries_or_an_earlier_term_are_noticed_again_and_again() {
        for (term, entries) in [(2, 19), (1, 20), (0, 0)] {
            let mut promises = Promises::default();
            assert_eq!(promises.found(member(1, 1), found(1, 1, 10)), Ok(()));
            promises.acknowledged(member(1, 1), EPOCH, extent(2, 20));
            let went_back = Err(Rollback {
                acknowledged: extent(2, 20),
                found: extent(term, entries),
            });
            for _ in 0..2 {
                let result = promises.found(member(1, 1), found(2, term, entries));
                assert_eq!(result, went_back);
            }
            // Its disk in place again, it is welcome.
            assert_eq!(promises.found(member(1, 1), found(3, 2, 20)), Ok(()));
        }
    }

    #[test]
    fn what_the_same_process_found_at_its_start_is_no_going_back() {
        let mut promises = Promises::default();
        assert_eq!(promises.found(member(1, 1), found(1, 1, 10)), Ok(()));
        promises.acknowledged(member(1, 1), EPOCH, extent(2, 20));
        assert_eq!(promises.found(member(1, 1), found(1, 1, 10)), Ok(()));
    }

    #[test]
    fn entries_that_were_not_committed_may_be_gone() {
        let mut promises = Promises::default();
        let mut longer = found(1, 1, 10);
        longer.committed = 5;
        assert_eq!(promises.found(member(1, 1), longer), Ok(()));
        assert_eq!(promises.found(member(1, 1), found(2, 1, 5)), Ok(()));
        assert!(promises.found(member(1, 1), found(3, 1, 4)).is_err());
    }

    #[test]
    fn another_boot_and_another_charter_owe_nothing() {
        let mut promises = Promises::default();
        assert_eq!(promises.found(member(1, 1), found(1, 1, 10)), Ok(()));
        promises.acknowledged(member(1, 1), EPOCH, extent(2, 20));
        let mut descendant = found(2, 1, 1);
        descendant.epoch = Some(OTHER);
        assert_eq!(promises.found(member(1, 1), descendant), Ok(()));
        promises.acknowledged(member(1, 1), EPOCH, extent(2, 20));
        assert_eq!(promises.found(member(1, 2), found(3, 1, 1)), Ok(()));
        assert!(!promises.known.contains_key(&member(1, 1)));
    }

    #[test]
    fn a_log_that_is_gone_is_noticed_once_entries_of_it_were_committed() {
        let nothing = |process| found(process, 1, 1).forgotten();
        let mut promises = Promises::default();
        assert_eq!(promises.found(member(1, 1), nothing(1)), Ok(()));
        // A charter was left before it was established.
        promises.acknowledged(member(1, 1), EPOCH, extent(1, 0));
        assert_eq!(promises.found(member(1, 1), nothing(2)), Ok(()));
        promises.acknowledged(member(1, 1), EPOCH, extent(1, 1));
        assert_eq!(promises.found(member(1, 1), nothing(2)), Ok(()));
        promises.acknowledged(member(1, 1), EPOCH, extent(1, 1));
        assert!(promises.found(member(1, 1), nothing(3)).is_err());
        promises.forgive();
        assert_eq!(promises.found(member(1, 1), nothing(3)), Ok(()));
    }

    #[test]
    fn a_process_is_known_even_to_those_who_have_forgotten_what_it_promised() {
        let mut promises = Promises::default();
        assert_eq!(promises.found(member(1, 1), found(1, 1, 10)), Ok(()));
        promises.forgive();
        promises.acknowledged(member(1, 1), EPOCH, extent(2, 20));
        assert_eq!(promises.found(member(1, 1), found(1, 1, 10)), Ok(()));
    }

    #[test]
    fn the_number_of_members_is_bounded() {
        let mut promises = Promises::default();
        for n in 0..=MAX_MEMBERS {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            let member = MemberId {
                peer: PeerId::from_bytes(bytes),
                boot: 0,
            };
            assert_eq!(promises.found(member, found(1, 1, 1)), Ok(()));
            promises.acknowledged(member, EPOCH, extent(1, 1));
        }
        assert_eq!(promises.known.len(), MAX_MEMBERS);
    }
}
