//! Groups: members that agree on one log, and on the state that follows from it.
//!
//! A state machine is replicated to every member; a command is acknowledged once a majority of the voters has
//! it, and is applied exactly once everywhere, in one order. The members find each other and agree on who founds
//! the group by themselves; Raft takes it from there.
//!
//! # What is promised
//! With two founders or more: an acknowledged command is never lost, undone or applied twice; a query sees every
//! command acknowledged before it; a minority never acknowledges anything, unless an operator says so by
//! [`Group::recover`], or the group declares [`Options::recover_after`]. With one founder, the default, two nodes that
//! do not see each other found two groups, and a group in memory whose quorum was gone for ten seconds goes on with
//! what is left: that is for development, and a warning says so.
//!
//! # Where to look
//! - [`Groups`] are the groups of a node, from [`Network::groups`](crate::Network::groups); its
//!   [`builder`](Groups::builder) holds the options.
//! - [`macro@crate::group`] declares a group on its state; [`StateMachine`] is a state written by hand.
//! - [`Group`] is a handle: commands, queries, conditions, events, and an explanation of what it waits for.
//! - [`Groups::report`] asks the members of any group how it is doing, for whoever looks after it.
//! - [`GroupClient`] is the same for a node that holds no replica.

mod answering;
mod batching;
mod bonds;
mod call;
mod caller;
mod client;
mod clock;
mod condition;
mod declared;
mod driver;
mod error;
mod event;
mod execution;
mod follow;
mod forward;
mod front;
mod gate;
mod group;
mod group_client;
mod handle;
mod machine;
mod notes;
mod operate;
mod options;
mod packed;
mod pending;
mod progress;
mod proposer;
mod proto;
mod raft;
mod reads;
mod remote;
mod replica;
mod route;
mod shared;
mod status;
mod storage;

#[doc(hidden)]
pub use call::{Batch, BatchOfAtMostTwelve};
pub use condition::{Condition, When};
pub use declared::DeclaredGroup;
pub use error::{GroupError, RecoverError, Refusal, TransferError, Unavailable, Unsupported};
pub use event::{Event, Events};
pub use group::{Group, Member, Version};
pub use group_client::GroupClient;
pub use handle::{GroupBuilder, Groups};
pub use machine::{Application, Ctx, StateMachine};
#[doc(hidden)]
pub use machine::{AskError, Here, Interface, Reply, Unencodable, Unknown, number};
pub use operate::{
    Export, ExportError, ExportFileError, ExportHeader, Exporting, GroupReport, ImportError,
    ImportStep, Importing, MemberReport, MemberRole, NoExport, NoImport, Part, Place,
    RecoverAtError, ReportError, Unanswered,
};
pub use options::{Durability, Options, Preference};
pub use pending::Pending;
pub use status::GroupExplanation;

pub(crate) use caller::{append, decode_all};
pub(crate) use handle::Config;
pub(crate) use options::setters;
