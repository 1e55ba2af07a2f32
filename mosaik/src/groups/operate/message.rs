//! What an operator and a member say to each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ask::Unanswered,
    export::NoExport,
    file::ExportHeader,
    import::{Announced, NoImport},
    report::MemberReport,
};
use crate::{
    groups::{
        bonds::Line,
        error::{RecoverError, Refusal},
        machine::CHUNK,
        remote::End,
    },
    id::GroupId,
    wire,
};

/// The format of reports that this version writes and reads.
const REPORT_FORMAT: u16 = 1;
/// Largest report, in bytes: 64 KiB.
pub(super) const MAX_REPORT: usize = 64 * 1024;

/// A report, in a format that may be another one than this version knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reported {
    format: u16,
    report: Bytes,
}

impl Reported {
    /// As it is sent.
    pub(super) fn new(report: &MemberReport) -> Result<Self, wire::EncodeError> {
        Ok(Self {
            format: REPORT_FORMAT,
            report: wire::encode(report)?.into(),
        })
    }

    /// What was sent, with nothing in it that a terminal obeys.
    pub(super) fn read(&self) -> Result<MemberReport, Unanswered> {
        if self.format != REPORT_FORMAT {
            return Err(Unanswered::Format { found: self.format });
        }
        let report = wire::decode::<MemberReport>(&self.report);
        let report = report.map_err(|error| Unanswered::Malformed(error.to_string()))?;
        Ok(report.printable())
    }
}

/// Largest order, in bytes.
pub(super) const MAX_ORDER: usize = 1024;
/// Largest answer to one, in bytes: a chunk of a state, and what else there is.
pub(super) const MAX_ANSWER: usize = CHUNK + 16 * 1024;

/// What an operator has a member do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// It.
    pub(super) what: What,
    /// Proves that the operator knows the group's key, in this session.
    pub(super) proof: [u8; 32],
}

/// What there is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum What {
    /// Found a descendant charter after a quorum was lost.
    Recover,
    /// Send the state.
    Export,
    /// Take the state that follows over.
    Import,
}

impl What {
    /// Which end proves that it may ask for it.
    pub(super) fn end(self) -> End {
        match self {
            Self::Recover => End::Recovery,
            Self::Export => End::Export,
            Self::Import => End::Import,
        }
    }
}

/// What a member answers to an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// The proof is none of this group's key.
    Refused(Refusal),
    /// As many orders are carried out as may be at once.
    Busy,
    /// What came of recovering.
    Recovered(Result<(), RecoverError>),
    /// The state follows.
    Exporting {
        /// What it is of.
        header: ExportHeader,
        /// Proves that the member knows the group's key, in this session.
        proof: [u8; 32],
    },
    /// A part of the state.
    Chunk(Bytes),
    /// There is no state to send.
    NoExport(NoExport),
    /// The state may be sent.
    Importing {
        /// Proves that the member knows the group's key, in this session.
        proof: [u8; 32],
    },
    /// So many bytes of it stand in the log of the group.
    Replicated(u64),
    /// The group has it, from this version on.
    Imported(u64),
    /// The group does not take it.
    NoImport(NoImport),
}

/// What an operator sends of a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sent {
    /// What it is.
    Announced(Announced),
    /// A part of it.
    Chunk(Bytes),
    /// That was all.
    End,
}

impl Order {
    /// An order with its proof.
    pub(super) fn new(what: What, line: &Line, key: &[u8; 32], group: GroupId) -> Self {
        let proof = line.proof_as(key, what.end(), group);
        Self { what, proof }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        groups::operate::{MemberRole, Place},
        id::SecretKey,
    };

    fn report() -> MemberReport {
        let peer = SecretKey::generate().peer();
        MemberReport {
            peer,
            boot: 7,
            role: MemberRole::Voter,
            online: true,
            leader: Some(peer),
            term: Some(3),
            charter: Some([9; 16]),
            version: Some(41),
            behind: 0,
            durable: true,
            development: false,
            resting: false,
            members: vec![Place {
                peer,
                boot: 7,
                voter: true,
                behind: Some(0),
            }],
            notes: vec!["fine".into()],
        }
    }

    #[test]
    fn a_report_arrives_as_it_was_sent() {
        let report = report();
        let sent = wire::encode(&Reported::new(&report).unwrap()).unwrap();
        let reported = wire::decode::<Reported>(&sent).unwrap();
        assert_eq!(reported.read(), Ok(report));
    }

    #[test]
    fn what_is_no_report_of_this_format_is_refused() {
        let good = Reported::new(&report()).unwrap();
        let newer = Reported {
            format: REPORT_FORMAT + 1,
            ..good.clone()
        };
        assert_eq!(newer.read(), Err(Unanswered::Format { found: 2 }));
        for cut in 0..good.report.len() {
            let cut = Reported {
                report: good.report.slice(..cut),
                ..good.clone()
            };
            assert!(matches!(cut.read(), Err(Unanswered::Malformed(_))));
        }
        let longer = Reported {
            report: [&good.report[..], &[0]].concat().into(),
            ..good
        };
        assert!(matches!(longer.read(), Err(Unanswered::Malformed(_))));
    }

    #[test]
    fn orders_and_answers_are_whole_and_bounded() {
        let order = Order {
            what: What::Export,
            proof: [0xff; 32],
        };
        let frame = wire::encode_frame(&order, MAX_ORDER).unwrap();
        let order = &frame[wire::HEADER_LEN..];
        let header = ExportHeader {
            group: "g".repeat(256),
            charter: [0xff; 16],
            version: u64::MAX,
            layout: [0xff; 32],
            length: u64::MAX,
        };
        let proof = [0xff; 32];
        let exporting = wire::encode(&Answer::Exporting { header, proof }).unwrap();
        for cut in 0..order.len() {
            assert!(wire::decode::<Order>(&order[..cut]).is_err());
        }
        for cut in 0..exporting.len() {
            assert!(wire::decode::<Answer>(&exporting[..cut]).is_err());
        }
        let chunk = |len| Answer::Chunk(vec![0xff; len].into());
        wire::encode_frame(&chunk(CHUNK), MAX_ANSWER).unwrap();
        assert!(wire::encode_frame(&chunk(2 * CHUNK), MAX_ANSWER).is_err());
    }

    #[test]
    fn a_report_moves_no_cursor() {
        let mut bad = report();
        bad.notes = vec!["\u{1b}[2Jgone\nleader: me".into()];
        let read = Reported::new(&bad).unwrap().read().unwrap();
        assert_eq!(read.notes, [r"\u{1b}[2Jgone\nleader: me"]);
    }
}
