//! Which groups a peer takes part in, whether or not this node does.

use std::{collections::BTreeMap, sync::Arc};

use super::{Control, Presence};
use crate::{groups::proto::versions::Announced, id::GroupId};

/// Groups that a peer may take part in, as far as this node remembers; beyond, only those that it takes part in too.
const MAX_PRESENCES: usize = 4096;
/// Programs of groups that only the peer takes part in, as far as this node remembers: of 12 KiB each at most. Groups
/// with one program share it.
const MAX_PROGRAMS: usize = 64;

/// The groups that a peer takes part in, for groups that this node joins later. A few megabytes at most.
#[derive(Debug, Default)]
pub(super) struct Presences {
    groups: BTreeMap<GroupId, Presence>,
    /// The programs of groups that only the peer takes part in, each once.
    programs: Vec<Arc<Announced>>,
    forgot: bool,
}

impl Presences {
    /// Remembers what a message says of a group, which this node takes part in or not.
    pub(super) fn remember(&mut self, message: &Control, takes_part: bool) {
        match message {
            Control::Present(presence) => {
                // It may hold a program that nothing else does.
                let known = self.groups.remove(&presence.group).is_some();
                let mut presence = presence.clone();
                let room = known || self.groups.len() < MAX_PRESENCES;
                if takes_part || (room && self.share(&mut presence.announced)) {
                    self.groups.insert(presence.group, presence);
                } else {
                    self.forgot = true;
                }
            }
            Control::Absent { group, boot, .. }
                if self.get(group).is_some_and(|known| known.boot == *boot) =>
            {
                self.groups.remove(group);
            }
            _ => {}
        }
    }

    /// Puts the program in the place of one that is the same; returns whether there is room for it.
    fn share(&mut self, program: &mut Arc<Announced>) -> bool {
        if let Some(same) = self.programs.iter().find(|known| *known == program) {
            *program = same.clone();
            return true;
        }
        self.programs.retain(|known| Arc::strong_count(known) > 1);
        let room = self.programs.len() < MAX_PROGRAMS;
        if room {
            self.programs.push(program.clone());
        }
        room
    }

    /// What the peer said of a group.
    pub(super) fn get(&self, group: &GroupId) -> Option<&Presence> {
        self.groups.get(group)
    }

    /// The same, to share its program with that of this node.
    pub(super) fn get_mut(&mut self, group: &GroupId) -> Option<&mut Presence> {
        self.groups.get_mut(group)
    }

    /// Whether the peer takes part in a group, as far as is remembered.
    pub(super) fn has(&self, group: &GroupId) -> bool {
        self.groups.contains_key(group)
    }

    /// Whether it takes part in any as a writer.
    pub(super) fn writes(&self) -> bool {
        self.groups.values().any(|presence| presence.writer)
    }

    /// Whether it said more than is remembered.
    pub(super) fn forgot(&self) -> bool {
        self.forgot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::proto::{
        founding::charter::{Digest, Terms},
        roster::Preference,
        versions::{Methods, Signature},
    };

    fn group(n: usize) -> GroupId {
        GroupId::from_name(&n.to_string())
    }

    /// The peer takes part in a group, with a program that has one command.
    fn present(n: usize, command: usize) -> Control {
        let digest = Digest([0; 32]);
        let commands: BTreeMap<u64, Signature> = [(command as u64, [0; 16])].into();
        Control::Present(Presence {
            group: group(n),
            boot: 1,
            writer: true,
            preference: Preference::Neutral,
            terms: Terms {
                durable: false,
                timing: digest,
                key_check: digest,
                fingerprint: digest,
                options: digest,
            },
            announced: Arc::new(Announced {
                commands: Methods::new(&commands).unwrap(),
                queries: Methods::default(),
            }),
            found: None,
            rolled_back: false,
            proof: [0; 32],
        })
    }

    fn absent(n: usize) -> Control {
        Control::Absent {
            group: group(n),
            boot: 1,
            farewell: None,
            testament: None,
        }
    }

    #[test]
    fn many_groups_of_one_program_are_remembered_and_hold_it_once() {
        let mut presences = Presences::default();
        for n in 0..MAX_PRESENCES {
            presences.remember(&present(n, 1), false);
        }
        assert!(!presences.forgot());
        assert_eq!(presences.programs.len(), 1);
        let program = |n| &presences.get(&group(n)).unwrap().announced;
        assert!(Arc::ptr_eq(program(0), program(MAX_PRESENCES - 1)));
        // One that is known may change; for another there is no room.
        presences.remember(&present(0, 2), false);
        assert!(presences.has(&group(0)) && !presences.forgot());
        presences.remember(&present(MAX_PRESENCES, 1), false);
        assert!(!presences.has(&group(MAX_PRESENCES)) && presences.forgot());
        // This node's own are its own business.
        presences.remember(&present(MAX_PRESENCES, 1), true);
        assert!(presences.has(&group(MAX_PRESENCES)));
    }

    #[test]
    fn programs_of_groups_of_others_are_few_and_make_room() {
        let mut presences = Presences::default();
        for n in 0..MAX_PROGRAMS {
            presences.remember(&present(n, n), false);
        }
        // Nor do those of this node's groups count here.
        presences.remember(&present(1000, 1000), true);
        assert!(presences.has(&group(1000)) && !presences.forgot());
        // One that changes or goes makes room.
        presences.remember(&present(0, 2000), false);
        presences.remember(&absent(1), false);
        presences.remember(&present(2001, 2001), false);
        assert!(presences.has(&group(0)) && presences.has(&group(2001)));
        assert!(!presences.forgot() && presences.programs.len() == MAX_PROGRAMS);
        presences.remember(&present(2002, 2002), false);
        assert!(!presences.has(&group(2002)) && presences.forgot());
        assert_eq!(presences.programs.len(), MAX_PROGRAMS);
    }
}
