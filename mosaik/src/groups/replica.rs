//! A replica: the log and the state of one charter on this node, and Raft if this member is in it.

use std::{fmt, sync::Arc};

use futures::FutureExt as _;

use super::{
    answering::{Serve, Ticket, Work},
    bonds::Clocks,
    clock::Clock,
    gate::{Admitted, Gate},
    machine::{Item, ItemReply, Machine, QueryError, RestoreError, Store, Used},
    progress::Progress,
    proposer::{Asker, Failed, Fate, Proposer, UnderWay, refused},
    proto::{founding::charter::Epoch, log_id::LogId, session::SessionId},
    raft::{Applied, ChangeError, MachineStatus, Node, ReadError},
    reads::{Found, Reads},
    storage::GroupLog,
};
use crate::{id::MemberId, rt::Tasks};

/// Changes nothing: where the log begins no session was opened.
const FENCE: Item = Item::Close {
    session: SessionId(0),
};

/// A replica that serves others.
pub(crate) struct Replica {
    epoch: Epoch,
    me: MemberId,
    log: GroupLog,
    store: Store,
    progress: Arc<Progress>,
    /// Answers the queries of others.
    checker: Arc<dyn Machine>,
    gate: Arc<Gate>,
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
    pub(crate) checker: Arc<dyn Machine>,
    pub(crate) clocks: Clocks,
}

/// What runs where Raft does.
struct Raft {
    node: Node,
    applied: Applied,
    clock: Clock,
    proposer: Proposer,
    reads: Reads,
}

impl Replica {
    /// A replica that runs Raft, or one that follows the log of others.
    pub(crate) fn new(parts: Parts, node: Option<Node>, tasks: &Tasks) -> Arc<Self> {
        let gate = Arc::new(Gate::new(parts.me.peer, parts.checker.clone()));
        let raft = node.map(|node| {
            let reading = node.clone();
            let round = move || read_index(reading.clone());
            let clock = Clock::new(parts.me, parts.clocks.clone(), node.status());
            let applied = parts.applied.clone();
            Raft {
                proposer: Proposer::start(
                    node.clone(),
                    applied,
                    clock.clone(),
                    gate.clone(),
                    tasks,
                ),
                reads: Reads::start(round, tasks),
                node,
                applied: parts.applied.clone(),
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
            gate,
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
        self.send(item).await?.await
    }

    /// The same, once it is handed over.
    pub(crate) async fn send(&self, item: Item) -> Result<UnderWay, Failed> {
        let (raft, item) = self.admit(item, Gate::admit_known)?;
        Ok(raft.proposer.submit(item).await.into())
    }

    /// Proposes an item of another member, or of a client that it serves, if it can be applied at all.
    pub(super) fn submit_for(&self, item: Item, asker: Asker) -> Work {
        let admitted = match &item {
            Item::Verdict { .. } => Err(Failed::Malformed),
            _ => self.admit(item, Gate::admit),
        };
        match admitted {
            Ok((raft, item)) => raft.proposer.hand_over(item, asker),
            Err(failed) => {
                asker.tell(Err(failed));
                None
            }
        }
    }

    /// Which commands were used, once all is applied that this member, which leads, has let through.
    pub(crate) async fn fence(&self) -> Result<Arc<Used>, ChangeError> {
        let raft = self.raft.as_ref();
        let mut progress = raft.ok_or(ChangeError::Stopped)?.applied.watch();
        let fenced = self.submit(FENCE).await;
        let (at, _) = fenced.map_err(|failed| match failed {
            Failed::NotLeader { leader } => ChangeError::NotLeader { leader },
            Failed::Stopped => ChangeError::Stopped,
            _ => ChangeError::Unknown,
        })?;
        let there = |known: &MachineStatus| {
            let applied = known.applied;
            applied.is_some_and(|applied| applied.index >= at.index) || known.halted.is_some()
        };
        let known = progress.wait_for(there).await;
        known
            .map(|known| known.used.clone())
            .map_err(|_| ChangeError::Stopped)
    }

    /// Lets an item through to Raft. Passes it through: one that is borrowed there would be kept twice by the call that
    /// waits for it.
    fn admit(
        &self,
        item: Item,
        admit: impl FnOnce(&Gate, Item) -> Result<Admitted, Failed>,
    ) -> Result<(&Raft, Admitted), Failed> {
        let raft = self.raft.as_ref();
        let raft = raft.ok_or(Failed::NotLeader { leader: None })?;
        let admitted = admit(&self.gate, item);
        let admitted = admitted.map_err(|failed| refused(&raft.node, failed))?;
        Ok((raft, admitted))
    }

    /// Whether this is an encoded state of what runs here.
    pub(crate) fn check_state(&self, bytes: &[u8]) -> Result<(), RestoreError> {
        self.checker.check_state(bytes)
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

/// A leader answers the members that do not lead.
impl Serve for Replica {
    fn answer_submit(self: &Arc<Self>, item: Item, ticket: Ticket<(LogId, ItemReply)>) -> Work {
        self.submit_for(item, Asker::Stream(ticket))
    }

    fn answer_read(self: &Arc<Self>, ticket: Ticket<Option<u64>>) -> Work {
        let replica = self.clone();
        Some(async move { ticket.tell(replica.read_index().await) }.boxed())
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
