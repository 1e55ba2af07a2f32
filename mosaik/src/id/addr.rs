//! Where a peer can be reached, and the printable ticket of it.

use std::{collections::BTreeSet, fmt, net::SocketAddr, str::FromStr};

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};

use super::PeerId;
use crate::wire;

/// How a ticket starts: its kind and format version.
const TICKET_PREFIX: &str = "mosaik1";
/// Bytes of digest at a ticket's end, against mistyping.
const CHECKSUM_LEN: usize = 4;
/// A ticket longer than this is refused unread: room for some two hundred addresses.
const MAX_TICKET_LEN: usize = 8 * 1024;

/// A peer and the addresses it was last known at.
///
/// Addresses are hints: whoever answers there must prove that it holds the peer's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PeerAddr {
    /// The peer.
    pub peer: PeerId,
    /// Its UDP socket addresses.
    pub ips: BTreeSet<SocketAddr>,
    /// URLs of the relays it can be reached through.
    pub relays: BTreeSet<String>,
}

impl PeerAddr {
    /// A peer of which nothing but its id is known.
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            ips: BTreeSet::new(),
            relays: BTreeSet::new(),
        }
    }

    /// Adds a socket address.
    pub fn with_ip(mut self, ip: SocketAddr) -> Self {
        self.ips.insert(ip);
        self
    }

    /// Whether there is no address in it.
    pub fn is_empty(&self) -> bool {
        self.ips.is_empty() && self.relays.is_empty()
    }
}

impl From<PeerId> for PeerAddr {
    fn from(peer: PeerId) -> Self {
        Self::new(peer)
    }
}

impl fmt::Display for PeerAddr {
    /// Prints `<peer>@<ip:port>,<relay>`, which parses back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer)?;
        let ips = self.ips.iter().map(ToString::to_string);
        for (i, addr) in ips.chain(self.relays.iter().cloned()).enumerate() {
            write!(f, "{}{addr}", if i == 0 { '@' } else { ',' })?;
        }
        Ok(())
    }
}

impl FromStr for PeerAddr {
    type Err = ParseAddrError;

    /// Reads a peer id, `<id>@<ip:port>[,<ip:port or relay URL>…]`, or a ticket.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let s = s.trim();
        if s.starts_with(TICKET_PREFIX) {
            return s.parse::<Ticket>().map(|ticket| ticket.0);
        }
        let (peer, addrs) = match s.split_once('@') {
            Some((peer, addrs)) => (peer, Some(addrs)),
            None => (s, None),
        };
        let mut parsed = Self::new(peer.parse()?);
        for addr in addrs.into_iter().flat_map(|addrs| addrs.split(',')) {
            if addr.starts_with("http://") || addr.starts_with("https://") {
                parsed.relays.insert(addr.into());
            } else {
                let ip = addr
                    .parse()
                    .map_err(|_| ParseAddrError::Socket(addr.into()))?;
                parsed.ips.insert(ip);
            }
        }
        Ok(parsed)
    }
}

/// A [`PeerAddr`] as one printable word, to hand to another machine.
///
/// Prints as `mosaik1…` and parses from it; a mistyped one is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub PeerAddr);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = wire::encode(&self.0).map_err(|_| fmt::Error)?;
        bytes.extend_from_slice(&checksum(&bytes));
        let word = BASE32_NOPAD.encode(&bytes).to_ascii_lowercase();
        write!(f, "{TICKET_PREFIX}{word}")
    }
}

impl FromStr for Ticket {
    type Err = ParseAddrError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let word = s
            .trim()
            .strip_prefix(TICKET_PREFIX)
            .filter(|word| word.len() <= MAX_TICKET_LEN)
            .ok_or(ParseAddrError::Ticket)?;
        let bytes = BASE32_NOPAD
            .decode(word.to_ascii_uppercase().as_bytes())
            .map_err(|_| ParseAddrError::Ticket)?;
        let (body, sum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(ParseAddrError::Ticket)?;
        if *sum != checksum(body) {
            return Err(ParseAddrError::Ticket);
        }
        wire::decode(body)
            .map(Self)
            .map_err(|_| ParseAddrError::Ticket)
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = blake3::derive_key("mosaik/ticket/1", bytes);
    std::array::from_fn(|i| digest[i])
}

/// Why a peer, address or ticket could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAddrError {
    /// Give the 64 hexadecimal digits that the peer prints as its id.
    #[error("`{0}` is not a peer id: give its 64 hexadecimal digits")]
    Peer(String),
    /// Give addresses as `127.0.0.1:4000`, `[::1]:4000` or a relay's `https://` URL.
    #[error("`{0}` is not an address: give `ip:port`, or a relay's URL")]
    Socket(String),
    /// Copy the whole word, from `mosaik1` to its end.
    #[error("not a valid ticket: copy the whole `mosaik1…` word that the peer printed")]
    Ticket,
}

#[cfg(test)]
mod tests {
    use super::{super::SecretKey, *};

    fn sample() -> PeerAddr {
        let mut addr = PeerAddr::new(SecretKey::generate().peer())
            .with_ip("127.0.0.1:4000".parse().unwrap())
            .with_ip("[::1]:4000".parse().unwrap());
        addr.relays.insert("https://relay.example/".into());
        addr
    }

    #[test]
    fn addresses_and_tickets_print_and_parse() {
        let addr = sample();
        assert_eq!(addr.to_string().parse::<PeerAddr>().unwrap(), addr);
        let ticket = Ticket(addr.clone()).to_string();
        assert_eq!(ticket.parse::<PeerAddr>().unwrap(), addr);
        assert_eq!(ticket.parse::<Ticket>().unwrap(), Ticket(addr.clone()));
        let bare = PeerAddr::new(addr.peer);
        assert_eq!(bare.to_string().parse::<PeerAddr>().unwrap(), bare);
    }

    #[test]
    fn every_single_letter_change_of_a_ticket_is_noticed() {
        let ticket = Ticket(sample()).to_string();
        for i in TICKET_PREFIX.len()..ticket.len() {
            let mut typo = ticket.clone().into_bytes();
            typo[i] = if typo[i] == b'a' { b'b' } else { b'a' };
            let typo = String::from_utf8(typo).unwrap();
            assert_eq!(typo.parse::<Ticket>(), Err(ParseAddrError::Ticket), "{i}");
        }
    }

    #[test]
    fn bad_addresses_are_named() {
        let peer = SecretKey::generate().peer();
        assert_eq!(
            format!("{peer}@nowhere").parse::<PeerAddr>(),
            Err(ParseAddrError::Socket("nowhere".into()))
        );
        assert!(matches!(
            "@127.0.0.1:1".parse::<PeerAddr>(),
            Err(ParseAddrError::Peer(_))
        ));
    }
}
