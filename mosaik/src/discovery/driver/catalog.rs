//! The driver's catalog: what goes in, what comes out, what others are told of it.

use std::{sync::Arc, time::Duration};

use metrics::{counter, gauge};
use tokio::sync::oneshot;

use super::event_loop::Driver;
use crate::{
    discovery::{
        Catalog, DepartReason, Entry, Event, Refusal,
        proto::{
            catalog::{Input, Output},
            entry::Record,
            liveness, millis,
            sync::{Aged, Holdings},
        },
    },
    id::PeerId,
    metrics as names, rt,
};

impl Driver {
    /// Tells the catalog a fact, and carries out what follows.
    pub(super) fn update_catalog(&mut self, input: Input) {
        let mut out = Vec::new();
        self.catalog.handle(self.shared.time(), input, &mut out);
        for output in out {
            match output {
                Output::Discovered(record) => {
                    tracing::info!(peer = %record.peer().short(), "peer discovered");
                    self.introduced.remove(&record.peer());
                    self.settle_soon();
                    self.changed = true;
                    let entry = self.entry(record);
                    self.pending.push(Event::Discovered(entry));
                }
                Output::Renewed { peer, version } => {
                    self.suspect(liveness::Input::Refuted { peer, version });
                }
                Output::Updated(record) => {
                    self.changed = true;
                    let entry = self.entry(record);
                    self.pending.push(Event::Updated(entry));
                }
                Output::Restarted { peer, boot } => {
                    tracing::info!(peer = %peer.short(), "peer was restarted");
                    self.shared.pool.supersede(&peer, boot);
                }
                Output::Departed { peer, reason } => {
                    tracing::info!(peer = %peer.short(), ?reason, "peer departed");
                    self.shared.rtts.forget(&peer);
                    if reason != DepartReason::Left {
                        self.revisit_soon();
                    }
                    self.changed = true;
                    self.pending.push(Event::Departed { peer, reason });
                }
                Output::ClockSkewed { peer, ahead } => {
                    tracing::warn!(peer = %peer.short(), ?ahead, "the peer's clock is ahead of ours");
                    counter!(names::DISCOVERY_CLOCK_SKEWS).increment(1);
                    self.pending.push(Event::ClockSkew { peer, ahead });
                }
                Output::Supersede(version) => self.supersede(version),
                Output::Overflowed(peer) => self.on_refused(peer, Refusal::CatalogFull),
            }
        }
    }

    /// Merges entries; the one that `from` itself sent of itself is proof of its life.
    pub(super) fn merge(&mut self, entries: Vec<(Arc<Record>, Duration)>, from: Option<PeerId>) {
        let unix_millis = rt::unix_millis();
        for (record, age) in entries {
            let first_hand = from == Some(record.peer());
            self.update_catalog(Input::Received {
                record,
                age,
                first_hand,
                unix_millis,
            });
        }
    }

    /// What we hold, for an exchange with `peer`.
    pub(super) fn answer_holdings(&self, peer: PeerId, reply: oneshot::Sender<Holdings>) {
        let now = self.shared.time();
        let entries = self.catalog.shared(now);
        let burials = self.catalog.burials();
        let holdings = Holdings {
            at: now,
            entries: entries
                .map(|(record, born)| (record.peer(), (record.clone(), born)))
                .collect(),
            digest: self.catalog.digest(),
            buried: burials.refutable(&peer).map(|r| r.signed().clone()),
            gone: burials.iter_latest().collect(),
        };
        if reply.send(holdings).is_err() {
            tracing::trace!("an exchange gave up before it began");
        }
    }

    /// The entry of `peer`, for somebody who asked.
    pub(super) fn answer_lookup(&self, peer: PeerId, reply: oneshot::Sender<Option<Aged>>) {
        let now = self.shared.time();
        let found = self.catalog.lookup(&peer, now).map(|(record, born)| Aged {
            entry: record.signed().clone(),
            age_millis: millis(now.since(born)),
        });
        if reply.send(found).is_err() {
            tracing::trace!("who asked for an entry is gone");
        }
    }

    pub(super) fn on_refused(&mut self, peer: PeerId, reason: Refusal) {
        tracing::debug!(peer = %peer.short(), %reason, "refused");
        if matches!(reason, Refusal::Entry(_) | Refusal::CatalogFull) {
            counter!(names::DISCOVERY_ENTRIES_REFUSED).increment(1);
        }
        self.shared.status().refuse(peer, reason.clone());
        if matches!(reason, Refusal::Incoming(_)) {
            counter!(names::CONNECTIONS_REFUSED).increment(1);
            // Who may not even connect must not be able to flood the listeners.
            let now = rt::now();
            if self.turned_away.contains(&peer, now) {
                return;
            }
            self.turned_away.note(peer, now);
        }
        self.pending.push(Event::Refused { peer, reason });
    }

    /// Makes what has changed visible: first the snapshot, then the events about it.
    pub(super) fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            let live = self.catalog.iter_live();
            let entries = live.map(|record| (record.peer(), record.clone()));
            let snapshot = Catalog::new(entries.collect(), self.shared.rtts.clone());
            gauge!(names::DISCOVERY_PEERS).set(snapshot.len() as f64);
            self.shared.status().peers = snapshot.len();
            self.snapshots.send_replace(snapshot);
        }
        for event in self.pending.drain(..) {
            // An error says that nobody listens.
            self.events.send(event).unwrap_or_default();
        }
        for flushed in self.flushes.drain(..) {
            if flushed.send(()).is_err() {
                tracing::trace!("nobody waits for the merge any more");
            }
        }
    }

    fn entry(&self, record: Arc<Record>) -> Entry {
        let rtt = self.shared.rtts.get(&record.peer());
        Entry::new(record, rtt)
    }
}
