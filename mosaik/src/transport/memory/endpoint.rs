//! An endpoint on a fabric.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Connection, Fabric};
use crate::{
    id::{PeerAddr, PeerId},
    rt::{self, watch},
    transport::{Alpn, BindError, CloseCode, ConnectError},
};

/// Connections that wait to be accepted.
const BACKLOG: usize = 1024;
/// Time between attempts of a dial that nobody answers.
const RETRY: Duration = Duration::from_millis(200);

/// An endpoint on a [`Fabric`].
#[derive(Clone, Debug)]
pub(in crate::transport) struct Endpoint {
    fabric: Fabric,
    peer: PeerId,
    socket: SocketAddr,
    addr: watch::Sender<PeerAddr>,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<Connection>>>,
}

impl Endpoint {
    pub(in crate::transport) fn bind(
        fabric: Fabric,
        peer: PeerId,
        port: u16,
    ) -> Result<Self, BindError> {
        let (accept, accepted) = mpsc::channel(BACKLOG);
        let socket = fabric.bind(peer, port, accept)?;
        Ok(Self {
            fabric,
            peer,
            socket,
            addr: watch::Sender::new(PeerAddr::new(peer).with_ip(socket)),
            accepted: Arc::new(tokio::sync::Mutex::new(accepted)),
        })
    }

    pub(in crate::transport) fn addr(&self) -> watch::Receiver<PeerAddr> {
        self.addr.subscribe()
    }

    /// Tries until somebody answers: the caller's deadline ends it.
    pub(in crate::transport) async fn connect(
        &self,
        addr: &PeerAddr,
        alpn: Alpn,
    ) -> Result<Connection, ConnectError> {
        if addr.ips.is_empty() {
            return Err(ConnectError::NoAddress);
        }
        loop {
            for socket in &addr.ips {
                if let Some(connection) = self.attempt(addr.peer, *socket, alpn).await? {
                    return Ok(connection);
                }
            }
            rt::sleep(RETRY).await;
        }
    }

    /// Sends a first packet; if somebody is there to answer, waits for the answer.
    async fn attempt(
        &self,
        peer: PeerId,
        socket: SocketAddr,
        alpn: Alpn,
    ) -> Result<Option<Connection>, ConnectError> {
        let (from, to) = (self.socket.ip(), socket.ip());
        let there = self.fabric.direction(from, to);
        let due = there.send(&[]);
        if !self.fabric.is_open(from, to) || self.fabric.at(&socket).is_none() {
            return Ok(None);
        }
        rt::sleep_until(due).await;
        let ends = [(self.peer, self.socket), (peer, socket)];
        let Some((mine, theirs, accept)) = self.fabric.join(ends[0], ends[1], alpn) else {
            let other = self.fabric.at(&socket).is_some_and(|found| found != peer);
            let refused = || ConnectError::Transport("another peer is at that address".into());
            return if other { Err(refused()) } else { Ok(None) };
        };
        if accept.try_send(theirs).is_err() {
            // Nobody takes the packet.
            return Ok(None);
        }
        mine.answered().await;
        Ok(Some(mine))
    }

    pub(in crate::transport) async fn accept(&self) -> Option<Connection> {
        self.accepted.lock().await.recv().await
    }

    pub(in crate::transport) fn close(&self) {
        self.fabric.unbind(self.socket);
        for wire in self.fabric.wires_at(self.socket) {
            wire.close_at(self.socket, CloseCode::Done, "");
        }
    }
}
