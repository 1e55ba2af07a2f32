//! Keeps a client connected to a member.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use tracing::{debug, info};

use super::{
    choice::{Choice, Current, Decision},
    message::{Answered, End, Hello, Standing, Version, Welcome},
    serve::{Gateway, MAX_GREETING},
};
use crate::{
    groups::{
        bonds::{Bonds, Header, Line},
        error::{Refusal, Unavailable},
        forward::Forwarding,
        front::Front,
        machine::Item,
        progress::Progress,
        proposer::Fate,
        proto::founding::charter::Epoch,
        shared::Shared,
        status::{GroupStatus, Phase},
    },
    id::{MemberId, PeerId},
    rt::{self, Instant, Tasks, watch},
    transport::Link,
};

/// How long connecting to a member may take, with all that is said before it serves.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked whether somebody waits for an answer.
const WATCH: Duration = Duration::from_millis(100);
/// How long a member may be silent while somebody does.
const SILENCE: Duration = Duration::from_millis(500);

/// Keeps a client connected to a member.
pub(crate) struct Connector {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bonds: Bonds,
    pub(crate) key: [u8; 32],
    pub(crate) version: Version,
    pub(crate) tasks: Tasks,
}

/// The way to the member that serves a client.
pub(crate) struct Remote {
    epoch: Epoch,
    member: MemberId,
    way: Way,
    progress: Arc<Progress>,
}

enum Way {
    /// It is on this node.
    Here(Arc<Gateway>),
    /// It is on another one.
    There(Forwarding),
}

impl Remote {
    /// The charter's epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The member.
    pub(crate) fn member(&self) -> MemberId {
        self.member
    }

    /// Has an item applied. How far the log is known to be applied then counts as the client's progress.
    pub(crate) fn submit(&self, item: Item) -> BoxFuture<'_, Fate> {
        async move {
            let fate = match &self.way {
                Way::Here(gateway) => gateway.submit(item).await,
                Way::There(forwarding) => forwarding.submit(item).await,
            };
            if let Ok((at, _)) = &fate {
                self.progress.advance(at.index);
            }
            fate
        }
        .boxed()
    }

    /// Asks a query.
    pub(crate) async fn query(&self, query: Bytes) -> Answered {
        let answered = match &self.way {
            Way::Here(gateway) => gateway.query(&query).await,
            Way::There(forwarding) => forwarding.query(query).await,
        };
        if let Ok(Ok(answer)) = &answered {
            self.progress.advance(answer.version);
        }
        answered
    }
}

/// The member that serves the client now.
struct Served {
    remote: Arc<Remote>,
    standing: watch::Receiver<Option<Standing>>,
    now: Standing,
    since: Instant,
    /// What keeps the way open.
    tasks: Tasks,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tasks.cancel();
    }
}

impl Served {
    fn current(&self) -> Current {
        Current {
            peer: self.remote.member.peer,
            leader: self.now.leader.map(|leader| leader.peer),
            since: self.since,
        }
    }

    /// Waits until something else is known of the group; `false` says that the member serves no longer.
    async fn changed(&mut self) -> bool {
        if self.standing.changed().await.is_err() {
            return false;
        }
        if let Some(now) = self.standing.borrow_and_update().clone() {
            if now.leader != self.now.leader {
                self.since = rt::now();
            }
            self.now = now;
        }
        true
    }
}

/// Why a member does not serve the client.
#[derive(Debug, thiserror::Error)]
enum Unserved {
    /// It cannot be reached, or serves nobody now.
    #[error("{0}")]
    Away(String),
    /// One of the two does not take the other for one of its group.
    #[error("{0}")]
    Refused(Refusal),
}

impl Unserved {
    fn away(error: &impl ToString) -> Self {
        Self::Away(error.to_string())
    }
}

impl Connector {
    /// Keeps the client connected, until it is dropped.
    pub(crate) async fn run(self) {
        let mut choice = Choice::default();
        let mut refusals = BTreeMap::new();
        let mut served: Option<Served> = None;
        let mut catalog = self.bonds.catalogs();
        let mut groups = self.bonds.group_changes();
        loop {
            groups.mark_unchanged();
            let members = self.members(&catalog.borrow_and_update());
            let front = self.bonds.front(&self.shared.id());
            let mut serving = front.as_ref().map(|front| front.serving().subscribe());
            let own = serving
                .as_mut()
                .map(|own| own.borrow_and_update().is_some());
            let own = (own == Some(true)).then_some(self.shared.peer());
            refusals.retain(|peer, _| members.contains(peer) || own == Some(*peer));
            let current = served.as_ref().map(Served::current);
            let until = match choice.decide(rt::now(), &members, own, current) {
                Decision::Wait(until) => until,
                Decision::Connect(peer) => {
                    match self.connect(peer, front.as_ref()).await {
                        Ok(connected) => {
                            info!(member = %connected.remote.member, "a member serves this client");
                            choice.connected(rt::now(), peer);
                            refusals.clear();
                            served = Some(connected);
                        }
                        Err(why) => {
                            debug!(peer = %peer.short(), %why, "a member does not serve this client");
                            choice.failed(rt::now(), peer);
                            if let Unserved::Refused(why) = why {
                                refusals.insert(peer, why);
                            }
                        }
                    }
                    self.show(served.as_ref(), &refusals);
                    continue;
                }
            };
            self.show(served.as_ref(), &refusals);
            tokio::select! {
                biased;
                serves = changed(served.as_mut()) => {
                    if !serves && let Some(gone) = served.take() {
                        choice.failed(rt::now(), gone.remote.member.peer);
                    }
                }
                _ = catalog.changed() => {}
                _ = groups.changed() => {}
                () = own_changed(serving.as_mut()) => {}
                () = wait_until(until) => {}
            }
        }
    }

    /// The other nodes that hold the group's state.
    fn members(&self, catalog: &crate::discovery::Catalog) -> Vec<PeerId> {
        let group = self.shared.id();
        let holds = |entry: &crate::discovery::Entry| {
            let info = entry.group(group);
            info.is_some_and(|info| info.charter.is_some())
        };
        let entries = catalog.iter().filter(|entry| holds(entry));
        entries.map(|entry| entry.peer()).collect()
    }

    async fn connect(&self, peer: PeerId, own: Option<&Arc<Front>>) -> Result<Served, Unserved> {
        if peer == self.shared.peer() {
            let gateway = own.and_then(|front| Gateway::open(front, peer));
            let gateway = gateway.ok_or(Unserved::Away("it holds no state now".into()))?;
            let refusal = own.and_then(|front| self.refuse(front));
            return match refusal {
                Some(why) => Err(Unserved::Refused(why)),
                None => Ok(self.serve_here(gateway)),
            };
        }
        let connected = rt::timeout(CONNECT_TIMEOUT, self.connect_there(peer)).await;
        connected.unwrap_or_else(|_| Err(Unserved::Away("it does not answer".into())))
    }

    /// Why the member on this node does not serve the client, if so.
    fn refuse(&self, front: &Front) -> Option<Refusal> {
        if *front.key() != self.key {
            return Some(Refusal::Key);
        }
        let (program, fingerprint) = (front.shared().program(), front.fingerprint());
        self.version.compare(program, fingerprint).err()
    }

    fn serve_here(&self, gateway: Gateway) -> Served {
        let tasks = self.tasks.child();
        let (mut standings, gateway) = (gateway.standings(), Arc::new(gateway));
        let (told, standing) = watch::channel(None);
        let now = standings.last().clone();
        let serving = gateway.clone();
        tasks.spawn(async move {
            let tell = async {
                while let Some(now) = standings.next().await {
                    told.send_replace(Some(now));
                }
                Ok(())
            };
            drop(serving.while_served(tell).await);
        });
        let (epoch, member) = (gateway.replica().epoch(), gateway.replica().me());
        self.served((epoch, member), Way::Here(gateway), standing, now, tasks)
    }

    async fn connect_there(&self, peer: PeerId) -> Result<Served, Unserved> {
        let entry = self.bonds.catalog().get(&peer);
        let entry = entry.ok_or(Unserved::Away("it is gone".into()))?;
        let connection = self.bonds.pool().connect(entry.addr()).await;
        let connection = connection.map_err(|error| Unserved::away(&error))?;
        let line = self.bonds.line_of(&connection).await;
        let line = line.map_err(|error| Unserved::away(&error))?;
        let group = self.shared.id();
        let link = Link::<Header, ()>::open(&connection, MAX_GREETING).await;
        let mut link = link.map_err(|error| Unserved::away(&error))?;
        let sent = link.tx.send(&Header::Client { group }).await;
        sent.map_err(|error| Unserved::away(&error))?;
        let mut link = Link::<Hello, Welcome>::resume(link.into_halves(), MAX_GREETING);
        let hello = Hello {
            version: self.version.clone(),
            proof: line.proof_as(&self.key, End::Client, group),
        };
        let sent = link.tx.send(&hello).await;
        sent.map_err(|error| Unserved::away(&error))?;
        let welcome = link.rx.recv().await;
        let welcome = welcome.map_err(|error| Unserved::away(&error))?;
        let (epoch, member, now) = match welcome {
            Some(Welcome::Served {
                epoch,
                member,
                standing,
                proof,
            }) => {
                if proof != line.proof_as(&self.key, End::Member, group) || member.peer != peer {
                    return Err(Unserved::Refused(Refusal::Key));
                }
                (epoch, member, *standing)
            }
            Some(Welcome::Refused(why)) => return Err(Unserved::Refused(why)),
            Some(Welcome::NotNow) | None => {
                return Err(Unserved::Away("it serves nobody now".into()));
            }
        };
        let tasks = self.tasks.child();
        let (told, standing) = watch::channel(None);
        let forwarding = Forwarding::start(link.into_halves(), told, &tasks);
        tasks.spawn(watch_over(forwarding.clone(), line, tasks.clone()));
        let way = Way::There(forwarding);
        Ok(self.served((epoch, member), way, standing, now, tasks))
    }

    fn served(
        &self,
        (epoch, member): (Epoch, MemberId),
        way: Way,
        standing: watch::Receiver<Option<Standing>>,
        now: Standing,
        tasks: Tasks,
    ) -> Served {
        let remote = Remote {
            epoch,
            member,
            way,
            progress: self.shared.progress().clone(),
        };
        Served {
            remote: Arc::new(remote),
            standing,
            now,
            since: rt::now(),
            tasks,
        }
    }

    /// Tells the handles how the group is doing.
    fn show(&self, served: Option<&Served>, refusals: &BTreeMap<PeerId, Refusal>) {
        let usable = served.filter(|served| served.now.leader.is_some());
        if usable.is_none() {
            self.shared.serve_by(None);
        }
        let mut now = GroupStatus {
            phase: Phase::Connecting,
            // Not known, and not said.
            durable: true,
            refusals: refusals
                .iter()
                .map(|(peer, why)| (*peer, why.clone()))
                .collect(),
            ..GroupStatus::default()
        };
        if let Some(served) = served {
            now.phase = Phase::Client(served.remote.member);
            now.leader = served.now.leader;
            now.membership = served.now.membership.clone();
            now.online = now.leader.is_some();
        } else {
            let refused = refusals.first_key_value();
            now.unavailable = refused.map(|(by, why)| Unavailable::Refused {
                by: *by,
                why: why.clone(),
            });
        }
        self.shared.status().send_if_modified(|status| {
            let news = *status != now;
            *status = now;
            news
        });
        // Whoever gets an answer sees who gave it.
        if let Some(served) = usable {
            self.shared.serve_by(Some(&served.remote));
        }
    }
}

/// Gives a member up that is silent while somebody waits for its answer: a node that died says nothing, and its
/// connection takes seconds to.
async fn watch_over(forwarding: Forwarding, line: Line, tasks: Tasks) {
    while !forwarding.is_closed() {
        rt::sleep(WATCH).await;
        if !forwarding.is_idle() && rt::timeout(SILENCE, line.flush()).await.is_err() {
            debug!("a member is silent");
            break;
        }
    }
    tasks.cancel();
}

async fn changed(served: Option<&mut Served>) -> bool {
    match served {
        Some(served) => served.changed().await,
        None => std::future::pending().await,
    }
}

async fn own_changed<T>(serving: Option<&mut watch::Receiver<T>>) {
    let changed = match serving {
        Some(serving) => serving.changed().await.is_ok(),
        None => false,
    };
    // The part of this node is over: the groups of this node change then.
    if !changed {
        std::future::pending().await
    }
}

async fn wait_until(until: Option<Instant>) {
    match until {
        Some(until) => rt::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("epoch", &self.epoch)
            .field("member", &self.member)
            .finish_non_exhaustive()
    }
}
