//! Snapshots: the state of a replica up to an entry, in chunks.

use std::{fmt, io, path::Path, sync::Arc};

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::{file::SnapshotFile, state::MAX_INDEX};
use crate::{
    groups::proto::{founding::charter::Epoch, log_id::LogId},
    id::GroupId,
    rt,
};

/// The format of snapshots that this version writes and reads.
pub(crate) const SNAPSHOT_FORMAT: u8 = 2;
/// Bytes of a chunk, but for the last, which may have fewer: 256 KiB.
pub(crate) const CHUNK: usize = 256 * 1024;
/// Bytes of the checksum behind each chunk.
pub(crate) const CHECK_LEN: usize = 32;
/// Bytes of a snapshot: 64 GiB.
pub(crate) const MAX_SNAPSHOT: u64 = 64 << 30;
/// Bytes of an encoded membership: 64 KiB.
pub(crate) const MAX_MEMBERSHIP: usize = 64 * 1024;

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// Its format.
    pub(crate) version: u8,
    /// The group.
    pub(crate) group: GroupId,
    /// The charter's epoch.
    pub(crate) epoch: Epoch,
    /// The last entry that is in it.
    pub(crate) last: LogId,
    /// The last membership among its entries, as it stands in a log; empty if there is none.
    pub(crate) membership: Bytes,
    /// The entry that it is in.
    pub(crate) membership_at: Option<LogId>,
    /// Number of chunks.
    pub(crate) chunks: u64,
    /// Bytes of all chunks, without checksums.
    pub(crate) bytes: u64,
    /// Of the checksums of all chunks.
    pub(crate) digest: [u8; 32],
}

/// Why a header is none that this version takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HeaderError {
    /// The sender runs a newer version: update this member.
    #[error("a snapshot has format {found}, this version knows {SNAPSHOT_FORMAT}")]
    Format {
        /// Its format.
        found: u8,
    },
    /// A fault of the sender: it is of something else.
    #[error("a snapshot is of {group:?} in {epoch:?}")]
    Foreign {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: Epoch,
    },
    /// The state is too large, or the sender is faulty.
    #[error("a snapshot of {bytes} bytes is over the limit of {MAX_SNAPSHOT}")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// A fault of the sender.
    #[error("a snapshot's header contradicts itself")]
    Unsound,
}

impl Header {
    /// Whether it can be that of a snapshot of the group in that epoch.
    pub(crate) fn verify(&self, group: GroupId, epoch: Epoch) -> Result<(), HeaderError> {
        if self.version != SNAPSHOT_FORMAT {
            let found = self.version;
            return Err(HeaderError::Format { found });
        }
        if (self.group, self.epoch) != (group, epoch) {
            let (group, epoch) = (self.group, self.epoch);
            return Err(HeaderError::Foreign { group, epoch });
        }
        if self.bytes > MAX_SNAPSHOT {
            let bytes = self.bytes;
            return Err(HeaderError::TooLarge { bytes });
        }
        let membership_is_known = self.membership.is_empty() == self.membership_at.is_none()
            && self.membership_at.is_none_or(|at| at <= self.last);
        let sound = self.bytes > 0
            && self.chunks == self.bytes.div_ceil(CHUNK as u64)
            && self.last.index < MAX_INDEX
            && self.membership.len() <= MAX_MEMBERSHIP
            && membership_is_known;
        sound.then_some(()).ok_or(HeaderError::Unsound)
    }

    /// Length of a chunk, without its checksum; `None` past the last.
    pub(super) fn chunk_len(&self, n: u64) -> Option<usize> {
        let before = n.checked_mul(CHUNK as u64)?;
        let rest = self.bytes.checked_sub(before).filter(|rest| *rest > 0)?;
        Some(usize::try_from(rest).map_or(CHUNK, |rest| rest.min(CHUNK)))
    }

    /// The payload of a chunk, if it is of the right length, and what was written.
    pub(super) fn verify_chunk(&self, n: u64, mut chunk: Bytes) -> io::Result<(Bytes, Bytes)> {
        let len = self
            .chunk_len(n)
            .filter(|len| chunk.len() == len + CHECK_LEN);
        let damaged = || {
            let text = format!("chunk {n} of a snapshot is not what was written");
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        let payload = chunk.split_to(len.ok_or_else(damaged)?);
        if chunk[..] != check(n, &payload) {
            return Err(damaged());
        }
        Ok((payload, chunk))
    }
}

/// The checksum of the payload of chunk `n`.
pub(super) fn check(n: u64, payload: &[u8]) -> [u8; CHECK_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&n.to_le_bytes());
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

/// A snapshot, in memory or in a file. Clones share it; its file is there as long as there are any.
#[derive(Clone)]
pub(crate) struct Snapshot {
    inner: Arc<Inner>,
}

struct Inner {
    header: Header,
    place: Place,
}

/// Where a snapshot is.
pub(super) enum Place {
    /// All chunks, each with its checksum.
    Memory(Vec<Bytes>),
    /// A file.
    File(Arc<SnapshotFile>),
}

impl Snapshot {
    pub(super) fn new(header: Header, place: Place) -> Self {
        let inner = Arc::new(Inner { header, place });
        Self { inner }
    }

    /// What it is of.
    pub(crate) fn header(&self) -> &Header {
        &self.inner.header
    }

    /// A chunk and its checksum, verified, as it is sent; `None` past the last.
    pub(crate) async fn chunk(&self, n: u64) -> io::Result<Option<Bytes>> {
        if self.header().chunk_len(n).is_none() {
            return Ok(None);
        }
        match &self.inner.place {
            Place::Memory(chunks) => {
                let chunk = usize::try_from(n).ok().and_then(|n| chunks.get(n));
                Ok(chunk.cloned())
            }
            Place::File(_) => {
                let inner = self.inner.clone();
                rt::blocking(move || inner.read(n)).await.map(Some)
            }
        }
    }

    /// All that it holds, verified.
    pub(crate) async fn content(&self) -> io::Result<Vec<u8>> {
        let inner = self.inner.clone();
        rt::blocking(move || {
            let bytes = usize::try_from(inner.header.bytes);
            let bytes = bytes.map_err(|_| io::ErrorKind::OutOfMemory)?;
            let mut content = Vec::with_capacity(bytes);
            for n in 0..inner.header.chunks {
                let chunk = inner.read(n)?;
                let payload = chunk.len().saturating_sub(CHECK_LEN);
                content.extend_from_slice(chunk.get(..payload).unwrap_or_default());
            }
            Ok(content)
        })
        .await
    }

    /// What makes the name of its file; 0 in memory.
    pub(super) fn name(&self) -> u64 {
        match &self.inner.place {
            Place::Memory(_) => 0,
            Place::File(file) => file.name(),
        }
    }

    /// Its file.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.inner.place {
            Place::Memory(_) => None,
            Place::File(file) => Some(file.path()),
        }
    }
}

impl Inner {
    fn read(&self, n: u64) -> io::Result<Bytes> {
        match &self.place {
            Place::Memory(chunks) => {
                let chunk = usize::try_from(n).ok().and_then(|n| chunks.get(n));
                chunk.cloned().ok_or(io::ErrorKind::UnexpectedEof.into())
            }
            Place::File(file) => file.read(&self.header, n),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Snapshot");
        debug.field("header", self.header());
        debug.field("path", &self.path()).finish()
    }
}

/// Cuts what is written into chunks, with their checksums, and hands each to `put`.
pub(super) struct Chunker<P> {
    put: P,
    chunk: BytesMut,
    chunks: u64,
    bytes: u64,
    checks: blake3::Hasher,
}

impl<P: FnMut(u64, Bytes) -> io::Result<()>> Chunker<P> {
    pub(super) fn new(put: P) -> Self {
        Self {
            put,
            chunk: BytesMut::new(),
            chunks: 0,
            bytes: 0,
            checks: blake3::Hasher::new(),
        }
    }

    /// Hands out the last chunk; returns how many there are, how many bytes they hold, and the digest.
    pub(super) fn finish(mut self) -> io::Result<(u64, u64, [u8; 32])> {
        if !self.chunk.is_empty() {
            self.seal()?;
        }
        Ok((self.chunks, self.bytes, *self.checks.finalize().as_bytes()))
    }

    fn seal(&mut self) -> io::Result<()> {
        self.bytes += self.chunk.len() as u64;
        if self.bytes > MAX_SNAPSHOT {
            let bytes = self.bytes;
            return Err(io::Error::other(HeaderError::TooLarge { bytes }));
        }
        let check = check(self.chunks, &self.chunk);
        self.checks.update(&check);
        self.chunk.extend_from_slice(&check);
        (self.put)(self.chunks, self.chunk.split().freeze())?;
        self.chunks += 1;
        Ok(())
    }
}

impl<P: FnMut(u64, Bytes) -> io::Result<()>> io::Write for Chunker<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK {
            self.seal()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
