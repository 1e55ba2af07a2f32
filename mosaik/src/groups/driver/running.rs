//! The replica that runs here: starting it, following, and what follows from what it does.

use std::{future::pending, sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{
    clock::Watch,
    news::News,
    rest::Rest,
    run::{Driver, Ending},
};
use crate::{
    groups::{
        bonds::{GroupHeader, Kind},
        clock::Clock,
        follow::{self, Followed},
        front::Front,
        machine::{Store, Superseded},
        notes,
        proto::{
            founding::{
                charter::{Charter, Epoch},
                message::Input,
                verdict::Claim,
            },
            timing::Timing,
        },
        raft::{
            Config, LineError, Lines, MachineStatus, Node, Purpose, RaftLog, RaftMachine, Status,
        },
        replica::{self, Replica},
        route::Route,
        storage::Op,
    },
    id::MemberId,
    rt::{Instant, Tasks, watch},
    transport::{RecvHalf, SendHalf},
};

/// A replica that runs here.
pub(in crate::groups) struct Running {
    charter: Charter,
    replica: Arc<Replica>,
    news: News,
    tasks: Tasks,
    committed: bool,
    verdict: bool,
    rest: Rest,
    watch: Watch,
}

impl Running {
    /// The charter.
    pub(super) fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The replica.
    pub(super) fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// Whether it follows the log of this charter.
    pub(super) fn is_following(&self, epoch: Epoch) -> bool {
        self.charter.epoch == epoch && self.news.raft().is_none()
    }

    /// How Raft is doing, if it runs.
    pub(super) fn raft(&self) -> Option<Status> {
        self.news.raft().map(|raft| raft.borrow().clone())
    }

    /// Its part in resting.
    pub(super) fn rest(&self) -> &Rest {
        &self.rest
    }

    /// The same, to be changed.
    pub(super) fn rest_mut(&mut self) -> &mut Rest {
        &mut self.rest
    }

    /// This member's clock, if Raft runs.
    pub(super) fn clock(&self) -> Option<&Clock> {
        self.replica.clock()
    }

    /// What is known of it.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The same, to be changed.
    pub(super) fn watch_mut(&mut self) -> &mut Watch {
        &mut self.watch
    }

    /// What is known of the one that is followed.
    pub(super) fn followed(&self) -> Followed {
        self.news.followed().borrow().clone()
    }

    /// What the state machine knows.
    pub(super) fn machine(&self) -> MachineStatus {
        self.news.machine().borrow().clone()
    }

    /// Who leads.
    pub(super) fn leader(&self) -> Option<MemberId> {
        match self.news.raft() {
            Some(raft) => raft.borrow().leader,
            None => self.news.followed().borrow().leader,
        }
    }

    /// Waits for something new; for ever if nothing runs.
    pub(super) async fn news(running: Option<&mut Self>) {
        match running {
            Some(running) => running.news.next().await,
            None => pending().await,
        }
    }
}

impl Driver {
    /// Starts Raft for a charter: as a founder, or going on with what is in the log.
    pub(super) async fn start_raft(
        &mut self,
        charter: Charter,
        recovers: Option<Epoch>,
    ) -> Result<(), Ending> {
        self.stop_running().await;
        if recovers.is_some() {
            self.descend(&charter, Vec::new()).await?;
        }
        self.name_log(charter.epoch).await?;
        let tasks = self.parts.tasks.nested();
        let (machine, parts) = self.open_machine(charter.epoch).await?;
        let is_new = self.log.ends() == (None, None);
        let node = self
            .start_node(charter.timing, machine, &parts, &tasks)
            .await?;
        if is_new && charter.founders.contains(&parts.me) {
            let founders = tasks.scope(node.initialize(charter.founders.clone()));
            if let Err(error) = founders.await {
                warn!(%error, "the log could not be founded");
            }
        }
        let (_, followed) = watch::channel(Followed::default());
        self.runs(charter, parts, Some(node), followed, tasks);
        Ok(())
    }

    /// Follows the log of an established charter.
    pub(super) async fn follow(&mut self, charter: Charter) -> Result<(), Ending> {
        info!(epoch = %charter.epoch, "joins the charter");
        self.stop_running().await;
        self.name_log(charter.epoch).await?;
        let tasks = self.parts.tasks.nested();
        let (machine, parts) = self.open_machine(charter.epoch).await?;
        let (told, followed) = watch::channel(Followed::default());
        let spawning = tasks.clone();
        let replica = self.runs(charter, parts, None, followed, tasks);
        spawning.spawn(follow::run(self.front.clone(), replica, machine, told));
        Ok(())
    }

    /// Goes from following a charter to running its Raft, on the log that was followed.
    pub(super) async fn follow_to_raft(&mut self, charter: Charter) -> Result<(), Ending> {
        info!(epoch = %charter.epoch, "becomes a member");
        self.start_raft(charter, None).await
    }

    /// Stops what runs, and waits until nothing of it is left.
    pub(super) async fn stop_running(&mut self) {
        self.recovery.release();
        self.front.serving().send_replace(None);
        self.parts.shared.set_route(None);
        // Whoever rests with it has to find another leader.
        self.stir();
        let Some(running) = self.running.take() else {
            return;
        };
        if let Some(node) = running.replica.node() {
            node.stop().await;
        }
        running.tasks.cancel();
        running.tasks.wait().await;
    }

    pub(super) async fn stop_epoch(&mut self, epoch: Epoch) {
        let runs = |running: &Running| running.charter.epoch == epoch;
        if self.running.as_ref().is_some_and(runs) {
            self.stop_running().await;
        }
    }

    /// Makes the whole log the beginning of a descendant of its charter, in one write with `also`.
    pub(super) async fn descend(
        &mut self,
        charter: &Charter,
        mut also: Vec<Op>,
    ) -> Result<(), Ending> {
        let halted = |error: &dyn std::fmt::Display| Ending::Halted(error.to_string());
        let Some(ancestor) = notes::epoch(&self.log.state().notes) else {
            return Err(halted(&"the log does not say which charter it is of"));
        };
        if ancestor == charter.epoch {
            return Ok(());
        }
        let store = self.open_store(ancestor).await?;
        let progress = self.parts.shared.progress().clone();
        let machine = (self.parts.machine)();
        let opened = RaftMachine::new(machine, store, self.log.clone(), progress);
        let (machine, _) = opened.map_err(|halt| halted(&halt))?;
        let store = match &self.parts.dir {
            Some(dir) => Store::fresh(Some(dir), self.front.group(), charter.epoch),
            None => self.snapshots.in_memory(self.front.group(), charter.epoch),
        };
        let name = charter.epoch.as_bytes().to_vec().into();
        also.push(Op::Note(notes::EPOCH_NOTE, Some(name)));
        let descended = machine.descend(&charter.founders, &store, also).await;
        descended.map_err(|error| halted(&error))
    }

    async fn name_log(&mut self, epoch: Epoch) -> Result<(), Ending> {
        let name = epoch.as_bytes().to_vec().into();
        self.write(vec![Op::Note(notes::EPOCH_NOTE, Some(name))])
            .await
    }

    pub(super) async fn open_store(&mut self, epoch: Epoch) -> Result<Store, Ending> {
        match &self.parts.dir {
            Some(dir) => Store::open(dir, epoch, &self.log)
                .await
                .map_err(|error| Ending::Halted(error.to_string())),
            None => Ok(self.snapshots.in_memory(self.front.group(), epoch)),
        }
    }

    async fn open_machine(
        &mut self,
        epoch: Epoch,
    ) -> Result<(RaftMachine, replica::Parts), Ending> {
        let store = self.open_store(epoch).await?;
        let progress = self.parts.shared.progress().clone();
        let machine = (self.parts.machine)();
        let opened = RaftMachine::new(machine, store.clone(), self.log.clone(), progress.clone());
        let (machine, applied) = opened.map_err(|halt| Ending::Halted(halt.to_string()))?;
        let parts = replica::Parts {
            epoch,
            me: self.front.me(),
            log: self.log.clone(),
            store,
            applied,
            progress,
            checker: (self.parts.machine)().into(),
            clocks: self.parts.bonds.clocks().clone(),
        };
        Ok((machine, parts))
    }

    async fn start_node(
        &mut self,
        timing: Timing,
        machine: RaftMachine,
        parts: &replica::Parts,
        tasks: &Tasks,
    ) -> Result<Node, Ending> {
        let mut config = Config::new(parts.me, self.front.group(), parts.epoch);
        config.timing = timing;
        let (front, epoch) = (self.front.clone(), parts.epoch);
        // Told before the entry is acknowledged to anybody.
        let led = move || front.appended(epoch);
        let log = RaftLog::new(self.log.clone()).when_led(led);
        let lines = Arc::new(FrontLines {
            front: self.front.clone(),
            epoch,
        });
        let store = parts.store.clone();
        let slots = self.parts.slots.clone();
        let started = Node::start(config, log, machine, store, lines, slots, tasks);
        let node = tasks.scope(started).await;
        node.map_err(|error| Ending::Halted(error.to_string()))
    }

    fn runs(
        &mut self,
        charter: Charter,
        parts: replica::Parts,
        node: Option<Node>,
        followed: watch::Receiver<Followed>,
        tasks: Tasks,
    ) -> Arc<Replica> {
        let timing = charter.timing;
        let raft = node.as_ref().map(|node| (node.status(), node.awake()));
        let news = News::new(raft, parts.applied.watch(), followed);
        let replica = Replica::new(parts, node, &tasks);
        self.running = Some(Running {
            charter,
            replica: replica.clone(),
            news,
            tasks,
            committed: false,
            verdict: false,
            rest: Rest::new(self.parts.settled.options.quiesce_after, timing),
            watch: Watch::new(),
        });
        self.seats.reset();
        self.versions.reset();
        // Before anybody can propose something.
        self.set_gate();
        self.front.serving().send_replace(Some(replica.clone()));
        replica
    }

    /// Looks at what the replica did, and tells founding and the handles.
    pub(super) async fn look(&mut self) -> Result<(), Ending> {
        let me = self.front.me();
        let Some(running) = &mut self.running else {
            if !self.recovery.is_bound() {
                self.announce(None);
            }
            return Ok(());
        };
        let (machine, raft) = (running.machine(), running.raft());
        if let Some(halt) = &machine.halted {
            return Err(Ending::Halted(halt.to_string()));
        }
        if let Some(reason) = raft.as_ref().and_then(|raft| raft.stopped.clone()) {
            return self.rebuild(&reason).await;
        }
        let epoch = running.charter.epoch;
        let listed = machine.lists(&me);
        if !running.committed && raft.is_some() && machine.is_established() && listed {
            running.committed = true;
            self.front.tell(Input::Committed(epoch));
        }
        // Not before: a descendant inherits a verdict that its log holds.
        if running.committed
            && let Some(Superseded { winner, commands }) = machine.superseded.clone()
            && !std::mem::replace(&mut running.verdict, true)
        {
            self.front
                .tell(Input::VerdictCommitted { winner, commands });
        }
        // Who hears of a superseded charter and of any other joins the other.
        let lives = machine.superseded.is_none();
        let claim = (running.committed && listed).then(|| Claim {
            charter: running.charter.clone(),
            commands: machine.commands && lives,
            age: if lives {
                machine.uptime
            } else {
                Duration::ZERO
            },
        });
        let leader = running.leader();
        let replica = running.replica.clone();
        self.announce(claim);
        self.route(replica, leader);
        Ok(())
    }

    fn route(&self, replica: Arc<Replica>, leader: Option<MemberId>) {
        let shared = &self.parts.shared;
        let epoch = replica.epoch();
        let reachable =
            leader.filter(|leader| *leader == replica.me() || self.front.bond(leader).is_some());
        let current = shared.routes().borrow().clone();
        let known = current.as_ref().ok().and_then(Option::as_ref);
        let known = known.map(|route| (route.epoch(), route.leader()));
        if known == reachable.map(|leader| (epoch, leader)) {
            return;
        }
        shared.set_route(reachable.map(|leader| {
            if leader == replica.me() {
                Route::Here(replica)
            } else {
                Route::there(self.front.clone(), epoch, leader, &self.parts.tasks)
            }
        }));
    }

    /// Announces the charter that this member is listed in, to members and in the catalog.
    fn announce(&mut self, claim: Option<Claim>) {
        let epoch = claim.as_ref().map(|claim| claim.charter.epoch);
        self.front.set_claim(claim);
        if self.announced != epoch {
            self.announced = epoch;
            self.parts.bonds.announce();
        }
    }
}

/// Raft's way to the other members.
#[derive(Debug)]
struct FrontLines {
    front: Arc<Front>,
    epoch: Epoch,
}

impl Lines for FrontLines {
    fn open(
        &self,
        to: MemberId,
        purpose: Purpose,
    ) -> futures::future::BoxFuture<'static, Result<(SendHalf, RecvHalf), LineError>> {
        let front = self.front.clone();
        let header = GroupHeader {
            group: front.group(),
            epoch: self.epoch,
            from: front.me(),
            to,
            kind: Kind::Raft(purpose),
        };
        Box::pin(async move {
            if front.bond(&to).is_none() {
                return Err(LineError::Down);
            }
            let (send, (recv, ahead)) = front.open(header).await?;
            debug_assert!(ahead.is_empty(), "nothing was read yet");
            Ok((send, recv))
        })
    }

    fn rtt(&self, to: MemberId) -> Option<Duration> {
        self.front.bond(&to)?.line.connection.rtt()
    }

    fn heard(&self, from: MemberId) -> Option<Instant> {
        Some(self.front.bond(&from)?.line.heard())
    }
}
