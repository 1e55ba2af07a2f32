//! openraft, wrapped: its types are named here and nowhere else.
//!
//! [`types`] is its configuration of types, [`runtime`] what it runs on, [`log`] its view of a group's log, and
//! [`machine`] of the state that the log's entries are applied to. [`network`] and [`serve`] are
//! its network over the connections of a node, the calling and the answering side, with [`pipeline`] for
//! entries, [`snapshot`] for snapshots and [`turns`] for who comes when; what goes over the wire, and what of it is believed, is in
//! [`wire`]. [`compact`] has it make snapshots. [`node`] is what others see of it all, and [`core`] is openraft without
//! the type of its state machine.

mod compact;
mod core;
mod heard;
mod log;
mod machine;
mod network;
mod node;
mod pipeline;
mod pulse;
mod runtime;
mod serve;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod turns;
mod types;
mod untold;
mod wire;

pub(crate) use log::RaftLog;
pub(crate) use machine::{Applied, Progress as MachineStatus, RaftMachine};
pub(crate) use network::{LineError, Lines, Purpose, Slots};
pub(crate) use node::{ChangeError, Config, Node, ProposeError, ReadError};
pub(crate) use serve::serve;
pub(crate) use status::{Role, Status};
pub(crate) use types::Proposal;
