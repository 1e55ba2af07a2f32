//! Waiting for a state of a group.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};

use super::{
    group::Version,
    remote::Connected,
    shared::Shared,
    status::{GroupStatus, Phase},
};
use crate::id::PeerId;

/// The states that a group can be waited for; from its `when()`.
///
/// Each is a future that completes while its state holds, at once if it holds already. It never completes once the
/// network is gone, unless the state held last.
#[derive(Clone, Debug)]
pub struct When {
    shared: Arc<Shared>,
    /// What a client is connected by: it goes on for as long as somebody waits.
    connected: Option<Arc<Connected>>,
}

impl When {
    pub(super) fn new(shared: Arc<Shared>, connected: Option<Arc<Connected>>) -> Self {
        Self { shared, connected }
    }

    /// Commands can be applied, and queries answered.
    pub fn online(&self) -> Condition {
        self.begin().and(Wanted::Online(true))
    }

    /// The opposite of [`online`](Self::online).
    pub fn offline(&self) -> Condition {
        self.begin().and(Wanted::Online(false))
    }

    /// Somebody leads.
    pub fn leader(&self) -> Condition {
        self.begin().leader()
    }

    /// This peer leads.
    pub fn leader_is(&self, peer: PeerId) -> Condition {
        self.begin().leader_is(peer)
    }

    /// There are at least so many voters.
    pub fn voters(&self, count: usize) -> Condition {
        self.begin().voters(count)
    }

    /// The state here has reached this version.
    pub fn reaches(&self, version: Version) -> Condition {
        self.begin().reaches(version)
    }

    /// This node takes part no longer, for the reason that is returned.
    pub fn closed(&self) -> impl Future<Output = String> + Send + use<> {
        let shared = self.shared.clone();
        let ended = self.ended();
        async move {
            ended.await;
            match &shared.status().borrow().phase {
                Phase::Ended(why) => why.clone(),
                _ => String::new(),
            }
        }
    }

    pub(super) fn ended(&self) -> Condition {
        self.begin().and(Wanted::Ended)
    }

    fn begin(&self) -> Condition {
        Condition {
            shared: self.shared.clone(),
            connected: self.connected.clone(),
            wanted: Vec::new(),
            waiting: None,
        }
    }
}

/// A state of a group, or several that have to hold at once: a future that completes while they do.
///
/// ```no_run
/// # async fn run<M>(group: mosaik::Group<M>, peer: mosaik::PeerId) {
/// group.when().leader_is(peer).voters(3).await;
/// # }
/// ```
///
/// Dropping it costs nothing, and neither does it while nobody polls it. A clone waits anew.
#[must_use = "a condition waits when it is awaited"]
pub struct Condition {
    shared: Arc<Shared>,
    connected: Option<Arc<Connected>>,
    wanted: Vec<Wanted>,
    waiting: Option<BoxFuture<'static, ()>>,
}

/// One of the states that have to hold.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Online(bool),
    Leader,
    LeaderIs(PeerId),
    Voters(usize),
    Reaches(Version),
    Ended,
}

impl Condition {
    /// Somebody leads as well.
    pub fn leader(self) -> Self {
        self.and(Wanted::Leader)
    }

    /// This peer leads as well.
    pub fn leader_is(self, peer: PeerId) -> Self {
        self.and(Wanted::LeaderIs(peer))
    }

    /// There are at least so many voters as well.
    pub fn voters(self, count: usize) -> Self {
        self.and(Wanted::Voters(count))
    }

    /// The state here has reached this version as well.
    pub fn reaches(self, version: Version) -> Self {
        self.and(Wanted::Reaches(version))
    }

    /// Whether it holds now, as far as this node knows.
    pub fn holds(&self) -> bool {
        let status = self.shared.status().borrow();
        let reached = self.shared.progress().get();
        self.wanted
            .iter()
            .all(|wanted| wanted.holds(&status, reached))
    }

    fn and(mut self, wanted: Wanted) -> Self {
        self.wanted.push(wanted);
        self.waiting = None;
        self
    }
}

impl Wanted {
    fn holds(self, status: &GroupStatus, reached: Option<u64>) -> bool {
        match self {
            Self::Reaches(version) => reached >= Some(version.0),
            wanted => wanted.holds_in(status),
        }
    }

    /// As far as the status tells, which knows nothing of versions.
    fn holds_in(self, status: &GroupStatus) -> bool {
        match self {
            Self::Online(online) => status.online == online,
            Self::Leader => status.leader.is_some(),
            Self::LeaderIs(peer) => status.leader.is_some_and(|leader| leader.peer == peer),
            Self::Voters(count) => {
                let membership = status.membership.as_ref();
                membership.is_some_and(|m| m.leaving.is_none() && m.voters.len() >= count)
            }
            Self::Ended => matches!(status.phase, Phase::Ended(_)),
            Self::Reaches(_) => true,
        }
    }
}

/// Waits until all that is wanted holds at once. A version that was reached stays so.
async fn wait(shared: Arc<Shared>, wanted: Vec<Wanted>) {
    for each in &wanted {
        if let Wanted::Reaches(version) = each {
            shared.progress().reach(version.0).await;
        }
    }
    let mut status = shared.status().subscribe();
    let known = status.wait_for(|status| wanted.iter().all(|each| each.holds_in(status)));
    if known.await.is_err() {
        pending().await
    }
}

impl Future for Condition {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let waiting = this
            .waiting
            .get_or_insert_with(|| wait(this.shared.clone(), this.wanted.clone()).boxed());
        waiting.as_mut().poll(cx)
    }
}

impl Clone for Condition {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            connected: self.connected.clone(),
            wanted: self.wanted.clone(),
            waiting: None,
        }
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.wanted).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::MemberId, rt::Tasks};

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[tokio::test]
    async fn all_that_is_wanted_holds_at_once() {
        let tasks = Tasks::new(tracing::Span::none());
        let shared = Shared::new("g", peer(1), Vec::new(), &tasks);
        let when = When::new(shared.clone(), None);
        let mut both = when.leader_is(peer(2)).reaches(Version(7));
        let lead = |leader: Option<u8>| {
            shared.status().send_modify(|status| {
                status.leader = leader.map(|n| MemberId {
                    peer: peer(n),
                    boot: 1,
                });
            });
        };
        lead(Some(2));
        assert!((&mut both).now_or_never().is_none() && !both.holds());
        shared.progress().advance(7);
        lead(Some(3));
        assert!((&mut both).now_or_never().is_none() && !both.holds());
        assert!(when.leader().reaches(Version(7)).holds());
        assert!(!when.leader().voters(1).holds() && when.offline().holds());
        lead(Some(2));
        assert!(both.holds() && both.clone().now_or_never().is_some());
        both.await;
    }

    #[tokio::test]
    async fn of_a_group_that_is_gone_only_what_held_last_completes() {
        let tasks = Tasks::new(tracing::Span::none());
        let shared = Shared::new("g", peer(1), Vec::new(), &tasks);
        let when = When::new(shared.clone(), None);
        let (online, offline) = (when.online(), when.offline());
        shared.end(crate::groups::shared::Ended::Closed);
        assert!(online.now_or_never().is_none());
        assert!(offline.now_or_never().is_some());
    }
}
