//! What the driver makes of single inputs, without its loop.

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc};

use super::Driver;
use crate::{
    discovery::{
        SyncError,
        event::EVENT_BACKLOG,
        outbound::Target,
        own::Own,
        proto::entry::{Body, Record},
        shared::{INPUT_BACKLOG, Input, Shared, empty_snapshot},
        snapshot::Rtts,
    },
    id::{NetworkId, PeerAddr, PeerId, SecretKey},
    rt::{Tasks, watch},
    transport::{
        Alpn, CarrierConfig, Config as EndpointConfig, ConnectError, Endpoint, Identity, Pool,
        memory::Fabric,
    },
};

const NETWORK: [u8; 32] = [7; 32];

/// A driver that is not run, and the ends of its channels.
async fn driver() -> (Driver, mpsc::Receiver<Input>) {
    let identity = Identity::new(SecretKey::generate(), NetworkId::from("n"), None);
    let identity = Arc::new(identity);
    let endpoint = Endpoint::bind(EndpointConfig {
        identity: identity.clone(),
        carrier: CarrierConfig::memory(Fabric::default()),
    });
    let endpoint = endpoint.await.unwrap();
    let tasks = Tasks::new(tracing::Span::none());
    let (pool, _connections) = Pool::new(endpoint.clone(), Alpn::Discovery, tasks.clone());
    let addr = endpoint.addr().borrow().clone();
    let own = Own::new(identity, NETWORK, addr, |_| {}).unwrap();
    let (inputs, received) = mpsc::channel(INPUT_BACKLOG);
    let rtts = Rtts::default();
    let (snapshot_sender, snapshots) = watch::channel(empty_snapshot(&rtts));
    let (events, _) = broadcast::channel(EVENT_BACKLOG);
    let weak = events.downgrade();
    let shared = Shared::new(
        endpoint, pool, tasks, NETWORK, own, inputs, snapshots, weak, rtts,
    );
    let driver = Driver::new(Arc::new(shared), snapshot_sender, events);
    (driver, received)
}

/// Has the driver know a peer that is at `port` as this boot; the address.
fn known(driver: &mut Driver, key: &SecretKey, boot: u64, port: u16) -> PeerAddr {
    let addr = PeerAddr::new(key.peer()).with_ip(([127, 0, 0, 1], port).into());
    let body = Body::new(NETWORK, addr.clone(), boot, boot);
    let record = Arc::new(Record::sign(body, key).unwrap());
    driver.merge(vec![(record, Duration::ZERO)], None);
    addr
}

fn unreached(target: Target) -> Input {
    Input::Synced {
        target,
        due: true,
        result: Err(SyncError::Dial(ConnectError::TimedOut.into())),
    }
}

#[tokio::test]
async fn a_dial_that_failed_is_evidence_against_the_boot_that_was_dialed() {
    let (mut driver, _inputs) = driver().await;
    let key = SecretKey::generate();
    let peer = key.peer();
    known(&mut driver, &key, 1, 1);
    let dialed = driver.target(&peer).unwrap();
    assert_eq!(dialed.boot, Some(1));
    // It was restarted meanwhile, and its entry arrived before the dial was given up.
    known(&mut driver, &key, 2, 2);
    driver.on_input(unreached(dialed));
    assert!(!driver.liveness.suspects(&peer));
    // Somebody asks for it where it is not.
    let addr = PeerAddr::new(peer).with_ip(([127, 0, 0, 1], 3).into());
    let boot = driver.boot_at(&addr);
    driver.on_input(unreached(Target { addr, boot }));
    assert!(!driver.liveness.suspects(&peer));
    let dialed = driver.target(&peer).unwrap();
    driver.on_input(unreached(dialed));
    assert!(driver.liveness.suspects(&peer));
}

#[tokio::test]
async fn an_exchange_that_a_peer_began_is_not_taken_for_ours() {
    let (mut driver, _inputs) = driver().await;
    let peer: PeerId = SecretKey::generate().peer();
    driver.syncing.insert(peer);
    driver.on_input(Input::Answered(peer, Ok(())));
    assert!(driver.syncing.contains(&peer));
    let addr = PeerAddr::new(peer);
    let ended = |due| Input::Synced {
        target: Target {
            addr: addr.clone(),
            boot: None,
        },
        due,
        result: Ok(()),
    };
    driver.on_input(ended(false));
    assert!(driver.syncing.contains(&peer));
    driver.on_input(ended(true));
    assert!(!driver.syncing.contains(&peer));
}
