//! A handle of a group for nodes without a replica.

use std::{fmt, marker::PhantomData};

use super::{
    caller::{Caller, append},
    condition::When,
    error::GroupError,
    event::Events,
    group::{Member, Version, members},
    handle,
    machine::StateMachine,
    packed::packed,
    status::GroupExplanation,
};
use crate::id::{GroupId, PeerId};

/// A client of a group, which holds no replica of it: any member answers its queries, and passes its commands on to
/// the leader. Clones share it; the connection ends with the last of them.
///
/// A command is acknowledged once a majority of the voters has it, on disk if the group is durable, and is applied
/// exactly once, through whichever members it is sent. A query is answered from a state that holds every command
/// acknowledged before it was asked, by anybody. A client never votes, costs the group one session, and is as fast as
/// its way to the leader; a node that asks a lot of queries has them faster from a replica of its own, which
/// `observe` gives it.
pub struct GroupClient<M> {
    caller: Caller,
    state: PhantomData<fn() -> M>,
}

impl<M> Clone for GroupClient<M> {
    fn clone(&self) -> Self {
        Self::new(self.caller.clone())
    }
}

impl<M> fmt::Debug for GroupClient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupClient")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

impl<M: StateMachine> GroupClient<M> {
    /// Applies a command, and returns its output.
    ///
    /// # Errors
    /// See [`GroupError`]; after [`GroupError::Timeout`] the command is still under way.
    pub async fn execute(&self, command: M::Command) -> Result<M::Output, GroupError> {
        self.caller().execute::<M>(command).await
    }

    /// Applies commands as one log entry, one after the other and with nothing in between, and returns their
    /// outputs. One whose output is an error does not undo the others; if one panics, none is applied.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_all(
        &self,
        commands: impl IntoIterator<Item = M::Command>,
    ) -> Result<Vec<M::Output>, GroupError> {
        self.caller().execute_all::<M>(commands).await
    }

    /// Has a query answered, from a state that holds every command acknowledged before it was asked, by anybody.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn query(&self, query: M::Query) -> Result<M::Answer, GroupError> {
        let query = packed(|bytes| append(bytes, &query))?;
        self.caller.query(query).await
    }
}

impl<M> GroupClient<M> {
    pub(super) fn new(caller: Caller) -> Self {
        Self {
            caller,
            state: PhantomData,
        }
    }

    pub(super) fn caller(&self) -> Caller {
        self.caller.clone()
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.caller.shared.id()
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        self.caller.shared.name()
    }

    /// Who leads, as far as the member that serves this client knows.
    pub fn leader(&self) -> Option<PeerId> {
        let leader = self.caller.shared.status().borrow().leader;
        leader.map(|leader| leader.peer)
    }

    /// Whether a member serves this client, and knows of a leader.
    pub fn is_online(&self) -> bool {
        self.caller.shared.status().borrow().online
    }

    /// The members: voters and learners. Clients are not among them.
    pub fn members(&self) -> Vec<Member> {
        members(&self.caller.shared)
    }

    /// The newest version of the state that this client has seen: by a command that was applied, or by an answer.
    pub fn version(&self) -> Version {
        Version(self.caller.shared.progress().get().unwrap_or(0))
    }

    /// States that can be waited for. A [version](When::reaches) counts as reached once this client has seen it.
    pub fn when(&self) -> When {
        let Caller {
            shared, connected, ..
        } = self.caller();
        When::new(shared, connected)
    }

    /// What happens from now on, as far as this client is told.
    pub fn events(&self) -> Events {
        Events::new(self.caller.shared.status().subscribe())
    }

    /// Who serves this client, and what it waits for, if nobody does.
    pub fn explain(&self) -> GroupExplanation {
        handle::explanation(&self.caller.shared)
    }
}
