//! What may be done when a quorum is gone for good: found a descendant of the charter, and from whom.
//!
//! The descendant starts from the whole log of the replica with the greatest last log id. Three things
//! may cause it:
//!
//! - **Proof** (volatile charters): no majority of the membership can ever exist again, *and* no later
//!   membership can exist of which the survivors never heard. That so many voters are dead shows only
//!   the first: before they died, they may have moved on without the survivors and made voters of
//!   others, who may be alive behind a partition and acknowledging commands. So those who *attest* that
//!   this membership is the last in their log must be so many that the others never made a majority:
//!   survivors, who are bound to the recovery from then on, and members whose signed departure names
//!   their last membership.
//! - **Time**, where it is declared: `recover_after`, and development mode.
//! - **An operator.** This and time cannot fence an old majority that nobody reaches; whoever acts on
//!   the outcome says so ([`Descendant::unfenced`]).
//!
//! Every survivor may compute this; only the one named founds. Those who see different survivors may
//! name different ones: then founding, and the precedence between charters, decide.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use super::{
    plan::useful,
    quorum::{Death, Quorum, majority, provably_dead, quorum},
    reason::Up,
    view::{LogId, Membership, Options},
};
use crate::id::MemberId;

/// How long after its quorum is gone a volatile group in development mode (one founder) re-forms.
const DEVELOPMENT: Duration = Duration::from_secs(10);

/// What a reachable member that holds the charter's state reports, bound to run the charter no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Replica {
    /// The last entry in its log.
    pub(crate) last: LogId,
    /// The entry of the last membership in its log.
    pub(crate) membership: LogId,
    /// Whether its log outlives its process.
    pub(crate) durable: bool,
    /// Whether it may vote: not an observer.
    pub(crate) writer: bool,
}

/// A charter whose quorum is lost, as one who reaches some of its members sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The last membership in the log of any survivor.
    pub(crate) membership: Membership,
    /// The members that are reachable and hold the state.
    pub(crate) survivors: BTreeMap<MemberId, Replica>,
    /// The members known to be dead, their logs with them.
    pub(crate) evidence: BTreeMap<MemberId, Death>,
    /// Of the departed, the last membership in the log of those who signed it with their departure.
    pub(crate) testaments: BTreeMap<MemberId, LogId>,
    /// Reachable writers without the state that may be founders too: newer boots, learners to be.
    pub(crate) newcomers: BTreeSet<MemberId>,
    /// How long the quorum has been gone, without a break.
    pub(crate) lost_for: Duration,
    /// How long it has to be gone, where that is declared.
    pub(crate) recover_after: Option<Duration>,
    /// Whether an operator asks for it.
    pub(crate) operator: bool,
    /// The options of the charter.
    pub(crate) options: Options,
}

/// What allows a descendant to be founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cause {
    /// No majority can exist, now or ever.
    Proof,
    /// It was gone for as long as declared.
    Declared,
    /// Development mode.
    Development,
    /// An operator asked for it.
    Operator,
}

/// A descendant charter to be founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descendant {
    /// Who founds it, from its own log, all of which it applies.
    pub(crate) founder: MemberId,
    /// With whom, itself included.
    pub(crate) founders: BTreeSet<MemberId>,
    /// The last entry of that log.
    pub(crate) last: LogId,
    /// What allows it.
    pub(crate) cause: Cause,
    /// Voters that are neither reachable nor known to be dead: should they be a majority of the old
    /// charter, or have moved on to other voters, nothing keeps them from acknowledging commands.
    pub(crate) unfenced: BTreeSet<MemberId>,
}

/// Why no descendant is founded, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Waiting {
    /// Nobody who is reachable holds the state.
    #[error("no member that holds the state is reachable")]
    NoReplica,
    /// A quorum is reachable: there is nothing to recover from.
    #[error(
        "nothing to recover from: {} voters are reachable, {} are a quorum",
        .0.have,
        .0.need
    )]
    QuorumReachable(Quorum),
    /// A survivor knows of a later membership, which is the one to judge.
    #[error("{member} knows of a later membership, at {log_id}")]
    LaterMembership {
        /// The survivor.
        member: MemberId,
        /// The entry of the later membership.
        log_id: LogId,
    },
    /// A durable charter waits for its members, unless declared otherwise.
    #[error(
        "a durable group waits for its members to come back: {}",
        List(missing)
    )]
    Durable {
        /// The voters that are not reachable.
        missing: BTreeSet<MemberId>,
    },
    /// Too few voters are proven dead: those missing may still come back.
    #[error(
        "too few voters are proven dead; these may come back: {}",
        List(missing)
    )]
    MayReturn {
        /// The voters that are neither reachable nor known to be dead.
        missing: BTreeSet<MemberId>,
    },
    /// So many voters died that they may have moved on to others before, unknown to the survivors.
    #[error(
        "the dead may have moved on to other voters before they died: {need} members must attest that \
         they did not, {attested} do"
    )]
    MayHaveMovedOn {
        /// Members that attest that they did not.
        attested: usize,
        /// How many must.
        need: usize,
    },
    /// A change of the membership was not committed, and the survivors can elect a leader without it.
    #[error("{member} has a later log without the change at {change}, and may yet be elected")]
    Undecided {
        /// Who has the later log.
        member: MemberId,
        /// The entry of the change.
        change: LogId,
    },
    /// The group re-forms by itself, later.
    #[error("the group re-forms by itself in {}, {}", Up(*next_in), cause.why())]
    After {
        /// When.
        next_in: Duration,
        /// What allows it then.
        cause: Cause,
    },
}

impl Loss {
    /// Voters that are neither reachable nor known to be dead.
    pub(crate) fn unfenced(&self) -> BTreeSet<MemberId> {
        let voters = self.membership.configs().flatten().copied();
        voters
            .filter(|m| !self.survivors.contains_key(m) && !self.evidence.contains_key(m))
            .collect()
    }

    /// After which time the group re-forms by itself, if it does so without proof, and what allows it. A declaration
    /// takes the place of the default, be it sooner or later.
    fn in_time(&self) -> Option<(Duration, Cause)> {
        let declared = self.recover_after.map(|after| (after, Cause::Declared));
        let development = !self.options.durable && self.options.founders == 1;
        declared.or(development.then_some((DEVELOPMENT, Cause::Development)))
    }

    /// Whether the group re-forms by itself in time.
    pub(crate) fn ends_in_time(&self) -> bool {
        self.in_time().is_some()
    }

    /// Whether it has been lost for that time.
    pub(crate) fn is_timed_out(&self) -> bool {
        self.in_time()
            .is_some_and(|(after, _)| self.lost_for >= after)
    }
}

impl Cause {
    /// What makes a group re-form by itself in time.
    fn why(self) -> &'static str {
        match self {
            Self::Development => "in development mode",
            _ => "as declared",
        }
    }
}

/// The descendant to found now, or why none is.
pub(crate) fn refound(loss: &Loss) -> Result<Descendant, Waiting> {
    let (founder, replica) = best(&loss.survivors).ok_or(Waiting::NoReplica)?;
    let known = loss.membership.log_id;
    if let Some((&member, replica)) = loss.survivors.iter().find(|(_, r)| r.membership > known) {
        let log_id = replica.membership;
        return Err(Waiting::LaterMembership { member, log_id });
    }
    let reachable = loss.survivors.keys().copied().collect();
    let left = quorum(&loss.membership, &reachable);
    if left.reached() {
        return Err(Waiting::QuorumReachable(left));
    }
    let cause = cause(loss)?;
    Ok(Descendant {
        founder,
        founders: founders(loss, founder),
        last: replica.last,
        cause,
        unfenced: loss.unfenced(),
    })
}

/// The most up-to-date replica: greatest last log id, then lowest id.
fn best(survivors: &BTreeMap<MemberId, Replica>) -> Option<(MemberId, Replica)> {
    let replicas = survivors
        .iter()
        .map(|(member, replica)| (*member, *replica));
    replicas.min_by_key(|(member, replica)| (Reverse(replica.last), *member))
}

/// What allows a descendant now.
fn cause(loss: &Loss) -> Result<Cause, Waiting> {
    if loss.operator {
        return Ok(Cause::Operator);
    }
    let unproven = match proven(loss) {
        Ok(()) => return Ok(Cause::Proof),
        Err(unproven) => unproven,
    };
    match loss.in_time() {
        None => Err(unproven),
        Some((after, cause)) if loss.lost_for >= after => Ok(cause),
        Some((after, cause)) => Err(Waiting::After {
            next_in: after - loss.lost_for,
            cause,
        }),
    }
}

/// Whether no majority of this membership, and none of a later one, can exist besides the survivors.
fn proven(loss: &Loss) -> Result<(), Waiting> {
    let missing = loss.unfenced();
    let known = loss.membership.log_id;
    if loss.options.durable {
        return Err(Waiting::Durable { missing });
    }
    let reachable = loss.survivors.keys().copied().collect();
    if !provably_dead(true, &loss.membership, &reachable, &loss.evidence) {
        return Err(Waiting::MayReturn { missing });
    }
    let unaware = best(&loss.survivors).filter(|(_, replica)| replica.membership < known);
    let left = loss.membership.leaving.as_ref();
    if let (Some((member, _)), Some(left)) = (unaware, left)
        && left.intersection(&reachable).count() >= majority(left.len())
    {
        let change = known;
        return Err(Waiting::Undecided { member, change });
    }
    // A member attests if its log never had a membership later than this one, and never will.
    let attests = |member: &&MemberId| {
        let buried = loss.evidence.contains_key(member);
        let testament = loss.testaments.get(member).filter(|_| buried).copied();
        let survivor = loss.survivors.get(member).map(|replica| replica.membership);
        testament.or(survivor).is_some_and(|last| last <= known)
    };
    // To commit a later membership takes a majority of this one. While joint, the survivors may not
    // know whether the first set still decides alone, or the second already does: neither may have had
    // a majority of others.
    for config in loss.membership.configs() {
        let attested = config.iter().filter(attests).count();
        let need = config.len() + 1 - majority(config.len());
        if attested < need {
            return Err(Waiting::MayHaveMovedOn { attested, need });
        }
    }
    Ok(())
}

/// The founder and the others it founds with: survivors first, voters before learners, then newcomers;
/// one boot a peer, and an odd number of them, or two.
fn founders(loss: &Loss, founder: MemberId) -> BTreeSet<MemberId> {
    let fit = |replica: &Replica| replica.writer && (replica.durable || !loss.options.durable);
    let mut others = loss.survivors.iter();
    let mut others = others
        .by_ref()
        .filter(|(member, replica)| **member != founder && fit(replica))
        .map(|(member, _)| (!loss.membership.votes(member), *member))
        .collect::<Vec<_>>();
    others.sort_unstable();
    let others = others.into_iter().map(|(_, member)| member);
    let mut peers = BTreeSet::new();
    let all = [founder]
        .into_iter()
        .chain(others)
        .chain(loss.newcomers.iter().copied())
        .filter(|member| peers.insert(member.peer))
        .collect::<Vec<_>>();
    let count = useful(all.len(), loss.options.target());
    all.into_iter().take(count).collect()
}

struct List<'a>(&'a BTreeSet<MemberId>);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, member) in self.0.iter().enumerate() {
            let before = if i == 0 { "" } else { ", " };
            write!(f, "{before}{member}")?;
        }
        Ok(())
    }
}
