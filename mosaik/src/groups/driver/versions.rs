//! Members of different versions: hears what each knows, keeps that, and tells the replica what it may propose.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracing::{info, warn};

use super::run::{Driver, Ending};
use crate::{
    groups::{
        front::Bond,
        machine::Used,
        notes,
        proto::{
            log_id::LogId,
            roster::Membership,
            versions::{Gaps, Heard, Kept},
        },
        storage::{GroupState, Op},
    },
    id::{MemberId, PeerId},
    wire,
};

/// Peers that are remembered as not taken in.
const MAX_OUTDATED: usize = 1024;

/// What is known of the programs of the members.
#[derive(Default)]
pub(in crate::groups) struct Versions {
    heard: Heard,
    /// How often somebody had said what it knows when that was heard.
    announcements: u64,
    /// What the gate was set by last.
    seen: Option<Seen>,
    gaps: Gaps,
    /// Whether it was set since what is known was kept.
    news: bool,
    /// Who was not taken in, as which member, and the command that it lacks. They may have stopped since.
    outdated: BTreeMap<PeerId, (MemberId, u64)>,
}

/// What the gate is set by.
#[derive(PartialEq, Eq)]
struct Seen {
    /// The last membership in the log.
    membership: Option<LogId>,
    /// Who is about to vote.
    promoted: BTreeSet<MemberId>,
    /// Which commands were used.
    used: Arc<Used>,
}

impl Versions {
    /// What was kept when this member last ran.
    pub(super) fn restore(state: &GroupState) -> Self {
        let kept = state.notes.get(&notes::VERSIONS_NOTE);
        let kept = match kept.map(|bytes| wire::decode::<Kept>(bytes)) {
            Some(Ok(kept)) => kept,
            Some(Err(error)) => {
                // Whoever is there says it again.
                warn!(%error, "what members knew cannot be read");
                Kept::default()
            }
            None => Kept::default(),
        };
        Self {
            heard: kept.into(),
            ..Self::default()
        }
    }

    fn hear(&mut self, bonds: &[Bond], members: Option<&BTreeSet<MemberId>>) {
        let said = bonds.iter();
        let said = said.map(|bond| (bond.member, &*bond.announced));
        match members {
            Some(members) => self.heard.hear_members(said, members),
            None => self.heard.hear_anybody(said),
        }
    }

    /// Another replica runs, which has to be told.
    pub(super) fn reset(&mut self) {
        self.seen = None;
        self.outdated.clear();
    }
}

impl Driver {
    /// Sees to what the replica may propose, and keeps what members know, if either has changed.
    pub(super) async fn compare_versions(&mut self) -> Result<(), Ending> {
        self.set_gate();
        if !std::mem::take(&mut self.versions.news) {
            return Ok(());
        }
        let kept = wire::encode(&self.versions.heard.kept());
        let kept = kept.map_err(|error| Ending::Halted(error.to_string()))?;
        let held = self.log.state().notes;
        if held.get(&notes::VERSIONS_NOTE).map(|held| &held[..]) == Some(&kept[..]) {
            return Ok(());
        }
        let note = Op::Note(notes::VERSIONS_NOTE, Some(kept.into()));
        self.write(vec![note]).await
    }

    /// Hears what members say they know, and tells the replica what it may propose, if that has changed: what is known
    /// to all voters of the last membership in its log, and to those who are about to vote.
    pub(super) fn set_gate(&mut self) {
        let program = self.parts.shared.program();
        if !program.is_named() {
            return;
        }
        let announcements = self.front.announcements();
        let versions = &mut self.versions;
        if versions.announcements != announcements {
            versions.announcements = announcements;
            versions.seen = None;
            // Before there is a membership too: a founder may be gone by then.
            versions.hear(&self.front.bonds(), members().as_ref());
        }
        let Some((running, status)) = &running else {
            return;
        };
        let seen = Seen {
            membership: status.membership.as_ref().map(|known| known.log_id),
            promoted: self.seats.promoted().clone(),
            used: running.machine().used,
        };
        if versions.seen.as_ref() == Some(&seen) {
            return;
        }
        // Those who are members only now were forgotten.
        versions.hear(&self.front.bonds(), members().as_ref());
        let me = self.front.me();
        let running = self.running.as_ref();
        let running = running.and_then(|running| Some((running, running.raft()?)));
        let membership = running
            .as_ref()
            .and_then(|(_, raft)| raft.membership.as_ref());
        let members = || membership.map(Membership::members);
        let mut voters: BTreeSet<MemberId> = match &status.membership {
            Some(membership) => {
                let voters = membership.configs().flatten();
                voters.chain(&seen.promoted).copied().collect()
            }
            // Raft has not said yet what stands in its log: those it was founded with, or all who were members.
            None => {
                let founders = running.charter().founders.iter();
                founders.chain(versions.heard.members()).copied().collect()
            }
        };
        voters.remove(&me);
        let own = program.announced().commands.numbers();
        let gaps = Gaps::find(own, &voters, &versions.heard, |number| {
            seen.used.has(number)
        });
        if gaps != versions.gaps {
            let commands: Vec<String> = gaps.iter().map(|(n, _)| program.name(n)).collect();
            info!(?commands, "commands that not every voter knows");
        }
        running.replica().gate().set(gaps.clone());
        versions.gaps = gaps;
        versions.seen = Some(seen);
        versions.news = true;
    }

    /// Those who are bonded and cannot become members: they do not know a command that was used. Says so, once of each.
    pub(super) fn outdated(&mut self, members: &BTreeSet<MemberId>) -> BTreeSet<MemberId> {
        let mut outside = BTreeSet::new();
        let Some(running) = self.running.as_ref() else {
            return outside;
        };
        let used = running.machine().used;
        let program = self.parts.shared.program();
        let known = &mut self.versions.outdated;
        for bond in self.front.bonds() {
            let member = bond.member;
            let lacks = used.missing_in(&bond.announced.commands);
            let lacks = lacks.filter(|_| bond.writer && !members.contains(&member));
            let Some(lacks) = lacks else {
                known.remove(&member.peer);
                continue;
            };
            outside.insert(member);
            if known.contains_key(&member.peer) || known.len() < MAX_OUTDATED {
                let before = known.insert(member.peer, (member, lacks));
                if before.is_none_or(|(before, _)| before != member) {
                    let command = program.name(lacks);
                    warn!(%member, command, "not taken in: it does not know a command that was used; update it");
                }
            }
        }
        outside
    }

    /// What stands in the way of members that are of other versions, as people are told.
    pub(super) fn version_trouble(&self) -> Vec<String> {
        let running = self.running.as_ref();
        if running.and_then(|running| running.leader()) != Some(self.front.me()) {
            return Vec::new();
        }
        let program = self.parts.shared.program();
        let gaps = self.versions.gaps.iter().map(|(command, member)| {
            let command = program.name(command);
            format!("`{command}` is not known to {member} yet: update it")
        });
        let outdated = self.versions.outdated.values().map(|(member, command)| {
            let command = program.name(*command);
            format!(
                "{member} is not taken in: it does not know `{command}`, which was used; update it"
            )
        });
        gaps.chain(outdated).collect()
    }
}
