//! The loop itself: one `select!`, and who handles what it yields.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    peers::{Connected, GossipLink},
    recent::Recent,
};
use crate::{
    discovery::{
        Catalog, Event, announcement,
        gossip::{self, Gossip},
        outbound::PROBE_TIMEOUT,
        proto::{catalog, entry::Version, liveness},
        shared::{Input, Shared},
        timers::Timers,
    },
    id::{PeerAddr, PeerId},
    rt::{self, watch},
    transport::Connection,
};

/// Time between looks after connections, round-trip times and neighbours.
pub(super) const MAINTENANCE: Duration = Duration::from_secs(1);
/// Mean time between heartbeats, each to the next neighbour: a peer with five neighbours is asked about
/// every second.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Mean time between exchanges with a random peer.
pub(super) const SYNC_INTERVAL: Duration = Duration::from_secs(20);
/// How long hearsay about a peer waits that has proved to live.
const ANSWERED: Duration = Duration::from_secs(5);
/// Time between tellings that a boot of a peer cannot be dialed.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// Time between fetches of one peer's entry.
const FETCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time between tellings that a peer's connections are not admitted.
const TURNED_AWAY_INTERVAL: Duration = Duration::from_secs(10);
/// Inputs that are taken in before what they changed is published.
const INPUT_BATCH: usize = 128;

/// What the driver does at a later time.
#[derive(Debug)]
pub(super) enum Timer {
    Gossip(gossip::Timer),
    Liveness(liveness::Timer),
    /// Announce our entry, which has changed.
    Announce,
    /// Sign our entry anew, so that it does not expire.
    Refresh,
    /// Exchange catalogs with a random peer.
    Sync,
    /// Look for a peer that was lost.
    Revisit,
    /// Sign our entry above what others hold, which was done too recently before.
    Supersede,
    /// Look again at a hint that came too soon: the peer, its version, and who says so.
    Hint(PeerId, Version, PeerId),
    /// The same, because peers have appeared and their announcements may have missed somebody.
    Settle,
    Maintain,
    /// Ask the next neighbour whether it lives.
    Heartbeat,
}

/// Discovery's state.
pub(in crate::discovery) struct Driver {
    pub(super) shared: Arc<Shared>,
    pub(super) snapshots: watch::Sender<Catalog>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) timers: Timers<Timer>,
    pub(super) catalog: catalog::Catalog,
    pub(super) gossip: Gossip,
    pub(super) liveness: liveness::Liveness,
    /// Where peers may be whose entries are not here yet.
    pub(super) introduced: BTreeMap<PeerId, PeerAddr>,
    pub(super) connected: BTreeMap<PeerId, Connected>,
    pub(super) links: BTreeMap<PeerId, GossipLink>,
    pub(super) next_link: u64,
    pub(super) syncing: BTreeSet<PeerId>,
    /// Peers to exchange catalogs with as soon as there is room.
    pub(super) to_sync: BTreeSet<PeerId>,
    /// The neighbour that was asked last whether it lives.
    pub(super) asked: Option<PeerId>,
    /// Whether an exchange is due because peers have appeared.
    pub(super) settling: bool,
    pub(super) fetching: BTreeSet<PeerId>,
    /// Whose entries were fetched lately, and whose hints wait because of it.
    pub(super) fetched: Recent<PeerId>,
    pub(super) hinted: BTreeSet<PeerId>,
    /// Who is dialed for a question alone.
    pub(super) asking: Recent<PeerId>,
    /// Who has proved to live.
    pub(super) answered: Recent<PeerId>,
    /// Of which boots the others were told that they are suspected.
    pub(super) told: Recent<(PeerId, u64)>,
    /// Whose connections were not admitted, which listeners were told of.
    pub(super) turned_away: Recent<PeerId>,
    /// The peer that was lost and looked for last, when the next one is, and the wait after that.
    pub(super) revisited: Option<PeerId>,
    pub(super) revisit_at: Option<rt::Instant>,
    pub(super) revisit_wait: Duration,
    /// Peers that gossip could not be sent to, and whether gossip is being told.
    pub(super) unaddressed: BTreeSet<PeerId>,
    pub(super) carrying: bool,
    pub(super) pace: announcement::Pace,
    pub(super) announcing: bool,
    pub(super) superseded: Option<rt::Instant>,
    /// What is to be outbid once that is long enough ago.
    pub(super) superseding: Option<Version>,
    pub(super) departed: bool,
    /// Whether the snapshot is out of date, and what to tell listeners once it is not.
    pub(super) changed: bool,
    pub(super) pending: Vec<Event>,
    pub(super) flushes: Vec<oneshot::Sender<()>>,
}

impl Driver {
    pub(in crate::discovery) fn new(
        shared: Arc<Shared>,
        snapshots: watch::Sender<Catalog>,
        events: broadcast::Sender<Event>,
    ) -> Self {
        let network = shared.endpoint.identity().network();
        let own = shared.own().record().clone();
        let mut catalog = catalog::Catalog::new(shared.me());
        let mut out = Vec::new();
        let signed = catalog::Input::Signed(own.clone());
        catalog.handle(shared.time(), signed, &mut Vec::new());
        let gossip = Gossip::new(network, &own.body().addr, &mut out);
        let mut driver = Self {
            shared,
            snapshots,
            events,
            timers: Timers::new(),
            catalog,
            gossip,
            liveness: liveness::Liveness::default(),
            introduced: BTreeMap::new(),
            connected: BTreeMap::new(),
            links: BTreeMap::new(),
            next_link: 0,
            syncing: BTreeSet::new(),
            to_sync: BTreeSet::new(),
            asked: None,
            settling: false,
            fetching: BTreeSet::new(),
            fetched: Recent::new(FETCH_INTERVAL),
            hinted: BTreeSet::new(),
            // The connection may be told of later than what was asked on it.
            asking: Recent::new(PROBE_TIMEOUT * 2),
            answered: Recent::new(ANSWERED),
            told: Recent::new(TELL_INTERVAL),
            turned_away: Recent::new(TURNED_AWAY_INTERVAL),
            revisited: None,
            revisit_at: None,
            revisit_wait: SYNC_INTERVAL,
            unaddressed: BTreeSet::new(),
            carrying: false,
            pace: announcement::Pace::new(rt::now()),
            announcing: false,
            superseded: None,
            superseding: None,
            departed: false,
            changed: false,
            pending: Vec::new(),
            flushes: Vec::new(),
        };
        driver.carry_out(out);
        driver.timers.set(MAINTENANCE, Timer::Maintain);
        driver.timers.set(rt::jitter(HEARTBEAT), Timer::Heartbeat);
        driver.timers.set(rt::jitter(SYNC_INTERVAL), Timer::Sync);
        driver.schedule_refresh();
        driver
    }

    /// Runs until the network ends. After the farewell it only serves what peers still ask.
    pub(in crate::discovery) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut connections: mpsc::Receiver<Connection>,
    ) {
        let mut addr = self.shared.endpoint.addr();
        addr.mark_changed();
        let shared = self.shared.clone();
        let mut batch = Vec::with_capacity(INPUT_BATCH);
        loop {
            let due = self.due();
            // What is rare comes first, so that nothing has to wait for ever.
            tokio::select! {
                biased;
                () = rt::sleep_until(due) => self.on_due(),
                () = shared.own_changed.notified() => self.on_own_changed(),
                Ok(()) = addr.changed() => {
                    let addr = addr.borrow_and_update().clone();
                    self.on_address(addr);
                }
                Some(connection) = connections.recv() => self.on_connection(connection),
                received = inputs.recv_many(&mut batch, INPUT_BATCH) => {
                    if received == 0 {
                        return;
                    }
                    for input in batch.drain(..) {
                        self.on_input(input);
                    }
                }
            }
            self.publish();
        }
    }

    fn due(&self) -> rt::Instant {
        let expiry = self
            .catalog
            .deadline()
            .map(|time| self.shared.instant(time));
        let due = self.timers.due().into_iter().chain(expiry).min();
        // Maintenance is always set; this is for the case that it is being handled.
        due.unwrap_or_else(|| rt::now() + MAINTENANCE)
    }

    fn on_due(&mut self) {
        let now = rt::now();
        while let Some(timer) = self.timers.pop(now) {
            match timer {
                Timer::Gossip(timer) => {
                    let mut out = Vec::new();
                    self.gossip.timer_fired(timer, &mut out);
                    self.carry_out(out);
                }
                Timer::Liveness(timer) => self.suspect(liveness::Input::TimerFired(timer)),
                Timer::Announce => self.announce(),
                Timer::Refresh => self.refresh(),
                Timer::Sync => self.sync_with_random(),
                Timer::Settle => self.settle(),
                Timer::Revisit => self.revisit(),
                Timer::Supersede => self.supersede_now(),
                Timer::Hint(peer, version, from) => {
                    self.hinted.remove(&peer);
                    self.on_hint(peer, version, from);
                }
                Timer::Maintain => self.maintain(),
                Timer::Heartbeat => self.heartbeat(),
            }
        }
        self.update_catalog(catalog::Input::Tick);
    }

    pub(super) fn on_input(&mut self, input: Input) {
        match input {
            Input::SyncWith(addr, reply) => self.sync_on_demand(addr, reply),
            Input::Depart(left) => self.depart(left),
            Input::Merge(entries, from) => self.merge(entries, from),
            Input::Farewell(tombstone) => self.on_farewell(tombstone),
            Input::Flush(reply) => self.flushes.push(reply),
            Input::Refute(version) => self.supersede(version),
            Input::Holdings(peer, reply) => self.answer_holdings(peer, reply),
            Input::Lookup(peer, reply) => self.answer_lookup(peer, reply),
            Input::Synced {
                target,
                due,
                result,
            } => self.on_synced(&target, due, result),
            Input::Answered(peer, outcome) => self.on_answered(&peer, &outcome),
            Input::Gossip(from, bytes) => self.on_gossip(from, &bytes),
            Input::Refused(peer, reason) => self.on_refused(peer, reason),
            Input::ConnectionEnded(connection, closed) => self.on_ended(&connection, &closed),
            Input::LinkEnded(peer, number, refused) => {
                self.on_link_ended(peer, number, refused);
            }
            Input::Missed(peer, boot) => self.lost(peer, boot, true),
            Input::Probed(probe, alive) => self.on_probed(probe, alive),
            Input::Gone(gone) => self.on_gone(gone),
            Input::Fetched(peer) => {
                self.fetching.remove(&peer);
            }
        }
    }

    pub(super) fn schedule_refresh(&mut self) {
        let interval = announcement::refresh_interval(self.catalog.live_len());
        self.timers.set(rt::jitter(interval), Timer::Refresh);
    }
}
