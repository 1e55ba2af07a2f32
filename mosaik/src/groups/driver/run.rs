//! The loop, and the one place that does what founding wants done.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tracing::{info, warn};

use super::{
    conflict::Conflicts, recover::Recovery, rest::Rest, running::Running, seats::Seats,
    versions::Versions,
};
use crate::{
    groups::{
        bonds::{Bonds, Control, Farewell},
        front::{Front, Notice},
        machine::{Machine, Store},
        notes,
        options::Settled,
        proto::{
            founding::{
                charter::{Charter, Epoch},
                message::{Awaited, Input, Output, Record, Timer},
            },
            quiesce::Event,
            rollback::{Extent, Found, Rollback},
        },
        raft::Slots,
        shared::{Asked, Ended, Shared},
        storage::{Failure, GroupLog, GroupState, LogId, Op, Storage, WriteError},
    },
    id::{GroupId, MemberId, PeerId},
    rt::{self, Instant, Tasks, lock, watch},
    wire,
};

/// How often the driver looks around without a reason.
const TICK: Duration = Duration::from_secs(1);
/// The same while the group rests.
const QUIET_TICK: Duration = Duration::from_secs(10);
/// The same while it is going, or waits for peers to be found.
const HURRY: Duration = Duration::from_millis(20);
/// How often at most it looks around for a reason.
const PACE: Duration = Duration::from_millis(2);
/// Rebuilds of a replica without progress after which it is given up.
const MAX_REBUILDS: u32 = 3;

/// Makes the state machine's erased form, which shares its state with the handles.
pub(crate) type MakeMachine = Arc<dyn Fn() -> Box<dyn Machine> + Send + Sync>;

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settled: Settled,
    pub(crate) writer: bool,
    pub(crate) machine: MakeMachine,
    pub(crate) bonds: Bonds,
    pub(crate) storage: Storage,
    /// Where snapshots are kept, if on disk.
    pub(crate) dir: Option<PathBuf>,
    pub(crate) slots: Slots,
    pub(crate) tasks: Tasks,
    pub(crate) stop: watch::Receiver<Stop>,
}

/// What the handles want of the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Go on.
    #[default]
    No,
    /// Hand over, say good-bye and stop.
    Shutdown,
    /// Leave the group for good, then stop.
    Leave,
}

/// Why a driver ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was asked to.
    Asked,
    /// The storage failed: open it anew, and go on.
    Storage(String),
    /// The replica cannot go on.
    Halted(String),
}

/// The snapshots of a group in memory, of one charter.
#[derive(Debug, Default)]
pub(super) struct InMemory(Mutex<Option<Store>>);

impl InMemory {
    /// Those of this charter; those of another are dropped.
    pub(super) fn in_memory(&self, group: GroupId, epoch: Epoch) -> Store {
        let mut held = lock(&self.0);
        let store = held.take().filter(|store| store.epoch() == epoch);
        let store = store.unwrap_or_else(|| Store::memory(group, epoch));
        *held = Some(store.clone());
        store
    }

    /// Drops them: the log is gone too.
    pub(super) fn clear(&self) {
        *lock(&self.0) = None;
    }
}

/// Drives one group on one node.
pub(crate) struct Driver {
    pub(super) parts: Parts,
    pub(super) front: Arc<Front>,
    pub(super) log: GroupLog,
    pub(super) running: Option<Running>,
    pub(super) seats: Seats,
    pub(super) versions: Versions,
    pub(super) conflicts: Conflicts,
    pub(super) recovery: Recovery,
    /// What an operator asks for.
    pub(super) asked: watch::Receiver<Asked>,
    timers: BTreeMap<(Instant, u64), Timer>,
    timers_set: u64,
    /// Rebuilds of the replica since it last got further, and up to where it was then.
    pub(super) rebuilds: (u32, Option<u64>),
    /// All rebuilds.
    pub(super) all_rebuilds: u32,
    pub(super) announced: Option<Epoch>,
    /// The peers whose answers founding waits for.
    awaited: Vec<Awaited>,
    /// Snapshots in memory: they outlive the replica that made them, as the log does.
    pub(super) snapshots: InMemory,
    /// What another remembers that the disk here does not hold.
    pub(super) rolled_back: Option<String>,
    /// How often that was so, and what was said last.
    pub(super) rollbacks: (u32, String),
    /// Since when this member is going.
    pub(super) leaving: Option<Instant>,
}

impl Drop for Driver {
    /// However it ends: bonds, what is served and the way to the leader hold each other.
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl Driver {
    /// Opens the log of the group, and takes part in it.
    pub(crate) async fn start(parts: Parts) -> Result<Self, Ending> {
        let failed = |error: WriteError| Ending::Storage(error.to_string());
        let mut log = parts
            .storage
            .open_group(parts.shared.id())
            .await
            .map_err(failed)?;
        let mut state = log.state();
        let record = state.notes.get(&notes::FOUNDING_NOTE);
        let record = match record.map(|bytes| wire::decode::<Record>(bytes)) {
            Some(Ok(record)) => Some(record),
            Some(Err(error)) => {
                let why = format!("what was kept of the founding cannot be read: {error}");
                return Err(Ending::Halted(why));
            }
            None => None,
        };
        if is_orphan(&log, record.as_ref()) {
            // The log was never known to be a member's: whoever had it in memory is gone.
            let erase = Op::Erase {
                boot: rt::random_u64(),
            };
            log.write(vec![erase]).await.map_err(failed)?;
            log = parts
                .storage
                .open_group(parts.shared.id())
                .await
                .map_err(failed)?;
            state = log.state();
        }
        let me = MemberId {
            peer: parts.shared.peer(),
            boot: state.boot,
        };
        let (shared, settled) = (parts.shared.clone(), parts.settled.clone());
        let found = settled.durable.then(|| found(&state));
        let front = Front::new(shared, settled, parts.writer, me, record, found);
        parts.bonds.add(&front);
        Ok(Self {
            awaited: parts.shared.awaited(),
            asked: parts.shared.asked().subscribe(),
            front,
            log,
            running: None,
            seats: Seats::default(),
            versions: Versions::restore(&state),
            conflicts: Conflicts::default(),
            recovery: Recovery::default(),
            timers: BTreeMap::new(),
            timers_set: 0,
            rebuilds: (0, None),
            all_rebuilds: 0,
            announced: None,
            rolled_back: None,
            rollbacks: (0, String::new()),
            leaving: None,
            snapshots: InMemory::default(),
            parts,
        })
    }

    /// Drives the group until it ends.
    pub(crate) async fn run(mut self) -> Ending {
        let ending = loop {
            if let Err(ending) = self.turn().await {
                break ending;
            }
        };
        self.withdraw();
        let known = self.known_members();
        self.stop_running().await;
        if ending == Ending::Asked {
            self.say_goodbye(known).await;
        }
        ending
    }

    /// Takes part no longer, as far as others and the handles can see.
    fn withdraw(&self) {
        self.parts.bonds.remove(&self.front.group());
        self.front.serving().send_replace(None);
        self.parts.shared.set_route(None);
        let mut status = self.parts.shared.status().borrow().clone();
        (status.online, status.leader) = (false, None);
        self.parts.shared.set_status(status);
    }

    async fn turn(&mut self) -> Result<(), Ending> {
        while let Some(output) = self.front.next_output() {
            self.execute(output).await?;
        }
        while let Some(notice) = self.front.next_notice() {
            self.notice(notice).await?;
        }
        self.answer_awaited();
        // Before the handles are told who leads.
        self.compare_versions().await?;
        self.look().await?;
        self.recover().await?;
        self.judge_clock();
        self.arbitrate();
        self.plan();
        self.rest();
        self.describe();
        if *self.parts.stop.borrow() != Stop::No && self.leave() {
            return Err(Ending::Asked);
        }
        self.wait().await
    }

    /// Waits for something to happen.
    async fn wait(&mut self) -> Result<(), Ending> {
        let timer = self.timers.first_key_value().map(|(at, _)| at.0);
        let hurry = self.leaving.is_some() || !self.awaited.is_empty();
        let rest = self.running.as_ref().map(Running::rest);
        let tick = match rest {
            _ if hurry => HURRY,
            Some(rest) if rest.rests() && !self.recovery.is_lost() => QUIET_TICK,
            _ => TICK,
        };
        let tick = rt::now() + tick;
        let look = rest.and_then(Rest::deadline);
        let until = timer.into_iter().chain(look).fold(tick, Instant::min);
        let mut failure = self.parts.storage.failure();
        let Self {
            front,
            running,
            seats,
            conflicts,
            parts,
            asked,
            ..
        } = self;
        tokio::select! {
            biased;
            reason = failed(&mut failure) => return Err(Ending::Storage(reason)),
            changed = parts.stop.changed() => {
                if changed.is_err() {
                    return Err(Ending::Asked);
                }
            }
            // Before the news, of which a busy group always has some.
            () = seats.settled() => rt::sleep(PACE).await,
            () = conflicts.settled() => rt::sleep(PACE).await,
            () = front.news() => {}
            // The sender lives as long as the group's handles.
            Ok(()) = asked.changed() => {}
            () = Running::news(running.as_mut()) => rt::sleep(PACE).await,
            () = rt::sleep_until(until) => {}
        }
        self.fire();
        Ok(())
    }

    fn fire(&mut self) {
        let now = rt::now();
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let timer = entry.remove();
            let epoch = Epoch::from_bytes(rt::random_bytes());
            let timing = self.front.timing();
            self.front.tell(Input::TimerFired {
                timer,
                epoch,
                timing,
            });
        }
    }

    /// Does what founding wants done.
    async fn execute(&mut self, output: Output) -> Result<(), Ending> {
        match output {
            Output::SetTimer(delay, timer) => {
                self.timers_set += 1;
                self.timers
                    .insert((rt::now() + delay, self.timers_set), timer);
            }
            Output::Persist(record) => {
                self.write(vec![founding_note(&record)?]).await?;
                self.front.tell(Input::Persisted);
            }
            Output::Send { to, message } => {
                if let Some(bond) = self.front.bond(&to) {
                    bond.line.tell(Control::Founding {
                        group: self.front.group(),
                        from: self.front.me().boot,
                        to: to.boot,
                        message,
                    });
                }
            }
            Output::Announce { to } => self.front.announce(&to),
            Output::StartRaft { charter, recovers } => {
                info!(epoch = %charter.epoch, "starts Raft");
                self.start_raft(charter, recovers).await?;
            }
            Output::StopRaft(epoch) => {
                info!(%epoch, "stops Raft: the charter was left");
                self.stop_epoch(epoch).await;
                self.erase_keeping_boot().await?;
            }
            Output::Join {
                charter,
                fresh_boot,
            } => self.join(charter, fresh_boot).await?,
            Output::Leave(epoch) => {
                info!(%epoch, "joins the charter no longer");
                self.stop_epoch(epoch).await;
                self.replace_boot().await?;
            }
            Output::Conflict { by, theirs } => self.conflicts.met(by, theirs),
            Output::Supersede { winner } => {
                warn!(winner = %winner.epoch, "the charter is superseded: no more commands");
                self.parts.shared.end(Ended::Superseded);
            }
        }
        Ok(())
    }

    async fn notice(&mut self, notice: Notice) -> Result<(), Ending> {
        match notice {
            Notice::Bonds => self.stir(),
            Notice::Quiesce {
                epoch,
                from,
                message,
            } => self.told_of_rest(epoch, from, message),
            Notice::Silent => self.quiesce(Event::Silent),
            Notice::Bonded(member) => {
                self.stir();
                let node = self
                    .running
                    .as_ref()
                    .and_then(|running| running.replica().node());
                if let Some(node) = node {
                    node.reachable(member).await;
                }
            }
            Notice::RaftCalled(epoch) => {
                let follows = |running: &&Running| running.is_following(epoch);
                if let Some(running) = self.running.as_ref().filter(follows) {
                    let charter = running.charter().clone();
                    self.follow_to_raft(charter).await?;
                }
            }
            Notice::Announced(charter) => {
                let current = self.running.as_ref().map(|running| running.charter().epoch);
                if current != Some(charter.epoch)
                    && current.is_none_or(|epoch| !self.front.is_announced(epoch))
                {
                    self.stop_running().await;
                    self.join(charter, false).await?;
                }
            }
            // What was said of an earlier boot is done.
            Notice::Removed { boot } | Notice::RolledBack { boot, .. }
                if boot != self.front.me().boot => {}
            Notice::Removed { .. } => {
                info!("no longer a member: joins anew");
                self.replace_boot().await?;
            }
            Notice::RolledBack { from, rollback, .. } => self.went_back(from, rollback).await,
            Notice::Verdict { by, other, winner } => self.conflicts.told(by, other, winner),
        }
        Ok(())
    }

    /// Stops: a member remembers more of this one than its disk held. All are told, as who leads may not know.
    async fn went_back(&mut self, from: PeerId, rollback: Rollback) {
        let why = format!("{} says that {rollback}", from.short());
        if self.rolled_back.is_none() {
            warn!(why, "takes no part until the leader takes it in anew");
            self.stop_running().await;
            self.front.set_claim(None);
            self.front.set_rolled_back();
            self.parts.bonds.present_again(&self.front);
            self.rollbacks = (self.rollbacks.0.saturating_add(1), why.clone());
        }
        self.rolled_back = Some(why);
    }

    /// Joins an established charter as a newcomer. What is left of a disk that went back does not go with it.
    async fn join(&mut self, charter: Charter, fresh_boot: bool) -> Result<(), Ending> {
        if fresh_boot || self.rolled_back.is_some() {
            return self.replace_boot().await;
        }
        if let Err(why) = self.parts.settled.compare(&charter.terms) {
            warn!(epoch = %charter.epoch, %why, "does not join the charter");
            self.seats.refused = Some(why);
            return Ok(());
        }
        self.follow(charter).await
    }

    /// Becomes another member, with nothing.
    pub(super) async fn replace_boot(&mut self) -> Result<(), Ending> {
        self.stop_running().await;
        let before = self.front.me();
        let me = MemberId {
            boot: rt::random_u64(),
            ..before
        };
        self.write(vec![Op::Erase { boot: me.boot }]).await?;
        self.snapshots.clear();
        self.timers.clear();
        self.rolled_back = None;
        self.front.set_claim(None);
        self.front.forgive();
        self.front.begin(me, None);
        let group = self.front.group();
        self.parts.bonds.tell_all(
            group,
            &Control::Absent {
                group,
                boot: before.boot,
                farewell: Some(Farewell::Replaced),
                testament: None,
            },
        );
        self.parts.bonds.present_again(&self.front);
        Ok(())
    }

    /// Forgets a charter's log, and stays the member that it is.
    async fn erase_keeping_boot(&mut self) -> Result<(), Ending> {
        let boot = self.front.me().boot;
        self.snapshots.clear();
        self.front.erased();
        self.front.forgive();
        let mut ops = vec![Op::Erase { boot }];
        if self.parts.settled.durable {
            ops.push(founding_note(&self.front.record())?);
        }
        self.write(ops).await
    }

    pub(super) async fn write(&mut self, ops: Vec<Op>) -> Result<(), Ending> {
        let written = self.log.write(ops).await;
        written.map_err(|error| Ending::Storage(error.to_string()))
    }

    /// Tells founding of the peers that it waits for and that have nothing to say about the group.
    fn answer_awaited(&mut self) {
        if self.awaited.is_empty() {
            return;
        }
        let (bonds, front) = (&self.parts.bonds, &self.front);
        let catalog = bonds.catalog();
        let refused = front.refusals();
        let answered = |awaited: &Awaited| match awaited {
            Awaited::Peer(peer) => {
                let elsewhere = catalog
                    .get(peer)
                    .is_some_and(|entry| entry.group(front.group()).is_none());
                elsewhere
                    || front.has_spoken(peer)
                    || refused.iter().any(|(other, _)| other == peer)
            }
            Awaited::Rendezvous(_) => bonds.has_looked_up(),
        };
        self.awaited.retain(|awaited| {
            let done = answered(awaited);
            if done {
                front.tell(Input::Answered(awaited.clone()));
            }
            !done
        });
    }

    /// Rebuilds a replica that failed, unless it does so again and again.
    pub(super) async fn rebuild(&mut self, reason: &str) -> Result<(), Ending> {
        let applied = self.parts.shared.progress().get();
        self.all_rebuilds = self.all_rebuilds.saturating_add(1);
        let (count, at) = self.rebuilds;
        let count = if at == applied { count + 1 } else { 1 };
        self.rebuilds = (count, applied);
        if count > MAX_REBUILDS {
            return Err(Ending::Halted(format!(
                "failed {count} times without progress, the last time with: {reason}"
            )));
        }
        warn!(
            reason,
            count, "the replica failed and is rebuilt from its log"
        );
        let Some(running) = &self.running else {
            return Ok(());
        };
        let charter = running.charter().clone();
        self.stop_running().await;
        let failed = |error: WriteError| Ending::Storage(error.to_string());
        let group = self.front.group();
        self.log = self.parts.storage.open_group(group).await.map_err(failed)?;
        self.start_raft(charter, None).await
    }
}

/// Waits until the storage has failed, and says of what.
async fn failed(failure: &mut watch::Receiver<Option<Failure>>) -> String {
    match failure.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(failure)) => failure.to_string(),
        _ => "the storage is closed".into(),
    }
}

pub(super) fn founding_note(record: &Record) -> Result<Op, Ending> {
    let bytes = wire::encode(record).map_err(|error| Ending::Halted(error.to_string()))?;
    Ok(Op::Note(notes::FOUNDING_NOTE, Some(bytes.into())))
}

/// What a log that was just opened holds.
fn found(state: &GroupState) -> Found {
    let last = state.last.max(state.purged);
    Found {
        process: rt::random_u64(),
        epoch: notes::epoch(&state.notes),
        extent: Extent {
            term: state.vote.map_or(0, |vote| vote.term),
            entries: LogId::behind(last),
        },
        committed: LogId::behind(state.committed),
    }
}

/// Whether a log is that of a charter which the record does not name.
fn is_orphan(log: &GroupLog, record: Option<&Record>) -> bool {
    let state = log.state();
    let Some(epoch) = state.notes.get(&notes::EPOCH_NOTE) else {
        return state.last.is_some();
    };
    let named = |record: &Record| {
        let bound = record.bound.as_ref().map(|binding| &binding.charter);
        let established = record.established.as_ref();
        [bound, established]
            .into_iter()
            .flatten()
            .any(|charter| charter.epoch.as_bytes() == &epoch[..])
    };
    !record.is_some_and(named)
}
