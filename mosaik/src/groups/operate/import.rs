//! The state of a file, on its way into a group.
//!
//! An operator sends it to a member, whichever. That one looks whether it is a state of its machine at all before
//! anything of it is in the log, and then takes the [steps](crate::groups::machine::Step) that bring it there.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ask::{self, Unanswered},
    file::{Export, ExportHeader},
    message::{Answer, MAX_ANSWER, Sent, What},
    serve::Operator,
};
use crate::{
    groups::{
        Groups,
        bonds::Line,
        error::Refusal,
        front::Front,
        machine::{CHUNK, ImportId, Item, ItemReply, MAX_IMPORT, Step, Taken},
        options,
        proposer::Failed,
        remote::End,
        replica::Replica,
        route::Route,
        shared::Ended,
    },
    id::{GroupId, PeerId},
    rt::{self, watch},
    transport::{CloseCode, Link, LinkError},
};

/// How long an import may stand still, on either side.
const PROGRESS: Duration = Duration::from_secs(30);
/// How long a member waits for a leader, with every step.
const LEADER: Duration = Duration::from_secs(20);
/// How long the member may take to look whether it is a state.
const CHECK: Duration = Duration::from_secs(600);
/// How long to wait, give or take half, before a step is sent again.
const RETRY: Duration = Duration::from_millis(20);
/// How long to wait for members that are online, and how often to look for them.
const FOUNDED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(500);

/// Why a group does not take a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NoImport {
    /// Wait until the member holds a state, or name another one.
    #[error("the member holds no state yet, as the group is not founded there")]
    NotFounded,
    /// Look whether it is the right file.
    #[error("the file holds the state of group `{found}`")]
    Group {
        /// Of which group it is.
        found: String,
    },
    /// Run a version of the program whose state and commands are those of the version that was exported from, both of
    /// them debug or both release builds.
    #[error(
        "the file was exported from another state machine, or from a debug build for a release build or the reverse"
    )]
    Layout,
    /// The state is larger than 1 GiB: give the group commands that bring it there.
    #[error("a state of {length} bytes is over the limit of {MAX_IMPORT} for an import")]
    TooLarge {
        /// Its bytes.
        length: u64,
    },
    /// Say that what the group holds may be lost, if so.
    #[error(
        "the group holds what commands have made; import with `replace` if all of that may be lost"
    )]
    HasCommands,
    /// Read the file again; if it is always so, export anew.
    #[error("what arrived is not what was announced")]
    Damaged,
    /// It is no state of this machine: run the version of the program that it was exported from.
    #[error("the state cannot be read: {0}")]
    Unreadable(String),
    /// Import again, and nothing else meanwhile.
    #[error("another import took its place")]
    Replaced,
    /// Import where the other charter lives.
    #[error("the group's charter was superseded by another")]
    Superseded,
    /// See [`Groups::report`] for what the group lacks, then import again: nothing was changed.
    #[error("the group has no leader that this member can reach; nothing was changed")]
    NoLeader,
    /// Look at what the group holds before you import again.
    #[error(
        "the group stopped answering at the very end; look whether it has the state before you import again"
    )]
    Outcome,
    /// Update the members: one of them knows no imports.
    #[error("the leader cannot take the state; update all members")]
    Unsupported,
    /// The member takes part no longer.
    #[error("the member takes part in the group no longer")]
    Closed,
}

/// Why a state was not imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// See to what the text says.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// Give the key that the members were given.
    #[error("the member refuses: {0}")]
    Refused(Refusal),
    /// Try again in a moment, or ask another member.
    #[error("the member carries out as many orders as it may at once; try again in a moment")]
    Busy,
    /// See to what the text says.
    #[error(transparent)]
    NoImport(#[from] NoImport),
    /// Start as many members as the group has founders, which found it without a state; or name the member to ask.
    #[error(
        "no member of group `{name}` is online that a majority knows; start as many as it has founders, or name one"
    )]
    NoMember {
        /// The group's name.
        name: String,
    },
    /// Look at the group before you begin anew: its last steps may have been taken.
    #[error("the import broke off: {0}")]
    Broken(String),
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportStep {
    /// So many bytes were sent to the member.
    Sent(u64),
    /// So many bytes stand in the log of the group, where a majority has them.
    Replicated(u64),
    /// The group has the state, as a majority has acknowledged: from this version on.
    Imported(u64),
}

/// What an operator says of the state that follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Announced {
    header: ExportHeader,
    /// The BLAKE3 digest of the state.
    digest: [u8; 32],
    replace: bool,
}

impl Announced {
    fn of(export: &Export, replace: bool) -> Self {
        Self {
            header: export.header.clone(),
            digest: *blake3::hash(&export.state).as_bytes(),
            replace,
        }
    }
}

impl Groups {
    /// Has the group that an export is of take its state over, by way of the member `at`, or of any that a majority
    /// knows for one. Proves to know the group's key, if it has one. Members have to run: this node only gives the
    /// order, and without `at` waits up to 30 s until the group is founded.
    ///
    /// The state goes through the group's log, and takes the place of the one that is there at one entry of it, on all
    /// replicas. It is there once [`Importing::next`] says so: a majority has it then, on disk if the group is durable.
    /// What was there is lost; so a group that has ever applied a command refuses, unless `replace` says that this is
    /// meant. Sessions, versions and the charter are those of the group, and not of the one that was exported: a
    /// command that was given to that one and not answered is not applied again.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub async fn import(
        &self,
        export: Export,
        at: Option<PeerId>,
        key: Option<&str>,
        replace: bool,
    ) -> Result<Importing, ImportError> {
        let name = export.header.group.clone();
        let at = match at {
            Some(at) => at,
            None => self.importer(&name).await?,
        };
        let group = GroupId::from_name(&name);
        let announced = Announced::of(&export, replace);
        let state = Bytes::from(export.state);
        let (bonds, key) = (self.bonds(), options::derived(key));
        if let Some(front) = bonds.front(&group).filter(|front| front.me().peer == at) {
            if *front.key() != key {
                return Err(ImportError::Refused(Refusal::Key));
            }
            let mut steps = Steps::begin(&front, &announced).await?;
            steps.check(state).await?;
            return Ok(Importing::new(at, Way::Here(steps)));
        }
        let ordered = ask::order(bonds, at, What::Import, &key, group);
        let ordered = rt::timeout(ask::TIMEOUT, ordered).await;
        let (line, link) = ordered.unwrap_or(Err(Unanswered::TimedOut))?;
        let mut link = Link::<Sent, Answer>::resume(link.into_halves(), MAX_ANSWER);
        match ask::answer(&mut link, ask::TIMEOUT).await? {
            Answer::Importing { proof } => {
                if proof != line.proof_as(&key, End::Importer, group) {
                    return Err(ImportError::Refused(Refusal::Key));
                }
            }
            answer => return Err(refusal(answer)),
        }
        let sent = rt::timeout(PROGRESS, link.tx.send(&Sent::Announced(announced))).await;
        let sent = sent.unwrap_or(Err(LinkError::Stream(CloseCode::TimedOut)));
        sent.map_err(|error| Unanswered::link(&error))?;
        match ask::answer(&mut link, LEADER + ask::TIMEOUT).await? {
            Answer::Replicated(_) => {}
            answer => return Err(refusal(answer)),
        }
        let there = There {
            _line: line,
            link,
            left: state,
            sent: 0,
            all: false,
        };
        Ok(Importing::new(at, Way::There(Box::new(there))))
    }

    /// Whom to send a state to, once there is somebody.
    async fn importer(&self, name: &str) -> Result<PeerId, ImportError> {
        let founded = async {
            loop {
                let report = self.report(name).await.ok();
                let online = report.as_ref().and_then(|report| {
                    let mut members = report.agreed();
                    members.find(|member| member.online)
                });
                if let Some(member) = online {
                    return member.peer;
                }
                rt::sleep(LOOK).await;
            }
        };
        let none = |_| ImportError::NoMember { name: name.into() };
        rt::timeout(FOUNDED, founded).await.map_err(none)
    }
}

/// What an answer says that is not the one that was waited for.
fn refusal(answer: Answer) -> ImportError {
    match answer {
        Answer::Refused(why) => ImportError::Refused(why),
        Answer::Busy => ImportError::Busy,
        Answer::NoImport(why) => why.into(),
        _ => Unanswered::Malformed("it answers something else".into()).into(),
    }
}

/// A state that is being imported: from [`Groups::import`]. Dropped before its end, the group forgets what has come.
pub struct Importing {
    at: PeerId,
    way: Way,
    ended: bool,
}

/// How a state comes into the group.
enum Way {
    Here(Steps),
    There(Box<There>),
}

/// The way to a member.
struct There {
    /// Its control stream, which keeps the connection open.
    _line: Line,
    link: Link<Sent, Answer>,
    /// What is not sent yet.
    left: Bytes,
    sent: u64,
    /// Whether it was said that this was all.
    all: bool,
}

impl Importing {
    fn new(at: PeerId, way: Way) -> Self {
        let ended = false;
        Self { at, way, ended }
    }

    /// The member by way of which the state comes into the group.
    pub fn at(&self) -> PeerId {
        self.at
    }

    /// Goes on: how far it is then, and `None` after [`ImportStep::Imported`].
    ///
    /// # Errors
    /// When the group does not take the state, or the member goes away. Either ends the import. It may have come to its
    /// end then if nothing was heard any more: look at the group.
    pub async fn next(&mut self) -> Result<Option<ImportStep>, ImportError> {
        if self.ended {
            return Ok(None);
        }
        let step = match &mut self.way {
            Way::Here(steps) => steps.next().await.map_err(ImportError::from),
            Way::There(there) => there.next().await,
        };
        self.ended = matches!(step, Ok(ImportStep::Imported(_)) | Err(_));
        step.map(Some)
    }
}

impl There {
    /// Sends the next bytes, or hears how far the member is once all are sent.
    async fn next(&mut self) -> Result<ImportStep, ImportError> {
        if !self.left.is_empty() {
            let len = self.left.len().min(CHUNK);
            let chunk = self.left.split_to(len);
            self.send(&Sent::Chunk(chunk)).await?;
            self.sent += len as u64;
            return Ok(ImportStep::Sent(self.sent));
        }
        let mut patience = LEADER + PROGRESS;
        if !std::mem::replace(&mut self.all, true) {
            self.send(&Sent::End).await?;
            patience += CHECK;
        }
        let answer = rt::timeout(patience, self.link.rx.recv()).await;
        match answer
            .map_err(|_| late())?
            .map_err(|error| broken(&error))?
        {
            Some(Answer::Replicated(bytes)) => Ok(ImportStep::Replicated(bytes)),
            Some(Answer::Imported(version)) => Ok(ImportStep::Imported(version)),
            Some(answer) => Err(refusal(answer)),
            None => Err(broken(&"the member says no more")),
        }
    }

    async fn send(&mut self, sent: &Sent) -> Result<(), ImportError> {
        let done = rt::timeout(PROGRESS, self.link.tx.send(sent)).await;
        match done.map_err(|_| late())? {
            Ok(()) => Ok(()),
            // Whoever takes no more has said why.
            Err(error) => match ask::answer(&mut self.link, ask::TIMEOUT).await {
                Ok(answer) => Err(refusal(answer)),
                Err(_) => Err(broken(&error)),
            },
        }
    }
}

fn broken(error: &dyn fmt::Display) -> ImportError {
    ImportError::Broken(error.to_string())
}

fn late() -> ImportError {
    broken(&"the member does not go on")
}

impl fmt::Debug for Importing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Importing")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// Takes a state from an operator who may give it, and brings it into the group.
pub(super) async fn receive(
    front: &Arc<Front>,
    line: &Line,
    mut operator: Operator<Sent>,
) -> Result<(), LinkError> {
    let proof = line.proof_as(front.key(), End::Importer, front.group());
    operator.tell(&Answer::Importing { proof }).await?;
    let answer = match take(front, &mut operator).await? {
        Ok(version) => Answer::Imported(version),
        Err(why) => Answer::NoImport(why),
    };
    operator.tell(&answer).await?;
    operator.finish().await
}

async fn take(
    front: &Arc<Front>,
    operator: &mut Operator<Sent>,
) -> Result<Result<u64, NoImport>, LinkError> {
    let malformed = || LinkError::Stream(CloseCode::Malformed);
    let Sent::Announced(announced) = operator.hear(PROGRESS).await? else {
        return Err(malformed());
    };
    let mut steps = match Steps::begin(front, &announced).await {
        Ok(steps) => steps,
        Err(why) => return Ok(Err(why)),
    };
    operator.tell(&Answer::Replicated(0)).await?;
    let mut state = Vec::new();
    loop {
        match operator.hear(PROGRESS).await? {
            Sent::Chunk(chunk) => {
                state.extend_from_slice(&chunk);
                if state.len() as u64 > announced.header.length {
                    return Ok(Err(NoImport::Damaged));
                }
            }
            Sent::End => break,
            Sent::Announced(_) => return Err(malformed()),
        }
    }
    if let Err(why) = steps.check(state.into()).await {
        return Ok(Err(why));
    }
    loop {
        match steps.next().await {
            Ok(ImportStep::Imported(version)) => return Ok(Ok(version)),
            Ok(ImportStep::Replicated(bytes) | ImportStep::Sent(bytes)) => {
                operator.tell(&Answer::Replicated(bytes)).await?;
            }
            Err(why) => return Ok(Err(why)),
        }
    }
}

/// Brings a state into the group, step by step. Given up unless it comes to its end.
struct Steps {
    front: Arc<Front>,
    replica: Arc<Replica>,
    id: ImportId,
    announced: Announced,
    /// What is not in the log yet.
    left: VecDeque<Bytes>,
    replicated: u64,
    ended: bool,
}

impl Steps {
    /// Asks the group whether it takes this state.
    async fn begin(front: &Arc<Front>, announced: &Announced) -> Result<Self, NoImport> {
        let header = &announced.header;
        if header.group != front.shared().name() {
            let found = header.group.clone();
            return Err(NoImport::Group { found });
        }
        if header.layout != front.fingerprint().0 {
            return Err(NoImport::Layout);
        }
        let replica = front.serving().borrow().clone();
        let mut steps = Self {
            front: front.clone(),
            replica: replica.ok_or(NoImport::NotFounded)?,
            id: rt::random_bytes(),
            announced: announced.clone(),
            left: VecDeque::new(),
            replicated: 0,
            ended: false,
        };
        let begin = Step::Begin {
            id: steps.id,
            length: header.length,
            digest: announced.digest,
            replace: announced.replace,
        };
        steps.step(begin).await?;
        Ok(steps)
    }

    /// Looks whether it is the state that was announced, and one of this machine.
    async fn check(&mut self, state: Bytes) -> Result<(), NoImport> {
        let (replica, digest) = (self.replica.clone(), self.announced.digest);
        let state = rt::blocking(move || {
            if *blake3::hash(&state).as_bytes() != digest {
                return Err(NoImport::Damaged);
            }
            let read = replica.check_state(&state);
            read.map_err(|error| NoImport::Unreadable(error.to_string()))?;
            Ok(state)
        });
        let mut state = state.await?;
        while !state.is_empty() {
            let len = state.len().min(CHUNK);
            self.left.push_back(state.split_to(len));
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<ImportStep, NoImport> {
        let id = self.id;
        let Some(bytes) = self.left.pop_front() else {
            let (index, _) = self.step(Step::Finish { id }).await?;
            self.ended = true;
            // What is acknowledged can be seen here.
            self.front.shared().progress().reach(index).await;
            return Ok(ImportStep::Imported(index));
        };
        let at = self.replicated;
        let upto = at + bytes.len() as u64;
        let chunk = Step::Chunk { id, at, bytes };
        match self.step(chunk).await? {
            (_, Taken::Upto(taken)) if taken == upto => {
                self.replicated = upto;
                Ok(ImportStep::Replicated(upto))
            }
            _ => Err(NoImport::Replaced),
        }
    }

    /// Takes a step, as often as it takes until it is answered.
    async fn step(&mut self, step: Step) -> Result<(u64, Taken), NoImport> {
        let taken = rt::timeout(LEADER, submit(&self.front, &step)).await;
        let late = match step {
            Step::Finish { .. } => NoImport::Outcome,
            _ => NoImport::NoLeader,
        };
        let (index, taken) = taken.unwrap_or(Err(late))?;
        let length = self.announced.header.length;
        let refused = match taken {
            Taken::Upto(_) | Taken::Imported => return Ok((index, taken)),
            Taken::Unknown => NoImport::Replaced,
            Taken::HasCommands => NoImport::HasCommands,
            Taken::TooLarge => NoImport::TooLarge { length },
            Taken::Damaged => NoImport::Damaged,
            Taken::Unreadable => NoImport::Unreadable("the replicas cannot".into()),
            Taken::Superseded => NoImport::Superseded,
        };
        self.ended = true;
        Err(refused)
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if !self.ended {
            let (front, id) = (self.front.clone(), self.id);
            self.front.shared().tasks().spawn(async move {
                let abandon = Step::Abandon { id };
                let abandoned = rt::timeout(LEADER, submit(&front, &abandon)).await;
                tracing::debug!(?abandoned, "an import was given up");
            });
        }
    }
}

/// Has a step applied, by whoever leads.
async fn submit(front: &Front, step: &Step) -> Result<(u64, Taken), NoImport> {
    let mut routes = front.shared().routes();
    loop {
        let route = way(&mut routes).await?;
        match route.submit(Item::Import(Box::new(step.clone()))).await {
            Ok((at, ItemReply::Import(taken))) => return Ok((at.index, taken)),
            Ok(_) | Err(Failed::Malformed | Failed::Unsupported { .. }) => {
                return Err(NoImport::Unsupported);
            }
            // A step that is taken twice does nothing the second time.
            Err(failed) => tracing::debug!(?failed, "a step of an import is sent again"),
        }
        drop(rt::timeout(rt::jitter(RETRY), routes.changed()).await);
    }
}

/// The way to the leader, once there is one.
async fn way(
    routes: &mut watch::Receiver<Result<Option<Route>, Ended>>,
) -> Result<Route, NoImport> {
    let known = routes.wait_for(|route| !matches!(route, Ok(None))).await;
    match known.as_deref() {
        Ok(Ok(Some(route))) => Ok(route.clone()),
        Ok(Err(Ended::Superseded)) => Err(NoImport::Superseded),
        Ok(Ok(None) | Err(_)) | Err(_) => Err(NoImport::Closed),
    }
}
