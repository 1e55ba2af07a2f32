//! Which systems there are.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

/// A system that keeps a balance on three members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum System {
    /// A durable group: what all others are compared with.
    Mosaik,
    /// etcd, with its client for Rust.
    Etcd,
    /// hiqlite, which syncs before it acknowledges.
    Hiqlite,
    /// A group that keeps its log in memory.
    InMemory,
}

impl System {
    /// All, in the order in which they are measured and printed.
    pub(crate) const ALL: [Self; 4] = [Self::Mosaik, Self::Etcd, Self::Hiqlite, Self::InMemory];

    /// Its name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mosaik => "mosaik",
            Self::Etcd => "etcd",
            Self::Hiqlite => "hiqlite",
            Self::InMemory => "in-memory",
        }
    }

    /// What it differs in from the others, for whoever reads the table.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::Mosaik => {
                "a durable group, in the callers' processes; encrypts; reads are answered by the member"
            }
            Self::Etcd => {
                "puts one key and reads its version; servers beside the callers' processes, whose memory is \
                 not counted; does not encrypt"
            }
            Self::Hiqlite => {
                "updates one row of SQLite, in the callers' processes, `wal_sync` is `Immediate`; does not \
                 encrypt; reads are answered by the leader"
            }
            Self::InMemory => {
                "mosaik without a disk: nothing is synced, so compare it with none of the others"
            }
        }
    }

    /// Its version; an error that says what to do if it cannot be had.
    pub(crate) fn version(self) -> anyhow::Result<String> {
        match self {
            Self::Mosaik | Self::InMemory => locked("mosaik"),
            #[cfg(feature = "etcd")]
            Self::Etcd => super::etcd::version(),
            #[cfg(feature = "hiqlite")]
            Self::Hiqlite => locked("hiqlite"),
            #[cfg(not(all(feature = "etcd", feature = "hiqlite")))]
            other => anyhow::bail!("not built in; build with `--features {}`", other.name()),
        }
    }
}

/// The version of a package that this program was built with.
fn locked(package: &str) -> anyhow::Result<String> {
    let lock = include_str!("../../Cargo.lock");
    let entry = format!("name = \"{package}\"\nversion = \"");
    let version = lock
        .split_once(&entry)
        .and_then(|(_, rest)| rest.split_once('"'));
    let (version, _) = version.with_context(|| format!("no {package} in Cargo.lock"))?;
    Ok(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_has_a_version() -> anyhow::Result<()> {
        let version = System::Mosaik.version()?;
        assert!(
            version.starts_with(|c: char| c.is_ascii_digit()),
            "{version}"
        );
        assert!(locked("no such package").is_err());
        Ok(())
    }
}
