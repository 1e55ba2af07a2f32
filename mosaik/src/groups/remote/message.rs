//! What a client and the member that serves it say to each other before the first request.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    groups::{
        error::Refusal,
        machine::Program,
        proposer::Failed,
        proto::{
            founding::charter::{Digest, Epoch},
            roster::Membership,
            versions::Announced,
        },
    },
    id::{GroupId, MemberId, PeerId},
};

/// The first message of a client's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The client's program.
    pub(crate) version: Version,
    /// Proves that it knows the group's key, in this session.
    pub(crate) proof: [u8; 32],
}

/// The program of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    /// Whether its commands and queries travel by name.
    pub(crate) named: bool,
    /// Those that it knows, if so.
    pub(crate) announced: Arc<Announced>,
    /// What it takes the types of all for, if they have no names.
    pub(crate) fingerprint: Digest,
}

impl Version {
    /// That of a program.
    pub(crate) fn of(program: &Program, fingerprint: Digest) -> Self {
        Self {
            named: program.is_named(),
            announced: program.announced().clone(),
            fingerprint,
        }
    }

    /// Why the two do not understand each other, if so. The layout of the state is none of a client's business.
    pub(crate) fn compare(&self, program: &Program, fingerprint: Digest) -> Result<(), Refusal> {
        if self.named && program.is_named() {
            return program.compare(&self.announced);
        }
        let same = self.named == program.is_named() && self.fingerprint == fingerprint;
        same.then_some(()).ok_or(Refusal::Machine)
    }
}

/// What a member answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Welcome {
    /// It serves the client: requests may follow.
    Served {
        /// The charter: a session is opened under one and means nothing under another.
        epoch: Epoch,
        /// The member.
        member: MemberId,
        /// How the group is doing.
        standing: Box<Standing>,
        /// Proves that the member knows the group's key, in this session.
        proof: [u8; 32],
    },
    /// It holds no state that it could answer from yet, or serves as many as it may. Try another member.
    NotNow,
    /// It does not serve the client as it is.
    Refused(Refusal),
}

/// How the group is doing, as a member tells its clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Who leads.
    pub(crate) leader: Option<MemberId>,
    /// Who votes and who learns.
    pub(crate) membership: Option<Membership>,
}

/// What a query got: an answer, or none for good; or why it has to be asked again.
pub(crate) type Answered = Result<Result<Answer, Unanswered>, Failed>;

/// The answer to a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The version of the state that it was asked of, or an earlier one.
    pub(crate) version: u64,
    /// It, encoded.
    pub(crate) bytes: Bytes,
}

/// Why a query has no answer, and gets none from this member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unanswered {
    /// The member's version of the program does not know it.
    Unknown {
        /// The number that it travels by, if it has one.
        query: Option<u64>,
        /// The member.
        peer: PeerId,
    },
    /// It panicked, with this message.
    Panicked(String),
    /// Its answer cannot be encoded.
    Encoding(String),
}

/// Which end of a stream without a bond proves something, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client.
    Client,
    /// The member.
    Member,
    /// An operator who asks to recover from a lost quorum.
    Recovery,
    /// An operator who asks for the state.
    Export,
    /// The member that exports it.
    Exporter,
    /// An operator who has a state to import.
    Import,
    /// The member that imports it.
    Importer,
}

/// What proves the knowledge of a group's key in one session: a MAC over who says it and what of. No proof of one
/// end, or of a member on its bond, passes for another.
pub(crate) fn proof(key: &[u8; 32], session: &[u8; 32], end: End, group: GroupId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(match end {
        End::Client => b"mosaik/group/client/1",
        End::Member => b"mosaik/group/server/1",
        End::Recovery => b"mosaik/group/recover/1",
        End::Export => b"mosaik/group/export/1",
        End::Exporter => b"mosaik/group/exporter/1",
        End::Import => b"mosaik/group/import/1",
        End::Importer => b"mosaik/group/importer/1",
    });
    hasher.update(session);
    hasher.update(group.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_of_one_end_one_session_one_group_and_one_key() {
        let group = GroupId::from_name("g");
        let one = proof(&[1; 32], &[2; 32], End::Client, group);
        for other in [
            proof(&[1; 32], &[2; 32], End::Member, group),
            proof(&[1; 32], &[2; 32], End::Recovery, group),
            proof(&[1; 32], &[2; 32], End::Export, group),
            proof(&[1; 32], &[2; 32], End::Exporter, group),
            proof(&[1; 32], &[2; 32], End::Import, group),
            proof(&[1; 32], &[2; 32], End::Importer, group),
            proof(&[1; 32], &[3; 32], End::Client, group),
            proof(&[4; 32], &[2; 32], End::Client, group),
            proof(&[1; 32], &[2; 32], End::Client, GroupId::from_name("h")),
        ] {
            assert_ne!(one, other);
        }
        assert_eq!(one, proof(&[1; 32], &[2; 32], End::Client, group));
    }
}
