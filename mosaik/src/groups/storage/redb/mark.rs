//! The mark: a commit that is on the disk, kept outside of the database.
//!
//! Two slots are written in turn, so that a crash tears at most one; what counts is the greatest that
//! verifies.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    groups::storage::error::OpenError,
    rt::fs::{self, File},
};

/// The format of the file.
const FORMAT: u64 = 1;
/// Where the slots are: far enough apart to be in sectors of their own.
const SLOTS: [u64; 2] = [0, 4096];
const SLOT_LEN: usize = 40;

/// The mark of a database.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    file: File,
    /// The database that it belongs to.
    id: u64,
    sequence: u64,
    /// The slot that is written next.
    next: usize,
}

impl Mark {
    /// Makes one for a database of which nothing was acknowledged.
    pub(super) fn create(dir: &Path, path: &Path, id: u64) -> io::Result<()> {
        let mut bytes = vec![0; 4096 + SLOT_LEN];
        for at in SLOTS {
            let at = usize::try_from(at).unwrap_or_default();
            bytes[at..at + SLOT_LEN].copy_from_slice(&encode(id, 0));
        }
        fs::store(dir, path, &bytes)
    }

    /// Reads it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let file = File::open(path).map_err(|error| OpenError::io(path, &error))?;
        let mut best = None;
        let mut other_format = None;
        for (n, at) in SLOTS.into_iter().enumerate() {
            let mut bytes = [0; SLOT_LEN];
            match file.read_at(at, &mut bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                Err(error) => return Err(OpenError::io(path, &error)),
            }
            let Some((format, id, sequence)) = decode(&bytes) else {
                continue;
            };
            if format != FORMAT {
                other_format = Some(format);
            } else if best.is_none_or(|(_, _, held)| held < sequence) {
                best = Some((n, id, sequence));
            }
        }
        if let Some(found) = other_format {
            return Err(OpenError::Format {
                path: path.into(),
                found,
                supported: FORMAT,
            });
        }
        let (slot, id, sequence) =
            best.ok_or_else(|| OpenError::damaged(path, "no slot verifies"))?;
        Ok(Self {
            path: path.into(),
            file,
            id,
            sequence,
            next: 1 - slot,
        })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The database that it belongs to.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// A commit that was on the disk; zero when nothing was acknowledged.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Notes that commit `sequence` is on the disk.
    pub(super) fn write(&mut self, sequence: u64) -> io::Result<()> {
        if sequence <= self.sequence {
            return Ok(());
        }
        self.file
            .write_at(SLOTS[self.next], &encode(self.id, sequence))?;
        self.file.sync_data()?;
        self.sequence = sequence;
        self.next = 1 - self.next;
        Ok(())
    }
}

fn encode(id: u64, sequence: u64) -> [u8; SLOT_LEN] {
    let mut slot = [0; SLOT_LEN];
    slot[..8].copy_from_slice(&FORMAT.to_le_bytes());
    slot[8..16].copy_from_slice(&id.to_le_bytes());
    slot[16..24].copy_from_slice(&sequence.to_le_bytes());
    let check = check(&slot[..24]);
    slot[24..].copy_from_slice(&check);
    slot
}

/// Format, database and sequence, if the slot is whole.
fn decode(slot: &[u8; SLOT_LEN]) -> Option<(u64, u64, u64)> {
    if slot[24..] != check(&slot[..24]) {
        return None;
    }
    let number = |at: usize| {
        let bytes = slot.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_le_bytes(bytes))
    };
    Some((number(0)?, number(8)?, number(16)?))
}

fn check(bytes: &[u8]) -> [u8; 16] {
    let mut check = [0; 16];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    check
}
