//! Founding: at most one charter.
//!
//! Consensus has to be told who its first voters are, and two disjoint answers make two healthy
//! clusters. So before there is consensus the members agree on one [`Charter`](charter::Charter):
//!
//! - **Look first.** Who hears of an established charter joins it. Only a listed member that holds its
//!   state says so, and nobody repeats it.
//! - **Propose.** When as many eligible members as there are to be founders have been bonded for a
//!   while, and everybody who was to be asked has answered, the lowest accepts a charter of the lowest,
//!   and says so: the proposer's acceptance is the proposal.
//! - **Accept** one at a time, and tell all founders.
//! - **Pledge** never to hold an entry of the charter: when acceptances are missing for long, or on
//!   hearing another's pledge, or at once if bound elsewhere; never once sealed.
//! - **Seal** when all founders have accepted, and run Raft.
//! - **Release** by pledges of so many that no majority is left, or when nobody else is left. Who is the
//!   last to hold an entry does not forget it: it recovers, by founding a descendant alone.
//!
//! The first entry that is committed *establishes* the charter: a majority holds it, so no blocking set
//! has pledged, and a release by pledges is impossible. All founders have accepted, each one charter at
//! a time: two established charters share no boot, unless a majority of one of them, boots that kept
//! their log in memory, is gone. The models in `tests` check that for up to
//! three founders, exhaustively within the bounds that each of them states.
//!
//! Facts about boots are permanent, so messages may be lost, doubled and late. What makes that hold is
//! the *round*: it only grows, and a charter whose round is not above a member's is never accepted by
//! it, so that a pledge is kept without remembering its charter.
//!
//! # Why the rules are as they are
//! Without each there is a run that breaks or blocks the group.
//! - *Any entry of a leader, not only a command, keeps the last survivor from forgetting.* Else, with two
//!   founders: both hold the leader's first entry, the leader commits and announces it, restarts with an
//!   empty log, and the other forgets and founds a second charter with the new boot.
//! - *Who has pledged joins with a fresh boot.* Else, with three: `a` and `c` establish, `b` had pledged and
//!   joins as the voter `b`; `a` and `b` acknowledge commands; `a` restarts; `c`, whose log has only the first
//!   entry, sees one pledge and one dead boot, takes itself for the last and founds without the commands.
//! - *Who is free still answers a pledge.* Else, with three: `b` and `c` pledge, `b` hears `c`'s, is free at
//!   once and speaks of nothing else; its own pledge was lost, and `c` is bound for ever.
//! - *Who joins elsewhere pledges, and stays bound until it is a listed member.* Else, if those that announced
//!   the other charter die, it accepts a third while its first acceptance may still establish the first.
//! - *Anybody proposes if the lowest is late.* Else a lowest member that few are connected to blocks all.
//!
//! What remains: a founder that has sealed waits for one that is silent for ever and another that has
//! pledged, since the silent one may have sealed too; its return, next boot or departure ends that.

mod bound;
pub(crate) mod charter;
mod machine;
pub(crate) mod message;
pub(crate) mod status;
pub(crate) mod verdict;

#[cfg(test)]
mod tests;

pub(crate) use machine::Founding;
