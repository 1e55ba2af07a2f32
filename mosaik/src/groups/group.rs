//! A handle of a group.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    caller::Caller,
    condition::When,
    driver::Stop,
    error::{GroupError, RecoverError, TransferError, Unavailable},
    event::Events,
    handle::{self, Joined},
    machine::{Local, StateMachine},
    shared::Shared,
    status::GroupExplanation,
};
use crate::{
    id::{GroupId, PeerId},
    rt::{self, Tasks},
};

/// A version of a group's state: the index of the log entry that was applied last. The same on every node, as long as
/// the group lives by one charter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub(crate) u64);

impl From<Version> for u64 {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A member of a group, and its state. Clones share it; the node takes part until it [leaves](Self::leave) or its
/// network stops.
///
/// A command is acknowledged once a majority of the voters has it, on disk if the group is durable, and this
/// replica has applied it. It is applied exactly once, however often the way to the leader breaks.
pub struct Group<M> {
    joined: Joined,
    local: Local<M>,
}

impl<M> Clone for Group<M> {
    fn clone(&self) -> Self {
        Self {
            joined: self.joined.clone(),
            local: self.local.clone(),
        }
    }
}

impl<M> fmt::Debug for Group<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.joined.shared.name())
            .finish_non_exhaustive()
    }
}

impl<M: StateMachine> Group<M> {
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

    /// Answers a query from a state that holds every command acknowledged before the query was asked, by anybody.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn query(&self, query: M::Query) -> Result<M::Answer, GroupError> {
        self.read(|state| state.query(query)).await
    }
}

impl<M: Default> Group<M> {
    /// Looks at the state as it is here, at once; at the one that a group begins with while it is being restored.
    #[doc(hidden)]
    pub fn look<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        self.local.look(look)
    }
}

impl<M> Group<M> {
    pub(super) fn new(joined: Joined, local: Local<M>) -> Self {
        Self { joined, local }
    }

    /// Looks at a state that holds every command acknowledged before this was called, by anybody.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn read<R>(&self, look: impl FnOnce(&M) -> R) -> Result<R, GroupError> {
        self.caller().read().await?;
        self.settled().await?;
        let unsettled = || GroupError::Unavailable(Unavailable::Restoring);
        self.local(look).ok_or_else(unsettled)
    }

    /// Looks at the state as it is here, at once: it may be stale. Commands wait while it is looked at. `None`
    /// while the state is being restored: after a start, or after a command that panicked.
    pub fn local<R>(&self, look: impl FnOnce(&M) -> R) -> Option<R> {
        self.local.read(look)
    }

    /// Waits until the state is not being restored.
    async fn settled(&self) -> Result<(), GroupError> {
        let restored = async {
            while self.local.read(|_| ()).is_none() {
                rt::sleep(RESTORING).await;
            }
        };
        let restored = rt::timeout(self.joined.options.command_timeout, restored).await;
        restored.map_err(|_| GroupError::Unavailable(Unavailable::Restoring))
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.joined.shared.id()
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        self.joined.shared.name()
    }

    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<PeerId> {
        let leader = self.joined.shared.status().borrow().leader;
        leader.map(|leader| leader.peer)
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.joined.shared.peer())
    }

    /// Whether commands can be applied and queries answered, as far as this node knows.
    pub fn is_online(&self) -> bool {
        self.joined.shared.status().borrow().online
    }

    /// The members: voters and learners. Who merely follows is not among them.
    pub fn members(&self) -> Vec<Member> {
        members(&self.joined.shared)
    }

    /// The version of the state here.
    pub fn version(&self) -> Version {
        Version(self.joined.shared.progress().get().unwrap_or(0))
    }

    /// States that can be waited for.
    pub fn when(&self) -> When {
        When::new(self.joined.shared.clone(), None)
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events::new(self.joined.shared.status().subscribe())
    }

    /// What it waits for, if it is not online, and how it is doing.
    pub fn explain(&self) -> GroupExplanation {
        handle::explanation(&self.joined.shared)
    }

    /// Hands leadership to a voter. Ask it of the leader.
    ///
    /// # Errors
    /// When this node does not lead, the peer is no voter, or it does not take over in time.
    pub async fn transfer_leadership(&self, to: PeerId) -> Result<(), TransferError> {
        let leader = self.leader();
        if leader == Some(to) {
            return Ok(());
        }
        let route = self.joined.shared.routes().borrow().clone();
        let Ok(Some(super::route::Route::Here(replica))) = route else {
            return Err(TransferError::NotLeader { leader });
        };
        let voter = {
            let status = self.joined.shared.status().borrow();
            let membership = status.membership.as_ref();
            let voters = membership.map(|membership| membership.voters.clone());
            let voters = voters.unwrap_or_default();
            voters.into_iter().find(|voter| voter.peer == to)
        };
        let voter = voter.ok_or(TransferError::NotVoter(to))?;
        let Some(node) = replica.node() else {
            return Err(TransferError::NotLeader { leader });
        };
        node.hand_over(voter)
            .await
            .map_err(|error| TransferError::Unavailable(error.to_string()))?;
        let took_over = self.when().leader_is(to);
        match rt::timeout(TRANSFER_TIMEOUT, took_over).await {
            Ok(()) => Ok(()),
            Err(_) => Err(TransferError::TimedOut),
        }
    }

    /// Gives the lost quorum up: founds a descendant of the group's charter from the best replica among those
    /// connected, with all that its log holds. The other survivors give theirs up and join it. Returns once it is
    /// founded; wait for it with `when().online()`.
    ///
    /// Only for a quorum that does not come back. **It cannot fence an old majority that nobody here reaches**: if
    /// there is one, it goes on acknowledging commands, and all of them are lost when the two meet, because the
    /// descendant lives on. So make sure that the missing voters are down and stay down. A durable one that comes
    /// back after all, and hears of the descendant, is made to join it by calling this on its node, which erases
    /// its log.
    ///
    /// In development mode (`founders = 1`), and where all is proven to be lost, a volatile group does this by
    /// itself, and any group does that declares [`recover_after`](super::Options::recover_after);
    /// see [`Event::Refounded`](super::Event::Refounded).
    ///
    /// # Errors
    /// When a quorum is connected, this node is no member, or nothing could be founded within 30 seconds: see
    /// [`RecoverError`].
    pub async fn recover(&self) -> Result<(), RecoverError> {
        self.joined.shared.recover().await
    }

    /// Leaves the group for good: its vote, if it has one, goes to another, or is given up. Waits until that is
    /// done, ten seconds at most; the node takes part no longer in any case.
    pub async fn leave(&self) {
        self.joined.stop.send_modify(|stop| *stop = Stop::Leave);
        self.when().ended().await;
    }

    /// What `look` makes of what lies beside the state, in the same place, whether the state may be read or not.
    pub(crate) fn beside<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        self.local.beside(look)
    }

    /// The same group, for whom its state does not matter.
    pub(crate) fn without_state(&self) -> Group<()> {
        Group {
            joined: self.joined.clone(),
            local: Local::nothing(),
        }
    }

    /// The network's tasks.
    pub(crate) fn tasks(&self) -> &Tasks {
        self.joined.shared.tasks()
    }

    /// This node.
    pub(crate) fn peer(&self) -> PeerId {
        self.joined.shared.peer()
    }

    /// How long a command or query waits for its answer.
    pub(crate) fn command_timeout(&self) -> Duration {
        self.joined.options.command_timeout
    }

    pub(super) fn caller(&self) -> Caller {
        Caller {
            shared: self.joined.shared.clone(),
            timeout: self.joined.options.command_timeout,
            connected: None,
        }
    }
}

/// How often it is looked whether a state is restored.
const RESTORING: Duration = Duration::from_millis(2);
/// How long a hand-over may take.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// The peer.
    pub peer: PeerId,
    /// Whether it votes; else it learns.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
}

/// The members of a group, as far as is known.
pub(super) fn members(shared: &Shared) -> Vec<Member> {
    let status = shared.status().borrow();
    let Some(membership) = &status.membership else {
        return Vec::new();
    };
    let members = membership.members();
    let member = |member: &crate::id::MemberId| Member {
        peer: member.peer,
        voter: membership.votes(member),
        leader: status.leader == Some(*member),
    };
    members.iter().map(member).collect()
}
