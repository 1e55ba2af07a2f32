//! Our own entry: what we say of ourselves, signed anew at each change.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::proto::entry::{Body, EntryError, MAX_ADDRS, MAX_NAME, Record, Version};
use crate::{id::PeerAddr, rt, transport::Identity};

/// Starts and updates beyond which no life of a peer gets, and above which there must be room. What our clock
/// shows is no measure for a start: it may have been set back by years since an earlier life.
const MAX_VERSION: u64 = u64::MAX / 2;

/// The signer of our own entry.
#[derive(Debug)]
pub(super) struct Own {
    identity: Arc<Identity>,
    record: Arc<Record>,
}

impl Own {
    /// The first entry of this boot.
    pub(super) fn new(
        identity: Arc<Identity>,
        network: [u8; 32],
        addr: PeerAddr,
        edit: impl FnOnce(&mut Body),
    ) -> Result<Self, EntryError> {
        let addr = announced(addr);
        let mut body = Body::new(network, addr, identity.boot(), rt::unix_millis());
        edit(&mut body);
        let record = Arc::new(Record::sign(body, identity.key())?);
        Ok(Self { identity, record })
    }

    /// The entry as it is.
    pub(super) fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// Whether we have left.
    pub(super) fn departed(&self) -> bool {
        self.record.body().departed
    }

    /// Changes it; says whether it is another one then.
    ///
    /// # Errors
    /// When it would break a limit; it stays as it was.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Body)) -> Result<bool, EntryError> {
        if self.departed() {
            return Err(EntryError::ShutDown);
        }
        let mut body = self.record.body().clone();
        edit(&mut body);
        if body == *self.record.body() {
            return Ok(false);
        }
        body.version = self.next();
        self.sign(body)?;
        Ok(true)
    }

    /// Our addresses are these from now on; says whether they were others. Where there are more than an entry
    /// holds, those that most peers can use are announced.
    pub(super) fn relocate(&mut self, addr: PeerAddr) -> Result<bool, EntryError> {
        self.edit(|body| body.addr = announced(addr))
    }

    /// Signs it anew as it is, so that it does not expire elsewhere.
    pub(super) fn refresh(&mut self) -> Result<(), EntryError> {
        let body = Body {
            version: self.next(),
            ..self.record.body().clone()
        };
        self.sign(body)
    }

    /// Signs it with a version above `version`, which somebody holds as the last of this boot, of an
    /// earlier one whose clock was ahead, or of another process with our key. Says whether that was
    /// necessary.
    pub(super) fn supersede(&mut self, version: Version) -> Result<bool, EntryError> {
        if self.departed() || version < self.record.version() {
            return Ok(false);
        }
        if version.started > MAX_VERSION || version.update > MAX_VERSION {
            tracing::warn!(?version, "an absurd version of our own entry is not outbid");
            return Ok(false);
        }
        let version = if version.started == self.record.version().started {
            Version {
                update: version.update.saturating_add(1),
                ..version
            }
        } else {
            Version {
                started: version.started.saturating_add(1).max(rt::unix_millis()),
                update: 0,
            }
        };
        let body = Body {
            version,
            ..self.record.body().clone()
        };
        self.sign(body)?;
        Ok(true)
    }

    /// Signs our tombstone.
    pub(super) fn depart(&mut self) -> Result<(), EntryError> {
        let tombstone = self.record.body().tombstone(self.next());
        self.sign(tombstone)
    }

    fn next(&self) -> Version {
        let version = self.record.version();
        Version {
            update: version.update.saturating_add(1),
            ..version
        }
    }

    fn sign(&mut self, body: Body) -> Result<(), EntryError> {
        self.record = Arc::new(Record::sign(body, self.identity.key())?);
        Ok(())
    }
}

/// What an entry has room for of our addresses.
fn announced(addr: PeerAddr) -> PeerAddr {
    if addr.ips.len() > MAX_ADDRS || addr.relays.len() > MAX_ADDRS {
        tracing::debug!("this peer has more addresses than it can announce");
    }
    let relays = addr.relays.into_iter();
    let relays = relays.filter(|r| r.len() <= MAX_NAME && !r.chars().any(char::is_control));
    PeerAddr {
        peer: addr.peer,
        ips: widest(&addr.ips, MAX_ADDRS),
        relays: relays.take(MAX_ADDRS).collect(),
    }
}

/// The `count` of these addresses that most peers can use.
pub(super) fn widest(ips: &BTreeSet<SocketAddr>, count: usize) -> BTreeSet<SocketAddr> {
    let mut ips: Vec<_> = ips.iter().copied().collect();
    ips.sort_by_key(|addr| reach(addr.ip()));
    ips.into_iter().take(count).collect()
}

/// From how far an address can be used, the farthest first.
fn reach(ip: IpAddr) -> u8 {
    let (private, link_local) = match ip {
        IpAddr::V4(ip) => (ip.is_private(), ip.is_link_local()),
        IpAddr::V6(ip) => (ip.is_unique_local(), ip.is_unicast_link_local()),
    };
    match ip {
        _ if private => 1,
        _ if link_local || ip.is_unspecified() => 3,
        _ if ip.is_loopback() => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{NetworkId, SecretKey};

    #[test]
    fn more_addresses_than_an_entry_holds_are_no_error() {
        let many = |peer| {
            let mut addr = PeerAddr::new(peer);
            for n in 0..100u16 {
                addr.ips.insert(([169, 254, 0, 1], n + 1).into());
            }
            for (ip, port) in [
                ([10, 0, 0, 1], 1),
                ([203, 0, 113, 1], 1),
                ([127, 0, 0, 1], 1),
            ] {
                addr.ips.insert((ip, port).into());
            }
            addr.relays = (0..100).map(|n| format!("https://{n}.example")).collect();
            addr.relays.insert("x".repeat(MAX_NAME + 1));
            addr
        };
        let identity = Arc::new(Identity::new(
            SecretKey::generate(),
            NetworkId::from("n"),
            None,
        ));
        let peer = identity.peer();
        let check = |own: &Own| {
            let addr = &own.record().body().addr;
            assert_eq!((addr.ips.len(), addr.relays.len()), (MAX_ADDRS, MAX_ADDRS));
            for ip in [[10, 0, 0, 1], [203, 0, 113, 1], [127, 0, 0, 1]] {
                assert!(addr.ips.contains(&(ip, 1).into()), "{ip:?}");
            }
        };
        check(&Own::new(identity, [0; 32], many(peer), |_| {}).unwrap());
        // The same when there are more later.
        let mut later = own();
        let peer = later.record().peer();
        assert_eq!(later.relocate(many(peer)), Ok(true));
        check(&later);
        assert_eq!(later.relocate(many(peer)), Ok(false));
        let first = widest(&many(peer).ips, 2);
        assert!(first.iter().all(|addr| !addr.ip().is_loopback()) && first.len() == 2);
    }

    fn own() -> Own {
        let identity = Identity::new(SecretKey::generate(), NetworkId::from("n"), None);
        let addr = PeerAddr::new(identity.peer());
        Own::new(Arc::new(identity), [0; 32], addr, |_| {}).unwrap()
    }

    #[test]
    fn every_signature_is_newer_and_no_change_is_none() {
        let mut own = own();
        let first = own.record().version();
        assert_eq!(own.edit(|_| {}), Ok(false));
        assert_eq!(own.record().version(), first);
        assert_eq!(
            own.edit(|body| body.tags.extend(["x".to_owned()])),
            Ok(true)
        );
        assert!(own.record().version() > first);
        own.depart().unwrap();
        assert!(own.record().body().tags.is_empty());
        assert_eq!(own.edit(|_| {}), Err(EntryError::ShutDown));
    }

    #[test]
    fn what_others_hold_of_us_is_outbid() {
        let mut own = own();
        let mine = own.record().version();
        assert_eq!(own.supersede(Version::default()), Ok(false));
        // This boot, buried by somebody: it started when it did.
        assert_eq!(own.supersede(mine), Ok(true));
        assert_eq!(own.record().version().started, mine.started);
        assert!(own.record().version() > mine);
        // An earlier boot, whose clock was an hour ahead, and one from before our clock lost its date.
        for ahead in [3_600_000, 60 * 365 * 24 * 3_600_000] {
            let ahead = Version {
                started: mine.started + ahead,
                update: 4,
            };
            assert_eq!(own.supersede(ahead), Ok(true));
            assert!(own.record().version() > ahead);
        }
    }

    #[test]
    fn absurd_versions_are_not_outbid() {
        let mut own = own();
        let mine = own.record().version();
        let absurd = [
            (u64::MAX, u64::MAX),
            (u64::MAX, 0),
            (mine.started, u64::MAX),
            (MAX_VERSION + 1, 0),
        ];
        for (started, update) in absurd {
            assert_eq!(own.supersede(Version { started, update }), Ok(false));
        }
        assert_eq!(own.record().version(), mine);
    }
}
