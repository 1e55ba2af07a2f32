//! Acts for all streams of a node: serves connections, announces topics, and gives every consumer a
//! session with every producer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;
use tracing::warn;

use super::{handle::Inner, intake::Intake, serve, subscribe::Session, topic::Topic};
use crate::{
    discovery::{EntryError, TopicInfo},
    id::PeerId,
    rt::{self, Tasks},
    transport::Connection,
};

/// How often what nobody needs any more is given up.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Starts the tasks that run as long as the network.
pub(super) fn start(streams: &Inner, mut connections: mpsc::Receiver<Connection>) {
    let serving = streams.clone();
    streams.tasks().spawn(async move {
        while let Some(connection) = connections.recv().await {
            let task = serve::connection(serving.clone(), connection);
            serving.tasks().spawn(task);
        }
    });
    streams.tasks().spawn(announce(streams.clone()));
    streams.tasks().spawn(supersede(streams.clone()));
    let sweeping = streams.clone();
    streams.tasks().spawn(async move {
        loop {
            rt::sleep(SWEEP_INTERVAL).await;
            sweeping.sweep();
        }
    });
}

/// Tells discovery what is produced and consumed here, now and with each change.
async fn announce(streams: Inner) {
    let mut changes = streams.changes();
    let info = |topic: &Arc<Topic>| TopicInfo {
        name: topic.name.clone(),
        fingerprint: topic.fingerprint().map(|print| *print.as_bytes()),
    };
    loop {
        changes.mark_unchanged();
        let (produced, consumed) = streams.topics();
        let announced = streams.discovery().set_topics(
            produced.iter().map(info).collect(),
            consumed.iter().map(info).collect(),
        );
        if matches!(announced, Err(EntryError::ShutDown)) {
            return;
        }
        if let Err(error) = &announced {
            warn!(%error, "the latest topics are not announced, so nobody will find them");
        }
        streams.note_announced(announced.err().map(|error| error.to_string()));
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Closes connections to boots of peers that another one has followed. Boots have no order, so only the
/// change from one to another tells: the catalog may well be behind a connection.
async fn supersede(streams: Inner) {
    let mut catalog = streams.discovery().snapshots();
    let mut boots: BTreeMap<PeerId, u64> = BTreeMap::new();
    loop {
        let current = catalog.borrow_and_update().clone();
        boots.retain(|peer, _| current.contains(peer));
        for entry in current.iter() {
            let (peer, boot) = (entry.peer(), entry.boot());
            if let Some(earlier) = boots.insert(peer, boot).filter(|earlier| *earlier != boot) {
                streams.pool().retire(&peer, earlier);
            }
        }
        if catalog.changed().await.is_err() {
            return;
        }
    }
}

/// The peers that a consumer has sessions with.
#[derive(Clone, Debug, Default)]
pub(super) struct Active(Arc<Mutex<BTreeSet<PeerId>>>);

impl Active {
    /// Notes a session with `peer`; `false` when there is one.
    fn insert(&self, peer: PeerId) -> bool {
        self.peers().insert(peer)
    }

    /// Ends the session with `peer` unless `wanted` says, under the lock that a new one would need, that
    /// it must go on. Returns whether it goes on.
    pub(super) fn keep(&self, peer: PeerId, wanted: impl FnOnce() -> bool) -> bool {
        let mut peers = self.peers();
        let keep = wanted();
        if !keep {
            peers.remove(&peer);
        }
        keep
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, BTreeSet<PeerId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts a session of one consumer with every producer that appears, until the consumer is dropped.
pub(super) async fn supervise(streams: Inner, intake: Arc<Intake>, consumer: Tasks) {
    let topic = intake.topic().id;
    let active = Active::default();
    let mut catalog = streams.discovery().snapshots();
    let mut changes = streams.changes();
    loop {
        changes.mark_unchanged();
        let mut producers: Vec<PeerId> = {
            let catalog = catalog.borrow_and_update();
            let producing = catalog
                .iter()
                .filter(|entry| entry.produces(topic).is_some());
            let owing = intake.unsettled().into_iter();
            let owing = owing.filter(|peer| catalog.contains(peer));
            producing.map(|entry| entry.peer()).chain(owing).collect()
        };
        if streams.hub(&topic).is_some() {
            producers.push(streams.peer());
        }
        for peer in producers {
            if active.insert(peer) {
                let session = Session {
                    streams: streams.clone(),
                    intake: intake.clone(),
                    peer,
                    consumer: consumer.clone(),
                    active: active.clone(),
                };
                streams.sessions().spawn(session.run());
            }
        }
        tokio::select! {
            biased;
            () = consumer.cancelled() => return,
            result = catalog.changed() => {
                if result.is_err() {
                    return;
                }
            }
            result = changes.changed() => {
                if result.is_err() {
                    return;
                }
            }
        }
    }
}
