//! Keeps a client connected to a member.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
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
    tickets::{NotAdmitted, RequiredTickets},
    transport::Link,
};

/// How long connecting to a member may take, with all that is said before it serves.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often it is looked whether somebody waits for an answer.
const WATCH: Duration = Duration::from_millis(100);
/// How long a member may be silent while somebody does, at least; else four times the way to it and back.
const SILENCE: Duration = Duration::from_millis(500);

/// Keeps a client connected to a member.
pub(crate) struct Connector {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bonds: Bonds,
    pub(crate) key: [u8; 32],
    pub(crate) tickets: RequiredTickets,
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
    pub(crate) fn submit(self: &Arc<Self>, item: Item) -> BoxFuture<'static, Fate> {
        let remote = self.clone();
        async move {
            let fate = match &remote.way {
                Way::Here(gateway) => gateway.submit(item).await,
                Way::There(forwarding) => forwarding.submit(item).await,
            };
            if let Ok((at, _)) = &fate {
                remote.progress.advance(at.index);
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

/// Attempts to connect, each with whom it is to.
type Dials = FuturesUnordered<BoxFuture<'static, (PeerId, Result<Served, Unserved>)>>;

/// What is known of the members, and how the client stands with them.
#[derive(Default)]
struct Known {
    choice: Choice,
    /// The other nodes that can be connected to.
    members: Vec<PeerId>,
    /// The client's own node, if it is one.
    own: Option<PeerId>,
    refusals: BTreeMap<PeerId, Refusal>,
    served: Option<Served>,
}

impl Known {
    /// An attempt to connect has ended.
    fn dialed(&mut self, peer: PeerId, outcome: Result<Served, Unserved>) {
        match outcome {
            Ok(served) => {
                info!(member = %served.remote.member, "a member serves this client");
                self.choice.connected(rt::now(), peer);
                self.refusals.clear();
                self.served = Some(served);
            }
            Err(why) => {
                debug!(peer = %peer.short(), %why, "a member does not serve this client");
                self.choice.failed(rt::now(), peer, rt::jitter);
                if let Unserved::Refused(why) = why {
                    self.refusals.insert(peer, why);
                }
            }
        }
    }

    /// The member that served the client does so no longer.
    fn lost(&mut self) {
        if let Some(gone) = self.served.take() {
            let peer = gone.remote.member.peer;
            self.choice.failed(rt::now(), peer, rt::jitter);
        }
    }

    /// Who refuses the client, if all do.
    fn refused(&self) -> Option<(PeerId, Refusal)> {
        let all = self.own.iter().chain(&self.members);
        let all = all.clone().all(|peer| self.refusals.contains_key(peer));
        let (by, why) = self.refusals.first_key_value().filter(|_| all)?;
        Some((*by, why.clone()))
    }
}

impl Connector {
    /// Keeps the client connected, until it is dropped.
    pub(crate) async fn run(self) {
        let connector = Arc::new(self);
        let mut known = Known::default();
        let mut dials = Dials::new();
        let mut catalog = connector.bonds.catalogs();
        let mut groups = connector.bonds.group_changes();
        loop {
            groups.mark_unchanged();
            known.members = connector.members(&catalog.borrow_and_update());
            let front = connector.bonds.front(&connector.shared.id());
            let mut serving = front.as_ref().map(|front| front.serving().subscribe());
            let own = serving
                .as_mut()
                .map(|own| own.borrow_and_update().is_some());
            known.own = (own == Some(true)).then_some(connector.shared.peer());
            let (members, own) = (&known.members, known.own);
            known
                .refusals
                .retain(|peer, _| members.contains(peer) || own == Some(*peer));
            let current = known.served.as_ref().map(Served::current);
            let decision = known.choice.decide(rt::now(), members, own, current);
            connector.show(&known);
            let until = match decision {
                Decision::Wait(until) => until,
                Decision::Connect(peer) => {
                    known.choice.dials(rt::now(), peer);
                    dials.push(connector.clone().dial(peer, front));
                    continue;
                }
            };
            tokio::select! {
                biased;
                serves = changed(known.served.as_mut()) => {
                    if !serves {
                        known.lost();
                    }
                }
                Some((peer, outcome)) = dials.next() => {
                    if outcome.is_ok() {
                        dials.clear();
                    }
                    known.dialed(peer, outcome);
                }
                changed = catalog.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = groups.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = own_changed(serving.as_mut()) => {}
                () = wait_until(until) => {}
            }
        }
    }

    fn dial(
        self: Arc<Self>,
        peer: PeerId,
        own: Option<Arc<Front>>,
    ) -> BoxFuture<'static, (PeerId, Result<Served, Unserved>)> {
        async move { (peer, self.connect(peer, own.as_ref()).await) }.boxed()
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
        let group = self.shared.id();
        let opened = self.bonds.open_to(peer, &Header::Client { group }).await;
        let (line, halves) = opened.map_err(|error| Unserved::away(&error))?;
        let admitted = line.admissions.admit(group, &self.tickets);
        admitted.map_err(|why| match why {
            NotAdmitted::Unknown => Unserved::Away("it is not in the catalog any more".into()),
            NotAdmitted::Denied(denial) => Unserved::Away(format!("it has {denial}")),
        })?;
        let mut link = Link::<Hello, Welcome>::resume(halves, MAX_GREETING);
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
    fn show(&self, known: &Known) {
        let served = known.served.as_ref();
        let usable = served.filter(|served| served.now.leader.is_some());
        if usable.is_none() {
            self.shared.serve_by(None);
        }
        let refusals = known.refusals.iter();
        let mut now = GroupStatus {
            phase: Phase::Connecting,
            // Not known, and not said.
            durable: true,
            refusals: refusals.map(|(peer, why)| (*peer, why.clone())).collect(),
            ..GroupStatus::default()
        };
        if let Some(served) = served {
            now.phase = Phase::Client(served.remote.member);
            now.leader = served.now.leader;
            now.membership = served.now.membership.clone();
            now.online = now.leader.is_some();
        } else {
            let refused = known.refused();
            now.unavailable = refused.map(|(by, why)| Unavailable::Refused { by, why });
        }
        self.shared.status().send_if_modified(|status| {
            // Who was told that it is over is told nothing else.
            if matches!(status.phase, Phase::Ended(_)) || *status == now {
                return false;
            }
            *status = now;
            true
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
        let rtt = line.connection.rtt().unwrap_or_default();
        let silence = SILENCE.max(rtt.saturating_mul(4));
        if !forwarding.is_idle() && rt::timeout(silence, line.flush()).await.is_err() {
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
