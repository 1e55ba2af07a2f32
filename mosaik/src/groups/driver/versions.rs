//! Members of different versions: hears what each knows, keeps that, and tells the replica what it may propose.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::FutureExt as _;
use tracing::{info, warn};

use super::{
    run::{Driver, Ending},
    seats::Change,
};
use crate::{
    groups::{
        front::Bond,
        machine::Used,
        notes,
        proto::{
            log_id::LogId,
            roster::{self, Membership, Program},
            versions::{Gaps, Heard, Kept},
        },
        raft::ChangeError,
        replica::Replica,
        storage::{GroupState, Op},
    },
    id::{MemberId, PeerId},
    wire,
};

/// Peers that are remembered as not taken in.
const MAX_OUTDATED: usize = 1024;

/// What is known of the programs of members, and of those who may become ones.
pub(super) type Programs = BTreeMap<MemberId, Program>;

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

/// What is known of a member's program, which knows these commands, if it was heard.
fn judge(used: &Used, knows: Option<&Arc<[u64]>>) -> Program {
    match knows {
        Some(knows) if used.missing_in(knows).is_some() => Program::Outdated,
        None if !used.is_empty() => Program::Unheard,
        Some(_) | None => Program::Current,
    }
}

/// Whether a member that knows these commands, if it was heard, knows all of `commands`.
fn covers(knows: Option<&Arc<[u64]>>, commands: &[u64]) -> bool {
    let known = |number| knows.is_some_and(|knows| knows.binary_search(number).is_ok());
    commands.iter().all(known)
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
        let running = self.running.as_ref();
        let running = running.and_then(|running| Some((running, running.raft()?)));
        let membership = running
            .as_ref()
            .and_then(|(_, raft)| raft.membership.as_ref());
        let members = || membership.map(Membership::members);
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

    /// What is known of the programs of all members, and of those who are bonded. Says of each that is kept from voting
    /// by a command that was used, once, that it does not know that.
    pub(super) fn programs(&mut self, membership: &Membership) -> Programs {
        let mut programs = Programs::new();
        let Some(running) = self.running.as_ref() else {
            return programs;
        };
        let used = running.machine().used;
        let program = self.parts.shared.program();
        let Versions {
            heard,
            outdated: known,
            ..
        } = &mut self.versions;
        for member in membership.members() {
            programs.insert(member, judge(&used, heard.commands(&member)));
        }
        for bond in self.front.bonds() {
            let (member, commands) = (bond.member, bond.announced.commands.numbers());
            programs.insert(member, judge(&used, Some(commands)));
            let lacks = used.missing_in(commands);
            let lacks = lacks.filter(|_| bond.writer && !membership.votes(&member));
            let Some(lacks) = lacks else {
                known.remove(&member.peer);
                continue;
            };
            if known.contains_key(&member.peer) || known.len() < MAX_OUTDATED {
                let before = known.insert(member.peer, (member, lacks));
                if before.is_none_or(|(before, _)| before != member) {
                    let command = program.name(lacks);
                    warn!(%member, command, "not taken in: it does not know a command that was used; update it");
                }
            }
        }
        programs
    }

    /// Has a change of the members made. Of those whom it makes voters some may lack a command that this member lets
    /// through until the gate counts them, and that nobody has used before: they are promoted only once all that was
    /// let through is applied, and if they know that.
    pub(super) fn make(&self, change: roster::Change, replica: Arc<Replica>) -> Change {
        let own = self.parts.shared.program().announced().commands.numbers();
        let heard = |member| self.versions.heard.commands(member).cloned();
        let promoted = self.seats.promoted().iter().map(heard);
        let promoted: Vec<_> = promoted
            .filter(|knows| !covers(knows.as_ref(), own))
            .collect();
        let make = async move {
            let Some(node) = replica.node() else {
                return Ok(());
            };
            if !promoted.is_empty() {
                let used = replica.fence().await?;
                let mut programs = promoted.iter().map(|knows| judge(&used, knows.as_ref()));
                if programs.any(|program| program != Program::Current) {
                    return Err(ChangeError::Outdated);
                }
            }
            node.change(&change).await
        };
        make.boxed()
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

/// Members of two versions in one group, and a command that only the later one knows.
#[cfg(test)]
mod tests {
    use std::{marker::PhantomData, time::Duration};

    use crate::{
        Group, Network,
        groups::{
            GroupBuilder, GroupError, Options,
            machine::{Application, number, tests::versions::Sum},
        },
        sim::{Conditions, Host, World},
    };

    /// A group with a history, of members that know all commands.
    struct Mixed {
        world: World,
        hosts: Vec<Host>,
        groups: Vec<Group<Sum<2>>>,
        /// Live as long as their nodes.
        networks: Vec<Network>,
    }

    fn builder<M: Application>(network: &Network) -> GroupBuilder<M> {
        GroupBuilder {
            groups: network.groups().clone(),
            name: "sum".into(),
            options: Options::default(),
            refused: None,
            machine: PhantomData,
        }
    }

    impl Mixed {
        async fn new(world: &World) -> Self {
            let mut group = Self {
                world: world.clone(),
                hosts: world.make_hosts(6),
                groups: Vec::new(),
                networks: Vec::new(),
            };
            for at in 0..3 {
                let joined = group.join::<2>(at).await;
                group.groups.push(joined);
            }
            for member in &group.groups {
                member.when().voters(3).await;
                member.when().online().await;
            }
            group.call("add", 100).await.unwrap();
            group
        }

        async fn join<const VERSION: u8>(&mut self, at: usize) -> Group<Sum<VERSION>> {
            let host = &self.hosts[at];
            let network = host.builder("versions", &self.world.hosts()).build();
            let network = host.run(network).await.unwrap().unwrap();
            let joined = builder(&network).founders(3).join();
            self.networks.push(network);
            joined
        }

        async fn call(&self, command: &str, amount: u64) -> Result<u64, GroupError> {
            self.groups[0].call(number(command), &(amount,)).await
        }

        /// What a host is, as far as the first one knows: whether it votes, if it is a member.
        fn votes(&self, at: usize) -> Option<bool> {
            let peer = self.hosts[at].peer();
            let mut members = self.groups[0].members().into_iter();
            members
                .find(|member| member.peer == peer)
                .map(|member| member.voter)
        }

        async fn until(&self, what: &str, at: usize, votes: Option<bool>) {
            let late = self.world.elapsed() + Duration::from_secs(20);
            while self.votes(at) != votes {
                let explain = || self.groups[0].explain().to_string();
                assert!(self.world.elapsed() < late, "not {what}: {}", explain());
                self.world.sleep(Duration::from_millis(1)).await;
            }
        }
    }

    #[test]
    fn a_learner_that_lacks_a_command_by_now_makes_room_for_one_that_does_not() {
        let world = World::new(1);
        world.run(async {
            let mut group = Mixed::new(&world).await;
            let _old = group.join::<1>(3).await;
            group.until("seated", 3, Some(false)).await;
            group.call("take", 1).await.unwrap();
            // Long before it would be for its silence.
            group.until("dropped", 3, None).await;
            for at in [4, 5] {
                let _new = group.join::<2>(at).await;
            }
            group.until("a voter", 4, Some(true)).await;
            group.until("a voter", 5, Some(true)).await;
            assert_eq!(group.votes(3), None);
            assert_eq!(group.call("take", 1).await.unwrap(), 98);
        });
    }

    /// The command is used for the first time about when the learner becomes a voter: one of the two comes first.
    #[test]
    fn nobody_becomes_a_voter_who_lacks_what_is_just_used() {
        let (mut used, mut voted) = (0, 0);
        for seed in 0..12 {
            let world = World::new(seed);
            world.set_conditions(Conditions {
                latency: Duration::from_millis(15),
                ..Conditions::default()
            });
            world.run(async {
                let mut group = Mixed::new(&world).await;
                let _old = group.join::<1>(3).await;
                group.until("seated", 3, Some(false)).await;
                let _new = group.join::<2>(4).await;
                group.until("seated", 4, Some(false)).await;
                world
                    .sleep(world.random_duration(Duration::from_millis(200)))
                    .await;
                let outcome = group.call("take", 1).await;
                world.sleep(Duration::from_secs(5)).await;
                match outcome {
                    Ok(left) => {
                        assert_eq!(left, 99);
                        assert_eq!(group.votes(3), None, "seed {seed}");
                        used += 1;
                    }
                    Err(GroupError::Unsupported(_)) => {
                        voted += u32::from(group.votes(3) == Some(true))
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                }
            });
        }
        assert!(used > 0 && voted > 0, "{used} {voted}");
    }
}
