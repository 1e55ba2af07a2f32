//! What users hold to take part in groups.

use std::{
    collections::BTreeMap,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use futures::future::join_all;
use tokio::sync::mpsc;
use tracing::{Instrument as _, info_span, warn};

use super::{
    bonds::Bonds,
    caller::Caller,
    driver::{Driver, Ending, Parts, Stop},
    error::{Refusal, Unavailable},
    group::Group,
    group_client::GroupClient,
    machine::{Application, Hosted, Local, Machine, Program, StateMachine},
    options::{Durability, Options, Settled, setters},
    proto::founding::message::Awaited,
    raft::Slots,
    remote::{Connected, Connector, Version, close},
    shared::{Ended, Shared},
    status::{GroupExplanation, Phase},
    storage::{Failure, Storage},
};
use crate::{
    discovery::Discovery,
    id::{GroupId, PeerId},
    rt::{self, Tasks, fs, lock, watch},
    tickets::{self, RequiredTickets},
    transport::{Connection, Pool},
};

/// How long to wait, give or take half, before a storage that failed is opened anew.
const REOPEN: Duration = Duration::from_secs(1);
/// Where snapshots are kept, below the directory of the logs.
const SNAPSHOTS: &str = "snapshots";
/// How long a graceful stop waits for groups to hand over.
const HAND_OVER: Duration = Duration::from_secs(2);
/// How long a node that stops waits until the others have heard the good-bye of its groups.
const GOODBYE: Duration = Duration::from_millis(250);

/// The groups of a network: from [`Network::groups`](crate::Network::groups).
#[derive(Clone, Debug)]
pub struct Groups {
    inner: Arc<Inner>,
}

/// What groups need of the network.
#[derive(Debug)]
pub(crate) struct Config {
    /// Founders of groups that declare none.
    pub(crate) founders: usize,
    /// Where logs and snapshots are kept, if on disk.
    pub(crate) dir: Option<PathBuf>,
    /// Peers to ask before founding alone.
    pub(crate) bootstrap: Vec<PeerId>,
    /// Whether a rendezvous of this machine is to be looked up before founding alone.
    pub(crate) rendezvous: bool,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    bonds: Bonds,
    peer: PeerId,
    tasks: Tasks,
    state: Mutex<State>,
    durable: watch::Sender<Disk>,
    volatile: Storage,
    /// Taken by whoever sends a snapshot.
    slots: Slots,
}

/// The storage on disk. Opened anew when it fails, or could not be opened.
#[derive(Clone, Debug)]
enum Disk {
    /// It is being opened, or nobody asked for it yet.
    Opening,
    /// It is open.
    Open(Storage),
    /// It could not be opened, for this reason.
    Shut(String),
}

#[derive(Debug, Default)]
struct State {
    joined: BTreeMap<GroupId, Joined>,
    /// Whether somebody opens the storage on disk.
    opening: bool,
    /// Whether the node stops: nothing is opened any more.
    stopping: bool,
    /// What the handles of this node's clients share.
    clients: Vec<Weak<Shared>>,
}

/// A group that this node takes part in.
#[derive(Clone, Debug)]
pub(super) struct Joined {
    pub(super) shared: Arc<Shared>,
    pub(super) options: Arc<Options>,
    /// Whether it may vote.
    writer: bool,
    pub(super) stop: watch::Sender<Stop>,
    /// The typed state, for further handles.
    local: Arc<dyn std::any::Any + Send + Sync>,
}

impl Groups {
    /// Starts to serve the groups of a node.
    pub(crate) fn start(
        config: Config,
        pool: Pool,
        connections: mpsc::Receiver<Connection>,
        discovery: Discovery,
        tasks: Tasks,
    ) -> Self {
        let peer = discovery.me().peer();
        let volatile = Storage::volatile(&tasks);
        let bonds = Bonds::start(pool, connections, discovery, tasks.clone());
        let inner = Inner {
            config,
            bonds,
            peer,
            tasks,
            state: Mutex::default(),
            durable: watch::Sender::new(Disk::Opening),
            volatile,
            slots: Slots::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Options for taking part in the group of this name, with a state machine written by hand.
    pub fn builder<M: StateMachine>(&self, name: impl Into<String>) -> GroupBuilder<M> {
        self.of(name.into())
    }

    /// Options for taking part in the group of this name, whatever it hosts.
    pub(crate) fn of<M>(&self, name: String) -> GroupBuilder<M> {
        GroupBuilder {
            groups: self.clone(),
            name,
            options: Options::default(),
            refused: None,
            machine: PhantomData,
        }
    }

    /// Takes part in the group of this name as a writer, with default options and a state machine written by hand:
    /// votes if chosen.
    pub fn join<M: StateMachine>(&self, name: impl Into<String>) -> Group<M> {
        self.builder(name).join()
    }

    /// Connects to the group of this name as a client, with default options and a state machine written by hand: this
    /// node holds no replica.
    pub fn connect<M: StateMachine>(&self, name: impl Into<String>) -> GroupClient<M> {
        self.builder(name).connect()
    }

    /// Follows the group of this name, with default options and a state machine written by hand: never votes.
    pub fn observe<M: StateMachine>(&self, name: impl Into<String>) -> Group<M> {
        self.builder(name).observe()
    }

    /// The bonds of this node.
    pub(super) fn bonds(&self) -> &Bonds {
        &self.inner.bonds
    }

    /// How every group is doing.
    pub(crate) fn explain(&self) -> Vec<GroupExplanation> {
        let state = lock(&self.inner.state);
        let joined = state.joined.values();
        joined.map(|joined| explanation(&joined.shared)).collect()
    }

    /// Hands over and says good-bye everywhere, then ends.
    pub(crate) async fn stop(&self) {
        let joined: Vec<Joined> = {
            let mut state = lock(&self.inner.state);
            state.stopping = true;
            state.joined.values().cloned().collect()
        };
        for group in &joined {
            group
                .stop
                .send_modify(|stop| *stop = (*stop).max(Stop::Shutdown));
        }
        let ended = async {
            for group in &joined {
                let mut status = group.shared.status().subscribe();
                let ended =
                    |status: &super::status::GroupStatus| matches!(status.phase, Phase::Ended(_));
                // A driver that is gone has ended too.
                drop(status.wait_for(ended).await);
            }
        };
        if rt::timeout(HAND_OVER, ended).await.is_err() {
            warn!("not every group was handed over in time");
        }
        let clients = self.clients().into_iter();
        join_all(clients.map(|client| close(client, GOODBYE))).await;
        let says_goodbye = !joined.is_empty();
        for group in joined {
            group.shared.end(Ended::Closed);
        }
        if says_goodbye {
            self.inner.bonds.flush(GOODBYE).await;
        }
        let durable = self.inner.durable.borrow().clone();
        if let Disk::Open(storage) = durable {
            storage.close().await;
        }
    }

    fn enter<M: Application>(&self, name: String, options: Options, writer: bool) -> Group<M> {
        let id = GroupId::from_name(&name);
        let mut state = lock(&self.inner.state);
        if let Some(joined) = state.joined.get(&id) {
            // Who follows does not become a voter while it does.
            let same = *joined.options == options && (joined.writer || !writer);
            let local = joined.local.clone().downcast::<Local<M>>();
            return match local {
                Ok(local) if same => Group::new(joined.clone(), (*local).clone()),
                _ => self.refused(&name, options, Refusal::Declared),
            };
        }
        let has_dir = self.inner.config.dir.is_some();
        let (program, settled) = match self.settle::<M>(options.clone(), has_dir) {
            Ok(_) if cfg!(panic = "abort") => {
                return self.refused(&name, options, Refusal::PanicAbort);
            }
            Ok(settled) => settled,
            Err(why) => return self.refused(&name, options, why),
        };
        if settled.founders == 1 {
            warn!(
                group = name,
                "founded by one node alone: development mode; say `founders = 3` for production"
            );
        }
        let awaited = if settled.founders == 1 {
            self.awaited()
        } else {
            Vec::new()
        };
        let (peer, tasks) = (self.inner.peer, &self.inner.tasks);
        let shared = Shared::hosting(&name, peer, program, awaited, tasks);
        let hosted = Hosted::<M>::new();
        let local = hosted.local();
        let stop = watch::Sender::new(Stop::No);
        let joined = Joined {
            shared: shared.clone(),
            options: Arc::new(options),
            writer,
            stop: stop.clone(),
            local: Arc::new(local.clone()),
        };
        state.joined.insert(id, joined.clone());
        drop(state);
        let span = info_span!("group", name);
        let driving = Driving {
            groups: self.clone(),
            shared,
            settled,
            writer,
            hosted: Arc::new(move || Box::new(hosted.clone()) as Box<dyn Machine>),
            stop,
        };
        self.inner
            .tasks
            .spawn(Box::pin(driving.run()).instrument(span));
        Group::new(joined, local)
    }

    /// The program of an application, and its options, once both were checked.
    fn settle<M: Application>(
        &self,
        options: Options,
        has_dir: bool,
    ) -> Result<(Program, Settled), Refusal> {
        let (program, fingerprint) =
            Program::of::<M>().map_err(|why| Refusal::BadOptions(why.to_string()))?;
        let settled = options.settle(self.inner.config.founders, has_dir, fingerprint)?;
        Ok((program, settled))
    }

    /// Connects a client to a group.
    fn client<M: Application>(&self, name: &str, options: &Options) -> Caller {
        let timeout = options.command_timeout;
        // Where the log is kept is the members' business.
        let options = Options {
            durable: Durability::IfPossible,
            ..options.clone()
        };
        let (program, settled) = match self.settle::<M>(options, false) {
            Ok(settled) => settled,
            Err(why) => return self.refused_client(name, timeout, why),
        };
        let tasks = self.inner.tasks.child();
        let version = Version::of(&program, settled.terms.fingerprint);
        let shared = Shared::hosting(name, self.inner.peer, program, Vec::new(), &tasks);
        let stopping = {
            let mut state = lock(&self.inner.state);
            state.clients.retain(|client| client.strong_count() > 0);
            state.clients.push(Arc::downgrade(&shared));
            state.stopping
        };
        if stopping {
            shared.end(Ended::Closed);
        }
        let connector = Connector {
            shared: shared.clone(),
            bonds: self.inner.bonds.clone(),
            key: settled.key,
            tickets: settled.options.tickets,
            version,
            tasks: tasks.clone(),
        };
        let span = info_span!("client", name);
        tasks.spawn(connector.run().instrument(span));
        Caller {
            timeout,
            connected: Some(Connected::new(shared.clone(), tasks)),
            shared,
        }
    }

    /// A client that answers every call with why it is refused.
    fn refused_client(&self, name: &str, timeout: Duration, why: Refusal) -> Caller {
        warn!(group = name, %why, "the client is refused");
        let shared = Shared::new(name, self.inner.peer, Vec::new(), &self.inner.tasks);
        shared.refuse(why);
        Caller {
            shared,
            timeout,
            connected: None,
        }
    }

    fn clients(&self) -> Vec<Arc<Shared>> {
        let state = lock(&self.inner.state);
        state.clients.iter().filter_map(Weak::upgrade).collect()
    }

    /// A handle that answers every call with why it is refused.
    fn refused<M: Application>(&self, name: &str, options: Options, why: Refusal) -> Group<M> {
        warn!(group = name, %why, "the group is refused");
        let shared = Shared::new(name, self.inner.peer, Vec::new(), &self.inner.tasks);
        shared.refuse(why);
        let local = Hosted::<M>::new().local();
        let joined = Joined {
            shared,
            options: Arc::new(options),
            writer: false,
            stop: watch::Sender::new(Stop::Shutdown),
            local: Arc::new(local.clone()),
        };
        Group::new(joined, local)
    }

    /// Whom to ask before founding alone.
    fn awaited(&self) -> Vec<Awaited> {
        let config = &self.inner.config;
        let peers = config.bootstrap.iter().copied().map(Awaited::Peer);
        let rendezvous = config
            .rendezvous
            .then_some(Awaited::Rendezvous("this machine"));
        peers.chain(rendezvous).collect()
    }

    /// Waits until this node carries the tickets that a group asks for. Tells the group while it does not.
    ///
    /// Others would not let it in; without them, it would found a group of its own.
    async fn admitted(&self, required: &RequiredTickets, shared: &Shared) {
        let discovery = self.inner.bonds.discovery();
        let mut edits = discovery.edits();
        loop {
            edits.mark_unchanged();
            let Err(denial) = required.check_now(&discovery.me()) else {
                break;
            };
            let again = denial.again;
            shared.wait_for(Unavailable::Ticket {
                class: denial.class,
                why: denial.why,
            });
            tokio::select! {
                biased;
                // The sender is the network's own.
                _ = edits.changed() => {}
                () = tickets::look_at(again) => {}
            }
        }
        shared
            .status()
            .send_modify(|status| status.unavailable = None);
    }

    /// The storage for a group, opened when it is first asked for, and anew after it has failed. Tells the group
    /// while it cannot be opened.
    async fn storage(&self, durable: bool, shared: &Shared) -> Option<Storage> {
        if !durable {
            return Some(self.inner.volatile.clone());
        }
        let dir = self.inner.config.dir.clone()?;
        let opens = !std::mem::replace(&mut lock(&self.inner.state).opening, true);
        if opens {
            let (groups, dir) = (self.clone(), dir.clone());
            self.inner
                .tasks
                .spawn(async move { groups.keep_open(dir).await });
        }
        let mut open = self.inner.durable.subscribe();
        loop {
            let opened = open.borrow_and_update().clone();
            match opened {
                Disk::Open(storage) if storage.failure().borrow().is_none() => {
                    shared
                        .status()
                        .send_modify(|status| status.unavailable = None);
                    return Some(storage);
                }
                Disk::Open(_) | Disk::Opening => {}
                Disk::Shut(why) => {
                    let dir = dir.clone();
                    shared.wait_for(Unavailable::Storage { dir, why });
                }
            }
            open.changed().await.ok()?;
        }
    }

    /// Keeps the storage on disk open; after a failure it is opened anew, which verifies what it finds.
    async fn keep_open(&self, dir: PathBuf) {
        while !lock(&self.inner.state).stopping {
            match open(&dir, &self.inner.tasks).await {
                Ok(storage) => {
                    let mut failure = storage.failure();
                    self.inner.durable.send_replace(Disk::Open(storage.clone()));
                    let failed = match failure.wait_for(Option::is_some).await {
                        Ok(failure) => failure.as_ref().map(ToString::to_string),
                        Err(_) => return,
                    };
                    warn!(?failed, "the storage of groups failed and is opened anew");
                    self.inner.durable.send_replace(Disk::Opening);
                    storage.close().await;
                }
                Err(error) => {
                    warn!(%error, "the storage of groups cannot be opened");
                    self.inner.durable.send_replace(Disk::Shut(error));
                }
            }
            rt::sleep(rt::jitter(REOPEN)).await;
        }
    }
}

/// What runs a group's driver, again after its storage has failed.
struct Driving {
    groups: Groups,
    shared: Arc<Shared>,
    settled: Settled,
    writer: bool,
    hosted: super::driver::MakeMachine,
    stop: watch::Sender<Stop>,
}

impl Driving {
    async fn run(self) {
        let mut stop = self.stop.subscribe();
        loop {
            let storage = async {
                let tickets = &self.settled.options.tickets;
                self.groups.admitted(tickets, &self.shared).await;
                let durable = self.settled.durable;
                self.groups.storage(durable, &self.shared).await
            };
            let storage = tokio::select! {
                biased;
                storage = storage => Some(storage),
                // What cannot be opened has nobody to say good-bye to. The sender is this one's own.
                _ = stop.wait_for(|stop| *stop != Stop::No) => None,
            };
            let ending = match storage {
                Some(Some(storage)) => {
                    let ending = Box::pin(self.drive(storage.clone())).await;
                    blamed(ending, storage.failure().borrow().as_ref())
                }
                Some(None) => return,
                None => Ending::Asked,
            };
            let (text, ended) = match ending {
                Ending::Asked => ("left".to_owned(), Some(Ended::Closed)),
                Ending::Halted(why) => (why.clone(), Some(Ended::Stopped(why))),
                Ending::Storage(why) => (why, None),
            };
            let mut status = self.shared.status().borrow().clone();
            let Some(ended) = ended else {
                warn!(why = text, "the group waits for its storage");
                status.online = false;
                status.leader = None;
                status.phase = Phase::Founding(format!("storage failed: {text}"));
                self.shared.set_status(status);
                rt::sleep(rt::jitter(REOPEN)).await;
                continue;
            };
            if let Ended::Stopped(why) = &ended {
                warn!(why, "the replica stopped for good");
            }
            status.end(text);
            // Whoever sees the status end may join again at once, and finds the old handle ended.
            lock(&self.groups.inner.state)
                .joined
                .remove(&self.shared.id());
            self.shared.end(ended);
            self.shared.set_status(status);
            return;
        }
    }

    async fn drive(&self, storage: Storage) -> Ending {
        let inner = &self.groups.inner;
        let dir = inner.config.dir.as_ref().map(|dir| dir.join(SNAPSHOTS));
        let parts = Parts {
            shared: self.shared.clone(),
            settled: self.settled.clone(),
            writer: self.writer,
            machine: self.hosted.clone(),
            bonds: inner.bonds.clone(),
            storage,
            dir: dir.filter(|_| self.settled.durable),
            slots: inner.slots.clone(),
            tasks: inner.tasks.clone(),
            stop: self.stop.subscribe(),
        };
        match Driver::start(parts).await {
            Ok(driver) => Box::pin(driver.run()).await,
            Err(ending) => ending,
        }
    }
}

/// Why a driver has ended, whose storage failed or did not. What cannot be read from one that failed, which another
/// group may have found out first, says nothing of what is there.
fn blamed(ending: Ending, failure: Option<&Failure>) -> Ending {
    match (ending, failure) {
        (Ending::Halted(_), Some(failure)) => Ending::Storage(failure.to_string()),
        (ending, _) => ending,
    }
}

/// Options for taking part in a group: from [`Groups::builder`].
#[derive(Debug)]
#[must_use = "call `join` or `observe` to take part"]
pub struct GroupBuilder<M> {
    pub(super) groups: Groups,
    pub(super) name: String,
    pub(super) options: Options,
    /// Why nobody may take part, if so.
    pub(super) refused: Option<Refusal>,
    pub(super) machine: PhantomData<fn() -> M>,
}

impl<M: Application> GroupBuilder<M> {
    /// Nobody may take part, for this reason.
    pub(crate) fn refused(mut self, why: Refusal) -> Self {
        self.refused = Some(why);
        self
    }

    setters!();

    /// Takes part as a writer: votes if chosen.
    pub fn join(self) -> Group<M> {
        self.enter(true)
    }

    /// Follows the group: never votes.
    pub fn observe(self) -> Group<M> {
        self.enter(false)
    }

    /// Connects to the group as a client, which holds no replica of it and is no member.
    ///
    /// The options that count are `key` and `ticket`, which have to be the members', and `command_timeout`.
    pub fn connect(self) -> GroupClient<M> {
        let Options {
            command_timeout, ..
        } = self.options;
        GroupClient::new(match self.refused {
            Some(why) => self.groups.refused_client(&self.name, command_timeout, why),
            None => self.groups.client::<M>(&self.name, &self.options),
        })
    }

    fn enter(self, writer: bool) -> Group<M> {
        match self.refused {
            Some(why) => self.groups.refused(&self.name, self.options, why),
            None => self.groups.enter(self.name, self.options, writer),
        }
    }
}

/// How a group is doing, for people.
pub(super) fn explanation(shared: &Shared) -> GroupExplanation {
    GroupExplanation {
        name: shared.name().into(),
        id: shared.id(),
        version: shared.progress().get(),
        status: shared.status().borrow().clone(),
    }
}

/// Opens the storage in a directory, which is made if need be.
async fn open(dir: &Path, tasks: &Tasks) -> Result<Storage, String> {
    let snapshots = dir.join(SNAPSHOTS);
    let made = rt::blocking(move || fs::create_dir_all(&snapshots)).await;
    made.map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    let opened = Storage::open(dir, tasks).await;
    opened.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A member whose disk was full stopped for good where another group had found that out while this one started.
    #[test]
    fn a_storage_that_failed_is_to_blame_for_what_cannot_be_read() {
        let halted = || Ending::Halted("the log cannot be read".into());
        let failure = Failure::Io {
            path: "groups.redb".into(),
            kind: io::ErrorKind::StorageFull,
            reason: "no space".into(),
        };
        let ending = blamed(halted(), Some(&failure));
        assert!(matches!(ending, Ending::Storage(why) if why.contains("groups.redb")));
        assert!(matches!(blamed(halted(), None), Ending::Halted(_)));
        assert!(matches!(
            blamed(Ending::Asked, Some(&failure)),
            Ending::Asked
        ));
    }
}
