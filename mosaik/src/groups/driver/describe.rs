//! Tells the handles how the group is doing.

use super::run::Driver;
use crate::groups::{
    error::{Unavailable, peers},
    proto::{
        founding::status::Status as Founding,
        roster::{Membership, quorum},
    },
    status::{GroupStatus, Phase},
};
use crate::id::MemberId;

/// Entries that a replica may be behind and still count as online.
const NEARLY: u64 = 1024;

impl Driver {
    /// Tells the handles how the group is doing, if that has changed.
    pub(super) fn describe(&self) {
        let membership = self.membership();
        let leader = self.running.as_ref().and_then(|running| running.leader());
        let behind = self.behind();
        let unavailable = self.why_unavailable(membership.as_ref(), leader);
        let applied = self.parts.shared.progress().get().is_some();
        let superseded = matches!(self.front.status(), Some(Founding::Superseded { .. }));
        let me = self.front.me();
        let mut refusals = self.front.refusals();
        let refused = self.seats.refused.clone();
        refusals.extend(refused.map(|why| (me.peer, why)));
        let roster = self.seats.reasons.iter().map(ToString::to_string);
        let roster = roster.chain(self.version_trouble()).collect();
        let status = GroupStatus {
            me: Some(me),
            phase: self.phase(membership.as_ref()),
            online: unavailable.is_none() && applied && behind < NEARLY && !superseded,
            leader,
            term: self.term(),
            unavailable,
            behind: if behind < NEARLY { 0 } else { behind },
            membership,
            roster,
            refusals,
            conflicts: self
                .conflicts
                .others()
                .map(|other| other.to_string())
                .collect(),
            development: self.parts.settled.founders == 1,
            durable: self.parts.settled.durable,
            recovery: self.recovery.waits().map(ToOwned::to_owned),
            refounded: self.recovery.refounded(),
            unfenced: peers(self.recovery.unfenced()),
            rebuilds: self.all_rebuilds,
            rollbacks: self.rollbacks.clone(),
            resting: self.is_resting(),
            clock: self.clock_trouble(),
            full: self.full(),
            timing: self
                .running
                .as_ref()
                .map(|running| running.charter().timing),
        };
        self.parts.shared.set_status(status);
    }

    /// What the disk has no room for, and what follows.
    fn full(&self) -> Option<String> {
        let why = self.running.as_ref()?.machine().full?;
        Some(format!(
            "no room for a snapshot of the state, so the log grows until there is; make some: {why}"
        ))
    }

    fn term(&self) -> Option<u64> {
        let status = self.running.as_ref()?.raft()?;
        Some(status.term)
    }

    /// Entries that are known to be committed and are not applied here.
    fn behind(&self) -> u64 {
        let Some(running) = &self.running else {
            return 0;
        };
        let known = match running.raft() {
            Some(status) => status.committed.map(|at| at.index + 1),
            None => running.followed().applied.map(|index| index + 1),
        };
        let applied = self.parts.shared.progress().get();
        known
            .unwrap_or(0)
            .saturating_sub(applied.map_or(0, |index| index + 1))
    }

    fn phase(&self, membership: Option<&Membership>) -> Phase {
        let me = self.front.me();
        match self.front.status() {
            Some(Founding::Superseded { .. }) => return Phase::Superseded,
            Some(Founding::Established { .. } | Founding::Joining { .. }) | None => {}
            Some(status) => return Phase::Founding(status.to_string()),
        }
        match &self.running {
            Some(running) if running.is_following(running.charter().epoch) => {
                let source = running.followed().source;
                return Phase::Following { source };
            }
            None if self.rolled_back.is_some() => return Phase::RolledBack,
            None if !self.recovery.is_bound() => {
                let waits = "no member that holds the state was heard of yet";
                return Phase::Founding(waits.into());
            }
            _ => {}
        }
        if membership.is_some_and(|membership| membership.votes(&me)) {
            Phase::Voter
        } else {
            Phase::Learner
        }
    }

    fn why_unavailable(
        &self,
        membership: Option<&Membership>,
        leader: Option<MemberId>,
    ) -> Option<Unavailable> {
        if let Some(why) = &self.rolled_back {
            return Some(Unavailable::RolledBack(why.clone()));
        }
        let running = self.running.as_ref();
        if running.is_none() && !self.recovery.is_bound() {
            return Some(Unavailable::NotFounded);
        }
        if let Some(lacks) = running.and_then(|running| running.followed().lacks) {
            return Some(lacks.into());
        }
        let me = self.front.me();
        let follows = running.is_some_and(|running| running.raft().is_none());
        if let (Some(membership), false) = (membership, follows) {
            let quorum = quorum(membership, &self.live());
            if !membership.voters.is_empty() && !quorum.reached() {
                return Some(Unavailable::NoQuorum {
                    have: quorum.have,
                    need: quorum.need,
                    missing: peers(&quorum.missing),
                });
            }
        }
        let reachable = leader.filter(|leader| *leader == me || self.front.bond(leader).is_some());
        reachable.is_none().then_some(Unavailable::NoLeader)
    }
}
