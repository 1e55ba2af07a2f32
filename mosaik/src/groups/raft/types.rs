//! The types that openraft works with, and what becomes of them in a log.
//!
//! Entries carry opaque bytes with the number of their format. The ids of openraft that a log stores are
//! those of the standard mode: a log id is a term and an index.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use openraft::{EmptyNode, EntryPayload, Membership, impls};
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;
use crate::{
    groups::{
        machine::ItemReply,
        proto::roster,
        storage::{Kind, LogId, Record, Vote},
    },
    id::MemberId,
    wire,
};

openraft::declare_raft_types!(
    /// What openraft is instantiated with.
    pub(crate) Types:
        D = Proposal,
        R = Reply,
        NodeId = MemberId,
        Node = EmptyNode,
        Term = u64,
        LeaderId = impls::leader_id_std::LeaderId<u64, MemberId>,
        AsyncRuntime = Runtime,
);

/// The log id of openraft.
pub(super) type RaftLogId = openraft::type_config::alias::LogIdOf<Types>;
/// The vote of openraft.
pub(super) type RaftVote = openraft::type_config::alias::VoteOf<Types>;
/// The entry of openraft.
pub(super) type RaftEntry = openraft::type_config::alias::EntryOf<Types>;
/// The membership of openraft.
pub(crate) type RaftMembership = Membership<MemberId, EmptyNode>;

/// What is proposed to a group: commands, encoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal {
    /// The format of the bytes.
    pub(crate) format: u8,
    /// The commands.
    pub(crate) bytes: Bytes,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of format {}", self.bytes.len(), self.format)
    }
}

/// What applying an entry answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// What its items get, in their order; none for an entry that nobody proposed.
    pub(crate) items: Vec<ItemReply>,
}

/// Who votes and who learns, as it stands in a log.
#[derive(Serialize, Deserialize)]
struct Members {
    /// The sets of voters: two of them while the group changes from one to the other.
    voters: Vec<BTreeSet<MemberId>>,
    /// All members, voters among them.
    members: BTreeSet<MemberId>,
}

/// The format of [`Members`].
const MEMBERS_FORMAT: u8 = 1;
/// Most sets of voters of a membership: two, while the group changes from one to the other.
const MAX_CONFIGS: usize = 2;
/// Most members of a membership: far more than a group ever seats, and what bounds a malformed one.
const MAX_MEMBERS: usize = 256;

/// A log id as it stands in a log.
pub(super) fn log_id(id: &RaftLogId) -> LogId {
    LogId {
        term: id.leader_id.term,
        index: id.index,
    }
}

/// A log id as openraft has it.
pub(super) fn raft_log_id(id: LogId) -> RaftLogId {
    let leader = openraft::vote::leader_id_std::CommittedLeaderId::new(id.term);
    RaftLogId::new(leader, id.index)
}

/// A vote as it stands in a log.
pub(super) fn vote(vote: &RaftVote) -> Vote {
    Vote {
        term: vote.leader_id.term,
        candidate: vote.leader_id.voted_for,
        committed: vote.committed,
    }
}

/// A vote as openraft has it.
pub(super) fn raft_vote(vote: Vote) -> RaftVote {
    if vote.committed {
        RaftVote::new_committed(vote.term, vote.candidate)
    } else {
        RaftVote::new(vote.term, vote.candidate)
    }
}

/// An entry as it stands in a log.
pub(super) fn record(entry: RaftEntry) -> Result<Record, wire::EncodeError> {
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (Kind::Blank, Bytes::new()),
        EntryPayload::Normal(Proposal { format, bytes }) => (Kind::Commands { format }, bytes),
        EntryPayload::Membership(membership) => (Kind::Membership, encode_membership(&membership)?),
    };
    Ok(Record {
        id: log_id(&entry.log_id),
        kind,
        payload,
    })
}

/// An entry as openraft has it.
pub(super) fn raft_entry(record: Record) -> Result<RaftEntry, EntryError> {
    let payload = match record.kind {
        Kind::Blank => EntryPayload::Blank,
        Kind::Commands { format } => EntryPayload::Normal(Proposal {
            format,
            bytes: record.payload,
        }),
        Kind::Membership => EntryPayload::Membership(decode_membership(&record.payload)?),
    };
    Ok(RaftEntry {
        log_id: raft_log_id(record.id),
        payload,
    })
}

/// A membership as it stands in a log or a snapshot.
pub(crate) fn encode_membership(membership: &RaftMembership) -> Result<Bytes, wire::EncodeError> {
    let members = Members {
        voters: membership.get_joint_config().clone(),
        members: membership.nodes().map(|(member, _)| *member).collect(),
    };
    let mut payload = vec![MEMBERS_FORMAT];
    payload.extend(wire::encode(&members)?);
    Ok(payload.into())
}

/// What [`encode_membership`] made of a membership. There are voters in it, and no more than two sets.
pub(crate) fn decode_membership(payload: &[u8]) -> Result<RaftMembership, EntryError> {
    let (format, members) = payload.split_first().ok_or(EntryError::Short)?;
    if *format != MEMBERS_FORMAT {
        return Err(EntryError::Format { found: *format });
    }
    let Members { voters, members } = wire::decode(members)?;
    if voters.is_empty() || voters.len() > MAX_CONFIGS {
        return Err(EntryError::Configs(voters.len()));
    }
    if members.len() > MAX_MEMBERS {
        return Err(EntryError::TooMany(members.len()));
    }
    let nodes = members.into_iter().map(|member| (member, EmptyNode::new()));
    let nodes: BTreeMap<_, _> = nodes.collect();
    Membership::new(voters, nodes).map_err(|error| EntryError::Members(error.to_string()))
}

/// The membership of founders, as it stands in a snapshot.
pub(super) fn founders(founders: &BTreeSet<MemberId>) -> Result<Bytes, wire::EncodeError> {
    let members = Members {
        voters: vec![founders.clone()],
        members: founders.clone(),
    };
    let mut payload = vec![MEMBERS_FORMAT];
    payload.extend(wire::encode(&members)?);
    Ok(payload.into())
}

/// A membership that is committed in the entry `at`, as the rest of groups has it.
pub(super) fn roster(membership: &RaftMembership, at: LogId) -> roster::Membership {
    let mut configs = membership.get_joint_config().iter().cloned();
    let first = configs.next().unwrap_or_default();
    let (leaving, voters) = match configs.next_back() {
        Some(last) => (Some(first), last),
        None => (None, first),
    };
    roster::Membership {
        log_id: at,
        committed: true,
        leaving,
        voters,
        learners: membership.learner_ids().collect(),
    }
}

/// Why an entry of a log is none to openraft.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EntryError {
    #[error("a membership is empty")]
    Short,
    #[error("a membership has format {found}, this version knows {MEMBERS_FORMAT}")]
    Format { found: u8 },
    #[error("a membership cannot be decoded: {0}")]
    Malformed(#[from] wire::DecodeError),
    #[error("a membership has {0} sets of voters")]
    Configs(usize),
    #[error("a membership has {0} members, more than {MAX_MEMBERS}")]
    TooMany(usize),
    #[error("a membership is none: {0}")]
    Members(String),
}
