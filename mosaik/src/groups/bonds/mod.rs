//! Bonds: one authenticated connection a peer pair, for all the groups that the two share.
//!
//! A node dials every peer whose catalog entry names one of its groups. On each connection there is one control
//! stream, on which both say which groups they take part in and as which boot, proved by the group's key and
//! the session; only then is a member *bonded*. Every other stream begins with a header that names group,
//! charter, sender and receiver, so that nothing of another charter or boot is ever taken for one's own.

mod admission;
mod beats;
mod clocks;
mod dial;
mod flush;
mod idle;
pub(super) mod message;
mod presences;
mod serve;
mod table;

pub(super) use beats::Watched;
pub(super) use clocks::Clocks;
pub(super) use dial::OpenError;
pub(super) use message::{
    Control, Farewell, GroupHeader, Header, Kind, Presence, Report, Testament, proof,
};
pub(super) use table::{Bonds, Line};
