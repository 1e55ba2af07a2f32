//! Groups: members that agree on one log, and on the state that follows from it.
//!
//! Not offered to users yet. What decides is in `proto`, with its proofs. [`storage`] keeps the logs of all
//! groups of a node and knows nothing of consensus; [`raft`] is the only place that knows openraft, whose types
//! never leave it. What acts on them is to come.
#![cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "nothing acts on the protocols of groups yet"
    )
)]

mod proto;
mod raft;
mod storage;
