//! The secret key in a data directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    id::SecretKey,
    rt::{self, fs},
};

/// The file's name inside the data directory.
const FILE: &str = "secret.key";

/// Reads the key of `dir`, or makes one and stores it so that it survives a crash.
pub(super) fn load_or_create(dir: &Path) -> Result<SecretKey, (PathBuf, io::Error)> {
    let path = dir.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => {
            let bytes = <[u8; 32]>::try_from(bytes).map_err(|bytes| {
                let len = bytes.len();
                let text =
                    format!("a secret key has 32 bytes, this file {len}; restore or remove it");
                (path, io::Error::new(io::ErrorKind::InvalidData, text))
            })?;
            Ok(SecretKey::from_bytes(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SecretKey::from_bytes(rt::random_bytes());
            fs::store(dir, &path, &key.to_bytes()).map_err(|error| (path, error))?;
            Ok(key)
        }
        Err(error) => Err((path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_key_of_a_directory_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap();
        let again = load_or_create(dir.path()).unwrap();
        assert_eq!(again.peer(), first.peer());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_the_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path()).unwrap();
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"short").unwrap();
        let (path, error) = load_or_create(dir.path()).unwrap_err();
        assert!(path.ends_with(FILE));
        assert!(error.to_string().contains("32 bytes"), "{error}");
    }
}
