//! How the commands of this node get applied, once each, whoever leads.
//!
//! The handles of a group share one session. Each call sends its command itself, and again with the same
//! session and sequence whenever the way to the leader breaks, until there is an answer; dropping the call
//! ends that, and counts as if it had been answered.
//!
//! A call lives on the heap, since it may have to go on behind the back of who gave it up. What is seldom waited
//! for is kept out of it, in futures of its own that are made when they are wanted: a call of several KiB would cost
//! more than all else that a command does here.

use std::{
    collections::BTreeSet,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::{Mutex as Turn, Semaphore, SemaphorePermit, oneshot};
use tracing::debug;

use super::{
    error::{GroupError, Refusal, Unavailable},
    machine::{Item, ItemReply},
    proposer::{Failed, Fate, MAX_ITEM},
    proto::{
        blob::Blob,
        founding::charter::Epoch,
        log_id::LogId,
        session::{Request, SessionId, WINDOW},
    },
    remote::{Answer, Unanswered},
    route::Route,
    shared::{Ended, Shared},
    status::GroupStatus,
};
use crate::{
    id::PeerId,
    rt::{self, lock, watch},
};

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
struct Place {
    shared: Arc<Shared>,
    session: (Epoch, SessionId),
    sequence: u64,
}

impl Place {
    fn request(&self) -> Request {
        let session = lock(&self.shared.client().session);
        let current = session.id == Some(self.session);
        let lowest = session.unanswered.first().copied().filter(|_| current);
        Request {
            session: self.session.1,
            sequence: self.sequence,
            unanswered: lowest.unwrap_or(self.sequence).min(self.sequence),
        }
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
    /// Applies `count` commands, as one entry and all together. Returns their outputs, which this replica has
    /// applied by then. `sent` tells whether it may have been applied, should this be dropped.
    pub(crate) async fn execute(
        shared: Arc<Shared>,
        count: u32,
        commands: Bytes,
        sent: Arc<AtomicBool>,
    ) -> Result<Blob, GroupError> {
        let len = commands.len();
        if len > MAX_ITEM {
            return Err(GroupError::TooLarge {
                len,
                limit: MAX_ITEM,
                unit: "bytes",
            });
        }
        let client = shared.client();
        let kib = u32::try_from(len.div_ceil(1024))
            .unwrap_or(MAX_KIB)
            .clamp(1, MAX_KIB);
        let _place = acquire(&shared, &client.under_way, 1).await?;
        let _room = acquire(&shared, &client.kib, kib).await?;
        let mut attempt = Attempt {
            shared: shared.clone(),
            place: None,
            sends: 0,
            sent,
            unsupported: None,
        };
        let mut routes = shared.routes();
        loop {
            let route = match known(&mut routes) {
                Some(route) => route,
                // What was sent may be applied, whatever becomes of the log here.
                None if attempt.sent.load(Ordering::Relaxed) => {
                    usable(&shared, &mut routes).boxed().await?
                }
                None => {
                    let route = usable(&shared, &mut routes);
                    unless_shut(&shared, route).boxed().await??
                }
            };
            match attempt.run(&route, count, &commands).await? {
                Some(outputs) => return Ok(outputs),
                None => pause(&mut routes).boxed().await,
            }
        }
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
    async fn place(shared: &Arc<Shared>, route: &Route) -> Result<Option<Place>, GroupError> {
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

/// A command on its way.
struct Attempt {
    shared: Arc<Shared>,
    place: Option<Place>,
    sends: u64,
    sent: Arc<AtomicBool>,
    /// The command that a voter does not know, by what a later leader said, and the voter.
    unsupported: Option<Box<(u64, PeerId)>>,
}

impl Attempt {
    /// Sends the command once. `None` says that it has to be sent again.
    async fn run(
        &mut self,
        route: &Route,
        count: u32,
        commands: &Bytes,
    ) -> Result<Option<Blob>, GroupError> {
        let place = match self.place.take() {
            // What was sent under one charter means nothing under another.
            Some(place) if place.session.0 != route.epoch() => {
                return Err(GroupError::SessionExpired);
            }
            Some(place) => place,
            None => match Client::place(&self.shared, route).await? {
                Some(place) => place,
                None => return Ok(None),
            },
        };
        let item = self.item(&place, count, commands);
        let result = route.submit(item).await;
        match self.judge(place, result)? {
            Some((at, outputs)) => {
                self.shared.progress().reach(at.index).await;
                Ok(Some(outputs))
            }
            None => Ok(None),
        }
    }

    /// What is to be sent.
    fn item(&mut self, place: &Place, count: u32, commands: &Bytes) -> Item {
        let request = place.request();
        self.sends += 1;
        self.sent.store(true, Ordering::Relaxed);
        if self.unsupported.is_some() {
            return Item::Withdraw { request };
        }
        Item::Commands {
            request,
            count,
            commands: commands.clone(),
        }
    }

    /// What became of it. `None` says that something has to be sent again.
    fn judge(&mut self, place: Place, result: Fate) -> Result<Option<(LogId, Blob)>, GroupError> {
        let first = self.sends == 1;
        match result {
            Ok((at, reply)) => match reply {
                ItemReply::Applied(outputs) => return Ok(Some((at, outputs))),
                ItemReply::Panicked { command, message } => {
                    return Err(GroupError::Panicked { command, message });
                }
                ItemReply::Superseded => return Err(GroupError::Superseded),
                ItemReply::Expired => {
                    self.shared.client().forget(place.session);
                    if !first {
                        return Err(GroupError::SessionExpired);
                    }
                    // It was sent once and not applied then: a new session may try.
                    self.unsend();
                    return Ok(None);
                }
                ItemReply::Answered => return Err(GroupError::SessionExpired),
                ItemReply::Withdrawn if let Some(lacks) = self.unsupported.take() => {
                    return Err(self.shared.unsupported(lacks.0, lacks.1));
                }
                reply => debug!(?reply, "a command has to be sent again"),
            },
            Err(Failed::Malformed) if first => return Err(GroupError::Refused(Refusal::Machine)),
            Err(Failed::Unsupported { command, peer }) if first => {
                return Err(self.shared.unsupported(command, peer));
            }
            // It was sent before, and may have been applied then: the log decides.
            Err(Failed::Unsupported { command, peer }) => {
                debug!("a command is withdrawn");
                self.unsupported = Some(Box::new((command, peer)));
            }
            Err(failed @ (Failed::NotLeader { .. } | Failed::Busy)) if first => {
                debug!(?failed, "a command is sent again");
                self.unsend();
            }
            Err(failed) => debug!(?failed, "a command is sent again"),
        }
        self.place = Some(place);
        Ok(None)
    }

    /// What was sent was not applied, and never will be.
    fn unsend(&mut self) {
        self.sends = 0;
        self.sent.store(false, Ordering::Relaxed);
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

/// The way to the leader, if there is one now.
fn known(routes: &mut watch::Receiver<Result<Option<Route>, Ended>>) -> Option<Route> {
    match &*routes.borrow_and_update() {
        Ok(Some(route)) => Some(route.clone()),
        Ok(None) | Err(_) => None,
    }
}

/// The way to the leader, once there is one.
async fn usable(
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
async fn unless_shut<T>(
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
async fn pause(routes: &mut watch::Receiver<Result<Option<Route>, Ended>>) {
    // Either is a reason to try again.
    drop(rt::timeout(rt::jitter(RETRY), routes.changed()).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::Tasks;

    #[tokio::test]
    async fn what_is_superseded_takes_no_commands_and_can_be_read() {
        let tasks = Tasks::new(tracing::Span::none());
        let shared = Shared::new("g", PeerId::from_bytes([1; 32]), Vec::new(), &tasks);
        shared.end(Ended::Superseded);
        let read = Client::read(&shared).now_or_never();
        assert!(matches!(read, Some(Ok(()))), "{read:?}");
        let sent = Arc::new(AtomicBool::new(false));
        let executed = Client::execute(shared.clone(), 1, Bytes::new(), sent).now_or_never();
        assert!(
            matches!(executed, Some(Err(GroupError::Superseded))),
            "{executed:?}"
        );
        // Nothing drives it any more that would keep the state.
        shared.end(Ended::Closed);
        let read = Client::read(&shared).now_or_never();
        assert!(matches!(read, Some(Err(GroupError::Closed))), "{read:?}");
    }

    /// A command on its way to a group in which this client has a session.
    fn attempt(tasks: &Tasks) -> (Attempt, Place) {
        let shared = Shared::new("g", PeerId::from_bytes([1; 32]), Vec::new(), tasks);
        let epoch = Epoch::from_bytes([1; 16]);
        lock(&shared.client().session).id = Some((epoch, SessionId(1)));
        let place = shared.client().allocate(&shared, epoch).unwrap();
        let attempt = Attempt {
            shared,
            place: None,
            sends: 0,
            sent: Arc::default(),
            unsupported: None,
        };
        (attempt, place)
    }

    #[tokio::test]
    async fn what_is_not_supported_any_more_is_withdrawn_if_it_was_sent_before() {
        let tasks = Tasks::new(tracing::Span::none());
        let unsupported = || Failed::Unsupported {
            command: 7,
            peer: PeerId::from_bytes([2; 32]),
        };
        let at = LogId { term: 1, index: 9 };
        let (mut first, place) = attempt(&tasks);
        drop(first.item(&place, 1, &Bytes::new()));
        let refused = first.judge(place, Err(unsupported()));
        assert!(matches!(refused, Err(GroupError::Unsupported(_))));

        // Lost on the way, then refused by another leader: whether the first was applied the log says.
        let lost = || {
            let (mut attempt, mut place) = attempt(&tasks);
            for failed in [Failed::Unknown, unsupported(), Failed::Unknown] {
                drop(attempt.item(&place, 1, &Bytes::new()));
                assert!(attempt.judge(place, Err(failed)).unwrap().is_none());
                place = attempt.place.take().unwrap();
            }
            let item = attempt.item(&place, 1, &Bytes::new());
            let request = place.request();
            assert_eq!(item, Item::Withdraw { request });
            assert!(attempt.sent.load(Ordering::Relaxed));
            (attempt, place)
        };
        let (mut one, place) = lost();
        let outcome = one.judge(place, Ok((at, ItemReply::Withdrawn)));
        let Err(GroupError::Unsupported(why)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(why.peer, PeerId::from_bytes([2; 32]));
        let (mut other, place) = lost();
        let outputs = Blob::from(&b"!"[..]);
        let outcome = other.judge(place, Ok((at, ItemReply::Applied(outputs.clone()))));
        assert_eq!(outcome.unwrap(), Some((at, outputs)));
    }

    #[tokio::test]
    async fn a_call_is_small() {
        let tasks = Tasks::new(tracing::Span::none());
        let shared = Shared::new("g", PeerId::from_bytes([1; 32]), Vec::new(), &tasks);
        let call = Client::execute(shared, 1, Bytes::new(), Arc::default());
        // With what is put around it, less than the 1032 bytes up to which glibc allocates without a search.
        let size = size_of_val(&call);
        assert!(size <= 896, "{size} bytes");
    }
}
