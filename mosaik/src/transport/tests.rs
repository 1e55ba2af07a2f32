//! What holds on both carriers: framing, admission, close codes, one connection a pair.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::sync::mpsc;

use super::{memory::Fabric, *};
use crate::{
    id::{NetworkId, PeerAddr, PeerId, SecretKey},
    rt::{self, Tasks},
    wire,
};

/// Far above what any step here takes.
const DEADLINE: Duration = Duration::from_secs(20);
const LIMIT: usize = 1024;

#[derive(Clone)]
struct Node {
    endpoint: Endpoint,
    pool: Pool,
    tasks: Tasks,
}

impl Node {
    async fn addr(&self) -> PeerAddr {
        let mut addr = self.endpoint.addr();
        let known = addr.wait_for(|addr| !addr.is_empty()).await;
        known.unwrap().clone()
    }
}

/// A node that accepts nothing by itself.
async fn bound(
    carrier: CarrierConfig,
    network: &str,
    secret: Option<&str>,
) -> (Node, mpsc::Receiver<Connection>) {
    let identity = Identity::new(SecretKey::generate(), NetworkId::from(network), secret);
    let endpoint = Endpoint::bind(Config {
        identity: Arc::new(identity),
        carrier,
    })
    .await
    .unwrap();
    let tasks = Tasks::new(tracing::Span::none());
    let (pool, connections) = Pool::new(endpoint.clone(), Alpn::Streams, tasks.clone());
    let node = Node {
        endpoint,
        pool,
        tasks,
    };
    (node, connections)
}

/// Starts a node that accepts for ever.
async fn node(
    carrier: CarrierConfig,
    network: &str,
    secret: Option<&str>,
) -> (Node, mpsc::Receiver<Connection>) {
    let (node, connections) = bound(carrier, network, secret).await;
    accept(&node, vec![node.pool.clone()]);
    (node, connections)
}

/// Hands what others open to `node` to `pools`, for ever.
fn accept(node: &Node, pools: Vec<Pool>) {
    let (accepting, tasks) = (node.endpoint.clone(), node.tasks.clone());
    node.tasks.spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            let pools = pools.clone();
            tasks.spawn(async move {
                if let Err(refused) = Pool::accept(&pools, incoming).await {
                    tracing::debug!(?refused, "not admitted");
                }
            });
        }
    });
}

fn carriers() -> [CarrierConfig; 2] {
    [
        CarrierConfig::memory(Fabric::default()),
        CarrierConfig::Iroh {
            bind: vec!["127.0.0.1:0".parse().unwrap()],
            outside: false,
        },
    ]
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    rt::timeout(DEADLINE, future).await.expect("in time")
}

/// A raw stream from `a` to `b`, both ends.
async fn streams(
    carrier: CarrierConfig,
) -> (
    Node,
    Node,
    Connection,
    (SendHalf, RecvHalf),
    Connection,
    (SendHalf, RecvHalf),
) {
    let (a, _fresh_a) = node(carrier.clone(), "n", None).await;
    let (b, mut fresh_b) = node(carrier, "n", None).await;
    let out = within(a.pool.connect(&b.addr().await)).await.unwrap();
    let mut near = out.open_bi().await.unwrap();
    near.0.write_all(b"x").await.unwrap();
    let back = within(fresh_b.recv()).await.unwrap();
    let mut far = within(back.accept_bi()).await.unwrap();
    let mut first = BytesMut::with_capacity(1);
    within(far.1.read_buf(&mut first)).await.unwrap();
    (a, b, out, near, back, far)
}

#[tokio::test]
async fn frames_pass_and_end_explicitly() {
    for carrier in carriers() {
        let (_a, _b, _out, near, _back, far) = streams(carrier).await;
        let mut near = Link::<String, u64>::new(near, LIMIT);
        let mut far = Link::<u64, String>::new(far, LIMIT);
        near.tx.send(&"hello".to_string()).await.unwrap();
        assert_eq!(within(far.rx.recv()).await.unwrap().unwrap(), "hello");
        far.tx.send(&7).await.unwrap();
        assert_eq!(within(near.rx.recv()).await.unwrap(), Some(7));
        let (finished, end) = within(async { tokio::join!(near.tx.finish(), far.rx.recv()) }).await;
        assert_eq!((finished, end), (Ok(()), Ok(None)));
        assert_eq!(within(far.rx.recv()).await, Ok(None));
    }
}

#[tokio::test]
async fn bad_frames_are_named_errors() {
    let truncated = {
        let mut frame = wire::encode_frame("hello", LIMIT).unwrap();
        frame.pop();
        frame
    };
    let oversized = u32::try_from(LIMIT + 1).unwrap().to_le_bytes().to_vec();
    let garbage = [&3u32.to_le_bytes()[..], &[0xff; 3]].concat();
    for (bytes, expected) in [
        (truncated, "stream ended without its end mark"),
        (oversized, "frame of 1025 bytes is over the limit of 1024"),
        (garbage, "malformed value"),
        (vec![], "stream ended without its end mark"),
    ] {
        for carrier in carriers() {
            let (_a, _b, _out, mut near, _back, far) = streams(carrier).await;
            let mut far = Link::<u64, String>::new(far, LIMIT);
            near.0.write_all(&bytes).await.unwrap();
            drop(near);
            let error = within(far.rx.recv()).await.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

#[tokio::test]
async fn closing_tells_code_and_reason() {
    for carrier in carriers() {
        let (_a, _b, out, _near, back, mut far) = streams(carrier).await;
        out.close(CloseCode::ShuttingDown, "good night");
        let closed = within(back.closed()).await;
        assert_eq!(closed.code, CloseCode::ShuttingDown);
        assert_eq!(closed.reason, "good night");
        let error = within(far.1.read_buf(&mut BytesMut::with_capacity(8))).await;
        assert_eq!(error, Err(LinkError::Connection(closed)));
        assert!(!back.is_open() && !out.is_open());
    }
}

#[tokio::test]
async fn what_a_peer_says_when_it_closes_is_fit_for_a_terminal() {
    for carrier in carriers() {
        let (_a, _b, out, _near, back, _far) = streams(carrier).await;
        out.close(CloseCode::ShuttingDown, "good\x1b[2Jnight");
        assert_eq!(within(back.closed()).await.reason, "good\u{fffd}[2Jnight");
    }
}

#[tokio::test]
async fn peers_of_another_network_or_secret_are_refused_with_a_reason() {
    for carrier in carriers() {
        let (server, _s) = node(carrier.clone(), "right", Some("secret")).await;
        for (network, secret, code) in [
            ("wrong", Some("secret"), CloseCode::NetworkMismatch),
            ("right", Some("guess"), CloseCode::NotAdmitted),
            ("right", None, CloseCode::NotAdmitted),
        ] {
            let (client, _c) = node(carrier.clone(), network, secret).await;
            let refused = within(client.pool.connect(&server.addr().await)).await;
            match refused {
                Err(ConnectError::Refused { code: got, reason }) => {
                    assert_eq!(got, code);
                    assert!(reason.contains("the same"), "{reason}");
                }
                other => panic!("{other:?}"),
            }
            assert!(server.pool.connections().is_empty());
        }
        let (client, _c) = node(carrier, "right", Some("secret")).await;
        within(client.pool.connect(&server.addr().await))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_is_no_hello_is_refused_and_silence_times_out() {
    let other_version = {
        // The first variant, the magic, then a version that does not exist.
        let mut body = vec![0];
        body.extend_from_slice(b"mosk");
        body.push(99);
        [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
    };
    let wrong_magic = [&7u32.to_le_bytes()[..], b"\0nope\0\x01"].concat();
    for (bytes, expected) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), CloseCode::Malformed),
        (wrong_magic, CloseCode::Malformed),
        (other_version, CloseCode::VersionMismatch),
    ] {
        for carrier in carriers() {
            let (server, _s) = node(carrier.clone(), "n", None).await;
            let (client, _c) = node(carrier, "n", None).await;
            let addr = server.addr().await;
            let raw = within(client.endpoint.dial(&addr, Alpn::Streams))
                .await
                .unwrap();
            let (mut send, _recv) = raw.open_bi().await.unwrap();
            send.write_all(&bytes).await.unwrap();
            assert_eq!(within(raw.closed()).await.code, expected);
        }
    }
    for carrier in carriers() {
        let (server, _s) = node(carrier.clone(), "n", None).await;
        let (client, _c) = node(carrier, "n", None).await;
        let addr = server.addr().await;
        let raw = within(client.endpoint.dial(&addr, Alpn::Streams))
            .await
            .unwrap();
        let opened = rt::now();
        let closed = within(raw.closed()).await;
        assert_eq!(closed.code, CloseCode::TimedOut);
        assert!(closed.reason.contains("no proof"), "{closed}");
        let took = rt::now() - opened;
        assert!(
            took < ADMISSION_TIMEOUT + Duration::from_secs(2),
            "{took:?}"
        );
        assert!(server.pool.connections().is_empty());
    }
}

#[tokio::test]
async fn who_is_not_admitted_is_named_and_why() {
    for carrier in carriers() {
        let (server, _s) = bound(carrier.clone(), "n", Some("secret")).await;
        for (network, secret, silent, expected) in [
            ("m", Some("secret"), false, CloseCode::NetworkMismatch),
            ("n", Some("guess"), false, CloseCode::NotAdmitted),
            ("n", Some("secret"), true, CloseCode::TimedOut),
        ] {
            let (client, _c) = bound(carrier.clone(), network, secret).await;
            let addr = server.addr().await;
            let accepted = async {
                let incoming = server.endpoint.accept().await.unwrap();
                Pool::accept(std::slice::from_ref(&server.pool), incoming).await
            };
            let dialed = async {
                if silent {
                    let raw = client.endpoint.dial(&addr, Alpn::Streams).await.unwrap();
                    return raw.closed().await.code;
                }
                match client.pool.connect(&addr).await {
                    Err(ConnectError::Refused { code, .. }) => code,
                    other => panic!("{other:?}"),
                }
            };
            let both = Box::pin(async { tokio::join!(accepted, dialed) });
            let (refused, told) = within(both).await;
            assert_eq!(told, expected);
            let refused = refused.unwrap_err();
            assert_eq!(refused.peer, Some(client.endpoint.peer()));
            assert!(
                matches!(&refused.error, ConnectError::Refused { code, .. } if *code == expected),
                "{refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn simultaneous_dials_leave_one_connection() {
    for carrier in carriers() {
        for _ in 0..8 {
            let (a, mut fresh_a) = node(carrier.clone(), "n", None).await;
            let (b, mut fresh_b) = node(carrier.clone(), "n", None).await;
            let (addr_a, addr_b) = (a.addr().await, b.addr().await);
            let (to_b, to_a) =
                within(async { tokio::join!(a.pool.connect(&addr_b), b.pool.connect(&addr_a)) })
                    .await;
            let (to_b, to_a) = (to_b.unwrap(), to_a.unwrap());
            assert!(to_b.is_open() && to_a.is_open());
            assert_ne!(to_b.dialed(), to_a.dialed(), "two ends of one connection");
            within(fresh_a.recv()).await.unwrap();
            within(fresh_b.recv()).await.unwrap();
            assert!(fresh_a.try_recv().is_err() && fresh_b.try_recv().is_err());
        }
    }
}

/// A pool for each protocol of `node`.
fn pools(node: &Node) -> (Vec<Pool>, Vec<mpsc::Receiver<Connection>>) {
    let pool = |alpn| Pool::new(node.endpoint.clone(), alpn, node.tasks.clone());
    Alpn::ALL.into_iter().map(pool).unzip()
}

#[test]
fn protocols_are_known_by_their_names() {
    for alpn in Alpn::ALL {
        assert_eq!(Alpn::from_name(alpn.name().as_bytes()), Some(alpn));
    }
    for unknown in ["", "mosaik/groups/", "mosaik/groups/2", "mosaik/groups/11"] {
        assert_eq!(Alpn::from_name(unknown.as_bytes()), None);
    }
}

#[tokio::test]
async fn each_protocol_has_a_connection_of_its_own() {
    for carrier in carriers() {
        let (a, _) = bound(carrier.clone(), "n", None).await;
        let (b, _) = bound(carrier, "n", None).await;
        let ((a_pools, _a_fresh), (b_pools, mut b_fresh)) = (pools(&a), pools(&b));
        accept(&b, b_pools);
        let addr = b.addr().await;
        let mut ends = Vec::new();
        for (n, alpn) in Alpn::ALL.into_iter().enumerate() {
            let near = within(a_pools[n].connect(&addr)).await.unwrap();
            let far = within(b_fresh[n].recv()).await.unwrap();
            assert_eq!((near.alpn(), far.alpn()), (alpn, alpn));
            ends.push((near, far));
        }
        assert!(b_fresh.iter_mut().all(|fresh| fresh.try_recv().is_err()));
        while let Some((near, far)) = ends.pop() {
            near.close(CloseCode::Done, "");
            assert_eq!(within(far.closed()).await.code, CloseCode::Done);
            let open = |(near, far): &(Connection, Connection)| near.is_open() && far.is_open();
            assert!(ends.iter().all(open));
        }
    }
}

#[tokio::test]
async fn what_a_peer_does_not_serve_is_refused() {
    for carrier in carriers() {
        let (a, _) = bound(carrier.clone(), "n", None).await;
        let (b, mut fresh) = node(carrier, "n", None).await;
        let addr = b.addr().await;
        for pool in pools(&a).0 {
            match within(pool.connect(&addr)).await {
                Ok(connection) => assert_eq!(connection.alpn(), Alpn::Streams),
                Err(ConnectError::Refused { code, .. }) => {
                    assert_eq!(code, CloseCode::UnknownProtocol);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(within(fresh.recv()).await.unwrap().alpn(), Alpn::Streams);
        assert!(fresh.try_recv().is_err());
    }
}

/// An address of `peer` at which nobody answers: the socket must live as long as that is to be so.
fn nowhere(peer: PeerId) -> (PeerAddr, std::net::UdpSocket) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    (PeerAddr::new(peer).with_ip(addr), socket)
}

#[tokio::test]
async fn a_dial_to_where_a_peer_was_learns_where_it_is() {
    for carrier in carriers() {
        let (a, mut fresh) = node(carrier.clone(), "n", None).await;
        let (b, _fresh_b) = node(carrier, "n", None).await;
        let (old, _socket) = nowhere(b.endpoint.peer());
        let new = b.addr().await;
        let (first, second) =
            within(async { tokio::join!(a.pool.connect(&old), a.pool.connect(&new)) }).await;
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.stable_id(), second.stable_id());
        assert!(first.is_open());
        within(fresh.recv()).await.unwrap();
        assert!(fresh.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_dial_to_where_a_peer_was_ends_when_it_comes_by_itself() {
    for carrier in carriers() {
        for lower in [true, false] {
            let (a, _fresh_a) = node(carrier.clone(), "n", None).await;
            let (b, _fresh_b) = node(carrier.clone(), "n", None).await;
            let swap = (a.endpoint.peer() < b.endpoint.peer()) != lower;
            let (a, b) = if swap { (b, a) } else { (a, b) };
            let (old, _socket) = nowhere(b.endpoint.peer());
            let addr = a.addr().await;
            let (out, back) =
                within(async { tokio::join!(a.pool.connect(&old), b.pool.connect(&addr)) }).await;
            let (out, back) = (out.unwrap(), back.unwrap());
            assert!(!out.dialed() && back.dialed());
            out.close(CloseCode::Done, "");
            within(back.closed()).await;
        }
    }
}

#[tokio::test]
async fn two_ways_to_a_peer_leave_one_connection() {
    for carrier in carriers() {
        if let CarrierConfig::Memory { fabric, .. } = &carrier {
            fabric.set_latency(Duration::from_millis(5));
        }
        for _ in 0..8 {
            let (a, _fresh) = node(carrier.clone(), "n", None).await;
            let (b, _fresh_b) = node(carrier.clone(), "n", None).await;
            let addr = b.addr().await;
            let dead = addr.clone().with_ip("127.0.0.1:9".parse().unwrap());
            let (first, second) =
                within(async { tokio::join!(a.pool.connect(&addr), a.pool.connect(&dead)) }).await;
            assert_eq!(
                first.as_ref().unwrap().stable_id(),
                second.unwrap().stable_id()
            );
            // Both ends hold the same: it carries something there and back.
            let mut near = Link::<u64, u64>::open(&first.unwrap(), LIMIT)
                .await
                .unwrap();
            near.tx.send(&7).await.unwrap();
            let back = b.pool.get(&a.endpoint.peer()).unwrap();
            let far = within(back.accept_bi()).await.unwrap();
            let mut far = Link::<u64, u64>::new(far, LIMIT);
            assert_eq!(within(far.rx.recv()).await, Ok(Some(7)));
            far.tx.send(&8).await.unwrap();
            assert_eq!(within(near.rx.recv()).await, Ok(Some(8)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_its_turn_has_proved_nothing_yet() {
    let carrier = CarrierConfig::memory(Fabric::default());
    let (a, _fresh) = node(carrier.clone(), "n", None).await;
    let (b, mut fresh_b) = node(carrier, "n", None).await;
    let (addr, turn) = (b.addr().await, tokio::sync::Mutex::new(()));
    let held = turn.lock().await;
    let mut dial = std::pin::pin!(a.endpoint.connect(&addr, Alpn::Streams, &turn));
    // The clock stands still while anything else can run, so this waits until nothing does.
    let waits = rt::timeout(Duration::from_secs(1), dial.as_mut()).await;
    assert!(waits.is_err() && b.pool.connections().is_empty());
    drop(held);
    let _connection = within(dial).await.unwrap();
    within(fresh_b.recv()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_used_before_its_subsystem_can_be_told() {
    let carrier = CarrierConfig::memory(Fabric::default());
    let (a, mut fresh) = node(carrier.clone(), "n", None).await;
    let (b, _fresh_b) = node(carrier, "n", None).await;
    let (addr, peer) = (b.addr().await, b.endpoint.peer());
    let mut told = Vec::new();
    // As many as may wait to be served.
    while told.len() < fresh.max_capacity() {
        let connection = within(a.pool.connect(&addr)).await.unwrap();
        told.push(connection.stable_id());
        connection.close(CloseCode::Done, "");
        b.pool
            .connections()
            .iter()
            .for_each(|c| c.close(CloseCode::Done, ""));
    }
    // The clock stands still while anything else can run, so this waits until nothing does.
    let waits = rt::timeout(Duration::from_secs(1), a.pool.connect(&addr)).await;
    assert!(waits.is_err() && a.pool.get(&peer).is_none());
    assert_eq!(within(fresh.recv()).await.unwrap().stable_id(), told[0]);
    let connection = within(a.pool.connect(&addr)).await.unwrap();
    assert!(connection.is_open());
}

#[tokio::test]
async fn a_connection_to_an_earlier_boot_gives_way() {
    let carrier = CarrierConfig::memory(Fabric::default());
    let (a, _fresh) = node(carrier.clone(), "n", None).await;
    let (b, _fresh_b) = node(carrier, "n", None).await;
    let first = within(a.pool.connect(&b.addr().await)).await.unwrap();
    a.pool.supersede(&b.endpoint.peer(), first.boot());
    assert!(first.is_open());
    a.pool.supersede(&b.endpoint.peer(), first.boot() ^ 1);
    within(first.closed()).await;
    let second = within(a.pool.connect(&b.addr().await)).await.unwrap();
    assert_ne!(first.stable_id(), second.stable_id());
}

#[tokio::test]
async fn nothing_is_left_after_close() {
    for carrier in carriers() {
        let (a, _b, _out, _near, back, _far) = streams(carrier).await;
        a.tasks.cancel();
        within(a.tasks.wait()).await;
        within(a.endpoint.close(DEADLINE)).await;
        assert_eq!(a.tasks.len(), 0);
        within(back.closed()).await;
        let addr = a.addr().await;
        assert!(a.pool.connect(&addr).await.is_err());
    }
}
