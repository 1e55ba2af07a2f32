//! Clients: commands and queries from nodes that hold no replica.
//!
//! A client opens one stream to one member, which answers its queries and passes its commands on to the leader. So a
//! client needs to reach any one member, whoever leads. It prefers the leader all the same, which saves each command
//! a hop, and goes elsewhere when its member is gone, or has been without a leader for a moment.
//!
//! Nobody counts clients, or waits for them: they are no members and have no bonds. A client proves in the first
//! message of its stream that it knows the group's key, and the member in its answer. Session and sequence go with
//! each command from the client to the log, so that a command is applied once, through whichever members it is sent.
//!
//! [`choice`] decides whom to connect to, [`connector`] does it, [`serve`] is what a member does for a client.

mod choice;
mod connected;
mod connector;
mod message;
mod serve;

pub(super) use connected::{Connected, close};
pub(super) use connector::{Connector, Remote};
pub(super) use message::{Answer, Answered, End, Standing, Unanswered, Version, proof};
pub(super) use serve::{Clients, Standings};
