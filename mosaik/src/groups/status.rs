//! How a group is doing, for conditions, events and people.

use std::fmt;

use super::{
    error::{Refusal, Unavailable},
    proto::{roster::Membership, timing::Timing},
};
use crate::id::{GroupId, MemberId, PeerId};

/// How a group is doing on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupStatus {
    /// This member, once its log is open.
    pub(crate) me: Option<MemberId>,
    /// What it waits for, or is.
    pub(crate) phase: Phase,
    /// Whether commands can be applied and queries answered.
    pub(crate) online: bool,
    /// Who leads.
    pub(crate) leader: Option<MemberId>,
    /// The term of the leader, where Raft runs.
    pub(crate) term: Option<u64>,
    /// Who votes and who learns.
    pub(crate) membership: Option<Membership>,
    /// Why it is not online.
    pub(crate) unavailable: Option<Unavailable>,
    /// Entries that are known to be committed and are not applied here yet.
    pub(crate) behind: u64,
    /// Why the roster is as it is; only the leader knows.
    pub(crate) roster: Vec<String>,
    /// Who is not let in, or does not let this member in, and why.
    pub(crate) refusals: Vec<(PeerId, Refusal)>,
    /// Other charters of the group that were met, while it is not decided which lives on.
    pub(crate) conflicts: Vec<String>,
    /// Whether one founder is enough: a development mode.
    pub(crate) development: bool,
    /// Whether the log is on disk.
    pub(crate) durable: bool,
    /// What is waited for while the quorum is lost.
    pub(crate) recovery: Option<String>,
    /// Times that a descendant charter was founded, or joined by one who had lost its quorum.
    pub(crate) refounded: u32,
    /// Of the last time, the voters that were neither reachable nor proven dead.
    pub(crate) unfenced: Vec<PeerId>,
    /// Whether the group rests.
    pub(crate) resting: bool,
    /// What is wrong with this member's clock, and what follows.
    pub(crate) clock: Option<String>,
    /// Why a snapshot is not written yet: the disk has no room for it.
    pub(crate) full: Option<String>,
    /// How fast the group notices that its leader is gone, once there is a charter.
    pub(crate) timing: Option<Timing>,
    /// Times that the replica was rebuilt.
    pub(crate) rebuilds: u32,
    /// Times that the disk here was found to have gone back, and what was found last.
    pub(crate) rollbacks: (u32, String),
}

/// What a member waits for, or is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The storage is being opened.
    #[default]
    Opening,
    /// No charter is known yet; the text says what is waited for.
    Founding(String),
    /// A charter is joined: its log is followed from another member.
    Following {
        /// Whom.
        source: Option<MemberId>,
    },
    /// A member that votes.
    Voter,
    /// A member that learns.
    Learner,
    /// Its disk went back: it waits to be taken in anew.
    RolledBack,
    /// No member, but a client that no member serves.
    Connecting,
    /// The same, served by this one.
    Client(MemberId),
    /// Another charter lives on.
    Superseded,
    /// It has ended, for this reason.
    Ended(String),
}

/// A group as people are told of it: from `explain()`.
///
/// Prints as text; its form may change.
#[derive(Clone, Debug)]
pub struct GroupExplanation {
    pub(crate) name: String,
    pub(crate) id: GroupId,
    pub(crate) version: Option<u64>,
    pub(crate) status: GroupStatus,
}

impl fmt::Display for GroupExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = &self.status;
        let state = if status.online {
            "online"
        } else {
            "not online"
        };
        write!(f, "group {} ({}): {state}", self.name, self.id.short())?;
        if let Some(version) = self.version {
            write!(f, ", version {version}")?;
        }
        writeln!(f)?;
        status.phase(f)?;
        if let Some(unavailable) = &status.unavailable {
            writeln!(f, "  not available: {unavailable}")?;
        }
        if let Some(recovery) = &status.recovery {
            writeln!(f, "  recovery: {recovery}")?;
        }
        status.led(f)?;
        status.membership(f)?;
        if status.behind > 0 {
            writeln!(f, "  catching up: {} entries behind", status.behind)?;
        }
        if status.resting {
            writeln!(f, "  rests: nothing to do")?;
        }
        if let Some(clock) = &status.clock {
            writeln!(f, "  {clock}")?;
        }
        if let Some(full) = &status.full {
            writeln!(f, "  {full}")?;
        }
        if let Some(timing) = status.timing.filter(|timing| *timing != Timing::default()) {
            writeln!(f, "  timing: {timing}")?;
        }
        for reason in &status.roster {
            writeln!(f, "  {reason}")?;
        }
        for (peer, why) in &status.refusals {
            writeln!(f, "  refused {}: {why}", peer.short())?;
        }
        for other in &status.conflicts {
            writeln!(
                f,
                "  another charter of the group was met: {other}; one of the two will live on"
            )?;
        }
        if status.rebuilds > 0 {
            writeln!(f, "  rebuilt from its log {} times", status.rebuilds)?;
        }
        if status.development {
            writeln!(
                f,
                "  development mode: one founder is enough; say `founders = 3` for production"
            )?;
        }
        if !status.durable {
            writeln!(f, "  volatile: the log is in memory")?;
        }
        Ok(())
    }
}

impl GroupStatus {
    /// This node takes part no longer.
    pub(crate) fn end(&mut self, why: String) {
        self.phase = Phase::Ended(why);
        self.online = false;
        self.leader = None;
        self.unavailable = None;
    }

    fn membership(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(membership) = &self.membership else {
            return Ok(());
        };
        write!(f, "  voters:")?;
        for voter in &membership.voters {
            write!(f, " {voter}")?;
        }
        for learner in &membership.learners {
            write!(f, " ({learner})")?;
        }
        writeln!(f)
    }

    fn led(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(leader) = self.leader else {
            return Ok(());
        };
        write!(f, "  leader: {leader}")?;
        match self.term {
            Some(term) => writeln!(f, ", term {term}"),
            None => writeln!(f),
        }
    }

    fn phase(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.phase {
            Phase::Opening => writeln!(f, "  opening its log")?,
            Phase::Founding(waits) => writeln!(f, "  founding: {waits}")?,
            Phase::Following { source: None } => {
                writeln!(
                    f,
                    "  joining: no member that holds the state can be reached yet"
                )?;
            }
            Phase::Following {
                source: Some(source),
            } => writeln!(f, "  follows {source}, outside the membership")?,
            Phase::Voter => writeln!(f, "  this member votes")?,
            Phase::Learner => writeln!(f, "  this member learns, and does not vote")?,
            Phase::Connecting => writeln!(
                f,
                "  a client: no member that holds the state can be reached yet"
            )?,
            Phase::Client(member) => writeln!(f, "  a client, served by {member}")?,
            Phase::RolledBack => writeln!(f, "  taken in as this member no longer")?,
            Phase::Superseded => writeln!(
                f,
                "  superseded: another charter of the group lives on; the state here can be read"
            )?,
            Phase::Ended(why) => writeln!(f, "  ended: {why}")?,
        }
        Ok(())
    }
}
