//! The iroh carrier: QUIC by public key, over UDP, with hole punching and relays where allowed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::iroh::{
    EndpointAddr, PublicKey, RelayMode, TransportAddr, Watcher as _,
    endpoint::{
        self, ConnectionError, IdleTimeout, QuicTransportConfig, ReadError, RecvStream, SendStream,
        VarInt, WriteError, presets,
    },
};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::{
    Alpn, BindError, CONNECTION_IDLE, CONNECTION_WINDOW, CloseCode, Closed, ConnectError, Identity,
    KEEP_ALIVE, LinkError, MAX_STREAMS, PATH_IDLE, STREAM_WINDOW,
};
use crate::{
    id::{PeerAddr, PeerId},
    rt::{self, Tasks, watch},
};

/// Label of the keying material that admission proves.
const KEYING_LABEL: &[u8] = b"EXPORTER-mosaik-admission-1";
/// An iroh endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    shared: Arc<Shared>,
    addr: watch::Receiver<PeerAddr>,
}

#[derive(Debug)]
struct Shared {
    /// Empty once closed: sockets close with the last clone, and handles that outlive the network hold
    /// this.
    inner: Mutex<Option<endpoint::Endpoint>>,
    /// Follows the endpoint's addresses.
    tasks: Tasks,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Endpoint {
    pub(super) async fn bind(
        identity: &Identity,
        bind: &[SocketAddr],
        outside: bool,
    ) -> Result<Self, BindError> {
        let mut builder = if outside {
            endpoint::Endpoint::builder(presets::N0)
        } else {
            endpoint::Endpoint::builder(presets::Minimal)
                .relay_mode(RelayMode::Disabled)
                .clear_address_lookup()
        };
        if !bind.is_empty() {
            builder = builder.clear_ip_transports();
        }
        for addr in bind {
            builder = builder
                .bind_addr(*addr)
                .map_err(|error| BindError::Address {
                    addr: addr.to_string(),
                    reason: error.to_string(),
                })?;
        }
        let inner = builder
            .secret_key(::iroh::SecretKey::from_bytes(&identity.key().to_bytes()))
            .alpns(Alpn::ALL.map(|alpn| alpn.name().into()).to_vec())
            .transport_config(transport_config())
            .bind()
            .await
            .map_err(|error| BindError::Address {
                addr: describe(bind),
                reason: chain(&error),
            })?;
        let mut changes = inner.watch_addr();
        let (sender, addr) = watch::channel(peer_addr(&changes.get()));
        let tasks = Tasks::new(tracing::Span::current());
        tasks.spawn(async move {
            while let Ok(changed) = changes.updated().await {
                sender.send_replace(peer_addr(&changed));
            }
        });
        let inner = Mutex::new(Some(inner));
        let shared = Arc::new(Shared { inner, tasks });
        Ok(Self { shared, addr })
    }

    fn inner(&self) -> MutexGuard<'_, Option<endpoint::Endpoint>> {
        let inner = self.shared.inner.lock();
        inner.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn addr(&self) -> watch::Receiver<PeerAddr> {
        self.addr.clone()
    }

    pub(super) async fn connect(
        &self,
        addr: &PeerAddr,
        alpn: Alpn,
    ) -> Result<Connection, ConnectError> {
        let addr = endpoint_addr(addr)?;
        let inner = self.inner().clone().ok_or(ConnectError::Closed)?;
        match inner.connect(addr, alpn.name().as_bytes()).await {
            Ok(connection) => Ok(Connection(connection)),
            Err(endpoint::ConnectError::Connection { source, .. }) => Err(closed(source).into()),
            Err(endpoint::ConnectError::Connecting {
                source: endpoint::ConnectingError::ConnectionError { source, .. },
                ..
            }) => Err(closed(source).into()),
            Err(_) if inner.is_closed() => Err(ConnectError::Closed),
            Err(error) => Err(ConnectError::Transport(shown(&error))),
        }
    }

    pub(super) async fn accept(&self) -> Option<endpoint::Incoming> {
        let inner = self.inner().clone()?;
        inner.accept().await
    }

    /// Waits at most for `limit` until the peers have heard of it; the sockets are freed then. Otherwise that is
    /// so three times the round-trip time of the slowest peer later, some 3 s if there is no answer at all.
    pub(super) async fn close(&self, limit: Duration) {
        self.shared.tasks.cancel();
        self.shared.tasks.wait().await;
        let Some(inner) = self.inner().take() else {
            return;
        };
        // In a task of its own, because a close that is given up in the middle can never be completed.
        let closing = self
            .shared
            .tasks
            .spawn_last(async move { inner.close().await });
        match rt::timeout(limit, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "closing the endpoint failed"),
            Err(_) => tracing::debug!("a peer did not confirm the close in time"),
        }
    }
}

/// Completes the cryptographic handshake of an accepted connection.
pub(super) async fn handshake(
    incoming: endpoint::Incoming,
) -> Result<(Connection, PeerId, Alpn), ConnectError> {
    let connection = incoming
        .await
        .map_err(|error| ConnectError::Transport(shown(&error)))?;
    let peer = PeerId::from_bytes(*connection.remote_id().as_bytes());
    let Some(alpn) = Alpn::from_name(connection.alpn()) else {
        let code = CloseCode::UnknownProtocol;
        let reason = "this peer does not serve that protocol";
        connection.close(VarInt::from_u32(code.code()), reason.as_bytes());
        return Err(ConnectError::Refused {
            code,
            reason: reason.into(),
        });
    };
    Ok((Connection(connection), peer, alpn))
}

/// An iroh connection.
#[derive(Clone, Debug)]
pub(super) struct Connection(endpoint::Connection);

impl Connection {
    pub(super) fn rtt(&self) -> Option<Duration> {
        let paths = self.0.paths();
        paths
            .iter()
            .find(|path| path.is_selected())
            .or_else(|| paths.iter().next())
            .map(|path| path.rtt())
    }

    pub(super) fn keying_material(&self) -> Result<[u8; 32], ConnectError> {
        let mut material = [0; 32];
        self.0
            .export_keying_material(&mut material, KEYING_LABEL, b"")
            .map_err(|_| ConnectError::Transport("no keying material for admission".into()))?;
        Ok(material)
    }

    pub(super) async fn open_bi(&self) -> Result<(super::SendHalf, super::RecvHalf), LinkError> {
        let (send, recv) = self.0.open_bi().await.map_err(lost)?;
        Ok(halves(send, recv))
    }

    pub(super) async fn accept_bi(&self) -> Result<(super::SendHalf, super::RecvHalf), LinkError> {
        let (send, recv) = self.0.accept_bi().await.map_err(lost)?;
        Ok(halves(send, recv))
    }

    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        self.0
            .close(VarInt::from_u32(code.code()), reason.as_bytes());
    }

    pub(super) async fn closed(&self) -> Closed {
        closed(self.0.closed().await)
    }

    pub(super) fn close_reason(&self) -> Option<Closed> {
        self.0.close_reason().map(closed)
    }
}

fn halves(send: SendStream, recv: RecvStream) -> (super::SendHalf, super::RecvHalf) {
    (
        super::SendHalf::Iroh(SendHalf(send)),
        super::RecvHalf::Iroh(RecvHalf(recv)),
    )
}

/// The sending half of a QUIC stream.
pub(crate) struct SendHalf(SendStream);

impl SendHalf {
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.0.write_all(bytes).await.map_err(write_error)
    }

    pub(super) async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        self.0.write_all_chunks(chunks).await.map_err(write_error)
    }

    pub(super) async fn finish(&mut self) -> Result<(), LinkError> {
        if self.0.finish().is_err() {
            return Err(LinkError::Stream(CloseCode::Done));
        }
        match self.0.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(LinkError::Stream(code_of(code))),
            Err(_) => Err(LinkError::Truncated),
        }
    }

    pub(super) fn reset(&mut self, code: CloseCode) {
        if self.0.reset(VarInt::from_u32(code.code())).is_err() {
            tracing::trace!("stream was finished or reset before");
        }
    }
}

/// The receiving half of a QUIC stream.
pub(crate) struct RecvHalf(RecvStream);

impl RecvHalf {
    pub(super) async fn read_buf(&mut self, buffer: &mut BytesMut) -> Result<usize, LinkError> {
        self.0.read_buf(buffer).await.map_err(|error| {
            match error.into_inner().map(|e| e.downcast::<ReadError>()) {
                Some(Ok(error)) => read_error(*error),
                _ => LinkError::Truncated,
            }
        })
    }

    pub(super) fn stop(&mut self, code: CloseCode) {
        if self.0.stop(VarInt::from_u32(code.code())).is_err() {
            tracing::trace!("stream had ended before");
        }
    }
}

fn transport_config() -> QuicTransportConfig {
    let builder = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_max_idle_timeout(PATH_IDLE)
        .default_path_keep_alive_interval(KEEP_ALIVE);
    match IdleTimeout::try_from(CONNECTION_IDLE) {
        Ok(idle) => builder.max_idle_timeout(Some(idle)),
        Err(_) => builder,
    }
    .build()
}

fn peer_addr(addr: &EndpointAddr) -> PeerAddr {
    PeerAddr {
        peer: PeerId::from_bytes(*addr.id.as_bytes()),
        ips: addr.ip_addrs().copied().collect(),
        relays: addr.relay_urls().map(ToString::to_string).collect(),
    }
}

fn endpoint_addr(addr: &PeerAddr) -> Result<EndpointAddr, ConnectError> {
    let id = PublicKey::from_bytes(addr.peer.as_bytes())
        .map_err(|_| ConnectError::Transport("the peer's id is no public key".into()))?;
    let ips = addr.ips.iter().copied().map(TransportAddr::Ip);
    let relays = addr
        .relays
        .iter()
        .filter_map(|url| url.parse().ok())
        .map(TransportAddr::Relay);
    Ok(EndpointAddr::from_parts(id, ips.chain(relays)))
}

fn closed(error: ConnectionError) -> Closed {
    match error {
        ConnectionError::ApplicationClosed(frame) => Closed::told(
            code_of(frame.error_code),
            &String::from_utf8_lossy(&frame.reason),
        ),
        ConnectionError::LocallyClosed => Closed {
            code: CloseCode::Done,
            reason: "closed by this peer".into(),
        },
        ConnectionError::TimedOut => Closed {
            code: CloseCode::TimedOut,
            reason: "the peer went silent".into(),
        },
        // A peer may have chosen these words too.
        other => Closed::told(CloseCode::Other(u32::MAX), &other.to_string()),
    }
}

fn code_of(code: VarInt) -> CloseCode {
    CloseCode::from_code(u32::try_from(code.into_inner()).unwrap_or(u32::MAX))
}

fn lost(error: ConnectionError) -> LinkError {
    LinkError::Connection(closed(error))
}

fn write_error(error: WriteError) -> LinkError {
    match error {
        WriteError::ConnectionLost(error) => lost(error),
        WriteError::Stopped(code) => LinkError::Stream(code_of(code)),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => LinkError::Truncated,
    }
}

fn read_error(error: ReadError) -> LinkError {
    match error {
        ReadError::ConnectionLost(error) => lost(error),
        ReadError::Reset(code) => LinkError::Stream(code_of(code)),
        ReadError::ClosedStream | ReadError::ZeroRttRejected => LinkError::Truncated,
    }
}

fn describe(bind: &[SocketAddr]) -> String {
    if bind.is_empty() {
        return "any address".into();
    }
    let addrs: Vec<_> = bind.iter().map(ToString::to_string).collect();
    addrs.join(", ")
}

/// The same for an error in which a peer may have chosen the words.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    Closed::told(CloseCode::Done, &chain(error)).reason
}

/// An error with all its causes, on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NetworkId, SecretKey};

    #[tokio::test]
    async fn nothing_follows_the_addresses_of_a_closed_endpoint() {
        let identity = Identity::new(SecretKey::generate(), NetworkId::from("n"), None);
        let bind = ["127.0.0.1:0".parse().unwrap()];
        let endpoint = Endpoint::bind(&identity, &bind, false).await.unwrap();
        assert_eq!(endpoint.shared.tasks.len(), 1);
        endpoint.close(Duration::from_secs(20)).await;
        assert_eq!(endpoint.shared.tasks.len(), 0);
        endpoint.close(Duration::from_secs(20)).await;
    }
}
