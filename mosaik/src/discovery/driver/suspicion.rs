//! The driver's suspicions: heartbeats, probes, hearsay, burials, and looking for those who were lost.

use std::time::Duration;

use metrics::counter;

use super::event_loop::{Driver, HEARTBEAT, SYNC_INTERVAL, Timer};
use crate::{
    discovery::{
        announcement::{Announcement, News},
        outbound::{self, Target},
        proto::{catalog, entry::Version, liveness},
    },
    id::{PeerAddr, PeerId},
    metrics as names, rt,
    transport::CloseCode,
};

/// Around this long a suspicion that was heard waits for a probe of our own, in a small network.
const SUSPECT_JITTER: Duration = Duration::from_millis(100);
/// By this much it grows for every peer, so that a suspect that lives has refuted before most have
/// probed it.
const SUSPECT_JITTER_PEER: Duration = Duration::from_millis(5);
/// Around this long it waits at most.
const MAX_SUSPECT_JITTER: Duration = Duration::from_secs(5);
/// How long hearsay about a peer waits that was heard on its connection just now.
const HEARD: Duration = Duration::from_secs(2);
/// Time from a loss to the first look for who was lost, in a network of no peers; it doubles with each
/// look that follows, up to [`SYNC_INTERVAL`].
const REVISIT: Duration = Duration::from_secs(2);
/// Peers at which the first look comes after twice that time.
const REVISIT_PEERS: u32 = 50;

impl Driver {
    /// A dial to a peer failed. That is evidence against the boot that was to be there, if it still says so.
    pub(super) fn on_unreached(&mut self, target: &Target) {
        let Some(boot) = target
            .boot
            .filter(|_| self.boot_at(&target.addr) == target.boot)
        else {
            return;
        };
        let peer = target.addr.peer;
        // The fault may be ours or the way's: who says so again and again makes the others probe.
        let tell = !self.told.contains(&(peer, boot), rt::now());
        self.lost(peer, boot, tell);
    }

    /// The boot of a live peer whose entry says that it is just there.
    pub(super) fn boot_at(&self, addr: &PeerAddr) -> Option<u64> {
        let live = self.catalog.live(&addr.peer).map(|record| record.body());
        live.filter(|body| body.addr == *addr).map(|body| body.boot)
    }

    /// There is evidence that a boot of a peer is gone.
    pub(super) fn lost(&mut self, peer: PeerId, boot: u64, tell: bool) {
        if let Some(version) = self.lives_as(&peer, boot) {
            self.suspect(liveness::Input::Lost {
                peer,
                boot,
                version,
                tell,
            });
        }
    }

    /// Asks the next neighbour whether it lives.
    pub(super) fn heartbeat(&mut self) {
        // Jitter keeps the heartbeats of several neighbours from falling together.
        self.timers.set(rt::jitter(HEARTBEAT), Timer::Heartbeat);
        let neighbours = self.gossip.neighbours();
        let next = self
            .asked
            .and_then(|asked| neighbours.range(asked..).find(|peer| **peer > asked))
            .or_else(|| neighbours.first());
        self.asked = next.copied();
        let connection = self.asked.and_then(|peer| self.shared.pool.get(&peer));
        if let Some(connection) = connection
            && !self.departed
        {
            let heartbeat = outbound::heartbeat(self.shared.clone(), connection);
            self.shared.tasks.spawn(heartbeat);
        }
    }

    /// Somebody says that a boot of another peer did not answer.
    pub(super) fn on_hearsay(&mut self, peer: PeerId, boot: u64) {
        let Some(version) = self.lives_as(&peer, boot) else {
            return;
        };
        let now = rt::now();
        let grown = SUSPECT_JITTER_PEER.saturating_mul(self.live_len());
        let jitter = rt::jitter(grown.clamp(SUSPECT_JITTER, MAX_SUSPECT_JITTER));
        // Our own knowledge is worth more while it is fresh; hearsay that is wrong costs one probe a
        // while, however often it is repeated.
        let heard = self.connected.get(&peer).map_or(Duration::ZERO, |c| {
            HEARD.saturating_sub(now.duration_since(c.heard))
        });
        let jitter = jitter + heard.max(self.answered.left(&peer, now));
        self.suspect(liveness::Input::Heard {
            peer,
            boot,
            version,
            jitter,
        });
    }

    /// Another peer has buried these under these versions. What we hold that is newer speaks for itself.
    pub(super) fn on_gone(&mut self, gone: Vec<(PeerId, Version)>) {
        for (peer, version) in gone {
            let held = self.catalog.live(&peer);
            let boot = held.filter(|record| record.version() <= version);
            if let Some(boot) = boot.map(|record| record.body().boot) {
                self.on_hearsay(peer, boot);
            }
        }
    }

    /// Something came from a peer on its connection.
    pub(super) fn on_heard(&mut self, peer: PeerId) {
        if let Some(connected) = self.connected.get_mut(&peer) {
            connected.heard = rt::now();
            self.on_alive(peer);
        }
    }

    /// There is proof that a peer lives.
    pub(super) fn on_alive(&mut self, peer: PeerId) {
        if self.liveness.suspects(&peer) {
            self.suspect(liveness::Input::Alive { peer });
        }
    }

    /// Tells the rule of suspicion a fact, and carries out what follows.
    pub(super) fn suspect(&mut self, input: liveness::Input) {
        let mut out = Vec::new();
        self.liveness.handle(input, &mut out);
        for output in out {
            match output {
                liveness::Output::SetTimer(delay, timer) => {
                    self.timers.set(delay, Timer::Liveness(timer));
                }
                liveness::Output::Probe(probe) => self.probe(probe),
                liveness::Output::Tell { peer, boot } => {
                    self.told.note((peer, boot), rt::now());
                    let nonce = rt::random_u64();
                    let news = News::Suspect { peer, boot };
                    self.broadcast(&Announcement { nonce, news });
                }
                liveness::Output::Bury { peer, boot } => self.bury(peer, boot),
            }
        }
    }

    /// A probe is over.
    pub(super) fn on_probed(&mut self, probe: liveness::Probe, alive: bool) {
        let input = if alive {
            self.answered.note(probe.peer, rt::now());
            liveness::Input::Answered(probe)
        } else {
            liveness::Input::Silent(probe)
        };
        self.suspect(input);
    }

    /// Looks for one of those who were lost: a network that was parted has no other way to be one again
    /// if nobody's bootstrap address is on the other side.
    pub(super) fn revisit(&mut self) {
        let now = rt::now();
        if self.revisit_at.is_none_or(|at| now < at) {
            return;
        }
        self.revisit_at = None;
        let burials = self.catalog.burials();
        if self.departed || burials.lost_len() == 0 {
            return;
        }
        let wait = self.revisit_wait;
        self.revisit_wait = (wait * 2).min(SYNC_INTERVAL);
        self.revisit_in(rt::jitter(wait));
        if self.revisited.is_some_and(|p| self.syncing.contains(&p)) {
            return;
        }
        let burials = self.catalog.burials();
        let draw = rt::random_u64().checked_rem(burials.lost_len() as u64);
        let at = draw.and_then(|draw| usize::try_from(draw).ok());
        let lost = at.and_then(|at| burials.iter_lost().nth(at));
        self.revisited = lost.map(|record| record.peer());
        if let Some(peer) = self.revisited {
            self.sync_soon(peer);
        }
    }

    /// Somebody was lost: looks for the lost are frequent again.
    pub(super) fn revisit_soon(&mut self) {
        let grown = REVISIT + REVISIT.saturating_mul(self.live_len()) / REVISIT_PEERS;
        self.revisit_wait = grown.min(SYNC_INTERVAL);
        self.revisit_in(rt::jitter(self.revisit_wait));
    }

    /// Sets the timer, unless it is set to come sooner.
    fn revisit_in(&mut self, delay: Duration) {
        let at = rt::now() + delay;
        if self.revisit_at.is_none_or(|set| at < set) {
            self.revisit_at = Some(at);
            self.timers.set(delay, Timer::Revisit);
        }
    }

    /// The version of a peer's entry, if it lives as this boot.
    fn lives_as(&self, peer: &PeerId, boot: u64) -> Option<Version> {
        let record = self.catalog.live(peer)?;
        (record.body().boot == boot).then(|| record.version())
    }

    fn live_len(&self) -> u32 {
        u32::try_from(self.catalog.live_len()).unwrap_or(u32::MAX)
    }

    /// A boot of a peer did not answer a probe.
    fn bury(&mut self, peer: PeerId, boot: u64) {
        if self.lives_as(&peer, boot).is_none() {
            return;
        }
        counter!(names::DISCOVERY_DEATHS).increment(1);
        self.update_catalog(catalog::Input::Died { peer, boot });
        let connection = self.shared.pool.get(&peer);
        if let Some(silent) = connection.filter(|c| c.boot() == boot) {
            silent.close(CloseCode::TimedOut, "no answer to a probe");
        }
    }

    fn probe(&mut self, probe: liveness::Probe) {
        let peer = probe.peer;
        let addr = self.addr(&peer).filter(|_| !self.departed);
        match addr {
            Some(addr) => {
                counter!(names::DISCOVERY_PROBES).increment(1);
                self.asking.note(peer, rt::now());
                let probe = outbound::probe(self.shared.clone(), addr, probe);
                self.shared.tasks.spawn(probe);
            }
            None => self.suspect(liveness::Input::Alive { peer }),
        }
    }
}
