//! Files: those of the operating system, or in a simulation those of the machine's disk.
//!
//! All of it blocks; call it inside [`blocking`](super::blocking).

use std::{fs, io, path::Path};

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

/// Gives a file another name, in place of the file that had it. Durable once the directory is synced.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "sim"))]
    if let Some(disk) = disk() {
        return disk.rename(from, to);
    }
    fs::rename(from, to)
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

/// A file that is being written.
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
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self(Kind::System(options.open(path)?)))
    }

    /// Writes all of `bytes` from the start of the file.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Kind::System(file) => {
                io::Seek::rewind(file)?;
                io::Write::write_all(file, bytes)
            }
            #[cfg(any(test, feature = "sim"))]
            Kind::Simulated(file) => file.write_at(0, bytes),
        }
    }

    /// Brings what was written to the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::System(file) => file.sync_all(),
            #[cfg(any(test, feature = "sim"))]
            Kind::Simulated(file) => file.sync(),
        }
    }
}
