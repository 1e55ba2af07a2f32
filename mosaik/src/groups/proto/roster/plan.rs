//! The decision: which single change of the membership comes next, if any.
//!
//! In this order: finish a joint membership that an earlier leader left; hand over if the leader is to
//! go; change voters (replace, then grow or shrink), all in one joint change; drop learners that are
//! gone; seat new ones; hand over to a voter that is better suited to lead. Every step has its own
//! precondition and none undoes another, so that with nothing new it comes to rest.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    quorum::{Quorum, quorum},
    reason::Reason,
    view::{Fate, HAND_OVER_PAUSE, HAND_OVER_TIME, LogId, Program, Role, SPARES, View},
};
use crate::id::{MemberId, PeerId};

/// One change, to be made only while the membership is still the one it is based on and its planner
/// still leads in the same term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Change {
    /// The entry of the membership that it is based on.
    pub(crate) based_on: LogId,
    /// What to do.
    pub(crate) step: Step,
}

impl Change {
    /// Whether it removes voters on the evidence of silence alone: the leader then notes the moment, as
    /// [`View::last_eviction`].
    pub(crate) fn evicts(&self) -> bool {
        matches!(&self.step, Step::Voters { evicted, .. } if !evicted.is_empty())
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// Leave the joint membership that an earlier leader committed and did not finish.
    FinishJoint,
    /// Hand leadership to this voter. Changes no membership.
    HandOver(MemberId),
    /// Change the voters, in one joint change. Removed voters leave the membership altogether.
    Voters {
        /// Learners that become voters.
        promote: BTreeSet<MemberId>,
        /// Voters that leave.
        remove: BTreeSet<MemberId>,
        /// Those of them that are merely silent, not known to be gone.
        evicted: BTreeSet<MemberId>,
    },
    /// Forget learners.
    DropLearners(BTreeSet<MemberId>),
    /// Take in learners.
    AddLearners(BTreeSet<MemberId>),
}

/// The next change, if one is due.
pub(crate) fn plan(view: &View) -> Option<Change> {
    decide(view).0
}

/// Why the roster is not changed, or not further.
pub(crate) fn explain(view: &View) -> Vec<Reason> {
    decide(view).1
}

/// The change to make, and the reasons met on the way to it.
fn decide(view: &View) -> (Option<Change>, Vec<Reason>) {
    let mut reasons = Vec::new();
    let step = step(view, &mut reasons);
    let based_on = view.membership.log_id;
    (step.map(|step| Change { based_on, step }), reasons)
}

fn step(view: &View, reasons: &mut Vec<Reason>) -> Option<Step> {
    let membership = &view.membership;
    if !view.confirmed {
        reasons.push(Reason::NotConfirmed);
        return None;
    }
    if !membership.committed {
        reasons.push(Reason::InFlight(membership.log_id));
        return None;
    }
    let members = membership.members();
    let live = members.into_iter().filter(|m| view.answers(m)).collect();
    let quorum = quorum(membership, &live);
    if !quorum.reached() {
        reasons.push(Reason::NoQuorum(quorum));
        return None;
    }
    if membership.leaving.is_some() {
        return Some(Step::FinishJoint);
    }
    let goes = is_to_go(view);
    if goes
        && view
            .last_hand_over
            .is_some_and(|tried| view.since(tried) < HAND_OVER_TIME)
    {
        return None;
    }
    let abdicate = if goes { abdicate(view, reasons) } else { None };
    abdicate
        .or_else(|| change_voters(view, reasons))
        .or_else(|| drop_learners(view))
        .or_else(|| add_learners(view, reasons))
        .or_else(|| yield_leadership(view, reasons))
}

/// Whether the leader is to be removed, or about to shut down.
fn is_to_go(view: &View) -> bool {
    view.facts.get(&view.leader).is_some_and(|facts| {
        let goes = facts.departed || view.fate(&view.leader) != Fate::Live;
        goes || !view.membership.votes(&view.leader)
    })
}

/// A leader that is to go hands over first.
fn abdicate(view: &View, reasons: &mut Vec<Reason>) -> Option<Step> {
    let successor = successor(view);
    if successor.is_none() {
        reasons.push(Reason::NoSuccessor);
    }
    successor.map(Step::HandOver)
}

/// The voter best suited to lead besides the leader.
fn successor(view: &View) -> Option<MemberId> {
    let voters = view.membership.voters.iter().copied();
    voters
        .filter(|m| *m != view.leader && view.fate(m) == Fate::Live && view.caught_up(m))
        .min_by_key(|m| (Reverse(view.suits(m)), *m))
}

/// Hands over to a voter that is better suited than the leader: by a clock that is right, or by what it declared.
/// To one whose clock is wrong nobody yields.
fn yield_leadership(view: &View, reasons: &mut Vec<Reason>) -> Option<Step> {
    let to = successor(view).filter(|to| view.is_sound(to));
    let Some(to) = to else {
        if !view.is_sound(&view.leader) {
            reasons.push(Reason::NoRightClock);
        }
        return None;
    };
    if view.suits(&to) <= view.suits(&view.leader) {
        return None;
    }
    if let Some(tried) = view.last_hand_over
        && view.since(tried) < HAND_OVER_PAUSE
    {
        let next_in = HAND_OVER_PAUSE - view.since(tried);
        reasons.push(Reason::HandOverPaused { to, next_in });
        return None;
    }
    Some(Step::HandOver(to))
}

/// Voters that may go, by how much is known of their end.
struct Doomed {
    /// Their log is lost, whatever becomes of them.
    superseded: Vec<MemberId>,
    /// They left, or departed with their log.
    left: Vec<MemberId>,
    /// Merely silent, longest first; empty while the pace forbids it.
    silent: Vec<MemberId>,
}

impl Doomed {
    fn of(view: &View, reasons: &mut Vec<Reason>) -> Self {
        let with = |fate: Fate| {
            let voters = view.membership.voters.iter().copied();
            let doomed = voters.filter(|m| *m != view.leader && view.fate(m) == fate);
            doomed.collect::<Vec<_>>()
        };
        let mut silent = with(Fate::Silent);
        silent.sort_by_key(|m| (Reverse(silent_for(view, m)), *m));
        for member in with(Fate::Quiet) {
            let silent_for = silent_for(view, &member);
            reasons.push(if view.facts.get(&member).is_some_and(|f| f.departed) {
                Reason::ShutDown(member)
            } else {
                let evict_in = view.options.evict_after.saturating_sub(silent_for);
                Reason::Quiet {
                    member,
                    silent_for,
                    evict_in,
                }
            });
        }
        let wait = view.last_eviction.and_then(|last| {
            let ago = view.since(last);
            let next_in = view.options.evict_after.checked_sub(ago)?;
            (next_in > Duration::ZERO).then_some(Reason::Paced { ago, next_in })
        });
        if let Some(paced) = wait
            && !silent.is_empty()
        {
            reasons.push(paced);
            silent.clear();
        }
        Self {
            superseded: with(Fate::Superseded),
            left: with(Fate::Left),
            silent,
        }
    }
}

/// A change of the voters as it takes shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Draft {
    promote: BTreeSet<MemberId>,
    remove: BTreeSet<MemberId>,
    evicted: BTreeSet<MemberId>,
}

impl Draft {
    fn size(&self, view: &View) -> usize {
        view.membership.voters.len() + self.promote.len() - self.remove.len()
    }
}

fn change_voters(view: &View, reasons: &mut Vec<Reason>) -> Option<Step> {
    let mut doomed = Doomed::of(view, reasons);
    let mut draft = Draft::default();
    let mut ready = ready(view, &doomed, reasons);
    replace(&mut doomed, &mut ready, &mut draft);
    let replaced = draft.clone();
    let excess = draft.size(view).saturating_sub(view.options.target());
    if excess > 0 {
        lower(view, excess, &mut draft);
    } else if ready.is_empty() {
        shrink(view, &doomed, &mut draft, reasons);
    } else {
        grow(view, &ready, &mut draft, reasons);
    }
    if draft != replaced
        && let Some(lost) = without_quorum(view, &draft)
    {
        reasons.push(Reason::WouldLoseQuorum(lost));
        draft = replaced;
    }
    if draft.promote.is_empty() && draft.remove.is_empty() {
        return None;
    }
    // Who is promoted is live, and replaces one that is gone or leaves.
    debug_assert!(without_quorum(view, &draft).is_none(), "{draft:?}");
    Some(Step::Voters {
        promote: draft.promote,
        remove: draft.remove,
        evicted: draft.evicted,
    })
}

/// What the voters would lack for a quorum if the draft were made.
fn without_quorum(view: &View, draft: &Draft) -> Option<Quorum> {
    let mut after = view.membership.clone();
    after.voters = &(&after.voters | &draft.promote) - &draft.remove;
    let live = after.voters.iter().copied().filter(|m| view.answers(m));
    let quorum = quorum(&after, &live.collect());
    (!quorum.reached()).then_some(quorum)
}

/// Learners that could vote at once, best first.
fn ready(view: &View, doomed: &Doomed, reasons: &mut Vec<Reason>) -> Vec<MemberId> {
    let dead = doomed.superseded.iter().chain(&doomed.left);
    let dead = dead.copied().collect::<BTreeSet<_>>();
    let taken = boots(view.membership.voters.difference(&dead));
    let mut ready = Vec::new();
    for &member in &view.membership.learners {
        let silent_for = silent_for(view, &member);
        if view.fate(&member) > Fate::Silent || !view.is_writer(&member) {
            continue;
        }
        if !view.electable(&member) {
            reasons.push(Reason::NoDataDir(member));
        } else if view.program(&member) == Program::Outdated {
            reasons.push(Reason::OutdatedProgram(member));
        } else if let Some(&boot) = taken.get(&member.peer) {
            reasons.push(Reason::OtherBoot { member, boot });
        } else if view.fate(&member) != Fate::Live {
            reasons.push(Reason::Unheard { member, silent_for });
        } else if view.program(&member) == Program::Unheard {
            reasons.push(Reason::UnknownProgram(member));
        } else if !view.caught_up(&member) {
            reasons.push(match view.lag(&member) {
                Some(entries) => Reason::Behind { member, entries },
                None => Reason::NothingReplicated(member),
            });
        } else {
            ready.push(member);
        }
    }
    ready.dedup_by_key(|m| m.peer);
    ready.sort_by_key(|m| (Reverse(view.preference(m)), *m));
    ready
}

/// Replaces as many as can be, of the merely silent at most one. First by newer boots of the same peer:
/// those may take no other's place, or one peer had two votes.
fn replace(doomed: &mut Doomed, ready: &mut Vec<MemberId>, draft: &mut Draft) {
    let mut replace = |from: &mut Vec<MemberId>, most: usize, same_peer: bool| {
        let mut replaced = 0;
        from.retain(|member| {
            let by = ready
                .iter()
                .position(|m| m.peer == member.peer || !same_peer);
            let Some(by) = by.filter(|_| replaced < most) else {
                return true;
            };
            replaced += 1;
            draft.promote.insert(ready.remove(by));
            draft.remove.insert(*member);
            false
        });
        replaced
    };
    for same_peer in [true, false] {
        replace(&mut doomed.superseded, usize::MAX, same_peer);
        replace(&mut doomed.left, usize::MAX, same_peer);
    }
    let silent = doomed.silent.first().copied();
    if replace(&mut doomed.silent, 1, false) > 0 {
        draft.evicted.extend(silent);
    }
}

/// Promotes learners beyond replacing the dead: to an odd number up to the target, or to two.
fn grow(view: &View, ready: &[MemberId], draft: &mut Draft, reasons: &mut Vec<Reason>) {
    let now = draft.size(view);
    let target = view.options.target();
    let goal = useful(now + ready.len(), target);
    match goal.checked_sub(now) {
        None | Some(0) if now < target => {
            let member = ready[0];
            let voters = now;
            reasons.push(Reason::WaitsForPair { member, voters });
        }
        more => draft.promote.extend(ready.iter().take(more.unwrap_or(0))),
    }
}

/// The most voters out of so many that each bear some failure: odd, except for two.
pub(super) fn useful(available: usize, target: usize) -> usize {
    match available.min(target) {
        n @ ..=2 => n,
        n if n.is_multiple_of(2) => n - 1,
        n => n,
    }
}

/// Removes voters that nobody can replace, as far as the count may go.
fn shrink(view: &View, doomed: &Doomed, draft: &mut Draft, reasons: &mut Vec<Reason>) {
    let voters = view.membership.voters.len();
    let floor = view.floor();
    for &member in &doomed.left {
        if draft.size(view) > floor.max(1) {
            draft.remove.insert(member);
        } else {
            reasons.push(Reason::BelowFloor { member, floor });
        }
    }
    let fewest = view.options.fewest();
    let evictable = evictable(view, doomed, draft);
    let dead = doomed.superseded.iter().chain(&evictable);
    let dead = dead.copied().collect::<Vec<_>>();
    let size = draft.size(view);
    let odd = |gone: &usize| {
        let left = size.saturating_sub(*gone);
        !left.is_multiple_of(2) && left >= fewest
    };
    let gone = (1..=dead.len()).rev().find(odd).unwrap_or(0);
    for member in &dead[..gone] {
        draft.remove.insert(*member);
        if !doomed.superseded.contains(member) {
            draft.evicted.insert(*member);
        }
    }
    let rest = doomed.superseded.iter().chain(&doomed.silent);
    for &member in rest.filter(|m| !draft.remove.contains(m)) {
        reasons.push(Reason::NoReplacement {
            member,
            voters,
            fewest,
        });
    }
}

/// The silent voters that one shrinking change may remove: one; or two, which take their turns together
/// as only both leave an odd number, once both have been silent for two turns. A voter that shut down
/// with its data said that it will be back, and is only ever replaced.
fn evictable(view: &View, doomed: &Doomed, draft: &Draft) -> Vec<MemberId> {
    if !draft.evicted.is_empty() {
        return Vec::new();
    }
    let shut_down = |m: &MemberId| view.facts.get(m).is_some_and(|facts| facts.departed);
    let silent = doomed.silent.iter().copied().filter(|m| !shut_down(m));
    let two_turns = view.options.evict_after.saturating_mul(2);
    let mut first = silent.take(2).collect::<Vec<_>>();
    if first.iter().any(|m| silent_for(view, m) < two_turns) {
        first.truncate(1);
    }
    first
}

/// Gives up voters beyond what the options now ask for: the gone, then the quiet, then those who would
/// rather not lead; never the leader.
fn lower(view: &View, excess: usize, draft: &mut Draft) {
    let stay = |m: &&MemberId| **m != view.leader && !draft.remove.contains(m);
    let voters = view.membership.voters.iter().filter(stay);
    let mut voters = voters.copied().collect::<Vec<_>>();
    voters.sort_by_key(|m| {
        let gone = Reverse(view.fate(m));
        (gone, view.preference(m), Reverse(*m))
    });
    let removed = voters.into_iter().take(excess);
    draft.remove.extend(removed);
    let silent = |m: &&MemberId| view.fate(m) == Fate::Silent;
    let evicted = draft.remove.iter().filter(silent);
    draft.evicted = evicted.copied().collect();
}

/// Learners that are gone, and those that lack a command that was used: they stop at it, and take the seat of another
/// that could vote.
fn drop_learners(view: &View) -> Option<Step> {
    let learners = view.membership.learners.iter().copied();
    let outdated = |m: &MemberId| view.program(m) == Program::Outdated;
    let gone = learners.filter(|m| view.fate(m) >= Fate::Silent || outdated(m));
    let gone = gone.collect::<BTreeSet<_>>();
    (!gone.is_empty()).then_some(Step::DropLearners(gone))
}

/// Seats writers as learners: those who are to vote, and two spares. Who cannot ever vote gets a seat
/// only where the spares leave one, and who lacks a command that was used gets none.
fn add_learners(view: &View, reasons: &mut Vec<Reason>) -> Option<Step> {
    let membership = &view.membership;
    let doomed = |m: &&MemberId| view.fate(m) < Fate::Silent;
    let staying = membership.voters.iter().filter(doomed).count();
    let seats = view.options.target().saturating_sub(staying) + SPARES;
    let members = membership.members();
    let gone = |m: &&MemberId| view.fate(m) <= Fate::Silent;
    let taken = boots(members.iter().filter(gone));
    let mut candidates = Vec::new();
    for &member in view.facts.keys().filter(|m| !members.contains(m)) {
        let outdated = view.program(&member) == Program::Outdated;
        if !view.is_writer(&member) || view.fate(&member) != Fate::Live || outdated {
            continue;
        }
        match taken.get(&member.peer) {
            Some(&boot) => reasons.push(Reason::OtherBoot { member, boot }),
            None => candidates.push(member),
        }
    }
    candidates.dedup_by_key(|m| m.peer);
    let peers = boots(&membership.voters);
    candidates.sort_by_key(|m| {
        let returns = peers.contains_key(&m.peer);
        (Reverse(returns), Reverse(view.preference(m)), *m)
    });
    let mut add = BTreeSet::new();
    for electable in [true, false] {
        let learners = membership.learners.iter();
        let counts = |m: &&MemberId| !electable || view.electable(m);
        let seated = learners.chain(&add).filter(counts).count();
        let seats = if electable { seats } else { SPARES };
        let of_kind = candidates.iter();
        let of_kind = of_kind.filter(|m| view.electable(m) == electable);
        let seated = of_kind.take(seats.saturating_sub(seated)).copied();
        add.extend(seated.collect::<Vec<_>>());
    }
    let writers = candidates.len() - add.len();
    if writers > 0 {
        reasons.push(Reason::NoSeat { writers });
    }
    (!add.is_empty()).then_some(Step::AddLearners(add))
}

/// The boot of each peer among some members.
fn boots<'a>(members: impl IntoIterator<Item = &'a MemberId>) -> BTreeMap<PeerId, u64> {
    let boots = members.into_iter().map(|m| (m.peer, m.boot));
    boots.collect()
}

fn silent_for(view: &View, member: &MemberId) -> Duration {
    let facts = view.facts.get(member);
    facts.map_or(Duration::ZERO, |facts| facts.silent_for)
}

impl View {
    fn is_writer(&self, member: &MemberId) -> bool {
        self.facts
            .get(member)
            .is_some_and(|f| f.role == Role::Writer)
    }
}
