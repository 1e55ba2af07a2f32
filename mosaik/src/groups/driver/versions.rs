//! Members of different versions: hears what each knows, keeps that, and tells the replica what it may propose.

use std::{collections::BTreeSet, sync::Arc};

use tracing::{info, warn};

use super::run::{Driver, Ending};
use crate::{
    groups::{
        front::Bond,
        machine::Used,
        notes,
        proto::{
            log_id::LogId,
            versions::{Gaps, Heard, Kept},
        },
        storage::{GroupState, Op},
    },
    id::MemberId,
    wire,
};

/// Members that are remembered before it is known who is one.
const MAX_HEARD: usize = 1024;

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
    /// Members that are not taken in, and the command that each lacks.
    outdated: Vec<(MemberId, u64)>,
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
            let room = MAX_HEARD.saturating_sub(versions.heard.len());
            for bond in self.front.bonds().into_iter().take(room) {
                versions.heard.hear(bond.member, &bond.announced);
            }
        }
        let Some((running, status)) = self
            .running
            .as_ref()
            .and_then(|running| Some((running, running.raft()?)))
        else {
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
        let me = self.front.me();
        let mut voters: BTreeSet<MemberId> = match &status.membership {
            Some(membership) => {
                let members = membership.members();
                versions.heard.retain(|member| members.contains(member));
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

    /// Those who are bonded and cannot be members: they do not know a command that was used. Says so, once of each.
    pub(super) fn outdated(&mut self, members: &BTreeSet<MemberId>) -> BTreeSet<MemberId> {
        let Some(running) = self.running.as_ref() else {
            return BTreeSet::new();
        };
        let used = running.machine().used;
        let lacks = |bond: &Bond| used.missing_in(&bond.announced.commands);
        let bonds = self.front.bonds().into_iter();
        let outside = bonds.filter(|bond| bond.writer && !members.contains(&bond.member));
        let outdated = outside.filter_map(|bond| Some((bond.member, lacks(&bond)?)));
        let outdated: Vec<(MemberId, u64)> = outdated.collect();
        let program = self.parts.shared.program();
        for (member, command) in &outdated {
            if !self.versions.outdated.contains(&(*member, *command)) {
                let command = program.name(*command);
                warn!(%member, command, "not taken in as it does not know a command that was used: update it");
            }
        }
        let outside = outdated.iter().map(|(member, _)| *member).collect();
        self.versions.outdated = outdated;
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
        let outdated = self.versions.outdated.iter().map(|(member, command)| {
            let command = program.name(*command);
            format!(
                "{member} is not taken in: it does not know `{command}`, which was used; update it"
            )
        });
        gaps.chain(outdated).collect()
    }
}
