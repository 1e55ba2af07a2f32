//! Operations: what those ask of members who look after a group, without taking part in it.
//!
//! An operator opens a stream of its own, on a connection that bonds may use as well, and needs neither a bond nor the
//! group's state machine. Looking is for any node that was admitted to the network; an order has to
//! prove that who gives it knows the group's key.
//!
//! [`report`] is what a member says of a group, [`ask`] asks for it, [`recover`] has a member recover, [`export`]
//! carries its state to the operator, [`import`] one from there into the group, [`file`] is the state in a file, and
//! [`serve`] is what a member does for all that.

mod ask;
mod export;
mod file;
mod import;
mod message;
mod recover;
mod report;
mod serve;

pub use ask::Unanswered;
pub use export::{ExportError, Exporting, NoExport};
pub use file::{Export, ExportFileError, ExportHeader};
pub use import::{ImportError, ImportStep, Importing, NoImport};
pub use recover::RecoverAtError;
pub use report::{GroupReport, MemberReport, MemberRole, Part, Place, ReportError};
pub(super) use serve::{Orders, obey, report};
