//! Who is let into a group that asks for tickets.
//!
//! Each of two members looks at the tickets of the other, and tells it when they are valid; they are bonded once
//! both have. Otherwise one would act on what it takes for a bond, and the other would not hear it. Since a member
//! says that it admits another before anything else, and what is said on a connection keeps its order, whatever is
//! said over a bond arrives at one.

use std::time::SystemTime;

use super::{Core, Front, Notice};
use crate::{
    groups::{
        bonds::{Control, Line, Presence},
        error::Refusal,
    },
    id::PeerId,
    tickets::{Denial, NotAdmitted},
};

/// A peer that wants to take part.
#[derive(Debug)]
pub(super) struct Applicant {
    pub(super) line: Line,
    presence: Presence,
    /// Whether its tickets were found valid.
    admitted: bool,
    /// What it was last told of them otherwise.
    denial: Option<Denial>,
    /// Why it does not admit this member, as it last said.
    refused: Option<Refusal>,
    /// The boot of this member that it admits.
    admits: Option<u64>,
}

impl Front {
    /// Whether all may take part who know the key.
    pub(super) fn is_open(&self) -> bool {
        self.tickets().is_empty()
    }

    /// A peer asks to take part as it describes itself, by which it may.
    pub(super) fn apply(&self, line: &Line, presence: &Presence) {
        let mut core = self.core();
        let peer = line.connection.peer();
        let before = core.applicants.remove(&peer);
        let before = before.filter(|before| before.line.is_on(&line.connection));
        let applicant = Applicant {
            line: line.clone(),
            presence: presence.clone(),
            admitted: false,
            denial: None,
            refused: None,
            admits: before.and_then(|before| before.admits),
        };
        core.applicants.insert(peer, applicant);
        // Where it is not known yet, or carries nothing valid, that is for the next look.
        self.examine(&mut core, peer);
    }

    /// Looks again at all who were not admitted; returns when to look next, if by the clock.
    pub(crate) fn examine_all(&self) -> Option<SystemTime> {
        if self.is_open() {
            return None;
        }
        let mut core = self.core();
        let waiting = core.applicants.iter().filter(|(_, a)| !a.admitted);
        let waiting: Vec<PeerId> = waiting.map(|(peer, _)| *peer).collect();
        if waiting.is_empty() {
            return None;
        }
        let again = waiting.into_iter();
        let again = again.filter_map(|peer| self.examine(&mut core, peer));
        let again = again.min();
        drop(core);
        self.news.notify_one();
        again
    }

    /// Looks at the tickets of an applicant, and tells it what follows.
    fn examine(&self, core: &mut Core, peer: PeerId) -> Option<SystemTime> {
        let group = self.group();
        let applicant = core.applicants.get_mut(&peer)?;
        match applicant.line.admissions.admit(group, self.tickets()) {
            Ok(()) => {
                applicant.admitted = true;
                applicant.denial = None;
                let to = applicant.presence.boot;
                applicant.line.tell(Control::Admitted { group, to });
                core.show_refusal(peer);
                self.welcome(core, peer);
                None
            }
            Err(NotAdmitted::Unknown) => None,
            Err(NotAdmitted::Denied(denial)) => {
                let again = denial.again;
                if applicant.denial.as_ref() != Some(&denial) {
                    let why = Refusal::from(denial.clone());
                    applicant.denial = Some(denial);
                    applicant.line.tell(Control::Refused { group, why });
                    core.show_refusal(peer);
                    core.notices.push_back(Notice::Bonds);
                }
                again
            }
        }
    }

    /// Is bonded to an applicant, if each admits the other and they are not yet.
    fn welcome(&self, core: &mut Core, peer: PeerId) {
        let me = core.me.boot;
        let applicant = core.applicants.get(&peer);
        let applicant = applicant.filter(|a| a.admitted && a.admits == Some(me));
        let Some(Applicant { line, presence, .. }) = applicant else {
            return;
        };
        let bond = core.bonds.get(&peer);
        if bond.is_some_and(|bond| bond.is(line, presence)) {
            return;
        }
        let (line, presence) = (line.clone(), presence.clone());
        self.take_in(core, &line, &presence);
    }

    /// A peer admits this member, as this boot.
    pub(super) fn admitted(&self, line: &Line, to: u64) {
        let mut core = self.core();
        let peer = line.connection.peer();
        if let Some(applicant) = core.applicants.get_mut(&peer)
            && applicant.line.is_on(&line.connection)
        {
            applicant.admits = Some(to);
            applicant.refused = None;
            core.show_refusal(peer);
            self.welcome(&mut core, peer);
        }
        drop(core);
        self.news.notify_one();
    }
}

impl Core {
    /// A peer does not let this member take part with it.
    pub(super) fn refused_by(&mut self, peer: PeerId, why: Refusal) {
        match self.applicants.get_mut(&peer) {
            Some(applicant) => {
                applicant.refused = Some(why);
                self.show_refusal(peer);
            }
            None => self.remember_refusal(peer, why),
        }
    }

    /// Shows people why an applicant and this member are not bonded: what this one finds wrong counts first.
    fn show_refusal(&mut self, peer: PeerId) {
        let applicant = self.applicants.get(&peer);
        let own = applicant.and_then(|a| a.denial.clone().map(Refusal::from));
        match own.or_else(|| applicant.and_then(|a| a.refused.clone())) {
            Some(why) => self.remember_refusal(peer, why),
            None => drop(self.refusals.remove(&peer)),
        }
    }

    /// An applicant asks no longer.
    pub(super) fn withdraw_application(&mut self, peer: PeerId, boot: u64) {
        let applicant = self.applicants.get(&peer);
        let Some(applicant) = applicant.filter(|a| a.presence.boot == boot) else {
            return;
        };
        applicant.line.admissions.forget(&applicant.presence.group);
        self.applicants.remove(&peer);
    }
}
