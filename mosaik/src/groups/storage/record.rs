//! What a log holds: entries, and what a member voted.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use crate::groups::proto::log_id::LogId;
use crate::{
    id::MemberId,
    wire::{self, DecodeError, EncodeError},
};

/// Largest payload of an entry, in bytes: what fits a frame, with room for what stands around it.
pub(crate) const MAX_PAYLOAD: usize = wire::MAX_FRAME - 1024;

/// The format of entries on the disk.
const FORMAT: u8 = 1;
/// Length of the digest in front of an entry, in bytes.
const CHECK_LEN: usize = 8;

/// Whom a member voted for, or follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vote {
    /// The term.
    pub(crate) term: u64,
    /// The candidate.
    pub(crate) candidate: MemberId,
    /// Whether a majority voted for the candidate.
    pub(crate) committed: bool,
}

/// What the payload of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Nothing: the first entry of a leader.
    Blank,
    /// Commands, in a format of this number.
    Commands {
        /// The format.
        format: u8,
    },
    /// Who votes and who learns.
    Membership,
}

/// An entry. Clones share the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its id.
    pub(crate) id: LogId,
    /// What the payload is.
    pub(crate) kind: Kind,
    /// The payload.
    pub(crate) payload: Bytes,
}

/// What stands on the disk behind format and digest; the index is in the key.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    term: u64,
    kind: Kind,
    payload: &'a [u8],
}

impl Record {
    /// About how much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.payload.len()
    }

    /// About the [`size`](Self::size) of an entry that stands on the disk as `sealed`.
    pub(super) fn size_of_sealed(sealed: &[u8]) -> usize {
        size_of::<Self>() + sealed.len()
    }

    /// As it stands on the disk under `key`.
    pub(super) fn seal(&self, key: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let body = wire::encode(&Body {
            term: self.id.term,
            kind: self.kind,
            payload: &self.payload,
        })?;
        let mut sealed = Vec::with_capacity(1 + CHECK_LEN + body.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&check(key, &body));
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// What [`seal`](Self::seal) made of the entry at `index`.
    pub(super) fn unseal(key: &[u8], index: u64, sealed: &[u8]) -> Result<Self, UnsealError> {
        let (format, rest) = sealed.split_first().ok_or(UnsealError::Short)?;
        if *format != FORMAT {
            return Err(UnsealError::Format { found: *format });
        }
        let (found, body) = rest
            .split_first_chunk::<CHECK_LEN>()
            .ok_or(UnsealError::Short)?;
        if *found != check(key, body) {
            return Err(UnsealError::Check);
        }
        let body: Body<'_> = wire::decode(body)?;
        Ok(Self {
            id: LogId {
                term: body.term,
                index,
            },
            kind: body.kind,
            payload: Bytes::copy_from_slice(body.payload),
        })
    }
}

/// A digest that tells whether an entry is the one that was written there.
fn check(key: &[u8], body: &[u8]) -> [u8; CHECK_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key);
    hasher.update(body);
    let mut check = [0; CHECK_LEN];
    hasher.finalize_xof().fill(&mut check);
    check
}

/// Why bytes are no entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnsealError {
    #[error("an entry is cut off")]
    Short,
    #[error("an entry has format {found}, this version knows {FORMAT}")]
    Format { found: u8 },
    #[error("an entry is not what was written")]
    Check,
    #[error("an entry cannot be decoded: {0}")]
    Malformed(#[from] DecodeError),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(payload: &[u8]) -> Record {
        Record {
            id: LogId { term: 3, index: 7 },
            kind: Kind::Commands { format: 1 },
            payload: Bytes::copy_from_slice(payload),
        }
    }

    proptest! {
        #[test]
        fn an_entry_is_what_was_written_or_refused(payload: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let record = record(&payload);
            let mut sealed = record.seal(b"key").unwrap();
            prop_assert_eq!(Record::unseal(b"key", 7, &sealed), Ok(record));
            prop_assert_eq!(Record::unseal(b"kez", 7, &sealed), Err(UnsealError::Check));
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(Record::unseal(b"key", 7, &sealed).is_err());
            sealed.truncate(at);
            prop_assert!(Record::unseal(b"key", 7, &sealed).is_err());
        }

        #[test]
        fn no_bytes_panic_it(bytes: Vec<u8>) {
            prop_assert!(Record::unseal(b"key", 7, &bytes).is_err());
        }
    }
}
