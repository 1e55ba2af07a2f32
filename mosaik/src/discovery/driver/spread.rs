//! How the driver spreads our entry and hears of others': announcements and exchanges.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use metrics::counter;
use tokio::sync::oneshot;

use super::event_loop::{Driver, SYNC_INTERVAL, Timer};
use crate::{
    discovery::{
        EntryError, Refusal, SyncError,
        announcement::{Announcement, News},
        outbound::{self, Target},
        proto::{
            catalog,
            entry::{Record, Version},
        },
    },
    id::{PeerAddr, PeerId},
    metrics as names, rt, wire,
};

/// Mean time from a peer's appearance to an exchange that makes up for announcements that were missed,
/// in a small network; it grows like the time between refreshes.
const SETTLE: Duration = Duration::from_millis(1000);
/// Exchanges that we have under way at once.
const MAX_SYNCS: usize = 4;
/// Peers that wait for an exchange; periodic exchanges make up for the rest.
const MAX_SYNC_QUEUE: usize = 256;
/// Entries that are fetched at once; exchanges make up for the rest.
const MAX_FETCHES: usize = 8;
/// Shortest time between two defences of our own entry, so that two processes with one key do not
/// drive each other at full speed.
const SUPERSEDE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a hint waits at least that cannot be followed at once.
const HINT_WAIT: Duration = Duration::from_millis(100);
/// Hints that wait because their peers' entries were fetched just before; exchanges make up for the rest.
const MAX_HINTED: usize = 256;

impl Driver {
    /// Our entry was signed anew, by the handle or here.
    pub(super) fn on_own_changed(&mut self) {
        let own = self.shared.own().record().clone();
        self.update_catalog(catalog::Input::Signed(own));
        self.announce_soon();
        // Who watches snapshots may look at our own entry too.
        self.changed = true;
    }

    /// Our addresses have changed.
    pub(super) fn on_address(&mut self, addr: PeerAddr) {
        let mut out = Vec::new();
        self.gossip.introduce(&addr, &mut out);
        self.carry_out(out);
        let edited = self.shared.own().relocate(addr);
        match edited {
            Ok(true) => self.on_own_changed(),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "own addresses are not announced"),
        }
    }

    /// Signs our entry above `version`, which somebody holds though it is not of this life of ours: now,
    /// or when the last time is long enough ago.
    pub(super) fn supersede(&mut self, version: Version) {
        let waits = self.superseding.is_some();
        self.superseding = self.superseding.max(Some(version));
        if waits {
            return;
        }
        let since = self.superseded.map(|at| rt::now().duration_since(at));
        match since.and_then(|since| SUPERSEDE_INTERVAL.checked_sub(since)) {
            Some(rest) if !rest.is_zero() => self.timers.set(rest, Timer::Supersede),
            _ => self.supersede_now(),
        }
    }

    pub(super) fn supersede_now(&mut self) {
        let Some(version) = self.superseding.take() else {
            return;
        };
        let superseded = self.shared.own().supersede(version);
        if self.signed(superseded) {
            self.superseded = Some(rt::now());
            tracing::info!("own entry signed anew: others thought this peer dead or another");
        }
    }

    pub(super) fn refresh(&mut self) {
        self.schedule_refresh();
        if !self.departed {
            let refreshed = self.shared.own().refresh();
            self.signed(refreshed.map(|()| true));
        }
    }

    /// Whether our entry was signed anew, which is then announced.
    fn signed(&mut self, outcome: Result<bool, EntryError>) -> bool {
        match outcome {
            Ok(true) => {
                self.on_own_changed();
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(%error, "own entry not signed anew");
                false
            }
        }
    }

    /// Announces our entry in a moment, along with what else changes until then.
    pub(super) fn announce_soon(&mut self) {
        if !std::mem::replace(&mut self.announcing, true) {
            let delay = self.pace.delay(rt::now());
            self.timers.set(delay, Timer::Announce);
        }
    }

    pub(super) fn announce(&mut self) {
        self.announcing = false;
        self.pace.announced(rt::now());
        counter!(names::DISCOVERY_ANNOUNCEMENTS).increment(1);
        let own = self.shared.own().record().clone();
        self.broadcast(&Announcement::of(&own, rt::random_u64()));
    }

    pub(super) fn broadcast(&mut self, announcement: &Announcement) {
        if self.departed {
            return;
        }
        match announcement.encode() {
            Ok(content) => {
                let mut out = Vec::new();
                self.gossip.broadcast(content, &mut out);
                self.carry_out(out);
            }
            Err(error) => tracing::warn!(%error, "announcement not encoded"),
        }
    }

    /// An announcement arrived by way of `from`.
    pub(super) fn on_announcement(&mut self, from: PeerId, content: &Bytes) {
        let Ok(announcement) = wire::decode::<Announcement>(content) else {
            tracing::debug!(peer = %from.short(), "malformed announcement ignored");
            return;
        };
        match announcement.news {
            News::Entry(signed) => match self.shared.verify(signed) {
                Ok(record) => self.merge(vec![(record, Duration::ZERO)], None),
                Err(error) => self.on_refused(from, Refusal::Entry(error)),
            },
            News::Hint { peer, version } => self.on_hint(peer, version, from),
            News::Suspect { peer, boot } => self.on_suspicion(peer, boot),
        }
    }

    /// A peer said good-bye to us. Those whom it was not connected to hear it from us; the nonce is the
    /// same for all who pass it on, so that gossip carries it once.
    pub(super) fn on_farewell(&mut self, tombstone: Arc<Record>) {
        let news = self.catalog.live(&tombstone.peer()).is_some();
        self.merge(vec![(tombstone.clone(), Duration::ZERO)], None);
        if news {
            self.broadcast(&Announcement::of(&tombstone, 0));
        }
    }

    /// Somebody says that there is a newer entry, which was too large to be announced. It is fetched from
    /// who says so, who has it or gets it in a moment: if all asked the peer itself, it would be dialed by
    /// all.
    pub(super) fn on_hint(&mut self, peer: PeerId, version: Version, from: PeerId) {
        let known = self.catalog.record(&peer).map(|record| record.version());
        let stale = known.is_some_and(|known| known >= version);
        if stale || peer == self.shared.me() || self.departed {
            return;
        }
        let now = rt::now();
        let busy = self.fetching.contains(&peer) || self.fetching.len() >= MAX_FETCHES;
        if busy || self.fetched.contains(&peer, now) {
            if self.hinted.len() < MAX_HINTED && self.hinted.insert(peer) {
                let wait = self.fetched.left(&peer, now).max(HINT_WAIT);
                self.timers.set(wait, Timer::Hint(peer, version, from));
            }
            return;
        }
        let Some(source) = self.addr(&from).or_else(|| self.addr(&peer)) else {
            return;
        };
        self.fetching.insert(peer);
        self.fetched.note(peer, now);
        self.asking.note(source.peer, now);
        let fetch = outbound::fetch(self.shared.clone(), peer, version, source);
        self.shared.tasks.spawn(fetch);
    }

    fn on_suspicion(&mut self, peer: PeerId, boot: u64) {
        if peer != self.shared.me() {
            self.on_hearsay(peer, boot);
            return;
        }
        let own = self.shared.own().record().clone();
        if own.body().boot == boot && !self.departed {
            // We live: a newer entry says so.
            self.supersede(own.version());
        }
    }

    /// Exchanges catalogs with a peer as soon as there is room.
    pub(super) fn sync_soon(&mut self, peer: PeerId) {
        if self.to_sync.len() < MAX_SYNC_QUEUE {
            self.to_sync.insert(peer);
        }
        self.begin_syncs();
    }

    fn begin_syncs(&mut self) {
        while self.syncing.len() < MAX_SYNCS && !self.departed {
            let Some(peer) = self.to_sync.pop_first() else {
                return;
            };
            let lost = || self.catalog.burials().lost(&peer);
            let target = self.target(&peer).or_else(|| {
                let addr = lost()?.body().addr.clone();
                Some(Target { addr, boot: None })
            });
            if let Some(target) = target
                && self.syncing.insert(peer)
            {
                let shared = self.shared.clone();
                self.shared.tasks.spawn(async move {
                    if let Err(error) = outbound::sync(shared, target, true).await {
                        tracing::debug!(peer = %peer.short(), %error, "exchange failed");
                    }
                });
            }
        }
    }

    pub(super) fn sync_on_demand(
        &mut self,
        addr: PeerAddr,
        reply: oneshot::Sender<Result<(), SyncError>>,
    ) {
        if self.departed {
            reply.send(Err(SyncError::ShutDown)).unwrap_or_default();
            return;
        }
        let (shared, boot) = (self.shared.clone(), self.boot_at(&addr));
        self.shared.tasks.spawn(async move {
            let target = Target { addr, boot };
            let outcome = outbound::sync(shared, target, false).await;
            if reply.send(outcome).is_err() {
                tracing::trace!("nobody waits for the exchange any more");
            }
        });
    }

    pub(super) fn sync_with_random(&mut self) {
        self.timers.set(rt::jitter(SYNC_INTERVAL), Timer::Sync);
        if let Some(peer) = self.random_peer() {
            self.sync_soon(peer);
        }
    }

    /// Peers have appeared: while a network forms, its broadcast tree does too, and loses messages.
    pub(super) fn settle_soon(&mut self) {
        if !std::mem::replace(&mut self.settling, true) {
            let peers = u32::try_from(self.catalog.live_len()).unwrap_or(u32::MAX);
            let delay = SETTLE + SETTLE.saturating_mul(peers) / 50;
            self.timers
                .set(rt::jitter(delay.min(SYNC_INTERVAL)), Timer::Settle);
        }
    }

    pub(super) fn settle(&mut self) {
        self.settling = false;
        if let Some(peer) = self.random_peer() {
            self.sync_soon(peer);
        }
    }

    /// An exchange of ours ended.
    pub(super) fn on_synced(&mut self, target: &Target, due: bool, outcome: Result<(), SyncError>) {
        let peer = target.addr.peer;
        if due {
            self.syncing.remove(&peer);
        }
        self.on_answered(&peer, &outcome);
        match outcome {
            Err(SyncError::Dial(error)) if outbound::proves_life(&error) => self.on_alive(peer),
            Err(SyncError::Dial(_)) => self.on_unreached(target),
            _ => {}
        }
        self.begin_syncs();
    }

    /// An exchange ended, ours or a peer's.
    pub(super) fn on_answered(&mut self, peer: &PeerId, outcome: &Result<(), SyncError>) {
        self.touch(peer);
        match outcome {
            Ok(()) => counter!(names::DISCOVERY_SYNCS).increment(1),
            Err(_) => counter!(names::DISCOVERY_SYNC_FAILURES).increment(1),
        }
    }

    /// A live peer, drawn at random.
    pub(super) fn random_peer(&self) -> Option<PeerId> {
        let live = self.catalog.live_len();
        let draw = rt::random_u64().checked_rem(live as u64)?;
        let at = usize::try_from(draw).ok()?;
        self.catalog.iter_live().nth(at).map(|record| record.peer())
    }
}
