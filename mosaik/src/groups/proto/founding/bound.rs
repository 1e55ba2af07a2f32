//! What a member knows of the charter that it is bound to, and when that releases it.

use std::collections::BTreeSet;

use super::{
    charter::{Charter, Epoch},
    message::Binding,
};
use crate::id::MemberId;

/// A charter that this member has accepted. Every set is a part of its founders.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bound {
    /// The charter.
    pub(super) charter: Charter,
    /// Who has accepted it; of no interest once pledged.
    pub(super) accepted: BTreeSet<MemberId>,
    /// Who has pledged.
    pub(super) pledges: BTreeSet<MemberId>,
    /// Who is proven dead, its memory with it.
    pub(super) gone: BTreeSet<MemberId>,
    /// Whether this member has pledged.
    pub(super) pledged: bool,
    /// Whether this member is to run it.
    pub(super) sealed: bool,
    /// Whether starting it was asked for.
    pub(super) started: bool,
    /// Whether this member's log holds a leader's entry of it.
    pub(super) entry: bool,
    /// Whether a timer to recover from it is set.
    pub(super) recovering: bool,
    /// The charter that it recovers, on the member that does so.
    pub(super) recovers: Option<Epoch>,
}

/// What the knowledge of the others amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    /// It may yet be established.
    No,
    /// It can never be established, or a majority of it is gone: forget it.
    Free,
    /// This member is the last that can hold an entry of it: recover.
    Recover,
}

impl Bound {
    /// A fresh acceptance by `me`.
    pub(super) fn new(charter: Charter, me: MemberId) -> Self {
        let binding = Binding {
            charter,
            pledged: false,
            sealed: false,
        };
        Self::restored(binding, me)
    }

    /// What is left of it after a restart of `me`.
    pub(super) fn restored(binding: Binding, me: MemberId) -> Self {
        let (pledges, accepted) = match (binding.pledged, binding.sealed) {
            (true, _) => (BTreeSet::from([me]), BTreeSet::new()),
            (false, true) => (BTreeSet::new(), binding.charter.founders.clone()),
            (false, false) => (BTreeSet::new(), BTreeSet::from([me])),
        };
        Self {
            charter: binding.charter,
            accepted,
            pledges,
            gone: BTreeSet::new(),
            pledged: binding.pledged,
            sealed: binding.sealed,
            started: false,
            entry: false,
            recovering: false,
            recovers: None,
        }
    }

    /// What of it survives a restart.
    pub(super) fn binding(&self) -> Binding {
        Binding {
            charter: self.charter.clone(),
            pledged: self.pledged,
            sealed: self.sealed,
        }
    }

    /// Whether it was neither sealed nor pledged against.
    pub(super) fn is_open(&self) -> bool {
        !self.pledged && !self.sealed
    }

    /// Takes in that these founders have accepted; seals when all have. Who has pledged does not care.
    pub(super) fn accept(&mut self, from: &BTreeSet<MemberId>) {
        if self.is_open() {
            self.accepted.extend(from);
            self.sealed = self.accepted == self.charter.founders;
        }
    }

    /// Pledges unless it was sealed.
    pub(super) fn pledge(&mut self, me: MemberId) {
        if !self.sealed {
            self.pledged = true;
            self.pledges.insert(me);
            self.accepted.clear();
        }
    }

    /// Whether `me` is released.
    ///
    /// A blocking set of pledges proves that no majority can ever hold an entry, so whoever holds one
    /// cannot see it and nothing that is heard moves it. The other rule is for volatile members: if all
    /// others have pledged or are dead, then either no majority held an entry, or all of that majority
    /// but perhaps this member are dead.
    pub(super) fn release(&self, me: MemberId) -> Release {
        let founders = &self.charter.founders;
        if !self.entry && self.pledges.len() >= self.charter.blocking() {
            return Release::Free;
        }
        let out = |member: &MemberId| self.pledges.contains(member) || self.gone.contains(member);
        let alone = founders.iter().all(|member| *member == me || out(member));
        match (founders.len() > 1 && alone, self.entry) {
            (false, _) => Release::No,
            (true, false) => Release::Free,
            (true, true) => Release::Recover,
        }
    }
}
