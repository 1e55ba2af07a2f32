//! The network itself: hosts, the ways between them, and what is wrong with those.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::sync::mpsc;

use super::{
    Conditions, Connection,
    connection::{End, Wire},
};
use crate::{
    id::PeerId,
    rt::{self, Instant, machine::Process},
    transport::{Alpn, BindError},
};

/// The first port that is given to who asks for any.
const FIRST_PORT: u16 = 49_152;
/// Longest time after a cut is healed until what was lost meanwhile has been sent again.
const RECOVERY: Duration = Duration::from_millis(500);

thread_local! {
    static AMBIENT: RefCell<Option<Fabric>> = const { RefCell::new(None) };
}

/// An in-memory network. Clones share it.
#[derive(Clone)]
pub(crate) struct Fabric {
    state: Arc<Mutex<State>>,
}

struct State {
    began: Instant,
    random: StdRng,
    /// Digest of everything that was sent, in order.
    trace: blake3::Hasher,
    endpoints: BTreeMap<SocketAddr, Bound>,
    next_port: BTreeMap<IpAddr, u16>,
    /// The hosts of peers that run on no simulated machine.
    hosts: BTreeMap<PeerId, IpAddr>,
    conditions: Conditions,
    ways: BTreeMap<(IpAddr, IpAddr), Way>,
    /// Hosts that stand still, and so say nothing.
    paused: BTreeSet<IpAddr>,
    wires: Vec<Weak<Wire>>,
}

#[derive(Debug)]
pub(super) struct Bound {
    pub(super) peer: PeerId,
    pub(super) accept: mpsc::Sender<Connection>,
}

#[derive(Debug, Default)]
struct Way {
    conditions: Option<Conditions>,
    cut: bool,
    /// Until when what was sent before occupies it.
    occupied: Option<Instant>,
}

impl Fabric {
    /// An empty network whose chances come from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            began: rt::now(),
            random: StdRng::seed_from_u64(seed),
            trace: blake3::Hasher::new(),
            endpoints: BTreeMap::new(),
            next_port: BTreeMap::new(),
            hosts: BTreeMap::new(),
            conditions: Conditions::default(),
            ways: BTreeMap::new(),
            paused: BTreeSet::new(),
            wires: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The network of the simulated world that runs on this thread.
    pub(crate) fn ambient() -> Option<Self> {
        AMBIENT.with_borrow(Clone::clone)
    }

    /// Makes this the network of the world that runs on this thread, or ends that; returns the one before.
    pub(crate) fn set_ambient(fabric: Option<Self>) -> Option<Self> {
        AMBIENT.replace(fabric)
    }

    /// What passes between hosts for which nothing else is said.
    pub(crate) fn set_conditions(&self, conditions: Conditions) {
        self.state().conditions = conditions;
        self.refresh();
    }

    /// What passes from one host to another; `None` for what is said for all.
    pub(crate) fn set_way(&self, from: IpAddr, to: IpAddr, conditions: Option<Conditions>) {
        self.state().ways.entry((from, to)).or_default().conditions = conditions;
        self.refresh();
    }

    /// Lets nothing pass from one host to another, or everything again.
    pub(crate) fn set_cut(&self, from: IpAddr, to: IpAddr, cut: bool) {
        self.state().ways.entry((from, to)).or_default().cut = cut;
        self.refresh();
    }

    /// A host that stands still says nothing, not even that it is there.
    pub(crate) fn set_paused(&self, host: IpAddr, paused: bool) {
        if paused {
            self.state().paused.insert(host);
        } else {
            self.state().paused.remove(&host);
        }
        self.refresh();
    }

    /// Takes a host's endpoints and connections away without a word to anybody.
    pub(crate) fn crash(&self, host: IpAddr) {
        // Dropped without the lock: destructors of what waits in them want to say things.
        let _endpoints: Vec<_> = {
            let mut state = self.state();
            let here = |socket: &SocketAddr, _: &mut Bound| socket.ip() == host;
            state.endpoints.extract_if(.., here).collect()
        };
        for wire in self.wires() {
            wire.die(host);
        }
        self.refresh();
    }

    /// A digest of everything that was sent until now, when, and between whom.
    pub(crate) fn trace(&self) -> [u8; 32] {
        *self.state().trace.finalize().as_bytes()
    }

    /// Gives a peer an endpoint on the simulated machine that this runs on, else on a host of its own.
    pub(super) fn bind(
        &self,
        peer: PeerId,
        port: u16,
        accept: mpsc::Sender<Connection>,
    ) -> Result<SocketAddr, BindError> {
        let mut state = self.state();
        let host = match Process::current() {
            Some(process) => process.machine().ip(),
            None if Self::ambient().is_some() => {
                return Err(BindError::Address {
                    addr: "a socket in a simulated world".into(),
                    reason: "this task belongs to no host; run it with `Host::run`".into(),
                });
            }
            None => state.host_of(peer),
        };
        let socket = if port == 0 {
            state.free_port(host)
        } else {
            SocketAddr::new(host, port)
        };
        if state.endpoints.contains_key(&socket) {
            return Err(BindError::Address {
                addr: socket.to_string(),
                reason: "the port is in use".into(),
            });
        }
        state.endpoints.insert(socket, Bound { peer, accept });
        Ok(socket)
    }

    /// Takes an endpoint away.
    pub(super) fn unbind(&self, socket: SocketAddr) {
        let _bound = self.state().endpoints.remove(&socket);
    }

    /// The connections that have an end at a socket.
    pub(super) fn wires_at(&self, socket: SocketAddr) -> Vec<Arc<Wire>> {
        let mut wires = self.wires();
        wires.retain(|wire| wire.ends.iter().any(|end| end.socket == socket));
        wires
    }

    /// Whether something that is sent now from one host to another passes, and the answer too.
    pub(super) fn is_open(&self, from: IpAddr, to: IpAddr) -> bool {
        let state = self.state();
        let passes = |from, to| !state.is_cut(from, to) && !state.paused.contains(&from);
        passes(from, to) && passes(to, from)
    }

    /// Who is at an address, if anybody.
    pub(super) fn at(&self, socket: &SocketAddr) -> Option<PeerId> {
        self.state().endpoints.get(socket).map(|bound| bound.peer)
    }

    /// Joins a peer to who is at an address, if that is `addr.peer`. The second connection is for `accept`.
    pub(super) fn join(
        &self,
        from: (PeerId, SocketAddr),
        to: (PeerId, SocketAddr),
        alpn: Alpn,
    ) -> Option<(Connection, Connection, mpsc::Sender<Connection>)> {
        let mut state = self.state();
        let bound = state.endpoints.get(&to.1).filter(|b| b.peer == to.0)?;
        let accept = bound.accept.clone();
        let mut keying = [0; 32];
        state.random.fill(&mut keying[..]);
        let wire = Wire::new(self.clone(), alpn, keying, [from, to]);
        state.wires.retain(|wire| wire.strong_count() > 0);
        state.wires.push(Arc::downgrade(&wire));
        drop(state);
        wire.refresh();
        let (dialer, acceptor) = Connection::pair(wire);
        Some((dialer, acceptor, accept))
    }

    /// Tells every connection how things stand.
    fn refresh(&self) {
        for wire in self.wires() {
            wire.refresh();
        }
    }

    fn wires(&self) -> Vec<Arc<Wire>> {
        self.state()
            .wires
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// Whether one end can be heard by another: whether the way there is open and it says anything.
    pub(super) fn reaches(&self, from: &End, to: &End) -> (bool, bool) {
        let state = self.state();
        let (from, to) = (from.socket.ip(), to.socket.ip());
        let open = !state.is_cut(from, to);
        (open, open && !state.paused.contains(&from))
    }

    /// How long it takes at most until what a cut held back has been sent again.
    pub(super) fn recovery(&self) -> Duration {
        let mut state = self.state();
        if state.conditions == Conditions::default() {
            return Duration::ZERO;
        }
        RECOVERY.mul_f64(state.random.random_range(0.0..1.0))
    }

    pub(super) fn direction(&self, from: IpAddr, to: IpAddr) -> Direction {
        Direction {
            fabric: self.clone(),
            from,
            to,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For tests that have peers, not hosts.
#[cfg(test)]
impl Fabric {
    /// Delays everything sent from now on by `latency`, one way.
    pub(crate) fn set_latency(&self, latency: Duration) {
        self.set_conditions(Conditions {
            latency,
            ..Conditions::default()
        });
    }

    /// Cuts two peers off from each other.
    pub(crate) fn cut(&self, a: PeerId, b: PeerId) {
        self.set_between(a, b, true);
    }

    /// Joins two peers again.
    pub(crate) fn heal(&self, a: PeerId, b: PeerId) {
        self.set_between(a, b, false);
    }

    /// Takes a peer's endpoint away without a word to anybody.
    pub(crate) fn crash_peer(&self, peer: PeerId) {
        let host = self.state().host_of(peer);
        self.crash(host);
    }

    /// Delays what one peer sends to another from now on.
    pub(crate) fn delay(&self, from: PeerId, to: PeerId, latency: Duration) {
        let (from, to) = self.hosts_of(from, to);
        let late = Conditions {
            latency,
            ..Conditions::default()
        };
        self.set_way(from, to, Some(late));
    }

    /// Lets nothing pass from one peer to another, while the other way stays as it is.
    pub(crate) fn cut_way(&self, from: PeerId, to: PeerId) {
        let (from, to) = self.hosts_of(from, to);
        self.set_cut(from, to, true);
    }

    fn hosts_of(&self, a: PeerId, b: PeerId) -> (IpAddr, IpAddr) {
        let mut state = self.state();
        (state.host_of(a), state.host_of(b))
    }

    fn set_between(&self, a: PeerId, b: PeerId, cut: bool) {
        let (a, b) = self.hosts_of(a, b);
        self.set_cut(a, b, cut);
        self.set_cut(b, a, cut);
    }
}

impl State {
    fn host_of(&mut self, peer: PeerId) -> IpAddr {
        let next = u32::try_from(self.hosts.len() + 1).unwrap_or(u32::MAX);
        let ip = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits().wrapping_add(next));
        *self.hosts.entry(peer).or_insert(ip.into())
    }

    /// A port that was not given before, so that a restarted peer is somewhere else.
    fn free_port(&mut self, host: IpAddr) -> SocketAddr {
        let next = self.next_port.entry(host).or_insert(FIRST_PORT);
        loop {
            let socket = SocketAddr::new(host, *next);
            *next = next.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.endpoints.contains_key(&socket) {
                return socket;
            }
        }
    }

    fn conditions(&self, from: IpAddr, to: IpAddr) -> &Conditions {
        let way = self.ways.get(&(from, to));
        way.and_then(|way| way.conditions.as_ref())
            .unwrap_or(&self.conditions)
    }

    fn is_cut(&self, from: IpAddr, to: IpAddr) -> bool {
        let cut = self.ways.get(&(from, to)).is_some_and(|way| way.cut);
        from != to && (cut || self.conditions(from, to).is_cut())
    }

    fn note(&mut self, now: Instant, from: IpAddr, to: IpAddr, bytes: &[u8]) {
        let when = now.duration_since(self.began).as_millis();
        self.trace.update(&when.to_le_bytes());
        for ip in [from, to] {
            match ip {
                IpAddr::V4(ip) => self.trace.update(&ip.octets()),
                IpAddr::V6(ip) => self.trace.update(&ip.octets()),
            };
        }
        self.trace.update(bytes);
    }

    /// When something that is sent now arrives.
    fn send(&mut self, from: IpAddr, to: IpAddr, bytes: &[u8]) -> Instant {
        let now = rt::now();
        // What is dropped while the world stands still is no part of its history.
        if Fabric::ambient().is_some() {
            self.note(now, from, to, bytes);
        }
        if from == to {
            return now;
        }
        let conditions = self.conditions(from, to).clone();
        let way = self.ways.entry((from, to)).or_default();
        let departs =
            way.occupied.map_or(now, |until| until.max(now)) + conditions.occupied(bytes.len());
        way.occupied = Some(departs);
        departs + conditions.delay(bytes.len(), &mut self.random)
    }
}

impl fmt::Debug for Fabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fabric").finish_non_exhaustive()
    }
}

impl Default for Fabric {
    fn default() -> Self {
        Self::new(0)
    }
}

/// From one host to another.
#[derive(Clone, Debug)]
pub(super) struct Direction {
    fabric: Fabric,
    from: IpAddr,
    to: IpAddr,
}

impl Direction {
    /// Sends something now, and says when it is due if nothing holds it back.
    pub(super) fn send(&self, bytes: &[u8]) -> Instant {
        self.fabric.state().send(self.from, self.to, bytes)
    }

    /// How long the way back takes.
    pub(super) fn latency_back(&self) -> Duration {
        let state = self.fabric.state();
        if self.from == self.to {
            return Duration::ZERO;
        }
        let conditions = state.conditions(self.to, self.from);
        conditions.latency + conditions.jitter / 2
    }

    /// How long there and back takes.
    pub(super) fn round_trip(&self) -> Duration {
        let back = Self {
            fabric: self.fabric.clone(),
            from: self.to,
            to: self.from,
        };
        self.latency_back() + back.latency_back()
    }
}
