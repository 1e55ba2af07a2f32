//! What founding waits for, in words.

use std::fmt;

use super::{
    Founding,
    bound::Bound,
    charter::Epoch,
    message::{Awaited, Heard},
};
use crate::id::{MemberId, PeerId};

/// What founding waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Too few eligible members are bonded.
    Gathering {
        /// Eligible members, this one included.
        eligible: Vec<MemberId>,
        /// How many founders it takes.
        founders: usize,
        /// Bonded writers that are not eligible; they are bound to a charter, or have not said anything.
        others: Vec<PeerId>,
    },
    /// Enough members are eligible; whether they stay so is being watched.
    Settling,
    /// Enough members are eligible, but somebody who was to be asked first has not answered.
    LookingFirst {
        /// Who.
        unanswered: Vec<Awaited>,
    },
    /// It is another's turn to propose a charter.
    WaitingForProposal {
        /// Whose.
        by: MemberId,
    },
    /// A charter is accepted; it waits for the others to accept it too.
    Bound {
        /// The charter.
        charter: Epoch,
        /// Who was not heard to accept it.
        missing: Vec<MemberId>,
    },
    /// A charter was pledged against; it waits for enough others to do so.
    Pledged {
        /// The charter.
        charter: Epoch,
        /// Who has pledged.
        pledges: Vec<MemberId>,
        /// How many have to.
        need: usize,
        /// The founders that may yet pledge.
        missing: Vec<MemberId>,
    },
    /// All have accepted the charter; it waits for a leader and its first committed entry.
    Sealed {
        /// The charter.
        charter: Epoch,
        /// Those that are not bonded.
        unreachable: Vec<MemberId>,
    },
    /// This member is the last that can hold an entry of the charter, and founds a descendant.
    Recovering {
        /// The charter.
        charter: Epoch,
    },
    /// An established charter was heard of and is being joined.
    Joining {
        /// The charter.
        charter: Epoch,
        /// Who announces it.
        announcers: Vec<MemberId>,
    },
    /// The charter is established, and this member is in it.
    Established {
        /// The charter.
        charter: Epoch,
    },
    /// Another charter won over the one this member is in: no commands, the state can be read.
    Superseded {
        /// The charter.
        charter: Epoch,
        /// The winner.
        by: Epoch,
    },
}

impl Founding {
    /// What it waits for.
    pub(crate) fn status(&self) -> Status {
        if let Some(charter) = &self.established {
            let charter = charter.epoch;
            return match &self.superseded {
                Some(winner) => Status::Superseded {
                    charter,
                    by: winner.epoch,
                },
                None => Status::Established { charter },
            };
        }
        match (&self.bound, &self.heard) {
            (Some(bound), _) if bound.sealed => self.sealed(bound),
            (_, Some(heard)) => joining(heard),
            (Some(bound), None) => unsealed(bound),
            (None, None) => self.gathering_status(),
        }
    }

    fn gathering_status(&self) -> Status {
        let eligible: Vec<MemberId> = self.eligible().into_keys().collect();
        let founders = self.config.founders;
        if eligible.len() < founders {
            let silent = self.peers.iter().filter(|(_, peer)| peer.free.is_none());
            return Status::Gathering {
                eligible,
                founders,
                others: silent.map(|(peer, _)| *peer).collect(),
            };
        }
        if !self.awaited.is_empty() {
            let unanswered = self.awaited.iter().cloned().collect();
            return Status::LookingFirst { unanswered };
        }
        match eligible.first() {
            Some(by) if self.gathering.settled && *by != self.config.me => {
                Status::WaitingForProposal { by: *by }
            }
            _ => Status::Settling,
        }
    }

    fn sealed(&self, bound: &Bound) -> Status {
        let charter = bound.charter.epoch;
        if bound.recovering || bound.recovers.is_some() {
            return Status::Recovering { charter };
        }
        let founders = bound.charter.founders.iter().copied();
        let unreachable =
            founders.filter(|member| *member != self.config.me && !self.is_bonded(member));
        Status::Sealed {
            charter,
            unreachable: unreachable.collect(),
        }
    }
}

fn joining(heard: &Heard) -> Status {
    Status::Joining {
        charter: heard.claim.charter.epoch,
        announcers: heard.announcers.iter().copied().collect(),
    }
}

fn unsealed(bound: &Bound) -> Status {
    let charter = bound.charter.epoch;
    let without = |heard: &std::collections::BTreeSet<MemberId>| {
        let missing = bound.charter.founders.difference(heard);
        missing.copied().collect::<Vec<_>>()
    };
    if bound.pledged {
        return Status::Pledged {
            charter,
            pledges: bound.pledges.iter().copied().collect(),
            need: bound.charter.blocking(),
            missing: without(&bound.pledges),
        };
    }
    Status::Bound {
        charter,
        missing: without(&bound.accepted),
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gathering {
                eligible,
                founders,
                others,
            } => {
                let have = eligible.len();
                write!(f, "{have} of {founders} founders are here")?;
                if !others.is_empty() {
                    write!(f, "; not eligible, or silent: ")?;
                    list(f, others.iter().map(PeerId::short))?;
                }
                Ok(())
            }
            Self::Settling => f.write_str("enough founders are here; about to propose a charter"),
            Self::LookingFirst { unanswered } => {
                write!(f, "looking for an existing group first; no answer from ")?;
                list(f, unanswered.iter().map(ToString::to_string))
            }
            Self::WaitingForProposal { by } => {
                write!(f, "waiting for {} to propose a charter", by.peer.short())
            }
            Self::Bound { charter, missing } => {
                write!(f, "bound to charter {charter}; not heard to accept it: ")?;
                list(f, members(missing))
            }
            Self::Pledged {
                charter,
                pledges,
                need,
                missing,
            } => {
                let have = pledges.len();
                write!(
                    f,
                    "gave up charter {charter}; {have} of {need} pledges; none from "
                )?;
                list(f, members(missing))
            }
            Self::Sealed {
                charter,
                unreachable,
            } => {
                write!(f, "charter {charter} is accepted by all; electing a leader")?;
                if !unreachable.is_empty() {
                    write!(f, "; unreachable: ")?;
                    list(f, members(unreachable))?;
                }
                Ok(())
            }
            Self::Recovering { charter } => {
                write!(f, "all others of charter {charter} are gone; recovering")
            }
            Self::Joining {
                charter,
                announcers,
            } => {
                write!(f, "joining charter {charter}, announced by ")?;
                list(f, members(announcers))
            }
            Self::Established { charter } => write!(f, "charter {charter} is established"),
            Self::Superseded { charter, by } => {
                write!(f, "charter {charter} is superseded by {by}: read-only")
            }
        }
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => write!(f, "peer {}", peer.short()),
            Self::Rendezvous(name) => write!(f, "rendezvous {name}"),
        }
    }
}

fn members(members: &[MemberId]) -> impl Iterator<Item = String> + '_ {
    members.iter().map(|member| member.peer.short())
}

fn list(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = String>) -> fmt::Result {
    let items: Vec<String> = items.collect();
    match items.is_empty() {
        true => f.write_str("nobody"),
        false => f.write_str(&items.join(", ")),
    }
}
