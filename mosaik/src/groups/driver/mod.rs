//! Acts for one group on one node.
//!
//! One task: it does what [founding](super::proto::founding) wants done, runs or follows the replica, carries out
//! what the [roster](super::proto::roster) plans while this member leads, and tells the handles how it goes.

mod clock;
mod conflict;
mod describe;
mod news;
mod part;
mod recover;
mod rest;
mod run;
mod running;
mod seats;
mod versions;

pub(super) use run::{Driver, Ending, MakeMachine, Parts, Stop};
