//! Options of a node, and how it is put together from them.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::info_span;

use super::{Bootstrap, Network, datadir::DataDir, handle::Parts};
#[cfg(any(test, feature = "sim"))]
use crate::transport::memory::Fabric;
use crate::{
    declare::{self, ConflictError},
    discovery::{self, Discovery, EntryError},
    groups::{self, Groups},
    id::{NetworkId, ParseAddrError, PeerAddr, SecretKey},
    rt::{self, Tasks},
    streams::Streams,
    tickets::AccessTicket,
    transport::{Alpn, BindError, CarrierConfig, Config, Endpoint, Identity, Pool},
};

/// Options of a node: from [`Network::builder`].
#[derive(Clone, Debug)]
#[must_use = "call `build` to start the node"]
pub struct Builder {
    network: NetworkId,
    key: Option<SecretKey>,
    data_dir: Option<PathBuf>,
    bootstrap: Vec<Bootstrap>,
    tags: Vec<String>,
    access_tickets: Vec<AccessTicket>,
    shared_secret: Option<String>,
    offline: bool,
    bind: Vec<SocketAddr>,
    local_rendezvous: bool,
    rendezvous_dir: Option<PathBuf>,
    founders: usize,
}

impl Builder {
    pub(super) fn new(network: NetworkId) -> Self {
        Self {
            network,
            key: None,
            data_dir: None,
            bootstrap: Vec::new(),
            tags: Vec::new(),
            access_tickets: Vec::new(),
            shared_secret: None,
            offline: false,
            bind: Vec::new(),
            local_rendezvous: true,
            rendezvous_dir: None,
            founders: 1,
        }
    }

    /// The key that makes this peer who it is. Default: that of the data directory, else a fresh one.
    pub fn secret_key(mut self, key: SecretKey) -> Self {
        self.key = Some(key);
        self
    }

    /// A directory that keeps this peer's secret key and the logs of its groups across restarts, for one process at
    /// a time and for this network only. Default: none, everything is volatile.
    pub fn data_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.data_dir = Some(dir.as_ref().to_path_buf());
        self
    }

    /// Peers to start from: ids, addresses, tickets (`mosaik1…`), `id@ip:port`. Calls add up.
    pub fn bootstrap<B: Into<Bootstrap>>(mut self, peers: impl IntoIterator<Item = B>) -> Self {
        self.bootstrap.extend(peers.into_iter().map(Into::into));
        self
    }

    /// Tags that say what this peer is for. Calls add up.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// A ticket that this peer carries from the start, for topics and groups that ask for it. Calls add up. More are
    /// added later with [`Discovery::add_ticket`](crate::Discovery::add_ticket). See [`tickets`](crate::tickets).
    pub fn access_ticket(mut self, ticket: AccessTicket) -> Self {
        self.access_tickets.push(ticket);
        self
    }

    /// A secret that peers must prove to know before they may connect at all. Default: none; then the
    /// network id is all that it takes. An empty one fails [`build`](Self::build): a variable that is not set
    /// must not open the network.
    pub fn shared_secret(mut self, secret: impl Into<String>) -> Self {
        self.shared_secret = Some(secret.into());
        self
    }

    /// Uses nothing outside the local networks: no relays, no look-up of addresses by DNS. Default: both
    /// are used when they can be reached, and never waited for.
    pub fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    /// Socket addresses to bind; port 0 for any free one. Calls add up. Default: any port on all
    /// interfaces.
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.bind.push(addr);
        self
    }

    /// Whether processes of one user on one machine find each other through a directory, without any
    /// network traffic. Default: yes.
    pub fn local_rendezvous(mut self, on: bool) -> Self {
        self.local_rendezvous = on;
        self
    }

    /// The directory in which processes of this machine find each other. Default:
    /// `$XDG_RUNTIME_DIR/mosaik`, else `mosaik-<user>` among the temporary files.
    pub fn rendezvous_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.rendezvous_dir = Some(dir.as_ref().to_path_buf());
        self
    }

    /// How many members found a group together that does not say so itself. Default: 1, *development mode*, in
    /// which one node is a group at once. Say 3 in production: nothing that is acknowledged is lost then, whatever
    /// single machine fails.
    pub fn founders(mut self, founders: usize) -> Self {
        self.founders = founders;
        self
    }

    /// Starts the node. Waits for nothing outside this machine.
    ///
    /// # Errors
    /// When an option is bad, two declarations of this binary contradict each other, or a socket or file
    /// is not to be had; the error says which and what to do.
    pub async fn build(self) -> Result<Network, BuildError> {
        declare::check_declarations()?;
        let bootstrap = self
            .bootstrap
            .iter()
            .map(|bootstrap| bootstrap.0.clone())
            .collect::<Result<Vec<_>, _>>()?;
        if self.shared_secret.as_deref() == Some("") {
            return Err(BuildError::EmptySecret);
        }
        let data_dir = match &self.data_dir {
            Some(dir) => Some(DataDir::open(dir, self.network).await?),
            None => None,
        };
        let key = self.key(data_dir.as_ref()).await?;
        let identity = Identity::new(key, self.network, self.shared_secret.as_deref());
        let peer = identity.peer();
        let span = info_span!("mosaik", network = %self.network.short(), peer = %peer.short());
        let entered = span.clone();
        let carrier = self.carrier();
        // Hosts of a simulated world share no directory.
        let simulated = !matches!(carrier, CarrierConfig::Iroh { .. });
        let endpoint = Endpoint::bind(Config {
            identity: Arc::new(identity),
            carrier,
        });
        let endpoint = tracing::Instrument::instrument(endpoint, entered).await?;
        self.start(endpoint, bootstrap, data_dir, simulated, Tasks::new(span))
    }

    /// Starts everything on an endpoint.
    fn start(
        self,
        endpoint: Endpoint,
        bootstrap: Vec<PeerAddr>,
        data_dir: Option<DataDir>,
        simulated: bool,
        tasks: Tasks,
    ) -> Result<Network, BuildError> {
        let pool = |alpn| Pool::new(endpoint.clone(), alpn, tasks.clone());
        let (discovery_pool, discovery_connections) = pool(Alpn::Discovery);
        let (streams_pool, streams_connections) = pool(Alpn::Streams);
        let (groups_pool, groups_connections) = pool(Alpn::Groups);
        let rendezvous = self.local_rendezvous && !simulated;
        let groups_config = groups::Config {
            founders: self.founders,
            dir: data_dir.as_ref().map(DataDir::groups),
            bootstrap: bootstrap.iter().map(|addr| addr.peer).collect(),
            rendezvous,
        };
        let config = discovery::Config {
            bootstrap,
            tags: self.tags,
            tickets: self.access_tickets,
            local_rendezvous: rendezvous,
            rendezvous_dir: self.rendezvous_dir,
        };
        let discovery = Discovery::start(
            config,
            endpoint.clone(),
            (discovery_pool.clone(), discovery_connections),
            tasks.clone(),
        )?;
        let streams = Streams::start(
            streams_pool.clone(),
            streams_connections,
            discovery.clone(),
            tasks.clone(),
        );
        let groups = Groups::start(
            groups_config,
            groups_pool.clone(),
            groups_connections,
            discovery.clone(),
            tasks.clone(),
        );
        Ok(Network::start(Parts {
            id: self.network,
            endpoint,
            pools: [discovery_pool, streams_pool, groups_pool],
            discovery,
            streams,
            groups,
            tasks,
            data_dir,
        }))
    }

    async fn key(&self, data_dir: Option<&DataDir>) -> Result<SecretKey, BuildError> {
        match (&self.key, data_dir) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(dir)) => dir.key().await,
            (None, None) => Ok(SecretKey::from_bytes(rt::random_bytes())),
        }
    }

    fn carrier(&self) -> CarrierConfig {
        #[cfg(any(test, feature = "sim"))]
        if let Some(fabric) = Fabric::ambient() {
            let port = self.bind.first().map_or(0, SocketAddr::port);
            return CarrierConfig::Memory { fabric, port };
        }
        CarrierConfig::Iroh {
            bind: self.bind.clone(),
            outside: !self.offline,
        }
    }
}

/// Why a node could not be started.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Two declarations contradict each other; the text names both places.
    #[error(transparent)]
    Declarations(#[from] ConflictError),
    /// A bootstrap peer is not given in any form that is understood.
    #[error("bad bootstrap peer: {0}")]
    Bootstrap(#[from] ParseAddrError),
    /// The shared secret is empty, which is none. Give one, or do not call `shared_secret`.
    #[error("the shared secret is empty; give one, or leave `shared_secret` out")]
    EmptySecret,
    /// The data directory cannot be used; check its owner, mode and free space.
    #[error("cannot use {path}: {reason}")]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// What kind of failure it was.
        kind: io::ErrorKind,
        /// What the operating system said.
        reason: String,
    },
    /// Another node, of this process or another, uses the data directory. Stop it, or give each a directory
    /// of its own.
    #[error("{path} is in use by another node; stop it, or give each a data directory of its own")]
    DataDirInUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory was made by a node of another network. Give that network's id, or another directory.
    #[error("{path} belongs to another network; give that network's id, or another data directory")]
    DataDirOfAnotherNetwork {
        /// The directory.
        path: PathBuf,
    },
    /// No socket could be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What this peer is to say of itself breaks a limit, such as too many tags.
    #[error(transparent)]
    Entry(#[from] EntryError),
}
