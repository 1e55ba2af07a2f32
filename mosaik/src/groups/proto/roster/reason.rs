//! Why the roster is as it is: one reason for every decision that was not taken.

use std::{fmt, time::Duration};

use super::{quorum::Quorum, view::LogId};
use crate::id::MemberId;

/// Why a change is not made, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Reason {
    /// No majority confirmed this leader lately: what it sees may be its own isolation.
    #[error("no majority has confirmed the leader lately")]
    NotConfirmed,
    /// The last change is not committed yet; the next waits for it.
    #[error("the change at {0} is not committed yet")]
    InFlight(LogId),
    /// The voters that are live are no quorum, so nothing can be committed.
    #[error("nothing can be committed: {0}")]
    NoQuorum(Quorum),
    /// A learner lacks too much of the log to vote.
    #[error("{member} is not caught up: {entries} entries behind")]
    Behind {
        /// The learner.
        member: MemberId,
        /// Entries it is behind the commit index.
        entries: u64,
    },
    /// Nothing has been replicated to a learner yet.
    #[error("{0} is not caught up: nothing replicated yet")]
    NothingReplicated(MemberId),
    /// A learner has not been heard from lately.
    #[error("{member} has not been heard from for {}", Whole(*silent_for))]
    Unheard {
        /// The learner.
        member: MemberId,
        /// For how long.
        silent_for: Duration,
    },
    /// A writer without a data directory stays a learner in a durable group.
    #[error("{0} stays a learner: it has no data directory")]
    NoDataDir(MemberId),
    /// A learner lacks a command that was used: as a voter it would stop at it.
    #[error("{0} loses its seat: it does not know a command that was used; update it")]
    OutdatedProgram(MemberId),
    /// A learner has not said which commands it knows.
    #[error("{0} has not said yet which commands it knows")]
    UnknownProgram(MemberId),
    /// Another boot of the same peer is still in the membership and not known to be dead.
    #[error("{member} waits: boot {boot} of the same peer is a member and not known to be dead")]
    OtherBoot {
        /// The member that waits.
        member: MemberId,
        /// The boot of the other.
        boot: u64,
    },
    /// A voter is silent, but not yet for long enough.
    #[error(
        "{member} has been silent for {}, and may be replaced in {}",
        Whole(*silent_for),
        Up(*evict_in)
    )]
    Quiet {
        /// The voter.
        member: MemberId,
        /// For how long.
        silent_for: Duration,
        /// When it may be replaced.
        evict_in: Duration,
    },
    /// A durable voter has shut down: only a learner that is ready may take its vote, and not yet.
    #[error("{0} has shut down with its data and keeps its vote")]
    ShutDown(MemberId),
    /// A voter is silent, but another was removed too recently on no better evidence.
    #[error("one voter was removed {} ago, the next in {}", Whole(*ago), Up(*next_in))]
    Paced {
        /// How long ago.
        ago: Duration,
        /// When the next may go.
        next_in: Duration,
    },
    /// A voter is gone, no learner is ready to replace it, and the voters may not be fewer.
    #[error(
        "{member} is gone, but no learner is ready to replace it, and {voters} voters may shrink only \
         to an odd number of at least {fewest}"
    )]
    NoReplacement {
        /// The voter.
        member: MemberId,
        /// The voters now.
        voters: usize,
        /// Fewest to which they may shrink for this.
        fewest: usize,
    },
    /// A voter is to leave, but there would be fewer voters than three, or than live writers.
    #[error("{member} is to leave, but {floor} voters are needed and no learner is ready yet")]
    BelowFloor {
        /// The voter.
        member: MemberId,
        /// Fewest voters.
        floor: usize,
    },
    /// A learner is ready, but an even number of voters bears no more failures than one fewer.
    #[error(
        "{member} stays a learner: {voters} voters and one more bear no more failures, so it waits for \
         another"
    )]
    WaitsForPair {
        /// The learner.
        member: MemberId,
        /// The voters now.
        voters: usize,
    },
    /// The change would leave voters of whom no majority is live.
    #[error("the voters would be left without a quorum: {0}")]
    WouldLoseQuorum(Quorum),
    /// The leader is to go, but no other voter is live and holds the log.
    #[error("the leader is to go, but no other voter is live and caught up")]
    NoSuccessor,
    /// The leader's clock is wrong, but nobody with a right one can take over.
    #[error("the leader's clock is wrong, but no voter with a right one is live and caught up")]
    NoRightClock,
    /// Another voter should lead, but handing over was tried a moment ago.
    #[error("{to} should lead; handing over is tried again in {}", Up(*next_in))]
    HandOverPaused {
        /// The voter.
        to: MemberId,
        /// When it is tried again.
        next_in: Duration,
    },
    /// Writers that follow from outside, as all the seats are taken.
    #[error("writers that follow from outside, all seats being taken: {writers}")]
    NoSeat {
        /// How many.
        writers: usize,
    },
}

/// Prints a time in whole seconds, rounded down: for what has passed.
pub(super) struct Whole(pub(super) Duration);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs())
    }
}

/// Prints a time in whole seconds, rounded up: for what is to come.
pub(super) struct Up(pub(super) Duration);

impl fmt::Display for Up {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = u64::from(self.0.subsec_nanos() > 0);
        write!(f, "{} s", self.0.as_secs().saturating_add(up))
    }
}
