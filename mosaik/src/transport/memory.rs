//! The in-memory carrier: endpoints of one process, joined by bounded pipes.
//!
//! A [`Fabric`] is a network of its own. It delivers in order and without delay by default, and can
//! delay, partition and crash; every wait goes through tokio's clock, so it runs in virtual time when
//! that is paused.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::{Notify, mpsc};

use super::{Alpn, CONNECTION_IDLE, CloseCode, Closed, ConnectError, LinkError, STREAM_WINDOW};
use crate::{
    id::{PeerAddr, PeerId},
    rt::{self, watch},
};

/// Connections and streams that wait to be accepted.
const BACKLOG: usize = 1024;

/// An in-memory network. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Fabric {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next_port: u16,
    hosts: BTreeMap<SocketAddr, Host>,
    latency: Duration,
    cuts: BTreeSet<(PeerId, PeerId)>,
}

#[derive(Debug)]
struct Host {
    peer: PeerId,
    accept: mpsc::Sender<Connection>,
    connections: Vec<Core>,
}

impl Fabric {
    /// An empty network.
    pub fn new() -> Self {
        Self::default()
    }

    /// Delays everything sent from now on by `latency`, one way.
    pub fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Cuts the two peers off from each other: nothing passes, and connections between them time out
    /// unless they are joined again before.
    pub fn cut(&self, a: PeerId, b: PeerId) {
        let mut state = self.state();
        state.cuts.insert(pair(a, b));
        let severed = state.connections_between(a, b);
        drop(state);
        for connection in severed {
            connection.sever();
        }
    }

    /// Joins the two peers again.
    pub fn heal(&self, a: PeerId, b: PeerId) {
        let mut state = self.state();
        state.cuts.remove(&pair(a, b));
        for connection in state.connections_between(a, b) {
            connection.severed.send_replace(false);
            // What was said while nothing passed arrives now.
            let parting = connection.parting().take();
            if let Some(parting) = parting {
                close(&connection.remote_closed, parting);
            }
        }
    }

    /// Takes a peer's endpoint away without a word to anybody.
    pub fn crash(&self, peer: PeerId) {
        let hosts: Vec<_> = {
            let mut state = self.state();
            let dead = |_: &SocketAddr, host: &mut Host| host.peer == peer;
            state.hosts.extract_if(.., dead).collect()
        };
        for connection in hosts.into_iter().flat_map(|(_, host)| host.connections) {
            connection.sever();
        }
    }

    pub(super) fn bind(&self, peer: PeerId) -> Endpoint {
        let mut state = self.state();
        let port = loop {
            state.next_port = state.next_port.wrapping_add(1).max(1);
            if !state.hosts.contains_key(&socket(state.next_port)) {
                break state.next_port;
            }
        };
        let (accept, accepted) = mpsc::channel(BACKLOG);
        let host = Host {
            peer,
            accept,
            connections: Vec::new(),
        };
        state.hosts.insert(socket(port), host);
        let (sender, addr) = watch::channel(PeerAddr::new(peer).with_ip(socket(port)));
        Endpoint {
            fabric: self.clone(),
            peer,
            socket: socket(port),
            addr,
            _addr_sender: Arc::new(sender),
            accepted: Arc::new(tokio::sync::Mutex::new(accepted)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn connections_between(&mut self, a: PeerId, b: PeerId) -> Vec<Core> {
        let hosts = self
            .hosts
            .values_mut()
            .filter(|h| h.peer == a || h.peer == b);
        hosts
            .flat_map(|host| {
                let (host_peer, other) = (host.peer, if host.peer == a { b } else { a });
                host.connections
                    .iter()
                    .filter(move |c| c.peer == other && host_peer != other)
                    .cloned()
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

fn socket(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    (a.min(b), a.max(b))
}

/// An endpoint on a [`Fabric`].
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    fabric: Fabric,
    peer: PeerId,
    socket: SocketAddr,
    addr: watch::Receiver<PeerAddr>,
    _addr_sender: Arc<watch::Sender<PeerAddr>>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Connection>>>,
}

impl Endpoint {
    pub(super) fn addr(&self) -> watch::Receiver<PeerAddr> {
        self.addr.clone()
    }

    pub(super) async fn connect(
        &self,
        addr: &PeerAddr,
        alpn: Alpn,
    ) -> Result<Connection, ConnectError> {
        if addr.ips.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        let latency = self.fabric.state().latency;
        rt::sleep(latency * 2).await;
        let dialed = {
            let mut state = self.fabric.state();
            if state.cuts.contains(&pair(self.peer, addr.peer)) {
                None
            } else {
                self.join(&mut state, addr, alpn)
            }
        };
        match dialed {
            Some((mine, theirs, accept)) => {
                let refused = || ConnectError::Transport("the peer accepts nothing".into());
                accept.send(theirs).await.map_err(|_| refused())?;
                Ok(mine)
            }
            // Like a datagram into the void: the caller's deadline ends the wait.
            None => std::future::pending().await,
        }
    }

    fn join(
        &self,
        state: &mut State,
        addr: &PeerAddr,
        alpn: Alpn,
    ) -> Option<(Connection, Connection, mpsc::Sender<Connection>)> {
        let latency = state.latency;
        let host = addr
            .ips
            .iter()
            .find(|ip| state.hosts.get(ip).is_some_and(|h| h.peer == addr.peer))?;
        let keying = rt::random_bytes();
        let (mine, theirs) = Connection::pair(self.peer, addr.peer, alpn, keying, latency);
        let host = state.hosts.get_mut(host)?;
        host.connections.retain(|c| c.close_reason().is_none());
        host.connections.push(theirs.core.clone());
        let accept = host.accept.clone();
        let me = state.hosts.get_mut(&self.socket)?;
        me.connections.retain(|c| c.close_reason().is_none());
        me.connections.push(mine.core.clone());
        Some((mine, theirs, accept))
    }

    pub(super) async fn accept(&self) -> Option<Connection> {
        self.accepted.lock().await.recv().await
    }

    pub(super) fn close(&self) {
        let host = self.fabric.state().hosts.remove(&self.socket);
        for connection in host.into_iter().flat_map(|host| host.connections) {
            connection.close(CloseCode::Done, "");
        }
    }
}

/// One end of an in-memory connection; dropping the last clone closes it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    core: Core,
    /// Closes the connection with the last handle; the fabric's own do not count.
    _guard: Arc<CloseOnDrop>,
}

#[derive(Debug)]
struct CloseOnDrop(Core);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(CloseCode::Done, "");
    }
}

#[derive(Clone, Debug)]
struct Core {
    peer: PeerId,
    alpn: Alpn,
    keying: [u8; 32],
    latency: Duration,
    closed: Arc<watch::Sender<Option<Closed>>>,
    remote_closed: Arc<watch::Sender<Option<Closed>>>,
    /// Nothing passes, either way. Both ends share it.
    severed: Arc<watch::Sender<bool>>,
    /// What this end said when it closed while nothing passed.
    parting: Arc<Mutex<Option<Closed>>>,
    open: mpsc::Sender<(SendHalf, RecvHalf)>,
    accept: Arc<tokio::sync::Mutex<mpsc::Receiver<(SendHalf, RecvHalf)>>>,
}

impl Connection {
    fn pair(
        dialer: PeerId,
        acceptor: PeerId,
        alpn: Alpn,
        keying: [u8; 32],
        latency: Duration,
    ) -> (Self, Self) {
        let (to_acceptor, at_acceptor) = mpsc::channel(BACKLOG);
        let (to_dialer, at_dialer) = mpsc::channel(BACKLOG);
        let dialer_closed = Arc::new(watch::channel(None).0);
        let acceptor_closed = Arc::new(watch::channel(None).0);
        let severed = Arc::new(watch::channel(false).0);
        let end = |peer, closed: &Arc<_>, remote: &Arc<_>, open, accept| {
            let core = Core {
                peer,
                alpn,
                keying,
                latency,
                closed: Arc::clone(closed),
                remote_closed: Arc::clone(remote),
                severed: severed.clone(),
                parting: Arc::default(),
                open,
                accept: Arc::new(tokio::sync::Mutex::new(accept)),
            };
            Self {
                core: core.clone(),
                _guard: Arc::new(CloseOnDrop(core)),
            }
        };
        (
            end(
                acceptor,
                &dialer_closed,
                &acceptor_closed,
                to_acceptor,
                at_dialer,
            ),
            end(
                dialer,
                &acceptor_closed,
                &dialer_closed,
                to_dialer,
                at_acceptor,
            ),
        )
    }

    pub(super) fn peer(&self) -> PeerId {
        self.core.peer
    }

    pub(super) fn alpn(&self) -> Alpn {
        self.core.alpn
    }

    pub(super) fn keying_material(&self) -> [u8; 32] {
        self.core.keying
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        Some(self.core.latency * 2)
    }

    pub(super) fn close(&self, code: CloseCode, reason: &str) {
        self.core.close(code, reason);
    }

    pub(super) async fn closed(&self) -> Closed {
        self.core.closed().await
    }

    pub(super) fn close_reason(&self) -> Option<Closed> {
        self.core.close_reason()
    }

    pub(super) async fn open_bi(&self) -> Result<(super::SendHalf, super::RecvHalf), LinkError> {
        if let Some(closed) = self.core.close_reason() {
            return Err(LinkError::Connection(closed));
        }
        let out = Arc::new(Pipe::default());
        let back = Arc::new(Pipe::default());
        let mine = (self.core.sender(&out), self.core.receiver(&back));
        let theirs = self.core.remote_halves(&back, &out);
        if self.core.open.send(theirs).await.is_err() {
            return Err(LinkError::Connection(self.core.closed().await));
        }
        Ok((
            super::SendHalf::Memory(mine.0),
            super::RecvHalf::Memory(mine.1),
        ))
    }

    pub(super) async fn accept_bi(&self) -> Result<(super::SendHalf, super::RecvHalf), LinkError> {
        let mut accept = self.core.accept.lock().await;
        tokio::select! {
            Some((send, recv)) = accept.recv() => Ok((
                super::SendHalf::Memory(send),
                super::RecvHalf::Memory(recv),
            )),
            closed = self.core.closed() => Err(LinkError::Connection(closed)),
        }
    }
}

impl Core {
    fn close(&self, code: CloseCode, reason: &str) {
        if self.close_reason().is_some() {
            return;
        }
        self.closed.send_replace(Some(Closed {
            code: CloseCode::Done,
            reason: "closed by this peer".into(),
        }));
        let reason = reason.into();
        let parting = Closed { code, reason };
        if *self.severed.borrow() {
            *self.parting() = Some(parting);
        } else {
            close(&self.remote_closed, parting);
        }
    }

    fn parting(&self) -> MutexGuard<'_, Option<Closed>> {
        self.parting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn closed(&self) -> Closed {
        let mut closed = self.closed.subscribe();
        match closed.wait_for(Option::is_some).await.map(|c| c.clone()) {
            Ok(Some(closed)) => closed,
            _ => std::future::pending().await,
        }
    }

    fn close_reason(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }

    /// Lets nothing pass; unless that changes, both sides notice after the idle time.
    fn sever(&self) {
        if self.severed.send_replace(true) {
            return;
        }
        let ends = [self.closed.clone(), self.remote_closed.clone()];
        let mut severed = self.severed.subscribe();
        rt::Tasks::new(tracing::Span::none()).spawn(async move {
            let joined = severed.wait_for(|severed| !severed);
            if rt::timeout(CONNECTION_IDLE, joined).await.is_ok() {
                return;
            }
            for end in ends {
                close(
                    &end,
                    Closed {
                        code: CloseCode::TimedOut,
                        reason: "the peer went silent".into(),
                    },
                );
            }
        });
    }

    fn sender(&self, pipe: &Arc<Pipe>) -> SendHalf {
        SendHalf {
            pipe: pipe.clone(),
            latency: self.latency,
            closed: self.closed.subscribe(),
            severed: self.severed.subscribe(),
        }
    }

    fn receiver(&self, pipe: &Arc<Pipe>) -> RecvHalf {
        RecvHalf {
            pipe: pipe.clone(),
            closed: self.closed.subscribe(),
            severed: self.severed.subscribe(),
        }
    }

    fn remote_halves(&self, out: &Arc<Pipe>, back: &Arc<Pipe>) -> (SendHalf, RecvHalf) {
        let send = SendHalf {
            pipe: out.clone(),
            latency: self.latency,
            closed: self.remote_closed.subscribe(),
            severed: self.severed.subscribe(),
        };
        let recv = RecvHalf {
            pipe: back.clone(),
            closed: self.remote_closed.subscribe(),
            severed: self.severed.subscribe(),
        };
        (send, recv)
    }
}

/// One direction of a stream: bytes that become readable at their time, bounded like a QUIC window.
#[derive(Debug, Default)]
struct Pipe {
    flow: Mutex<Flow>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Flow {
    /// When each may be read, and its bytes.
    segments: VecDeque<(rt::Instant, Bytes)>,
    buffered: usize,
    finished: bool,
    reset: Option<CloseCode>,
    stopped: Option<CloseCode>,
}

impl Pipe {
    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending half of an in-memory stream.
#[derive(Debug)]
pub(crate) struct SendHalf {
    pipe: Arc<Pipe>,
    latency: Duration,
    closed: watch::Receiver<Option<Closed>>,
    severed: watch::Receiver<bool>,
}

impl SendHalf {
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        self.write(Bytes::copy_from_slice(bytes)).await
    }

    pub(super) async fn write_chunks(&mut self, chunks: &mut [Bytes]) -> Result<(), LinkError> {
        for chunk in chunks {
            self.write(std::mem::take(chunk)).await?;
        }
        Ok(())
    }

    async fn write(&mut self, mut bytes: Bytes) -> Result<(), LinkError> {
        let latency = self.latency;
        while !bytes.is_empty() {
            let pipe = self.pipe.clone();
            step(&pipe, &mut self.closed, &mut self.severed, |flow| {
                if let Some(code) = flow.stopped {
                    return Step::Done(Err(LinkError::Stream(code)));
                }
                let room = (STREAM_WINDOW as usize).saturating_sub(flow.buffered);
                if room == 0 {
                    return Step::Wait;
                }
                let part = bytes.split_to(room.min(bytes.len()));
                flow.buffered += part.len();
                flow.segments.push_back((rt::now() + latency, part));
                Step::Done(Ok(()))
            })
            .await??;
        }
        Ok(())
    }

    pub(super) async fn finish(&mut self) -> Result<(), LinkError> {
        let pipe = self.pipe.clone();
        step(&pipe, &mut self.closed, &mut self.severed, |flow| {
            flow.finished = true;
            match flow.stopped {
                _ if flow.buffered == 0 => Step::Done(Ok(())),
                Some(code) => Step::Done(Err(LinkError::Stream(code))),
                None => Step::Wait,
            }
        })
        .await?
    }

    pub(super) fn reset(&mut self, code: CloseCode) {
        self.pipe.flow().reset = Some(code);
        self.pipe.changed.notify_waiters();
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        self.pipe.flow().finished = true;
        self.pipe.changed.notify_waiters();
    }
}

/// The receiving half of an in-memory stream.
#[derive(Debug)]
pub(crate) struct RecvHalf {
    pipe: Arc<Pipe>,
    closed: watch::Receiver<Option<Closed>>,
    severed: watch::Receiver<bool>,
}

impl RecvHalf {
    pub(super) async fn read_buf(&mut self, buffer: &mut BytesMut) -> Result<usize, LinkError> {
        let pipe = self.pipe.clone();
        step(&pipe, &mut self.closed, &mut self.severed, |flow| {
            if let Some(code) = flow.reset {
                return Step::Done(Err(LinkError::Stream(code)));
            }
            match flow.segments.front_mut() {
                None if flow.finished => Step::Done(Ok(0)),
                None => Step::Wait,
                Some((due, _)) if *due > rt::now() => Step::WaitUntil(*due),
                Some((_, segment)) => {
                    let spare = (buffer.capacity() - buffer.len()).max(1);
                    let take = spare.min(segment.len());
                    buffer.extend_from_slice(&segment[..take]);
                    segment.advance(take);
                    if segment.is_empty() {
                        flow.segments.pop_front();
                    }
                    flow.buffered -= take;
                    Step::Done(Ok(take))
                }
            }
        })
        .await?
    }

    pub(super) fn stop(&mut self, code: CloseCode) {
        self.pipe.flow().stopped.get_or_insert(code);
        self.pipe.changed.notify_waiters();
    }
}

impl Drop for RecvHalf {
    fn drop(&mut self) {
        self.stop(CloseCode::Done);
    }
}

fn close(end: &watch::Sender<Option<Closed>>, why: Closed) {
    end.send_if_modified(|closed| {
        let open = closed.is_none();
        if open {
            *closed = Some(why);
        }
        open
    });
}

enum Step<T> {
    Done(T),
    Wait,
    WaitUntil(rt::Instant),
}

/// Runs `act` until it is done, each time the pipe changes or a segment falls due, or the connection
/// closes.
async fn step<T>(
    pipe: &Pipe,
    closed: &mut watch::Receiver<Option<Closed>>,
    severed: &mut watch::Receiver<bool>,
    mut act: impl FnMut(&mut Flow) -> Step<T>,
) -> Result<T, LinkError> {
    loop {
        let changed = pipe.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if let Some(closed) = &*closed.borrow() {
            return Err(LinkError::Connection(closed.clone()));
        }
        let due = if *severed.borrow_and_update() {
            None
        } else {
            match act(&mut pipe.flow()) {
                Step::Done(value) => {
                    pipe.changed.notify_waiters();
                    return Ok(value);
                }
                Step::Wait => None,
                Step::WaitUntil(due) => Some(due),
            }
        };
        let falls_due = async {
            match due {
                Some(due) => rt::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => {}
            () = falls_due => {}
            Ok(()) = severed.changed() => {}
            result = closed.changed() => {
                if result.is_err() {
                    return Err(LinkError::Truncated);
                }
            }
        }
    }
}
