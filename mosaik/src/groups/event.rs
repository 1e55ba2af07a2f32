//! What happens to a group, as it happens.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt as _, stream::BoxStream};

use super::status::{GroupStatus, Phase};
use crate::{
    id::PeerId,
    metrics::{
        GROUP_LEADER_CHANGES, GROUP_REBUILDS, GROUP_REFOUNDED, GROUP_ROLLBACKS, GROUP_SUPERSEDED,
        GROUP_VOTERS_UNFENCED, GROUPS_LED, GROUPS_ONLINE,
    },
    rt::watch,
};

/// Something that happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Commands can be applied and queries answered.
    Online,
    /// They cannot for now.
    Offline,
    /// Another member leads, or none.
    LeaderChanged(Option<PeerId>),
    /// Somebody votes that did not.
    VoterAdded(PeerId),
    /// Somebody votes no longer.
    VoterRemoved(PeerId),
    /// Another charter of the group lives on; this one takes no more commands.
    Superseded,
    /// The group's quorum was lost, and a descendant of its charter was founded from the best surviving replica,
    /// by this node or by the one whose descendant it now joins.
    Refounded {
        /// Voters that could not be reached and are not proven dead: should they be a majority of the old
        /// charter, what they acknowledge is lost.
        unfenced: Vec<PeerId>,
    },
    /// Others remember more of this member than its disk holds, as the text says: it was restored from an older image.
    /// This node takes part as a new member, with nothing, as soon as a leader takes it in.
    RolledBack(String),
    /// The replica failed and was rebuilt from its log.
    Rebuilt,
    /// This node takes part no longer, for this reason.
    Ended(String),
}

/// Events of a group: a stream that ends with the network. A listener that is slow sees what has changed since it
/// last looked, and not what came and went in between.
pub struct Events {
    inner: BoxStream<'static, Event>,
}

impl Events {
    pub(super) fn new(status: watch::Receiver<GroupStatus>) -> Self {
        let seen = status.borrow().clone();
        let state = (status, seen, VecDeque::new());
        let inner = futures::stream::unfold(state, |(mut status, mut seen, mut events)| async {
            loop {
                if let Some(event) = events.pop_front() {
                    return Some((event, (status, seen, events)));
                }
                status.changed().await.ok()?;
                let now = status.borrow_and_update().clone();
                events = changes(&seen, &now).into();
                seen = now;
            }
        });
        Self {
            inner: inner.boxed(),
        }
    }
}

fn changes(before: &GroupStatus, now: &GroupStatus) -> Vec<Event> {
    let mut events = Vec::new();
    let voters = |status: &GroupStatus| {
        let membership = status.membership.as_ref();
        membership.map(|m| m.voters.clone()).unwrap_or_default()
    };
    let (were, are) = (voters(before), voters(now));
    for added in are.difference(&were) {
        events.push(Event::VoterAdded(added.peer));
    }
    for removed in were.difference(&are) {
        events.push(Event::VoterRemoved(removed.peer));
    }
    if before.leader != now.leader {
        events.push(Event::LeaderChanged(now.leader.map(|leader| leader.peer)));
    }
    if before.refounded < now.refounded {
        let unfenced = now.unfenced.clone();
        events.push(Event::Refounded { unfenced });
    }
    if before.rebuilds < now.rebuilds {
        events.push(Event::Rebuilt);
    }
    if before.rollbacks.0 < now.rollbacks.0 {
        events.push(Event::RolledBack(now.rollbacks.1.clone()));
    }
    match (before.online, now.online) {
        (false, true) => events.push(Event::Online),
        (true, false) => events.push(Event::Offline),
        _ => {}
    }
    if before.phase != now.phase {
        match &now.phase {
            Phase::Superseded => events.push(Event::Superseded),
            Phase::Ended(why) => events.push(Event::Ended(why.clone())),
            _ => {}
        }
    }
    events
}

/// Counts what has happened.
pub(super) fn count(before: &GroupStatus, now: &GroupStatus) {
    let gauge = |name: &'static str, was: bool, is: bool| match (was, is) {
        (false, true) => metrics::gauge!(name).increment(1),
        (true, false) => metrics::gauge!(name).decrement(1),
        _ => {}
    };
    let leads = |status: &GroupStatus| status.me.is_some() && status.me == status.leader;
    gauge(GROUPS_ONLINE, before.online, now.online);
    gauge(GROUPS_LED, leads(before), leads(now));
    if now.leader.is_some() && before.leader != now.leader {
        metrics::counter!(GROUP_LEADER_CHANGES).increment(1);
    }
    if before.refounded < now.refounded {
        metrics::counter!(GROUP_REFOUNDED).increment(1);
        metrics::counter!(GROUP_VOTERS_UNFENCED).increment(now.unfenced.len() as u64);
    }
    if now.phase == Phase::Superseded && before.phase != Phase::Superseded {
        metrics::counter!(GROUP_SUPERSEDED).increment(1);
    }
    if before.rebuilds < now.rebuilds {
        metrics::counter!(GROUP_REBUILDS).increment(1);
    }
    if before.rollbacks.0 < now.rollbacks.0 {
        metrics::counter!(GROUP_ROLLBACKS).increment(1);
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.inner.poll_next_unpin(cx)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
