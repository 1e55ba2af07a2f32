//! What a peer says of itself: a signed, versioned, bounded record.
//!
//! A [`SignedEntry`] keeps the bytes that were signed, so that it is passed on exactly as its peer
//! made it. A [`Record`] is one that was decoded, checked against every limit and verified; nothing
//! else enters a catalog.

use std::{cmp::Ordering, collections::BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    id::{GroupId, PeerAddr, PeerId, SecretKey, TopicId},
    wire::{self, PROTOCOL_VERSION},
};

/// Largest encoded entry, signature included, in bytes: 64 KiB.
pub(crate) const MAX_ENTRY: usize = 64 * 1024;
/// Most socket addresses and most relays in an entry.
pub(crate) const MAX_ADDRS: usize = 64;
/// Most tags in an entry.
pub(crate) const MAX_TAGS: usize = 1024;
/// Most topics produced, and most topics consumed.
pub(crate) const MAX_TOPICS: usize = 1024;
/// Most groups in an entry.
pub(crate) const MAX_GROUPS: usize = 1024;
/// Most access tickets in an entry.
pub(crate) const MAX_TICKETS: usize = 64;
/// Longest name of a tag, topic, group, ticket class, relay or software, in bytes.
pub(crate) const MAX_NAME: usize = 512;

/// Stands in front of the signed bytes, so that a signature made for anything else is worth nothing.
const DOMAIN: &[u8] = b"mosaik/discovery/entry/1\0";

/// How new an entry is: by the start of its peer, then by the number of changes since.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub(crate) struct Version {
    /// When the peer started, in milliseconds since 1970 by its own clock.
    pub(crate) started: u64,
    /// Number of signatures since.
    pub(crate) update: u64,
}

/// A topic that a peer produces or consumes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicInfo {
    /// The topic's name; its id is `TopicId::from_name` of it.
    pub name: String,
    /// The fingerprint of the datum's schema, if it has one.
    pub fingerprint: Option<[u8; 32]>,
}

/// A consensus group that a peer takes part in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupInfo {
    /// The group's name; its id is `GroupId::from_name` of it.
    pub name: String,
    /// Whether it may vote; else it only observes.
    pub writer: bool,
    /// The epoch of the group's charter. There only if the peer is a member that the charter lists, and holds its
    /// state: what a peer merely heard of a charter it does not repeat.
    pub charter: Option<[u8; 16]>,
}

/// Proof of some right that a peer carries in its entry, for others to check.
///
/// Not to be confused with [`Ticket`](crate::Ticket), which says where a peer can be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccessTicket {
    /// What kind of ticket it is, such as `jwt`; it says who checks it.
    pub class: String,
    /// The ticket itself, at most what the entry's 64 KiB leave room for.
    pub data: Bytes,
}

/// The content of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Body {
    /// The version of this format; first, so that any version can be told from any other.
    pub(crate) protocol: u16,
    /// Digest of the network id, which is a capability and is not passed around itself.
    pub(crate) network: [u8; 32],
    /// Where the peer can be reached, and who it is.
    pub(crate) addr: PeerAddr,
    /// Its tags, as words.
    pub(crate) tags: BTreeSet<String>,
    /// Topics that it produces.
    pub(crate) produces: Vec<TopicInfo>,
    /// Topics that it consumes.
    pub(crate) consumes: Vec<TopicInfo>,
    /// Groups that it takes part in.
    pub(crate) groups: Vec<GroupInfo>,
    /// Proofs that it carries.
    pub(crate) tickets: Vec<AccessTicket>,
    /// The number of the peer's boot, as its connections show it.
    pub(crate) boot: u64,
    /// How new this is.
    pub(crate) version: Version,
    /// Name and version of the software.
    pub(crate) software: String,
    /// Whether the peer has left: the entry is its tombstone.
    pub(crate) departed: bool,
}

impl Body {
    /// An entry of a peer that has just started.
    pub(crate) fn new(network: [u8; 32], addr: PeerAddr, boot: u64, started: u64) -> Self {
        Self {
            protocol: PROTOCOL_VERSION,
            network,
            addr,
            tags: BTreeSet::new(),
            produces: Vec::new(),
            consumes: Vec::new(),
            groups: Vec::new(),
            tickets: Vec::new(),
            boot,
            version: Version { started, update: 0 },
            software: concat!("mosaik/", env!("CARGO_PKG_VERSION")).into(),
            departed: false,
        }
    }

    /// What remains of it when the peer leaves.
    pub(crate) fn tombstone(&self, version: Version) -> Self {
        Self {
            version,
            departed: true,
            ..Self::new(
                self.network,
                PeerAddr::new(self.addr.peer),
                self.boot,
                version.started,
            )
        }
    }

    /// Whether the two say the same apart from how new they are.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        let other = Self {
            version: self.version,
            ..other.clone()
        };
        *self == other
    }

    /// Checks every limit.
    fn check(&self) -> Result<(), EntryError> {
        let counts = [
            ("addresses", self.addr.ips.len(), MAX_ADDRS),
            ("relays", self.addr.relays.len(), MAX_ADDRS),
            ("tags", self.tags.len(), MAX_TAGS),
            ("topics produced", self.produces.len(), MAX_TOPICS),
            ("topics consumed", self.consumes.len(), MAX_TOPICS),
            ("groups", self.groups.len(), MAX_GROUPS),
            ("tickets", self.tickets.len(), MAX_TICKETS),
        ];
        for (what, count, limit) in counts {
            if count > limit {
                return Err(EntryError::TooMany { what, count, limit });
            }
        }
        let topics = self.produces.iter().chain(&self.consumes);
        let names = (self.addr.relays.iter())
            .chain(&self.tags)
            .chain(topics.map(|topic| &topic.name))
            .chain(self.groups.iter().map(|group| &group.name))
            .chain(self.tickets.iter().map(|ticket| &ticket.class))
            .chain([&self.software]);
        for name in names {
            if name.len() > MAX_NAME {
                return Err(EntryError::NameTooLong { len: name.len() });
            }
            if name.chars().any(char::is_control) {
                return Err(EntryError::ControlCharacter);
            }
        }
        Ok(())
    }
}

/// An entry as it is passed on: the very bytes that its peer signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SignedEntry {
    body: Bytes,
    /// The signature's curve point and scalar, RFC 8032 section 5.1.6.
    r: [u8; 32],
    s: [u8; 32],
}

impl SignedEntry {
    /// Its encoding.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // A record of byte strings always encodes.
        wire::encode(self).unwrap_or_default()
    }

    /// Decodes it, unverified.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY {
            return Err(EntryError::TooLarge { len: bytes.len() });
        }
        wire::decode(bytes).map_err(|error| EntryError::Malformed(error.to_string()))
    }

    /// Number of bytes that it takes in a frame, within a few.
    pub(crate) fn len(&self) -> usize {
        self.body.len() + 64 + 4
    }

    /// The peer that it says it is of, unverified.
    pub(crate) fn claimed_peer(&self) -> Option<PeerId> {
        let body: Body = wire::decode(&self.body).ok()?;
        Some(body.addr.peer)
    }

    fn signature(&self) -> [u8; 64] {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&self.r);
        signature[32..].copy_from_slice(&self.s);
        signature
    }
}

/// A verified entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    body: Body,
    signed: SignedEntry,
    /// The ids of the topics and groups in the body, in its order: they are asked for all the time.
    produces: Vec<TopicId>,
    consumes: Vec<TopicId>,
    groups: Vec<GroupId>,
}

impl Record {
    /// Signs `body`, checking the limits that every reader checks.
    pub(crate) fn sign(body: Body, key: &SecretKey) -> Result<Self, EntryError> {
        body.check()?;
        let bytes =
            wire::encode(&body).map_err(|error| EntryError::Malformed(error.to_string()))?;
        let signature = key.sign(&signed_message(&bytes));
        let (mut r, mut s) = ([0; 32], [0; 32]);
        r.copy_from_slice(&signature[..32]);
        s.copy_from_slice(&signature[32..]);
        let body_bytes = Bytes::from(bytes);
        let signed = SignedEntry {
            body: body_bytes,
            r,
            s,
        };
        if signed.len() > MAX_ENTRY {
            return Err(EntryError::TooLarge { len: signed.len() });
        }
        Ok(Self::new(body, signed))
    }

    /// Verifies an entry that came from elsewhere and should belong to `network`.
    pub(crate) fn verify(signed: SignedEntry, network: &[u8; 32]) -> Result<Self, EntryError> {
        if signed.len() > MAX_ENTRY {
            return Err(EntryError::TooLarge { len: signed.len() });
        }
        let malformed = |error: wire::DecodeError| EntryError::Malformed(error.to_string());
        let protocol = leading_version(&signed.body)
            .ok_or_else(|| EntryError::Malformed("no version in it".into()))?;
        if protocol != PROTOCOL_VERSION {
            return Err(EntryError::UnsupportedVersion { theirs: protocol });
        }
        let body: Body = wire::decode(&signed.body).map_err(malformed)?;
        if body.network != *network {
            return Err(EntryError::ForeignNetwork);
        }
        body.check()?;
        let message = signed_message(&signed.body);
        if !body.addr.peer.verify(&message, &signed.signature()) {
            return Err(EntryError::BadSignature);
        }
        Ok(Self::new(body, signed))
    }

    fn new(body: Body, signed: SignedEntry) -> Self {
        let ids = |topics: &[TopicInfo]| {
            let ids = topics.iter().map(|topic| TopicId::from_name(&topic.name));
            ids.collect()
        };
        let groups = body.groups.iter();
        Self {
            produces: ids(&body.produces),
            consumes: ids(&body.consumes),
            groups: groups.map(|g| GroupId::from_name(&g.name)).collect(),
            body,
            signed,
        }
    }

    /// What it says of a topic that its peer produces, if it does.
    pub(crate) fn produces(&self, topic: TopicId) -> Option<&TopicInfo> {
        let at = self.produces.iter().position(|id| *id == topic)?;
        self.body.produces.get(at)
    }

    /// What it says of a topic that its peer consumes, if it does.
    pub(crate) fn consumes(&self, topic: TopicId) -> Option<&TopicInfo> {
        let at = self.consumes.iter().position(|id| *id == topic)?;
        self.body.consumes.get(at)
    }

    /// What it says of a group that its peer takes part in, if it does.
    pub(crate) fn group(&self, group: GroupId) -> Option<&GroupInfo> {
        let at = self.groups.iter().position(|id| *id == group)?;
        self.body.groups.get(at)
    }

    /// Its content.
    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    /// As it is passed on.
    pub(crate) fn signed(&self) -> &SignedEntry {
        &self.signed
    }

    /// The peer that it is of.
    pub(crate) fn peer(&self) -> PeerId {
        self.body.addr.peer
    }

    /// How new it is.
    pub(crate) fn version(&self) -> Version {
        self.body.version
    }

    /// A number that tells it from any other entry: part of its signature, which is a hash of it.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.signed.r[..8]);
        u64::from_le_bytes(bytes)
    }

    /// Which of two entries of one peer stands. A total order, so that every replica picks the same
    /// even when one key was used to sign two entries of one version.
    pub(crate) fn precedence(&self, other: &Self) -> Ordering {
        (self.version(), self.body.departed)
            .cmp(&(other.version(), other.body.departed))
            .then_with(|| self.signed.cmp(&other.signed))
    }
}

fn signed_message(body: &[u8]) -> Vec<u8> {
    [DOMAIN, body].concat()
}

/// The first field of a body, a postcard varint.
fn leading_version(body: &[u8]) -> Option<u16> {
    let head = &body[..body.len().min(3)];
    let mut value = 0u32;
    for (i, byte) in head.iter().enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return u16::try_from(value).ok();
        }
    }
    None
}

/// Why an entry was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// It was forged or damaged on its way; get it from its peer again.
    #[error("the entry's signature is not its peer's")]
    BadSignature,
    /// Give both peers the same network id.
    #[error("the entry belongs to another network; give both peers the same network id")]
    ForeignNetwork,
    /// Carry fewer or shorter tags, topics, groups and tickets.
    #[error(
        "an entry of {len} bytes is over the limit of {MAX_ENTRY}; carry fewer or shorter tags, topics, groups and tickets"
    )]
    TooLarge {
        /// Its size in bytes.
        len: usize,
    },
    /// Carry fewer of them.
    #[error("{count} {what} in an entry are over the limit of {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Choose shorter names.
    #[error("a name of {len} bytes in an entry is over the limit of {MAX_NAME}")]
    NameTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Choose names without line breaks, escapes and the like: they are shown on terminals.
    #[error("a name in an entry contains a control character")]
    ControlCharacter,
    /// It was damaged on its way, or is no entry at all.
    #[error("not an entry: {0}")]
    Malformed(String),
    /// Run the same release on both peers.
    #[error(
        "the entry is of protocol version {theirs}, this peer speaks {PROTOCOL_VERSION}; run the same release on both"
    )]
    UnsupportedVersion {
        /// The version of its peer.
        theirs: u16,
    },
    /// Nothing can be announced any more; build a new network.
    #[error("this network is shut down")]
    ShutDown,
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const NETWORK: [u8; 32] = [7; 32];

    pub(crate) fn key(n: u8) -> SecretKey {
        SecretKey::from_bytes([n; 32])
    }

    /// A signed record of peer `n`.
    pub(crate) fn record(n: u8, started: u64, update: u64, departed: bool) -> Record {
        let key = key(n);
        let addr = PeerAddr::new(key.peer()).with_ip("127.0.0.1:1".parse().unwrap());
        let mut body = Body::new(NETWORK, addr, started, started);
        body.version.update = update;
        body.tags.insert(format!("tag-{update}"));
        if departed {
            body = body.tombstone(body.version);
        }
        Record::sign(body, &key).unwrap()
    }

    #[test]
    fn entries_survive_the_wire() {
        let record = record(1, 5, 2, false);
        let bytes = record.signed().to_bytes();
        let signed = SignedEntry::from_bytes(&bytes).unwrap();
        assert_eq!(Record::verify(signed, &NETWORK), Ok(record));
    }

    #[test]
    fn groups_are_found_by_their_id() {
        let info = |name: &str, epoch: Option<u8>| GroupInfo {
            name: name.into(),
            writer: epoch.is_none(),
            charter: epoch.map(|byte| [byte; 16]),
        };
        let other = info("other", Some(1));
        for (groups, expected) in [
            (vec![], None),
            (vec![other.clone()], None),
            (vec![info("g", None)], Some(info("g", None))),
            (vec![info("g", Some(1))], Some(info("g", Some(1)))),
            (vec![other.clone(), info("g", None)], Some(info("g", None))),
            (vec![info("g", Some(2)), other], Some(info("g", Some(2)))),
        ] {
            let mut body = record(1, 5, 2, false).body().clone();
            body.groups = groups;
            let bytes = Record::sign(body, &key(1)).unwrap().signed().to_bytes();
            let signed = SignedEntry::from_bytes(&bytes).unwrap();
            let record = Record::verify(signed, &NETWORK).unwrap();
            let id = GroupId::from_name("g");
            assert_eq!(record.group(id), expected.as_ref());
            let gone = record.body().tombstone(record.version());
            assert_eq!(Record::sign(gone, &key(1)).unwrap().group(id), None);
        }
    }

    #[test]
    fn bad_entries_are_named() {
        let good = record(1, 5, 2, false);
        let mut forged = good.signed().clone();
        forged.s[0] ^= 1;
        assert_eq!(
            Record::verify(forged, &NETWORK),
            Err(EntryError::BadSignature)
        );
        assert_eq!(
            Record::verify(good.signed().clone(), &[8; 32]),
            Err(EntryError::ForeignNetwork)
        );
        let mut later = good.body().clone();
        later.protocol = 300;
        let later = Record::sign(later, &key(1)).unwrap();
        assert_eq!(
            Record::verify(later.signed().clone(), &NETWORK),
            Err(EntryError::UnsupportedVersion { theirs: 300 })
        );
        assert!(matches!(
            SignedEntry::from_bytes(&[0; MAX_ENTRY + 1]),
            Err(EntryError::TooLarge { .. })
        ));
        assert!(matches!(
            SignedEntry::from_bytes(b"\xff\xff"),
            Err(EntryError::Malformed(_))
        ));
    }

    #[test]
    fn limits_hold_for_the_signer_too() {
        let body = record(1, 5, 2, false).body().clone();
        let many = Body {
            tags: (0..=MAX_TAGS).map(|i| i.to_string()).collect(),
            ..body.clone()
        };
        assert!(matches!(
            Record::sign(many, &key(1)),
            Err(EntryError::TooMany { what: "tags", .. })
        ));
        let long = Body {
            tags: [String::from_utf8(vec![b'x'; MAX_NAME + 1]).unwrap()].into(),
            ..body.clone()
        };
        assert!(matches!(
            Record::sign(long, &key(1)),
            Err(EntryError::NameTooLong { .. })
        ));
        let groups = |count, name: &str| {
            let name = name.to_string();
            let info = GroupInfo {
                name,
                writer: true,
                charter: None,
            };
            let groups = vec![info; count];
            let body = body.clone();
            Record::sign(Body { groups, ..body }, &key(1)).map(drop)
        };
        let what = "groups";
        let (count, limit, len) = (MAX_GROUPS + 1, MAX_GROUPS, MAX_NAME + 1);
        let many = Err(EntryError::TooMany { what, count, limit });
        assert_eq!(groups(count, "g"), many);
        assert_eq!(groups(limit, "g"), Ok(()));
        let long = Err(EntryError::NameTooLong { len });
        assert_eq!(groups(1, &"g".repeat(len)), long);
        assert_eq!(groups(1, "g\n"), Err(EntryError::ControlCharacter));
        for name in ["a\nb", "\u{1b}[2J", "\u{85}"] {
            let control = Body {
                software: name.into(),
                ..body.clone()
            };
            let refused = Record::sign(control, &key(1));
            assert_eq!(refused, Err(EntryError::ControlCharacter));
        }
        let large = Body {
            tags: (0..300).map(|i| format!("{i:0500}")).collect(),
            ..body
        };
        assert!(matches!(
            Record::sign(large, &key(1)),
            Err(EntryError::TooLarge { .. })
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Ok(signed) = SignedEntry::from_bytes(&bytes) {
                prop_assert!(Record::verify(signed, &NETWORK).is_err());
            }
            let signed = SignedEntry { body: bytes.into(), r: [1; 32], s: [2; 32] };
            prop_assert!(Record::verify(signed, &NETWORK).is_err());
        }

        #[test]
        fn no_change_of_a_single_byte_passes(at: proptest::sample::Index, bit in 0u8..8) {
            let mut bytes = record(1, 5, 2, false).signed().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let passed = SignedEntry::from_bytes(&bytes)
                .and_then(|signed| Record::verify(signed, &NETWORK));
            prop_assert!(passed.is_err());
        }
    }
}
