//! The endpoint: binds, dials, accepts, and hands out proved connections.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

#[cfg(any(test, feature = "sim"))]
use super::memory;
use super::{
    ADMISSION_TIMEOUT, CloseCode, Closed, Connection, DIAL_TIMEOUT, Identity, LinkError,
    admission::{self, Gate},
    connection::{Carrier, Facts},
    iroh,
};
use crate::{
    id::{PeerAddr, PeerId},
    rt::{self, watch},
};

/// A protocol family, one connection a peer pair each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Alpn {
    /// Gossip, catalog sync, probes.
    Discovery,
    /// Stream subscriptions.
    Streams,
    /// Consensus groups, all of them on one connection.
    Groups,
}

impl Alpn {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Discovery, Self::Streams, Self::Groups];

    /// Its name on the wire.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "mosaik/discovery/1",
            Self::Streams => "mosaik/streams/1",
            Self::Groups => "mosaik/groups/1",
        }
    }

    /// The protocol of that name.
    pub(crate) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|alpn| alpn.name().as_bytes() == name)
    }
}

/// How an endpoint is bound.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Who this peer is and which network it means.
    pub(crate) identity: Arc<Identity>,
    /// What carries the bytes.
    pub(crate) carrier: CarrierConfig,
}

/// What carries an endpoint's bytes.
#[derive(Clone, Debug)]
pub(crate) enum CarrierConfig {
    /// QUIC over UDP.
    Iroh {
        /// Socket addresses to bind; the carrier's choice when empty.
        bind: Vec<SocketAddr>,
        /// Whether to use public relays and look-up of addresses by DNS.
        outside: bool,
    },
    /// The in-memory network.
    #[cfg(any(test, feature = "sim"))]
    Memory {
        /// The network.
        fabric: memory::Fabric,
        /// The port to bind; 0 for any.
        port: u16,
    },
}

#[cfg(test)]
impl CarrierConfig {
    /// Any port of a host of its own in `fabric`.
    pub(crate) fn memory(fabric: memory::Fabric) -> Self {
        Self::Memory { fabric, port: 0 }
    }
}

/// One peer's endpoint. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    kind: Kind,
    identity: Arc<Identity>,
}

#[derive(Clone, Debug)]
enum Kind {
    Iroh(iroh::Endpoint),
    #[cfg(any(test, feature = "sim"))]
    Memory(memory::Endpoint),
}

impl Endpoint {
    /// Binds. Waits for nothing outside this machine.
    pub(crate) async fn bind(config: Config) -> Result<Self, BindError> {
        let kind = match config.carrier {
            CarrierConfig::Iroh { bind, outside } => {
                // Boxed, because the future is large and would make every future that builds a network so.
                let bound = Box::pin(iroh::Endpoint::bind(&config.identity, &bind, outside));
                Kind::Iroh(bound.await?)
            }
            #[cfg(any(test, feature = "sim"))]
            CarrierConfig::Memory { fabric, port } => {
                let peer = config.identity.peer();
                Kind::Memory(memory::Endpoint::bind(fabric, peer, port)?)
            }
        };
        Ok(Self {
            kind,
            identity: config.identity,
        })
    }

    /// This peer.
    pub(crate) fn peer(&self) -> PeerId {
        self.identity.peer()
    }

    /// Who this peer is and which network it means.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Where this peer can be reached, as it learns it.
    pub(crate) fn addr(&self) -> watch::Receiver<PeerAddr> {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.addr(),
            #[cfg(any(test, feature = "sim"))]
            Kind::Memory(endpoint) => endpoint.addr(),
        }
    }

    /// Dials, and returns once both ends have proved themselves. Those that share a `turn` prove themselves one
    /// after the other.
    pub(super) async fn connect(
        &self,
        addr: &PeerAddr,
        alpn: Alpn,
        turn: &tokio::sync::Mutex<()>,
    ) -> Result<Connection, ConnectError> {
        if addr.peer == self.peer() {
            return Err(ConnectError::Myself);
        }
        let dial = async {
            let connection = self.dial(addr, alpn).await?;
            let _turn = turn.lock().await;
            admission::prove_as_dialer(connection, &self.identity).await
        };
        rt::timeout(DIAL_TIMEOUT, dial)
            .await
            .unwrap_or(Err(ConnectError::TimedOut))
    }

    /// Dials without proving anything.
    pub(super) async fn dial(
        &self,
        addr: &PeerAddr,
        alpn: Alpn,
    ) -> Result<Connection, ConnectError> {
        let carrier = match &self.kind {
            Kind::Iroh(endpoint) => Carrier::Iroh(endpoint.connect(addr, alpn).await?),
            #[cfg(any(test, feature = "sim"))]
            Kind::Memory(endpoint) => Carrier::Memory(endpoint.connect(addr, alpn).await?),
        };
        Ok(unproved(carrier, addr.peer, alpn, true))
    }

    /// The next connection that somebody opens to us; `None` once the endpoint is closed.
    pub(crate) async fn accept(&self) -> Option<Incoming> {
        let kind = match &self.kind {
            Kind::Iroh(endpoint) => IncomingKind::Iroh(Box::new(endpoint.accept().await?)),
            #[cfg(any(test, feature = "sim"))]
            Kind::Memory(endpoint) => IncomingKind::Memory(endpoint.accept().await?),
        };
        Some(Incoming {
            kind,
            identity: self.identity.clone(),
        })
    }

    /// Closes all connections, telling the peers, and frees the sockets. Waits at most for `limit` until the
    /// peers have heard of it; the sockets are freed in the background then.
    pub(crate) async fn close(&self, limit: Duration) {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.close(limit).await,
            #[cfg(any(test, feature = "sim"))]
            Kind::Memory(endpoint) => endpoint.close(),
        }
    }
}

/// A connection that somebody opens to us, before it has proved anything.
pub(crate) struct Incoming {
    kind: IncomingKind,
    identity: Arc<Identity>,
}

enum IncomingKind {
    Iroh(Box<::iroh::endpoint::Incoming>),
    #[cfg(any(test, feature = "sim"))]
    Memory(memory::Connection),
}

impl Incoming {
    /// Completes the handshake: both ends prove themselves, and `gate` has the last word.
    pub(super) async fn admit(self, gate: &impl Gate) -> Result<Connection, NotAdmitted> {
        let deadline = rt::now() + ADMISSION_TIMEOUT;
        let handshake = async {
            Ok(match self.kind {
                IncomingKind::Iroh(incoming) => {
                    let (connection, peer, alpn) = iroh::handshake(*incoming).await?;
                    unproved(Carrier::Iroh(connection), peer, alpn, false)
                }
                #[cfg(any(test, feature = "sim"))]
                IncomingKind::Memory(connection) => {
                    let (peer, alpn) = (connection.peer(), connection.alpn());
                    unproved(Carrier::Memory(connection), peer, alpn, false)
                }
            })
        };
        let connection = rt::timeout_at(deadline, handshake)
            .await
            .unwrap_or(Err(ConnectError::TimedOut))
            .map_err(|error| NotAdmitted { peer: None, error })?;
        let proof = admission::prove_as_acceptor(connection.clone(), &self.identity, gate);
        let proved = rt::timeout_at(deadline, proof)
            .await
            .unwrap_or_else(|_| Err(admission::too_late(&connection)));
        proved.map_err(|error| NotAdmitted {
            peer: Some(connection.peer()),
            error,
        })
    }
}

/// A connection that somebody opened to us, and that was not admitted.
#[derive(Clone, Debug)]
pub(crate) struct NotAdmitted {
    /// Who it was, as far as the carrier proved it.
    pub(crate) peer: Option<PeerId>,
    /// Why.
    pub(crate) error: ConnectError,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

fn unproved(carrier: Carrier, peer: PeerId, alpn: Alpn, dialed: bool) -> Connection {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    Connection {
        carrier,
        facts: Arc::new(Facts {
            peer,
            boot: 0,
            alpn,
            dialed,
            stable_id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        }),
    }
}

/// Why an endpoint could not be bound.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Choose another address or port, or port 0 for any free one.
    #[error("cannot bind {addr}: {reason}; choose a free port, or port 0 for any")]
    Address {
        /// What was to be bound.
        addr: String,
        /// What the operating system said.
        reason: String,
    },
}

/// Why a peer could not be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// That is this peer itself.
    #[error("cannot connect to myself")]
    Myself,
    /// Give its address along with its id, or a peer that knows it.
    #[error("no address of the peer is known; give `id@ip:port` or its ticket")]
    NoAddress,
    /// Check that it runs and that its address is reachable from here.
    #[error("the peer did not answer in time; check that it runs and is reachable")]
    TimedOut,
    /// The peer, or this one, refused; the reason says why.
    #[error("refused: {code}: {reason}")]
    Refused {
        /// The numbered reason.
        code: CloseCode,
        /// The reason in words.
        reason: String,
    },
    /// The carrier failed; the text says how.
    #[error("cannot connect: {0}")]
    Transport(String),
    /// The network is shutting down.
    #[error("this network is shut down")]
    Closed,
}

impl From<Closed> for ConnectError {
    fn from(closed: Closed) -> Self {
        match closed.code {
            CloseCode::TimedOut => Self::TimedOut,
            code => Self::Refused {
                code,
                reason: closed.reason,
            },
        }
    }
}

impl From<LinkError> for ConnectError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Connection(closed) => closed.into(),
            other => Self::Transport(other.to_string()),
        }
    }
}
