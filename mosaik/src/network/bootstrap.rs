//! The forms in which a peer to start from can be given.

use crate::id::{ParseAddrError, PeerAddr, PeerId, Ticket};

/// A peer to start from: an id, an address, a ticket, or any of them as text.
///
/// Text that is none of them fails [`Builder::build`](super::Builder::build).
#[derive(Clone, Debug)]
pub struct Bootstrap(pub(super) Result<PeerAddr, ParseAddrError>);

impl From<PeerAddr> for Bootstrap {
    fn from(addr: PeerAddr) -> Self {
        Self(Ok(addr))
    }
}

impl From<&PeerAddr> for Bootstrap {
    fn from(addr: &PeerAddr) -> Self {
        Self(Ok(addr.clone()))
    }
}

impl From<PeerId> for Bootstrap {
    fn from(peer: PeerId) -> Self {
        Self(Ok(PeerAddr::new(peer)))
    }
}

impl From<Ticket> for Bootstrap {
    fn from(ticket: Ticket) -> Self {
        Self(Ok(ticket.0))
    }
}

impl From<&str> for Bootstrap {
    fn from(text: &str) -> Self {
        Self(text.parse())
    }
}

impl From<String> for Bootstrap {
    fn from(text: String) -> Self {
        Self(text.parse())
    }
}

impl From<&String> for Bootstrap {
    fn from(text: &String) -> Self {
        Self(text.parse())
    }
}
