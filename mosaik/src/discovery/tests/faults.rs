//! Partitions, suspicions of the living, and peers that say what is not so.

use super::*;
use crate::discovery::{
    frame::{Frame, FrameLink, MAX_FRAME},
    proto::{
        entry::{Body, Record, SignedEntry, Version},
        sync::{Digest, Message},
    },
};

/// Far below the time after which an entry is signed anew by itself.
const SOON: Duration = Duration::from_secs(5);

fn signed(node: &Node) -> Record {
    let entry = SignedEntry::from_bytes(&node.discovery.me().to_bytes()).unwrap();
    Record::verify(entry, node.discovery.network_digest()).unwrap()
}

/// Says hello to `to`: that it is buried at `from` under this entry.
async fn say_buried(from: &Node, to: &Node, under: &SignedEntry) -> FrameLink {
    let connection = within(from.pool.connect(&to.addr().await)).await.unwrap();
    let mut link = FrameLink::open(&connection, MAX_FRAME).await.unwrap();
    let hello = Message::Hello {
        digest: Digest::default(),
        buried: Some(under.clone()),
    };
    link.tx.send(&Frame::Sync(hello)).await.unwrap();
    link
}

#[tokio::test]
async fn a_partition_longer_than_burial_heals_without_a_bootstrap_address() {
    let fabric = Fabric::default();
    let carrier = CarrierConfig::memory(fabric.clone());
    let mut nodes = Vec::new();
    for _ in 0..4 {
        nodes.push(node(&carrier, quiet()).await);
    }
    for (from, to) in [(0, 1), (2, 3), (0, 2)] {
        let addr = nodes[to].addr().await;
        within(nodes[from].discovery.dial(addr)).await.unwrap();
    }
    for node in &nodes {
        node.until("all are known", |c| c.len() == 3).await;
    }
    let across = || [(0, 2), (0, 3), (1, 2), (1, 3)].map(|(a, b)| (nodes[a].id(), nodes[b].id()));
    for (a, b) in across() {
        fabric.cut(a, b);
    }
    for (node, other) in nodes.iter().zip([1, 0, 3, 2]) {
        let other = nodes[other].id();
        let halved = |c: &Catalog| c.len() == 1 && c.contains(&other);
        node.until("only its half is left", halved).await;
    }
    for (a, b) in across() {
        fabric.heal(a, b);
    }
    for node in &nodes {
        node.until("all are back", |c| c.len() == 3).await;
    }
}

#[tokio::test]
async fn a_suspicion_soon_after_another_is_refuted_too() {
    let nodes = network(&memory(), 2).await;
    let [a, b] = &nodes[..] else { panic!() };
    for _ in 0..3 {
        let before = signed(a);
        let _link = say_buried(b, a, before.signed()).await;
        let refuted = rt::timeout(SOON, async {
            while signed(a).version() <= before.version() {
                rt::sleep(Duration::from_millis(10)).await;
            }
        });
        assert!(refuted.await.is_ok());
    }
}

#[tokio::test]
async fn a_hostile_hello_version_is_refused() {
    let nodes = network(&memory(), 2).await;
    let [a, b] = &nodes[..] else { panic!() };
    let mut events = a.discovery.events();
    let key = SecretKey::generate();
    let forge = |peer: PeerId| {
        let network = *a.discovery.network_digest();
        let mut body = Body::new(network, PeerAddr::new(peer), 1, 0);
        body.version = Version {
            started: u64::MAX,
            update: u64::MAX,
        };
        Record::sign(body, &key).unwrap().signed().clone()
    };
    // In our name with another's signature, and another's own.
    for (forged, expected) in [
        (forge(a.id()), Refusal::Entry(EntryError::BadSignature)),
        (
            forge(key.peer()),
            Refusal::Malformed("another's entry in place of ours".into()),
        ),
    ] {
        let _link = say_buried(b, a, &forged).await;
        let refused = event(&mut events, |event| match event {
            Event::Refused { peer, reason } if peer == b.id() => Some(reason),
            _ => None,
        });
        assert_eq!(refused.await, expected);
    }
    let before = signed(a).version();
    assert!(before.update < 1000, "{before:?}");
    a.discovery.add_tags(["news"]).unwrap();
    assert!(signed(a).version() > before);
    b.until("what is new arrives", |c| c.with_tag("news").count() == 1)
        .await;
}

#[tokio::test]
async fn gossip_is_metered_whatever_stream_it_comes_on() {
    let nodes = network(&memory(), 2).await;
    let [a, b] = &nodes[..] else { panic!() };
    let connection = within(b.pool.connect(&a.addr().await)).await.unwrap();
    // All that there may be for a long time to come.
    assert!(a.discovery.meter(b.id()).admits_gossip(usize::MAX));
    // What would close the connection if it were looked at.
    for _ in 0..4 {
        let mut link = FrameLink::open(&connection, MAX_FRAME).await.unwrap();
        let garbage = Frame::Gossip(vec![0xff; 64].into());
        link.tx.send(&garbage).await.unwrap();
        within(link.tx.finish()).await.unwrap();
    }
    // All that came before is handled when this is.
    a.discovery
        .feed(&a.discovery.me().to_bytes())
        .await
        .unwrap();
    assert!(connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn exchanges_are_metered() {
    let nodes = network(&memory(), 2).await;
    let [a, b] = &nodes[..] else { panic!() };
    let began = rt::now();
    let addr = a.addr().await;
    for _ in 0..40 {
        within(b.discovery.sync_with(addr.clone())).await.unwrap();
    }
    // Nothing but the meter takes any of this time.
    assert!(rt::now() - began > Duration::from_secs(5));
}
