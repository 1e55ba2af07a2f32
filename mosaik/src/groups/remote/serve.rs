//! What a member does for clients.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::message::{Answer, Answered, End, Hello, Standing, Unanswered, Welcome};
use crate::{
    groups::{
        answering::{self, Serve, Ticket, Work},
        bonds::Line,
        client::Client,
        error::Refusal,
        front::Front,
        machine::{Item, ItemReply, QueryError},
        proposer::{Asker, Failed, Fate, MAX_ITEM, UnderWay, ask},
        proto::log_id::LogId,
        replica::Replica,
        route::Route,
        status::GroupStatus,
    },
    id::PeerId,
    rt::{self, watch},
    tickets::NotAdmitted,
    transport::{CloseCode, Halves, Link, LinkError},
};

/// Clients that a member serves at once.
const MAX_CLIENTS: usize = 1024;
/// Largest message before the first request, in bytes: a membership has at most some dozen members.
pub(super) const MAX_GREETING: usize = 16 * 1024;
/// How long a client may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a query may wait here for a leader, or for a state that is restored; then the client asks again, here or
/// elsewhere.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether a state is restored.
const RESTORING: Duration = Duration::from_millis(2);

/// The places for the clients of a member.
#[derive(Clone, Debug)]
pub(crate) struct Clients(Arc<Semaphore>);

impl Default for Clients {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CLIENTS)))
    }
}

impl Clients {
    /// One of them, if any is free.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

/// What a member does for one client.
#[derive(Debug)]
pub(super) struct Gateway {
    front: Arc<Front>,
    replica: Arc<Replica>,
    client: PeerId,
}

impl Gateway {
    /// The gateway of the replica that runs here, if one does.
    pub(super) fn open(front: &Arc<Front>, client: PeerId) -> Option<Self> {
        let replica = front.serving().borrow().clone()?;
        Some(Self {
            front: front.clone(),
            replica,
            client,
        })
    }

    pub(super) fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// How the group is doing, as it changes.
    pub(super) fn standings(&self) -> Standings {
        let status = self.front.shared().status().subscribe();
        let last = standing(&status.borrow());
        Standings { status, last }
    }

    /// Runs `served` for as long as the replica is the one that runs here.
    pub(super) async fn while_served(
        &self,
        served: impl Future<Output = Result<(), LinkError>>,
    ) -> Result<(), LinkError> {
        self.front.while_served(&self.replica, served).await
    }

    /// Has an item applied, by whoever leads.
    pub(super) async fn submit(&self, item: Item) -> Fate {
        UnderWay::from(ask(|asker| self.hand_over(item, asker)).await).await
    }

    fn hand_over(&self, item: Item, asker: Asker) -> Work {
        match self.way_of(&item) {
            // The leader looks whether it can be applied.
            Ok(Route::Here(replica)) => replica.submit_for(item, asker),
            Ok(route) => Some(async move { asker.tell(route.submit(item).await) }.boxed()),
            Err(failed) => {
                asker.tell(Err(failed));
                None
            }
        }
    }

    /// The way of an item that may come from this client.
    fn way_of(&self, item: &Item) -> Result<Route, Failed> {
        let is_sound = match item {
            Item::Open { peer } => *peer == self.client,
            // Whoever orders an import has to prove that he may.
            Item::Import(_) => false,
            // What no member would send on.
            Item::Commands { commands, .. } => commands.len() <= MAX_ITEM,
            _ => true,
        };
        if !is_sound {
            return Err(Failed::Malformed);
        }
        self.route().ok_or(Failed::NotLeader { leader: None })
    }

    /// The way to the leader of the charter that the client was told: its session is of that one.
    fn route(&self) -> Option<Route> {
        let route = self.front.shared().routes().borrow().clone();
        let route = route.ok().flatten();
        route.filter(|route| route.epoch() == self.replica.epoch())
    }

    /// Answers a query from a state that holds all that was acknowledged before it came.
    pub(super) async fn query(&self, query: &[u8]) -> Answered {
        let later = || Failed::NotLeader { leader: None };
        let shared = self.front.shared();
        let read = rt::timeout(PATIENCE, Client::read(shared)).await;
        read.map_err(|_| later())?.map_err(|_| later())?;
        // What is superseded can be read here, and misses what was acknowledged elsewhere.
        if self.route().is_none() {
            return Err(later());
        }
        let version = shared.progress().get().unwrap_or(0);
        let answer = rt::timeout(PATIENCE, self.settled(query)).await;
        let answer = answer.map_err(|_| later())?;
        Ok(answer.map(|bytes| Answer {
            version,
            bytes: bytes.into(),
        }))
    }

    /// Answers a query once the state is not being restored.
    async fn settled(&self, query: &[u8]) -> Result<Vec<u8>, Unanswered> {
        loop {
            return match self.replica.query(query) {
                Ok(answer) => Ok(answer),
                Err(QueryError::Restoring) => {
                    rt::sleep(RESTORING).await;
                    continue;
                }
                Err(QueryError::Unknown(why)) => Err(Unanswered::Unknown {
                    query: why.unknown_number(),
                    peer: self.replica.me().peer,
                }),
                Err(QueryError::Panicked { message }) => Err(Unanswered::Panicked(message)),
                Err(QueryError::Answer(why)) => Err(Unanswered::Encoding(why.to_string())),
            };
        }
    }
}

impl Serve for Gateway {
    fn answer_submit(self: &Arc<Self>, item: Item, ticket: Ticket<(LogId, ItemReply)>) -> Work {
        self.hand_over(item, Asker::Stream(ticket))
    }

    fn answer_query(
        self: &Arc<Self>,
        query: Bytes,
        ticket: Ticket<Result<Answer, Unanswered>>,
    ) -> Work {
        let gateway = self.clone();
        Some(async move { ticket.tell(gateway.query(&query).await) }.boxed())
    }
}

/// How a group is doing, for clients, as it changes.
#[derive(Debug)]
pub(crate) struct Standings {
    status: watch::Receiver<GroupStatus>,
    last: Standing,
}

impl Standings {
    /// The last that was told.
    pub(super) fn last(&self) -> &Standing {
        &self.last
    }

    /// The next that differs from the last; `None` once nobody knows any more.
    pub(crate) async fn next(&mut self) -> Option<Standing> {
        loop {
            self.status.changed().await.ok()?;
            let now = standing(&self.status.borrow_and_update());
            if now != self.last {
                self.last = now.clone();
                return Some(now);
            }
        }
    }
}

/// A leader that this member cannot use is of no use to its clients either.
fn standing(status: &GroupStatus) -> Standing {
    Standing {
        leader: status.leader.filter(|_| status.online),
        membership: status.membership.clone(),
    }
}

impl Front {
    /// Serves a stream that a client opened, on the connection of this control stream.
    pub(crate) async fn serve_client(
        self: Arc<Self>,
        line: Line,
        halves: Halves,
    ) -> Result<(), LinkError> {
        let mut link = Link::<Welcome, Hello>::resume(halves, MAX_GREETING);
        let hello = rt::timeout(HELLO_TIMEOUT, link.rx.recv()).await;
        let hello = hello.map_err(|_| LinkError::Stream(CloseCode::TimedOut))??;
        let hello = hello.ok_or(LinkError::Truncated)?;
        let place = self.clients().place();
        let gateway = Gateway::open(&self, line.connection.peer());
        let refusal = self.refuse(&line, &hello).await;
        let (Some(_place), Some(gateway), None) = (place, gateway, &refusal) else {
            let answer = refusal.unwrap_or(Welcome::NotNow);
            link.tx.send(&answer).await?;
            return link.tx.finish().await;
        };
        let (standings, gateway) = (gateway.standings(), Arc::new(gateway));
        let welcome = Welcome::Served {
            epoch: gateway.replica.epoch(),
            member: gateway.replica.me(),
            standing: Box::new(standings.last().clone()),
            proof: line.proof_as(self.key(), End::Member, self.group()),
        };
        link.tx.send(&welcome).await?;
        let halves = link.into_halves();
        let served = answering::serve(&gateway, halves, Some(standings));
        gateway.while_served(served).await
    }

    /// What a client is told that is not served, if so.
    async fn refuse(&self, line: &Line, hello: &Hello) -> Option<Welcome> {
        if hello.proof != line.proof_as(self.key(), End::Client, self.group()) {
            return Some(Welcome::Refused(Refusal::Key));
        }
        let (program, fingerprint) = (self.shared().program(), self.fingerprint());
        if let Err(why) = hello.version.compare(program, fingerprint) {
            return Some(Welcome::Refused(why));
        }
        // Of who is no client of the group no ticket is looked after.
        let admitted = line.admissions.admit_soon(self.group(), self.tickets());
        match admitted.await {
            Ok(()) => None,
            Err(NotAdmitted::Denied(denial)) => Some(Welcome::Refused(denial.into())),
            // It is soon: it comes again.
            Err(NotAdmitted::Unknown) => Some(Welcome::NotNow),
        }
    }
}
