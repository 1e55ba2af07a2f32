//! How the commands of this node get applied, once each, whoever leads.
//!
//! The handles of a group share one session. Each call [sends](super::execution) its command itself, and again with the
//! same session and sequence whenever the way to the leader breaks, until there is an answer; dropping the call ends that,
//! and counts as if it had been answered.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::{Mutex as Turn, Semaphore, SemaphorePermit, oneshot};
use tracing::debug;

use super::{
    error::{GroupError, Unavailable},
    machine::{Item, ItemReply},
    proposer::MAX_ITEM,
    proto::{
        founding::charter::Epoch,
        session::{Request, SessionId, WINDOW},
    },
    remote::{Answer, Unanswered},
    route::Route,
    shared::{Ended, Shared},
    status::GroupStatus,
};
use crate::rt::{self, lock, watch};

/// Commands of this node that are under way at once; more wait to be sent.
const MAX_UNDER_WAY: usize = 2048;
/// Kibibytes of commands of this node that are under way at once; more wait to be sent: 64 MiB.
const MAX_KIB: u32 = 64 * 1024;
/// How long to wait before a command is sent again to the same leader.
const RETRY: Duration = Duration::from_millis(20);

/// What the handles of a group share of their session.
#[derive(Debug)]
pub(crate) struct Client {
    session: Mutex<Session>,
    /// Held by whoever opens a session.
    opening: Arc<Turn<()>>,
    under_way: Semaphore,
    kib: Semaphore,
}

#[derive(Debug, Default)]
struct Session {
    /// The session, and the charter under which it was opened.
    id: Option<(Epoch, SessionId)>,
    next: u64,
    /// Sequences whose answers are waited for.
    unanswered: BTreeSet<u64>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            session: Mutex::default(),
            opening: Arc::default(),
            under_way: Semaphore::new(MAX_UNDER_WAY),
            kib: Semaphore::new(MAX_KIB as usize),
        }
    }
}

/// A place in the session; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    session: (Epoch, SessionId),
    sequence: u64,
}

impl Place {
    /// The charter under which the session was opened.
    pub(super) fn epoch(&self) -> Epoch {
        self.session.0
    }

    /// What tells what is sent from here apart.
    pub(super) fn request(&self) -> Request {
        let session = lock(&self.shared.client().session);
        let current = session.id == Some(self.session);
        let lowest = session.unanswered.first().copied().filter(|_| current);
        Request {
            session: self.session.1,
            sequence: self.sequence,
            unanswered: lowest.unwrap_or(self.sequence).min(self.sequence),
        }
    }

    /// The group does not know the session.
    pub(super) fn forget(self) {
        self.shared.client().forget(self.session);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut session = lock(&self.shared.client().session);
        if session.id == Some(self.session) {
            session.unanswered.remove(&self.sequence);
        }
    }
}

impl Client {
    /// Waits until there is room for so many bytes of commands, unless the log here cannot be opened, or this client is
    /// refused.
    pub(super) async fn let_in(&self, shared: &Shared, bytes: usize) -> Result<(), GroupError> {
        let place = acquire(shared, &self.under_way, 1).await?;
        let room = acquire(shared, &self.kib, kib(bytes)).await?;
        place.forget();
        room.forget();
        Ok(())
    }

    /// They are under way no longer.
    pub(super) fn let_out(&self, bytes: usize) {
        self.under_way.add_permits(1);
        self.kib.add_permits(kib(bytes) as usize);
    }

    /// Waits until this replica may answer a query that is asked now.
    pub(crate) async fn read(shared: &Arc<Shared>) -> Result<(), GroupError> {
        let mut routes = shared.routes();
        loop {
            let route = match unless_shut(shared, usable(shared, &mut routes)).await? {
                // Nothing was applied behind the verdict, which this replica has applied.
                Err(GroupError::Superseded) => return Ok(()),
                route => route?,
            };
            let found = match &route {
                Route::Here(replica) => replica.read_index().await,
                Route::There(_) | Route::Remote(_) => shared.reads().index().await,
            };
            match found {
                Ok(None) => return Ok(()),
                Ok(Some(index)) => {
                    return unless_shut(shared, shared.progress().reach(index)).await;
                }
                Err(failed) => {
                    debug!(?failed, "a round of queries is asked again");
                    pause(&mut routes).await;
                }
            }
        }
    }

    /// Has a member answer a query, for a client without a replica.
    pub(crate) async fn query(
        shared: &Arc<Shared>,
        query: &Bytes,
    ) -> Result<Result<Answer, Unanswered>, GroupError> {
        if query.len() > MAX_ITEM {
            return Err(GroupError::TooLarge {
                len: query.len(),
                limit: MAX_ITEM,
                unit: "bytes",
            });
        }
        let mut routes = shared.routes();
        loop {
            let route = unless_shut(shared, usable(shared, &mut routes)).await??;
            match route.query(query.clone()).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => {
                    debug!(?failed, "a query is asked again");
                    pause(&mut routes).await;
                }
            }
        }
    }

    /// The session, and the charter under which it was opened, if there is one.
    pub(crate) fn session(&self) -> Option<(Epoch, SessionId)> {
        lock(&self.session).id
    }

    /// Forgets a session that the group does not know.
    fn forget(&self, known: (Epoch, SessionId)) {
        let mut session = lock(&self.session);
        if session.id == Some(known) {
            *session = Session::default();
        }
    }

    /// A place in the session, which is opened if there is none. `None` if the leader did not open one.
    pub(super) async fn place(
        shared: &Arc<Shared>,
        route: &Route,
    ) -> Result<Option<Place>, GroupError> {
        match shared.client().allocate(shared, route.epoch()) {
            Some(place) => Ok(Some(place)),
            None => Self::open(shared, route).boxed().await,
        }
    }

    /// Opens a session, unless somebody else does just now; a place in it.
    async fn open(shared: &Arc<Shared>, route: &Route) -> Result<Option<Place>, GroupError> {
        let turn = shared.client().opening.clone().lock_owned().await;
        if let Some(place) = shared.client().allocate(shared, route.epoch()) {
            return Ok(Some(place));
        }
        // Whoever gave the call up would leave a session behind that nobody knows.
        let (told, opened) = oneshot::channel();
        let (opening, way) = (shared.clone(), route.clone());
        shared.tasks().spawn(async move {
            let _turn = turn;
            let open = Item::Open {
                peer: opening.peer(),
            };
            let opened = way.submit(open).await;
            if let Ok((_, ItemReply::Opened(id))) = opened {
                *lock(&opening.client().session) = Session {
                    id: Some((way.epoch(), id)),
                    ..Session::default()
                };
            }
            drop(told.send(opened));
        });
        match opened.await {
            Ok(Ok((_, ItemReply::Opened(_)))) => {
                Ok(shared.client().allocate(shared, route.epoch()))
            }
            Ok(Ok((_, ItemReply::TooManySessions))) => Err(GroupError::Busy),
            Ok(Ok((_, ItemReply::Superseded))) => Err(GroupError::Superseded),
            // The network is shut down.
            Err(_) => Err(GroupError::Closed),
            Ok(_) => Ok(None),
        }
    }

    /// A place in a session that was opened.
    #[cfg(test)]
    pub(super) fn opened(
        &self,
        shared: &Arc<Shared>,
        epoch: Epoch,
        id: SessionId,
    ) -> Option<Place> {
        lock(&self.session).id = Some((epoch, id));
        self.allocate(shared, epoch)
    }

    fn allocate(&self, shared: &Arc<Shared>, epoch: Epoch) -> Option<Place> {
        let mut session = lock(&self.session);
        let (known, id) = session.id.filter(|(known, _)| *known == epoch)?;
        let sequence = session.next;
        // The window of the group is wider than what this node has under way, but for gaps.
        let lowest = session.unanswered.first().copied().unwrap_or(sequence);
        if sequence - lowest >= WINDOW {
            return None;
        }
        session.next += 1;
        session.unanswered.insert(sequence);
        Some(Place {
            shared: shared.clone(),
            session: (known, id),
            sequence,
        })
    }
}

/// Waits for room, unless the log here cannot be opened, or this client is refused.
async fn acquire<'a>(
    shared: &Shared,
    room: &'a Semaphore,
    count: u32,
) -> Result<SemaphorePermit<'a>, GroupError> {
    if let Ok(permit) = room.try_acquire_many(count) {
        return Ok(permit);
    }
    let acquired = unless_shut(shared, room.acquire_many(count));
    acquired.boxed().await?.map_err(|_| GroupError::Closed)
}

/// So many bytes of commands in kibibytes, all of which there are at most.
fn kib(bytes: usize) -> u32 {
    let kib = u32::try_from(bytes.div_ceil(1024));
    kib.unwrap_or(MAX_KIB).clamp(1, MAX_KIB)
}

/// The way to the leader, if there is one now.
pub(super) fn known(routes: &mut watch::Receiver<Result<Option<Route>, Ended>>) -> Option<Route> {
    match &*routes.borrow_and_update() {
        Ok(Some(route)) => Some(route.clone()),
        Ok(None) | Err(_) => None,
    }
}

/// The way to the leader, once there is one.
pub(super) async fn usable(
    shared: &Shared,
    routes: &mut watch::Receiver<Result<Option<Route>, Ended>>,
) -> Result<Route, GroupError> {
    let known = routes.wait_for(|route| !matches!(route, Ok(None))).await;
    match known.as_deref() {
        Ok(Ok(Some(route))) => Ok(route.clone()),
        Ok(Err(ended)) => Err(ended.error()),
        Ok(Ok(None)) | Err(_) => Err(shared.gone()),
    }
}

/// Waits for something, unless the log here cannot be opened, or this client is refused. What is there already costs
/// nothing.
pub(super) async fn unless_shut<T>(
    shared: &Shared,
    awaited: impl Future<Output = T>,
) -> Result<T, GroupError> {
    let shut = async {
        let mut status = shared.status().subscribe();
        let shut = |status: &GroupStatus| {
            let why = &status.unavailable;
            matches!(
                why,
                Some(
                    Unavailable::Storage { .. }
                        | Unavailable::Ticket { .. }
                        | Unavailable::Refused { .. }
                )
            )
        };
        let known = status.wait_for(shut).await.ok();
        match known.and_then(|status| status.unavailable.clone()) {
            Some(why) => why,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        there = awaited => Ok(there),
        why = shut => Err(GroupError::Unavailable(why)),
    }
}

/// Waits for another way, or a moment.
pub(super) async fn pause(routes: &mut watch::Receiver<Result<Option<Route>, Ended>>) {
    // Either is a reason to try again.
    drop(rt::timeout(rt::jitter(RETRY), routes.changed()).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::PeerId, rt::Tasks};

    #[tokio::test]
    async fn what_is_superseded_can_be_read() {
        let tasks = Tasks::new(tracing::Span::none());
        let shared = Shared::new("g", PeerId::from_bytes([1; 32]), Vec::new(), &tasks);
        shared.end(Ended::Superseded);
        let read = Client::read(&shared).now_or_never();
        assert!(matches!(read, Some(Ok(()))), "{read:?}");
        // Nothing drives it any more that would keep the state.
        shared.end(Ended::Closed);
        let read = Client::read(&shared).now_or_never();
        assert!(matches!(read, Some(Err(GroupError::Closed))), "{read:?}");
    }
}
