//! The way to the leader of a group.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::Mutex;

use super::{
    bonds::{GroupHeader, Header, Kind},
    forward::Forwarding,
    front::Front,
    machine::Item,
    proposer::{Failed, Fate, UnderWay},
    proto::founding::charter::Epoch,
    reads::Found,
    remote::{Answered, Remote},
    replica::Replica,
};
use crate::{
    id::MemberId,
    rt::{self, Tasks, watch},
    transport::{Halves, Link, LinkError},
};

/// How long opening a stream to the leader may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest header, in bytes.
const MAX_HEADER: usize = 1024;

/// The way to the leader. Clones share it.
#[derive(Clone)]
pub(crate) enum Route {
    /// This member leads.
    Here(Arc<Replica>),
    /// Another one does.
    There(Arc<There>),
    /// This node is no member: one that is passes on what it is sent.
    Remote(Arc<Remote>),
}

/// A way on which items are handed over.
#[derive(Debug)]
pub(crate) enum Opened<'r> {
    /// To the proposer here.
    Here(&'r Replica),
    /// To that of another member.
    There(Forwarding),
    /// To a member that passes them on.
    Remote(&'r Arc<Remote>),
}

/// The way to a leader that is another member.
pub(crate) struct There {
    front: Arc<Front>,
    epoch: Epoch,
    leader: MemberId,
    /// Cancelled once another way replaces this one.
    tasks: Tasks,
    open: Mutex<Option<Forwarding>>,
}

impl Route {
    /// The way to another member.
    pub(crate) fn there(front: Arc<Front>, epoch: Epoch, leader: MemberId, tasks: &Tasks) -> Self {
        Self::There(Arc::new(There {
            front,
            epoch,
            leader,
            tasks: tasks.child(),
            open: Mutex::new(None),
        }))
    }

    /// Tells whoever waits for an answer that none comes on this way: a leader that died says nothing, and its
    /// connection takes seconds to.
    pub(crate) fn close(&self) {
        if let Self::There(there) = self {
            there.tasks.cancel();
        }
    }

    /// The charter's epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        match self {
            Self::Here(replica) => replica.epoch(),
            Self::There(there) => there.epoch,
            Self::Remote(remote) => remote.epoch(),
        }
    }

    /// Whom it leads to: the leader, or the member that serves a client.
    pub(crate) fn leader(&self) -> MemberId {
        match self {
            Self::Here(replica) => replica.me(),
            Self::There(there) => there.leader,
            Self::Remote(remote) => remote.member(),
        }
    }

    /// Asks the leader to apply an item.
    pub(crate) async fn submit(&self, item: Item) -> Fate {
        self.opened().await?.send(item).await?.await
    }

    /// The way, once items can be handed over on it.
    pub(crate) async fn opened(&self) -> Result<Opened<'_>, Failed> {
        Ok(match self {
            Self::Here(replica) => Opened::Here(replica),
            Self::There(there) => Opened::There(there.forwarding().await?),
            Self::Remote(remote) => Opened::Remote(remote),
        })
    }

    /// Has a member answer a query, for a client without a replica.
    pub(crate) async fn query(&self, query: Bytes) -> Answered {
        match self {
            Self::Remote(remote) => remote.query(query).await,
            // A member has a state of its own.
            Self::Here(_) | Self::There(_) => Err(Failed::Malformed),
        }
    }

    /// Asks the leader how far the log has to be applied for a query that is asked now.
    pub(crate) async fn read_index(&self) -> Found {
        match self {
            Self::Here(replica) => replica.read_index().await,
            Self::There(there) => there.forwarding().await?.read().await,
            // A client has no state that it could read.
            Self::Remote(_) => Err(Failed::Malformed),
        }
    }
}

impl Opened<'_> {
    /// Asks the leader to apply an item, once there is room for it. Dropped before that, it was not handed over.
    pub(crate) async fn send(&self, item: Item) -> Result<UnderWay, Failed> {
        match self {
            Self::Here(replica) => replica.send(item).await,
            Self::There(forwarding) => forwarding.send(item).await,
            Self::Remote(remote) => Ok(UnderWay::Passed(remote.submit(item))),
        }
    }
}

impl There {
    /// The stream to the leader, opened if there is none in order.
    async fn forwarding(&self) -> Result<Forwarding, Failed> {
        if let Ok(open) = self.open.try_lock()
            && let Some(forwarding) = open.as_ref().filter(|open| !open.is_closed())
        {
            return Ok(forwarding.clone());
        }
        self.reopened().boxed().await
    }

    async fn reopened(&self) -> Result<Forwarding, Failed> {
        let mut open = self.open.lock().await;
        if let Some(forwarding) = open.as_ref().filter(|open| !open.is_closed()) {
            return Ok(forwarding.clone());
        }
        let unreachable = Failed::NotLeader { leader: None };
        if self.tasks.is_cancelled() {
            return Err(unreachable);
        }
        let opened = rt::timeout(OPEN_TIMEOUT, self.open()).await;
        let Ok(Ok(forwarding)) = opened else {
            return Err(unreachable);
        };
        *open = Some(forwarding.clone());
        Ok(forwarding)
    }

    async fn open(&self) -> Result<Forwarding, LinkError> {
        let header = GroupHeader {
            group: self.front.group(),
            epoch: self.epoch,
            from: self.front.me(),
            to: self.leader,
            kind: Kind::Forward,
        };
        let halves = self.front.open(header).await?;
        // Leaders tell members how the group is doing in other ways.
        let (told, _) = watch::channel(None);
        Ok(Forwarding::start(halves, told, &self.tasks))
    }
}

impl Front {
    /// Opens a stream of the group to a bonded member.
    pub(crate) async fn open(&self, header: GroupHeader) -> Result<Halves, LinkError> {
        let bond = self.bond(&header.to).ok_or(LinkError::Truncated)?;
        let connection = &bond.line.connection;
        let mut link = Link::<Header, ()>::open(connection, MAX_HEADER).await?;
        link.tx.send(&Header::Group(header)).await?;
        Ok(link.into_halves())
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("epoch", &self.epoch())
            .field("leader", &self.leader())
            .finish_non_exhaustive()
    }
}
