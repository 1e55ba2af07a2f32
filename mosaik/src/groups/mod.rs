//! Groups: members that agree on one log, and on the state that follows from it.
//!
//! Not offered to users yet. What decides is here, in `proto`, with its proofs; what acts on it is to come.
#![cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "nothing acts on the protocols of groups yet"
    )
)]

mod proto;
