//! Files: those of the operating system, or in a simulation those of the machine's disk.
//!
//! All of it blocks; call it inside [`blocking`](super::blocking).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

#[cfg(any(test, feature = "sim"))]
use super::{
    disk::{Disk, Handle},
    machine::Machine,
};

/// The disk of the simulated machine that this runs on.
#[cfg(any(test, feature = "sim"))]
fn disk() -> Option<Disk> {
    Machine::current().map(|machine| machine.disk().clone())
}

/// Makes a directory, and those that it lies in.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(disk) = disk() {
        return disk.create_dir_all();
    }
    fs::create_dir_all(path)
}

/// All that a file holds.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(disk) = disk() {
        return disk.read(path);
    }
    fs::read(path)
}

/// Whether there is a file of that name.
pub(crate) fn exists(path: &Path) -> io::Result<bool> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(disk) = disk() {
        return disk.exists(path);
    }
    fs::exists(path)
}

/// Writes a file that only its owner can read, beside its place, and renames it there, so that a crash leaves
/// a whole file or none.
pub(crate) fn store(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_added_extension("new");
    let mut file = File::create_private(&partial)?;
    file.write(bytes)?;
    file.sync()?;
    rename(&partial, path)?;
    sync_dir(dir)
}

/// Gives a file another name, in place of the file that had it. Durable once the directory is synced.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(disk) = disk() {
        return disk.rename(from, to);
    }
    fs::rename(from, to)
}

/// The files in a directory, in the order of their names.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(disk) = disk() {
        return disk.list(dir);
    }
    let found = fs::read_dir(dir)?.map(|found| found.map(|found| found.path()));
    let mut found = found.collect::<io::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// Removes a file. Durable once the directory is synced.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(disk) = disk() {
        return disk.remove(path);
    }
    fs::remove_file(path)
}

/// Brings the names of a directory to the disk.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(disk) = disk() {
        return disk.sync_dir(dir);
    }
    #[cfg(unix)]
    fs::File::open(dir)?.sync_all()?;
    Ok(())
}

/// An open file.
#[derive(Debug)]
pub(crate) struct File(Kind);

#[derive(Debug)]
enum Kind {
    System(fs::File),
    #[cfg(any(test, feature = "sim"))]
    Simulated(Handle),
}

impl File {
    /// An empty file of that name that only its owner can read, in place of what had it.
    pub(crate) fn create_private(path: &Path) -> io::Result<Self> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(disk) = disk() {
            return Ok(Self(Kind::Simulated(disk.create(path)?)));
        }
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self(Kind::System(options.open(path)?)))
    }

    /// The same, but an error if there is something of that name.
    #[cfg(feature = "cli")]
    pub(crate) fn create_new_private(path: &Path) -> io::Result<Self> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(disk) = disk() {
            return match disk.exists(path)? {
                true => Err(io::ErrorKind::AlreadyExists.into()),
                false => Ok(Self(Kind::Simulated(disk.create(path)?))),
            };
        }
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self(Kind::System(options.open(path)?)))
    }

    /// The file of that name, to be read and written.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(disk) = disk() {
            return Ok(Self(Kind::Simulated(disk.open(path)?)));
        }
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true);
        Ok(Self(Kind::System(options.open(path)?)))
    }

    /// How many bytes it holds.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match &self.0 {
            Kind::System(file) => Ok(file.metadata()?.len()),
            #[cfg(any(test, feature = "sim"))]
            Kind::Simulated(file) => Ok(file.len()? as u64),
        }
    }

    /// Makes it `len` bytes long; new ones are zero.
    pub(crate) fn set_len(&self, len: u64) -> io::Result<()> {
        match &self.0 {
            Kind::System(file) => file.set_len(len),
            #[cfg(any(test, feature = "sim"))]
            Kind::Simulated(file) => file.set_len(place(len)?),
        }
    }

    /// Fills `out` with the bytes from `at` on. An error when there are not as many.
    pub(crate) fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        match &self.0 {
            Kind::System(file) => read_at(file, at, out),
            #[cfg(any(test, feature = "sim"))]
            Kind::Simulated(file) => file.read_at(place(at)?, out),
        }
    }

    /// Writes all of `bytes` from `at` on.
    pub(crate) fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        match &self.0 {
            Kind::System(file) => write_at(file, at, bytes),
            #[cfg(any(test, feature = "sim"))]
            Kind::Simulated(file) => file.write_at(place(at)?, bytes),
        }
    }

    /// Writes all of `bytes` from the start of the file.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_at(0, bytes)
    }

    /// Brings what was written to the disk, and all that the system knows of the file.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match &self.0 {
            Kind::System(file) => file.sync_all(),
            #[cfg(any(test, feature = "sim"))]
            Kind::Simulated(file) => file.sync(),
        }
    }

    /// Brings what was written to the disk, and what is needed to find it there.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        match &self.0 {
            Kind::System(file) => file.sync_data(),
            #[cfg(any(test, feature = "sim"))]
            Kind::Simulated(file) => file.sync(),
        }
    }
}

/// A place in a simulated file, all of which is in memory.
#[cfg(any(test, feature = "sim"))]
fn place(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(unix)]
fn read_at(file: &fs::File, at: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

#[cfg(unix)]
fn write_at(file: &fs::File, at: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &fs::File, mut at: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                out = &mut out[read..];
                at += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_at(file: &fs::File, mut at: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, at)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                bytes = &bytes[written..];
                at += written as u64;
            }
        }
    }
    Ok(())
}
