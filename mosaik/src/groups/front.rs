//! This node's part in one group, as its bonds see it: who is bonded, and what founding says to them.
//!
//! The founding protocol decides under one lock and at once, whoever brings the fact; what it wants done waits
//! for the [driver](super::driver).

mod apply;
mod receive;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use apply::Applicant;
use tokio::sync::Notify;
use tracing::debug;

use super::{
    answering,
    bonds::{Control, GroupHeader, Kind, Line, Presence, Report, Testament},
    error::Refusal,
    follow,
    operate::Orders,
    options::Settled,
    proto::{
        founding::{
            Founding,
            charter::{Charter, Digest, Epoch},
            message::{Config, Input, Message, Output, Record},
            status,
            verdict::Claim,
        },
        log_id::LogId,
        quiesce,
        rollback::{Extent, Found, Promises, Rollback},
        roster::{Death, Preference},
        timing::Timing,
        versions::Announced,
    },
    raft,
    remote::Clients,
    replica::Replica,
    shared::Shared,
};
use crate::{
    discovery::Entry,
    id::{GroupId, MemberId, PeerId},
    rt::{self, Instant, lock, watch},
    tickets::RequiredTickets,
    transport::{CloseCode, Connection, Halves, LinkError},
};

/// How long enough eligible members are bonded before one proposes a charter.
const SETTLE: Duration = Duration::from_millis(500);
/// How long to wait for answers before proposing, and for acceptances before pledging.
const FOUNDING_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a bound member repeats itself.
const RESEND: Duration = Duration::from_secs(1);
/// How long a Raft stream waits for this member to run Raft.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// Dead boots, and refusals, that are remembered.
const MAX_REMEMBERED: usize = 1024;

/// This node's part in one group.
#[derive(Debug)]
pub(crate) struct Front {
    shared: Arc<Shared>,
    settled: Settled,
    writer: bool,
    core: Mutex<Core>,
    news: Notify,
    /// What runs here, for the streams of others.
    serving: watch::Sender<Option<Arc<Replica>>>,
    clients: Clients,
    orders: Orders,
}

#[derive(Debug)]
struct Core {
    me: MemberId,
    /// Only writers found.
    founding: Option<Founding>,
    outputs: VecDeque<Output>,
    notices: VecDeque<Notice>,
    bonds: BTreeMap<PeerId, Bond>,
    /// When each was heard from last that is bonded no longer.
    lost: BTreeMap<MemberId, Instant>,
    deaths: BTreeMap<MemberId, Death>,
    /// What those who are gone with their logs left.
    testaments: BTreeMap<MemberId, Testament>,
    /// The boot of each peer that was admitted last: every other is dead.
    latest: BTreeMap<PeerId, u64>,
    /// Members that said they leave for good.
    left: BTreeSet<MemberId>,
    refusals: BTreeMap<PeerId, Refusal>,
    /// Who takes part, or wants to, in a group that asks for tickets.
    applicants: BTreeMap<PeerId, Applicant>,
    /// What this member found on its disk.
    found: Option<Found>,
    /// Whether others remember more than that.
    rolled_back: bool,
    /// What must be on the disks of others.
    promises: Promises,
    /// Peers whose disks went back, and how they are told.
    went_back: BTreeMap<PeerId, (MemberId, Line)>,
    /// Peers that have said how they stand.
    spoken: BTreeSet<PeerId>,
    /// What announcing the established charter says.
    claim: Option<Claim>,
    /// How often a member has said what its program knows.
    announcements: u64,
}

/// A member that this one is bonded to.
#[derive(Clone, Debug)]
pub(crate) struct Bond {
    /// Who it is.
    pub(crate) member: MemberId,
    /// Whether it may vote.
    pub(crate) writer: bool,
    /// Whether it keeps its log on disk.
    pub(crate) durable: bool,
    /// What it declared about leading.
    pub(crate) preference: Preference,
    /// What its program knows.
    pub(crate) announced: Arc<Announced>,
    /// The charter that it announces.
    pub(crate) announces: Option<Epoch>,
    /// What it last reported of a lost quorum, and when.
    pub(crate) report: Option<(Instant, Report)>,
    /// How it is reached.
    pub(crate) line: Line,
}

impl Bond {
    /// Whether it is that of a member which describes itself so, on this connection.
    fn is(&self, line: &Line, presence: &Presence) -> bool {
        self.line.is_on(&line.connection) && self.member.boot == presence.boot
    }
}

/// What the driver has to look at, besides what founding wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A member wants to replicate the log of this charter to this one.
    RaftCalled(Epoch),
    /// This member is reachable again.
    Bonded(MemberId),
    /// Somebody came or went.
    Bonds,
    /// This member only observes, and heard of an established charter.
    Announced(Charter),
    /// The leader says that this member is none any more.
    Removed {
        /// Which boot of this member.
        boot: u64,
    },
    /// A member remembers more of this one than its disk held when it started.
    RolledBack {
        /// Which boot of this member.
        boot: u64,
        /// Who.
        from: PeerId,
        /// What.
        rollback: Rollback,
    },
    /// A member has said something about resting.
    Quiesce {
        /// The charter.
        epoch: Epoch,
        /// Who.
        from: MemberId,
        /// What.
        message: quiesce::Message,
    },
    /// The node of a member that this one rests with is not heard any more.
    Silent,
    /// A verdict was committed elsewhere.
    Verdict {
        /// The charter that committed it.
        by: Epoch,
        /// The other.
        other: Epoch,
        /// The one that lives on.
        winner: Charter,
    },
}

impl Front {
    /// A part in a group as `me`, with what it has persisted of the founding, and what was found on its disk.
    pub(crate) fn new(
        shared: Arc<Shared>,
        settled: Settled,
        writer: bool,
        me: MemberId,
        record: Option<Record>,
        found: Option<Found>,
    ) -> Arc<Self> {
        let core = Core {
            me,
            founding: None,
            outputs: VecDeque::new(),
            notices: VecDeque::new(),
            bonds: BTreeMap::new(),
            lost: BTreeMap::new(),
            deaths: BTreeMap::new(),
            testaments: BTreeMap::new(),
            latest: BTreeMap::new(),
            left: BTreeSet::new(),
            refusals: BTreeMap::new(),
            applicants: BTreeMap::new(),
            found,
            rolled_back: false,
            promises: Promises::default(),
            went_back: BTreeMap::new(),
            spoken: BTreeSet::new(),
            claim: None,
            announcements: 0,
        };
        let front = Self {
            shared,
            settled,
            writer,
            core: Mutex::new(core),
            news: Notify::new(),
            serving: watch::Sender::new(None),
            clients: Clients::default(),
            orders: Orders::default(),
        };
        front.begin(me, record);
        Arc::new(front)
    }

    /// Begins to found, or goes on, as `me`.
    pub(crate) fn begin(&self, me: MemberId, record: Option<Record>) {
        let mut core = self.core();
        if core.me != me {
            core.found = core.found.map(Found::forgotten);
            core.rolled_back = false;
        }
        core.me = me;
        core.outputs.clear();
        let config = Config {
            group: self.group(),
            me,
            founders: self.settled.founders,
            terms: self.settled.terms,
            settle: SETTLE,
            founding_timeout: FOUNDING_TIMEOUT,
            resend: RESEND,
        };
        if self.writer {
            let mut out = Vec::new();
            let awaited = self.shared.awaited();
            let founding = match record {
                Some(record) => Founding::restore(config, awaited, record, &mut out),
                None => Founding::new(config, awaited, &mut out),
            };
            core.founding = Some(founding);
            core.outputs.extend(out);
        }
        let bonded: Vec<MemberId> = core.bonds.values().map(|bond| bond.member).collect();
        for member in bonded {
            core.bonded(member, self.writer, self.settled.durable);
        }
        drop(core);
        self.news.notify_one();
    }

    /// The group.
    pub(crate) fn group(&self) -> GroupId {
        self.shared.id()
    }

    /// What the handles of the group share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Whether this member may vote.
    pub(crate) fn writer(&self) -> bool {
        self.writer
    }

    /// This member.
    pub(crate) fn me(&self) -> MemberId {
        self.core().me
    }

    /// The group's key.
    pub(crate) fn key(&self) -> &[u8; 32] {
        &self.settled.key
    }

    /// The tickets that whoever takes part has to carry.
    pub(crate) fn tickets(&self) -> &RequiredTickets {
        &self.settled.options.tickets
    }

    /// What this member takes the group's state, commands and queries for.
    pub(crate) fn fingerprint(&self) -> Digest {
        self.settled.terms.fingerprint
    }

    /// The clients that this member serves.
    pub(super) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The orders that this member carries out.
    pub(super) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// What this member says of itself.
    pub(crate) fn presence(&self, prove: impl FnOnce(u64) -> [u8; 32]) -> Presence {
        let core = self.core();
        Presence {
            group: self.group(),
            boot: core.me.boot,
            writer: self.writer,
            preference: self.settled.preference(),
            terms: self.settled.terms,
            announced: self.shared.program().announced().clone(),
            found: core.found,
            rolled_back: core.rolled_back,
            proof: prove(core.me.boot),
        }
    }

    /// Whether a peer is to be dialed for this group.
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        entry.group(self.group()).is_some_and(|info| {
            // Those who only observe need nobody but those who hold the state.
            info.charter.is_some() || (self.writer && info.writer)
        })
    }

    /// What a charter that is proposed now says: the timing that was declared, or what suits those who are bonded.
    pub(crate) fn timing(&self) -> Timing {
        self.settled.timing.unwrap_or_else(|| {
            let bonds = self.bonds();
            let writers = bonds.iter().filter(|bond| bond.writer);
            Timing::measured(writers.filter_map(|bond| bond.line.connection.rtt()))
        })
    }

    /// Tells founding a fact.
    pub(crate) fn tell(&self, input: Input) {
        self.core().tell(input);
        self.news.notify_one();
    }

    /// Tells founding that the log of a charter is about to hold an entry of a leader, unless it knows.
    pub(crate) fn appended(&self, epoch: Epoch) {
        let mut core = self.core();
        let founding = core.founding.as_ref();
        if founding.is_some_and(|founding| founding.awaits_entry(epoch)) {
            core.tell(Input::Appended(epoch));
            drop(core);
            self.news.notify_one();
        }
    }

    /// Waits for something to do.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// The next thing that founding wants done.
    pub(crate) fn next_output(&self) -> Option<Output> {
        self.core().outputs.pop_front()
    }

    /// The next thing to look at.
    pub(crate) fn next_notice(&self) -> Option<Notice> {
        self.core().notices.pop_front()
    }

    /// What founding waits for.
    pub(crate) fn status(&self) -> Option<status::Status> {
        self.core().founding.as_ref().map(Founding::status)
    }

    /// What a restart would restore.
    pub(crate) fn record(&self) -> Record {
        let core = self.core();
        core.founding
            .as_ref()
            .map(Founding::record)
            .unwrap_or_default()
    }

    /// What announcing the established charter says from now on; `None` announces nothing. Those whom founding
    /// does not know, as they never found with this member, are told here.
    pub(crate) fn set_claim(&self, claim: Option<Claim>) {
        let mut core = self.core();
        let before = std::mem::replace(&mut core.claim, claim);
        let says = |claim: &Option<Claim>| claim.as_ref().map(|claim| claim.commands);
        let news = says(&before) != says(&core.claim);
        if before.is_some() == core.claim.is_some() {
            // Whether there are commands is what a conflict is decided by.
            for bond in core.bonds.values().filter(|_| news) {
                core.announce(bond);
            }
            return;
        }
        let bonds: Vec<Bond> = core.bonds.values().cloned().collect();
        let withdrawn = Control::Withdrawn {
            group: self.group(),
            from: core.me.boot,
        };
        for bond in bonds {
            match core.claim {
                Some(_) => core.bonded(bond.member, self.writer, self.settled.durable),
                None => bond.line.tell(withdrawn.clone()),
            }
        }
        drop(core);
        self.news.notify_one();
    }

    /// What announcing the established charter says.
    pub(crate) fn claim(&self) -> Option<Claim> {
        self.core().claim.clone()
    }

    /// Announces the established charter to a member.
    pub(crate) fn announce(&self, to: &MemberId) {
        let core = self.core();
        if let Some(bond) = core.bonds.get(&to.peer).filter(|bond| bond.member == *to) {
            core.announce(bond);
        }
    }

    /// Who runs here.
    pub(crate) fn serving(&self) -> &watch::Sender<Option<Arc<Replica>>> {
        &self.serving
    }

    /// Those who are bonded.
    pub(crate) fn bonds(&self) -> Vec<Bond> {
        self.core().bonds.values().cloned().collect()
    }

    /// The bond to exactly this member.
    pub(crate) fn bond(&self, member: &MemberId) -> Option<Bond> {
        let core = self.core();
        let bond = core.bonds.get(&member.peer);
        bond.filter(|bond| bond.member == *member).cloned()
    }

    /// Whether it is bonded, on this connection.
    pub(crate) fn is_bonded(&self, member: &MemberId, connection: &Connection) -> bool {
        let bond = self.bond(member);
        bond.is_some_and(|bond| bond.line.is_on(connection))
    }

    /// What is known of members that are bonded no longer: how long ago each was lost, whether it is proven
    /// dead, and whether it left for good.
    pub(crate) fn fate(&self, member: &MemberId) -> (Option<Instant>, Option<Death>, bool) {
        let core = self.core();
        let lost = core.lost.get(member).copied();
        let latest = core.latest.get(&member.peer);
        let superseded = latest.is_some_and(|boot| *boot != member.boot);
        let superseded = superseded.then_some(Death::Superseded);
        let death = superseded.or_else(|| core.deaths.get(member).copied());
        (lost, death, core.left.contains(member))
    }

    /// What a dead member left.
    pub(crate) fn testament(&self, member: &MemberId) -> Option<Testament> {
        self.core().testaments.get(member).copied()
    }

    /// Notes, as the leader in `term`, what members hold of the log that is committed up to `commit`.
    pub(crate) fn acknowledged(
        &self,
        (epoch, term): (Epoch, u64),
        commit: LogId,
        matched: &BTreeMap<MemberId, Option<u64>>,
    ) {
        let mut core = self.core();
        for (member, index) in matched {
            if let Some(index) = index {
                let least = Extent {
                    term,
                    entries: commit.index.min(*index) + 1,
                };
                core.promises.acknowledged(*member, epoch, least);
            }
        }
    }

    /// Others owe nothing to this member: it is another, or of another charter.
    pub(crate) fn forgive(&self) {
        self.core().promises.forgive();
    }

    /// What was on the disk is erased.
    pub(crate) fn erased(&self) {
        let mut core = self.core();
        core.found = core.found.map(Found::forgotten);
    }

    /// Others remember more of this member than its disk held.
    pub(crate) fn set_rolled_back(&self) {
        self.core().rolled_back = true;
    }

    /// Members whose disks went back, and how they are told.
    pub(crate) fn went_back(&self) -> Vec<(MemberId, Line)> {
        self.core().went_back.values().cloned().collect()
    }

    /// How often a bonded member has said what its program knows.
    pub(crate) fn announcements(&self) -> u64 {
        self.core().announcements
    }

    /// Those who are not let in, or do not let this member in, and why.
    pub(crate) fn refusals(&self) -> Vec<(PeerId, Refusal)> {
        let core = self.core();
        let refusals = core.refusals.iter();
        refusals.map(|(peer, why)| (*peer, why.clone())).collect()
    }

    /// Whether a bonded member announces this charter.
    pub(crate) fn is_announced(&self, epoch: Epoch) -> bool {
        let core = self.core();
        core.bonds
            .values()
            .any(|bond| bond.announces == Some(epoch))
    }

    /// Whether a peer has said how it stands with the group.
    pub(crate) fn has_spoken(&self, peer: &PeerId) -> bool {
        self.core().spoken.contains(peer)
    }

    /// Serves a stream of the group that a bonded member opened.
    pub(crate) async fn serve(
        self: Arc<Self>,
        header: GroupHeader,
        mut halves: Halves,
    ) -> Result<(), LinkError> {
        let GroupHeader {
            epoch, from, kind, ..
        } = header;
        let replica = if header.to != self.me() {
            Err(CloseCode::Superseded)
        } else if let Kind::Raft(_) = kind {
            self.raft_replica(from, epoch).await
        } else {
            let serving = self.serving.borrow().clone();
            let replica = serving.filter(|replica| replica.epoch() == epoch);
            replica.ok_or(CloseCode::NotFound)
        };
        let replica = match replica {
            Ok(replica) => replica,
            Err(code) => {
                halves.0.reset(code);
                halves.1.0.stop(code);
                return Ok(());
            }
        };
        match (kind, replica.node()) {
            (Kind::Raft(purpose), Some(node)) => {
                if let Err(error) = raft::serve(node, purpose, from, halves).await {
                    debug!(%from, %error, "a stream of Raft ended");
                }
                Ok(())
            }
            (Kind::Forward, Some(_)) => {
                let served = answering::serve(&replica, halves, None);
                self.while_served(&replica, served).await
            }
            (Kind::Follow { applied }, _) => {
                let served = follow::serve(&self.shared, &replica, applied, halves);
                self.while_served(&replica, served).await
            }
            (Kind::Raft(_) | Kind::Forward, None) => {
                halves.0.reset(CloseCode::NotFound);
                Ok(())
            }
        }
    }

    /// Serves a stream from a replica for as long as that is the one that runs here. Whoever opened it opens another
    /// one then: a replica that was stopped would answer for ever that it is.
    pub(super) async fn while_served(
        &self,
        replica: &Arc<Replica>,
        served: impl Future<Output = Result<(), LinkError>>,
    ) -> Result<(), LinkError> {
        let mut serving = self.serving.subscribe();
        let other = |current: &Option<Arc<Replica>>| {
            current
                .as_ref()
                .is_none_or(|current| !Arc::ptr_eq(current, replica))
        };
        tokio::select! {
            biased;
            _ = serving.wait_for(other) => Ok(()),
            served = served => served,
        }
    }

    /// The replica that runs Raft for a charter, once it does.
    async fn raft_replica(&self, from: MemberId, epoch: Epoch) -> Result<Arc<Replica>, CloseCode> {
        let may_answer = {
            let mut core = self.core();
            core.tell(Input::RaftCalled { from, epoch });
            let founding = core.founding.as_ref();
            let may_answer = founding.is_some_and(|founding| founding.may_answer_raft(epoch));
            if may_answer {
                core.notices.push_back(Notice::RaftCalled(epoch));
            }
            may_answer
        };
        self.news.notify_one();
        if !may_answer {
            return Err(CloseCode::NotAllowed);
        }
        let mut serving = self.serving.subscribe();
        let runs = |replica: &Option<Arc<Replica>>| {
            let replica = replica.as_ref();
            replica.is_some_and(|replica| replica.epoch() == epoch && replica.node().is_some())
        };
        let running = rt::timeout(START_TIMEOUT, serving.wait_for(runs)).await;
        match running {
            Ok(Ok(replica)) => replica.clone().ok_or(CloseCode::NotFound),
            _ => Err(CloseCode::TimedOut),
        }
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}

impl Core {
    /// Who has sent a message on a line as boot `from` to this one's boot `to`, if that is a bonded member and
    /// it is meant for this one.
    fn sender(&self, line: &Line, from: u64, to: u64) -> Option<MemberId> {
        let bond = self.bonds.get(&line.connection.peer())?;
        let same = bond.line.is_on(&line.connection);
        (same && bond.member.boot == from && self.me.boot == to).then_some(bond.member)
    }

    fn tell(&mut self, input: Input) {
        if let Some(founding) = &mut self.founding {
            let mut out = Vec::new();
            founding.handle(input, &mut out);
            self.outputs.extend(out);
        }
    }

    /// A bonded member founds with this one if both may, and both keep their log alike. Others are told of the
    /// charter once it is established.
    fn bonded(&mut self, member: MemberId, writer: bool, durable: bool) {
        let Some(bond) = self.bonds.get(&member.peer) else {
            return;
        };
        if bond.writer && writer && bond.durable == durable {
            self.tell(Input::Bonded(member));
        } else {
            self.announce(bond);
        }
    }

    fn announce(&self, bond: &Bond) {
        if let Some(claim) = &self.claim {
            bond.line.tell(Control::Founding {
                group: claim.charter.group,
                from: self.me.boot,
                to: bond.member.boot,
                message: Message::Established(claim.clone()),
            });
        }
    }

    fn lose(&mut self, member: MemberId) {
        self.tell(Input::Unbonded(member));
        if self.lost.len() < MAX_REMEMBERED {
            self.lost.insert(member, rt::now());
        }
        self.notices.push_back(Notice::Bonds);
    }

    fn died(&mut self, member: MemberId, death: Death) {
        self.tell(Input::Gone(member));
        if self.deaths.len() < MAX_REMEMBERED {
            self.deaths.insert(member, death);
        }
    }

    /// Keeps what a member left.
    fn bury(&mut self, member: MemberId, testament: Option<Testament>) {
        if let Some(testament) = testament {
            if self.testaments.len() >= MAX_REMEMBERED {
                self.testaments.pop_first();
            }
            self.testaments.insert(member, testament);
        }
    }

    /// Does not let a member in: its disk went back.
    fn shut_out(&mut self, member: MemberId, line: Line) {
        if self.bonds.remove(&member.peer).is_some() {
            self.lose(member);
        }
        self.went_back.insert(member.peer, (member, line));
        self.notices.push_back(Notice::Bonds);
    }

    fn remember_refusal(&mut self, peer: PeerId, why: Refusal) {
        if self.refusals.len() < MAX_REMEMBERED || self.refusals.contains_key(&peer) {
            self.refusals.insert(peer, why);
        }
    }
}
