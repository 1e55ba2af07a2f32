//! Quiescing: a group that has nothing to do rests, so that a thousand of them cost next to nothing.
//!
//! A leader to whom nothing happened for a while, and whose log all other members hold to the last entry, asks
//! them to rest with it. Each stops its clock of Raft and says so; once all have, the leader stops its own, and
//! with it its heartbeats. From then on the nodes show each other that they are there, once for all the groups
//! that rest between them. Whatever happens ends the rest of all: something to do, a member that comes, goes or
//! falls silent, another term.
//!
//! Raft's safety asks nothing of its clocks, so that whatever is wrong here can only cost time. What is to be
//! right is that nobody rests whom no leader would wake: a follower rests only with the leader of its term and
//! at the same last entry, and only as long as it hears from that leader's node; a leader rests only as long as
//! it hears from all; and a rest ends after [`LONGEST`] in any case. A follower that was woken lets its clock run
//! only once the leader had the time for a heartbeat: else it would stand for election against a leader that is
//! well. After CockroachDB's quiescence of ranges.

mod machine;
#[cfg(test)]
mod tests;

pub(crate) use machine::{Event, Facts, Message, Output, Quiesce, Timing, Watch, millis};
