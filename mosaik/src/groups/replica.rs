//! A replica: the log and the state of one charter on this node, and Raft if this member is in it.

use std::{fmt, sync::Arc};

use super::{
    bonds::Clocks,
    clock::Clock,
    gate::Gate,
    machine::{CheckError, Item, Machine, QueryError, Store},
    progress::Progress,
    proposer::{Failed, Fate, Proposer},
    proto::founding::charter::Epoch,
    raft::{Applied, Node, ReadError, Role},
    reads::{Found, Reads},
    storage::GroupLog,
};
use crate::{id::MemberId, rt::Tasks};

/// A replica that serves others.
pub(crate) struct Replica {
    epoch: Epoch,
    me: MemberId,
    log: GroupLog,
    store: Store,
    progress: Arc<Progress>,
    /// Checks what others want applied, and answers their queries.
    checker: Box<dyn Machine>,
    gate: Gate,
    raft: Option<Raft>,
}

/// What a replica is made of.
pub(crate) struct Parts {
    pub(crate) epoch: Epoch,
    pub(crate) me: MemberId,
    pub(crate) log: GroupLog,
    pub(crate) store: Store,
    pub(crate) applied: Applied,
    pub(crate) progress: Arc<Progress>,
    pub(crate) checker: Box<dyn Machine>,
    pub(crate) clocks: Clocks,
}

/// What runs where Raft does.
struct Raft {
    node: Node,
    clock: Clock,
    proposer: Proposer,
    reads: Reads,
}

impl Replica {
    /// A replica that runs Raft, or one that follows the log of others.
    pub(crate) fn new(parts: Parts, node: Option<Node>, tasks: &Tasks) -> Arc<Self> {
        let raft = node.map(|node| {
            let reading = node.clone();
            let round = move || read_index(reading.clone());
            let clock = Clock::new(parts.me, parts.clocks.clone(), node.status());
            let applied = parts.applied.clone();
            Raft {
                proposer: Proposer::start(node.clone(), applied, clock.clone(), tasks),
                reads: Reads::start(round, tasks),
                node,
                clock,
            }
        });
        let Parts {
            epoch,
            me,
            log,
            store,
            progress,
            checker,
            ..
        } = parts;
        Arc::new(Self {
            epoch,
            me,
            log,
            store,
            progress,
            checker,
            gate: Gate::default(),
            raft,
        })
    }

    /// The charter's epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// This member.
    pub(crate) fn me(&self) -> MemberId {
        self.me
    }

    /// The log.
    pub(crate) fn log(&self) -> &GroupLog {
        &self.log
    }

    /// Its snapshots.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// How far it has applied the log.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Raft, if it runs.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.raft.as_ref().map(|raft| &raft.node)
    }

    /// This member's clock, if Raft runs.
    pub(crate) fn clock(&self) -> Option<&Clock> {
        self.raft.as_ref().map(|raft| &raft.clock)
    }

    /// What it may propose.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Proposes an item of this member, if it leads and all voters know the commands.
    pub(crate) async fn submit(&self, item: Item) -> Fate {
        let (raft, item) = self.admit_own(item)?;
        let told = raft.proposer.submit(item).await?;
        told.await.unwrap_or(Err(Failed::Unknown))
    }

    /// Proposes an item of another member, or of a client that it serves, if it can be applied at all.
    pub(crate) async fn submit_for(&self, item: Item) -> Fate {
        match &item {
            Item::Verdict { .. } => Err(Failed::Malformed),
            _ => {
                let raft = self.admit(&item)?;
                let told = raft.proposer.submit(item).await?;
                told.await.unwrap_or(Err(Failed::Unknown))
            }
        }
    }

    /// Lets an item of this member through to Raft. What is sent from here is known here, so that there is nothing to
    /// look at where all voters know all that. Passes the item through: one that is borrowed there would be kept
    /// twice by the call that waits for it.
    fn admit_own(&self, item: Item) -> Result<(&Raft, Item), Failed> {
        let raft = match self.gate.gaps() {
            Some(_) => self.admit(&item)?,
            None => self
                .raft
                .as_ref()
                .ok_or(Failed::NotLeader { leader: None })?,
        };
        Ok((raft, item))
    }

    /// Lets an item through to Raft if this member and all voters know its commands. Only a leader can tell.
    fn admit(&self, item: &Item) -> Result<&Raft, Failed> {
        let raft = self.raft.as_ref();
        let raft = raft.ok_or(Failed::NotLeader { leader: None })?;
        let Item::Commands {
            count, commands, ..
        } = item
        else {
            return Ok(raft);
        };
        let gaps = self.gate.gaps();
        let mut lacking = None;
        let checked = self.checker.check(*count, commands, &mut |number| {
            let gap = || Some((number, gaps.as_ref()?.who_lacks(number)?.peer));
            lacking = lacking.or_else(gap);
        });
        let unknown = match checked {
            Ok(()) => None,
            Err(CheckError::Unknown(why)) => {
                let number = why.unknown_number().ok_or(Failed::Malformed)?;
                Some((number, self.me.peer))
            }
            Err(_) => return Err(Failed::Malformed),
        };
        let Some((command, peer)) = lacking.or(unknown) else {
            return Ok(raft);
        };
        let status = raft.node.status();
        let status = status.borrow();
        match (status.role, status.leader) {
            (Role::Leader, _) => Err(Failed::Unsupported { command, peer }),
            (_, leader) => Err(Failed::NotLeader { leader }),
        }
    }

    /// Answers a query from the state as it is here.
    pub(crate) fn query(&self, query: &[u8]) -> Result<Vec<u8>, QueryError> {
        self.checker.query(query)
    }

    /// How far the log has to be applied for a query that is asked now.
    pub(crate) async fn read_index(&self) -> Found {
        match &self.raft {
            Some(raft) => raft.reads.index().await,
            None => Err(Failed::NotLeader { leader: None }),
        }
    }
}

async fn read_index(node: Node) -> Found {
    match node.read_index().await {
        Ok(at) => Ok(Some(at.index)),
        Err(ReadError::NotLeader { leader }) => Err(Failed::NotLeader { leader }),
        Err(ReadError::NotConfirmed) => Err(Failed::NotLeader { leader: None }),
        Err(ReadError::Stopped) => Err(Failed::Stopped),
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("epoch", &self.epoch)
            .field("me", &self.me)
            .field("raft", &self.raft.is_some())
            .finish_non_exhaustive()
    }
}
