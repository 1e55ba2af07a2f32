//! Operations: what those ask of members who look after a group, without taking part in it.
//!
//! An operator opens a stream of its own, on a connection that bonds may use as well, and needs neither a bond nor the
//! group's state machine. Looking is for any node that was admitted to the network.
//!
//! [`report`] is what a member says of a group, [`ask`] asks for it, [`serve`] answers.

mod ask;
mod message;
mod report;
mod serve;

pub use ask::Unanswered;
pub use report::{GroupReport, MemberReport, MemberRole, Part, Place, ReportError};
pub(super) use serve::report;
