//! What a member does as time passes: a leader's heartbeats, and the pace of elections.
//!
//! openraft's own heartbeats are off. Ours are rounds of its read index, which tell at the same time whether a
//! majority still follows. A leader that hears of no majority falls silent from time to time, so that others may
//! stand: it may be heard and hear nobody. It replicates nothing more then, since every entry says that it is there, and
//! refuses what it is asked; the answers to what it has sent still count. While a group rests there are no heartbeats.
//!
//! Where elections fail again and again, for want of time on a machine that is too busy perhaps, members stand
//! less and less often: else a thousand groups that elect at once would only keep each other from it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::{LinearizerOption, errors::RaftError};
use tokio::sync::Notify;

use super::{
    core::Core,
    heard::Heard,
    serve::Server,
    status::{Role, Status},
};
use crate::{
    groups::proto::{roster::Membership, timing::Timing},
    rt::{self, Instant, lock, watch},
};

/// Elections in a row that may fail before members stand less often.
const PATIENCE: u32 = 3;
/// Longest time for which a member does not stand for election.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Whether a member's time passes, and what follows from it.
#[derive(Debug)]
pub(super) struct Pulse {
    awake: watch::Sender<bool>,
    /// Whether the member has led without a break since it was last confirmed: then its lease may hold.
    sure: AtomicBool,
    /// Whether it leads and keeps silent, as nobody answers.
    silent: watch::Sender<bool>,
    /// Counts what was asked that leaves no entry.
    asked: AtomicU64,
    /// The member stands for election, or asks whether it should.
    stood: Notify,
    /// A member can be reached that could not.
    reachable: Notify,
    /// What keeps the member from standing.
    kept: Mutex<Kept>,
    /// When something came from a leader last.
    led: Mutex<Option<Instant>>,
    /// Whether anything has.
    has_led: watch::Sender<bool>,
    /// When the others were heard of last.
    pub(super) heard: Heard,
    /// When what they answered last, as those who follow this member, was sent to them.
    pub(super) obeyed: Heard,
}

/// What keeps a member from standing for election.
#[derive(Debug, Default)]
struct Kept {
    /// Elections failed.
    pausing: bool,
    /// It had better not lead.
    barred: bool,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            awake: watch::Sender::new(true),
            sure: AtomicBool::new(true),
            silent: watch::Sender::new(false),
            asked: AtomicU64::new(0),
            stood: Notify::new(),
            reachable: Notify::new(),
            kept: Mutex::default(),
            led: Mutex::default(),
            has_led: watch::Sender::new(false),
            heard: Heard::default(),
            obeyed: Heard::default(),
        }
    }
}

impl Pulse {
    /// Whether the member is awake.
    pub(super) fn is_awake(&self) -> bool {
        *self.awake.borrow()
    }

    /// Tells when it falls asleep and wakes.
    pub(super) fn awake(&self) -> watch::Receiver<bool> {
        self.awake.subscribe()
    }

    /// Lets it rest.
    pub(super) fn rest(&self) {
        self.sure.store(false, Ordering::Release);
        self.set_awake(false);
    }

    /// Wakes it.
    pub(super) fn wake(&self) {
        self.set_awake(true);
    }

    /// Whether its lease may hold, if it leads: it did not rest since a majority confirmed it.
    pub(super) fn is_sure(&self) -> bool {
        self.sure.load(Ordering::Acquire)
    }

    /// A majority has confirmed that it leads.
    pub(super) fn confirmed(&self) {
        if self.is_awake() {
            self.sure.store(true, Ordering::Release);
        }
    }

    /// Whether it keeps silent, as nobody answers.
    pub(super) fn is_silent(&self) -> bool {
        *self.silent.borrow()
    }

    /// Waits until it keeps silent no longer.
    pub(super) async fn may_speak(&self) {
        let mut silent = self.silent.subscribe();
        // The sender is this one's own.
        drop(silent.wait_for(|silent| !*silent).await);
    }

    fn set_silent(&self, silent: bool) {
        self.silent.send_if_modified(|held| {
            let changed = *held != silent;
            *held = silent;
            changed
        });
    }

    /// Something is asked that leaves no entry.
    pub(super) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    /// How often something was.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// A member can be reached that could not: it is worth standing for election.
    pub(super) fn reachable(&self) {
        self.reachable.notify_one();
    }

    /// The member stands for election, or asks whether it should.
    pub(super) fn stands(&self) {
        self.stood.notify_one();
    }

    /// Keeps the member from standing for election, or no longer.
    pub(super) fn bar(&self, core: &dyn Core, barred: bool) {
        self.keep(core, |kept| kept.barred = barred);
    }

    fn keep(&self, core: &dyn Core, change: impl FnOnce(&mut Kept)) {
        let mut kept = lock(&self.kept);
        change(&mut kept);
        core.elect(!kept.pausing && !kept.barred);
    }

    /// Something came from a leader.
    pub(super) fn led(&self) {
        if lock(&self.led).replace(rt::now()).is_none() {
            self.has_led.send_replace(true);
        }
    }

    /// Tells whether anything has come from a leader since the member started.
    pub(super) fn has_led(&self) -> watch::Receiver<bool> {
        self.has_led.subscribe()
    }

    /// When it did last.
    pub(super) fn last_led(&self) -> Option<Instant> {
        *lock(&self.led)
    }

    fn set_awake(&self, awake: bool) {
        self.awake.send_if_modified(|held| {
            let changed = *held != awake;
            *held = awake;
            changed
        });
    }
}

/// Shows the others of a leader that it is there, and itself that they are.
pub(super) async fn beat(
    server: Arc<Server>,
    timing: Timing,
    mut status: watch::Receiver<Status>,
    pulse: Arc<Pulse>,
) {
    let mut awake = pulse.awake();
    loop {
        let leads = |status: &Status| status.role == Role::Leader;
        if status.wait_for(leads).await.is_err() {
            return;
        }
        if awake.wait_for(|awake| *awake).await.is_err() {
            return;
        }
        let term = status.borrow().term;
        let began = rt::now();
        loop {
            let now = rt::now();
            let (age, alone) = {
                let status = status.borrow();
                let membership = status.membership.as_ref();
                let alone = membership.is_some_and(Membership::one_votes);
                let age = membership.map(|among| {
                    pulse.obeyed.forget_others(among);
                    pulse.heard.forget_others(among);
                    pulse.heard.age(among, server.me, began, now)
                });
                (age.unwrap_or_default(), alone)
            };
            let silent = !alone && keeps_silent(age, timing.election_max);
            pulse.set_silent(silent);
            if !silent && !show(&server, &timing, &pulse, alone).await {
                return;
            }
            let next = now + timing.heartbeat;
            let goes_on = tokio::select! {
                biased;
                lost = status.wait_for(|status| !status.leads_in(term)) => lost.is_ok().then_some(false),
                rests = awake.wait_for(|awake| !*awake) => rests.is_ok().then_some(false),
                () = rt::sleep_until(next) => Some(true),
            };
            match goes_on {
                Some(true) => {}
                Some(false) => break,
                None => return,
            }
        }
        pulse.set_silent(false);
    }
}

/// Shows the others that the leader is there; returns false once openraft has stopped.
async fn show(server: &Server, timing: &Timing, pulse: &Pulse, alone: bool) -> bool {
    if alone {
        // A majority needs nobody, but those who learn want to hear something.
        pulse.confirmed();
        return server.core.heartbeat().await.is_ok();
    }
    let confirm = LinearizerOption::new(Some(Duration::ZERO), true);
    let confirm = confirm.with_wait_timeout(timing.heartbeat);
    match server.core.read(confirm).await {
        Ok(_) => {
            pulse.confirmed();
            true
        }
        // Whether a majority answers is in the status.
        Err(error) => matches!(error, RaftError::APIError(_)),
    }
}

/// Whether a leader that last heard of a majority, or began to lead, so long ago keeps silent now: it does for two
/// leases, then beats for two, and so on.
fn keeps_silent(age: Duration, lease: Duration) -> bool {
    let Some(alone) = age.checked_sub(lease) else {
        return false;
    };
    let span = lease.saturating_mul(2).as_nanos().max(1);
    (alone.as_nanos() / span).is_multiple_of(2)
}

/// Lets a member stand for election less often, the more often it fails to elect anybody.
pub(super) async fn pace(
    server: Arc<Server>,
    timing: Timing,
    mut status: watch::Receiver<Status>,
    pulse: Arc<Pulse>,
) {
    let window = timing.election_max.saturating_mul(2);
    let (mut failed, mut last) = (0_u32, rt::now());
    loop {
        let term = status.borrow().term;
        pulse.stood.notified().await;
        let now = rt::now();
        if now.duration_since(last) > MAX_PAUSE + window {
            failed = 0;
        }
        last = now;
        match led_within(&mut status, term, window).await {
            Some(true) => {
                failed = 0;
                continue;
            }
            Some(false) => failed += 1,
            None => return,
        }
        let Some(more) = failed.checked_sub(PATIENCE) else {
            continue;
        };
        let longest = window.saturating_mul(1 << more.min(16)).min(MAX_PAUSE);
        pulse.keep(&*server.core, |kept| kept.pausing = true);
        let pause = rt::jitter(longest.div_f64(1.5));
        let reachable = rt::timeout(pause, pulse.reachable.notified()).await;
        pulse.keep(&*server.core, |kept| kept.pausing = false);
        if reachable.is_ok() {
            failed = 0;
        }
    }
}

/// Whether somebody leads in a later term within so long; `None` if nobody tells any more.
async fn led_within(
    status: &mut watch::Receiver<Status>,
    term: u64,
    window: Duration,
) -> Option<bool> {
    let led = status.wait_for(|status| status.leader.is_some() && status.term > term);
    match rt::timeout(window, led).await {
        Ok(Ok(_)) => Some(true),
        Ok(Err(_)) => None,
        Err(_) => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_nobody_answers_is_silent_half_of_the_time() {
        let lease = Duration::from_millis(250);
        let silent = |millis| keeps_silent(Duration::from_millis(millis), lease);
        assert!(!silent(0));
        assert!(!silent(249));
        assert!(silent(250));
        assert!(silent(749));
        assert!(!silent(750));
        assert!(!silent(1249));
        assert!(silent(1250));
    }
}
