//! Resting while there is nothing to do: carrying out what [quiescing](crate::groups::proto::quiesce) decides.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tracing::debug;

use super::run::{Driver, Stop};
use crate::{
    groups::{
        bonds::{Control, Watched},
        proto::{
            founding::charter::Epoch,
            quiesce::{self, Event, Facts, Message, Output, Quiesce, Watch, millis},
            timing::Timing,
        },
        raft::{Node, Status},
        replica::Replica,
    },
    id::MemberId,
    rt::{self, Instant},
};

/// The part in resting of a replica that runs Raft.
pub(in crate::groups) struct Rest {
    quiesce: Quiesce,
    began: Instant,
    /// What the bonds were told.
    watch: Watch,
}

impl Rest {
    /// The part of a replica that begins to run.
    pub(super) fn new(after: Duration, raft: Timing) -> Self {
        let timing = quiesce::Timing {
            after,
            patience: raft.election_min + raft.election_max,
        };
        Self {
            quiesce: Quiesce::new(timing),
            began: rt::now(),
            watch: Watch::default(),
        }
    }

    /// Whether the member rests.
    pub(super) fn rests(&self) -> bool {
        self.quiesce.rests()
    }

    /// When to look at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let at = self.quiesce.deadline()?;
        Some(self.began + Duration::from_millis(at))
    }

    fn now(&self) -> u64 {
        millis(rt::now().duration_since(self.began))
    }
}

impl Driver {
    /// Looks whether the group may rest, or has to wake.
    pub(super) fn rest(&mut self) {
        let stops = *self.parts.stop.borrow() != Stop::No;
        let node = self.running.as_ref().and_then(|r| r.replica().node());
        if self.is_resting() && (stops || node.is_some_and(Node::is_awake)) {
            self.stir();
        } else {
            self.quiesce(Event::Look);
        }
    }

    /// Whether the group rests, as far as this member knows.
    pub(super) fn is_resting(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.rest().rests())
    }

    /// Something happened that ends a rest.
    pub(super) fn stir(&mut self) {
        self.quiesce(Event::Stirred);
    }

    /// A member has said something about resting.
    pub(super) fn told_of_rest(&mut self, epoch: Epoch, from: MemberId, message: Message) {
        let ours = self.running.as_ref().map(|running| running.charter().epoch);
        if ours == Some(epoch) {
            self.quiesce(Event::Said(from, message));
        }
    }

    /// Takes in an event, and does what follows from it.
    pub(super) fn quiesce(&mut self, event: Event) {
        let Some(running) = &self.running else {
            return;
        };
        let (Some(status), Some(node)) = (running.raft(), running.replica().node().cloned()) else {
            return;
        };
        let replica = running.replica().clone();
        let facts = self.facts(&status, &node);
        let Some(running) = &mut self.running else {
            return;
        };
        let rest = running.rest_mut();
        let now = rest.now();
        for output in rest.quiesce.handle(now, &facts, event) {
            match output {
                Output::Tell(member, message) => self.tell_of_rest(&replica, member, message),
                Output::Still => {
                    debug!("rests");
                    node.rest();
                }
                Output::Wake => {
                    debug!(?event, "wakes");
                    node.wake();
                }
                Output::Run => node.run(),
            }
        }
        self.show();
    }

    fn facts(&self, status: &Status, node: &Node) -> Facts {
        let me = self.front.me();
        let membership = status.membership.as_ref();
        let mut others = membership.map(|known| known.members()).unwrap_or_default();
        others.remove(&me);
        Facts {
            me,
            leader: status.leader,
            term: status.term,
            last: status.last,
            committed: status.committed,
            settled: self.is_settled(status, &others),
            others,
            asked: node.asked(),
        }
    }

    /// Whether nothing is left to be done: the roster is as it shall be, and all others hold the log.
    fn is_settled(&self, status: &Status, others: &BTreeSet<MemberId>) -> bool {
        let last = status.last.map(|last| last.index);
        let holds = |member: &MemberId| {
            self.front.bond(member).is_some()
                && status.replication.get(member).copied().flatten() == last
        };
        let is_final = status
            .membership
            .as_ref()
            .is_some_and(|known| known.committed && known.leaving.is_none());
        is_final
            && self.announced.is_some()
            && *self.parts.stop.borrow() == Stop::No
            && self.seats.is_content()
            && status.applied == status.last
            && others.iter().all(holds)
    }

    fn tell_of_rest(&self, replica: &Arc<Replica>, to: MemberId, message: Message) {
        if let Some(bond) = self.front.bond(&to) {
            bond.line.tell(Control::Quiesce {
                group: self.front.group(),
                epoch: replica.epoch(),
                from: replica.me().boot,
                to: to.boot,
                message,
            });
        }
    }

    /// Shows this node to those that the group rests with.
    fn show(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let timing = running.charter().timing;
        let rest = running.rest_mut();
        let watch = rest.quiesce.watch();
        if watch == rest.watch {
            return;
        }
        let (min, max) = (timing.election_min, timing.election_max);
        let watched = (!watch.show.is_empty()).then(|| Watched {
            front: self.front.clone(),
            peers: watch.show.iter().map(|member| member.peer).collect(),
            every: timing.heartbeat,
            // As long as a follower waits for heartbeats before it stands: the lease and a timeout.
            limit: watch.hear.then(|| max + min + rt::jitter(max - min)),
            since: rt::now(),
        });
        rest.watch = watch;
        self.parts.bonds.watch(self.front.group(), watched);
    }
}
