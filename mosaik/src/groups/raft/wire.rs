//! What the members of a group say to each other about their log, and what of it is refused unread.
//!
//! Payloads of entries follow the head of their frame as they are, so that neither end copies the large
//! ones. Whatever arrives is checked here against what openraft takes for granted.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    groups::{
        machine::Header,
        storage::{Kind, LogId, Record, Vote},
    },
    id::MemberId,
    wire::{self, DecodeError, EncodeError, HEADER_LEN, MAX_FRAME},
};

/// Entries in one frame.
pub(super) const MAX_ENTRIES: usize = 4096;
/// Bytes of payloads at which a frame is full; one entry may be larger.
pub(super) const FULL_FRAME: usize = 1024 * 1024;
/// Payloads that are smaller are copied next to what precedes them, in bytes.
const COPY_BELOW: usize = 8 * 1024;
/// Largest step in which bytes are handed to a stream.
const STEP: usize = 256 * 1024;
/// Largest frame that answers a request, in bytes.
pub(super) const ANSWER_FRAME: usize = 1024;
/// Largest frame of a call, in bytes.
pub(super) const CALL_FRAME: usize = 1024;
/// Largest frame that offers a snapshot, in bytes: there is a membership in it.
pub(super) const OFFER_FRAME: usize = 64 * 1024;
/// Largest frame that carries a chunk of a snapshot, in bytes.
pub(super) const CHUNK_FRAME: usize = 512 * 1024;
/// Terms and indices stay below it, so that nothing a peer sends makes ours overflow.
const MAX_NUMBER: u64 = 1 << 62;

/// Entries to append, and how far the log is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Append {
    /// The vote of the leader.
    pub(super) vote: Vote,
    /// The entry that they follow; none at the beginning of the log.
    pub(super) prev: Option<LogId>,
    /// Everything up to it is committed.
    pub(super) committed: Option<LogId>,
    /// The entries, without a hole.
    pub(super) entries: Vec<Record>,
}

/// The head of a frame with entries; their payloads follow it.
#[derive(Serialize, Deserialize)]
struct Head {
    vote: Vote,
    prev: Option<LogId>,
    committed: Option<LogId>,
    entries: Vec<EntryHead>,
}

#[derive(Serialize, Deserialize)]
struct EntryHead {
    term: u64,
    kind: Kind,
    len: usize,
}

/// What becomes of entries at a follower. Answers come in the order of the requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// They are on its disk.
    Done,
    /// The entry that they follow is another there. The last answer of its stream.
    Conflict,
    /// It follows another leader, or voted for one. The last answer of its stream.
    Higher(Vote),
    /// They have arrived, and are on their way to its disk. Answers nothing.
    Working,
}

/// A call that is answered once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Call {
    /// Asks for a vote.
    Vote {
        /// The candidate's.
        vote: Vote,
        /// The last entry of its log.
        last: Option<LogId>,
        /// Whether the leader wants it.
        transfer: bool,
    },
    /// Asks whether a vote would be given.
    PreVote {
        /// The candidate's.
        vote: Vote,
        /// The last entry of its log.
        last: Option<LogId>,
    },
    /// The leader hands over.
    Transfer {
        /// The leader's.
        vote: Vote,
        /// To whom.
        to: MemberId,
        /// What that must have.
        last: Option<LogId>,
    },
}

/// What a call answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CallAnswer {
    /// To both kinds of votes.
    Vote {
        /// Whom the answerer votes for.
        vote: Vote,
        /// Whether the candidate has the vote, or would have it.
        granted: bool,
        /// The last entry of its log.
        last: Option<LogId>,
    },
    /// It makes way, or stands.
    Accepted,
    /// It follows another already.
    VoteChanged(Vote),
    /// Its log is not there yet.
    Behind(Option<LogId>),
}

/// Offers a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// The vote of the leader.
    pub(super) vote: Vote,
    /// What it is of.
    pub(super) header: Header,
}

/// What the receiver of a snapshot says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum OfferAnswer {
    /// Send it from this chunk on.
    From(u64),
    /// It is being checked and installed.
    Working,
    /// It is installed, or not needed, or refused for a higher vote: the receiver's.
    Done(Vote),
}

/// Bytes on their way to a stream.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    chunks: Vec<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl Outgoing {
    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a frame. Of the entries, those that one has room for; the rest is left.
    pub(super) fn append(&mut self, append: &mut Append) -> Result<Sent, EncodeError> {
        let count = fits(&append.entries);
        let rest = append.entries.split_off(count);
        let entries = std::mem::replace(&mut append.entries, rest);
        let payloads: usize = entries.iter().map(|entry| entry.payload.len()).sum();
        let head = wire::encode(&Head {
            vote: append.vote,
            prev: append.prev,
            committed: append.committed,
            entries: entries.iter().map(EntryHead::of).collect(),
        })?;
        let (len, limit) = (head.len() + payloads, MAX_FRAME);
        let header = u32::try_from(len).map_err(|_| EncodeError::TooLarge { len, limit })?;
        if len > limit {
            return Err(EncodeError::TooLarge { len, limit });
        }
        self.tail.extend_from_slice(&header.to_le_bytes());
        self.tail.extend_from_slice(&head);
        for entry in &entries {
            self.push(&entry.payload);
        }
        self.len += HEADER_LEN + len;
        let prev = append.prev;
        append.prev = entries.last().map(|entry| entry.id).or(prev);
        Ok(Sent {
            prev,
            last: append.prev,
            whole: append.entries.is_empty(),
            bytes: len,
        })
    }

    /// The next bytes to hand over at once; none when all were.
    pub(super) fn step(&mut self) -> Option<Vec<Bytes>> {
        if !self.tail.is_empty() {
            self.chunks.push(self.tail.split().freeze());
        }
        let mut left = STEP;
        let mut count = 0;
        for chunk in &mut self.chunks {
            if chunk.len() > left {
                break;
            }
            left -= chunk.len();
            count += 1;
        }
        let mut step: Vec<Bytes> = self.chunks.drain(..count).collect();
        if let Some(next) = self.chunks.first_mut()
            && left > 0
        {
            step.push(next.split_to(left));
        }
        self.len -= step.iter().map(Bytes::len).sum::<usize>();
        (!step.is_empty()).then_some(step)
    }

    fn push(&mut self, payload: &Bytes) {
        if payload.len() < COPY_BELOW {
            self.tail.extend_from_slice(payload);
        } else {
            self.chunks.push(self.tail.split().freeze());
            self.chunks.push(payload.clone());
        }
    }
}

/// A frame that awaits its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// The entry that it follows.
    pub(super) prev: Option<LogId>,
    /// Its last entry, or the one that it follows.
    pub(super) last: Option<LogId>,
    /// Whether nothing of the request is left.
    pub(super) whole: bool,
    /// Its size.
    pub(super) bytes: usize,
}

/// How many of the entries go into one frame: at least one if there is one.
fn fits(entries: &[Record]) -> usize {
    let mut bytes = 0;
    let full = |entry: &Record| {
        bytes += entry.payload.len();
        bytes > FULL_FRAME
    };
    let fit = entries.iter().take(MAX_ENTRIES).position(full);
    fit.unwrap_or(entries.len().min(MAX_ENTRIES))
        .max(entries.len().min(1))
}

impl EntryHead {
    fn of(entry: &Record) -> Self {
        Self {
            term: entry.id.term,
            kind: entry.kind,
            len: entry.payload.len(),
        }
    }
}

impl Append {
    /// What a frame says. Payloads share its memory.
    pub(super) fn decode(frame: &Bytes) -> Result<Self, Offence> {
        let (head, payloads) = wire::decode_first::<Head>(frame)?;
        if head.entries.len() > MAX_ENTRIES {
            return Err(Offence::TooMany(head.entries.len()));
        }
        let mut at = frame.len() - payloads.len();
        let first = head.prev.map_or(Some(0), |prev| prev.index.checked_add(1));
        let mut index = first.ok_or(Offence::Number(u64::MAX))?;
        let mut entries = Vec::with_capacity(head.entries.len());
        for EntryHead { term, kind, len } in head.entries {
            let end = at.checked_add(len).filter(|end| *end <= frame.len());
            let end = end.ok_or(Offence::Short)?;
            entries.push(Record {
                id: LogId { term, index },
                kind,
                payload: frame.slice(at..end),
            });
            at = end;
            index = index.checked_add(1).ok_or(Offence::Number(index))?;
        }
        if at != frame.len() {
            let extra = frame.len() - at;
            return Err(DecodeError::Trailing { extra }.into());
        }
        Ok(Self {
            vote: head.vote,
            prev: head.prev,
            committed: head.committed,
            entries,
        })
    }

    /// Checks what `from` sent to a member that holds `held`.
    pub(super) fn check(&self, from: MemberId, held: Held) -> Result<(), Offence> {
        check_leader(self.vote, from)?;
        let committed = held.committed_before(self.vote);
        let ids = self.prev.into_iter();
        let ids = ids.chain(self.entries.iter().map(|entry| entry.id));
        let mut term = 0;
        for id in ids.clone() {
            check_id(Some(id))?;
            if id.term < term || id.term > self.vote.term {
                return Err(Offence::Term(id));
            }
            term = id.term;
            contradicts(committed, id)?;
        }
        check_id(self.committed)?;
        let Some(upto) = self.committed else {
            return Ok(());
        };
        if upto.term > self.vote.term {
            return Err(Offence::Term(upto));
        }
        for id in ids {
            contradicts(Some(upto), id)?;
        }
        Ok(())
    }
}

impl Call {
    /// Checks what `from` sent.
    pub(super) fn check(&self, from: MemberId) -> Result<(), Offence> {
        match self {
            Self::Vote { vote, last, .. } | Self::PreVote { vote, last } => {
                check_vote(*vote)?;
                check_id(*last)?;
                if vote.committed || vote.candidate != from {
                    return Err(Offence::Vote(*vote));
                }
                Ok(())
            }
            Self::Transfer { vote, last, .. } => {
                check_leader(*vote, from)?;
                check_id(*last)
            }
        }
    }
}

impl Offer {
    /// Checks what `from` sent to a member that holds `held`.
    pub(super) fn check(&self, from: MemberId, held: Held) -> Result<(), Offence> {
        check_leader(self.vote, from)?;
        let last = self.header.last;
        check_id(Some(last))?;
        if last.term > self.vote.term {
            return Err(Offence::Term(last));
        }
        if let Some(at) = self.header.membership_at
            && (at > last || at.index > last.index)
        {
            return Err(Offence::Term(at));
        }
        contradicts(held.committed_before(self.vote), last)
    }
}

/// What a member knew at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The term it was in.
    pub(super) term: u64,
    /// Everything up to it was committed.
    pub(super) committed: Option<LogId>,
}

impl Held {
    /// What the log of a leader must agree with. That of an earlier term need not, and is refused for its
    /// vote.
    fn committed_before(&self, leader: Vote) -> Option<LogId> {
        self.committed.filter(|_| leader.term >= self.term)
    }
}

/// Checks the vote of a leader that is also the sender.
fn check_leader(vote: Vote, from: MemberId) -> Result<(), Offence> {
    check_vote(vote)?;
    if !vote.committed || vote.candidate != from {
        return Err(Offence::Vote(vote));
    }
    Ok(())
}

/// Checks any vote that a peer sends.
pub(super) fn check_vote(vote: Vote) -> Result<(), Offence> {
    if vote.term >= MAX_NUMBER {
        return Err(Offence::Number(vote.term));
    }
    Ok(())
}

/// Checks any id that a peer sends.
pub(super) fn check_id(id: Option<LogId>) -> Result<(), Offence> {
    match id {
        Some(id) if id.term >= MAX_NUMBER => Err(Offence::Number(id.term)),
        Some(id) if id.index >= MAX_NUMBER => Err(Offence::Number(id.index)),
        _ => Ok(()),
    }
}

/// That an entry and a committed one can be in one log: ids grow along it.
fn contradicts(committed: Option<LogId>, id: LogId) -> Result<(), Offence> {
    let Some(committed) = committed else {
        return Ok(());
    };
    let fine = match id.index.cmp(&committed.index) {
        std::cmp::Ordering::Less => id.term <= committed.term,
        std::cmp::Ordering::Equal => id.term == committed.term,
        std::cmp::Ordering::Greater => id.term >= committed.term,
    };
    if fine {
        Ok(())
    } else {
        Err(Offence::Contradicts { id, committed })
    }
}

/// What a peer sent and no sound member would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Offence {
    /// It cannot be decoded.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// There are more entries than a frame may have.
    #[error("{0} entries in one frame are more than {MAX_ENTRIES}")]
    TooMany(usize),
    /// Payloads are longer than their frame.
    #[error("the payloads of a frame are cut off")]
    Short,
    /// A term or an index that cannot be.
    #[error("{0} is no term or index")]
    Number(u64),
    /// A vote that the sender cannot have.
    #[error("the vote of {} in term {} is not the sender's to use so", .0.candidate, .0.term)]
    Vote(Vote),
    /// An entry of a term that it cannot be of.
    #[error("entry {0} is of a term that it cannot be of")]
    Term(LogId),
    /// Two entries that cannot be in one log.
    #[error("entry {id} contradicts the committed entry {committed}")]
    Contradicts {
        /// The entry.
        id: LogId,
        /// The committed one.
        committed: LogId,
    },
    /// A membership that cannot be.
    #[error("a membership: {0}")]
    Membership(String),
    /// Something of another group, or another incarnation of it.
    #[error("it is of another group or epoch")]
    Foreign,
    /// An answer that answers nothing.
    #[error("an answer of the wrong kind, or to nothing")]
    Answer,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::PeerId;

    const LEADER: MemberId = MemberId {
        peer: PeerId::from_bytes([1; 32]),
        boot: 1,
    };

    fn vote(term: u64) -> Vote {
        Vote {
            term,
            candidate: LEADER,
            committed: true,
        }
    }

    fn id(term: u64, index: u64) -> Option<LogId> {
        Some(LogId { term, index })
    }

    fn append(term: u64, prev: Option<LogId>, terms: &[u64], committed: Option<LogId>) -> Append {
        let first = prev.map_or(0, |prev| prev.index + 1);
        let entries = terms.iter().zip(first..).map(|(term, index)| Record {
            id: LogId { term: *term, index },
            kind: Kind::Blank,
            payload: Bytes::new(),
        });
        Append {
            vote: vote(term),
            prev,
            committed,
            entries: entries.collect(),
        }
    }

    /// The frames of what goes out, in the steps in which it does.
    fn frames(out: &mut Outgoing) -> Vec<Bytes> {
        let mut bytes = BytesMut::new();
        while let Some(step) = out.step() {
            assert!(step.iter().map(Bytes::len).sum::<usize>() <= STEP);
            step.iter().for_each(|chunk| bytes.extend_from_slice(chunk));
        }
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let header = bytes.split_to(HEADER_LEN);
            let len = u32::from_le_bytes(header[..].try_into().unwrap());
            frames.push(bytes.split_to(len as usize).freeze());
        }
        frames
    }

    proptest! {
        #[test]
        fn entries_arrive_as_they_were_sent(
            prev in prop::option::of(0u64..1000),
            sizes in prop::collection::vec(prop_oneof![0usize..100, 7000..9000usize, 300_000..700_000usize], 0..12),
        ) {
            let prev = prev.and_then(|index| id(1, index));
            let mut sent = append(3, prev, &vec![2; sizes.len()], prev);
            for (entry, size) in sent.entries.iter_mut().zip(&sizes) {
                entry.kind = Kind::Commands { format: 1 };
                entry.payload = vec![7; *size].into();
            }
            let whole = sent.clone();
            let mut out = Outgoing::default();
            let mut parts = Vec::new();
            loop {
                parts.push(out.append(&mut sent).unwrap());
                if parts.last().unwrap().whole {
                    break;
                }
            }
            let frames = frames(&mut out);
            prop_assert_eq!(out.len(), 0);
            prop_assert_eq!(frames.len(), parts.len());
            let mut entries = Vec::new();
            let mut last = whole.prev;
            for (frame, part) in frames.iter().zip(&parts) {
                let got = Append::decode(frame).unwrap();
                prop_assert!(got.check(LEADER, Held::default()).is_ok());
                prop_assert_eq!(got.prev, last);
                prop_assert_eq!(part.prev, last);
                last = part.last;
                let bytes: usize = got.entries.iter().map(|entry| entry.payload.len()).sum();
                prop_assert!(bytes <= FULL_FRAME || got.entries.len() == 1);
                entries.extend(got.entries);
            }
            prop_assert_eq!(entries.last().map(|entry| entry.id).or(whole.prev), last);
            prop_assert!(entries == whole.entries);
        }

        #[test]
        fn no_bytes_panic_it(bytes: Vec<u8>) {
            if let Ok(append) = Append::decode(&bytes.into()) {
                drop(append.check(LEADER, Held::default()));
            }
        }
    }

    #[test]
    fn what_no_leader_sends_is_refused() {
        let held = |term, committed| Held { term, committed };
        let nothing = Held::default();
        let fine: [(Append, Held); 9] = [
            (append(0, None, &[0], None), nothing),
            (append(3, None, &[], None), nothing),
            (append(3, id(1, 4), &[1, 2, 3], id(2, 6)), nothing),
            // It is far ahead, or far behind.
            (append(3, id(1, 4), &[2], id(3, 90)), nothing),
            (append(3, id(1, 4), &[2], id(1, 0)), nothing),
            (append(3, id(1, 4), &[2], None), held(3, id(1, 4))),
            (append(3, id(1, 4), &[2], None), held(3, id(2, 9))),
            (append(3, id(2, 4), &[2], None), held(3, id(1, 2))),
            // A leader of an earlier term knows no better; its vote is refused.
            (append(2, id(2, 4), &[2], None), held(3, id(1, 5))),
        ];
        for (append, held) in fine {
            assert_eq!(append.check(LEADER, held), Ok(()), "{append:?} {held:?}");
        }
        let (mut uncommitted, mut foreign) =
            (append(3, None, &[], None), append(3, None, &[], None));
        uncommitted.vote.committed = false;
        foreign.vote.candidate.boot = 2;
        let wrong: [(Append, Held); 13] = [
            (uncommitted, nothing),
            (foreign, nothing),
            (append(MAX_NUMBER, None, &[], None), nothing),
            (append(3, id(1, MAX_NUMBER), &[], None), nothing),
            (append(3, None, &[], id(1, u64::MAX)), nothing),
            // Terms never fall along a log, nor exceed the leader's.
            (append(3, id(2, 4), &[1], None), nothing),
            (append(3, id(1, 4), &[4], None), nothing),
            (append(3, None, &[], id(4, 9)), nothing),
            // The committed entry is another than the one that is sent.
            (append(3, id(1, 4), &[2], id(1, 5)), nothing),
            (append(3, id(2, 4), &[2], id(3, 2)), nothing),
            // So is the one that is committed here.
            (append(3, id(1, 4), &[2], None), held(3, id(1, 5))),
            (append(3, id(2, 4), &[2], None), held(3, id(1, 4))),
            (append(3, id(1, 4), &[1], None), held(3, id(2, 3))),
        ];
        for (append, held) in wrong {
            assert!(append.check(LEADER, held).is_err(), "{append:?} {held:?}");
        }
    }

    #[test]
    fn nobody_asks_with_the_vote_of_another() {
        let candidate = Vote {
            committed: false,
            ..vote(3)
        };
        let other = MemberId { boot: 2, ..LEADER };
        let last = id(2, 7);
        let call = |vote, last| Call::Vote {
            vote,
            last,
            transfer: false,
        };
        assert_eq!(call(candidate, last).check(LEADER), Ok(()));
        assert!(call(candidate, last).check(other).is_err());
        assert!(call(vote(3), last).check(LEADER).is_err());
        assert!(call(candidate, id(2, u64::MAX)).check(LEADER).is_err());
        let transfer = |vote| Call::Transfer {
            vote,
            to: other,
            last,
        };
        assert_eq!(transfer(vote(3)).check(LEADER), Ok(()));
        assert!(transfer(candidate).check(LEADER).is_err());
        assert!(transfer(vote(3)).check(other).is_err());
    }
}
