//! What a peer may send that is no entry of the network, over every way on which entries come.

use bytes::Bytes;

use super::*;
use crate::{
    discovery::{
        announcement::{Announcement, News},
        frame::{Frame, FrameLink, MAX_FRAME},
        proto::{
            entry::{Body, Record, SignedEntry},
            sync::{Aged, Digest, Message},
        },
    },
    transport::Connection,
    wire,
};

/// A peer that is admitted, and then says what it likes.
struct Liar {
    connection: Connection,
    id: PeerId,
    tasks: Tasks,
    _pool: Pool,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Liar {
    /// Connects to `to`.
    async fn new(carrier: &CarrierConfig, to: &Node) -> Self {
        let identity = Identity::new(SecretKey::generate(), NetworkId::from("test"), None);
        let endpoint = Endpoint::bind(EndpointConfig {
            identity: Arc::new(identity),
            carrier: carrier.clone(),
        });
        let endpoint = endpoint.await.unwrap();
        let (id, tasks) = (endpoint.peer(), Tasks::new(tracing::Span::none()));
        let (pool, mut connections) = Pool::new(endpoint, Alpn::Discovery, tasks.clone());
        let connection = within(pool.connect(&to.addr().await)).await.unwrap();
        connections.recv().await.unwrap();
        Self {
            connection,
            id,
            tasks,
            _pool: pool,
        }
    }

    async fn open(&self, first: Frame) -> FrameLink {
        let link = FrameLink::open(&self.connection, MAX_FRAME).await;
        let mut link = link.unwrap();
        link.tx.send(&first).await.unwrap();
        link
    }

    async fn gossip(&self, news: News) {
        let nonce = rt::random_u64();
        let content = Announcement { nonce, news }.encode().unwrap();
        let network = NetworkId::from("test");
        let topic = blake3::derive_key("mosaik/discovery/gossip/1", network.as_bytes());
        let id = *blake3::hash(&content).as_bytes();
        // A payload of the broadcast layer, that has come no hops.
        let message = wire::encode(&((topic, 1u8, 0u8), (id, content, 0u8, 0u16))).unwrap();
        let link = self.open(Frame::Gossip(message.into())).await;
        within(link.tx.finish()).await.unwrap();
    }

    /// Tells of the entry in a batch of an exchange.
    async fn exchange(&self, entry: &SignedEntry) {
        let hello = Message::Hello {
            digest: Digest::default(),
            buried: None,
        };
        let mut link = self.open(Frame::Sync(hello)).await;
        let aged = Aged {
            entry: entry.clone(),
            age_millis: 0,
        };
        for message in [Message::Batch(vec![aged]), Message::Done] {
            link.tx.send(&Frame::Sync(message)).await.unwrap();
        }
        while let Ok(Some(_)) = within(link.rx.recv()).await {}
    }

    /// Hints at an entry of `peer`, and answers with another when it is fetched.
    async fn fetched(&self, peer: PeerId, entry: &SignedEntry) {
        let (connection, entry) = (self.connection.clone(), entry.clone());
        self.tasks.spawn(async move {
            while let Ok(halves) = connection.accept_bi().await {
                let mut link = FrameLink::new(halves, MAX_FRAME);
                if let Ok(Some(Frame::Fetch(_))) = link.rx.recv().await {
                    let aged = Aged {
                        entry: entry.clone(),
                        age_millis: 0,
                    };
                    link.tx.send(&Frame::Fetched(Some(aged))).await.unwrap();
                    link.tx.finish().await.unwrap_or_default();
                }
            }
        });
        let version = proto::entry::Version {
            started: 1,
            update: 0,
        };
        self.gossip(News::Hint { peer, version }).await;
    }
}

/// An entry of a new peer, as `change` has it.
fn entry(node: &Node, change: impl FnOnce(&mut Body)) -> (PeerId, SignedEntry) {
    let key = SecretKey::generate();
    let network = *node.discovery.network_digest();
    let mut body = Body::new(network, PeerAddr::new(key.peer()), 1, rt::unix_millis());
    change(&mut body);
    let record = Record::sign(body, &key).unwrap();
    (key.peer(), record.signed().clone())
}

/// Entries that must be refused, and why.
fn refusable(node: &Node) -> Vec<(PeerId, SignedEntry, EntryError)> {
    let (peer, honest) = entry(node, |_| {});
    let mut forged = honest.to_bytes();
    *forged.last_mut().unwrap() ^= 1;
    let forged = SignedEntry::from_bytes(&forged).unwrap();
    let (stranger, foreign) = entry(node, |body| body.network = [9; 32]);
    let (later, version) = entry(node, |body| body.protocol = 99);
    vec![
        (peer, forged, EntryError::BadSignature),
        (stranger, foreign, EntryError::ForeignNetwork),
        (
            later,
            version,
            EntryError::UnsupportedVersion { theirs: 99 },
        ),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Gossip,
    Exchange,
    Fetch,
}

const WAYS: [Way; 3] = [Way::Gossip, Way::Exchange, Way::Fetch];

async fn tell(liar: &Liar, way: Way, peer: PeerId, entry: &SignedEntry) {
    match way {
        Way::Gossip => liar.gossip(News::Entry(entry.clone())).await,
        Way::Exchange => liar.exchange(entry).await,
        Way::Fetch => liar.fetched(peer, entry).await,
    }
}

#[tokio::test]
async fn entries_that_are_none_are_refused_on_every_way() {
    let carrier = memory();
    for way in WAYS {
        let a = node(&carrier, quiet()).await;
        for (peer, entry, expected) in refusable(&a) {
            let mut events = a.discovery.events();
            let liar = Liar::new(&carrier, &a).await;
            tell(&liar, way, peer, &entry).await;
            let refused = event(&mut events, |event| match event {
                Event::Refused { peer, reason } if peer == liar.id => Some(reason),
                _ => None,
            });
            assert_eq!(refused.await, Refusal::Entry(expected), "{way:?}");
            assert!(a.discovery.catalog().is_empty(), "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_date_in_the_future_is_reported_on_every_way() {
    let carrier = memory();
    for way in WAYS {
        let a = node(&carrier, quiet()).await;
        let mut events = a.discovery.events();
        let liar = Liar::new(&carrier, &a).await;
        let (peer, entry) = entry(&a, |body| body.version.started += 3_600_000);
        tell(&liar, way, peer, &entry).await;
        let skew = event(&mut events, |event| match event {
            Event::ClockSkew { peer: of, ahead } if of == peer => Some(ahead),
            _ => None,
        });
        assert!(skew.await > Duration::from_secs(3_500), "{way:?}");
        assert!(a.discovery.catalog().contains(&peer), "{way:?}");
    }
}

#[tokio::test]
async fn frames_that_are_none_harm_nobody_else() {
    let truncated = [&100u32.to_le_bytes()[..], &[0; 10]].concat();
    let oversized = u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes().to_vec();
    // The first variant that a later version might add.
    let later = [&1u32.to_le_bytes()[..], &[7]].concat();
    let trailing = [&3u32.to_le_bytes()[..], &[4, 0, 0]].concat();
    for (bytes, closes) in [
        (truncated, false),
        (oversized, true),
        (later, true),
        (trailing, true),
    ] {
        for carrier in carriers() {
            let nodes = network(&carrier, 2).await;
            let [a, b] = &nodes[..] else { panic!() };
            let liar = Liar::new(&carrier, a).await;
            let mut events = a.discovery.events();
            let (mut send, recv) = liar.connection.open_bi().await.unwrap();
            send.write_all(&bytes).await.unwrap();
            drop((send, recv));
            if closes {
                let closed = within(liar.connection.closed()).await;
                assert_eq!(closed.code, CloseCode::Malformed);
                let refused = event(&mut events, |event| match event {
                    Event::Refused { peer, reason } if peer == liar.id => Some(reason),
                    _ => None,
                });
                assert!(matches!(refused.await, Refusal::Malformed(_)));
            } else {
                let mut link = liar.open(Frame::Ping).await;
                assert_eq!(within(link.rx.recv()).await, Ok(Some(Frame::Pong)));
            }
            assert!(a.pool.get(&b.id()).is_some_and(|c| c.is_open()));
            assert!(a.discovery.catalog().contains(&b.id()));
        }
    }
}

#[tokio::test]
async fn gossip_that_is_none_closes_the_connection_and_is_told() {
    let carrier = memory();
    let a = node(&carrier, quiet()).await;
    let mut events = a.discovery.events();
    let liar = Liar::new(&carrier, &a).await;
    let _link = liar.open(Frame::Gossip(Bytes::from_static(b"junk"))).await;
    let closed = within(liar.connection.closed()).await;
    assert_eq!(closed.code, CloseCode::Malformed);
    let refused = event(&mut events, |event| match event {
        Event::Refused { peer, reason } if peer == liar.id => Some(reason),
        _ => None,
    });
    assert!(matches!(refused.await, Refusal::Malformed(_)));
}
