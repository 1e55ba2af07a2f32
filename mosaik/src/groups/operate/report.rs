//! What the members of a group say of it, for people and programs that look after it.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::ask::Unanswered;
use crate::id::{GroupId, PeerId};

/// A group as its members say that it is: from [`Groups::report`](crate::Groups::report).
///
/// Prints as text; its form may change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupReport {
    /// The group's name.
    pub name: String,
    /// Its id.
    pub id: GroupId,
    /// The nodes that take part, by their ids.
    pub parts: Vec<Part>,
}

/// A node that takes part in a group, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part {
    /// The node.
    pub peer: PeerId,
    /// Whether it may vote, as the catalog has it; else it only observes.
    pub writer: bool,
    /// What it answers, or why it does not.
    pub answer: Result<MemberReport, Unanswered>,
}

/// What a member says of a group: what it knows, which may be old if it is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemberReport {
    /// Who says it.
    pub peer: PeerId,
    /// Which boot of it in the group: a member that lost its log is another.
    pub boot: u64,
    /// What it is.
    pub role: MemberRole,
    /// Whether commands can be applied and queries answered from there.
    pub online: bool,
    /// Who leads, if it knows.
    pub leader: Option<PeerId>,
    /// The term, where it runs Raft.
    pub term: Option<u64>,
    /// The epoch of the charter whose log it has, if it has one. Members whose epochs differ do not agree on one log.
    pub charter: Option<[u8; 16]>,
    /// The index of the entry that it has applied last.
    pub version: Option<u64>,
    /// Entries that it knows to be committed and has not applied.
    pub behind: u64,
    /// Whether its log is on disk; else it is in memory.
    pub durable: bool,
    /// Whether one founder is enough: a development mode.
    pub development: bool,
    /// Whether the group rests, as it has nothing to do.
    pub resting: bool,
    /// Voters and learners, as it knows them; at most 64.
    pub members: Vec<Place>,
    /// What is wrong, waited for or noteworthy, in words; at most 32.
    pub notes: Vec<String>,
}

/// A member's place in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Place {
    /// The member.
    pub peer: PeerId,
    /// Which boot of it.
    pub boot: u64,
    /// Whether it votes; else it learns.
    pub voter: bool,
    /// Committed entries that it is not known to have. Only the leader says so.
    pub behind: Option<u64>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MemberRole {
    /// It opens its log.
    Opening,
    /// It knows of no charter yet.
    Founding,
    /// It follows the log of another member, outside the membership.
    Follower,
    /// It votes.
    Voter,
    /// It gets the log and does not vote.
    Learner,
    /// Its disk went back to an older image, and it waits to be taken in anew.
    RolledBack,
    /// Another charter lives on; the state here can be read.
    Superseded,
    /// It takes part no longer.
    Ended,
}

impl fmt::Display for MemberRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "opening",
            Self::Founding => "founding",
            Self::Follower => "follower",
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::RolledBack => "rolled back",
            Self::Superseded => "superseded",
            Self::Ended => "ended",
        })
    }
}

/// Why there is no report of a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Look at the name, or wait until discovery has found those who take part.
    #[error("no node that takes part in group `{name}` is known")]
    NotFound {
        /// The group's name.
        name: String,
    },
}

impl MemberReport {
    /// Whether it says that it leads.
    pub fn leads(&self) -> bool {
        self.leader == Some(self.peer)
    }

    /// The same, with nothing in it that a terminal obeys.
    pub(super) fn printable(mut self) -> Self {
        for note in &mut self.notes {
            if note.contains(char::is_control) {
                *note = note.escape_debug().to_string();
            }
        }
        self
    }
}

impl GroupReport {
    /// What was answered.
    pub fn answers(&self) -> impl Iterator<Item = &MemberReport> {
        self.parts
            .iter()
            .filter_map(|part| part.answer.as_ref().ok())
    }

    /// The answer that tells most of the group: of the leader of the latest term, else of who is online, else of who
    /// has applied most.
    pub fn best(&self) -> Option<&MemberReport> {
        let weight = |report: &&MemberReport| {
            let term = report.term.filter(|_| report.leads());
            (term, report.online, report.version)
        };
        self.answers().max_by_key(weight)
    }

    /// Committed entries that a node is not known to have, by what the leader says, else by what it says itself.
    pub fn behind(&self, peer: &PeerId) -> Option<u64> {
        let leader = self.best().filter(|best| best.leads());
        let place = leader.and_then(|leader| leader.members.iter().find(|p| p.peer == *peer));
        let said = self.answers().find(|report| report.peer == *peer);
        let own = said.map(|report| report.behind);
        place.and_then(|place| place.behind).or(own)
    }

    /// The voters and learners that a majority knows: more than half of the nodes that hold a state which lives on are
    /// of the same charter and list them, and so is and does a majority of the voters that they list themselves.
    pub(super) fn agreed(&self) -> impl Iterator<Item = &MemberReport> {
        let living = |said: &&MemberReport| {
            let role = said.role;
            said.charter.is_some() && !matches!(role, MemberRole::Superseded | MemberRole::Ended)
        };
        let is_agreed = move |member: &&MemberReport| {
            let knows = |said: &MemberReport| {
                let mut places = said.members.iter();
                said.charter == member.charter
                    && places.any(|at| (at.peer, at.boot) == (member.peer, member.boot))
            };
            let all = self.answers().filter(living).count();
            let knowing = self.answers().filter(living).filter(|said| knows(said));
            let voters: BTreeSet<PeerId> = member
                .members
                .iter()
                .filter(|place| place.voter)
                .map(|place| place.peer)
                .collect();
            let knowing: BTreeSet<PeerId> = knowing.map(|said| said.peer).collect();
            let of_voters = knowing.intersection(&voters).count();
            knowing.len() > all / 2 && of_voters > voters.len() / 2
        };
        let members = self
            .answers()
            .filter(living)
            .filter(|said| matches!(said.role, MemberRole::Voter | MemberRole::Learner));
        members.filter(is_agreed)
    }

    /// The epochs of the charters whose logs the members have: more than one say that they do not agree.
    pub fn charters(&self) -> BTreeSet<[u8; 16]> {
        let lives = |report: &&MemberReport| report.role != MemberRole::Superseded;
        let living = self.answers().filter(lives);
        living.filter_map(|report| report.charter).collect()
    }
}

impl fmt::Display for GroupReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = self.best();
        let state = match best {
            Some(best) if best.online => "online",
            Some(_) => "not online",
            None => "nobody answers",
        };
        let name = self.name.escape_debug();
        write!(f, "group {name} ({}): {state}", self.id.short())?;
        if let Some(version) = best.and_then(|best| best.version) {
            write!(f, ", version {version}")?;
        }
        if let Some(best) = best {
            best.group(f)?;
        }
        if self.charters().len() > 1 {
            write!(f, "\n  the members hold logs of different charters")?;
        }
        for part in &self.parts {
            write!(f, "\n  {} ", part.peer)?;
            match &part.answer {
                Ok(report) => report.member(f, self.behind(&part.peer))?,
                Err(why) => write!(f, "does not answer: {why}")?,
            }
        }
        let best = best.map(|best| best.members.as_slice()).unwrap_or_default();
        for place in best {
            if !self.parts.iter().any(|part| part.peer == place.peer) {
                let role = if place.voter { "voter" } else { "learner" };
                write!(f, "\n  {} {role}, not in the catalog", place.peer)?;
            }
        }
        Ok(())
    }
}

impl MemberReport {
    /// Writes what it says of the group.
    fn group(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(leader) = self.leader {
            write!(f, "\n  leader: {}", leader.short())?;
            if let Some(term) = self.term {
                write!(f, ", term {term}")?;
            }
        }
        if let Some(charter) = self.charter {
            write!(f, "\n  charter: {}", Hex(charter))?;
        }
        let mode = if self.durable { "durable" } else { "volatile" };
        write!(f, "\n  mode: {mode}")?;
        if self.development {
            write!(f, ", development: one founder is enough")?;
        }
        if self.resting {
            write!(f, "\n  rests: nothing to do")?;
        }
        Ok(())
    }

    /// Writes what it says of itself.
    fn member(&self, f: &mut fmt::Formatter<'_>, behind: Option<u64>) -> fmt::Result {
        write!(f, "{}", self.role)?;
        if self.leads() {
            write!(f, ", leads")?;
        }
        if !self.online {
            write!(f, ", not online")?;
        }
        if let Some(version) = self.version {
            write!(f, ", version {version}")?;
        }
        if let Some(behind) = behind.filter(|behind| *behind > 0) {
            write!(f, ", {behind} entries behind")?;
        }
        for note in &self.notes {
            write!(f, "\n    {note}")?;
        }
        Ok(())
    }
}

/// An epoch, as logs have it.
struct Hex([u8; 16]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: [u8; 16] = [1; 16];
    const D: [u8; 16] = [2; 16];

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    /// What a node says that lists these voters.
    fn says(n: u8, role: MemberRole, charter: [u8; 16], voters: &[u8]) -> MemberReport {
        let place = |n: &u8| Place {
            peer: peer(*n),
            boot: 7,
            voter: true,
            behind: None,
        };
        MemberReport {
            peer: peer(n),
            boot: 7,
            role,
            online: true,
            leader: None,
            term: None,
            charter: Some(charter),
            version: Some(u64::from(n)),
            behind: 0,
            durable: false,
            development: false,
            resting: false,
            members: voters.iter().map(place).collect(),
            notes: Vec::new(),
        }
    }

    fn agreed(said: Vec<MemberReport>, silent: &[u8]) -> Vec<PeerId> {
        let answers = said.into_iter().map(|said| (said.peer, Ok(said)));
        let silent = silent.iter();
        let silent = silent.map(|n| (peer(*n), Err(Unanswered::TimedOut)));
        let parts = answers.chain(silent).map(|(peer, answer)| Part {
            peer,
            writer: true,
            answer,
        });
        let report = GroupReport {
            name: "g".into(),
            id: GroupId::from_name("g"),
            parts: parts.collect(),
        };
        report.agreed().map(|said| said.peer).collect()
    }

    #[test]
    fn members_are_those_whom_a_majority_knows() {
        use MemberRole::{Follower, Superseded, Voter};
        let voter = |n| says(n, Voter, C, &[1, 2, 3]);
        let all = [1, 2, 3].map(peer);
        assert_eq!(agreed(vec![voter(1), voter(2), voter(3)], &[]), all);
        assert_eq!(agreed(vec![voter(1), voter(2)], &[3]), all[..2]);
        // The quorum is lost.
        assert_eq!(agreed(vec![voter(1)], &[2, 3]), []);
        // A follower knows them, and is none.
        let follower = says(4, Follower, C, &[1, 2, 3]);
        assert_eq!(agreed(vec![voter(1), voter(2), follower], &[3]), all[..2]);
        // One that is mistaken: alone, in another charter, under another boot, or left out by the others.
        for odd in [
            says(9, Voter, D, &[9]),
            says(9, Voter, C, &[9]),
            says(9, Voter, C, &[1, 2, 3, 9]),
            says(9, Voter, D, &[1, 2, 3, 9]),
        ] {
            assert_eq!(agreed(vec![voter(1), voter(2), odd], &[3]), all[..2]);
        }
        let mut boot = voter(2);
        boot.boot = 8;
        assert_eq!(
            agreed(vec![voter(1), boot, voter(3)], &[]),
            [peer(1), peer(3)]
        );
        // A group of one, and one with somebody who says the same of himself.
        let alone = says(1, Voter, C, &[1]);
        assert_eq!(agreed(vec![alone.clone()], &[]), all[..1]);
        assert_eq!(
            agreed(vec![alone.clone(), says(9, Voter, D, &[9])], &[]),
            []
        );
        // What was superseded has no say.
        let lost = says(9, Superseded, D, &[9]);
        assert_eq!(agreed(vec![alone, lost], &[]), all[..1]);
    }
}
