//! A data directory: held by one process at a time, and of one network.
//!
//! The file `lock` is locked for as long as the node lives; the operating system unlocks it when the process
//! dies. The file `network` holds a digest of the network id, which is a capability and is never written down.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{BuildError, keyfile};
use crate::{
    id::{NetworkId, SecretKey},
    rt::{self, fs},
};

/// The file whose lock says that the directory is in use.
const LOCK: &str = "lock";
/// The file that says which network the directory belongs to.
const NETWORK: &str = "network";

/// A directory that is held by this node. Clones share it; the last that is dropped releases it.
#[derive(Clone, Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    lock: Arc<Mutex<Option<File>>>,
}

impl DataDir {
    /// Makes the directory if need be, locks it, and checks that it belongs to `network`.
    pub(super) async fn open(path: &Path, network: NetworkId) -> Result<Self, BuildError> {
        let path = path.to_path_buf();
        rt::blocking(move || Self::open_blocking(path, network)).await
    }

    fn open_blocking(path: PathBuf, network: NetworkId) -> Result<Self, BuildError> {
        fs::create_dir_all(&path).map_err(|error| unusable(&path, &error))?;
        let lock = lock(&path)?;
        belong(&path, network)?;
        let lock = Arc::new(Mutex::new(lock));
        Ok(Self { path, lock })
    }

    /// The directory's secret key, made if there is none.
    pub(super) async fn key(&self) -> Result<SecretKey, BuildError> {
        let path = self.path.clone();
        rt::blocking(move || keyfile::load_or_create(&path))
            .await
            .map_err(|(path, error)| unusable(&path, &error))
    }

    /// Where groups keep their logs and snapshots.
    pub(super) fn groups(&self) -> PathBuf {
        self.path.join("groups")
    }

    /// Lets another process have the directory.
    pub(super) fn release(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(lock.take());
    }
}

/// Locks the directory against other processes; the lock ends with the file. A simulated disk belongs to one
/// machine, whose processes run one after the other.
fn lock(dir: &Path) -> Result<Option<File>, BuildError> {
    #[cfg(any(test, feature = "sim"))]
    if rt::machine::Machine::current().is_some() {
        return Ok(None);
    }
    let path = dir.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options
        .open(&path)
        .map_err(|error| unusable(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(BuildError::DataDirInUse { path: dir.into() }),
        Err(TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

/// Checks that the directory belongs to `network`. One that belongs to none becomes its.
fn belong(dir: &Path, network: NetworkId) -> Result<(), BuildError> {
    let digest = blake3::derive_key("mosaik/data-directory/1", network.as_bytes());
    let digest = data_encoding::HEXLOWER.encode(&digest);
    let path = dir.join(NETWORK);
    match fs::read(&path) {
        Ok(found) if found == digest.as_bytes() => Ok(()),
        Ok(_) => Err(BuildError::DataDirOfAnotherNetwork { path: dir.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::store(dir, &path, digest.as_bytes()).map_err(|error| unusable(&path, &error))
        }
        Err(error) => Err(unusable(&path, &error)),
    }
}

fn unusable(path: &Path, error: &io::Error) -> BuildError {
    BuildError::DataDir {
        path: path.to_path_buf(),
        kind: error.kind(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, network: &str) -> Result<DataDir, BuildError> {
        DataDir::open_blocking(path.to_path_buf(), NetworkId::from_name(network))
    }

    #[test]
    fn one_holds_a_directory_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), "n").unwrap();
        let refused = open(dir.path(), "n").unwrap_err();
        assert!(
            matches!(&refused, BuildError::DataDirInUse { path } if path == dir.path()),
            "{refused:?}"
        );
        let other = first.clone();
        first.release();
        let again = open(dir.path(), "n").unwrap();
        // The lock goes with the last handle, too; a handle that released holds nothing.
        drop((first, other));
        assert!(open(dir.path(), "n").is_err());
        drop(again);
        open(dir.path(), "n").unwrap();
    }

    #[test]
    fn a_directory_belongs_to_one_network_whose_id_is_not_written_down() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), "n").unwrap());
        let refused = open(dir.path(), "m").unwrap_err();
        assert!(
            matches!(refused, BuildError::DataDirOfAnotherNetwork { .. }),
            "{refused:?}"
        );
        drop(open(dir.path(), "n").unwrap());
        let id = NetworkId::from_name("n");
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(&id.to_string()) && !bytes.ends_with(id.as_bytes()));
        }
    }
}
