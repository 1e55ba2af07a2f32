//! The protocol: facts in, decisions out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    bound::{Bound, Release},
    charter::{Charter, Epoch, MAX_FOUNDERS},
    message::{Awaited, Config, Heard, Input, Message, Output, Peer, Record, Timer},
    verdict::{Claim, Verdict, succeeds, verdict},
};
use crate::{
    groups::proto::timing::Timing,
    id::{MemberId, PeerId},
};

/// Most bonded writers that are kept track of; more are not talked to.
pub(crate) const MAX_PEERS: usize = 1024;
/// Most answers that are waited for; more are not.
pub(crate) const MAX_AWAITED: usize = 1024;
/// Most members that are remembered as announcing an established charter.
pub(crate) const MAX_ANNOUNCERS: usize = 64;
/// How far above a member's round that of a charter may lie: one that is absurd is ignored, so that it
/// does not use up the rounds there are.
pub(crate) const MAX_ROUND_STEP: u64 = 1 << 32;

/// The founding of one group, as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Founding {
    pub(super) config: Config,
    /// Bonded writers.
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) awaited: BTreeSet<Awaited>,
    /// What was accepted or pledged against is not above it.
    pub(super) round: u64,
    pub(super) bound: Option<Bound>,
    pub(super) heard: Option<Heard>,
    /// The charter that this member is listed in and holds the state of.
    pub(super) established: Option<Charter>,
    /// The charter that won over the established one.
    pub(super) superseded: Option<Charter>,
    pub(super) gathering: Gathering,
    /// Pledges to answer with when they are on disk, the latest a peer.
    pub(super) owed: BTreeMap<MemberId, Charter>,
    /// What is to be stopped when it is on disk that it was left.
    stopping: Option<Epoch>,
    /// Whether all are to be told how this member stands.
    changed: bool,
    resending: bool,
    saved: Record,
    unpersisted: u32,
}

/// Which timers of an eligible member run, and what they have yielded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Gathering {
    /// Whether the timer to settle runs.
    settling: bool,
    /// Whether there were too few since that timer was set.
    broken: bool,
    /// Whether enough have been bonded long enough.
    pub(super) settled: bool,
    /// Whether the timer for a late proposal runs.
    late: bool,
}

/// What is chosen outside for a charter that is proposed now.
struct Fresh {
    /// A random id.
    epoch: Epoch,
    /// As declared, or as measured.
    timing: Timing,
}

impl Founding {
    /// A member that starts with nothing; it proposes nothing while any of `awaited` has not answered,
    /// up to the founding timeout. Rendezvous belong there when one founder is enough.
    pub(crate) fn new(
        config: Config,
        awaited: impl IntoIterator<Item = Awaited>,
        out: &mut Vec<Output>,
    ) -> Self {
        Self::restore(config, awaited, Record::default(), out)
    }

    /// A durable member that starts with what it has persisted. A log of a charter that the record names
    /// neither as bound nor as established was left: erase it.
    pub(crate) fn restore(
        mut config: Config,
        awaited: impl IntoIterator<Item = Awaited>,
        record: Record,
        out: &mut Vec<Output>,
    ) -> Self {
        config.founders = config.founders.clamp(1, MAX_FOUNDERS);
        let me = config.me;
        let saved = record.clone();
        let mut founding = Self {
            config,
            peers: BTreeMap::new(),
            awaited: awaited.into_iter().take(MAX_AWAITED).collect(),
            round: record.round,
            bound: record.bound.map(|binding| Bound::restored(binding, me)),
            heard: None,
            established: record.established,
            superseded: record.superseded,
            gathering: Gathering::default(),
            owed: BTreeMap::new(),
            stopping: None,
            changed: false,
            resending: false,
            saved,
            unpersisted: 0,
        };
        if !founding.awaited.is_empty() {
            out.push(Output::SetTimer(
                founding.config.founding_timeout,
                Timer::Patience,
            ));
        }
        if let Some(charter) = founding.established.clone() {
            out.push(Output::StartRaft {
                charter,
                recovers: None,
            });
        }
        if let Some(bound) = &founding.bound {
            founding.time_acceptances(bound.charter.round, out);
        }
        founding.finish(out);
        founding
    }

    /// Takes in a fact.
    pub(crate) fn handle(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Bonded(member) => self.on_bonded(member, out),
            Input::Unbonded(member) => self.on_unbonded(member, out),
            Input::Gone(member) => self.on_gone(member, out),
            Input::Answered(awaited) => {
                self.awaited.remove(&awaited);
            }
            Input::Received { from, message } => self.on_message(from, message, out),
            Input::Withdrawn(member) => self.on_withdrawn(member, out),
            Input::RaftCalled { from, epoch } => self.on_raft_called(from, epoch),
            Input::Appended(epoch) => {
                if self.awaits_entry(epoch)
                    && let Some(bound) = &mut self.bound
                {
                    bound.entry = true;
                }
            }
            Input::Committed(epoch) => self.on_committed(epoch),
            Input::VerdictCommitted { winner, commands } => self.on_verdict(winner, commands, out),
            Input::Refounded(charter) => self.on_refounded(charter, out),
            Input::Persisted => self.unpersisted = self.unpersisted.saturating_sub(1),
            Input::TimerFired {
                timer,
                epoch,
                timing,
            } => self.on_timer(timer, Fresh { epoch, timing }, out),
        }
        self.finish(out);
    }

    /// Whether a Raft request of the charter may be passed to Raft: this member has sealed it, or is a
    /// newcomer that has heard it established.
    pub(crate) fn may_answer_raft(&self, epoch: Epoch) -> bool {
        let runs = |b: &Bound| b.charter.epoch == epoch && b.started;
        let joins = |h: &Heard| h.claim.charter.epoch == epoch && h.joining && !h.fresh_boot;
        let holds = |c: &Charter| c.epoch == epoch;
        self.bound.as_ref().is_some_and(runs)
            || self.heard.as_ref().is_some_and(joins)
            || self.established.as_ref().is_some_and(holds)
    }

    /// What a restart would restore once everything is persisted.
    pub(crate) fn record(&self) -> Record {
        Record {
            round: self.round,
            bound: self.bound.as_ref().map(Bound::binding),
            established: self.established.clone(),
            superseded: self.superseded.clone(),
        }
    }

    /// Whether it knows no charter and is bound to none.
    pub(super) fn is_free(&self) -> bool {
        self.bound.is_none() && self.heard.is_none() && self.established.is_none()
    }

    /// Eligible members and their rounds, this one included if it is.
    pub(super) fn eligible(&self) -> BTreeMap<MemberId, u64> {
        let others = self.peers.iter().filter_map(|(peer, state)| {
            let boot = state.boot;
            state
                .free
                .map(|round| (MemberId { peer: *peer, boot }, round))
        });
        let own = self.is_free().then_some((self.config.me, self.round));
        others.chain(own).collect()
    }

    pub(super) fn is_bonded(&self, member: &MemberId) -> bool {
        let peer = self.peers.get(&member.peer);
        peer.is_some_and(|peer| peer.boot == member.boot)
    }

    fn on_bonded(&mut self, member: MemberId, out: &mut Vec<Output>) {
        let known = self.peers.get(&member.peer).map(|peer| peer.boot);
        if member.peer == self.config.me.peer || (known.is_none() && self.peers.len() >= MAX_PEERS)
        {
            return;
        }
        let founders = self.bound.iter().flat_map(|b| &b.charter.founders);
        let announcers = self.heard.iter().flat_map(|heard| &heard.announcers);
        let earlier = founders
            .chain(announcers)
            .copied()
            .chain(known.map(|boot| MemberId { boot, ..member }));
        let earlier: Vec<MemberId> = earlier
            .filter(|other| other.peer == member.peer && other.boot != member.boot)
            .collect();
        for gone in earlier {
            self.on_gone(gone, out);
        }
        let boot = member.boot;
        self.peers.insert(member.peer, Peer { boot, free: None });
        if self.unpersisted == 0 {
            self.speak(member, out);
        } else {
            self.changed = true;
        }
    }

    fn on_unbonded(&mut self, member: MemberId, out: &mut Vec<Output>) {
        if self.is_bonded(&member) {
            self.peers.remove(&member.peer);
            self.owed.remove(&member);
            self.on_withdrawn(member, out);
        }
    }

    fn on_gone(&mut self, member: MemberId, out: &mut Vec<Output>) {
        self.on_unbonded(member, out);
        self.on_withdrawn(member, out);
        if let Some(bound) = &mut self.bound
            && member != self.config.me
            && !bound.charter.terms.durable
            && bound.charter.founders.contains(&member)
        {
            bound.gone.insert(member);
            self.release(out);
        }
    }

    fn on_message(&mut self, from: MemberId, message: Message, out: &mut Vec<Output>) {
        if from.peer == self.config.me.peer {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&from.peer)
            && peer.boot == from.boot
        {
            peer.free = match &message {
                Message::Free { round } => Some(*round),
                Message::Refused(_) => peer.free,
                _ => None,
            };
        }
        match message {
            Message::Free { .. } => {}
            Message::Accepted(charter) => self.on_accepted(from, charter, out),
            Message::Pledged(charter) => self.on_pledged(from, charter, true, out),
            Message::Refused(charter) => self.on_pledged(from, charter, false, out),
            Message::Established(claim) => self.on_established(from, claim, out),
        }
    }

    fn on_accepted(&mut self, from: MemberId, charter: Charter, out: &mut Vec<Output>) {
        if let Some(bound) = &mut self.bound
            && bound.charter == charter
        {
            if charter.founders.contains(&from) {
                bound.accept(&BTreeSet::from([from]));
            }
            return;
        }
        let fresh = self.is_free() && charter.round > self.round;
        if fresh && self.concerns(from, &charter) {
            self.bind(charter, out);
            self.changed = true;
            if let Some(bound) = &mut self.bound {
                bound.accept(&BTreeSet::from([from]));
            }
        } else {
            self.refuse(from, charter, out);
        }
    }

    /// Answers that this member will never hold an entry of a charter that it is not bound to.
    fn refuse(&mut self, from: MemberId, charter: Charter, out: &mut Vec<Output>) {
        if !self.is_bonded(&from) {
            return;
        }
        if self.established.is_some() {
            out.push(Output::Announce { to: from });
        }
        if self.concerns(from, &charter) && !self.holds(charter.epoch) {
            self.round = self.round.max(charter.round);
            self.owed.insert(from, charter);
        }
    }

    /// Whether it is a charter of the group among whose founders are `from` and this member.
    fn concerns(&self, from: MemberId, charter: &Charter) -> bool {
        charter.is_sound(self.config.group, self.config.founders)
            && charter.terms.durable == self.config.terms.durable
            && charter.founders.contains(&self.config.me)
            && charter.founders.contains(&from)
            && charter.round <= self.round.saturating_add(MAX_ROUND_STEP)
    }

    /// Whether this member's log holds entries of the charter or of a descendant, so that a pledge would
    /// be false.
    fn holds(&self, epoch: Epoch) -> bool {
        let recovers = self.bound.as_ref().and_then(|bound| bound.recovers);
        let established = self.established.as_ref();
        recovers == Some(epoch)
            || established.is_some_and(|c| c.epoch == epoch || c.parent == Some(epoch))
    }

    fn bind(&mut self, charter: Charter, out: &mut Vec<Output>) {
        self.round = charter.round;
        self.time_acceptances(charter.round, out);
        self.bound = Some(Bound::new(charter, self.config.me));
    }

    /// `bound` says whether the sender is still bound to the charter and wants to know of pledges.
    fn on_pledged(&mut self, from: MemberId, charter: Charter, bound: bool, out: &mut Vec<Output>) {
        let me = self.config.me;
        match &mut self.bound {
            Some(ours) if ours.charter == charter && charter.founders.contains(&from) => {
                ours.pledges.insert(from);
                self.changed |= ours.is_open();
                ours.pledge(me);
                self.release(out);
            }
            Some(ours) if ours.charter == charter => {}
            _ if bound => self.refuse(from, charter, out),
            _ => {}
        }
    }

    fn on_established(&mut self, from: MemberId, claim: Claim, out: &mut Vec<Output>) {
        let (me, epoch) = (self.config.me, claim.charter.epoch);
        let founders = claim.charter.founders.len();
        if claim.charter.group != self.config.group || !(1..=MAX_FOUNDERS).contains(&founders) {
            return;
        }
        if let Some(established) = &self.established {
            if established.epoch != epoch {
                out.push(Output::Conflict {
                    by: from,
                    theirs: claim,
                });
            }
            return;
        }
        if let Some(bound) = &mut self.bound {
            if bound.charter.epoch == epoch {
                bound.accept(&bound.charter.founders.clone());
                if bound.sealed {
                    return;
                }
            } else {
                if bound.sealed && succeeds(&claim.charter, &bound.charter) {
                    // It runs here, and is not left without the driver's word.
                    out.push(Output::Conflict {
                        by: from,
                        theirs: claim.clone(),
                    });
                }
                self.changed |= bound.is_open();
                bound.pledge(me);
            }
        }
        match &mut self.heard {
            Some(heard) if heard.claim.charter.epoch == epoch => {
                heard.claim = claim;
                if heard.announcers.len() < MAX_ANNOUNCERS {
                    heard.announcers.insert(from);
                }
            }
            Some(heard)
                if !heard.announcers.is_empty()
                    && verdict(&heard.claim, &claim) == Verdict::Ours => {}
            _ => {
                let fresh_boot = claim.charter.founders.contains(&me);
                let heard = Heard {
                    claim,
                    announcers: BTreeSet::from([from]),
                    joining: false,
                    fresh_boot,
                };
                self.leave_heard(out);
                self.heard = Some(heard);
            }
        }
        self.release(out);
    }

    fn leave_heard(&mut self, out: &mut Vec<Output>) {
        if let Some(heard) = self.heard.take()
            && heard.joining
        {
            out.push(Output::Leave(heard.claim.charter.epoch));
        }
    }

    fn on_withdrawn(&mut self, member: MemberId, out: &mut Vec<Output>) {
        if let Some(heard) = &mut self.heard
            && heard.announcers.remove(&member)
            && heard.announcers.is_empty()
        {
            out.push(Output::SetTimer(
                self.config.founding_timeout,
                Timer::Forget,
            ));
        }
    }

    fn on_raft_called(&mut self, from: MemberId, epoch: Epoch) {
        if let Some(bound) = &mut self.bound
            && bound.charter.epoch == epoch
            && bound.charter.founders.contains(&from)
        {
            bound.accept(&bound.charter.founders.clone());
        }
    }

    /// Whether [`Input::Appended`] tells anything new of a charter, as it does once: a log is appended to all the time.
    pub(crate) fn awaits_entry(&self, epoch: Epoch) -> bool {
        self.running(epoch).is_some_and(|bound| !bound.entry)
    }

    fn running(&self, epoch: Epoch) -> Option<&Bound> {
        let bound = self.bound.as_ref();
        bound.filter(|bound| bound.charter.epoch == epoch && bound.started)
    }

    fn on_committed(&mut self, epoch: Epoch) {
        if let Some(bound) = self.running(epoch) {
            self.established = Some(bound.charter.clone());
        } else if let Some(heard) = &self.heard
            && heard.claim.charter.epoch == epoch
            && heard.joining
            && !heard.fresh_boot
        {
            self.established = Some(heard.claim.charter.clone());
        } else {
            return;
        }
        if let Some(bound) = self.bound.take()
            && bound.started
            && bound.charter.epoch != epoch
        {
            self.stopping = Some(bound.charter.epoch);
        }
        self.heard = None;
        self.changed = true;
    }

    fn on_verdict(&mut self, winner: Charter, commands: bool, out: &mut Vec<Output>) {
        let ours = self.established.as_ref().map(|charter| charter.epoch);
        if ours.is_none_or(|ours| ours == winner.epoch) || self.superseded.is_some() {
            return;
        }
        if commands {
            self.superseded = Some(winner.clone());
            out.push(Output::Supersede { winner });
            return;
        }
        self.established = None;
        self.stopping = ours;
        let fresh_boot = winner.founders.contains(&self.config.me);
        self.heard = Some(Heard {
            claim: Claim {
                charter: winner,
                commands: false,
                age: Duration::ZERO,
            },
            announcers: BTreeSet::new(),
            joining: false,
            fresh_boot,
        });
        out.push(Output::SetTimer(
            self.config.founding_timeout,
            Timer::Forget,
        ));
    }

    fn on_timer(&mut self, timer: Timer, fresh: Fresh, out: &mut Vec<Output>) {
        match timer {
            Timer::Settle => {
                self.gathering.settling = false;
                if !std::mem::take(&mut self.gathering.broken) && self.has_enough() {
                    self.gathering.settled = true;
                    self.propose(fresh, false, out);
                }
            }
            Timer::Late => {
                self.gathering.late = false;
                if self.gathering.settled {
                    self.propose(fresh, true, out);
                }
            }
            Timer::Patience => self.awaited.clear(),
            Timer::Acceptances { round } => {
                if let Some(bound) = &mut self.bound
                    && bound.charter.round == round
                    && bound.is_open()
                {
                    bound.pledge(self.config.me);
                    self.changed = true;
                    self.release(out);
                }
            }
            Timer::Resend => {
                self.resending = false;
                self.changed |= self.bound.is_some();
            }
            Timer::Forget => {
                let forgotten = self.heard.as_ref().is_some_and(|h| h.announcers.is_empty());
                if forgotten {
                    self.leave_heard(out);
                    self.changed = true;
                }
            }
            Timer::Recover => self.recover(fresh.epoch, out),
        }
    }

    fn has_enough(&self) -> bool {
        self.is_free() && self.eligible().len() >= self.config.founders
    }

    fn is_lowest(&self) -> bool {
        self.eligible().keys().next() == Some(&self.config.me)
    }

    /// Proposes if it is this member's turn: the lowest's, or anyone's if that one is late.
    fn propose(&mut self, fresh: Fresh, late: bool, out: &mut Vec<Output>) {
        if !self.awaited.is_empty() || !self.has_enough() {
            return;
        }
        if !late && !self.is_lowest() {
            return;
        }
        let me = self.config.me;
        let eligible = self.eligible();
        let others = eligible.iter().filter(|(member, _)| **member != me);
        let others: BTreeMap<_, _> = others.take(self.config.founders - 1).collect();
        let highest = others.values().copied().max().copied().unwrap_or(0);
        let ceiling = self.round.saturating_add(MAX_ROUND_STEP);
        let charter = Charter {
            epoch: fresh.epoch,
            group: self.config.group,
            founders: others.into_keys().copied().chain([me]).collect(),
            parent: None,
            generation: 0,
            round: highest.min(ceiling).max(self.round).saturating_add(1),
            timing: fresh.timing,
            terms: self.config.terms,
        };
        self.bind(charter, out);
        self.changed = true;
        if let Some(bound) = &mut self.bound {
            bound.accept(&BTreeSet::from([me]));
        }
    }

    /// Founds a descendant alone, as the last that can hold an entry of the charter it is bound to.
    fn recover(&mut self, epoch: Epoch, out: &mut Vec<Output>) {
        let me = self.config.me;
        let Some(bound) = self.bound.take_if(|bound| bound.recovering) else {
            return;
        };
        let round = self.round.saturating_add(1);
        self.found_alone(bound.charter.descendant(epoch, me, round), out);
    }

    /// Goes over to a descendant of the charter that it runs, of which it is the only founder.
    fn on_refounded(&mut self, charter: Charter, out: &mut Vec<Output>) {
        let me = self.config.me;
        let parent = charter.parent;
        let holds = self.established.as_ref().map(|charter| charter.epoch);
        let bound = self.bound.as_ref().filter(|bound| bound.started);
        let runs = bound.map(|bound| bound.charter.epoch);
        let heard = self.heard.as_ref();
        let heard = heard.filter(|heard| heard.joining && !heard.fresh_boot);
        let joins = heard.map(|heard| heard.claim.charter.epoch);
        let of_ours = parent.is_some() && [holds, runs, joins].contains(&parent);
        let sound = charter.is_sound(self.config.group, 1) && charter.founders.contains(&me);
        if !of_ours || !sound || charter.round <= self.round || self.superseded.is_some() {
            return;
        }
        self.established = None;
        self.heard = None;
        self.found_alone(charter, out);
        self.changed = true;
    }

    /// Binds itself to a descendant that it founds alone, and seals it.
    fn found_alone(&mut self, charter: Charter, out: &mut Vec<Output>) {
        let recovers = charter.parent;
        self.bind(charter, out);
        if let Some(bound) = &mut self.bound {
            bound.recovers = recovers;
            bound.accept(&BTreeSet::from([self.config.me]));
        }
    }

    fn release(&mut self, out: &mut Vec<Output>) {
        let Some(bound) = &mut self.bound else {
            return;
        };
        if self.established.is_some() {
            return;
        }
        match bound.release(self.config.me) {
            Release::No => {}
            Release::Free => {
                if bound.started {
                    self.stopping = Some(bound.charter.epoch);
                }
                self.bound = None;
                self.changed = true;
            }
            Release::Recover => {
                if !std::mem::replace(&mut bound.recovering, true) {
                    out.push(Output::SetTimer(Duration::ZERO, Timer::Recover));
                }
            }
        }
    }

    fn time_acceptances(&self, round: u64, out: &mut Vec<Output>) {
        if self.config.founders > 1 {
            let timer = Timer::Acceptances { round };
            out.push(Output::SetTimer(self.config.founding_timeout, timer));
        }
    }

    /// Sets what timers the new state needs, persists it, and says what it may say.
    fn finish(&mut self, out: &mut Vec<Output>) {
        self.gather(out);
        if self.bound.is_some() && !std::mem::replace(&mut self.resending, true) {
            out.push(Output::SetTimer(self.config.resend, Timer::Resend));
        }
        if self.config.terms.durable {
            self.persist(out);
        }
        if self.unpersisted == 0 {
            self.act(out);
        }
    }

    fn persist(&mut self, out: &mut Vec<Output>) {
        let record = self.record();
        if record != self.saved {
            self.saved = record.clone();
            self.unpersisted = self.unpersisted.saturating_add(1);
            out.push(Output::Persist(Box::new(record)));
        }
    }

    /// Watches over how long enough members are eligible.
    fn gather(&mut self, out: &mut Vec<Output>) {
        let enough = self.has_enough();
        let turn = self.awaited.is_empty() && self.is_lowest();
        let gathering = &mut self.gathering;
        if !enough {
            gathering.settled = false;
            gathering.broken = gathering.settling;
        } else if !gathering.settling && (turn || !gathering.settled) {
            let wait = if gathering.settled {
                Duration::ZERO
            } else {
                self.config.settle
            };
            gathering.settling = true;
            out.push(Output::SetTimer(wait, Timer::Settle));
        }
        if gathering.settled && !std::mem::replace(&mut gathering.late, true) {
            out.push(Output::SetTimer(self.config.founding_timeout, Timer::Late));
        }
    }

    /// Does what had to wait for the disk.
    fn act(&mut self, out: &mut Vec<Output>) {
        if let Some(epoch) = self.stopping.take() {
            out.push(Output::StopRaft(epoch));
        }
        if std::mem::take(&mut self.changed) {
            let peers = self.peers.iter();
            let bonded: Vec<MemberId> = peers
                .map(|(peer, state)| MemberId {
                    peer: *peer,
                    boot: state.boot,
                })
                .collect();
            for member in bonded {
                self.speak(member, out);
            }
        }
        for (to, charter) in std::mem::take(&mut self.owed) {
            let message = Message::Refused(charter);
            out.push(Output::Send { to, message });
        }
        if let Some(bound) = &mut self.bound
            && bound.sealed
            && !std::mem::replace(&mut bound.started, true)
        {
            out.push(Output::StartRaft {
                charter: bound.charter.clone(),
                recovers: bound.recovers,
            });
        }
        let running = self.bound.as_ref().is_some_and(|bound| bound.sealed);
        if let Some(heard) = &mut self.heard
            && !running
            && !std::mem::replace(&mut heard.joining, true)
        {
            out.push(Output::Join {
                charter: heard.claim.charter.clone(),
                fresh_boot: heard.fresh_boot,
            });
        }
    }

    /// Tells a bonded member how this one stands.
    fn speak(&self, to: MemberId, out: &mut Vec<Output>) {
        let message = match &self.bound {
            _ if self.established.is_some() => {
                out.push(Output::Announce { to });
                return;
            }
            Some(bound) if !bound.charter.founders.contains(&to) => return,
            Some(bound) if bound.pledged => Message::Pledged(bound.charter.clone()),
            Some(bound) => Message::Accepted(bound.charter.clone()),
            None if self.is_free() => Message::Free { round: self.round },
            None => return,
        };
        out.push(Output::Send { to, message });
    }
}
