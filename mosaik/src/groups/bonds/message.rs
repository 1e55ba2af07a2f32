//! What two members say to each other on their bond.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::clocks;
use crate::{
    groups::{
        error::Refusal,
        proto::{
            founding::{
                charter::{Charter, Epoch, Terms},
                message::Message,
            },
            log_id::LogId,
            quiesce,
            rollback::{Found, Rollback},
            roster::Preference,
            versions::Announced,
        },
        raft::Purpose,
    },
    id::{GroupId, MemberId},
};

/// The first frame of a stream: what the stream is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Header {
    /// [`Control`] messages both ways, from whoever dialed; one a connection.
    Control,
    /// A stream of a group.
    Group(GroupHeader),
    /// Commands and queries of a client of a group, which has no bond.
    Client {
        /// The group.
        group: GroupId,
    },
    /// A report of a group, for who looks after it.
    Report {
        /// The group.
        group: GroupId,
    },
    /// An order of an operator who knows the group's key.
    Order {
        /// The group.
        group: GroupId,
    },
}

/// What a stream of a group is for. Whoever is not `to` exactly, or does not hold the charter, refuses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupHeader {
    /// The group.
    pub(crate) group: GroupId,
    /// The charter's epoch.
    pub(crate) epoch: Epoch,
    /// Who opens it.
    pub(crate) from: MemberId,
    /// Whom it is for.
    pub(crate) to: MemberId,
    /// What it carries.
    pub(crate) kind: Kind,
}

/// What a stream of a group carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Raft.
    Raft(Purpose),
    /// Commands and queries for the leader.
    Forward,
    /// The committed log, for a member outside the membership.
    Follow {
        /// The last entry that it has applied.
        applied: Option<LogId>,
    },
}

/// A message of the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// The sender takes part in a group, as said.
    Present(Presence),
    /// The sender takes part in the group no longer, as this boot.
    Absent {
        /// The group.
        group: GroupId,
        /// The boot that took part.
        boot: u64,
        /// How it went, if it went for good as this boot.
        farewell: Option<Farewell>,
        /// What it leaves to those who may have to go on without a quorum, if its log is gone with it.
        testament: Option<Testament>,
    },
    /// The sender does not let the receiver take part with it.
    Refused {
        /// The group.
        group: GroupId,
        /// Why.
        why: Refusal,
    },
    /// The sender lets the receiver take part with it, in a group that asks for tickets.
    Admitted {
        /// The group.
        group: GroupId,
        /// The receiver's boot.
        to: u64,
    },
    /// Founding.
    Founding {
        /// The group.
        group: GroupId,
        /// The sender's boot.
        from: u64,
        /// The receiver's boot.
        to: u64,
        /// The message.
        message: Message,
    },
    /// The sender no longer announces the charter that it announced.
    Withdrawn {
        /// The group.
        group: GroupId,
        /// The sender's boot.
        from: u64,
    },
    /// The sender wants to leave the group for good.
    Leaving {
        /// The group.
        group: GroupId,
        /// The sender's boot.
        boot: u64,
    },
    /// The sender leads, and the receiver is a member no longer, though it takes itself for one.
    Removed {
        /// The group.
        group: GroupId,
        /// The sender's boot.
        from: u64,
        /// The receiver's boot.
        to: u64,
    },
    /// The sender remembers that the receiver has acknowledged more than its disk holds, and has no more to do
    /// with it.
    RolledBack {
        /// The group.
        group: GroupId,
        /// The receiver's boot.
        to: u64,
        /// What the sender remembers, and what it was told.
        rollback: Rollback,
    },
    /// The sender runs a charter whose quorum is lost, as far as it knows. Said again and again while it is.
    Survivor {
        /// The group.
        group: GroupId,
        /// The sender's boot.
        from: u64,
        /// The receiver's boot.
        to: u64,
        /// What the sender holds, and what it is about to do.
        report: Report,
    },
    /// Resting, as long as a group has nothing to do.
    Quiesce {
        /// The group.
        group: GroupId,
        /// The charter's epoch.
        epoch: Epoch,
        /// The sender's boot.
        from: u64,
        /// The receiver's boot.
        to: u64,
        /// The message.
        message: quiesce::Message,
    },
    /// The sender's node is there: said for all the groups that rest.
    Beat,
    /// A charter met another and committed which of the two lives on.
    Verdict {
        /// The group.
        group: GroupId,
        /// The charter that committed it.
        by: Epoch,
        /// The other.
        other: Epoch,
        /// The one that lives on.
        winner: Charter,
    },
    /// Has the receiver heard everything before this?
    Echo {
        /// The number of the question.
        question: u64,
    },
    /// The sender has.
    Echoed {
        /// The question that it answers.
        question: u64,
    },
    /// What the nodes' clocks show.
    Clock(clocks::Message),
}

impl Control {
    /// The group that it is about, if it is about one.
    pub(crate) fn group(&self) -> Option<GroupId> {
        match self {
            Self::Beat | Self::Echo { .. } | Self::Echoed { .. } | Self::Clock(_) => None,
            Self::Present(presence) => Some(presence.group),
            Self::Absent { group, .. }
            | Self::Refused { group, .. }
            | Self::Admitted { group, .. }
            | Self::Founding { group, .. }
            | Self::Withdrawn { group, .. }
            | Self::Leaving { group, .. }
            | Self::Removed { group, .. }
            | Self::RolledBack { group, .. }
            | Self::Survivor { group, .. }
            | Self::Quiesce { group, .. }
            | Self::Verdict { group, .. } => Some(*group),
        }
    }
}

/// What a member of a charter whose quorum is lost tells the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The charter.
    pub(crate) epoch: Epoch,
    /// The last entry of the sender's log.
    pub(crate) last: LogId,
    /// The entry of the last membership in it.
    pub(crate) membership: LogId,
    /// Who may found a descendant now, by what the sender knows.
    pub(crate) names: Option<MemberId>,
    /// Whether the sender has stopped its Raft, so that this one founds.
    pub(crate) bound: bool,
    /// Whether an operator asked the sender to recover.
    pub(crate) operator: bool,
}

/// A member of a group, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Presence {
    /// The group.
    pub(crate) group: GroupId,
    /// The member's boot.
    pub(crate) boot: u64,
    /// Whether it may vote; else it only observes.
    pub(crate) writer: bool,
    /// What it declared about leading.
    pub(crate) preference: Preference,
    /// What it means to agree on.
    pub(crate) terms: Terms,
    /// What its program knows.
    pub(crate) announced: Arc<Announced>,
    /// What it found on its disk when it started; nothing if it keeps its log in memory.
    pub(crate) found: Option<Found>,
    /// Whether it was told that its disk went back: it takes part no longer, and waits to be taken in anew.
    pub(crate) rolled_back: bool,
    /// Proves that it knows the group's key, in this session.
    pub(crate) proof: [u8; 32],
}

/// What a member that is gone with its log knew last of who votes. It has stopped, and will know of nothing later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Testament {
    /// The charter.
    pub(crate) epoch: Epoch,
    /// The entry of the last membership in its log.
    pub(crate) membership: LogId,
}

/// How a member went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Farewell {
    /// It was shut down, and its log with it if that was volatile.
    Shutdown,
    /// It left for good.
    Left,
    /// It lost its log, or gave it up, and comes back as another boot.
    Replaced,
}

/// What proves the knowledge of a group's key in one session: a MAC over who says it and what of.
pub(crate) fn proof(
    key: &[u8; 32],
    session: &[u8; 32],
    dialer: bool,
    group: GroupId,
    boot: u64,
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&[u8::from(dialer)]);
    hasher.update(session);
    hasher.update(group.as_bytes());
    hasher.update(&boot.to_le_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        groups::proto::{
            founding::charter::Digest,
            versions::{MAX_METHODS, Methods, Signature},
        },
        wire,
    };

    fn methods(count: usize) -> Vec<(u64, Signature)> {
        let numbers = (0..count as u64).map(|n| u64::MAX - n).rev();
        numbers.map(|number| (number, [0xff; 16])).collect()
    }

    #[test]
    fn a_presence_says_so_much_and_no_more() {
        let most = Methods::new(&methods(MAX_METHODS).into_iter().collect()).unwrap();
        let digest = Digest([0xff; 32]);
        let presence = Presence {
            group: GroupId::from_name("g"),
            boot: u64::MAX,
            writer: true,
            preference: Preference::Neutral,
            terms: Terms {
                durable: true,
                timing: digest,
                key_check: digest,
                fingerprint: digest,
                options: digest,
            },
            announced: Arc::new(Announced {
                commands: most.clone(),
                queries: most,
            }),
            found: None,
            rolled_back: false,
            proof: [0xff; 32],
        };
        let message = Control::Present(presence.clone());
        let bytes = wire::encode(&message).unwrap();
        assert!(bytes.len() < 16 * 1024, "{} bytes", bytes.len());
        assert_eq!(wire::decode(&bytes), Ok(message));
        // The same with one method more, as somebody malicious would say it.
        let announced = wire::encode(&*presence.announced).unwrap();
        let more = (methods(MAX_METHODS + 1), methods(0));
        let more = wire::encode(&more).unwrap();
        let at = bytes.windows(announced.len()).position(|w| w == announced);
        let at = at.unwrap();
        let forged = [&bytes[..at], &more, &bytes[at + announced.len()..]].concat();
        assert!(wire::decode::<Control>(&forged).is_err());
        let same = [&bytes[..at], &announced, &bytes[at + announced.len()..]].concat();
        assert!(wire::decode::<Control>(&same).is_ok());
    }
}
