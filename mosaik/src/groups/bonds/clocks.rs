//! What the clocks of other nodes show: one question and answer a connection, for all groups.
//!
//! Clocks belong to nodes. Each is asked when its connection opens, and every [`EVERY`] from then on if it
//! takes part in a group as a writer. What it told is kept together with the moment on the monotonic clock, so
//! that an own clock that jumps is noticed at the next look, without asking anybody; what is known of a node
//! stays when its connection is gone, since its clock goes on.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Bonds, Control};
use crate::{
    groups::proto::clock::{Offset, Reading},
    id::PeerId,
    rt::{self, Instant, lock},
};

/// How often a peer is asked what its clock shows: a clock of another that jumps is noticed within this.
const EVERY: Duration = Duration::from_secs(10);
/// Peers whose clocks are remembered; of more, who was asked longest ago is forgotten.
const MAX_PEERS: usize = 4096;

/// What two nodes say to each other about their clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// What does the receiver's clock show?
    Ask {
        /// The number of the question.
        question: u64,
    },
    /// What the sender's clock shows.
    Tell {
        /// The question that it answers.
        question: u64,
        /// Milliseconds since 1970.
        now: u64,
    },
}

/// What is known of the clocks of other nodes. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    known: Arc<Mutex<BTreeMap<PeerId, Known>>>,
}

#[derive(Debug)]
struct Known {
    /// The last question, and when it was asked.
    question: u64,
    asked: Instant,
    /// What was told last, and when.
    told: Option<(Reading, Instant)>,
}

impl Clocks {
    /// A question to a peer. Answers to earlier ones do not count any more.
    pub(super) fn ask(&self, peer: PeerId) -> Control {
        let mut all = lock(&self.known);
        if all.len() >= MAX_PEERS && !all.contains_key(&peer) {
            let oldest = all.iter().min_by_key(|(_, known)| known.asked);
            let oldest = oldest.map(|(peer, _)| *peer);
            if let Some(oldest) = oldest {
                all.remove(&oldest);
            }
        }
        let asked = rt::now();
        let known = all.entry(peer).or_insert(Known {
            question: 0,
            asked,
            told: None,
        });
        known.question += 1;
        known.asked = asked;
        Control::Clock(Message::Ask {
            question: known.question,
        })
    }

    /// A peer has said something; returns what to answer.
    pub(super) fn received(&self, peer: PeerId, message: Message) -> Option<Control> {
        match message {
            Message::Ask { question } => Some(Control::Clock(Message::Tell {
                question,
                now: rt::unix_millis(),
            })),
            Message::Tell { question, now } => {
                let arrived = rt::now();
                let mut all = lock(&self.known);
                let known = all.get_mut(&peer)?;
                if known.question == question {
                    let reading = Reading::new(now, arrived.duration_since(known.asked));
                    known.told = Some((reading, arrived));
                    // Nobody answers twice.
                    known.question += 1;
                }
                None
            }
        }
    }

    /// How far the clocks of these peers are ahead of the own, which shows `mine`; of each, if it is known.
    pub(crate) fn offsets(
        &self,
        peers: impl IntoIterator<Item = PeerId>,
        mine: u64,
    ) -> Vec<Option<Offset>> {
        let now = rt::now();
        let all = lock(&self.known);
        let offset = |peer: PeerId| {
            let (reading, at) = all.get(&peer)?.told?;
            Some(reading.ahead_of(mine, now.duration_since(at)))
        };
        peers.into_iter().map(offset).collect()
    }
}

/// Asks the peers that matter again and again, as long as the network.
pub(super) async fn run(bonds: Bonds) {
    loop {
        rt::sleep(EVERY).await;
        for line in bonds.writers() {
            line.tell(bonds.clocks().ask(line.connection.peer()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    fn question(asked: &Control) -> u64 {
        match asked {
            Control::Clock(Message::Ask { question }) => *question,
            other => panic!("no question: {other:?}"),
        }
    }

    /// How far peer 1 is ahead of a clock that shows 1000.
    fn offset(clocks: &Clocks) -> Option<(i64, i64)> {
        let offset = clocks.offsets([peer(1)], 1000)[0]?;
        Some((offset.least, offset.most))
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_answer_to_the_last_question_counts_and_once() {
        let clocks = Clocks::default();
        let tell = |question, now| {
            let answer = clocks.received(peer(1), Message::Tell { question, now });
            assert_eq!(answer, None);
        };
        tell(1, 9000);
        assert_eq!(offset(&clocks), None, "nobody asked");
        let first = question(&clocks.ask(peer(1)));
        let second = question(&clocks.ask(peer(1)));
        tell(first, 9000);
        assert_eq!(offset(&clocks), None, "another was asked since");
        tokio::time::advance(Duration::from_millis(100)).await;
        tell(second, 3000);
        assert_eq!(offset(&clocks), Some((1998, 2102)));
        tell(second, 9000);
        assert_eq!(offset(&clocks), Some((1998, 2102)), "it was answered");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(offset(&clocks), Some((11_988, 12_112)), "it goes on");
        assert_eq!(clocks.offsets([peer(2)], 0), [None]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_is_answered_by_its_number() {
        let clocks = Clocks::default();
        let before = rt::unix_millis();
        let answer = clocks.received(peer(1), Message::Ask { question: 7 });
        let Some(Control::Clock(Message::Tell { question: 7, now })) = answer else {
            panic!("no answer: {answer:?}");
        };
        assert!((before..=rt::unix_millis()).contains(&now));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_peers_is_bounded() {
        let clocks = Clocks::default();
        for n in 0..=MAX_PEERS {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            clocks.ask(PeerId::from_bytes(bytes));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let known = lock(&clocks.known);
        assert_eq!(known.len(), MAX_PEERS);
        assert!(!known.contains_key(&peer(0)), "the oldest is forgotten");
    }
}
