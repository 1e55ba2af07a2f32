//! How discovery is started.

use std::path::PathBuf;

use super::proto::entry::AccessTicket;
use crate::id::PeerAddr;

/// Options of discovery.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Peers to dial at the start, and again whenever they are not known; default none.
    pub(crate) bootstrap: Vec<PeerAddr>,
    /// Tags to carry from the start; default none.
    pub(crate) tags: Vec<String>,
    /// Access tickets to carry from the start; default none.
    pub(crate) tickets: Vec<AccessTicket>,
    /// Whether processes of this user on this host find each other through a directory; default true.
    pub(crate) local_rendezvous: bool,
    /// The directory for that; default `$XDG_RUNTIME_DIR/mosaik`, else `mosaik-<user>` among the
    /// temporary files.
    pub(crate) rendezvous_dir: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bootstrap: Vec::new(),
            tags: Vec::new(),
            tickets: Vec::new(),
            local_rendezvous: true,
            rendezvous_dir: None,
        }
    }
}
