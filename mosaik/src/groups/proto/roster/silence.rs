//! The silence clock: how long a leader has not heard from each member.
//!
//! Only time in which the leader was confirmed by a majority counts, and only in its own term. A leader
//! that hears nobody is more likely cut off itself, so its silence proves nothing about the others; a
//! process that was stopped for a minute must not come back and evict everybody. One clock is made at
//! an election and dropped when leadership ends.
//!
//! The time between two confirmations counts when the second arrives, and only if they are close
//! ([`Silence::new`]): what lies after the last confirmation never counts. Where the moments reported
//! leave room, silence is taken for shorter than it was, by at most one such gap, never for longer.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::id::MemberId;

/// What the clock is told. Moments are milliseconds of one clock that never goes back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Input {
    /// The membership is now this: newcomers start unheard at this moment, who is gone is forgotten.
    Members(BTreeSet<MemberId>),
    /// A member acknowledged something that was sent to it at a moment.
    Heard {
        /// The member.
        member: MemberId,
        /// When what it acknowledged was sent.
        at: u64,
    },
    /// A majority acknowledged what was sent at a moment or later: the leader still led then.
    Confirmed {
        /// The moment.
        at: u64,
    },
}

/// How long each member has been silent towards this leader in this term.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Silence {
    /// Most milliseconds between two confirmations that count as time confirmed throughout.
    gap: u64,
    confirmed_at: u64,
    /// Milliseconds counted so far.
    counted: u64,
    members: BTreeMap<MemberId, Mark>,
}

/// When a member was last heard from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark {
    at: u64,
    /// The same in counted time; it may lie ahead of what is counted yet.
    counted: u64,
}

impl Silence {
    /// The clock of a leader elected at `at` over `members`. `gap` is how far apart two confirmations
    /// may be for the time between to count: the lease of the leader is right.
    pub(crate) fn new(at: u64, gap: Duration, members: BTreeSet<MemberId>) -> Self {
        let mut silence = Self {
            gap: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
            confirmed_at: at,
            counted: 0,
            members: BTreeMap::new(),
        };
        silence.handle(Input::Members(members));
        silence
    }

    /// Takes in a fact.
    pub(crate) fn handle(&mut self, input: Input) {
        match input {
            Input::Members(members) => {
                let (at, counted) = (self.confirmed_at, self.counted);
                self.members.retain(|member, _| members.contains(member));
                for member in members {
                    let mark = Mark { at, counted };
                    self.members.entry(member).or_insert(mark);
                }
            }
            Input::Heard { member, at } => {
                let ahead = at.saturating_sub(self.confirmed_at).min(self.gap);
                let counted = self.counted.saturating_add(ahead);
                // The same acknowledgement may be reported many times: only a later one is news.
                if let Some(mark) = self.members.get_mut(&member)
                    && mark.at < at
                {
                    *mark = Mark { at, counted };
                }
            }
            Input::Confirmed { at } => {
                let passed = at.saturating_sub(self.confirmed_at);
                if passed <= self.gap {
                    self.counted = self.counted.saturating_add(passed);
                }
                self.confirmed_at = self.confirmed_at.max(at);
            }
        }
    }

    /// How long a member has been silent; zero if it is not in the membership.
    pub(crate) fn silent_for(&self, member: &MemberId) -> Duration {
        let mark = self.members.get(member);
        let silent = mark.map_or(0, |mark| self.counted.saturating_sub(mark.counted));
        Duration::from_millis(silent)
    }

    /// Whether the leader is confirmed at this moment, give or take the gap.
    pub(crate) fn confirmed(&self, now: u64) -> bool {
        now.saturating_sub(self.confirmed_at) <= self.gap
    }
}
