//! What the handles of a store have in common.

use std::{fmt, sync::Arc, time::Duration};

use super::place::Place;
use crate::{
    groups::{
        Events, Group, GroupError, GroupExplanation, Member, RecoverError, TransferError, Version,
        When,
    },
    id::PeerId,
};

/// A store, as all its handles know it: every handle of a collection, and of a struct of collections, dereferences to
/// this. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    group: Group<()>,
    place: Arc<Place>,
}

impl Store {
    pub(super) fn new(group: Group<()>, place: Arc<Place>) -> Self {
        Self { group, place }
    }

    /// The name of the store.
    pub fn name(&self) -> &str {
        self.group.name()
    }

    /// The version of the store here: the index of the last entry of its log that was applied. What a write has done
    /// shows in the versions from its acknowledgement on.
    pub fn version(&self) -> Version {
        self.group.version()
    }

    /// States of the store that can be waited for.
    pub fn when(&self) -> When {
        self.group.when()
    }

    /// Whether writes can be applied, as far as this node knows.
    pub fn is_online(&self) -> bool {
        self.group.is_online()
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<PeerId> {
        self.group.leader()
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        self.group.is_leader()
    }

    /// The members: voters and learners. Readers are not among them.
    pub fn members(&self) -> Vec<Member> {
        self.group.members()
    }

    /// What the store waits for, if it is not online, and how it is doing.
    pub fn explain(&self) -> GroupExplanation {
        self.group.explain()
    }

    /// What happens to the store's group from now on.
    pub fn events(&self) -> Events {
        self.group.events()
    }

    /// Waits until this node has everything that was acknowledged, to anybody, before this was called: what is read
    /// then is linearizable. Costs a round to the leader, which many share.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn refresh(&self) -> impl Future<Output = Result<(), GroupError>> + Send + use<> {
        let group = self.group.clone();
        async move { group.read(|()| ()).await }
    }

    /// Gives a lost quorum up: see [`Group::recover`], and its warning.
    ///
    /// # Errors
    /// See [`RecoverError`].
    pub fn recover(&self) -> impl Future<Output = Result<(), RecoverError>> + Send + use<> {
        let group = self.group.clone();
        async move { group.recover().await }
    }

    /// Hands leadership to a voter: see [`Group::transfer_leadership`].
    ///
    /// # Errors
    /// See [`TransferError`].
    pub fn transfer_leadership(
        &self,
        to: PeerId,
    ) -> impl Future<Output = Result<(), TransferError>> + Send + use<> {
        let group = self.group.clone();
        async move { group.transfer_leadership(to).await }
    }

    /// Leaves the store for good, with all its handles of this node: see [`Group::leave`].
    pub fn leave(&self) -> impl Future<Output = ()> + Send + use<> {
        let group = self.group.clone();
        async move { group.leave().await }
    }

    /// The store's group.
    pub(super) fn group(&self) -> &Group<()> {
        &self.group
    }

    /// Where its collections are shown.
    pub(super) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// How long a write waits for its answer, and a transaction tries again.
    pub(super) fn command_timeout(&self) -> Duration {
        self.group.command_timeout()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.group.fmt(f)
    }
}
