//! A connection between two endpoints of a fabric.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    Fabric, RecvHalf, SendHalf,
    passage::{self, Passage},
    stream::{self, Halves, Side},
};
use crate::{
    id::PeerId,
    rt::{self, Instant, watch},
    transport::{Alpn, CONNECTION_IDLE, CloseCode, Closed, LinkError, connection},
};

/// Streams that wait to be accepted.
const BACKLOG: usize = 4096;

/// One end of an in-memory connection; dropping the last clone closes it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    end: Arc<Held>,
}

/// An end that is in somebody's hands.
#[derive(Debug)]
struct Held {
    wire: Arc<Wire>,
    me: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.wire.close(self.me, CloseCode::Done, "");
    }
}

/// What joins the two ends.
#[derive(Debug)]
pub(super) struct Wire {
    itself: Weak<Wire>,
    fabric: Fabric,
    alpn: Alpn,
    keying: [u8; 32],
    /// The dialer's and the acceptor's.
    pub(super) ends: [End; 2],
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) peer: PeerId,
    pub(super) socket: SocketAddr,
    /// Since when and why it is closed.
    closed: watch::Sender<Option<(Instant, Closed)>>,
    /// Whether what it sends passes.
    out: watch::Sender<Passage>,
    /// Whether it hears the other.
    hears: watch::Sender<bool>,
    /// Whether its host crashed.
    dead: AtomicBool,
    /// Streams that the other end opened.
    opened: mpsc::Sender<Halves>,
    accept: tokio::sync::Mutex<mpsc::Receiver<Halves>>,
}

impl End {
    fn new((peer, socket): (PeerId, SocketAddr)) -> Self {
        let (opened, accept) = mpsc::channel(BACKLOG);
        Self {
            peer,
            socket,
            closed: watch::Sender::new(None),
            out: watch::Sender::new(Passage::open(rt::now())),
            hears: watch::Sender::new(true),
            dead: AtomicBool::new(false),
            opened,
            accept: tokio::sync::Mutex::new(accept),
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.borrow().is_some()
    }

    /// Whether it can be heard of at all.
    fn is_silent(&self) -> bool {
        self.dead.load(Ordering::Relaxed) || self.is_closed()
    }

    fn end(&self, code: CloseCode, reason: &str) {
        self.closed.send_if_modified(|closed| {
            let open = closed.is_none();
            if open {
                let reason = reason.into();
                *closed = Some((rt::now(), Closed { code, reason }));
            }
            open
        });
    }
}

impl Wire {
    pub(super) fn new(
        fabric: Fabric,
        alpn: Alpn,
        keying: [u8; 32],
        [dialer, acceptor]: [(PeerId, SocketAddr); 2],
    ) -> Arc<Self> {
        Arc::new_cyclic(|itself| Self {
            itself: itself.clone(),
            fabric,
            alpn,
            keying,
            ends: [End::new(dialer), End::new(acceptor)],
        })
    }

    /// Takes in how things stand between the two hosts.
    pub(super) fn refresh(&self) {
        for (me, other) in [(0, 1), (1, 0)] {
            let (from, to) = (&self.ends[me], &self.ends[other]);
            let (open, heard) = self.fabric.reaches(from, to);
            let heard = heard && !from.is_silent();
            let passes = open && !from.dead.load(Ordering::Relaxed);
            let now = rt::now();
            from.out.send_if_modified(|out| {
                let changes = out.is_open() != passes;
                match passes {
                    true if changes => out.reopen(now + self.fabric.recovery()),
                    false if changes => out.close(now),
                    _ => {}
                }
                changes
            });
            let heard_before = *to.hears.borrow();
            if heard_before != heard {
                to.hears.send_replace(heard);
            }
            if heard_before && !heard {
                self.watch(other);
            }
        }
    }

    /// Gives up an end that hears nothing from the other for long.
    fn watch(&self, me: usize) {
        let (wire, mut hears) = (self.itself.clone(), self.ends[me].hears.subscribe());
        rt::outside(async move {
            let heard = hears.wait_for(|hears| *hears);
            if rt::timeout(CONNECTION_IDLE, heard).await.is_ok() {
                return;
            }
            if let Some(wire) = wire.upgrade() {
                wire.ends[me].end(CloseCode::TimedOut, "the peer went silent");
                // It says nothing any more either.
                wire.refresh();
            }
        });
    }

    /// Closes an end, and tells the other if that can be told.
    fn close(&self, me: usize, code: CloseCode, reason: &str) {
        let (end, other) = (&self.ends[me], 1 - me);
        if end.is_closed() {
            return;
        }
        end.end(CloseCode::Done, "closed by this peer");
        if end.dead.load(Ordering::Relaxed) {
            return;
        }
        let due = self.direction(me).send(reason.as_bytes());
        let (passage, now) = (*end.out.borrow(), rt::now());
        if due <= now && passage.arrival(due) == Some(due) {
            self.ends[other].end(code, reason);
        } else if passage.is_open() {
            let (wire, reason) = (self.itself.upgrade(), reason.to_owned());
            rt::outside(async move {
                rt::sleep_until(due).await;
                if let Some(wire) = wire {
                    let arrived = wire.ends[me].out.borrow().arrival(due) == Some(due);
                    if arrived {
                        wire.ends[other].end(code, &reason);
                    }
                    wire.refresh();
                }
            });
            return;
        }
        self.refresh();
    }

    /// Closes the end that is at a socket.
    pub(super) fn close_at(&self, socket: SocketAddr, code: CloseCode, reason: &str) {
        for me in [0, 1] {
            if self.ends[me].socket == socket {
                self.close(me, code, reason);
            }
        }
    }

    /// Takes away the ends at a host that crashed.
    pub(super) fn die(&self, host: IpAddr) {
        for end in &self.ends {
            if end.socket.ip() == host {
                end.dead.store(true, Ordering::Relaxed);
                end.end(CloseCode::TimedOut, "the host crashed");
            }
        }
    }

    fn direction(&self, me: usize) -> super::fabric::Direction {
        let [from, to] = [me, 1 - me].map(|end| self.ends[end].socket.ip());
        self.fabric.direction(from, to)
    }

    fn side(&self, me: usize) -> Side {
        Side {
            closed: self.ends[me].closed.subscribe(),
            out: self.ends[me].out.subscribe(),
            back: self.ends[1 - me].out.subscribe(),
            direction: self.direction(me),
        }
    }
}

impl Connection {
    /// The dialer's and the acceptor's end.
    pub(super) fn pair(wire: Arc<Wire>) -> (Self, Self) {
        let end = |wire, me| Self {
            end: Arc::new(Held { wire, me }),
        };
        (end(wire.clone(), 0), end(wire, 1))
    }

    fn me(&self) -> &End {
        &self.end.wire.ends[self.end.me]
    }

    fn other(&self) -> &End {
        &self.end.wire.ends[1 - self.end.me]
    }

    /// Waits for the answer to the first packet.
    pub(super) async fn answered(&self) {
        let due = self.end.wire.direction(1 - self.end.me).send(&[]);
        passage::arrived(&mut self.other().out.subscribe(), due).await;
    }

    pub(in crate::transport) fn peer(&self) -> PeerId {
        self.other().peer
    }

    pub(in crate::transport) fn alpn(&self) -> Alpn {
        self.end.wire.alpn
    }

    pub(in crate::transport) fn keying_material(&self) -> [u8; 32] {
        self.end.wire.keying
    }

    pub(in crate::transport) fn rtt(&self) -> Option<Duration> {
        Some(self.end.wire.direction(self.end.me).round_trip())
    }

    pub(in crate::transport) fn close(&self, code: CloseCode, reason: &str) {
        self.end.wire.close(self.end.me, code, reason);
    }

    pub(in crate::transport) async fn closed(&self) -> Closed {
        let mut closed = self.me().closed.subscribe();
        match closed.wait_for(Option::is_some).await.map(|c| c.clone()) {
            Ok(Some((_, closed))) => closed,
            _ => std::future::pending().await,
        }
    }

    pub(in crate::transport) fn close_reason(&self) -> Option<Closed> {
        let closed = self.me().closed.borrow();
        closed.as_ref().map(|(_, closed)| closed.clone())
    }

    pub(in crate::transport) async fn open_bi(
        &self,
    ) -> Result<(connection::SendHalf, connection::RecvHalf), LinkError> {
        if let Some(closed) = self.close_reason() {
            return Err(LinkError::Connection(closed));
        }
        let wire = &self.end.wire;
        let (near, far) = (wire.side(self.end.me), wire.side(1 - self.end.me));
        Ok(halves(stream::open(
            &near,
            &far,
            self.other().opened.clone(),
        )))
    }

    pub(in crate::transport) async fn accept_bi(
        &self,
    ) -> Result<(connection::SendHalf, connection::RecvHalf), LinkError> {
        let mut accept = self.me().accept.lock().await;
        tokio::select! {
            biased;
            // A stream that arrived before the end can still be accepted.
            Some(opened) = accept.recv() => Ok(halves(opened)),
            closed = self.closed() => Err(LinkError::Connection(closed)),
        }
    }
}

fn halves((send, recv): (SendHalf, RecvHalf)) -> (connection::SendHalf, connection::RecvHalf) {
    (
        connection::SendHalf::Memory(send),
        connection::RecvHalf::Memory(recv),
    )
}
