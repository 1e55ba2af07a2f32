//! What users see of a peer.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[cfg(test)]
use super::proto::entry::Body;
use super::proto::entry::{AccessTicket, GroupInfo, Record, TopicInfo};
#[cfg(test)]
use crate::id::SecretKey;
use crate::id::{GroupId, PeerAddr, PeerId, TopicId};

/// A peer as its verified, signed entry describes it. Clones are cheap.
#[derive(Clone)]
pub struct Entry {
    record: Arc<Record>,
    rtt: Option<Duration>,
}

/// What a peer does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It sends datums.
    Producer,
    /// It receives datums.
    Consumer,
}

impl Entry {
    pub(super) fn new(record: Arc<Record>, rtt: Option<Duration>) -> Self {
        Self { record, rtt }
    }

    /// That of a peer which carries these tickets.
    #[cfg(test)]
    pub(crate) fn carrying(tickets: Vec<AccessTicket>, key: &SecretKey) -> Self {
        let mut body = Body::new([7; 32], PeerAddr::new(key.peer()), 1, 1);
        body.tickets = tickets;
        let record = Record::sign(body, key).unwrap();
        Self::new(Arc::new(record), None)
    }

    /// The peer.
    pub fn peer(&self) -> PeerId {
        self.record.peer()
    }

    /// Where it can be reached.
    pub fn addr(&self) -> &PeerAddr {
        &self.record.body().addr
    }

    /// Its tags, in alphabetical order.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.record.body().tags.iter().map(String::as_str)
    }

    /// Whether it carries a tag.
    pub fn has_tag(&self, tag: impl AsRef<str>) -> bool {
        self.record.body().tags.contains(tag.as_ref())
    }

    /// The topics that it produces and consumes.
    pub fn topics(&self) -> impl Iterator<Item = (Role, &TopicInfo)> {
        let body = self.record.body();
        let produces = body.produces.iter().map(|topic| (Role::Producer, topic));
        produces.chain(body.consumes.iter().map(|topic| (Role::Consumer, topic)))
    }

    /// What it says of a topic that it produces, if it does.
    pub fn produces(&self, topic: TopicId) -> Option<&TopicInfo> {
        self.record.produces(topic)
    }

    /// What it says of a topic that it consumes, if it does.
    pub fn consumes(&self, topic: TopicId) -> Option<&TopicInfo> {
        self.record.consumes(topic)
    }

    /// The groups that it takes part in.
    pub fn groups(&self) -> &[GroupInfo] {
        &self.record.body().groups
    }

    /// What it says of a group that it takes part in, if it does.
    pub fn group(&self, group: GroupId) -> Option<&GroupInfo> {
        self.record.group(group)
    }

    /// The access tickets that it carries; nobody has checked them yet.
    pub fn tickets(&self) -> &[AccessTicket] {
        &self.record.body().tickets
    }

    /// When it started, by its own clock.
    pub fn started(&self) -> SystemTime {
        let since = Duration::from_millis(self.record.version().started);
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }

    /// The number of its boot: random, another one after each start of the peer.
    pub fn boot(&self) -> u64 {
        self.record.body().boot
    }

    /// Name and version of its software.
    pub fn software(&self) -> &str {
        &self.record.body().software
    }

    /// The smoothed round-trip time to it, if there was a connection to measure it on.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// The signed entry, for [`Discovery::feed`](super::Discovery::feed) elsewhere.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.record.signed().to_bytes()
    }
}

impl PartialEq for Entry {
    /// Whether the two are the same signed entry; round-trip times are not compared.
    fn eq(&self, other: &Self) -> bool {
        self.record == other.record
    }
}

impl Eq for Entry {}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("peer", &self.peer())
            .field("version", &self.record.version())
            .field("tags", &self.record.body().tags)
            .finish_non_exhaustive()
    }
}
