//! Files of snapshots.
//!
//! A file holds the chunks, each with its checksum, then the header, its length as a little-endian `u32`, and
//! eight bytes that say what it is. It is written under the name that it will have with `.new` behind it,
//! synced and renamed. Which file counts is said in the log, with the digest of its header, so every bit is
//! covered: those of the chunks by the checksums, those by the header, the header by the log.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::snapshot::{CHECK_LEN, CHUNK, Header, MAX_MEMBERSHIP};
use crate::{
    groups::proto::log_id::LogId,
    id::GroupId,
    rt::{
        self,
        fs::{self, File},
    },
    wire,
};

/// What ends a file.
const MAGIC: [u8; 8] = *b"mosaik-1";
/// Length of what stands behind the header.
const TAIL: usize = 4 + MAGIC.len();
/// Bytes of an encoded header: its membership, and what else there is.
const MAX_HEADER: usize = MAX_MEMBERSHIP + 1024;
/// The format of [`Pointer`].
const POINTER_FORMAT: u8 = 1;

/// Says in the log which snapshot counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pointer {
    version: u8,
    /// The last entry that is in it.
    last: LogId,
    /// What makes the name of its file.
    name: u64,
    /// Of its encoded header.
    digest: [u8; 32],
}

impl Pointer {
    /// Points to the snapshot with this header, in the file of that name.
    pub(super) fn new(header: &Header, name: u64) -> io::Result<Self> {
        let header_bytes = wire::encode(header).map_err(io::Error::other)?;
        Ok(Self {
            version: POINTER_FORMAT,
            last: header.last,
            name,
            digest: *blake3::hash(&header_bytes).as_bytes(),
        })
    }

    /// As it stands in the log.
    pub(super) fn encode(&self) -> io::Result<Bytes> {
        let encoded = wire::encode(self).map_err(io::Error::other)?;
        Ok(encoded.into())
    }

    /// What stands in the log.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let pointer: Self = wire::decode(bytes).map_err(|error| error.to_string())?;
        if pointer.version == POINTER_FORMAT {
            Ok(pointer)
        } else {
            let found = pointer.version;
            Err(format!(
                "it has format {found}, this version knows {POINTER_FORMAT}"
            ))
        }
    }

    /// The file.
    pub(super) fn path(&self, dir: &Path, group: GroupId) -> PathBuf {
        path(dir, group, self.name)
    }
}

/// The file of that name.
fn path(dir: &Path, group: GroupId, name: u64) -> PathBuf {
    dir.join(format!("{}{name:016x}.snapshot", prefix(group)))
}

/// What the names of all snapshots of a group begin with.
fn prefix(group: GroupId) -> String {
    format!("{group}.")
}

/// Removes the files of a group's snapshots, but for that at `kept`.
pub(super) fn remove_others(dir: &Path, group: GroupId, kept: Option<&Path>) -> io::Result<()> {
    let prefix = prefix(group);
    let mut removed = false;
    for path in fs::list(dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let ours = name.is_some_and(|name| {
            let rest = name.strip_prefix(&prefix);
            rest.is_some_and(|rest| rest.ends_with(".snapshot") || rest.ends_with(".snapshot.new"))
        });
        if ours && kept != Some(&path) {
            fs::remove(&path)?;
            removed = true;
        }
    }
    if removed {
        fs::sync_dir(dir)?;
    }
    Ok(())
}

/// Files that nobody needs any more, to be removed where that may block.
#[derive(Debug, Default)]
pub(super) struct Litter {
    paths: Mutex<Vec<PathBuf>>,
}

impl Litter {
    /// Removes what there is. What cannot be removed goes when the snapshots are opened anew.
    pub(super) fn sweep(&self) {
        for path in std::mem::take(&mut *rt::lock(&self.paths)) {
            if let Err(error) = fs::remove(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, path = %path.display(), "cannot remove an old snapshot");
            }
        }
    }

    /// Whether there is nothing to remove.
    pub(super) fn is_empty(&self) -> bool {
        rt::lock(&self.paths).is_empty()
    }

    fn add(litter: &Weak<Self>, path: &Path) {
        // Without a store, it goes when the snapshots are opened anew.
        if let Some(litter) = litter.upgrade() {
            rt::lock(&litter.paths).push(path.to_path_buf());
        }
    }
}

/// The file of a snapshot; it is litter when it is dropped before its store.
#[derive(Debug)]
pub(super) struct SnapshotFile {
    path: PathBuf,
    name: u64,
    file: Arc<File>,
    litter: Weak<Litter>,
}

impl SnapshotFile {
    /// Opens the file that `pointer` points to, and verifies all of it.
    pub(super) fn open(
        path: PathBuf,
        pointer: &Pointer,
        litter: &Arc<Litter>,
    ) -> io::Result<(Header, Self)> {
        let file = File::open(&path)?;
        let header = read_header(&file, pointer)?;
        let mut checks = blake3::Hasher::new();
        for n in 0..header.chunks {
            let (_, check) = header.verify_chunk(n, read_chunk(&file, &header, n)?)?;
            checks.update(&check);
        }
        if *checks.finalize().as_bytes() != header.digest {
            return Err(damaged("its chunks are not those of its header"));
        }
        let opened = Self {
            path,
            name: pointer.name,
            file: Arc::new(file),
            litter: Arc::downgrade(litter),
        };
        Ok((header, opened))
    }

    /// Reads a chunk and its checksum, and verifies it.
    pub(super) fn read(&self, header: &Header, n: u64) -> io::Result<Bytes> {
        let chunk = read_chunk(&self.file, header, n)?;
        header.verify_chunk(n, chunk.clone()).map_err(|error| {
            let text = format!("{}: {error}", self.path.display());
            io::Error::new(error.kind(), text)
        })?;
        Ok(chunk)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> u64 {
        self.name
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        Litter::add(&self.litter, &self.path);
    }
}

/// A file that is being written; it is litter when it is dropped before it is finished.
#[derive(Debug)]
pub(super) struct Draft {
    dir: PathBuf,
    path: PathBuf,
    name: u64,
    partial: PathBuf,
    file: Arc<File>,
    finished: AtomicBool,
    litter: Weak<Litter>,
}

impl Draft {
    /// Begins a file.
    pub(super) fn create(dir: &Path, group: GroupId, litter: &Arc<Litter>) -> io::Result<Self> {
        let name = rt::random_u64();
        let path = path(dir, group, name);
        let partial = path.with_added_extension("new");
        Ok(Self {
            dir: dir.into(),
            file: Arc::new(File::create_private(&partial)?),
            path,
            name,
            partial,
            finished: AtomicBool::new(false),
            litter: Arc::downgrade(litter),
        })
    }

    /// Writes a chunk and its checksum.
    pub(super) fn write(&self, n: u64, chunk: &[u8]) -> io::Result<()> {
        self.file.write_at(place(n), chunk)
    }

    /// Gives it its name, on the disk.
    pub(super) fn finish(&self, header: &Header) -> io::Result<SnapshotFile> {
        let mut tail = wire::encode(header).map_err(io::Error::other)?;
        let len = u32::try_from(tail.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        tail.extend_from_slice(&len.to_le_bytes());
        tail.extend_from_slice(&MAGIC);
        self.file.write_at(end(header), &tail)?;
        self.file.sync_data()?;
        fs::rename(&self.partial, &self.path)?;
        self.finished.store(true, Ordering::Relaxed);
        let file = SnapshotFile {
            path: self.path.clone(),
            name: self.name,
            file: self.file.clone(),
            litter: self.litter.clone(),
        };
        fs::sync_dir(&self.dir)?;
        Ok(file)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished.load(Ordering::Relaxed) {
            Litter::add(&self.litter, &self.partial);
        }
    }
}

/// Where a chunk is.
fn place(n: u64) -> u64 {
    n.saturating_mul((CHUNK + CHECK_LEN) as u64)
}

/// Where the chunks end.
fn end(header: &Header) -> u64 {
    header.bytes + header.chunks * CHECK_LEN as u64
}

fn read_chunk(file: &File, header: &Header, n: u64) -> io::Result<Bytes> {
    let len = header.chunk_len(n).ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut chunk = vec![0; len + CHECK_LEN];
    file.read_at(place(n), &mut chunk)?;
    Ok(chunk.into())
}

fn read_header(file: &File, pointer: &Pointer) -> io::Result<Header> {
    let len = file.len()?;
    let short = || damaged("it is too short");
    let at = len.checked_sub(TAIL as u64).ok_or_else(short)?;
    let mut tail = [0; TAIL];
    file.read_at(at, &mut tail)?;
    let (header_len, magic) = tail.split_at(TAIL - MAGIC.len());
    let header_len = header_len.first_chunk().copied().map(u32::from_le_bytes);
    let header_len = header_len.map_or(0, |len| len as usize);
    if magic != MAGIC || header_len > MAX_HEADER {
        return Err(damaged("it does not end like one"));
    }
    let at = at.checked_sub(header_len as u64).ok_or_else(short)?;
    let mut header = vec![0; header_len];
    file.read_at(at, &mut header)?;
    if *blake3::hash(&header).as_bytes() != pointer.digest {
        return Err(damaged("it is not the one that the log says"));
    }
    let header: Header = wire::decode(&header).map_err(|_| damaged("its header is none"))?;
    header.verify(header.group, header.epoch).map_err(damaged)?;
    if at != end(&header) {
        return Err(damaged("it is not as long as its header says"));
    }
    Ok(header)
}

fn damaged(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
