//! Discovery as a whole, on both carriers: how peers meet, hear of each other, and are missed.

mod faults;
mod hostile;

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    id::{NetworkId, PeerAddr, PeerId, SecretKey},
    rt::{self, Instant, Tasks},
    transport::{
        Alpn, CarrierConfig, CloseCode, Config as EndpointConfig, ConnectError, Endpoint, Identity,
        Pool, memory::Fabric,
    },
};

/// Far above what any step here takes.
const DEADLINE: Duration = Duration::from_secs(30);

struct Node {
    discovery: Discovery,
    endpoint: Endpoint,
    pool: Pool,
    tasks: Tasks,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Node {
    fn id(&self) -> PeerId {
        self.endpoint.peer()
    }

    async fn addr(&self) -> PeerAddr {
        let mut addr = self.endpoint.addr();
        let known = addr.wait_for(|addr| !addr.is_empty()).await;
        known.unwrap().clone()
    }

    /// Waits until the catalog is as wanted.
    async fn until(&self, what: &str, mut wanted: impl FnMut(&Catalog) -> bool) {
        let mut snapshots = self.discovery.snapshots();
        let reached = rt::timeout(DEADLINE, snapshots.wait_for(|c| wanted(c))).await;
        if reached.is_err() {
            let status = self.discovery.status();
            panic!("{what}, but {:?}, {status:#?}", self.discovery.catalog());
        }
    }

    async fn close(&self) {
        self.discovery.shutdown().await;
        self.tasks.cancel();
        self.endpoint.close(DEADLINE).await;
    }
}

/// Options without the host-local rendezvous, which would let tests meet each other.
fn quiet() -> Config {
    Config {
        local_rendezvous: false,
        ..Config::default()
    }
}

fn bootstrap(addr: PeerAddr) -> Config {
    Config {
        bootstrap: vec![addr],
        ..quiet()
    }
}

async fn node(carrier: &CarrierConfig, config: Config) -> Node {
    node_as(carrier, config, SecretKey::generate(), "test").await
}

async fn node_as(carrier: &CarrierConfig, config: Config, key: SecretKey, network: &str) -> Node {
    let identity = Identity::new(key, NetworkId::from(network), None);
    let endpoint = Endpoint::bind(EndpointConfig {
        identity: Arc::new(identity),
        carrier: carrier.clone(),
    });
    let endpoint = endpoint.await.unwrap();
    let tasks = Tasks::new(tracing::Span::none());
    let (pool, connections) = Pool::new(endpoint.clone(), Alpn::Discovery, tasks.clone());
    let parts = (pool.clone(), connections);
    let discovery = Discovery::start(config, endpoint.clone(), parts, tasks.clone()).unwrap();
    let (accepting, accept_pool, accept_tasks) = (endpoint.clone(), pool.clone(), tasks.clone());
    let told = discovery.clone();
    tasks.spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            let (pool, told) = (accept_pool.clone(), told.clone());
            accept_tasks.spawn(async move {
                if let Err(refused) = Pool::accept(&[pool], incoming).await {
                    told.not_admitted(refused).await;
                }
            });
        }
    });
    Node {
        discovery,
        endpoint,
        pool,
        tasks,
    }
}

fn carriers() -> [CarrierConfig; 2] {
    [memory(), loopback()]
}

fn memory() -> CarrierConfig {
    CarrierConfig::memory(Fabric::default())
}

fn loopback() -> CarrierConfig {
    CarrierConfig::Iroh {
        bind: vec!["127.0.0.1:0".parse().unwrap()],
        outside: false,
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    rt::timeout(DEADLINE, future).await.expect("in time")
}

async fn event<T>(events: &mut Events, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    within(async {
        loop {
            let event = events.next().await.expect("the network lives");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    })
    .await
}

/// `n` nodes, all but the first with the first as their bootstrap peer, that know each other.
async fn network(carrier: &CarrierConfig, n: usize) -> Vec<Node> {
    let first = node(carrier, quiet()).await;
    let addr = first.addr().await;
    let mut nodes = vec![first];
    for _ in 1..n {
        nodes.push(node(carrier, bootstrap(addr.clone())).await);
    }
    for node in &nodes {
        node.until("all are known", |c| c.len() == n - 1).await;
    }
    nodes
}

#[tokio::test]
async fn two_nodes_meet_through_bootstrap_and_tags_follow() {
    for carrier in carriers() {
        let a = node(&carrier, quiet()).await;
        let mut events = a.discovery.events();
        let config = Config {
            tags: vec!["early".into()],
            ..bootstrap(a.addr().await)
        };
        let b = node(&carrier, config).await;
        let discovered = event(&mut events, |event| match event {
            Event::Discovered(entry) => Some(entry),
            _ => None,
        });
        let entry = discovered.await;
        assert_eq!(entry.peer(), b.id());
        assert_eq!(entry.boot(), b.endpoint.identity().boot());
        assert!(entry.has_tag("early"));
        // The snapshot contains what the event is about.
        assert!(a.discovery.catalog().contains(&b.id()));
        b.until("the other is known", |c| c.contains(&a.id())).await;
        b.discovery.add_tags(["x", "y"]).unwrap();
        assert!(b.discovery.me().has_tag("x"));
        let both = |c: &Catalog| c.with_tag("x").count() + c.with_tag("y").count() == 2;
        a.until("tags arrived", both).await;
        b.discovery.remove_tags(["x"]);
        let gone = |c: &Catalog| c.with_tag("x").count() == 0 && c.with_tag("y").count() == 1;
        a.until("a tag is gone", gone).await;
        let status = b.discovery.status();
        assert!(status.bootstrap[&a.id()].connected);
    }
}

#[tokio::test]
async fn ten_nodes_with_one_bootstrap_converge() {
    for carrier in carriers() {
        let nodes = network(&carrier, 10).await;
        nodes[7].discovery.add_tags(["seven"]).unwrap();
        let id = nodes[7].id();
        for node in nodes.iter().filter(|node| node.id() != id) {
            let tagged = |c: &Catalog| c.with_tag("seven").any(|e| e.peer() == id);
            node.until("the tag arrived", tagged).await;
        }
    }
}

#[tokio::test]
async fn topics_and_tickets_are_carried() {
    let nodes = network(&memory(), 2).await;
    let [a, b] = &nodes[..] else { panic!() };
    let topic = |name: &str| TopicInfo {
        name: name.into(),
        fingerprint: Some([1; 32]),
    };
    let ticket = AccessTicket {
        class: "jwt".into(),
        data: b"secret"[..].into(),
    };
    a.discovery
        .set_topics(vec![topic("out")], vec![topic("in")])
        .unwrap();
    a.discovery.add_ticket(ticket.clone()).unwrap();
    let carried = |c: &Catalog| {
        c.get(&a.id()).is_some_and(|e| {
            e.produces("out".into()).is_some()
                && e.produces("in".into()).is_none()
                && e.consumes("in".into()).is_some()
                && e.tickets() == [ticket.clone()]
                && e.topics().count() == 2
        })
    };
    b.until("topics and ticket arrived", carried).await;
    a.discovery.remove_tickets("jwt");
    let dropped = |c: &Catalog| c.get(&a.id()).is_some_and(|e| e.tickets().is_empty());
    b.until("the ticket is gone", dropped).await;
}

#[tokio::test]
async fn groups_are_carried_and_their_changes_seen() {
    for carrier in carriers() {
        let nodes = network(&carrier, 2).await;
        let [a, b] = &nodes[..] else { panic!() };
        for charter in [None, Some([1; 16]), Some([2; 16]), None] {
            let info = GroupInfo {
                name: "g".into(),
                charter,
                writer: true,
            };
            a.discovery.set_groups(vec![info.clone()]).unwrap();
            assert_eq!(a.discovery.me().group("g".into()), Some(&info));
            let carried = |c: &Catalog| {
                c.get(&a.id()).is_some_and(|e| {
                    e.group("g".into()) == Some(&info) && e.group("other".into()).is_none()
                })
            };
            b.until("the group arrived", carried).await;
        }
        a.discovery.set_groups(vec![]).unwrap();
        let left = |c: &Catalog| c.get(&a.id()).is_some_and(|e| e.groups().is_empty());
        b.until("the group is gone", left).await;
    }
}

#[tokio::test]
async fn a_graceful_departure_is_seen_within_a_second() {
    for carrier in carriers() {
        let nodes = network(&carrier, 4).await;
        let mut events = nodes[0].discovery.events();
        let id = nodes[3].id();
        let left = rt::now();
        nodes[3].close().await;
        for node in &nodes[..3] {
            node.until("it is gone", |c| !c.contains(&id)).await;
        }
        let took = rt::now() - left;
        assert!(took < Duration::from_secs(1), "{took:?}");
        let reason = event(&mut events, |event| match event {
            Event::Departed { peer, reason } if peer == id => Some(reason),
            _ => None,
        });
        assert_eq!(reason.await, DepartReason::Left);
        assert_eq!(
            nodes[3].discovery.add_tags(["late"]),
            Err(EntryError::ShutDown)
        );
    }
}

#[tokio::test]
async fn a_crash_is_seen_by_all_and_a_restart_supersedes() {
    let fabric = Fabric::default();
    let carrier = CarrierConfig::memory(fabric.clone());
    let nodes = network(&carrier, 4).await;
    let mut events = nodes[0].discovery.events();
    let id = nodes[3].id();
    nodes[3].tasks.cancel();
    fabric.crash_peer(id);
    for node in &nodes[..3] {
        node.until("it is gone", |c| !c.contains(&id)).await;
    }
    let reason = event(&mut events, |event| match event {
        Event::Departed { peer, reason } if peer == id => Some(reason),
        _ => None,
    });
    assert_eq!(reason.await, DepartReason::Unreachable);
    let key = nodes[3].endpoint.identity().key().clone();
    let config = bootstrap(nodes[0].addr().await);
    let again = node_as(&carrier, config, key, "test").await;
    let boot = again.endpoint.identity().boot();
    let back = |c: &Catalog| c.get(&id).is_some_and(|e| e.boot() == boot);
    for node in &nodes[..3] {
        node.until("it is back", back).await;
    }
}

#[tokio::test]
async fn a_peer_that_hangs_is_missed_within_seconds() {
    let carrier = loopback();
    let nodes = network(&carrier, 4).await;
    let id = nodes[3].id();
    let hung = rt::now();
    // Its tasks are gone, its endpoint still acknowledges: no connection breaks.
    nodes[3].tasks.cancel();
    for node in &nodes[..3] {
        node.until("it is gone", |c| !c.contains(&id)).await;
    }
    let took = rt::now() - hung;
    // Usually below six; a loaded machine takes longer.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test]
async fn a_peer_that_was_taken_for_dead_comes_back_by_itself() {
    let fabric = Fabric::default();
    let carrier = CarrierConfig::memory(fabric.clone());
    let nodes = network(&carrier, 3).await;
    let ids: Vec<_> = nodes.iter().map(Node::id).collect();
    fabric.cut(ids[2], ids[0]);
    fabric.cut(ids[2], ids[1]);
    for node in &nodes[..2] {
        node.until("it is gone", |c| !c.contains(&ids[2])).await;
    }
    nodes[2].until("it is alone", Catalog::is_empty).await;
    fabric.heal(ids[2], ids[0]);
    fabric.heal(ids[2], ids[1]);
    for node in &nodes {
        node.until("all are back", |c| c.len() == 2).await;
    }
}

#[tokio::test]
async fn a_large_entry_arrives_everywhere() {
    for carrier in carriers() {
        let nodes = network(&carrier, 5).await;
        let tags = (0..100).map(|i| format!("{i:0100}"));
        nodes[4].discovery.add_tags(tags).unwrap();
        let id = nodes[4].id();
        for node in &nodes[..4] {
            let arrived = |c: &Catalog| c.get(&id).is_some_and(|e| e.tags().count() == 100);
            node.until("the large entry arrived", arrived).await;
        }
    }
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_changes_nothing() {
    let a = node(&memory(), quiet()).await;
    a.discovery.add_tags(["kept"]).unwrap();
    let long = "x".repeat(600);
    assert_eq!(
        a.discovery.add_tags([long]),
        Err(EntryError::NameTooLong { len: 600 })
    );
    let many = (0..2000).map(|i| i.to_string());
    assert!(matches!(
        a.discovery.add_tags(many),
        Err(EntryError::TooMany { what: "tags", .. })
    ));
    assert_eq!(a.discovery.me().tags().collect::<Vec<_>>(), ["kept"]);
}

#[tokio::test]
async fn fed_entries_are_verified_and_refusals_named() {
    let (a, b) = (
        node(&memory(), quiet()).await,
        node(&memory(), quiet()).await,
    );
    let stranger = node_as(&memory(), quiet(), SecretKey::generate(), "other").await;
    let good = b.discovery.me().to_bytes();
    a.discovery.feed(&good).await.unwrap();
    assert!(a.discovery.catalog().contains(&b.id()));
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let feed = async |bytes: &[u8]| a.discovery.feed(bytes).await.unwrap_err();
    assert_eq!(feed(&forged).await, EntryError::BadSignature);
    let foreign = stranger.discovery.me().to_bytes();
    assert_eq!(feed(&foreign).await, EntryError::ForeignNetwork);
    assert!(matches!(feed(b"junk").await, EntryError::Malformed(_)));
    let large = vec![0; 65 * 1024];
    assert!(matches!(feed(&large).await, EntryError::TooLarge { .. }));
    assert_eq!(a.discovery.catalog().len(), 1);
}

#[tokio::test]
async fn a_date_in_the_future_is_reported_and_tolerated() {
    let a = node(&memory(), quiet()).await;
    let mut events = a.discovery.events();
    let key = SecretKey::generate();
    let future = rt::unix_millis() + 3_600_000;
    let network = *a.discovery.network_digest();
    let body = proto::entry::Body::new(network, PeerAddr::new(key.peer()), 1, future);
    let record = proto::entry::Record::sign(body, &key).unwrap();
    a.discovery.feed(&record.signed().to_bytes()).await.unwrap();
    let skew = event(&mut events, |event| match event {
        Event::ClockSkew { peer, ahead } if peer == key.peer() => Some(ahead),
        _ => None,
    });
    assert!(skew.await > Duration::from_secs(3_500));
    assert!(a.discovery.catalog().contains(&key.peer()));
}

#[tokio::test]
async fn another_network_is_a_readable_refusal() {
    for carrier in carriers() {
        let a = node(&carrier, quiet()).await;
        let stranger = node_as(&carrier, quiet(), SecretKey::generate(), "other").await;
        let mut events = stranger.discovery.events();
        let error = within(stranger.discovery.dial(a.addr().await)).await;
        let error = error.unwrap_err();
        assert!(error.to_string().contains("network id"), "{error}");
        let refused = event(&mut events, |event| match event {
            Event::Refused { peer, reason } if peer == a.id() => Some(reason),
            _ => None,
        });
        assert!(matches!(
            refused.await,
            Refusal::Dial(DialError::Connect(ConnectError::Refused {
                code: CloseCode::NetworkMismatch,
                ..
            }))
        ));
    }
}

#[tokio::test]
async fn catalogs_are_exchanged_on_demand() {
    let carrier = memory();
    let nodes = network(&carrier, 3).await;
    let late = node(&carrier, quiet()).await;
    let addr = nodes[0].addr().await;
    within(late.discovery.sync_with(addr)).await.unwrap();
    assert_eq!(late.discovery.catalog().len(), 3);
    let gone = PeerAddr::new(SecretKey::generate().peer());
    let failed = within(late.discovery.sync_with(gone)).await;
    assert!(matches!(failed, Err(SyncError::Dial(_))));
}

#[tokio::test]
async fn an_unreachable_bootstrap_peer_is_retried_and_explained() {
    let carrier = memory();
    let key = SecretKey::generate();
    let nobody = PeerAddr::new(key.peer()).with_ip("127.0.0.1:9".parse().unwrap());
    let a = node(&carrier, bootstrap(nobody.clone())).await;
    let failed = within(async {
        loop {
            let status = a.discovery.status();
            let peer = status.bootstrap.get(&nobody.peer);
            if let Some(error) = peer.and_then(|p| p.last_error.clone()) {
                return error;
            }
            rt::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(!failed.await.is_empty());
    // It is found once it is there, by its dialing us or our dialing it.
    let config = bootstrap(a.addr().await);
    let late = node_as(&carrier, config, key, "test").await;
    a.until("the late peer is known", |c| c.contains(&late.id()))
        .await;
}

#[tokio::test]
async fn garbage_closes_only_the_connection_it_came_on() {
    for carrier in carriers() {
        let nodes = network(&carrier, 2).await;
        let [a, b] = &nodes[..] else { panic!() };
        let mut events = a.discovery.events();
        let rude = node(&carrier, quiet()).await;
        let connection = within(rude.pool.connect(&a.addr().await)).await.unwrap();
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&[3, 0, 0, 0, 0xff, 0xff, 0xff])
            .await
            .unwrap();
        assert_eq!(within(connection.closed()).await.code, CloseCode::Malformed);
        let refused = event(&mut events, |event| match event {
            Event::Refused { peer, reason } => Some((peer, reason)),
            _ => None,
        });
        let (peer, reason) = refused.await;
        assert_eq!(peer, rude.id());
        assert!(matches!(reason, Refusal::Malformed(_)));
        assert!(a.pool.get(&b.id()).is_some_and(|c| c.is_open()));
        assert!(a.discovery.catalog().contains(&b.id()));
    }
}

#[tokio::test]
async fn processes_on_one_host_meet_without_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config {
        rendezvous_dir: Some(dir.path().join("mosaik")),
        ..Config::default()
    };
    let a = node(&loopback(), config()).await;
    let b = node(&loopback(), config()).await;
    let stranger = node_as(&loopback(), config(), SecretKey::generate(), "other").await;
    a.until("the other is found", |c| c.contains(&b.id())).await;
    b.until("the other is found", |c| c.contains(&a.id())).await;
    assert!(stranger.discovery.catalog().is_empty());
    let RendezvousStatus::Watching(network) = a.discovery.status().rendezvous else {
        panic!("{:?}", a.discovery.status().rendezvous);
    };
    let posted = || {
        let mut names: Vec<_> = std::fs::read_dir(&network)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    };
    let gone = async |id: PeerId| {
        within(async {
            while posted().contains(&id.to_string()) {
                rt::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    };
    assert!(!posted().is_empty());
    // Gracefully, and by being dropped.
    let (a_id, b_id) = (a.id(), b.id());
    a.close().await;
    gone(a_id).await;
    drop(b);
    gone(b_id).await;
}

#[tokio::test]
async fn a_rendezvous_that_does_not_work_is_not_fatal() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = Config {
        rendezvous_dir: Some(file.path().join("below-a-file")),
        ..Config::default()
    };
    let a = node(&memory(), config).await;
    within(async {
        while !matches!(a.discovery.status().rendezvous, RendezvousStatus::Failed(_)) {
            rt::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    a.discovery.add_tags(["alive"]).unwrap();
}

#[tokio::test]
async fn nothing_is_left_when_the_network_ends() {
    let nodes = network(&memory(), 3).await;
    let mut events = nodes[0].discovery.events();
    let mut snapshots = nodes[0].discovery.watch();
    assert!(snapshots.next().await.is_some());
    nodes[0].close().await;
    let began: Instant = rt::now();
    within(nodes[0].tasks.wait()).await;
    assert!(rt::now() - began < DEADLINE);
    assert_eq!(nodes[0].tasks.len(), 0);
    within(async { while events.next().await.is_some() {} }).await;
    within(async { while snapshots.next().await.is_some() {} }).await;
    let ended = nodes[0].discovery.sync_with(nodes[1].addr().await).await;
    assert_eq!(ended, Err(SyncError::ShutDown));
}

/// Not run by default: a measurement wants the machine for itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run alone, with --release"]
async fn fifty_nodes_converge_in_seconds() {
    let began = rt::now();
    let nodes = network(&loopback(), 50).await;
    let took = rt::now() - began;
    assert!(took < Duration::from_secs(8), "{took:?}");
    drop(nodes);
}
