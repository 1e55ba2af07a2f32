//! What stands in the log of a group: items of many clients, proposed together.

use std::marker::PhantomData;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::import::{Step, Taken};
use crate::{
    groups::proto::{
        blob::Blob,
        founding::charter::Charter,
        session::{Request, SessionId},
    },
    id::PeerId,
    wire::{self, DecodeError, EncodeError},
};

/// The format of entries that this version writes and reads.
pub(crate) const ENTRY_FORMAT: u8 = 1;
/// Items of an entry.
pub(crate) const MAX_ITEMS: usize = 4096;
/// Commands of a batch.
pub(crate) const MAX_COMMANDS: u32 = 65_536;

/// An entry of a log, encoded in the format [`ENTRY_FORMAT`]. `B` are the bytes of its commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "B: Deserialize<'de>"))]
pub(crate) struct Entry<B = Bytes> {
    /// The leader's clock, in milliseconds since 1970; 0 if that is wrong.
    pub(crate) now: u64,
    /// For how long it has led since it said so last, in milliseconds.
    pub(crate) uptime: u64,
    /// What the leader's state answered up to some entry.
    pub(crate) check: Option<Check>,
    /// At most [`MAX_ITEMS`], applied in this order.
    #[serde(deserialize_with = "items")]
    pub(crate) items: Vec<Item<B>>,
}

/// A digest of all answers up to an entry: the same on all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Check {
    /// The entry's index.
    pub(crate) at: u64,
    /// The digest.
    pub(crate) digest: [u8; 32],
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Item<B = Bytes> {
    /// A client of `peer` opens a session.
    Open {
        /// The peer.
        peer: PeerId,
    },
    /// The client of a session is gone.
    Close {
        /// The session.
        session: SessionId,
    },
    /// A batch of a session, applied contiguously, as a whole and once.
    Commands {
        /// Which of the session's.
        request: Request,
        /// How many commands, at most [`MAX_COMMANDS`].
        count: u32,
        /// They, one after the other.
        commands: B,
    },
    /// Another charter of the group was met, and one of the two lives on.
    Verdict {
        /// Which.
        winner: Box<Charter>,
    },
    /// A batch that may have been applied shall not be, unless it was.
    Withdraw {
        /// The batch.
        request: Request,
    },
    /// A state comes from outside.
    Import(Box<Step>),
}

/// What an item gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ItemReply {
    /// The session is open.
    Opened(SessionId),
    /// There are too many sessions; none was opened.
    TooManySessions,
    /// The session is closed.
    Closed,
    /// The batch is applied, now or before: the outputs, one after the other.
    Applied(Blob),
    /// The batch was undone and never will be applied.
    Panicked {
        /// The command's place in the batch.
        command: u32,
        /// What it said.
        message: String,
    },
    /// The batch was applied before, and the client had its outputs.
    Answered,
    /// The session is not known. Whether the batch was applied before nobody knows; it was not applied now.
    Expired,
    /// The client is further ahead of its answers than it may be. The batch was not applied.
    Ahead,
    /// Another charter lives on. The batch was not applied, or no session opened.
    Superseded,
    /// The verdict is part of the log.
    Verdict,
    /// The batch was not applied, and never will be.
    Withdrawn,
    /// What became of a step of an import.
    Import(Taken),
}

impl ItemReply {
    /// Bytes of the outputs.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Applied(outputs) => outputs.len(),
            _ => 0,
        }
    }
}

impl Item {
    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        let bytes = match self {
            Self::Commands { commands, .. } => commands.len(),
            Self::Verdict { winner } => winner.founders.len() * size_of::<PeerId>() * 2,
            Self::Import(step) => size_of::<Step>() + step.len(),
            Self::Open { .. } | Self::Close { .. } | Self::Withdraw { .. } => 0,
        };
        size_of::<Self>() + bytes
    }
}

impl Entry {
    /// As it is proposed.
    pub(crate) fn encode(&self) -> Result<Bytes, EncodeError> {
        let size: usize = self.items.iter().map(Item::size).sum();
        let mut bytes = Vec::with_capacity(size_of::<Self>() + size);
        wire::encode_onto(self, &mut bytes)?;
        // It is kept for as long as the log is.
        bytes.shrink_to_fit();
        Ok(bytes.into())
    }
}

impl<'a> Entry<&'a [u8]> {
    /// What was proposed: its commands stay where they are.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        wire::decode(bytes)
    }
}

impl ItemReply {
    /// Appends it as it is kept, and sent.
    pub(crate) fn encode_onto(&self, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        wire::encode_onto(self, bytes)
    }

    /// What was kept.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        wire::decode(bytes)
    }
}

/// Decodes no more items than an entry may have: an item takes more memory than its bytes.
fn items<'de, D, B>(deserializer: D) -> Result<Vec<Item<B>>, D::Error>
where
    D: Deserializer<'de>,
    B: Deserialize<'de>,
{
    struct Items<B>(PhantomData<B>);
    impl<'de, B: Deserialize<'de>> de::Visitor<'de> for Items<B> {
        type Value = Vec<Item<B>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_ITEMS} items")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let len = seq.size_hint().unwrap_or(0);
            let mut items = Vec::with_capacity(len.min(MAX_ITEMS));
            while let Some(item) = seq.next_element()? {
                if items.len() == MAX_ITEMS {
                    return Err(de::Error::invalid_length(MAX_ITEMS + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    deserializer.deserialize_seq(Items(PhantomData))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(items: usize) -> Entry {
        let open = Item::Open {
            peer: PeerId::from_bytes([1; 32]),
        };
        Entry {
            now: 1,
            uptime: 2,
            check: Some(Check {
                at: 3,
                digest: [4; 32],
            }),
            items: vec![open; items],
        }
    }

    #[test]
    fn items_are_bounded() {
        let most = entry(MAX_ITEMS);
        let encoded = most.encode().unwrap();
        let decoded = Entry::decode(&encoded).unwrap();
        assert_eq!(decoded.items.len(), MAX_ITEMS);
        assert_eq!(wire::encode(&decoded).unwrap(), encoded);
        let more = entry(MAX_ITEMS + 1).encode().unwrap();
        assert!(Entry::decode(&more).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_it(bytes: Vec<u8>) {
            drop(Entry::decode(&bytes));
            drop(ItemReply::decode(&bytes));
        }
    }
}
