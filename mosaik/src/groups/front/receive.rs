//! What peers say of themselves and of the group, and what follows from it for who is bonded.

use tracing::warn;

use super::{Bond, Core, Front, MAX_REMEMBERED, Notice};
use crate::{
    groups::{
        bonds::{Control, Farewell, Line, Presence, Report, Testament},
        error::Refusal,
        proto::{
            founding::{
                charter::{Charter, Epoch},
                message::{Input, Message},
            },
            quiesce,
            rollback::Rollback,
            roster::Death,
        },
    },
    id::{MemberId, PeerId},
    rt,
    transport::Connection,
};

impl Front {
    /// A peer has sent a control message.
    pub(crate) fn received(&self, line: &Line, message: Control) {
        let peer = line.connection.peer();
        match message {
            Control::Present(presence) => self.present(line, &presence),
            Control::Absent {
                boot,
                farewell,
                testament,
                ..
            } => self.absent(peer, boot, farewell, testament),
            Control::Refused { why, .. } => self.refused(peer, why),
            Control::Admitted { to, .. } => self.admitted(line, to),
            Control::Founding {
                from, to, message, ..
            } => self.founding_message(line, from, to, message),
            Control::Withdrawn { from, .. } => self.withdrawn(peer, from),
            Control::Leaving { boot, .. } => self.leaving(peer, boot),
            Control::Removed { from, to, .. } => self.removed(line, from, to),
            Control::RolledBack { to, rollback, .. } => self.rolled_back(line, to, rollback),
            Control::Survivor {
                from, to, report, ..
            } => self.reported(line, from, to, report),
            Control::Quiesce {
                epoch,
                from,
                to,
                message,
                ..
            } => self.quiesce(line, epoch, (from, to), message),
            // They are about no group.
            Control::Beat | Control::Echo { .. } | Control::Echoed { .. } | Control::Clock(_) => {}
            Control::Verdict {
                by, other, winner, ..
            } => self.verdict(by, other, winner),
        }
    }

    /// A peer says that it takes part.
    pub(crate) fn present(&self, line: &Line, presence: &Presence) {
        let peer = line.connection.peer();
        if let Err(why) = self.compare(line, presence) {
            self.core().remember_refusal(peer, why.clone());
            line.tell(Control::Refused {
                group: self.group(),
                why,
            });
        } else if self.is_open() {
            self.take_in(&mut self.core(), line, presence);
        } else {
            self.apply(line, presence);
        }
        self.news.notify_one();
    }

    /// Is bonded to a peer that may take part, unless its disk went back.
    pub(super) fn take_in(&self, core: &mut Core, line: &Line, presence: &Presence) {
        let member = MemberId {
            peer: line.connection.peer(),
            boot: presence.boot,
        };
        core.refusals.remove(&member.peer);
        if presence.rolled_back {
            // It knows.
            core.shut_out(member, line.clone());
            return;
        }
        let found = presence.found;
        if let Some(Err(rollback)) = found.map(|found| core.promises.found(member, found)) {
            core.shut_out(member, line.clone());
            warn!(%member, %rollback, "a member is not let in");
            line.tell(Control::RolledBack {
                group: self.group(),
                to: member.boot,
                rollback,
            });
            return;
        }
        core.went_back.remove(&member.peer);
        let bond = Bond {
            member,
            writer: presence.writer,
            durable: presence.terms.durable,
            preference: presence.preference,
            announced: presence.announced.clone(),
            announces: None,
            report: None,
            line: line.clone(),
        };
        if let Some(before) = core.bonds.insert(member.peer, bond)
            && before.member != member
        {
            core.tell(Input::Unbonded(before.member));
            core.died(before.member, Death::Superseded);
        }
        core.announcements += 1;
        core.lost.remove(&member);
        if core.latest.len() < MAX_REMEMBERED || core.latest.contains_key(&member.peer) {
            core.latest.insert(member.peer, member.boot);
        }
        core.bonded(member, self.writer, self.settled.durable);
        core.notices.push_back(Notice::Bonded(member));
    }

    /// Why a peer may not take part as it describes itself, if so.
    fn compare(&self, line: &Line, presence: &Presence) -> Result<(), Refusal> {
        self.settled.compare(&presence.terms)?;
        if line.expected_proof(self.key(), self.group(), presence.boot) != presence.proof {
            return Err(Refusal::Key);
        }
        self.shared.program().compare(&presence.announced)
    }

    /// A peer says that it takes part no longer.
    fn absent(
        &self,
        peer: PeerId,
        boot: u64,
        farewell: Option<Farewell>,
        testament: Option<Testament>,
    ) {
        let member = MemberId { peer, boot };
        let mut core = self.core();
        core.withdraw_application(peer, boot);
        let went_back = core.went_back.get(&peer);
        if went_back.is_some_and(|(known, _)| *known == member) {
            core.went_back.remove(&peer);
            if farewell == Some(Farewell::Left) {
                core.left.insert(member);
            }
        }
        if core
            .bonds
            .get(&peer)
            .is_some_and(|bond| bond.member == member)
        {
            let durable = core.bonds.remove(&peer).is_some_and(|bond| bond.durable);
            core.lose(member);
            core.bury(member, testament);
            match farewell {
                None => {}
                // Its log is on its disk, and it comes back with it.
                Some(Farewell::Shutdown) if durable => {}
                Some(Farewell::Shutdown) => core.died(member, Death::Departed),
                Some(Farewell::Left) => {
                    core.left.insert(member);
                    core.died(member, Death::Departed);
                }
                Some(Farewell::Replaced) => core.died(member, Death::Superseded),
            }
        }
        drop(core);
        self.news.notify_one();
    }

    /// A peer does not let this member take part with it.
    fn refused(&self, peer: PeerId, why: Refusal) {
        let mut core = self.core();
        core.refused_by(peer, why);
        core.notices.push_back(Notice::Bonds);
        drop(core);
        self.news.notify_one();
    }

    /// A connection is gone.
    pub(crate) fn lost(&self, connection: &Connection) {
        let mut core = self.core();
        let peer = connection.peer();
        let on = |line: &Line| line.is_on(connection);
        if core.went_back.get(&peer).is_some_and(|(_, line)| on(line)) {
            core.went_back.remove(&peer);
        }
        core.applicants.retain(|_, applicant| !on(&applicant.line));
        if core.bonds.get(&peer).is_some_and(|bond| on(&bond.line))
            && let Some(bond) = core.bonds.remove(&peer)
        {
            core.lose(bond.member);
        }
        drop(core);
        self.news.notify_one();
    }

    /// A peer has sent a founding message.
    fn founding_message(&self, line: &Line, from: u64, to: u64, message: Message) {
        let mut core = self.core();
        let Some(from) = core.sender(line, from, to) else {
            return;
        };
        let peer = from.peer;
        if let (Message::Established(claim), Some(bond)) = (&message, core.bonds.get_mut(&peer)) {
            bond.announces = Some(claim.charter.epoch);
            if !self.writer {
                let charter = claim.charter.clone();
                core.notices.push_back(Notice::Announced(charter));
            }
        }
        core.tell(Input::Received { from, message });
        if core.spoken.len() < MAX_REMEMBERED {
            core.spoken.insert(peer);
        }
        drop(core);
        self.news.notify_one();
    }

    /// A member no longer announces its charter.
    fn withdrawn(&self, peer: PeerId, boot: u64) {
        let member = MemberId { peer, boot };
        let mut core = self.core();
        if let Some(bond) = core.bonds.get_mut(&peer)
            && bond.member == member
        {
            bond.announces = None;
        }
        core.tell(Input::Withdrawn(member));
        core.notices.push_back(Notice::Bonds);
        drop(core);
        self.news.notify_one();
    }

    /// A member wants to leave for good.
    fn leaving(&self, peer: PeerId, boot: u64) {
        let mut core = self.core();
        let member = MemberId { peer, boot };
        if core
            .bonds
            .get(&peer)
            .is_some_and(|bond| bond.member == member)
        {
            core.left.insert(member);
            core.notices.push_back(Notice::Bonds);
        }
        drop(core);
        self.news.notify_one();
    }

    /// A leader says that this member is none any more.
    fn removed(&self, line: &Line, from: u64, to: u64) {
        let mut core = self.core();
        if core.sender(line, from, to).is_some() {
            core.notices.push_back(Notice::Removed { boot: to });
            drop(core);
            self.news.notify_one();
        }
    }

    /// A member remembers more of this one than its disk held when it started.
    fn rolled_back(&self, line: &Line, to: u64, rollback: Rollback) {
        let mut core = self.core();
        let from = line.connection.peer();
        // It has proved to be of the group.
        if core.bonds.contains_key(&from) && core.me.boot == to {
            let notice = Notice::RolledBack {
                boot: to,
                from,
                rollback,
            };
            core.notices.push_back(notice);
            drop(core);
            self.news.notify_one();
        }
    }

    /// A member reports that the quorum of its charter is lost.
    fn reported(&self, line: &Line, from: u64, to: u64, report: Report) {
        let mut core = self.core();
        if let Some(from) = core.sender(line, from, to)
            && let Some(bond) = core.bonds.get_mut(&from.peer)
        {
            bond.report = Some((rt::now(), report));
        }
        drop(core);
        self.news.notify_one();
    }

    /// A member says something about resting.
    fn quiesce(
        &self,
        line: &Line,
        epoch: Epoch,
        (from, to): (u64, u64),
        message: quiesce::Message,
    ) {
        let mut core = self.core();
        if let Some(from) = core.sender(line, from, to) {
            core.notices.push_back(Notice::Quiesce {
                epoch,
                from,
                message,
            });
            drop(core);
            self.news.notify_one();
        }
    }

    /// The node of a member that rests with this one is not heard any more.
    pub(crate) fn silent(&self) {
        self.core().notices.push_back(Notice::Silent);
        self.news.notify_one();
    }

    /// A verdict was committed elsewhere.
    fn verdict(&self, by: Epoch, other: Epoch, winner: Charter) {
        let notice = Notice::Verdict { by, other, winner };
        self.core().notices.push_back(notice);
        self.news.notify_one();
    }
}
