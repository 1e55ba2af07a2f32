//! What follows from a clock that is wrong: its member does not stand for election, and does not go on leading.
//!
//! A group does without a right clock rather than without a leader. Where nobody has led for long, since those
//! whose clocks are right lack something of the log perhaps, one whose clock is wrong stands all the same. It
//! leads without stamping until the roster finds somebody to hand over to.

use std::time::Duration;

use tracing::warn;

use super::run::Driver;
use crate::{
    groups::{proto::clock::Verdict, raft::Node},
    rt::{self, Instant},
};

/// Election timeouts without a leader after which a member stands although its clock is wrong: with the defaults,
/// 2 s.
const PATIENCE: u32 = 8;

/// What a replica that runs Raft knows of its clock.
pub(in crate::groups) struct Watch {
    /// What its clock is.
    pub(super) verdict: Verdict,
    /// When it last led, was led, or rested.
    led: Instant,
}

impl Watch {
    /// That of a replica that begins to run.
    pub(super) fn new() -> Self {
        Self {
            verdict: Verdict::Sound,
            led: rt::now(),
        }
    }

    /// Takes in how the replica stands; returns whether nobody has led for so long.
    fn misses_leader(&mut self, node: &Node, fine: bool, patience: Duration) -> bool {
        let now = rt::now();
        let led = if fine { Some(now) } else { node.led() };
        self.led = led.map_or(self.led, |at| at.max(self.led));
        now.duration_since(self.led) > patience
    }
}

impl Driver {
    /// Looks whether this member's clock may be used, and does what follows if not.
    pub(super) fn judge_clock(&mut self) {
        let resting = self.is_resting();
        let Some(running) = &mut self.running else {
            return;
        };
        let patience = running
            .charter()
            .timing
            .election_max
            .saturating_mul(PATIENCE);
        let Some((clock, node)) = running.clock().zip(running.replica().node().cloned()) else {
            return;
        };
        let leads = running.leader() == Some(running.replica().me());
        let verdict = clock.judge();
        let watch = running.watch_mut();
        let misses_leader = watch.misses_leader(&node, leads || resting, patience);
        node.bar(!verdict.is_sound() && !misses_leader);
        let before = std::mem::replace(&mut watch.verdict, verdict);
        if before.is_sound() == verdict.is_sound() {
            return;
        }
        warn!("{verdict}");
        if leads {
            // Who rests hands nothing over.
            self.stir();
        }
    }

    /// What there is to say of this member's clock.
    pub(super) fn clock_trouble(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        let verdict = running.watch().verdict;
        if verdict.is_sound() {
            return None;
        }
        let so = if running.leader() == Some(running.replica().me()) {
            "leads until another can, and does not stamp"
        } else {
            "neither leads nor stamps"
        };
        Some(format!("{verdict}; it {so}"))
    }
}
