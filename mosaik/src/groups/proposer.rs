//! What a leader proposes: the commands of many clients, gathered into few entries.
//!
//! While entries are under way, what comes in is gathered for the next one; alone, a command is an entry of
//! its own and waits for nothing.

use std::{future::Future, pin::Pin, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{mpsc, oneshot};
use tracing::debug;

use super::{
    machine::{ENTRY_FORMAT, Entry, Item, ItemReply},
    proto::log_id::LogId,
    raft::{Applied, Node, Proposal, ProposeError},
};
use crate::{
    id::MemberId,
    rt::{self, Instant, Tasks},
    wire,
};

/// Items that wait to be proposed; more wait to be let in.
const BACKLOG: usize = 4096;
/// Most items of an entry.
const MAX_ITEMS: usize = 1024;
/// Bytes of items beyond which an entry takes no more: 1 MiB.
const MAX_BYTES: usize = 1024 * 1024;
/// Largest item, in bytes: what an entry holds, less what surrounds it.
pub(crate) const MAX_ITEM: usize = wire::MAX_FRAME - 64 * 1024;
/// Entries that are under way at once; what comes then is gathered.
const MAX_UNDER_WAY: usize = 16;

/// Why an item was not applied, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Failed {
    /// This member does not lead: not applied.
    NotLeader {
        /// Who does.
        leader: Option<MemberId>,
    },
    /// Leadership was lost on the way: it may be applied.
    Unknown,
    /// The replica has stopped: it may be applied.
    Stopped,
    /// Too much is under way: not applied.
    Busy,
    /// It cannot be decoded here, so the members run different programs: not applied.
    Malformed,
}

/// What became of an item: where it stands in the log and what it got, or why it does not.
pub(crate) type Fate = Result<(LogId, ItemReply), Failed>;

/// Where an item's fate is told.
pub(crate) type Told = oneshot::Receiver<Fate>;

#[derive(Debug)]
struct Submission {
    item: Item,
    reply: oneshot::Sender<Fate>,
}

/// Proposes on one member. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Submission>,
}

impl Proposer {
    /// Starts proposing.
    pub(crate) fn start(node: Node, applied: Applied, tasks: &Tasks) -> Self {
        let (queue, submissions) = mpsc::channel(BACKLOG);
        let gathering = Gathering {
            node,
            applied,
            stamped: None,
            checked: None,
        };
        tasks.spawn(gathering.run(submissions));
        Self { queue }
    }

    /// Hands an item over, waiting for room.
    pub(crate) async fn submit(&self, item: Item) -> Result<Told, Failed> {
        let (reply, told) = oneshot::channel();
        let submission = Submission { item, reply };
        let sent = self.queue.send(submission).await;
        sent.map(|()| told).map_err(|_| Failed::Stopped)
    }
}

struct Gathering {
    node: Node,
    applied: Applied,
    /// The term and the moment of the last entry, which the time of the next counts from.
    stamped: Option<(u64, Instant)>,
    /// Up to where the digest was stamped.
    checked: Option<u64>,
}

/// What became of an entry, and who is to hear of it.
type Outcome = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Gathering {
    async fn run(mut self, mut submissions: mpsc::Receiver<Submission>) {
        let mut under_way: FuturesUnordered<Outcome> = FuturesUnordered::new();
        let mut batch = Vec::new();
        let mut carried = None;
        loop {
            let room = under_way.len() < MAX_UNDER_WAY;
            tokio::select! {
                biased;
                Some(()) = under_way.next() => continue,
                received = submissions.recv(), if room && carried.is_none() => match received {
                    Some(first) => batch.push(first),
                    None => break,
                },
                () = std::future::ready(()), if room && carried.is_some() => {
                    batch.extend(carried.take());
                }
            }
            let mut bytes: usize = batch.iter().map(|s| s.item.size()).sum();
            while batch.len() < MAX_ITEMS && bytes < MAX_BYTES {
                let Ok(next) = submissions.try_recv() else {
                    break;
                };
                bytes += next.item.size();
                if bytes > MAX_ITEM {
                    carried = Some(next);
                    break;
                }
                batch.push(next);
            }
            let entry = self.propose(std::mem::take(&mut batch)).await;
            under_way.push(entry);
        }
        while under_way.next().await.is_some() {}
    }

    /// Proposes what was gathered.
    async fn propose(&mut self, batch: Vec<Submission>) -> Outcome {
        let (items, replies): (Vec<Item>, Vec<_>) = batch
            .into_iter()
            .map(|submission| (submission.item, submission.reply))
            .unzip();
        let entry = self.stamp(items);
        let proposal = match entry.encode() {
            Ok(bytes) => Proposal {
                format: ENTRY_FORMAT,
                bytes,
            },
            Err(error) => {
                debug!(%error, "an entry cannot be encoded");
                tell_all(replies, &Failed::Malformed);
                return Box::pin(std::future::ready(()));
            }
        };
        let proposed = match self.node.propose(proposal).await {
            Ok(proposed) => proposed,
            Err(error) => {
                tell_all(replies, &failed(error));
                return Box::pin(std::future::ready(()));
            }
        };
        // What a leader proposed that is none any more may never be told of: who asked asks the next one.
        let lost = self.node.leads_no_longer();
        Box::pin(async move {
            let outcome = tokio::select! {
                biased;
                outcome = proposed => outcome,
                () = lost => Err(ProposeError::Unknown),
            };
            match outcome {
                Ok((at, reply)) => {
                    for (reply, told) in reply.items.into_iter().zip(replies) {
                        // Who asked may have gone.
                        drop(told.send(Ok((at, reply))));
                    }
                }
                Err(error) => tell_all(replies, &failed(error)),
            }
        })
    }

    fn stamp(&mut self, items: Vec<Item>) -> Entry {
        let (term, now) = (self.node.term(), rt::now());
        let uptime = match self.stamped {
            Some((stamped, at)) if stamped == term => now.duration_since(at),
            _ => Duration::ZERO,
        };
        self.stamped = Some((term, now));
        let check = self.applied.check();
        let check = check.filter(|check| self.checked.is_none_or(|at| at < check.at));
        if let Some(check) = &check {
            self.checked = Some(check.at);
        }
        Entry {
            now: rt::unix_millis(),
            uptime: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
            check,
            items,
        }
    }
}

fn tell_all(replies: Vec<oneshot::Sender<Fate>>, failed: &Failed) {
    for reply in replies {
        // Who asked may have gone.
        drop(reply.send(Err(failed.clone())));
    }
}

fn failed(error: ProposeError) -> Failed {
    match error {
        ProposeError::NotLeader { leader } => Failed::NotLeader { leader },
        ProposeError::Unknown => Failed::Unknown,
        ProposeError::Stopped => Failed::Stopped,
        ProposeError::TooLarge { .. } => Failed::Malformed,
    }
}
