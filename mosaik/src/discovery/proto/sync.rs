//! Anti-entropy: two peers bring their catalogs together.
//!
//! Both say [`Message::Hello`] with a [`Digest`] of all they hold. Where buckets differ, each sends its
//! entries of those buckets, in batches, and then [`Message::Done`]; equal catalogs have exchanged one
//! small frame each way. A hello also holds the entry under which the other side is buried here, if it
//! is, so that a live peer that was taken for dead hears of it and signs a newer one; the entry rather
//! than its version, so that nobody is made to believe in versions that he never signed. Burials are
//! hearsay to the other side: it looks for itself.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Time,
    entry::{MAX_ENTRY, Record, SignedEntry, Version},
    millis,
};
use crate::id::PeerId;

/// Entries of a batch stop being added at this many bytes: 192 KiB.
pub(crate) const BATCH: usize = 192 * 1024;
/// Most entries in a batch.
pub(crate) const MAX_BATCH_ENTRIES: usize = 2048;
/// Most burials that an exchange tells of, the latest first: the other side probes whom it has not
/// buried itself.
pub(crate) const MAX_GONE: usize = 32;
/// Parts that a catalog's digest is made of, by the first byte of the peer id.
pub(crate) const BUCKETS: usize = 256;

// A batch that is one entry over its size still fits the 256 KiB it may have.
const _: () = assert!(BATCH + MAX_ENTRY <= 256 * 1024);

/// A digest of a set of entries, equal for equal sets: per bucket the exclusive or of their
/// fingerprints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Digest(Vec<u64>);

impl Default for Digest {
    fn default() -> Self {
        Self(vec![0; BUCKETS])
    }
}

impl Digest {
    /// Adds an entry, or takes it away again.
    pub(crate) fn toggle(&mut self, record: &Record) {
        self.0[bucket(&record.peer())] ^= record.fingerprint();
    }

    /// Whether a peer is in a bucket in which the two differ. Digests of a strange length, which no
    /// peer of this version makes, differ everywhere.
    fn differs_at(&self, other: &Self, peer: &PeerId) -> bool {
        self.0.get(bucket(peer)) != other.0.get(bucket(peer))
    }
}

fn bucket(peer: &PeerId) -> usize {
    usize::from(peer.as_bytes()[0])
}

/// An entry and how long ago its version increased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aged {
    /// The entry.
    pub(crate) entry: SignedEntry,
    /// Its age in milliseconds, as its sender knows it.
    pub(crate) age_millis: u64,
}

impl Aged {
    /// The entry's age.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.age_millis)
    }
}

/// What the two sides say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// First, from both.
    Hello {
        /// Digest of all that the sender holds.
        digest: Digest,
        /// The entry under which the receiver is buried at the sender.
        buried: Option<SignedEntry>,
    },
    /// Some entries.
    Batch(Vec<Aged>),
    /// Peers that the sender has buried, and the versions under which it did.
    Gone(Vec<(PeerId, Version)>),
    /// There are no more.
    Done,
}

/// What one side holds, frozen when the exchange begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// When it was frozen.
    pub(crate) at: Time,
    /// The entries with their births.
    pub(crate) entries: BTreeMap<PeerId, (Arc<Record>, Time)>,
    /// Digest of the entries.
    pub(crate) digest: Digest,
    /// The entry under which the other side is buried here.
    pub(crate) buried: Option<SignedEntry>,
    /// Who else is buried here, the latest first, and under which version.
    pub(crate) gone: Vec<(PeerId, Version)>,
}

/// What an exchange is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// This side begins.
    Begin,
    /// The other side said something.
    Received(Message),
}

/// What an exchange wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send this.
    Send(Message),
    /// Send these batches, then [`Message::Gone`] if there are such peers, and [`Message::Done`].
    Stream {
        /// The peers whose entries go into each batch.
        batches: Vec<Vec<PeerId>>,
        /// Who is buried here, and under which version.
        gone: Vec<(PeerId, Version)>,
    },
    /// Merge these entries.
    Merge(Vec<Aged>),
    /// The other side has buried these peers under these versions.
    Suspect(Vec<(PeerId, Version)>),
    /// We are buried at the other side under this entry: if it is ours, sign a newer one.
    Refute(SignedEntry),
    /// All is received.
    Finished,
    /// The other side broke the protocol.
    Abort(&'static str),
}

/// One exchange, from one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    greeted: bool,
    heard: bool,
    told: bool,
    finished: bool,
}

impl Exchange {
    /// An exchange in which nothing was said yet.
    pub(crate) fn new() -> Self {
        Self {
            greeted: false,
            heard: false,
            told: false,
            finished: false,
        }
    }

    /// Takes in a fact.
    pub(crate) fn handle(&mut self, input: Input, holdings: &Holdings, out: &mut Vec<Output>) {
        match input {
            Input::Begin => self.greet(holdings, out),
            Input::Received(Message::Hello { digest, buried }) if !self.heard => {
                self.heard = true;
                self.greet(holdings, out);
                if let Some(entry) = buried {
                    out.push(Output::Refute(entry));
                }
                if digest == holdings.digest {
                    self.finished = true;
                    out.push(Output::Finished);
                } else {
                    out.push(Output::Stream {
                        batches: batches(holdings, &digest),
                        gone: gone(holdings, &digest),
                    });
                }
            }
            Input::Received(Message::Batch(entries)) if self.heard && !self.finished => {
                if entries.len() > MAX_BATCH_ENTRIES {
                    out.push(Output::Abort("too many entries in a batch"));
                } else {
                    out.push(Output::Merge(entries));
                }
            }
            Input::Received(Message::Gone(gone)) if self.heard && !self.finished => {
                if gone.len() > MAX_GONE || std::mem::replace(&mut self.told, true) {
                    out.push(Output::Abort("too many burials"));
                } else {
                    out.push(Output::Suspect(gone));
                }
            }
            Input::Received(Message::Done) if self.heard && !self.finished => {
                self.finished = true;
                out.push(Output::Finished);
            }
            Input::Received(_) => out.push(Output::Abort("message out of order")),
        }
    }

    fn greet(&mut self, holdings: &Holdings, out: &mut Vec<Output>) {
        if !self.greeted {
            self.greeted = true;
            out.push(Output::Send(Message::Hello {
                digest: holdings.digest.clone(),
                buried: holdings.buried.clone(),
            }));
        }
    }
}

impl Holdings {
    /// The batch of these peers' entries, aged to `now`.
    pub(crate) fn batch(&self, peers: &[PeerId], now: Time) -> Message {
        let entries = peers.iter().filter_map(|peer| self.entries.get(peer));
        let aged = entries.map(|(record, born)| Aged {
            entry: record.signed().clone(),
            age_millis: millis(now.since(*born)),
        });
        Message::Batch(aged.collect())
    }
}

/// The peers to send, cut so that each batch's entries stay within its limits.
fn batches(holdings: &Holdings, theirs: &Digest) -> Vec<Vec<PeerId>> {
    let mut batches = Vec::new();
    let (mut batch, mut size) = (Vec::new(), 0);
    for (peer, (record, _)) in &holdings.entries {
        if !holdings.digest.differs_at(theirs, peer) {
            continue;
        }
        batch.push(*peer);
        size += record.signed().len();
        if size >= BATCH || batch.len() == MAX_BATCH_ENTRIES {
            batches.push(std::mem::take(&mut batch));
            size = 0;
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// The burials to tell of: where buckets are equal, the other side does not hold who is buried here.
fn gone(holdings: &Holdings, theirs: &Digest) -> Vec<(PeerId, Version)> {
    let gone = holdings.gone.iter();
    let differ = gone.filter(|(peer, _)| holdings.digest.differs_at(theirs, peer));
    differ.take(MAX_GONE).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::{super::entry::tests::*, *};

    fn holdings(peers: impl IntoIterator<Item = u8>) -> Holdings {
        let mut holdings = Holdings::default();
        for n in peers {
            let record = Arc::new(record(n, 1, 0, false));
            holdings.digest.toggle(&record);
            holdings.entries.insert(record.peer(), (record, Time(0)));
        }
        holdings
    }

    fn sent(out: &[Output]) -> Vec<Message> {
        let sent = out.iter().filter_map(|output| match output {
            Output::Send(message) => Some(message.clone()),
            _ => None,
        });
        sent.collect()
    }

    /// Runs both sides; returns frames and entries that each sent.
    fn exchange(a: &Holdings, b: &Holdings) -> [(usize, usize); 2] {
        let mut sides = [(Exchange::new(), a), (Exchange::new(), b)];
        let mut counts = [(0, 0); 2];
        let mut finished = [false; 2];
        let mut inbox = vec![(0, Input::Begin)];
        while let Some((at, input)) = inbox.pop() {
            let (exchange, holdings) = &mut sides[at];
            let mut out = Vec::new();
            exchange.handle(input, holdings, &mut out);
            let mut frames = sent(&out);
            for output in out {
                match output {
                    Output::Stream { batches, gone } => {
                        let batches = batches.iter().map(|b| holdings.batch(b, Time(9)));
                        let gone = Some(Message::Gone(gone));
                        frames.extend(batches.chain(gone).chain([Message::Done]));
                    }
                    Output::Finished => finished[at] = true,
                    Output::Abort(why) => panic!("{why}"),
                    Output::Send(_) | Output::Merge(_) | Output::Suspect(_) | Output::Refute(_) => {
                    }
                }
            }
            for frame in frames.into_iter().rev() {
                counts[at].0 += 1;
                if let Message::Batch(entries) = &frame {
                    counts[at].1 += entries.len();
                    assert!(entries.iter().all(|aged| aged.age_millis == 9));
                }
                inbox.push((1 - at, Input::Received(frame)));
            }
        }
        assert_eq!(finished, [true; 2]);
        counts
    }

    #[test]
    fn equal_catalogs_exchange_one_frame_each_way() {
        assert_eq!(exchange(&holdings(1..9), &holdings(1..9)), [(1, 0); 2]);
        assert_eq!(exchange(&holdings([]), &holdings([])), [(1, 0); 2]);
    }

    #[test]
    fn only_buckets_that_differ_are_sent() {
        let [(_, from_a), (_, from_b)] = exchange(&holdings(1..40), &holdings(1..41));
        assert!((1..10).contains(&from_b), "{from_b}");
        assert_eq!(from_b, from_a + 1);
        assert_eq!(exchange(&holdings(1..9), &holdings([]))[0].1, 8);
    }

    #[test]
    fn burials_are_told_of_where_catalogs_differ() {
        let (mut a, b) = (holdings(1..4), holdings(1..6));
        let buried = |n: u8| (key(n).peer(), record(n, 1, 0, false).version());
        a.gone = vec![buried(5), buried(3), buried(4)];
        let theirs = Input::Received(Message::Hello {
            digest: b.digest.clone(),
            buried: None,
        });
        let mut out = Vec::new();
        Exchange::new().handle(theirs, &a, &mut out);
        let [Output::Send(_), Output::Stream { gone, .. }] = &out[..] else {
            panic!("{out:?}");
        };
        assert_eq!(gone, &[buried(5), buried(4)]);
        // The other side takes no more than a few.
        let mut exchange = Exchange::new();
        exchange.handle(Input::Begin, &b, &mut Vec::new());
        let digest = a.digest.clone();
        let hello = Message::Hello {
            digest,
            buried: None,
        };
        exchange.handle(Input::Received(hello), &b, &mut Vec::new());
        let mut told = |count| {
            let mut out = Vec::new();
            let gone = Message::Gone(vec![buried(5); count]);
            exchange.handle(Input::Received(gone), &b, &mut out);
            out
        };
        assert!(matches!(told(MAX_GONE + 1)[..], [Output::Abort(_)]));
        assert!(matches!(told(MAX_GONE)[..], [Output::Suspect(_)]));
        assert!(matches!(told(1)[..], [Output::Abort(_)]));
    }

    #[test]
    fn what_is_out_of_order_aborts() {
        let mut exchange = Exchange::new();
        let holdings = holdings([1]);
        for message in [Message::Done, Message::Batch(vec![]), Message::Gone(vec![])] {
            let mut out = Vec::new();
            exchange.handle(Input::Received(message), &holdings, &mut out);
            assert!(matches!(out[..], [Output::Abort(_)]));
        }
        let strange = Message::Hello {
            digest: Digest(vec![]),
            buried: None,
        };
        let mut out = Vec::new();
        exchange.handle(Input::Received(strange.clone()), &holdings, &mut out);
        let begun = matches!(out[..], [Output::Send(_), Output::Stream { .. }]);
        assert!(begun, "{out:?}");
        out.clear();
        exchange.handle(Input::Received(strange), &holdings, &mut out);
        assert!(matches!(out[..], [Output::Abort(_)]));
    }
}
