//! Which peers are connected, and the groups of this node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::{Notify, mpsc};
use tracing::{debug, warn};

use super::{
    Control, Presence,
    admission::{self, Admissions},
    beats::{self, Beats, Watched},
    clocks::{self, Clocks},
    dial,
    flush::Echoes,
    idle::{self, Use, Uses},
    presences::Presences,
    proof, serve,
};
use crate::{
    discovery::{Catalog, Discovery, GroupInfo, RendezvousStatus},
    groups::{front::Front, remote},
    id::{GroupId, PeerId},
    rt::{self, Instant, Tasks, lock, watch},
    transport::{CloseCode, Connection, LinkError, Pool},
};

/// Control messages that wait to be sent to a peer; one that does not take them is disconnected. It has to hold
/// what a thousand groups say at once.
const BACKLOG: usize = 16_384;
/// How often at most the catalog is told of changes: with a thousand groups each costs something.
const ANNOUNCE_PACE: Duration = Duration::from_millis(20);

/// The bonds of a node. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Bonds {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool,
    discovery: Discovery,
    tasks: Tasks,
    state: Mutex<State>,
    /// Counts changes of the groups of this node.
    groups: watch::Sender<u64>,
    /// Counts the control streams that were opened.
    opened: watch::Sender<u64>,
    beats: Beats,
    clocks: Clocks,
    /// Something is to be said in the catalog.
    announces: Notify,
    /// Somebody was admitted for its tickets.
    admissions: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    fronts: BTreeMap<GroupId, Arc<Front>>,
    links: BTreeMap<PeerId, Link>,
}

/// The control stream of a connection.
#[derive(Debug)]
struct Link {
    line: Line,
    presences: Presences,
}

/// A connection whose control stream is open. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) connection: Connection,
    /// Keying material that only the two ends know.
    session: [u8; 32],
    control: mpsc::Sender<Control>,
    /// When something was last heard from the other end.
    heard: Arc<Mutex<Instant>>,
    pub(super) echoes: Echoes,
    /// In which groups the other end may take part.
    pub(crate) admissions: Arc<Admissions>,
    pub(super) uses: Uses,
    /// Keeps the connection open, if this was made for a use of it.
    in_use: Option<Arc<Use>>,
}

impl Line {
    /// Whether it is that of this connection, and not of another to the same peer.
    pub(crate) fn is_on(&self, connection: &Connection) -> bool {
        self.connection.stable_id() == connection.stable_id()
    }

    /// The same, which keeps the connection open.
    pub(super) fn in_use(mut self) -> Self {
        self.in_use = Some(Arc::new(self.uses.begin()));
        self
    }

    /// When the other end last said something.
    pub(crate) fn heard(&self) -> Instant {
        *lock(&self.heard)
    }

    fn hear(&self) {
        *lock(&self.heard) = rt::now();
    }

    /// Sends a control message, or gives the connection up if the peer does not take them.
    pub(crate) fn tell(&self, message: Control) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.control.try_send(message) {
            debug!(peer = %self.connection.peer().short(), "a peer takes no control messages");
            let reason = "control messages were not taken";
            self.connection.close(CloseCode::TooSlow, reason);
        }
    }

    /// What the other end has to have sent to prove that it knows `key`.
    pub(crate) fn expected_proof(&self, key: &[u8; 32], group: GroupId, boot: u64) -> [u8; 32] {
        proof(key, &self.session, !self.connection.dialed(), group, boot)
    }

    /// What one end of a client's stream on the connection proves that it knows `key` by.
    pub(crate) fn proof_as(&self, key: &[u8; 32], end: remote::End, group: GroupId) -> [u8; 32] {
        remote::proof(key, &self.session, end, group)
    }

    fn own_proof(&self, key: &[u8; 32], group: GroupId, boot: u64) -> [u8; 32] {
        proof(key, &self.session, self.connection.dialed(), group, boot)
    }
}

impl Bonds {
    /// Starts serving `connections` and dialing whoever shares a group.
    pub(crate) fn start(
        pool: Pool,
        connections: mpsc::Receiver<Connection>,
        discovery: Discovery,
        tasks: Tasks,
    ) -> Self {
        let inner = Inner {
            pool,
            discovery,
            tasks: tasks.clone(),
            state: Mutex::default(),
            groups: watch::Sender::new(0),
            opened: watch::Sender::new(0),
            beats: Beats::default(),
            clocks: Clocks::default(),
            announces: Notify::new(),
            admissions: Arc::default(),
        };
        let bonds = Self {
            inner: Arc::new(inner),
        };
        tasks.spawn(serve::run(bonds.clone(), connections));
        tasks.spawn(dial::run(bonds.clone()));
        tasks.spawn(beats::run(bonds.clone()));
        tasks.spawn(clocks::run(bonds.clone()));
        tasks.spawn(admission::run(bonds.clone()));
        tasks.spawn(idle::run(bonds.clone()));
        tasks.spawn(bonds.clone().announce_changes());
        bonds
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.inner.pool
    }

    pub(in crate::groups) fn discovery(&self) -> &Discovery {
        &self.inner.discovery
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    pub(super) fn beats(&self) -> &Beats {
        &self.inner.beats
    }

    /// What is known of the clocks of other nodes.
    pub(crate) fn clocks(&self) -> &Clocks {
        &self.inner.clocks
    }

    /// Shows this node to the peers of a group that rests, until told otherwise, and watches them.
    pub(crate) fn watch(&self, group: GroupId, watched: Option<Watched>) {
        self.inner.beats.watch(group, watched);
    }

    /// Waits until somebody is admitted for its tickets.
    pub(super) async fn admitted(&self) {
        self.inner.admissions.notified().await;
    }

    /// The control streams that are open.
    pub(super) fn lines(&self) -> Vec<Line> {
        let state = self.state();
        state.links.values().map(|link| link.line.clone()).collect()
    }

    /// Those of them whose peer shares no group with this node.
    pub(super) fn unshared(&self) -> Vec<Line> {
        let catalog = self.catalog();
        let state = self.state();
        let shares = |peer: &PeerId, link: &Link| {
            let entry = catalog.get(peer);
            state.fronts.iter().any(|(group, front)| {
                link.presences.has(group) || entry.as_ref().is_some_and(|entry| front.wants(entry))
            })
        };
        let links = state.links.iter();
        let links = links.filter(|(peer, link)| !shares(peer, link));
        links.map(|(_, link)| link.line.clone()).collect()
    }

    /// Those of them whose peer is a writer of a group.
    pub(super) fn writers(&self) -> Vec<Line> {
        let state = self.state();
        let writes = |link: &&Link| link.presences.writes();
        let links = state.links.values().filter(writes);
        links.map(|link| link.line.clone()).collect()
    }

    /// The control stream of a connection, if it is open.
    pub(crate) fn line(&self, connection: &Connection) -> Option<Line> {
        let state = self.state();
        let link = state.links.get(&connection.peer());
        let link = link.filter(|link| link.line.is_on(connection));
        link.map(|link| link.line.clone())
    }

    /// The same, once it is open: what this node opens first of all on a connection that it dials.
    pub(super) async fn line_of(&self, connection: &Connection) -> Result<Line, LinkError> {
        let mut opened = self.inner.opened.subscribe();
        loop {
            opened.mark_unchanged();
            if let Some(line) = self.line(connection) {
                return Ok(line);
            }
            tokio::select! {
                biased;
                closed = connection.closed() => return Err(LinkError::Connection(closed)),
                // The sender is this one's own.
                _ = opened.changed() => {}
            }
        }
    }

    /// Tells when the groups of this node change.
    pub(crate) fn group_changes(&self) -> watch::Receiver<u64> {
        self.inner.groups.subscribe()
    }

    /// The groups of this node.
    pub(crate) fn fronts(&self) -> Vec<Arc<Front>> {
        self.state().fronts.values().cloned().collect()
    }

    /// This node's part in a group.
    pub(crate) fn front(&self, group: &GroupId) -> Option<Arc<Front>> {
        self.state().fronts.get(group).cloned()
    }

    /// Takes part in a group: says so to all who are connected, and hears of those who do.
    pub(crate) fn add(&self, front: &Arc<Front>) {
        let catalog = self.catalog();
        let group = front.group();
        let takes_part = |peer| {
            catalog
                .get(&peer)
                .is_some_and(|entry| entry.group(group).is_some())
        };
        let mut state = self.state();
        state.fronts.insert(front.group(), front.clone());
        for link in state.links.values_mut() {
            link.line.tell(Control::Present(link.own_presence(front)));
            if let Some(presence) = link.presences.get_mut(&front.group()) {
                front.shared().program().share(&mut presence.announced);
                front.present(&link.line, presence);
            } else if link.presences.forgot() && takes_part(link.line.connection.peer()) {
                // It says all again that it said, and what is shared by now counts first.
                debug!("a peer's part in a group was not remembered: connects anew");
                let reason = "it takes part in more groups than are remembered";
                link.line.connection.close(CloseCode::Done, reason);
            }
        }
        drop(state);
        self.announce();
        self.inner.groups.send_modify(|changes| *changes += 1);
    }

    /// Takes part no longer.
    pub(crate) fn remove(&self, group: &GroupId) {
        let mut state = self.state();
        state.fronts.remove(group);
        for link in state.links.values() {
            link.line.admissions.forget(group);
        }
        drop(state);
        self.announce();
        self.inner.groups.send_modify(|changes| *changes += 1);
    }

    /// Says again how this node takes part in a group: its boot has changed.
    pub(crate) fn present_again(&self, front: &Front) {
        for link in self.state().links.values() {
            link.line.tell(Control::Present(link.own_presence(front)));
        }
    }

    /// The other live peers.
    pub(crate) fn catalog(&self) -> Catalog {
        self.inner.discovery.catalog()
    }

    /// The same, as they come and go.
    pub(crate) fn catalogs(&self) -> watch::Receiver<Catalog> {
        self.inner.discovery.snapshots()
    }

    /// Whether the rendezvous of this machine was looked up, if there is one.
    pub(crate) fn has_looked_up(&self) -> bool {
        let status = self.inner.discovery.status();
        !matches!(status.rendezvous, RendezvousStatus::Starting)
    }

    /// Says in the catalog which groups this node takes part in, and which charters it holds: soon, and once for
    /// all that changes at once.
    pub(crate) fn announce(&self) {
        self.inner.announces.notify_one();
    }

    async fn announce_changes(self) {
        loop {
            self.inner.announces.notified().await;
            self.announce_now();
            rt::sleep(ANNOUNCE_PACE).await;
        }
    }

    fn announce_now(&self) {
        let fronts = self.fronts();
        let groups = fronts.iter().map(|front| GroupInfo {
            name: front.shared().name().into(),
            writer: front.writer(),
            charter: front.claim().map(|claim| *claim.charter.epoch.as_bytes()),
        });
        if let Err(error) = self.inner.discovery.set_groups(groups.collect()) {
            warn!(%error, "groups cannot be announced");
        }
    }

    /// Sends a message to all who are connected and take part in a group.
    pub(crate) fn tell_all(&self, group: GroupId, message: &Control) {
        let state = self.state();
        let links = state.links.values();
        for link in links.filter(|link| link.presences.has(&group)) {
            link.line.tell(message.clone());
        }
    }

    /// A control stream is open. Replaces that of an earlier connection to the peer.
    pub(super) fn open(
        &self,
        connection: Connection,
        session: [u8; 32],
    ) -> (Line, mpsc::Receiver<Control>) {
        let (control, messages) = mpsc::channel(BACKLOG);
        let inner = &self.inner;
        let (discovery, news) = (inner.discovery.clone(), inner.admissions.clone());
        let admissions = Admissions::new(connection.peer(), discovery, news);
        let line = Line {
            connection,
            session,
            control,
            heard: Arc::new(Mutex::new(rt::now())),
            echoes: Echoes::default(),
            admissions: Arc::new(admissions),
            uses: Uses::default(),
            in_use: None,
        };
        let link = Link {
            line: line.clone(),
            presences: Presences::default(),
        };
        // First, so that who is bonded is known by its clock.
        line.tell(self.inner.clocks.ask(line.connection.peer()));
        let mut state = self.state();
        for front in state.fronts.values() {
            line.tell(Control::Present(link.own_presence(front)));
        }
        let before = state.links.insert(line.connection.peer(), link);
        for front in state.fronts.values() {
            if let Some(before) = &before {
                front.lost(&before.line.connection);
            }
        }
        drop(state);
        self.inner.opened.send_modify(|opened| *opened += 1);
        (line, messages)
    }

    /// A connection with a control stream is gone.
    pub(super) fn closed(&self, connection: &Connection) {
        let mut state = self.state();
        let peer = connection.peer();
        let current = |link: &Link| link.line.is_on(connection);
        if state.links.get(&peer).is_some_and(current) {
            state.links.remove(&peer);
        }
        for front in state.fronts.values() {
            front.lost(connection);
        }
    }

    /// A peer has sent a control message.
    pub(super) fn received(&self, line: &Line, mut message: Control) {
        let mut state = self.state();
        let State { fronts, links } = &mut *state;
        let current = |link: &&mut Link| link.line.is_on(&line.connection);
        let link = links.get_mut(&line.connection.peer());
        let Some(link) = link.filter(current) else {
            return;
        };
        if let Control::Present(presence) = &mut message
            && let Some(front) = fronts.get(&presence.group)
        {
            front.shared().program().share(&mut presence.announced);
        }
        let takes_part = message
            .group()
            .is_some_and(|group| fronts.contains_key(&group));
        link.presences.remember(&message, takes_part);
        line.hear();
        match message {
            Control::Clock(message) => {
                let answer = self.inner.clocks.received(line.connection.peer(), message);
                if let Some(answer) = answer {
                    line.tell(answer);
                }
            }
            Control::Echo { question } => line.tell(Control::Echoed { question }),
            Control::Echoed { question } => line.echoes.heard(question),
            message => {
                if let Some(front) = message.group().and_then(|group| fronts.get(&group)) {
                    front.received(line, message);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.inner.state)
    }
}

impl Link {
    fn own_presence(&self, front: &Front) -> Presence {
        let prove = |boot| self.line.own_proof(front.key(), front.group(), boot);
        front.presence(prove)
    }
}
