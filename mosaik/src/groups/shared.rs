//! What the handles of a group share with what drives it.

use std::{sync::Arc, time::Duration};

use super::{
    client::Client,
    error::{GroupError, RecoverError, Refusal, Unavailable, Unsupported},
    event,
    machine::Program,
    progress::Progress,
    proposer::Failed,
    proto::founding::message::Awaited,
    reads::Reads,
    remote::Remote,
    route::Route,
    status::{GroupStatus, Phase},
};
use crate::{
    id::{GroupId, PeerId},
    rt::{self, Tasks, watch},
};

/// What the handles of a group share with what drives it.
#[derive(Debug)]
pub(crate) struct Shared {
    id: GroupId,
    name: String,
    peer: PeerId,
    program: Program,
    awaited: Vec<Awaited>,
    progress: Arc<Progress>,
    client: Client,
    reads: Reads,
    tasks: Tasks,
    route: watch::Sender<Result<Option<Route>, Ended>>,
    status: watch::Sender<GroupStatus>,
    asked: watch::Sender<Asked>,
}

/// Longest wait for a descendant charter that an operator asked for: survivors that stop for one that does not
/// come go on after less.
pub(super) const RECOVERY: Duration = Duration::from_secs(30);

/// What operators ask of the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Those who wait for a descendant charter and were not answered yet.
    pub(crate) waiting: u32,
    /// How often it was said what came of it, and what last.
    pub(crate) answered: (u64, Option<RecoverError>),
}

/// Waits for a descendant charter while it lives.
struct Asking<'a> {
    asked: &'a watch::Sender<Asked>,
    /// How often others were answered before.
    seen: u64,
}

impl<'a> Asking<'a> {
    fn new(asked: &'a watch::Sender<Asked>) -> Self {
        let mut seen = 0;
        asked.send_modify(|asked| {
            asked.waiting = asked.waiting.saturating_add(1);
            seen = asked.answered.0;
        });
        Self { asked, seen }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.asked.send_modify(|asked| {
            // Who was answered is counted no more.
            if asked.answered.0 == self.seen {
                asked.waiting = asked.waiting.saturating_sub(1);
            }
        });
    }
}

/// Why a group takes no more commands from this node, ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// This member may not take part.
    Refused(Refusal),
    /// The replica stopped for good.
    Stopped(String),
    /// Another charter lives on.
    Superseded,
    /// The handle's network is shut down, or it has left the group.
    Closed,
}

impl Ended {
    /// What commands are answered.
    pub(crate) fn error(&self) -> GroupError {
        match self {
            Self::Refused(why) => GroupError::Refused(why.clone()),
            Self::Stopped(why) => GroupError::Stopped(why.clone()),
            Self::Superseded => GroupError::Superseded,
            Self::Closed => GroupError::Closed,
        }
    }
}

impl Shared {
    /// A group that nothing drives.
    pub(crate) fn new(name: &str, peer: PeerId, awaited: Vec<Awaited>, tasks: &Tasks) -> Arc<Self> {
        Self::hosting(name, peer, Program::default(), awaited, tasks)
    }

    /// A group that is about to be joined by `peer`, which runs `program` for it. Founding waits for `awaited`.
    pub(crate) fn hosting(
        name: &str,
        peer: PeerId,
        program: Program,
        awaited: Vec<Awaited>,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let route = watch::Sender::new(Ok(None::<Route>));
        let routes = route.subscribe();
        let round = move || {
            let route = routes.borrow().clone();
            async move {
                match route {
                    Ok(Some(route)) => route.read_index().await,
                    _ => Err(Failed::NotLeader { leader: None }),
                }
            }
        };
        Arc::new(Self {
            id: GroupId::from_name(name),
            name: name.into(),
            peer,
            program,
            awaited,
            progress: Arc::default(),
            client: Client::default(),
            reads: Reads::start(round, tasks),
            tasks: tasks.clone(),
            route,
            status: watch::Sender::default(),
            asked: watch::Sender::default(),
        })
    }

    pub(crate) fn id(&self) -> GroupId {
        self.id
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.peer
    }

    /// What is known of the program that runs here.
    pub(crate) fn program(&self) -> &Program {
        &self.program
    }

    /// What is said of a command or query of this number that `peer` does not know.
    pub(crate) fn unsupported(&self, number: u64, peer: PeerId) -> GroupError {
        let command = self.program.name(number);
        GroupError::Unsupported(Box::new(Unsupported { command, peer }))
    }

    pub(crate) fn awaited(&self) -> Vec<Awaited> {
        self.awaited.clone()
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// What goes on behind the handles' back, until the network stops.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The way to the leader, as it changes.
    pub(crate) fn routes(&self) -> watch::Receiver<Result<Option<Route>, Ended>> {
        self.route.subscribe()
    }

    /// Changes the way to the leader, unless the group has ended here.
    pub(crate) fn set_route(&self, route: Option<Route>) {
        self.route.send_if_modified(|current| {
            if current.is_err() {
                return false;
            }
            if let Ok(Some(old)) = std::mem::replace(current, Ok(route)) {
                old.close();
            }
            true
        });
    }

    /// A client is served by this member from now on, or by none.
    pub(crate) fn serve_by(&self, remote: Option<&Arc<Remote>>) {
        self.route.send_if_modified(|current| {
            let Ok(known) = current else {
                return false;
            };
            let same = match (&*known, remote) {
                (None, None) => true,
                (Some(Route::Remote(known)), Some(remote)) => Arc::ptr_eq(known, remote),
                _ => false,
            };
            if !same {
                *known = remote.cloned().map(Route::Remote);
            }
            !same
        });
    }

    /// No more commands, for this reason; the first stays.
    pub(crate) fn end(&self, ended: Ended) {
        let superseded = ended == Ended::Superseded;
        self.route.send_if_modified(|current| {
            // What is superseded can still be closed or stopped.
            let first =
                !matches!(current, Err(before) if superseded || *before != Ended::Superseded);
            if first {
                *current = Err(ended);
            }
            first
        });
    }

    /// This node may not take part, for this reason.
    pub(crate) fn refuse(&self, why: Refusal) {
        let text = why.to_string();
        self.end(Ended::Refused(why));
        self.status.send_modify(|status| status.end(text));
    }

    /// How the group is doing.
    pub(crate) fn status(&self) -> &watch::Sender<GroupStatus> {
        &self.status
    }

    /// Changes how the group is doing.
    pub(crate) fn set_status(&self, now: GroupStatus) {
        self.status.send_if_modified(|status| {
            let before = std::mem::replace(status, now);
            event::count(&before, status);
            before != *status
        });
    }

    /// Tells why this node does not take part yet.
    pub(crate) fn wait_for(&self, unavailable: Unavailable) {
        self.status.send_modify(|status| {
            status.phase = Phase::Founding(unavailable.to_string());
            status.unavailable = Some(unavailable);
        });
    }

    /// What operators ask for.
    pub(crate) fn asked(&self) -> &watch::Sender<Asked> {
        &self.asked
    }

    /// Asks the driver to found a descendant charter, and waits until there is one.
    pub(crate) async fn recover(&self) -> Result<(), RecoverError> {
        match &*self.route.borrow() {
            Err(Ended::Superseded) => return Err(RecoverError::Superseded),
            Err(_) => return Err(RecoverError::Closed),
            Ok(_) => {}
        }
        let mut asked = self.asked.subscribe();
        let asking = Asking::new(&self.asked);
        let answered = asked.wait_for(|asked| asked.answered.0 > asking.seen);
        match rt::timeout(RECOVERY, answered).await {
            Ok(Ok(asked)) => asked.answered.1.clone().map_or(Ok(()), Err),
            Ok(Err(_)) => Err(RecoverError::Closed),
            Err(_) => {
                let waits = self.status.borrow().recovery.clone();
                let waits = waits.unwrap_or_else(|| "the group is not driven".into());
                Err(RecoverError::TimedOut { waits })
            }
        }
    }

    /// What commands are answered once nothing drives the group any more.
    pub(crate) fn gone(&self) -> GroupError {
        match &*self.route.borrow() {
            Err(ended) => ended.error(),
            Ok(_) => GroupError::Closed,
        }
    }
}
