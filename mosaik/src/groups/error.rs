//! What goes wrong with commands and queries of a group.

use std::{fmt, path::PathBuf};

use super::Pending;
use crate::id::{MemberId, PeerId};

/// Why a command or query has no answer. A command's own error is inside its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The group cannot answer for now, and the command was not applied. Wait with
    /// `when().online()`, or see [`explain`](super::Group::explain) for what is missing.
    #[error("the group is not available: {0}")]
    Unavailable(Unavailable),
    /// This member may never take part as it is; the text says what to change.
    #[error("this member is refused: {0}")]
    Refused(Refusal),
    /// No answer in time; whether the command is applied is not known. Await
    /// [`Pending::outcome`], which goes on with the same command and never applies it twice.
    #[error("no answer within {:?}; the outcome is not known yet", .0.after())]
    Timeout(Pending),
    /// The group has forgotten this client, as it was away for more than an hour of the group's uptime;
    /// whether the command was applied is not known. Look at the state, then decide whether to send it again.
    #[error("the session expired; whether the command was applied is not known")]
    SessionExpired,
    /// The command is not applied: too much is under way, so that there was no room for it within the
    /// `command_timeout`, or none for another session in the group. Try again when earlier commands are answered.
    #[error("too much is under way; the command was not applied")]
    Busy,
    /// Nothing was written: whenever a transaction was about to be applied, somebody else had changed what it had
    /// read, until the `command_timeout`. Try again later, read less in it, or have fewer at once write to the same. The
    /// outcome of an exchange that has timed out, too, if it would have to be tried again.
    #[error("others changed what was read each time it was tried; nothing was written")]
    Contended,
    /// The command is not applied, and neither is the rest of its batch: a voter runs a version of the program that
    /// does not know it. Update that member, or wait until it was; commands that all voters know go on meanwhile. Of
    /// one that was sent before and lost on the way, the log says that it never will be applied.
    #[error("{0}")]
    Unsupported(Box<Unsupported>),
    /// The command panicked on every replica, and changed nothing. Fix the command.
    #[error("command {command} of the batch panicked: {message}")]
    Panicked {
        /// Its position in the batch, 0 if it was alone.
        command: u32,
        /// The panic's message.
        message: String,
    },
    /// The query panicked on the member that was asked. Nothing happened to the state. Fix the query.
    #[error("the query panicked: {0}")]
    QueryPanicked(String),
    /// Another charter of the group lives on: this one takes no commands any more, its state can be read.
    #[error("the group's charter was superseded by another")]
    Superseded,
    /// The command or batch is larger than a log entry may be; it was not sent. Split it.
    #[error("{len} {unit} are over the limit of {limit} for one command or batch")]
    TooLarge {
        /// How large it is.
        len: usize,
        /// How large it may be.
        limit: usize,
        /// What both count: `bytes`, or the `commands` of a batch.
        unit: &'static str,
    },
    /// The command, or its answer, cannot be encoded or decoded. Use types that postcard carries.
    #[error("cannot be encoded or decoded: {0}")]
    Encoding(String),
    /// The replica stopped; the text says why.
    #[error("the replica stopped: {0}")]
    Stopped(String),
    /// The handle's network is shut down.
    #[error("the network is shut down")]
    Closed,
}

/// Which command was not applied because not every voter knows it, and who does not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsupported {
    /// What the command is called.
    pub command: String,
    /// A voter that does not know it.
    pub peer: PeerId,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (command, peer) = (&self.command, self.peer.short());
        write!(
            f,
            "`{command}` is not known to {peer} yet, and was not applied; update that member"
        )
    }
}

/// Why a group cannot answer for now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unavailable {
    /// The group is not founded yet, or this member has not joined it yet.
    NotFounded,
    /// No leader is known.
    NoLeader,
    /// This node is a client, and no member that holds the group's state can be reached.
    NoMember,
    /// The state here is being restored.
    Restoring,
    /// The log here cannot be opened, which is tried again every second or so. Correct what the text says.
    Storage {
        /// Where it is kept.
        dir: PathBuf,
        /// Why it cannot be opened.
        why: String,
    },
    /// Others remember more of this member than its disk holds, which was restored from an older image. The leader
    /// takes it in as a new member, with nothing, as soon as there is one; where the others cannot have one without
    /// it, put the newer disk back, or see [`recover`](super::Group::recover).
    RolledBack(String),
    /// The group asks for a ticket, and this node carries none that is valid. Give it one with
    /// [`add_ticket`](crate::Discovery::add_ticket); it takes part then.
    Ticket {
        /// The class of the ticket.
        class: String,
        /// Why what it carries is not valid.
        why: String,
    },
    /// No member serves this client, and this one says why. Correct what the text says.
    Refused {
        /// Which member.
        by: PeerId,
        /// Why.
        why: Refusal,
    },
    /// Too few voters are connected.
    NoQuorum {
        /// Voters that are.
        have: usize,
        /// Voters that must be.
        need: usize,
        /// Those that are not.
        missing: Vec<PeerId>,
    },
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFounded => write!(f, "it is not founded yet, or not joined yet"),
            Self::NoLeader => write!(f, "no leader is known"),
            Self::NoMember => write!(f, "no member that holds its state can be reached"),
            Self::Restoring => write!(f, "the state is being restored"),
            Self::RolledBack(why) => write!(
                f,
                "{why}; the leader takes this member in anew, or put the newer disk back"
            ),
            Self::Storage { dir, why } => {
                write!(f, "its log in {} cannot be opened: {why}", dir.display())
            }
            Self::Ticket { class, why } => write!(
                f,
                "this node has no valid ticket of class `{class}`: {why}; add one"
            ),
            Self::Refused { by, why } => write!(f, "{} refuses this client: {why}", by.short()),
            Self::NoQuorum {
                have,
                need,
                missing,
            } => {
                write!(f, "{have} of the {need} voters needed are connected")?;
                for (i, peer) in missing.iter().enumerate() {
                    let before = if i == 0 { "; missing: " } else { ", " };
                    write!(f, "{before}{}", peer.short())?;
                }
                Ok(())
            }
        }
    }
}

/// Why a member may not take part: what differs between it and another.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[non_exhaustive]
pub enum Refusal {
    /// The two did not prove to know the same key. Give both the same `key`.
    Key,
    /// The machines differ: the layout of the state, whether it is a debug or a release build, or, of a machine
    /// written by hand, any of its types. Run versions on both that have these in common.
    Machine,
    /// The options differ. Declare the same on both.
    Options,
    /// The timing differs. Declare the same `heartbeat` and `election_timeout` on both.
    Timing,
    /// The group asks for a data directory, and this network has none. Give it one.
    NoDataDir,
    /// This node takes part in the group already, with another machine or other options; or it follows it, and is now
    /// to be a member. Take part as a member first: who only reads shares that.
    Declared,
    /// The options make no sense together; the text says which.
    BadOptions(String),
    /// The program is built with `panic = "abort"`, so that a panic in a command would end every replica.
    /// Build it with `panic = "unwind"`.
    PanicAbort,
    /// A command or query of one name takes or returns other types on the two. Give the changed one a new name, and
    /// keep the old one.
    Signature {
        /// What it is called.
        method: String,
    },
    /// The group asks for a ticket, and the peer carries none that is valid. Give it one with
    /// [`add_ticket`](crate::Discovery::add_ticket); it is let in then, without a restart.
    Ticket {
        /// The class of the ticket.
        class: String,
        /// Why what it carries is not valid.
        why: String,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => write!(f, "the group keys differ (1); give both the same `key`"),
            Self::Machine => write!(
                f,
                "the state machines differ (2); run versions on both whose state has the same layout"
            ),
            Self::Options => write!(f, "the options differ (3); declare the same on both"),
            Self::Timing => write!(
                f,
                "the timing differs (4); declare the same `heartbeat` and `election_timeout` on both"
            ),
            Self::NoDataDir => write!(
                f,
                "the group is durable and this network has no data directory (5); give it one"
            ),
            Self::Declared => write!(
                f,
                "this node takes part in the group already, with another machine or other options, or as one that only \
                 follows (6); declare the same everywhere, and take part as a member first"
            ),
            Self::BadOptions(reason) => write!(f, "bad options (7): {reason}"),
            Self::PanicAbort => write!(
                f,
                "built with `panic = \"abort\"` (8); a panic in a command would end every replica"
            ),
            Self::Signature { method } => write!(
                f,
                "`{method}` takes or returns other types there (9); give the changed one a new name"
            ),
            Self::Ticket { class, why } => write!(
                f,
                "no valid ticket of class `{class}` (10): {why}; add one, it is let in then"
            ),
        }
    }
}

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// Ask the leader, or wait until there is one.
    #[error("this member does not lead; the leader is {}", Known(*.leader))]
    NotLeader {
        /// Who leads, if known.
        leader: Option<PeerId>,
    },
    /// Name a voter: see [`Group::members`](super::Group::members).
    #[error("{} is no voter", .0.short())]
    NotVoter(PeerId),
    /// The other one did not take over in time: it may be behind, or gone.
    #[error("leadership was not taken over in time")]
    TimedOut,
    /// The member runs no consensus now.
    #[error("the group is not available: {0}")]
    Unavailable(String),
}

/// Why no descendant of a group's charter was founded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum RecoverError {
    /// Nothing has to be recovered: wait, or see [`explain`](super::Group::explain).
    #[error("nothing to recover from: a quorum of the voters is connected")]
    QuorumReachable,
    /// Ask a node that is a member: one that only observes or follows has no log to found from.
    #[error("this node is no member of the group's charter, so it has nothing to recover from")]
    NotMember,
    /// The group lives on elsewhere; export the state here if it is wanted.
    #[error("the group's charter was superseded by another")]
    Superseded,
    /// Nothing was founded in time. The text says what was waited for; call again once it is seen to.
    #[error("no descendant was founded in time: {waits}")]
    TimedOut {
        /// What was waited for.
        waits: String,
    },
    /// The node takes part in the group no longer.
    #[error("this node takes part in the group no longer")]
    Closed,
}

struct Known(Option<PeerId>);

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(peer) => f.write_str(&peer.short().to_string()),
            None => f.write_str("not known"),
        }
    }
}

/// The peers of members.
pub(super) fn peers<'a>(members: impl IntoIterator<Item = &'a MemberId>) -> Vec<PeerId> {
    members.into_iter().map(|member| member.peer).collect()
}
