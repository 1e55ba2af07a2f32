//! At most one connection a peer and protocol.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{Mutex as Turn, Notify, mpsc};
use tracing::debug;

use super::{
    Alpn, CloseCode, ConnectError, Connection, Endpoint, Incoming, NotAdmitted, admission::Gate,
};
use crate::{
    id::{PeerAddr, PeerId},
    rt::{self, Tasks, watch},
};

/// New connections that wait for their subsystem to serve them.
const BACKLOG: usize = 256;
/// How long a dialer whose dial gave way waits for the peer's own dial to arrive.
const TIE_BREAK_WAIT: Duration = Duration::from_millis(500);
/// How long a dial of ours that stands may take before the peer's is let in after all.
const DIAL_GRACE: Duration = Duration::from_millis(300);
/// How long a dialer waits that was refused because of an earlier boot of its own.
const REDIAL_WAIT: Duration = Duration::from_millis(20);
/// How often a dial that gave way, or met an earlier boot, is tried again.
const MAX_REDIALS: usize = 4;
/// Further places to look for a peer that wait to be dialed.
const MAX_PLACES: usize = 4;

/// The connections of one protocol. Clones share them.
///
/// When two peers dial each other at once, the dial of the peer with the lower id stands: the other
/// acceptor refuses with [`CloseCode::Duplicate`], and its dialer takes the connection that arrives. A
/// connection to a new boot of a peer replaces the one to its earlier boot. Who asks for a peer that is being
/// dialed joins the dial, and adds the addresses that it did not know.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    alpn: Alpn,
    tasks: Tasks,
    slots: Mutex<BTreeMap<PeerId, Slot>>,
    fresh: mpsc::Sender<Connection>,
    installed: Notify,
}

#[derive(Debug, Default)]
struct Slot {
    connection: Option<Connection>,
    dial: Option<Dial>,
}

/// A dial that is under way.
#[derive(Debug)]
struct Dial {
    outcome: watch::Receiver<Option<Outcome>>,
    /// Where it looks for the peer.
    known: PeerAddr,
    /// Where it is to look besides.
    places: mpsc::Sender<PeerAddr>,
}

type Outcome = Result<Connection, ConnectError>;

impl Pool {
    /// An empty pool, and the stream of its new connections, dialed and accepted alike, for the
    /// subsystem to serve.
    pub(crate) fn new(
        endpoint: Endpoint,
        alpn: Alpn,
        tasks: Tasks,
    ) -> (Self, mpsc::Receiver<Connection>) {
        let (fresh, connections) = mpsc::channel(BACKLOG);
        let inner = Inner {
            endpoint,
            alpn,
            tasks,
            slots: Mutex::default(),
            fresh,
            installed: Notify::new(),
        };
        let inner = Arc::new(inner);
        (Self { inner }, connections)
    }

    /// The connection to a peer, dialed if there is none. Dropping the future does not end the dial.
    pub(crate) async fn connect(&self, addr: &PeerAddr) -> Result<Connection, ConnectError> {
        let mut outcome = {
            let mut slots = self.inner.slots();
            let slot = slots.entry(addr.peer).or_default();
            if let Some(connection) = slot.open() {
                return Ok(connection);
            }
            match &mut slot.dial {
                Some(dial) => {
                    dial.widen(addr);
                    dial.outcome.clone()
                }
                None => {
                    let (sender, outcome) = watch::channel(None);
                    let (places, more) = mpsc::channel(MAX_PLACES);
                    slot.dial = Some(Dial {
                        outcome: outcome.clone(),
                        known: addr.clone(),
                        places,
                    });
                    let (inner, addr) = (self.inner.clone(), addr.clone());
                    self.inner.tasks.spawn(async move {
                        sender.send_replace(Some(inner.dial(addr, more).await));
                    });
                    outcome
                }
            }
        };
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Err(ConnectError::Closed)),
            Err(_) => Err(ConnectError::Closed),
        }
    }

    /// Admits a connection that a peer opens to us, and hands it to the subsystem of its protocol among
    /// `pools`.
    pub(crate) async fn accept(pools: &[Self], incoming: Incoming) -> Result<(), NotAdmitted> {
        let connection = incoming.admit(&Router(pools)).await?;
        match Self::of(pools, connection.alpn()) {
            Some(pool) => drop(pool.inner.install(connection).await),
            None => connection.close(CloseCode::UnknownProtocol, NOT_SERVED),
        }
        Ok(())
    }

    fn of(pools: &[Self], alpn: Alpn) -> Option<&Self> {
        pools.iter().find(|pool| pool.inner.alpn == alpn)
    }

    /// The open connection to a peer, if there is one.
    pub(crate) fn get(&self, peer: &PeerId) -> Option<Connection> {
        self.inner.slots().get_mut(peer).and_then(Slot::open)
    }

    /// All open connections.
    pub(crate) fn connections(&self) -> Vec<Connection> {
        let mut slots = self.inner.slots();
        slots.values_mut().filter_map(Slot::open).collect()
    }

    /// Closes a connection to any other boot of the peer than `boot`. Returns whether there was one.
    pub(crate) fn supersede(&self, peer: &PeerId, boot: u64) -> bool {
        let stale = self
            .get(peer)
            .filter(|connection| connection.boot() != boot);
        if let Some(connection) = &stale {
            connection.close(CloseCode::Superseded, "a later boot of the peer is known");
        }
        stale.is_some()
    }

    /// Closes a connection to exactly that boot of the peer.
    pub(crate) fn retire(&self, peer: &PeerId, boot: u64) {
        let stale = self
            .get(peer)
            .filter(|connection| connection.boot() == boot);
        if let Some(connection) = stale {
            connection.close(CloseCode::Superseded, "a later boot of the peer is known");
        }
    }

    /// Forgets peers without a connection; call now and then.
    pub(crate) fn sweep(&self) {
        let mut slots = self.inner.slots();
        slots.retain(|_, slot| slot.dial.is_some() || slot.open().is_some());
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, BTreeMap<PeerId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for a peer in all the places that it is told of; the first connection ends it.
    async fn dial(&self, addr: PeerAddr, mut places: mpsc::Receiver<PeerAddr>) -> Outcome {
        let peer = addr.peer;
        // Two connections of ours that proved themselves at once would replace each other, and not in the
        // same order at both ends.
        let turn = Turn::new(());
        let mut attempts = FuturesUnordered::new();
        attempts.push(self.attempt(addr, &turn));
        let mut failure = None;
        loop {
            let installed = self.installed.notified();
            tokio::pin!(installed);
            installed.as_mut().enable();
            // A peer that comes by itself is looked for no longer, unless it is just being told that ours
            // stands.
            if let Ok(_free) = turn.try_lock()
                && let Some(connection) = self.settle_if_open(peer)
            {
                return Ok(connection);
            }
            let outcome = tokio::select! {
                biased;
                () = installed => continue,
                Some(addr) = places.recv() => {
                    attempts.push(self.attempt(addr, &turn));
                    continue;
                }
                Some(outcome) = attempts.next() => outcome,
                else => Err(ConnectError::Closed),
            };
            let error = match outcome {
                Ok(connection) => {
                    drop(attempts);
                    let connection = self.install(connection).await;
                    self.settle(peer);
                    return Ok(connection);
                }
                Err(error) => error,
            };
            // A peer that answered says more than an address at which there is nobody.
            if !matches!(failure, Some(ConnectError::Refused { .. })) {
                failure = Some(error.clone());
            }
            if attempts.is_empty() {
                match self.settle_or_go_on(peer, &mut places) {
                    Some(addr) => attempts.push(self.attempt(addr, &turn)),
                    None => return Err(failure.unwrap_or(error)),
                }
            }
        }
    }

    /// Looks for a peer in one place. The connection is proved, but not installed.
    async fn attempt(&self, addr: PeerAddr, turn: &Turn<()>) -> Outcome {
        let mut tries = 0;
        loop {
            let refused = match self.endpoint.connect(&addr, self.alpn, turn).await {
                Err(refused @ ConnectError::Refused { .. }) => refused,
                outcome => return outcome,
            };
            match &refused {
                ConnectError::Refused {
                    code: CloseCode::Duplicate,
                    ..
                } => {
                    debug!(peer = %addr.peer.short(), "dial gave way to the peer's own");
                    if let Some(connection) = self.arrival(addr.peer).await {
                        return Ok(connection);
                    }
                }
                ConnectError::Refused {
                    code: CloseCode::Superseded,
                    ..
                } => {
                    debug!(peer = %addr.peer.short(), "the peer knew an earlier boot of this one");
                    rt::sleep(REDIAL_WAIT).await;
                }
                _ => return Err(refused),
            }
            tries += 1;
            if tries == MAX_REDIALS {
                return Err(refused);
            }
        }
    }

    /// Waits a moment for a connection that the peer opens.
    async fn arrival(&self, peer: PeerId) -> Option<Connection> {
        let arrived = async {
            loop {
                let installed = self.installed.notified();
                tokio::pin!(installed);
                installed.as_mut().enable();
                if let Some(connection) = self.slots().get_mut(&peer).and_then(Slot::open) {
                    return connection;
                }
                installed.await;
            }
        };
        rt::timeout(TIE_BREAK_WAIT, arrived).await.ok()
    }

    /// Makes `connection` the peer's, closing the one it replaces, or gives way to the one that stands.
    /// Returns the one that is the peer's now.
    async fn install(&self, connection: Connection) -> Connection {
        // Room first: what is told while the slots are locked is told in the order in which it holds.
        let room = self.fresh.reserve().await;
        let replaced = {
            let mut slots = self.slots();
            let slot = slots.entry(connection.peer()).or_default();
            let old = slot.open();
            if old.as_ref().map(Connection::stable_id) == Some(connection.stable_id()) {
                return connection;
            }
            // Both ends must keep the same of two that crossed, whichever they see last.
            if let Some(old) = old.filter(|old| self.stands_against(old, &connection)) {
                connection.close(CloseCode::Duplicate, "another connection stands");
                return old;
            }
            match room {
                Ok(room) => room.send(connection.clone()),
                Err(_) => debug!("a connection arrived while the network shuts down"),
            }
            slot.connection.replace(connection.clone())
        };
        self.installed.notify_waiters();
        if let Some(old) = replaced.filter(Connection::is_open) {
            let code = if old.boot() == connection.boot() {
                CloseCode::Duplicate
            } else {
                CloseCode::Superseded
            };
            old.close(code, "another connection took over");
        }
        connection
    }

    /// Of two connections to one boot of a peer, the one that the lower id dialed stands.
    fn stands_against(&self, old: &Connection, new: &Connection) -> bool {
        let lower_is_me = self.endpoint.peer() < old.peer();
        let by_lower = |connection: &Connection| connection.dialed() == lower_is_me;
        old.boot() == new.boot() && by_lower(old) && !by_lower(new)
    }

    /// Marks the dial to a peer as done.
    fn settle(&self, peer: PeerId) {
        if let Some(slot) = self.slots().get_mut(&peer) {
            slot.dial = None;
        }
    }

    /// The same, if a connection to the peer is open, which is returned.
    fn settle_if_open(&self, peer: PeerId) -> Option<Connection> {
        let mut slots = self.slots();
        let slot = slots.get_mut(&peer)?;
        let connection = slot.open()?;
        slot.dial = None;
        Some(connection)
    }

    /// The same, unless somebody knows of one more place to look, which is returned.
    fn settle_or_go_on(
        &self,
        peer: PeerId,
        places: &mut mpsc::Receiver<PeerAddr>,
    ) -> Option<PeerAddr> {
        // Under the lock, nobody can join the dial between the last look and its end.
        let mut slots = self.slots();
        let place = places.try_recv().ok();
        if place.is_none()
            && let Some(slot) = slots.get_mut(&peer)
        {
            slot.dial = None;
        }
        place
    }
}

impl Dial {
    /// Has it look for the peer here too, if that is news.
    fn widen(&mut self, addr: &PeerAddr) {
        let PeerAddr { ips, relays, .. } = addr;
        if ips.is_subset(&self.known.ips) && relays.is_subset(&self.known.relays) {
            return;
        }
        if self.places.try_send(addr.clone()).is_ok() {
            self.known.ips.extend(ips);
            self.known.relays.extend(relays.iter().cloned());
        }
    }
}

/// A carrier may go on sending to where a peer was for as long as any connection to it is open, the new
/// one included; so all of them go, and the peer dials again.
const EARLIER_BOOT: (CloseCode, &str) = (
    CloseCode::Superseded,
    "an earlier boot of the peer was still connected; dial again",
);

const NOT_SERVED: &str = "this peer does not serve that protocol";

/// Asks the pool of the protocol.
struct Router<'a>(&'a [Pool]);

impl Gate for Router<'_> {
    async fn admit(
        &self,
        alpn: Alpn,
        peer: PeerId,
        boot: u64,
    ) -> Result<(), (CloseCode, &'static str)> {
        let superseded = self.0.iter().filter(|pool| pool.supersede(&peer, boot));
        if superseded.count() > 0 {
            return Err(EARLIER_BOOT);
        }
        match Pool::of(self.0, alpn) {
            Some(pool) => pool.inner.tie_break(peer, boot).await,
            None => Err((CloseCode::UnknownProtocol, NOT_SERVED)),
        }
    }
}

impl Inner {
    /// Whether a connection that a peer opens may stand beside what this peer dials.
    async fn tie_break(&self, peer: PeerId, boot: u64) -> Result<(), (CloseCode, &'static str)> {
        const MINE_STANDS: (CloseCode, &str) =
            (CloseCode::Duplicate, "this peer's own dial stands");
        if self.endpoint.peer() > peer {
            return Ok(());
        }
        let dial = {
            let mut slots = self.slots();
            let slot = slots.entry(peer).or_default();
            if slot.open().is_some_and(|c| c.dialed() && c.boot() == boot) {
                return Err(MINE_STANDS);
            }
            slot.dial.as_ref().map(|dial| dial.outcome.clone())
        };
        // A dial that leads nowhere, to where the peer was before a restart, must not keep it out.
        let Some(mut dial) = dial else { return Ok(()) };
        match rt::timeout(DIAL_GRACE, dial.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) if matches!(&*outcome, Some(Ok(c)) if c.is_open()) => Err(MINE_STANDS),
            _ => Ok(()),
        }
    }
}

impl Slot {
    fn open(&mut self) -> Option<Connection> {
        if self.connection.as_ref().is_some_and(|c| !c.is_open()) {
            self.connection = None;
        }
        self.connection.clone()
    }
}
