//! Waiting for a state of a group.

use std::{future::Future, sync::Arc};

use super::{
    group::Version,
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
}

impl When {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Commands can be applied, and queries answered.
    pub fn online(&self) -> impl Future<Output = ()> + Send + use<> {
        self.holds(|status| status.online)
    }

    /// The opposite of [`online`](Self::online).
    pub fn offline(&self) -> impl Future<Output = ()> + Send + use<> {
        self.holds(|status| !status.online)
    }

    /// Somebody leads.
    pub fn leader(&self) -> impl Future<Output = ()> + Send + use<> {
        self.holds(|status| status.leader.is_some())
    }

    /// This peer leads.
    pub fn leader_is(&self, peer: PeerId) -> impl Future<Output = ()> + Send + use<> {
        self.holds(move |status| status.leader.is_some_and(|leader| leader.peer == peer))
    }

    /// There are at least so many voters.
    pub fn voters(&self, count: usize) -> impl Future<Output = ()> + Send + use<> {
        self.holds(move |status| {
            let membership = status.membership.as_ref();
            membership.is_some_and(|m| m.leaving.is_none() && m.voters.len() >= count)
        })
    }

    /// The state here has reached this version.
    pub fn reaches(&self, version: Version) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.shared.clone();
        async move { shared.progress().reach(version.0).await }
    }

    /// This node takes part no longer, for the reason that is returned.
    pub fn closed(&self) -> impl Future<Output = String> + Send + use<> {
        let shared = self.shared.clone();
        let ended = self.holds(|status| matches!(status.phase, Phase::Ended(_)));
        async move {
            ended.await;
            match &shared.status().borrow().phase {
                Phase::Ended(why) => why.clone(),
                _ => String::new(),
            }
        }
    }

    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.holds(|status| matches!(status.phase, Phase::Ended(_)))
    }

    fn holds<W>(&self, mut wanted: W) -> impl Future<Output = ()> + Send + use<W>
    where
        W: FnMut(&GroupStatus) -> bool + Send + 'static,
    {
        let mut status = self.shared.status().subscribe();
        async move {
            if status.wait_for(&mut wanted).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
