//! Producers that have ended, and what they may still owe.
//!
//! A hub without handles serves its consumers until each has everything or its place is given up. Of those
//! that are gone for good only the length of their sequence is remembered, so that a consumer which comes
//! back late learns how much it missed.

use std::{collections::VecDeque, sync::Arc};

use super::{hub::Hub, proto::subscription::Position};
use crate::id::TopicId;

/// Hubs without handles and without connected consumers whose datums are kept; the oldest goes first.
const MAX_KEPT: usize = 64;
/// Sequences whose length is remembered; the oldest goes first.
const MAX_LENGTHS: usize = 1024;

/// The producers of a node that have ended.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Those that still serve somebody, or keep a place for somebody.
    hubs: Vec<Arc<Hub>>,
    lengths: VecDeque<Length>,
}

/// How long a sequence became.
#[derive(Debug)]
struct Length {
    topic: TopicId,
    epoch: u64,
    next: u64,
}

/// What serves a consumer.
#[derive(Debug)]
pub(super) enum Found {
    /// This hub.
    Hub(Arc<Hub>),
    /// None any more: the life that it was at ended so far on.
    Over {
        /// Sequence number behind the last datum.
        next: u64,
    },
    /// None.
    Nothing,
}

impl Past {
    /// Takes over a hub whose last handle is gone.
    pub(super) fn push(&mut self, hub: Arc<Hub>) {
        self.hubs.push(hub);
        self.sweep();
    }

    /// Those that still serve somebody, or keep a place for somebody.
    pub(super) fn hubs(&self) -> &[Arc<Hub>] {
        &self.hubs
    }

    /// Forgets all but the length of those that nobody needs.
    pub(super) fn sweep(&mut self) {
        let kept = self
            .hubs
            .iter()
            .filter(|hub| hub.is_idle() && !hub.is_empty());
        let mut excess = kept.count().saturating_sub(MAX_KEPT);
        let lengths = &mut self.lengths;
        self.hubs.retain(|hub| {
            let mut needed = !hub.is_empty();
            if needed && excess > 0 && hub.is_idle() {
                excess -= 1;
                needed = false;
            }
            if !needed && hub.next() > 0 {
                if lengths.len() == MAX_LENGTHS {
                    lengths.pop_front();
                }
                lengths.push_back(Length {
                    topic: hub.topic().id,
                    epoch: hub.epoch(),
                    next: hub.next(),
                });
            }
            needed
        });
    }

    /// What has something left for a consumer that was at `resume`.
    pub(super) fn find(&self, topic: &TopicId, resume: Position) -> Found {
        let asked = |id: &TopicId, epoch: u64| id == topic && epoch == resume.epoch;
        let mut hubs = self.hubs.iter();
        if let Some(hub) = hubs.find(|hub| asked(&hub.topic().id, hub.epoch())) {
            return Found::Hub(hub.clone());
        }
        let mut lengths = self.lengths.iter();
        match lengths.find(|length| asked(&length.topic, length.epoch)) {
            Some(length) if length.next > resume.next => Found::Over { next: length.next },
            _ => Found::Nothing,
        }
    }
}
