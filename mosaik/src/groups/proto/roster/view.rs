//! What the planner looks at: the membership, what is known of each member, and the options.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub(crate) use crate::groups::proto::log_id::LogId;
use crate::id::MemberId;

/// Most voters that a group may ask for: beyond, each commit waits for more copies than faults warrant.
pub(crate) const MAX_VOTERS: usize = 9;
/// Learners kept in the membership besides those on their way to becoming voters.
pub(crate) const SPARES: usize = 2;
/// Fewest voters that silence may shrink a group to, and the number below which live writers all vote.
pub(crate) const FEWEST: usize = 3;
/// Entries that a learner may be behind the commit index and still become a voter: one append batch, so
/// that what it lacks is on its way already, whatever the load and the length of the link.
pub(crate) const CAUGHT_UP: u64 = 1024;
/// How long after an attempt to hand leadership to a better suited voter the next one is made.
pub(crate) const HAND_OVER_PAUSE: Duration = Duration::from_secs(10);
/// How long a voter that a leader on its way out hands over to may take to be elected, before that is tried again.
pub(crate) const HAND_OVER_TIME: Duration = Duration::from_millis(200);

/// The effective membership of a Raft group: the last one in the leader's log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// The entry that it is in: every change is conditional on it.
    pub(crate) log_id: LogId,
    /// Whether that entry is committed.
    pub(crate) committed: bool,
    /// The voters being left, while joint: both sets must then agree.
    pub(crate) leaving: Option<BTreeSet<MemberId>>,
    /// The voters, or those being moved to while joint.
    pub(crate) voters: BTreeSet<MemberId>,
    /// Those that get the log and do not vote.
    pub(crate) learners: BTreeSet<MemberId>,
}

impl Membership {
    /// The sets of voters that must each agree by majority: one, or two while joint.
    pub(crate) fn configs(&self) -> impl Iterator<Item = &BTreeSet<MemberId>> {
        self.leaving.iter().chain([&self.voters])
    }

    /// Whether a member votes in any of the sets.
    pub(crate) fn votes(&self, member: &MemberId) -> bool {
        self.configs().any(|config| config.contains(member))
    }

    /// Whether one votes alone, and needs nobody to confirm what it does.
    pub(crate) fn one_votes(&self) -> bool {
        self.leaving.is_none() && self.voters.len() == 1
    }

    /// Everybody in it: voters and learners.
    pub(crate) fn members(&self) -> BTreeSet<MemberId> {
        let voters = self.configs().flatten();
        voters.chain(&self.learners).copied().collect()
    }
}

/// How a member joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// May become a learner and a voter.
    Writer,
    /// Follows the log from outside the membership, always.
    Observer,
}

/// What a member declared about leading.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) enum Preference {
    /// Leads only if nobody else can.
    Avoid,
    /// Does not mind.
    #[default]
    Neutral,
    /// Leads whenever it can.
    Prefer,
}

/// What is known of the program that a member runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Program {
    /// It knows all commands that were used.
    Current,
    /// It has not said what it knows.
    Unheard,
    /// It lacks one: it cannot apply the log, and stops there.
    Outdated,
}

/// What the leader knows of one member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Facts {
    /// How it joined.
    pub(crate) role: Role,
    /// Whether it has a data directory.
    pub(crate) durable: bool,
    /// The last log index known to be on it; none while nothing has been acknowledged.
    pub(crate) matched: Option<u64>,
    /// How long nothing was heard from it: by the [silence clock](super::Silence) for a member of the
    /// membership, by its bond for one outside. Zero for the leader.
    pub(crate) silent_for: Duration,
    /// Whether a newer boot of its peer was admitted and its own connection is dead.
    pub(crate) superseded: bool,
    /// Whether its signed departure was seen; for the leader, whether it is about to shut down.
    pub(crate) departed: bool,
    /// Whether it asked to leave the group for good.
    pub(crate) leaving: bool,
    /// What it declared about leading.
    pub(crate) preference: Preference,
    /// Whether its clock is right, or not known to be wrong.
    pub(crate) sound: bool,
    /// The program that it runs.
    pub(crate) program: Program,
}

/// The options of a group that bear on its roster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Options {
    /// Voters to aim at: odd, up to [`MAX_VOTERS`]. Default 5.
    pub(crate) voters: usize,
    /// Founders of the charter: silence never shrinks the voters below them. Default 1.
    pub(crate) founders: usize,
    /// Whether the charter keeps its log on disk. Default no.
    pub(crate) durable: bool,
    /// Silence after which a voter may be replaced and a learner is dropped. Default 30 s.
    pub(crate) evict_after: Duration,
    /// Silence up to which a member counts as live: a few heartbeats. Default 2 s.
    pub(crate) live_within: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            voters: 5,
            founders: 1,
            durable: false,
            evict_after: Duration::from_secs(30),
            live_within: Duration::from_secs(2),
        }
    }
}

impl Options {
    /// Checks that the options make sense together.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if self.voters > MAX_VOTERS || self.voters.is_multiple_of(2) {
            return Err(OptionsError::Voters(self.voters));
        }
        if self.founders == 0 || self.founders > MAX_VOTERS {
            return Err(OptionsError::Founders(self.founders));
        }
        if self.evict_after <= self.live_within {
            return Err(OptionsError::EvictAfter(self.live_within));
        }
        Ok(())
    }

    /// Voters to aim at: never fewer than the founders, and odd.
    pub(crate) fn target(&self) -> usize {
        self.voters.max(self.founders) | 1
    }

    /// Fewest voters that silence or a lost log may shrink the group to without a replacement.
    pub(crate) fn fewest(&self) -> usize {
        self.founders.max(FEWEST)
    }
}

/// Why options are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OptionsError {
    /// Give an odd number of voters, at most [`MAX_VOTERS`].
    #[error("`voters = {0}` is not an odd number up to {MAX_VOTERS}")]
    Voters(usize),
    /// Give at least one founder, at most [`MAX_VOTERS`].
    #[error("`founders = {0}` is not between 1 and {MAX_VOTERS}")]
    Founders(usize),
    /// Give a longer `evict_after`: a member that is still counted as live must not be evicted.
    #[error("`evict_after` must be longer than {0:?}, for which a member counts as live")]
    EvictAfter(Duration),
}

/// What became of a member, as far as the leader can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fate {
    /// Heard from lately.
    Live,
    /// Not heard from lately, or shut down with its data: no reason yet to do without it.
    Quiet,
    /// Silent for `evict_after`.
    Silent,
    /// Left for good, only observes by now, or departed without a log to come back with.
    Left,
    /// A newer boot of its peer took its place: its log is lost.
    Superseded,
}

/// What the leader knows at one moment. Only the leader of a term makes one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct View {
    /// Milliseconds of a clock that never goes back while this leader leads.
    pub(crate) now: u64,
    /// The leader itself.
    pub(crate) leader: MemberId,
    /// Whether a majority confirmed the leader lately: see [`Silence::confirmed`](super::Silence).
    pub(crate) confirmed: bool,
    /// The commit index.
    pub(crate) commit: u64,
    /// The effective membership.
    pub(crate) membership: Membership,
    /// What is known of each member of the membership, and of each bonded member outside it.
    pub(crate) facts: BTreeMap<MemberId, Facts>,
    /// When this leader last proposed a change that [evicts](super::Change::evicts); none since its
    /// election.
    pub(crate) last_eviction: Option<u64>,
    /// When this leader last tried to hand over; none since its election.
    pub(crate) last_hand_over: Option<u64>,
    /// The options.
    pub(crate) options: Options,
}

impl View {
    /// What became of a member.
    pub(crate) fn fate(&self, member: &MemberId) -> Fate {
        let Some(facts) = self.facts.get(member) else {
            return Fate::Quiet;
        };
        let volatile = !(self.options.durable && facts.durable);
        let leaving = facts.leaving || facts.role == Role::Observer;
        if facts.superseded {
            Fate::Superseded
        } else if leaving || (facts.departed && volatile) {
            Fate::Left
        } else if *member == self.leader {
            Fate::Live
        } else if facts.silent_for >= self.options.evict_after {
            Fate::Silent
        } else if facts.departed || facts.silent_for >= self.options.live_within {
            Fate::Quiet
        } else {
            Fate::Live
        }
    }

    /// Whether a member answers now, though it may be about to leave.
    pub(crate) fn answers(&self, member: &MemberId) -> bool {
        self.facts.get(member).is_some_and(|facts| {
            let lately = facts.silent_for < self.options.live_within;
            *member == self.leader || (lately && !facts.superseded && !facts.departed)
        })
    }

    /// Whether a member could ever vote: a writer, whose log is as durable as the charter's.
    pub(crate) fn electable(&self, member: &MemberId) -> bool {
        self.facts.get(member).is_some_and(|facts| {
            facts.role == Role::Writer && (facts.durable || !self.options.durable)
        })
    }

    /// What is known of the program that a member runs.
    pub(crate) fn program(&self, member: &MemberId) -> Program {
        let facts = self.facts.get(member);
        facts.map_or(Program::Unheard, |facts| facts.program)
    }

    /// Entries that a member is behind the commit index; none while nothing is known to be on it.
    pub(crate) fn lag(&self, member: &MemberId) -> Option<u64> {
        let matched = self.facts.get(member)?.matched?;
        Some(self.commit.saturating_sub(matched))
    }

    /// Whether a member holds nearly the whole log.
    pub(crate) fn caught_up(&self, member: &MemberId) -> bool {
        *member == self.leader || self.lag(member).is_some_and(|lag| lag < CAUGHT_UP)
    }

    /// What a member declared about leading.
    pub(crate) fn preference(&self, member: &MemberId) -> Preference {
        let facts = self.facts.get(member);
        facts.map(|facts| facts.preference).unwrap_or_default()
    }

    /// Whether a member's clock is right, or not known to be wrong.
    pub(crate) fn is_sound(&self, member: &MemberId) -> bool {
        self.facts.get(member).is_none_or(|facts| facts.sound)
    }

    /// How well a member is suited to lead: a right clock counts before what it declared.
    pub(crate) fn suits(&self, member: &MemberId) -> (bool, Preference) {
        (self.is_sound(member), self.preference(member))
    }

    /// Fewest voters at any time: three, or all live writers that can vote if they are fewer, or what
    /// the options ask for if that is.
    pub(crate) fn floor(&self) -> usize {
        let most = FEWEST.min(self.options.target());
        let able = |m: &MemberId| self.membership.votes(m) || self.program(m) != Program::Outdated;
        let live = |m: &&MemberId| self.fate(m) == Fate::Live && self.electable(m) && able(m);
        self.facts.keys().filter(live).take(most).count()
    }

    /// How long ago a moment was.
    pub(crate) fn since(&self, moment: u64) -> Duration {
        Duration::from_millis(self.now.saturating_sub(moment))
    }
}
