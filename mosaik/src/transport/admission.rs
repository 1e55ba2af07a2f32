//! Admission: both ends prove that they mean the same network before anything is served.
//!
//! The dialer opens a stream and says `Hello`: protocol version, a public digest of the network id, its
//! boot, and a MAC. The acceptor checks it and answers `Welcome` with a MAC of its own. The MACs are
//! keyed BLAKE3 over the role and [exported keying material] of the session, under a key derived from
//! the network id and the shared secret, so that one session's proof is worth nothing in another. A peer
//! of another network, version or secret is closed with a numbered reason.
//!
//! [exported keying material]: https://www.rfc-editor.org/rfc/rfc8446#section-7.5

use serde::{Deserialize, Serialize};

use super::{
    Alpn, CloseCode, Closed, ConnectError, Connection, Link, LinkError,
    connection::{Carrier, Facts},
};
use crate::{
    id::{NetworkId, PeerId, SecretKey},
    rt,
    wire::PROTOCOL_VERSION,
};

/// What every hello starts with.
const MAGIC: [u8; 4] = *b"mosk";
/// Largest admission frame, in bytes.
const MAX_HELLO: usize = 256;

/// Who a peer is and which network it means.
#[derive(Debug)]
pub(crate) struct Identity {
    key: SecretKey,
    network: NetworkId,
    boot: u64,
    mac_key: [u8; 32],
}

impl Identity {
    /// An identity of a fresh boot.
    pub(crate) fn new(key: SecretKey, network: NetworkId, shared_secret: Option<&str>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("mosaik/admission/1");
        hasher.update(network.as_bytes());
        if let Some(secret) = shared_secret {
            hasher.update(secret.as_bytes());
        }
        Self {
            key,
            network,
            boot: rt::random_u64(),
            mac_key: *hasher.finalize().as_bytes(),
        }
    }

    /// This peer.
    pub(crate) fn peer(&self) -> PeerId {
        self.key.peer()
    }

    /// The key that makes it who it is.
    pub(crate) fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The network it means.
    pub(crate) fn network(&self) -> NetworkId {
        self.network
    }

    /// The number of this boot.
    pub(crate) fn boot(&self) -> u64 {
        self.boot
    }

    /// What others may know of the network id, which is a capability itself.
    fn network_digest(&self) -> [u8; 32] {
        blake3::derive_key("mosaik/network-digest/1", self.network.as_bytes())
    }

    fn mac(&self, role: Role, boot: u64, session: &[u8; 32]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.mac_key);
        hasher.update(&[role as u8]);
        hasher.update(&boot.to_le_bytes());
        hasher.update(session);
        hasher.finalize()
    }
}

#[derive(Clone, Copy)]
enum Role {
    Dialer = 1,
    Acceptor = 2,
}

/// Decides about a peer that has proved itself, before it is told so.
pub(crate) trait Gate: Sync {
    /// Lets a boot of a peer in, or says with which code and why not.
    fn admit(
        &self,
        alpn: Alpn,
        peer: PeerId,
        boot: u64,
    ) -> impl Future<Output = Result<(), (CloseCode, &'static str)>> + Send;
}

/// The version comes first and alone, so that any two versions can tell each other apart.
#[derive(Debug, Serialize, Deserialize)]
struct Preamble {
    magic: [u8; 4],
    version: u16,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    network: [u8; 32],
    boot: u64,
    mac: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
struct Welcome {
    boot: u64,
    mac: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
enum Message {
    Preamble(Preamble),
    Hello(Hello),
    Welcome(Welcome),
}

/// The dialer's side: says hello, checks the answer.
pub(super) async fn prove_as_dialer(
    connection: Connection,
    identity: &Identity,
) -> Result<Connection, ConnectError> {
    let session = connection.keying_material()?;
    let mut link = Link::<Message, Message>::open(&connection, MAX_HELLO).await?;
    let preamble = Preamble {
        magic: MAGIC,
        version: PROTOCOL_VERSION,
    };
    let hello = Hello {
        network: identity.network_digest(),
        boot: identity.boot,
        mac: *identity
            .mac(Role::Dialer, identity.boot, &session)
            .as_bytes(),
    };
    let exchange = async {
        link.tx.send(&Message::Preamble(preamble)).await?;
        link.tx.send(&Message::Hello(hello)).await?;
        link.rx.recv().await
    };
    let welcome = match exchange.await {
        Ok(Some(Message::Welcome(welcome))) => welcome,
        Ok(_) => return Err(malformed(&connection)),
        Err(error) => return Err(refusal(&connection, error).await),
    };
    if identity.mac(Role::Acceptor, welcome.boot, &session) != welcome.mac {
        return Err(refuse(&connection, CloseCode::NotAdmitted, WRONG_SECRET));
    }
    Ok(proved(connection, welcome.boot))
}

/// The acceptor's side: checks the hello, asks `gate`, says welcome.
pub(super) async fn prove_as_acceptor(
    connection: Connection,
    identity: &Identity,
    gate: &impl Gate,
) -> Result<Connection, ConnectError> {
    let session = connection.keying_material()?;
    let mut link = Link::<Message, Message>::new(connection.accept_bi().await?, MAX_HELLO);
    match link.rx.recv().await {
        Ok(Some(Message::Preamble(preamble))) if preamble.magic == MAGIC => {
            if preamble.version != PROTOCOL_VERSION {
                let reason = format!(
                    "this peer speaks protocol version {PROTOCOL_VERSION}, yours is {}",
                    preamble.version
                );
                return Err(refuse(&connection, CloseCode::VersionMismatch, &reason));
            }
        }
        Err(error @ LinkError::Connection(_)) => return Err(error.into()),
        _ => return Err(malformed(&connection)),
    }
    let hello = match link.rx.recv().await {
        Ok(Some(Message::Hello(hello))) => hello,
        Err(error @ LinkError::Connection(_)) => return Err(error.into()),
        _ => return Err(malformed(&connection)),
    };
    if hello.network != identity.network_digest() {
        return Err(refuse(
            &connection,
            CloseCode::NetworkMismatch,
            "this peer belongs to another network; give both the same network id",
        ));
    }
    if identity.mac(Role::Dialer, hello.boot, &session) != hello.mac {
        return Err(refuse(&connection, CloseCode::NotAdmitted, WRONG_SECRET));
    }
    if let Err((code, reason)) = gate
        .admit(connection.alpn(), connection.peer(), hello.boot)
        .await
    {
        return Err(refuse(&connection, code, reason));
    }
    let welcome = Welcome {
        boot: identity.boot,
        mac: *identity
            .mac(Role::Acceptor, identity.boot, &session)
            .as_bytes(),
    };
    link.tx.send(&Message::Welcome(welcome)).await?;
    Ok(proved(connection, hello.boot))
}

const WRONG_SECRET: &str = "the shared secrets differ; give both peers the same";

impl Connection {
    /// Keying material that only the two ends of this session know.
    pub(crate) fn keying_material(&self) -> Result<[u8; 32], ConnectError> {
        match &self.carrier {
            Carrier::Iroh(c) => c.keying_material(),
            #[cfg(any(test, feature = "sim"))]
            Carrier::Memory(c) => Ok(c.keying_material()),
        }
    }
}

fn proved(connection: Connection, boot: u64) -> Connection {
    let facts = &connection.facts;
    Connection {
        facts: std::sync::Arc::new(Facts {
            peer: facts.peer,
            boot,
            alpn: facts.alpn,
            dialed: facts.dialed,
            stable_id: facts.stable_id,
        }),
        carrier: connection.carrier,
    }
}

/// What the peer said when it closed, in place of the stream error that the close looked like first.
async fn refusal(connection: &Connection, error: LinkError) -> ConnectError {
    match error {
        LinkError::Decode(_) => malformed(connection),
        LinkError::Connection(closed) => closed.into(),
        LinkError::Truncated | LinkError::Stream(_) => connection.closed().await.into(),
        other => other.into(),
    }
}

/// Closes a connection that has proved nothing in time.
pub(super) fn too_late(connection: &Connection) -> ConnectError {
    let (code, reason) = (CloseCode::TimedOut, "no proof of admission in time");
    connection.close(code, reason);
    ConnectError::Refused {
        code,
        reason: reason.into(),
    }
}

fn malformed(connection: &Connection) -> ConnectError {
    refuse(
        connection,
        CloseCode::Malformed,
        "not the hello of a mosaik peer",
    )
}

fn refuse(connection: &Connection, code: CloseCode, reason: &str) -> ConnectError {
    connection.close(code, reason);
    Closed {
        code,
        reason: reason.into(),
    }
    .into()
}
