//! Sessions: how a command that is sent again is applied once.
//!
//! A client opens a session by a command of its own; where that stands in the log is the session's id, so that
//! no two sessions ever share one. Every command of the session carries a sequence number, and the lowest
//! number whose answer the client still waits for. The [`Sessions`] are a part of the replicated state: each
//! replica keeps the answers from that lowest number on, and answers a command that it has applied before with
//! what it answered then. A command of a session that is not known is never applied.
//!
//! Sessions expire by the *uptime* of their group, the time for which it had leaders, as entries of the log
//! carry it. No wall clock decides, and a group that stands still forgets nobody.
//!
//! After K. Ongaro, *Consensus: Bridging Theory and Practice* (2014), section 6.3.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::blob::Blob;
use crate::id::PeerId;

/// Sessions that a group has at most; beyond, opening one is refused.
pub(crate) const MAX_SESSIONS: usize = 65_536;
/// Commands of a session that may be unanswered at once.
pub(crate) const WINDOW: u64 = 4096;
/// Bytes of kept answers beyond which a session's client has to wait: 4 MiB.
pub(crate) const WINDOW_BYTES: usize = 4 << 20;
/// Uptime after which a session that is not used expires, in milliseconds: an hour.
pub(crate) const EXPIRY: u64 = 60 * 60 * 1000;

/// Where in the log a session was opened: made of the entry's index and the place in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SessionId(pub(crate) u64);

/// Which command of which session, and what the client has the answers of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The session.
    pub(crate) session: SessionId,
    /// The command's number in it, counted from 0.
    pub(crate) sequence: u64,
    /// The lowest number whose answer the client still waits for; at most `sequence`.
    pub(crate) unanswered: u64,
}

/// What is to be done with a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Apply it, then [`Sessions::record`] the answer.
    Apply,
    /// It was applied before, with this answer.
    Repeat(Blob),
    /// It was applied before, and the client has the answer: a copy that came late.
    Answered,
    /// The session is not known: it has expired, or never was. Whether the command was applied before nobody
    /// knows any more; it is not applied now.
    Expired,
    /// The client is further ahead of its answers than it may be. Not applied.
    Ahead,
}

/// Why no session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group has {MAX_SESSIONS} sessions; close handles that are not needed")]
pub(crate) struct TooMany;

/// The sessions of a group, as its replicas keep them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Sessions {
    open: BTreeMap<SessionId, Session>,
    /// For how long the group had leaders, in milliseconds.
    uptime: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Session {
    peer: PeerId,
    /// The uptime at its last use.
    used: u64,
    /// Below this the client has all answers.
    unanswered: u64,
    answers: BTreeMap<u64, Blob>,
    bytes: usize,
}

impl Sessions {
    /// Opens the session that is named by where it is opened, for a client of `peer`.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn open(&mut self, place: u64, peer: PeerId) -> Result<SessionId, TooMany> {
        if self.open.len() >= MAX_SESSIONS {
            return Err(TooMany);
        }
        let session = Session {
            peer,
            used: self.uptime,
            unanswered: 0,
            answers: BTreeMap::new(),
            bytes: 0,
        };
        let id = SessionId(place);
        self.open.insert(id, session);
        Ok(id)
    }

    /// Closes a session, if it is open: its client is gone.
    pub(crate) fn close(&mut self, session: SessionId) {
        self.open.remove(&session);
    }

    /// Decides about a command.
    pub(crate) fn begin(&mut self, request: Request) -> Verdict {
        let Some(session) = self.open.get_mut(&request.session) else {
            return Verdict::Expired;
        };
        session.used = self.uptime;
        session.answered_below(request.unanswered.min(request.sequence));
        if request.sequence < session.unanswered {
            return Verdict::Answered;
        }
        if let Some(answer) = session.answers.get(&request.sequence) {
            return Verdict::Repeat(answer.clone());
        }
        if request.sequence - session.unanswered >= WINDOW {
            return Verdict::Ahead;
        }
        Verdict::Apply
    }

    /// Keeps the answer to a command that was applied.
    pub(crate) fn record(&mut self, request: Request, answer: Blob) {
        if let Some(session) = self.open.get_mut(&request.session) {
            session.bytes += answer.len();
            if let Some(before) = session.answers.insert(request.sequence, answer) {
                session.bytes -= before.len();
            }
        }
    }

    /// Whether the answers that are kept for a session leave no room: its client has to wait.
    pub(crate) fn is_full(&self, session: SessionId) -> bool {
        let session = self.open.get(&session);
        session.is_some_and(|session| session.bytes >= WINDOW_BYTES)
    }

    /// Whose client it is.
    pub(crate) fn peer(&self, session: SessionId) -> Option<PeerId> {
        self.open.get(&session).map(|session| session.peer)
    }

    /// Adds time for which the group had a leader, in milliseconds; returns the sessions that expire.
    pub(crate) fn elapse(&mut self, millis: u64) -> Vec<SessionId> {
        self.uptime = self.uptime.saturating_add(millis);
        let uptime = self.uptime;
        let expired = self
            .open
            .extract_if(.., |_, session| uptime - session.used >= EXPIRY);
        expired.map(|(id, _)| id).collect()
    }

    /// For how long the group had leaders, in milliseconds.
    pub(crate) fn uptime(&self) -> u64 {
        self.uptime
    }

    /// Whether it is what steps can have led to, as far as later steps rely on it: for one that was decoded.
    pub(crate) fn is_sound(&self) -> bool {
        let sound = |session: &Session| {
            let bytes: usize = session.answers.values().map(|answer| answer.len()).sum();
            session.used <= self.uptime && session.bytes == bytes
        };
        self.open.len() <= MAX_SESSIONS && self.open.values().all(sound)
    }

    /// Number of open sessions.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Session {
    /// Forgets what the client has.
    fn answered_below(&mut self, unanswered: u64) {
        if unanswered <= self.unanswered {
            return;
        }
        self.unanswered = unanswered;
        while let Some(first) = self.answers.first_entry()
            && *first.key() < unanswered
        {
            self.bytes -= first.remove().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: PeerId = PeerId::from_bytes([7; 32]);

    fn request(session: SessionId, sequence: u64, unanswered: u64) -> Request {
        Request {
            session,
            sequence,
            unanswered,
        }
    }

    fn answer(n: u64) -> Blob {
        n.to_le_bytes()[..].into()
    }

    #[test]
    fn a_command_that_comes_again_gets_its_first_answer() {
        let mut sessions = Sessions::default();
        let id = sessions.open(5, PEER).unwrap();
        assert_eq!(id, SessionId(5));
        let first = request(id, 0, 0);
        assert_eq!(sessions.begin(first), Verdict::Apply);
        sessions.record(first, answer(1));
        assert_eq!(sessions.begin(first), Verdict::Repeat(answer(1)));
        // A later one overtakes it on the way; both are applied once.
        let (second, third) = (request(id, 1, 0), request(id, 2, 0));
        assert_eq!(sessions.begin(third), Verdict::Apply);
        sessions.record(third, answer(3));
        assert_eq!(sessions.begin(second), Verdict::Apply);
        sessions.record(second, answer(2));
        // The client has the first two answers.
        let next = request(id, 3, 2);
        assert_eq!(sessions.begin(next), Verdict::Apply);
        assert_eq!(sessions.begin(first), Verdict::Answered);
        assert_eq!(sessions.begin(third), Verdict::Repeat(answer(3)));
    }

    #[test]
    fn what_is_not_known_is_never_applied() {
        let mut sessions = Sessions::default();
        let unknown = request(SessionId(9), 0, 0);
        assert_eq!(sessions.begin(unknown), Verdict::Expired);
        let id = sessions.open(1, PEER).unwrap();
        assert_eq!(sessions.peer(id), Some(PEER));
        sessions.close(id);
        assert_eq!(sessions.begin(request(id, 0, 0)), Verdict::Expired);
        // Recording for it does nothing.
        sessions.record(request(id, 0, 0), answer(0));
        assert_eq!(sessions.len(), 0);
    }

    #[test]
    fn sessions_expire_by_uptime_since_their_last_use() {
        let mut sessions = Sessions::default();
        let (used, idle) = (
            sessions.open(1, PEER).unwrap(),
            sessions.open(2, PEER).unwrap(),
        );
        assert!(sessions.elapse(EXPIRY - 1).is_empty());
        sessions.begin(request(used, 0, 0));
        assert_eq!(sessions.elapse(1), [idle]);
        assert_eq!(sessions.elapse(EXPIRY - 2), []);
        assert_eq!(sessions.elapse(1), [used]);
        assert_eq!(sessions.uptime(), 2 * EXPIRY - 1);
        // A clock that would overflow stays where it is.
        sessions.open(3, PEER).unwrap();
        assert_eq!(sessions.elapse(u64::MAX).len(), 1);
    }

    #[test]
    fn the_windows_are_bounded() {
        let mut sessions = Sessions::default();
        let id = sessions.open(1, PEER).unwrap();
        assert_eq!(sessions.begin(request(id, WINDOW - 1, 0)), Verdict::Apply);
        assert_eq!(sessions.begin(request(id, WINDOW, 0)), Verdict::Ahead);
        assert_eq!(sessions.begin(request(id, WINDOW, 1)), Verdict::Apply);
        // A client that says it has more answers than it asked for has what it asked for.
        assert_eq!(
            sessions.begin(request(id, u64::MAX, u64::MAX)),
            Verdict::Apply
        );
        let large = request(id, u64::MAX, 0);
        sessions.record(large, vec![0; WINDOW_BYTES].into());
        assert!(sessions.is_full(id));
        sessions.record(large, answer(0));
        assert!(!sessions.is_full(id));
        for index in 2..=MAX_SESSIONS as u64 {
            sessions.open(index, PEER).unwrap();
        }
        assert_eq!(sessions.open(0, PEER), Err(TooMany));
    }

    #[test]
    fn a_state_that_no_steps_lead_to_is_found() {
        let mut sessions = Sessions::default();
        let id = sessions.open(1, PEER).unwrap();
        sessions.record(request(id, 0, 0), answer(0));
        assert!(sessions.is_sound());
        let change = |change: fn(&mut Session)| {
            let mut changed = sessions.clone();
            changed.open.values_mut().for_each(change);
            changed.is_sound()
        };
        assert!(!change(|session| session.bytes -= 1));
        assert!(!change(|session| session.used += 1));
        assert!(!change(|session| session.answers.clear()));
    }

    /// One client that sends commands, some of them several times, which arrive in any order.
    #[derive(Debug, Default)]
    struct Client {
        next: u64,
        waiting: Vec<u64>,
    }

    proptest! {
        #[test]
        fn every_command_is_applied_once(steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>()), 1..200)) {
            let mut sessions = Sessions::default();
            let id = sessions.open(1, PEER).unwrap();
            let mut client = Client::default();
            let mut network: Vec<Request> = Vec::new();
            let mut applied: BTreeMap<u64, u32> = BTreeMap::new();
            for (step, which) in steps {
                match step {
                    // A new command.
                    0 => {
                        let sequence = client.next;
                        client.next += 1;
                        client.waiting.push(sequence);
                        let unanswered = *client.waiting.iter().min().unwrap();
                        network.push(request(id, sequence, unanswered));
                    }
                    // One that is waited for is sent again.
                    1 if !client.waiting.is_empty() => {
                        let sequence = *which.get(&client.waiting);
                        let unanswered = *client.waiting.iter().min().unwrap();
                        network.push(request(id, sequence, unanswered));
                    }
                    // Something arrives, and may arrive again; the answer may be lost.
                    2 | 3 if !network.is_empty() => {
                        let arrived = *which.get(&network);
                        match sessions.begin(arrived) {
                            Verdict::Apply => {
                                *applied.entry(arrived.sequence).or_default() += 1;
                                sessions.record(arrived, answer(arrived.sequence));
                            }
                            Verdict::Repeat(before) => {
                                prop_assert_eq!(before, answer(arrived.sequence));
                            }
                            // Only what the client has the answer of.
                            Verdict::Answered => {
                                prop_assert!(!client.waiting.contains(&arrived.sequence));
                            }
                            other => prop_assert!(false, "{:?}", other),
                        }
                        if step == 3 {
                            client.waiting.retain(|waiting| *waiting != arrived.sequence);
                        }
                    }
                    _ => {}
                }
                prop_assert!(applied.values().all(|times| *times == 1), "{:?}", applied);
                let answered = (0..client.next).filter(|n| !client.waiting.contains(n));
                for sequence in answered {
                    prop_assert!(applied.contains_key(&sequence));
                }
            }
            prop_assert!(sessions.is_sound());
            // It is the same state after a snapshot.
            let bytes = crate::wire::encode(&sessions).unwrap();
            prop_assert_eq!(crate::wire::decode::<Sessions>(&bytes).unwrap(), sessions);
        }
    }
}
