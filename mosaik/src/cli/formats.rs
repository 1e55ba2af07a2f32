//! How the datums of each producer of a topic are read: by the schema that the producer serves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tracing::{Span, debug};

use crate::{
    declare::{Fingerprint, Schema},
    discovery::Catalog,
    id::{PeerId, TopicId},
    network::Network,
    rt::{self, Tasks, watch},
};

/// How often a producer is asked for its schema before that is given up.
const TRIES: usize = 3;
/// How long a datum waits for the schema it is to be read by.
const WAIT: Duration = Duration::from_secs(10);
/// Producers that are remembered; beyond, those that are gone are forgotten.
const MAX_PRODUCERS: usize = 4096;

/// How the datums of a producer are read.
#[derive(Debug)]
pub(super) enum Format {
    /// They are strings.
    Text,
    /// They are of this schema.
    Schema(Schema),
    /// They cannot be read, for this reason.
    Unknown(String),
}

/// The formats of a topic's producers, asked for as soon as a producer is discovered: one that is gone
/// before its datums are taken cannot be asked any more.
#[derive(Clone, Debug)]
pub(super) struct Formats {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    network: Network,
    topic: String,
    text: Option<Fingerprint>,
    known: Mutex<BTreeMap<PeerId, Known>>,
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct Known {
    fingerprint: Option<Fingerprint>,
    /// `None` while it is being asked for.
    format: Option<Arc<Format>>,
}

impl Formats {
    /// Begins to follow the producers of `topic`.
    pub(super) fn follow(network: &Network, topic: &str) -> Self {
        let text = Schema::trace::<String>().ok();
        let shared = Arc::new(Shared {
            network: network.clone(),
            topic: topic.to_owned(),
            text: text.as_ref().map(Schema::fingerprint),
            known: Mutex::default(),
            changes: watch::Sender::new(()),
        });
        let tasks = Tasks::new(Span::none());
        tasks.spawn(follow(shared.clone(), tasks.clone()));
        Self { shared }
    }

    /// The format of a producer's datums.
    pub(super) async fn of(&self, peer: PeerId) -> Arc<Format> {
        let mut changes = self.shared.changes.subscribe();
        let known = async {
            loop {
                changes.mark_unchanged();
                let format = self.shared.known().get(&peer).map(|k| k.format.clone());
                if let Some(Some(format)) = format {
                    return format;
                }
                if changes.changed().await.is_err() {
                    return Arc::new(Format::Unknown("the node is shut down".into()));
                }
            }
        };
        let unknown = || Format::Unknown("it left before it said what its datums look like".into());
        let format = rt::timeout(WAIT, known).await;
        format.unwrap_or_else(|_| Arc::new(unknown()))
    }
}

/// Asks every producer that discovery shows.
async fn follow(shared: Arc<Shared>, tasks: Tasks) {
    let topic = TopicId::from_name(&shared.topic);
    let mut snapshots = shared.network.discovery().watch();
    while let Some(catalog) = snapshots.next().await {
        for entry in catalog.iter() {
            let Some(info) = entry.produces(topic) else {
                continue;
            };
            let fingerprint = info.fingerprint.map(Fingerprint::from_bytes);
            if shared.begin(entry.peer(), fingerprint) {
                tasks.spawn(ask(shared.clone(), entry.peer(), fingerprint));
            }
        }
        shared.forget(&catalog);
    }
}

async fn ask(shared: Arc<Shared>, peer: PeerId, fingerprint: Option<Fingerprint>) {
    let mut tries = 0;
    let format = loop {
        tries += 1;
        let described = shared.network.streams().describe(peer, &shared.topic).await;
        match described.map(|description| description.schema) {
            Ok(Some(schema)) => break Format::Schema(schema),
            Ok(None) => break Format::Unknown("it serves no schema".into()),
            Err(error) if tries == TRIES => {
                break Format::Unknown(format!("its schema is not to be had: {error}"));
            }
            Err(error) => debug!(peer = %peer.short(), %error, "no schema yet"),
        }
    };
    shared.set(peer, fingerprint, Arc::new(format));
}

impl Shared {
    /// Notes a producer with this fingerprint. Returns whether its schema must be asked for.
    fn begin(&self, peer: PeerId, fingerprint: Option<Fingerprint>) -> bool {
        let mut known = self.known();
        let current = known.get(&peer);
        if current.is_some_and(|current| current.fingerprint == fingerprint) {
            return false;
        }
        // Producers of one type have one schema.
        let same = known
            .values()
            .filter(|other| other.fingerprint == fingerprint);
        let readable = |format: &&Arc<Format>| !matches!(***format, Format::Unknown(_));
        let mut same = same.filter_map(|other| other.format.as_ref());
        let format = match fingerprint {
            None => Some(Arc::new(Format::Unknown(
                "its type has no schema, as its declaration cannot be traced".into(),
            ))),
            Some(_) if fingerprint == self.text => Some(Arc::new(Format::Text)),
            Some(_) => same.find(readable).cloned(),
        };
        let unknown = format.is_none();
        known.insert(
            peer,
            Known {
                fingerprint,
                format,
            },
        );
        drop(known);
        self.changes.send_replace(());
        unknown
    }

    fn set(&self, peer: PeerId, fingerprint: Option<Fingerprint>, format: Arc<Format>) {
        if let Some(known) = self.known().get_mut(&peer)
            && known.fingerprint == fingerprint
        {
            known.format = Some(format);
        }
        self.changes.send_replace(());
    }

    fn forget(&self, catalog: &Catalog) {
        let mut known = self.known();
        if known.len() > MAX_PRODUCERS {
            known.retain(|peer, _| catalog.contains(peer));
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<PeerId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
