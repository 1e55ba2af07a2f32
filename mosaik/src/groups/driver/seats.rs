//! The roster of a group, as long as this member leads: what is known of everybody, and carrying out what is
//! planned.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    time::Duration,
};

use futures::future::BoxFuture;
use tracing::{debug, info};

use super::{run::Driver, running::Running, versions::Programs};
use crate::{
    groups::{
        bonds::Control,
        error::Refusal,
        front::Bond,
        proto::roster::{
            self, Facts, Membership, Preference, Program, Role, Silence, View, quorum,
        },
        raft::{self, ChangeError, Status},
    },
    id::MemberId,
    rt::{self, Instant},
};

/// What is kept of the roster while this member leads.
#[derive(Default)]
pub(in crate::groups) struct Seats {
    /// The leadership that this belongs to: its term, and when it began.
    term: Option<(u64, Instant)>,
    silence: Option<Silence>,
    members: BTreeSet<MemberId>,
    last_eviction: Option<u64>,
    last_hand_over: Option<u64>,
    change: Option<Change>,
    /// Those whom that makes voters.
    promoted: BTreeSet<MemberId>,
    content: bool,
    /// Why the roster is as it is.
    pub(super) reasons: Vec<roster::Reason>,
    /// Why this member did not join the charter that it heard of.
    pub(super) refused: Option<Refusal>,
}

pub(super) type Change = BoxFuture<'static, Result<(), ChangeError>>;

impl Seats {
    /// Forgets everything: another replica runs.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Waits until the change that is under way is done.
    pub(super) async fn settled(&mut self) {
        let Some(change) = &mut self.change else {
            return pending().await;
        };
        let result = change.await;
        self.change = None;
        self.promoted.clear();
        if let Err(error) = result {
            debug!(%error, "a change of the members was not made");
        }
    }

    /// Who becomes a voter by the change that is under way.
    pub(super) fn promoted(&self) -> &BTreeSet<MemberId> {
        &self.promoted
    }

    /// Whether nothing is to be changed, as far as a leader that is confirmed can tell.
    pub(super) fn is_content(&self) -> bool {
        self.content
    }

    /// Whether this member leads, in which term, and what the silence clock says.
    fn lead(&mut self, status: &Status, me: MemberId, gap: Duration) -> bool {
        let Some(membership) = &status.membership else {
            return false;
        };
        if status.leader != Some(me) || status.role != raft::Role::Leader {
            if self.term.take().is_some() {
                self.silence = None;
                self.reasons.clear();
            }
            return false;
        }
        let now = rt::now();
        let members = membership.members();
        if self.term.is_none_or(|(term, _)| term != status.term) {
            self.term = Some((status.term, now));
            self.silence = Some(Silence::new(0, gap, members.clone()));
            self.members = members;
            self.last_eviction = None;
            self.last_hand_over = None;
        } else if self.members != members {
            self.members = members.clone();
            self.hear(roster::Input::Members(members));
        }
        for (member, at) in &status.heard {
            let at = self.millis(*at);
            self.hear(roster::Input::Heard {
                member: *member,
                at,
            });
        }
        // Who votes alone needs nobody to confirm it.
        if let Some(at) = status.confirmed.or(membership.one_votes().then_some(now)) {
            let at = self.millis(at);
            self.hear(roster::Input::Confirmed { at });
        }
        true
    }

    fn hear(&mut self, input: roster::Input) {
        if let Some(silence) = &mut self.silence {
            silence.handle(input);
        }
    }

    /// Milliseconds since this member began to lead.
    fn millis(&self, at: Instant) -> u64 {
        let began = self.term.map_or(at, |(_, began)| began);
        let since = at.saturating_duration_since(began).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX)
    }
}

impl Driver {
    /// Plans the next change of the roster, if this member leads, and starts to carry it out.
    pub(super) fn plan(&mut self) {
        if self.is_resting() {
            // What it was content with has not changed.
            return;
        }
        self.seats.content = false;
        let Some((status, running)) = self.leading() else {
            return;
        };
        if self.seats.change.is_some() {
            return;
        }
        let Some(membership) = status.membership.clone() else {
            return;
        };
        if let (Some(commit), true) = (status.committed, self.parts.settled.durable) {
            let leads = (running.epoch(), status.term);
            self.front.acknowledged(leads, commit, &status.replication);
        }
        let programs = self.programs(&membership);
        let view = self.view(&status, membership, &programs);
        self.evict(&view);
        self.seats.reasons = roster::explain(&view);
        let Some(change) = roster::plan(&view) else {
            self.seats.content = view.confirmed;
            return;
        };
        info!(step = ?change.step, "changes the members");
        if change.evicts() {
            self.seats.last_eviction = Some(view.now);
        }
        if matches!(change.step, roster::Step::HandOver(_)) {
            self.seats.last_hand_over = Some(view.now);
        }
        if let roster::Step::Voters { promote, .. } = &change.step {
            self.seats.promoted.clone_from(promote);
            // They must know what is proposed from now on.
            self.set_gate();
        }
        self.seats.change = Some(self.make(change, running));
    }

    /// How Raft is doing, and the replica, if this member leads.
    fn leading(&mut self) -> Option<(Status, std::sync::Arc<crate::groups::replica::Replica>)> {
        let running = self.running.as_ref()?;
        let status = running.raft()?;
        let replica = running.replica().clone();
        let me = self.front.me();
        let timing = running.charter().timing;
        let gap = timing.election_max.max(timing.heartbeat * 4);
        self.seats
            .lead(&status, me, gap)
            .then_some((status, replica))
    }

    fn view(&self, status: &Status, membership: Membership, programs: &Programs) -> View {
        let now = self.seats.millis(rt::now());
        let silence = self.seats.silence.as_ref();
        let me = self.front.me();
        let mut facts = BTreeMap::new();
        let members = membership.members();
        let epoch = self.running.as_ref().map(|running| running.charter().epoch);
        // Who holds another charter takes no part in this one.
        let apart = |bond: &Bond| bond.announces.is_some() && bond.announces != epoch;
        let bonds = self.front.bonds().into_iter();
        let bonds = bonds.filter(|bond| members.contains(&bond.member) || !apart(bond));
        let far_off = self.running.as_ref().and_then(Running::clock);
        let far_off = far_off.map(|clock| clock.far_off()).unwrap_or_default();
        let bonded: BTreeMap<MemberId, _> = bonds.map(|bond| (bond.member, bond)).collect();
        for member in members.iter().chain(bonded.keys()) {
            let bond = bonded.get(member);
            let (lost, death, left) = self.front.fate(member);
            let silent_for = match silence {
                Some(silence) if members.contains(member) => silence.silent_for(member),
                _ => lost.map_or(Duration::ZERO, |at| rt::now().duration_since(at)),
            };
            let writer = bond.is_none_or(|bond| bond.writer);
            let durable = bond.map_or(self.parts.settled.durable, |bond| bond.durable);
            let known = Facts {
                role: if writer { Role::Writer } else { Role::Observer },
                durable,
                matched: status.replication.get(member).copied().flatten(),
                silent_for,
                superseded: death == Some(roster::Death::Superseded),
                departed: death == Some(roster::Death::Departed),
                leaving: left,
                preference: bond.map_or(Preference::Neutral, |bond| bond.preference),
                sound: !far_off.contains(member),
                program: programs.get(member).copied().unwrap_or(Program::Unheard),
            };
            facts.insert(*member, known);
        }
        let stop = *self.parts.stop.borrow();
        let running = self.running.as_ref();
        facts.insert(
            me,
            Facts {
                role: Role::Writer,
                durable: self.parts.settled.durable,
                matched: status.last.map(|last| last.index),
                silent_for: Duration::ZERO,
                superseded: false,
                departed: stop != super::run::Stop::No,
                leaving: stop == super::run::Stop::Leave,
                preference: self.parts.settled.preference(),
                sound: running.is_none_or(|running| running.watch().verdict.is_sound()),
                program: Program::Current,
            },
        );
        View {
            now,
            leader: me,
            confirmed: silence.is_some_and(|silence| silence.confirmed(now)),
            commit: status.committed.map_or(0, |at| at.index),
            membership,
            facts,
            last_eviction: self.seats.last_eviction,
            last_hand_over: self.seats.last_hand_over,
            options: self.parts.settled.roster.clone(),
        }
    }

    /// Tells bonded members that take themselves for members that they are none: they were removed while they
    /// could not hear of it, or their disks went back.
    fn evict(&self, view: &View) {
        if !view.confirmed || !view.membership.committed {
            return;
        }
        let members = view.membership.members();
        let group = self.front.group();
        let Some(epoch) = self.running.as_ref().map(|running| running.charter().epoch) else {
            return;
        };
        let removed = |to: MemberId| Control::Removed {
            group,
            from: view.leader.boot,
            to: to.boot,
        };
        // Whose disk went back holds more than nothing: it is given up only where the others are a quorum.
        if quorum(&view.membership, &self.live()).reached() {
            for (member, line) in self.front.went_back() {
                line.tell(removed(member));
            }
        }
        for bond in self.front.bonds() {
            if bond.announces == Some(epoch) && !members.contains(&bond.member) {
                bond.line.tell(removed(bond.member));
            }
        }
    }

    /// The last membership that is known.
    pub(super) fn membership(&self) -> Option<Membership> {
        let Some(running) = &self.running else {
            return self.recovery.membership().cloned();
        };
        match running.raft() {
            Some(status) => status.membership,
            None => running.machine().membership.map(|known| (*known).clone()),
        }
    }
}
