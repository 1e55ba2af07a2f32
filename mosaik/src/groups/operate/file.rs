//! Exports: the state of a member in a file.
//!
//! A file begins with eight bytes that say what it is, the length of the header as a little-endian `u32`, and the
//! header; then comes the state, to the end.

use std::{
    fmt,
    io::{self, Read as _},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::wire;

/// What a file begins with.
const MAGIC: [u8; 8] = *b"mosaik-x";
/// The format of files that this version writes and reads.
const EXPORT_FORMAT: u16 = 1;
/// What separates the digests of exports from all others.
const DIGEST_CONTEXT: &str = "mosaik/group/export/1";
/// Bytes of an encoded header at most.
const MAX_HEADER: usize = 4 * 1024;

/// What an export is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExportHeader {
    /// The group's name.
    pub group: String,
    /// The epoch of the charter whose log made the state.
    pub charter: [u8; 16],
    /// The index of the last entry that the state has applied.
    pub version: u64,
    /// The fingerprint of the state's layout, as members compare it.
    pub layout: [u8; 32],
    /// Bytes of the state.
    pub length: u64,
}

/// The header of a file.
#[derive(Serialize, Deserialize)]
struct FileHeader {
    format: u16,
    header: ExportHeader,
    /// The BLAKE3 digest of the above, as encoded, and the state.
    digest: [u8; 32],
}

impl ExportHeader {
    /// What the digest of a file is made with: the state has to follow.
    pub(crate) fn hasher(&self) -> io::Result<blake3::Hasher> {
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
        hasher.update(&wire::encode(self).map_err(io::Error::other)?);
        Ok(hasher)
    }

    /// What a file begins with that has this digest: as long for any digest.
    #[cfg(any(test, feature = "cli"))]
    pub(crate) fn encode(&self, digest: [u8; 32]) -> io::Result<Vec<u8>> {
        let header = FileHeader {
            format: EXPORT_FORMAT,
            header: self.clone(),
            digest,
        };
        let header = wire::encode(&header).map_err(io::Error::other)?;
        let len = u32::try_from(header.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        Ok([&MAGIC[..], &len.to_le_bytes(), &header].concat())
    }
}

/// The state of a member, as it was exported: `mosaik group export` writes it to a file.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Export {
    /// What it is of.
    pub header: ExportHeader,
    /// The state, encoded with [postcard](https://postcard.jamesmunns.com/wire-format): see [`decode`](Self::decode).
    pub state: Vec<u8>,
}

/// Why a file is no export that can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportFileError {
    /// See to the disk.
    #[error("an export cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Look whether it is the right file.
    #[error("this is no export of a group")]
    Foreign,
    /// A newer version wrote it: read it with that.
    #[error("an export has format {found}, this version knows {EXPORT_FORMAT}")]
    Format {
        /// Its format.
        found: u16,
    },
    /// It was not written to the end, or changed since: export anew.
    #[error("an export is damaged: {0}")]
    Damaged(&'static str),
    /// The state is of another type: compare the layout in the header.
    #[error("the state of an export is not of this type: {0}")]
    Type(String),
}

impl Export {
    /// Reads an export to its end, and verifies that it is what was written.
    ///
    /// # Errors
    /// When it cannot be read, is something else, or is damaged.
    pub fn read(mut from: impl io::Read) -> Result<Self, ExportFileError> {
        let mut start = [0; MAGIC.len() + 4];
        exact(&mut from, &mut start)?;
        let (magic, len) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ExportFileError::Foreign);
        }
        let len = len.first_chunk().copied().map_or(0, u32::from_le_bytes) as usize;
        if len > MAX_HEADER {
            return Err(ExportFileError::Damaged("its header is too long"));
        }
        let mut header = vec![0; len];
        exact(&mut from, &mut header)?;
        let unsound = |_| ExportFileError::Damaged("its header cannot be read");
        // The format comes first in any version.
        let (found, _) = wire::decode_first::<u16>(&header).map_err(unsound)?;
        if found != EXPORT_FORMAT {
            return Err(ExportFileError::Format { found });
        }
        let FileHeader { header, digest, .. } = wire::decode(&header).map_err(unsound)?;
        // It grows with what is there, whatever the header says.
        let mut state = Vec::new();
        let limit = header.length.saturating_add(1);
        from.take(limit).read_to_end(&mut state)?;
        if state.len() as u64 != header.length {
            return Err(ExportFileError::Damaged(
                "it is not as long as its header says",
            ));
        }
        if header.hasher()?.update(&state).finalize() != blake3::Hash::from_bytes(digest) {
            return Err(ExportFileError::Damaged("its digest is another"));
        }
        Ok(Self { header, state })
    }

    /// The state as what it is: the snapshot type of the state machine, or the struct that `#[mosaik::group]` is on.
    ///
    /// # Errors
    /// When it is not of that type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ExportFileError> {
        wire::decode(&self.state).map_err(|error| ExportFileError::Type(error.to_string()))
    }
}

fn exact(from: &mut impl io::Read, out: &mut [u8]) -> Result<(), ExportFileError> {
    from.read_exact(out).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => ExportFileError::Foreign,
        _ => ExportFileError::Io(error),
    })
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export")
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(state: &[u8]) -> (ExportHeader, Vec<u8>) {
        let header = ExportHeader {
            group: "orders".into(),
            charter: [3; 16],
            version: 4711,
            layout: [5; 32],
            length: state.len() as u64,
        };
        let digest = header.hasher().unwrap().update(state).finalize();
        let start = header.encode(*digest.as_bytes()).unwrap();
        assert_eq!(start.len(), header.encode([0xff; 32]).unwrap().len());
        (header, [&start[..], state].concat())
    }

    #[test]
    fn what_was_written_is_read() {
        let state = wire::encode(&(7_u64, "seven".to_owned())).unwrap();
        let (header, file) = file(&state);
        let export = Export::read(&file[..]).unwrap();
        assert_eq!((&export.header, &export.state), (&header, &state));
        assert_eq!(export.decode::<(u64, String)>().unwrap().0, 7);
        let wrong = export.decode::<u64>().unwrap_err().to_string();
        assert!(wrong.contains("not of this type"), "{wrong}");
    }

    #[test]
    fn no_bit_of_an_export_changes_unseen() {
        let (_, file) = file(b"some state");
        for at in 0..file.len() {
            assert!(Export::read(&file[..at]).is_err(), "cut at {at}");
            let mut bad = file.clone();
            bad[at] ^= 1;
            assert!(Export::read(&bad[..]).is_err(), "changed at {at}");
        }
        let longer = [&file[..], b"!"].concat();
        let error = Export::read(&longer[..]).unwrap_err();
        assert!(matches!(error, ExportFileError::Damaged(_)), "{error}");
        assert!(matches!(
            Export::read(&b"something else entirely"[..]),
            Err(ExportFileError::Foreign)
        ));
    }

    #[test]
    fn a_header_that_lies_takes_no_memory() {
        let (mut header, _) = file(b"");
        header.length = u64::MAX;
        let bytes = header.encode([0; 32]).unwrap();
        assert!(matches!(
            Export::read(&bytes[..]),
            Err(ExportFileError::Damaged(_))
        ));
        let long = [&MAGIC[..], &u32::MAX.to_le_bytes()].concat();
        assert!(matches!(
            Export::read(&long[..]),
            Err(ExportFileError::Damaged(_))
        ));
        let newer = [&MAGIC[..], &1_u32.to_le_bytes(), &[9]].concat();
        assert!(matches!(
            Export::read(&newer[..]),
            Err(ExportFileError::Format { found: 9 })
        ));
    }
}
