//! When two established charters meet: which of them lives on.
//!
//! The charter with the smaller epoch decides, by an entry in its own log: its leader looks at both claims and
//! commits the verdict, whichever it is. Its members then tell the other side, whose leader commits the same. A
//! charter is given up only by an entry in its own log.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    time::Duration,
};

use futures::future::BoxFuture;
use tracing::{info, warn};

use super::run::Driver;
use crate::{
    groups::{
        bonds::Control,
        machine::Item,
        proposer::Fate,
        proto::founding::{
            charter::{Charter, Epoch},
            verdict::{Claim, Verdict, succeeds, verdict},
        },
    },
    id::MemberId,
    rt::{self, Instant},
};

/// How often those who run a charter that ours won against are told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Other charters that are remembered.
const MAX_CONFLICTS: usize = 16;

/// Other established charters that were met.
#[derive(Default)]
pub(in crate::groups) struct Conflicts {
    /// What was said of each.
    claims: BTreeMap<Epoch, Claim>,
    /// What was decided elsewhere between ours and another: the one that lives on.
    decided: BTreeMap<Epoch, (Epoch, Charter)>,
    /// The verdict that is being committed.
    committing: Option<Committing>,
    /// Those that ours won against, by a verdict in our log.
    won: BTreeSet<Epoch>,
    /// When those who run them were told last.
    told: Option<Instant>,
}

/// A verdict on its way into the log.
struct Committing {
    /// Against which charter, and whether ours lives on.
    against: Epoch,
    ours: bool,
    fate: BoxFuture<'static, Fate>,
}

impl Conflicts {
    /// Another charter was met.
    pub(super) fn met(&mut self, by: MemberId, theirs: Claim) {
        let epoch = theirs.charter.epoch;
        let room = self.claims.len() < MAX_CONFLICTS || self.claims.contains_key(&epoch);
        if room && self.claims.insert(epoch, theirs).is_none() {
            warn!(%epoch, by = %by, "another charter of the group was met");
        }
    }

    /// A verdict was committed elsewhere.
    pub(super) fn told(&mut self, by: Epoch, other: Epoch, winner: Charter) {
        if self.decided.len() < MAX_CONFLICTS {
            self.decided.insert(other, (by, winner));
        }
    }

    /// Waits until the verdict that is being committed is.
    pub(super) async fn settled(&mut self) {
        let Some(committing) = &mut self.committing else {
            return pending().await;
        };
        let result = (&mut committing.fate).await;
        let (against, ours) = (committing.against, committing.ours);
        self.committing = None;
        match result {
            Ok(_) if ours => drop(self.won.insert(against)),
            Ok(_) => {}
            Err(failed) => info!(?failed, "a verdict was not committed yet"),
        }
    }

    /// The charters that were met and descend from this one.
    pub(super) fn descendants(&self, of: &Charter) -> impl Iterator<Item = &Charter> {
        let charters = self.claims.values().map(|claim| &claim.charter);
        charters.filter(move |charter| succeeds(charter, of))
    }

    /// The other charters that were met, for people.
    pub(super) fn others(&self) -> impl Iterator<Item = Epoch> {
        self.claims.keys().copied()
    }
}

impl Driver {
    /// Commits a verdict, if that is up to this member, or tells the other side of one.
    pub(super) fn arbitrate(&mut self) {
        let Some(ours) = self.front.claim() else {
            return;
        };
        // What is proposed without a quorum is not committed, and a descendant would apply it.
        if self.conflicts.committing.is_some() || self.recovery.is_lost() {
            return;
        }
        let epoch = ours.charter.epoch;
        let Some(running) = &self.running else {
            return;
        };
        if running.machine().superseded.is_some() {
            return;
        }
        let leads = running.leader() == Some(self.front.me());
        let replica = running.replica().clone();
        self.tell_verdicts(&ours.charter);
        if !leads {
            return;
        }
        let told = self.conflicts.decided.remove(&epoch);
        let told = told.filter(|(by, winner)| *by < epoch && winner.epoch == *by);
        let Some((against, winner)) = told.or_else(|| self.decide(&ours)) else {
            return;
        };
        warn!(%against, winner = %winner.epoch, "commits which of two charters lives on");
        let ours = winner.epoch == epoch;
        let item = Item::Verdict {
            winner: Box::new(winner),
        };
        self.conflicts.committing = Some(Committing {
            against,
            ours,
            fate: Box::pin(async move { replica.submit(item).await }),
        });
    }

    /// Decides what is ours to decide: against which charter, and which of the two lives on.
    fn decide(&self, ours: &Claim) -> Option<(Epoch, Charter)> {
        let epoch = ours.charter.epoch;
        let conflicts = &self.conflicts;
        let undecided = |theirs: &&Claim| {
            let theirs = theirs.charter.epoch;
            epoch < theirs && !conflicts.won.contains(&theirs)
        };
        let theirs = conflicts.claims.values().find(undecided)?;
        let winner = match verdict(ours, theirs) {
            Verdict::Theirs => theirs,
            Verdict::Ours | Verdict::Same => ours,
        };
        Some((theirs.charter.epoch, winner.charter.clone()))
    }

    /// Tells the other side, now and then, that ours lives on.
    fn tell_verdicts(&mut self, ours: &Charter) {
        let (group, now) = (self.front.group(), rt::now());
        let told = self.conflicts.told;
        if told.is_some_and(|told| now.duration_since(told) < TELL_EVERY) {
            return;
        }
        for bond in self.front.bonds() {
            let lost = bond
                .announces
                .filter(|other| self.conflicts.won.contains(other));
            if let Some(other) = lost {
                self.conflicts.told = Some(now);
                bond.line.tell(Control::Verdict {
                    group,
                    by: ours.epoch,
                    other,
                    winner: ours.clone(),
                });
            }
        }
    }
}
