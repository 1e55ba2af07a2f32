//! What producer and consumer say to each other to start a subscription.
//!
//! The consumer opens a stream and asks; the producer accepts, and from then on sends
//! [records](super::record) while the consumer sends [`Ack`]s; or it refuses with a number and a reason.

use serde::{Deserialize, Serialize};

use super::credit::Ack;
use crate::id::TopicId;

/// Largest message of a subscription, in bytes: a schema and some words.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024;
/// Largest sequence number that is believed: no producer gets there by counting.
pub(crate) const MAX_SEQUENCE: u64 = 1 << 62;
/// Longest reason that is sent, in bytes.
const MAX_REASON: usize = 2048;

/// From consumer to producer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ConsumerMessage {
    /// The first message of a subscription.
    Subscribe(Subscribe),
    /// The first and only message of a tool that wants to know what a topic looks like.
    Describe {
        /// Which topic.
        topic: TopicId,
    },
    /// While the subscription runs.
    Ack(Ack),
}

/// Asks for a topic's datums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subscribe {
    /// Which topic.
    pub(crate) topic: TopicId,
    /// Names the consumer among those of its peer, across reconnects.
    pub(crate) consumer: u64,
    /// What the consumer takes the datums for; without it they are not checked.
    pub(crate) schema: Option<Vec<u8>>,
    /// Which datums.
    pub(crate) filter: Filter,
    /// Where to go on.
    pub(crate) resume: Option<Position>,
    /// Bytes of records that may be sent at once.
    pub(crate) limit: u64,
}

/// Which of a topic's datums a consumer wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Filter {
    /// All of them.
    #[default]
    All,
}

/// A place in a topic's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Which life of the producer.
    pub(crate) epoch: u64,
    /// Sequence number of the next datum wanted.
    pub(crate) next: u64,
}

/// From producer to consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProducerMessage {
    /// Records follow.
    Accept(Accept),
    /// No.
    Refuse {
        /// A close code's number.
        code: u32,
        /// The reason in words.
        reason: String,
    },
    /// The life of the producer that the consumer was at is over.
    Over {
        /// Sequence number behind its last datum.
        next: u64,
    },
    /// What the topic looks like.
    Description {
        /// Its name.
        name: String,
        /// Its schema, when it is known.
        schema: Option<Vec<u8>>,
    },
}

/// A subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accept {
    /// Which life of the producer.
    pub(crate) epoch: u64,
    /// Sequence number of the first datum that will be sent.
    pub(crate) first: u64,
    /// Datums after which the producer wants an acknowledgement.
    pub(crate) ack_every: u64,
}

impl Position {
    /// Datums that lie between the position asked for and this one: those that the consumer missed.
    pub(crate) fn missed_since(&self, resume: Option<Self>) -> u64 {
        match resume {
            Some(resume) if resume.epoch == self.epoch => self.next.saturating_sub(resume.next),
            _ => 0,
        }
    }
}

/// A reason short enough to send.
pub(crate) fn reason(text: &str) -> String {
    let mut end = text.len().min(MAX_REASON);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_counted_within_one_life_of_the_producer() {
        let at = |epoch, next| Position { epoch, next };
        assert_eq!(at(1, 10).missed_since(None), 0);
        assert_eq!(at(1, 10).missed_since(Some(at(1, 10))), 0);
        assert_eq!(at(1, 10).missed_since(Some(at(1, 4))), 6);
        assert_eq!(at(1, 10).missed_since(Some(at(2, 4))), 0);
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        assert_eq!(reason("é").len(), 2);
        assert!(reason(&"é".repeat(5000)).len() <= MAX_REASON);
    }
}
