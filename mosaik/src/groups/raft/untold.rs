//! Answers of a follower that were not told yet: those that tell nothing new wait for one that does.
//!
//! A leader says how far the log is committed as soon as it is, mostly without an entry. The answer to that says at most
//! that the follower is there, and costs as much as one to entries. It is told with the next of those, or after a while.

use super::{
    pipeline::MAX_IN_FLIGHT,
    types::RaftLogId,
    wire::{ANSWER_FRAME, Answer},
};
use crate::wire::{EncodeError, encode_frame_onto};

/// Answers that are held back at most: no leader has to wait for them, which waits for [`MAX_IN_FLIGHT`].
const MAX_HELD_BACK: usize = MAX_IN_FLIGHT / 4;

/// What one stream was not told yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    frames: Vec<u8>,
    count: usize,
    /// Whether one of them tells something new.
    urgent: bool,
    /// Up to where the leader knows that the logs agree, by what was answered before.
    matched: Option<RaftLogId>,
}

impl Untold {
    /// Adds that a request was done, after which the logs agree up to `matched`; it `tells` something new in any case, or
    /// only if they did not agree so far before.
    pub(super) fn done(
        &mut self,
        tells: bool,
        matched: Option<RaftLogId>,
    ) -> Result<(), EncodeError> {
        self.urgent |= tells || matched.is_none() || matched != self.matched;
        self.matched = matched;
        self.add(Answer::Done)
    }

    /// Adds another answer, which does not wait.
    pub(super) fn other(&mut self, answer: Answer) -> Result<(), EncodeError> {
        self.urgent = true;
        self.add(answer)
    }

    fn add(&mut self, answer: Answer) -> Result<(), EncodeError> {
        self.count += 1;
        encode_frame_onto(&answer, ANSWER_FRAME, &mut self.frames)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Whether they are to be told now.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent || self.count >= MAX_HELD_BACK
    }

    /// All of them, as frames to be told now.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.count = 0;
        self.urgent = false;
        std::mem::take(&mut self.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::proto::log_id::LogId;
    use crate::groups::raft::types;

    fn at(index: u64) -> Option<RaftLogId> {
        Some(types::raft_log_id(LogId { term: 1, index }))
    }

    /// Those of `untold`, which are taken.
    fn told(untold: &mut Untold) -> usize {
        let count = untold.count();
        assert_eq!(untold.take().is_empty(), count == 0);
        assert_eq!((untold.count(), untold.is_urgent()), (0, false));
        count
    }

    #[test]
    fn what_tells_nothing_new_waits_for_what_does() {
        let mut untold = Untold::default();
        // The leader did not know yet that the logs agree.
        untold.done(false, at(7)).unwrap();
        assert!(untold.is_urgent());
        assert_eq!(told(&mut untold), 1);

        untold.done(false, at(7)).unwrap();
        untold.done(false, at(7)).unwrap();
        assert!(!untold.is_urgent());
        untold.done(true, at(8)).unwrap();
        assert!(untold.is_urgent());
        assert_eq!(told(&mut untold), 3);
    }

    #[test]
    fn an_error_waits_for_nothing() {
        let mut untold = Untold::default();
        untold.done(true, at(7)).unwrap();
        assert_eq!(told(&mut untold), 1);
        untold.done(false, at(7)).unwrap();
        assert!(!untold.is_urgent());
        untold.other(Answer::Conflict).unwrap();
        assert!(untold.is_urgent());
        assert_eq!(told(&mut untold), 2);
    }

    #[test]
    fn nothing_agrees_with_an_empty_log() {
        let mut untold = Untold::default();
        for _ in 0..2 {
            untold.done(false, None).unwrap();
            assert!(untold.is_urgent());
            assert_eq!(told(&mut untold), 1);
        }
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let mut untold = Untold::default();
        untold.done(true, at(7)).unwrap();
        untold.take();
        for n in 1..=MAX_HELD_BACK {
            untold.done(false, at(7)).unwrap();
            assert_eq!(untold.is_urgent(), n == MAX_HELD_BACK);
        }
        assert_eq!(told(&mut untold), MAX_HELD_BACK);
    }
}
