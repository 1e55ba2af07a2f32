//! What goes in and out of the founding protocol.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    charter::{Charter, Epoch, Terms},
    verdict::Claim,
};
use crate::{
    groups::proto::timing::Timing,
    id::{GroupId, MemberId, PeerId},
};

/// How a member founds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Config {
    /// The group.
    pub(crate) group: GroupId,
    /// This member.
    pub(crate) me: MemberId,
    /// Founders of a charter: 1 to [`MAX_FOUNDERS`](super::charter::MAX_FOUNDERS).
    pub(crate) founders: usize,
    /// What a charter that this member proposes says; `durable` also says whether it persists.
    pub(crate) terms: Terms,
    /// How long enough eligible members are bonded before one proposes; default 500 ms.
    pub(crate) settle: Duration,
    /// How long to wait for answers before proposing, and for acceptances before pledging; default 10 s.
    pub(crate) founding_timeout: Duration,
    /// How often a bound member repeats itself; default 1 s.
    pub(crate) resend: Duration,
}

/// Whose answer is waited for before anything is proposed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Awaited {
    /// A peer that is configured or remembered from an earlier run.
    Peer(PeerId),
    /// The first look-up of a rendezvous.
    Rendezvous(&'static str),
}

/// What members say to each other while a group is founded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The sender is eligible: it knows no charter and is bound to none.
    Free {
        /// The greatest round that it has accepted or pledged against.
        round: u64,
    },
    /// The sender, a founder, has accepted the charter. The proposer's acceptance is the proposal.
    Accepted(Charter),
    /// The sender, a founder that is bound to the charter, will never hold an entry of it as this boot.
    Pledged(Charter),
    /// The same of a founder that is not, or no longer, bound to it: the answer to either of the former,
    /// itself never answered.
    Refused(Charter),
    /// The sender is listed in the committed membership of the charter and holds its state.
    Established(Claim),
}

/// A time to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// Enough eligible members have been bonded for a while.
    Settle,
    /// The lowest member has not proposed for long.
    Late,
    /// Answers have been waited for long enough.
    Patience,
    /// Acceptances of the charter of this round have been waited for long enough.
    Acceptances {
        /// The round.
        round: u64,
    },
    /// Time to repeat what is said.
    Resend,
    /// Nobody has announced the charter that was heard of for a while.
    Forget,
    /// Time to recover, at once; a timer because that takes a random id.
    Recover,
}

/// What a durable member keeps on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The greatest round that it has accepted or pledged against.
    pub(crate) round: u64,
    /// The charter that it is bound to.
    pub(crate) bound: Option<Binding>,
    /// The established charter that it is a listed member of.
    pub(crate) established: Option<Charter>,
    /// The charter that won over the established one.
    pub(crate) superseded: Option<Charter>,
}

/// How a member is bound to a charter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Binding {
    /// The charter that it has accepted.
    pub(crate) charter: Charter,
    /// Whether it will never run it.
    pub(crate) pledged: bool,
    /// Whether it runs it.
    pub(crate) sealed: bool,
}

/// What the protocol is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// There is an authenticated connection to a member that joined as a writer. Of two live boots of
    /// one peer only one is ever bonded: a newer one proves the older dead.
    Bonded(MemberId),
    /// That connection is gone; the member may live.
    Unbonded(MemberId),
    /// The boot is proven dead: a newer one of its peer is admitted, or it has signed its departure.
    Gone(MemberId),
    /// Whoever was awaited has answered, or is known never to.
    Answered(Awaited),
    /// A member has sent a message.
    Received {
        /// The member, authenticated.
        from: MemberId,
        /// The message; [`Message::Established`] is first-hand.
        message: Message,
    },
    /// A member no longer announces the charter that it announced.
    Withdrawn(MemberId),
    /// A Raft request of a charter has come from a member. Give this before asking
    /// [`may_answer_raft`](super::Founding::may_answer_raft).
    RaftCalled {
        /// The member.
        from: MemberId,
        /// The charter's epoch.
        epoch: Epoch,
    },
    /// The log of the charter is about to hold an entry of a leader. Give this before that entry is acknowledged to
    /// anybody, if [`awaits_entry`](super::Founding::awaits_entry); the entry that `initialize` writes does not count.
    Appended(Epoch),
    /// The first entry of a leader is committed and this member is listed in the committed membership;
    /// or the log holds a later membership, which proves as much.
    Committed(Epoch),
    /// The log of the established charter has committed that another charter lives on.
    VerdictCommitted {
        /// The charter that lives on.
        winner: Charter,
        /// Whether a command was ever acknowledged under the losing one.
        commands: bool,
    },
    /// The quorum of the charter that this member runs is lost, and its log was made the beginning of this
    /// descendant, which this member alone founds.
    Refounded(Charter),
    /// The oldest record that was to be persisted, and was not confirmed yet, is on disk.
    Persisted,
    /// A timer that was set has fired.
    TimerFired {
        /// The timer.
        timer: Timer,
        /// A fresh random id, for a charter that is proposed now.
        epoch: Epoch,
        /// What such a charter says about how fast the loss of a leader is noticed.
        timing: Timing,
    },
}

/// What the protocol wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Output {
    /// Come back after this long.
    SetTimer(Duration, Timer),
    /// Put the record on disk, in order, and confirm each with [`Input::Persisted`].
    Persist(Box<Record>),
    /// Send a message.
    Send {
        /// To whom.
        to: MemberId,
        /// The message.
        message: Message,
    },
    /// Send [`Message::Established`] with the claim of the established charter as it is now.
    Announce {
        /// To whom.
        to: MemberId,
    },
    /// Start Raft for the charter and, if its log is empty, initialize it with the founders.
    StartRaft {
        /// The charter.
        charter: Charter,
        /// The charter that it recovers: its Raft is stopped and its whole log applied first.
        recovers: Option<Epoch>,
    },
    /// Stop Raft for the charter and erase its log.
    StopRaft(Epoch),
    /// Join an established charter as a newcomer.
    Join {
        /// The charter.
        charter: Charter,
        /// Whether this boot may not: it has pledged, so the peer joins as a fresh one.
        fresh_boot: bool,
    },
    /// Stop joining a charter: nobody announces it any more, or another one lives on.
    Leave(Epoch),
    /// Another established charter was met: commit a verdict.
    Conflict {
        /// Who announced it.
        by: MemberId,
        /// The other charter.
        theirs: Claim,
    },
    /// Take no more commands: the other charter lives on.
    Supersede {
        /// The charter that lives on.
        winner: Charter,
    },
}

/// What a peer that is bonded was last heard to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Peer {
    /// Its boot.
    pub(super) boot: u64,
    /// Its round, if it is eligible.
    pub(super) free: Option<u64>,
}

/// An established charter that was heard of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Heard {
    /// What was last said of it.
    pub(super) claim: Claim,
    /// Who announces it.
    pub(super) announcers: BTreeSet<MemberId>,
    /// Whether joining it was asked for.
    pub(super) joining: bool,
    /// Whether this boot may not run it.
    pub(super) fresh_boot: bool,
}
