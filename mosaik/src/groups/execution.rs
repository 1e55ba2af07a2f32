//! Commands of one call on their way into the log and to their outputs.
//!
//! An execution may be waited for in several goes: whoever gives up waiting leaves it where it is, and it goes on from
//! there once somebody waits again. So it need not lie on the heap before it takes too long, and most never do. What is
//! seldom waited for is kept out of the future that waits, in futures of its own that are made when they are wanted.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use tracing::debug;

use super::{
    client::{Client, Place, known, pause, unless_shut, usable},
    error::{GroupError, Refusal},
    machine::{Item, ItemReply},
    proposer::{Failed, Fate, MAX_ITEM, UnderWay},
    proto::{blob::Blob, founding::charter::Epoch, log_id::LogId},
    route::Route,
    shared::Shared,
};
use crate::id::PeerId;

/// Commands that are applied as one entry and all together. Dropping it gives them up: they may still be applied, once.
#[derive(Debug)]
pub(super) struct Execution {
    shared: Arc<Shared>,
    count: u32,
    commands: Bytes,
    /// Whether there was room for it among what is under way.
    let_in: bool,
    /// Whether it waits for room with what sends it, or did when whoever waited gave up.
    queues: bool,
    stage: Stage,
    /// What tells them apart from all others of this node, once they were to be sent.
    place: Option<Place>,
    sends: u64,
    /// The command that a voter does not know, by what a later leader said, and the voter.
    unsupported: Option<Box<(u64, PeerId)>>,
}

/// How far they have come.
#[derive(Debug)]
enum Stage {
    /// They are to be sent, or sent again.
    Due,
    /// They were sent.
    Sent(UnderWay),
    /// They were applied there, and returned this.
    Applied(LogId, Blob),
}

impl Execution {
    /// Begins to apply `count` commands.
    pub(super) fn new(
        shared: Arc<Shared>,
        count: u32,
        commands: Bytes,
    ) -> Result<Self, GroupError> {
        let len = commands.len();
        if len > MAX_ITEM {
            return Err(GroupError::TooLarge {
                len,
                limit: MAX_ITEM,
                unit: "bytes",
            });
        }
        Ok(Self {
            shared,
            count,
            commands,
            let_in: false,
            queues: false,
            stage: Stage::Due,
            place: None,
            sends: 0,
            unsupported: None,
        })
    }

    /// Whether they may have been applied.
    pub(super) fn is_sent(&self) -> bool {
        self.sends > 0
    }

    /// Whether they were not sent as there was too much before them, when whoever waited gave up.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.let_in || self.queues
    }

    /// Waits for their outputs, which this replica has applied by then. Not to be asked again once it has told.
    pub(super) async fn outcome(&mut self) -> Result<Blob, GroupError> {
        if !self.let_in {
            self.shared
                .client()
                .let_in(&self.shared, self.commands.len())
                .await?;
            self.let_in = true;
        }
        let mut routes = self.shared.routes();
        loop {
            let goes_on = match &mut self.stage {
                Stage::Applied(at, outputs) => {
                    self.shared.progress().reach(at.index).await;
                    return Ok(std::mem::take(outputs));
                }
                Stage::Sent(under_way) => {
                    let fate = under_way.await;
                    self.judge(fate)?
                }
                Stage::Due => {
                    let route = match known(&mut routes) {
                        Some(route) => route,
                        // What was sent may be applied, whatever becomes of the log here.
                        None if self.is_sent() => usable(&self.shared, &mut routes).boxed().await?,
                        None => {
                            let route = usable(&self.shared, &mut routes);
                            unless_shut(&self.shared, route).boxed().await??
                        }
                    };
                    self.send(&route).await?
                }
            };
            if !goes_on {
                pause(&mut routes).boxed().await;
            }
        }
    }

    /// Sends them once. `false` says that they have to be sent again.
    async fn send(&mut self, route: &Route) -> Result<bool, GroupError> {
        if !self.is_placed(route.epoch())? {
            self.place = Client::place(&self.shared, route).await?;
        }
        let Some(item) = self.item() else {
            return Ok(false);
        };
        let sent = match route.opened().await {
            Ok(opened) => {
                self.queues = true;
                let sent = opened.send(item).await;
                self.queues = false;
                sent
            }
            Err(failed) => Err(failed),
        };
        self.sends += 1;
        match sent {
            Ok(under_way) => {
                self.stage = Stage::Sent(under_way);
                Ok(true)
            }
            Err(failed) => self.judge(Err(failed)),
        }
    }

    /// Whether its place is one in a session of this charter.
    fn is_placed(&self, epoch: Epoch) -> Result<bool, GroupError> {
        match &self.place {
            Some(place) if place.epoch() == epoch => Ok(true),
            // What was sent under one charter means nothing under another.
            Some(_) if self.is_sent() => Err(GroupError::SessionExpired),
            _ => Ok(false),
        }
    }

    /// What is to be sent.
    fn item(&self) -> Option<Item> {
        let request = self.place.as_ref()?.request();
        if self.unsupported.is_some() {
            return Some(Item::Withdraw { request });
        }
        Some(Item::Commands {
            request,
            count: self.count,
            commands: self.commands.clone(),
        })
    }

    /// What became of what was sent. `false` says that something has to be sent again.
    fn judge(&mut self, fate: Fate) -> Result<bool, GroupError> {
        let first = self.sends == 1;
        self.stage = Stage::Due;
        match fate {
            Ok((at, reply)) => match reply {
                ItemReply::Applied(outputs) => {
                    self.place = None;
                    self.stage = Stage::Applied(at, outputs);
                    return Ok(true);
                }
                ItemReply::Panicked { command, message } => {
                    return Err(GroupError::Panicked { command, message });
                }
                ItemReply::Superseded => return Err(GroupError::Superseded),
                ItemReply::Expired => {
                    if let Some(place) = self.place.take() {
                        place.forget();
                    }
                    if !first {
                        return Err(GroupError::SessionExpired);
                    }
                    // It was sent once and not applied then: a new session may try.
                    self.sends = 0;
                }
                ItemReply::Answered => return Err(GroupError::SessionExpired),
                ItemReply::Withdrawn if let Some(lacks) = self.unsupported.take() => {
                    return Err(self.shared.unsupported(lacks.0, lacks.1));
                }
                reply => debug!(?reply, "a command has to be sent again"),
            },
            Err(Failed::Malformed) if first => return Err(GroupError::Refused(Refusal::Machine)),
            Err(Failed::Unsupported { command, peer }) if first => {
                return Err(self.shared.unsupported(command, peer));
            }
            // It was sent before, and may have been applied then: the log decides.
            Err(Failed::Unsupported { command, peer }) => {
                debug!("a command is withdrawn");
                self.unsupported = Some(Box::new((command, peer)));
            }
            Err(failed @ (Failed::NotLeader { .. } | Failed::Busy)) if first => {
                debug!(?failed, "a command is sent again");
                // It was not applied, and never will be.
                self.sends = 0;
            }
            Err(failed) => debug!(?failed, "a command is sent again"),
        }
        Ok(false)
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if self.let_in {
            self.shared.client().let_out(self.commands.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        groups::{proposer::Told, proto::session::SessionId, shared::Ended},
        rt::Tasks,
    };

    fn shared(tasks: &Tasks) -> Arc<Shared> {
        Shared::new("g", PeerId::from_bytes([1; 32]), Vec::new(), tasks)
    }

    fn execution(shared: &Arc<Shared>) -> Execution {
        Execution::new(shared.clone(), 1, Bytes::from_static(b"?")).unwrap()
    }

    /// One that has a place in a session.
    fn placed(tasks: &Tasks) -> Execution {
        let shared = shared(tasks);
        let place = shared
            .client()
            .opened(&shared, Epoch::from_bytes([1; 16]), SessionId(1));
        let mut execution = execution(&shared);
        execution.place = place;
        execution
    }

    /// It was sent, and this is what became of it.
    fn sent(execution: &mut Execution, fate: Fate) -> Result<bool, GroupError> {
        execution.sends += 1;
        execution.judge(fate)
    }

    #[tokio::test]
    async fn what_is_superseded_takes_no_commands() {
        let tasks = Tasks::new(tracing::Span::none());
        let shared = shared(&tasks);
        shared.end(Ended::Superseded);
        let executed = execution(&shared).outcome().now_or_never();
        assert!(
            matches!(executed, Some(Err(GroupError::Superseded))),
            "{executed:?}"
        );
    }

    #[tokio::test]
    async fn what_is_not_supported_any_more_is_withdrawn_if_it_was_sent_before() {
        let tasks = Tasks::new(tracing::Span::none());
        let unsupported = || Failed::Unsupported {
            command: 7,
            peer: PeerId::from_bytes([2; 32]),
        };
        let at = LogId { term: 1, index: 9 };
        let refused = sent(&mut placed(&tasks), Err(unsupported()));
        assert!(matches!(refused, Err(GroupError::Unsupported(_))));

        // Lost on the way, then refused by another leader: whether the first was applied the log says.
        let lost = || {
            let mut execution = placed(&tasks);
            let request = execution.place.as_ref().unwrap().request();
            for failed in [Failed::Unknown, unsupported(), Failed::Unknown] {
                assert!(!sent(&mut execution, Err(failed)).unwrap());
            }
            assert_eq!(execution.item(), Some(Item::Withdraw { request }));
            assert!(execution.is_sent());
            execution
        };
        let outcome = sent(&mut lost(), Ok((at, ItemReply::Withdrawn)));
        let Err(GroupError::Unsupported(why)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(why.peer, PeerId::from_bytes([2; 32]));
        let mut other = lost();
        let outputs = Blob::from(&b"!"[..]);
        assert!(sent(&mut other, Ok((at, ItemReply::Applied(outputs.clone())))).unwrap());
        other.shared.progress().advance(at.index);
        assert_eq!(other.outcome().now_or_never().unwrap().unwrap(), outputs);
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_it_where_it_is() {
        let tasks = Tasks::new(tracing::Span::none());
        let mut execution = placed(&tasks);
        let request = execution.place.as_ref().unwrap().request();
        let (tell, told) = tokio::sync::oneshot::channel();
        let told: Told = told;
        (execution.sends, execution.stage) = (1, Stage::Sent(told.into()));
        let outputs = Blob::from(&b"!"[..]);
        let at = LogId { term: 1, index: 9 };
        assert!(execution.outcome().now_or_never().is_none());
        assert!(execution.is_sent());
        tell.send(Ok((at, ItemReply::Applied(outputs.clone()))))
            .unwrap();
        // It is applied there, and not here yet.
        assert!(execution.outcome().now_or_never().is_none());
        execution.shared.progress().advance(at.index);
        assert_eq!(
            execution.outcome().now_or_never().unwrap().unwrap(),
            outputs
        );

        // What was lost goes again as what it was, whoever waits.
        let mut lost = placed(&tasks);
        let (tell, told) = tokio::sync::oneshot::channel::<Fate>();
        (lost.sends, lost.stage) = (1, Stage::Sent(told.into()));
        drop(tell);
        assert!(lost.outcome().now_or_never().is_none());
        assert!(matches!(lost.stage, Stage::Due) && lost.is_sent());
        let commands = Item::Commands {
            request,
            count: 1,
            commands: Bytes::from_static(b"?"),
        };
        assert_eq!(lost.item(), Some(commands));
    }

    #[tokio::test]
    async fn what_was_sent_under_one_charter_is_not_sent_under_another() {
        let tasks = Tasks::new(tracing::Span::none());
        let (one, other) = (Epoch::from_bytes([1; 16]), Epoch::from_bytes([2; 16]));
        let mut execution = placed(&tasks);
        assert!(execution.is_placed(one).unwrap());
        assert!(!execution.is_placed(other).unwrap());
        let not_applied = Failed::NotLeader { leader: None };
        assert!(!sent(&mut execution, Err(not_applied)).unwrap());
        assert!(!execution.is_placed(other).unwrap());
        assert!(!sent(&mut execution, Err(Failed::Unknown)).unwrap());
        assert!(execution.is_placed(one).unwrap());
        let refused = execution.is_placed(other);
        assert!(
            matches!(refused, Err(GroupError::SessionExpired)),
            "{refused:?}"
        );
    }

    #[tokio::test]
    async fn room_is_given_back() {
        let tasks = Tasks::new(tracing::Span::none());
        let shared = shared(&tasks);
        // As many as there is room for, of so many bytes.
        let full = |len: usize| {
            let mut all = Vec::new();
            loop {
                let commands = Bytes::from(vec![0; len]);
                let mut execution = Execution::new(shared.clone(), 1, commands).unwrap();
                assert!(execution.outcome().now_or_never().is_none());
                if !execution.let_in {
                    return all.len();
                }
                all.push(execution);
            }
        };
        for _ in 0..2 {
            assert_eq!(full(1), 2048);
            assert_eq!(full(1024 * 1024), 64);
        }
    }

    #[tokio::test]
    async fn it_is_small() {
        let tasks = Tasks::new(tracing::Span::none());
        let mut execution = execution(&shared(&tasks));
        let (held, waits) = (size_of_val(&execution), size_of_val(&execution.outcome()));
        // Both lie in the future of whoever calls.
        assert!(held <= 256 && waits <= 640, "{held} and {waits} bytes");
    }
}
