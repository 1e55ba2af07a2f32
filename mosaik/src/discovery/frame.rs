//! What goes over a discovery connection.
//!
//! The first frame on a stream says what the stream is for. Gossip streams stay open and carry one
//! direction only, each end having its own, so that two peers that become neighbours at once need no
//! agreement on whose stream stands. All others end with their answer.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::proto::{
    entry::SignedEntry,
    sync::{Aged, Message},
};
use crate::{id::PeerId, transport::Link};

/// Largest frame of discovery, in bytes: 320 KiB, a full batch of a sync with room to spare.
pub(super) const MAX_FRAME: usize = 320 * 1024;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Frame {
    /// A message of the gossip protocol.
    Gossip(Bytes),
    /// A message of a catalog exchange.
    Sync(Message),
    /// Asks for a peer's entry.
    Fetch(PeerId),
    /// The entry asked for, if it is known.
    Fetched(Option<Aged>),
    /// Asks whether the peer lives.
    Ping,
    /// It does.
    Pong,
    /// The sender leaves; its tombstone.
    Departed(SignedEntry),
}

/// A stream of frames.
pub(super) type FrameLink = Link<Frame, Frame>;
