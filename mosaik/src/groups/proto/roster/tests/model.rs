//! An exhaustive model: the shipping planner as the leader of an abstract Raft group, among crashes,
//! restarts, departures, members cut off, and changes that are lost or left half done by their leader.
//!
//! Raft is reduced to what bears on membership: an entry commits when a majority of each set of voters
//! is reachable, takes effect when appended, and may be lost with its leader while uncommitted. Time is
//! reduced to steps of silence; a crash goes unnoticed until time passes. Of the commands there is one that some
//! members do not know, and that is used once all voters do.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use stateright::{Checker, Model, Property};

use super::*;

/// Silence of a member after so many steps.
const SILENCE: [u64; 4] = [0, 5, 30, 60];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Node {
    up: bool,
    /// Reaches nobody.
    cut: bool,
    caught_up: bool,
    /// Index into [`SILENCE`].
    silence: usize,
    superseded: bool,
    departed: bool,
    leaving: bool,
}

const FRESH: Node = Node {
    up: true,
    cut: false,
    caught_up: false,
    silence: 0,
    superseded: false,
    departed: false,
    leaving: false,
};

/// A change that is not committed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pending {
    /// Who proposed it, or led with it last, and cannot forget it.
    by: MemberId,
    /// What it changes: in force again if it is lost.
    from: Membership,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct State {
    nodes: BTreeMap<MemberId, Node>,
    leader: Option<MemberId>,
    membership: Membership,
    pending: Option<Pending>,
    /// Whether a silent voter was removed within `evict_after`.
    evicted: bool,
    /// Whether the command that some do not know was used.
    used: bool,
    crashes: u8,
    departures: u8,
    cuts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Crash(MemberId),
    Restart(MemberId),
    Leave(MemberId),
    ShutDown(MemberId),
    Cut(MemberId),
    Heal(MemberId),
    /// Elects a voter, which has the uncommitted change or not.
    Elect(MemberId, bool),
    CatchUp(MemberId),
    Propose,
    Commit,
    /// A command is used that the members of the earlier version do not know.
    Use,
    /// Time passes.
    Age,
}

/// A group to explore, and how many faults of each kind.
#[derive(Clone, Debug)]
struct Group {
    peers: u8,
    voters: u8,
    options: Options,
    crashes: u8,
    departures: u8,
    cuts: u8,
    /// Those whose program is of an earlier version.
    old: BTreeSet<PeerId>,
}

fn group(peers: u8, voters: u8, crashes: u8, departures: u8, cuts: u8) -> Group {
    let options = Options {
        founders: voters as usize,
        ..Options::default()
    };
    Group {
        peers,
        voters,
        options,
        crashes,
        departures,
        cuts,
        old: BTreeSet::new(),
    }
}

impl Group {
    fn durable(mut self) -> Self {
        self.options.durable = true;
        self
    }

    fn founders(mut self, founders: usize) -> Self {
        self.options.founders = founders;
        self
    }

    fn old(mut self, peers: &[u8]) -> Self {
        self.old = set(peers).iter().map(|member| member.peer).collect();
        self
    }

    /// Whether all who vote, or would if a change is lost, know all commands.
    fn may_use(&self, state: &State) -> bool {
        let before = state.pending.iter().map(|pending| &pending.from);
        let mut voters = before
            .chain([&state.membership])
            .flat_map(Membership::configs)
            .flatten();
        voters.all(|member| !self.old.contains(&member.peer))
    }

    fn facts(&self, state: &State, member: &MemberId, node: &Node) -> Facts {
        let leads = state.leader == Some(*member);
        Facts {
            durable: self.options.durable,
            matched: node.caught_up.then_some(COMMIT),
            silent_for: secs(if leads { 0 } else { SILENCE[node.silence] }),
            superseded: node.superseded,
            departed: node.departed,
            leaving: node.leaving,
            program: if state.used && self.old.contains(&member.peer) {
                Program::Outdated
            } else {
                Program::Current
            },
            ..live()
        }
    }

    /// What the leader sees; none without one that runs.
    fn view(&self, state: &State) -> Option<View> {
        let leader = state.leader.filter(|m| state.nodes[m].up)?;
        let members = state.membership.members();
        let known = |(m, node): &(&MemberId, &Node)| members.contains(m) || node.reachable();
        let facts = state.nodes.iter().filter(known);
        Some(View {
            leader,
            confirmed: state.confirmed(),
            facts: facts
                .map(|(m, node)| (*m, self.facts(state, m, node)))
                .collect(),
            membership: state.membership.clone(),
            last_eviction: state.evicted.then_some(1_000_000),
            options: self.options.clone(),
            ..view(&[1], &[])
        })
    }

    fn plan(&self, state: &State) -> Option<Change> {
        plan(&self.view(state)?)
    }

    /// Whether a state is one to come to rest in: enough voters, or too few members for any quorum.
    fn settled(&self, state: &State) -> bool {
        let Some(view) = self.view(state).filter(|view| view.confirmed) else {
            return state.lost();
        };
        let voters = &state.membership.voters;
        let up = voters.iter().filter(|m| state.nodes[m].reachable()).count();
        let at_rest = plan(&view).is_none() && state.pending.is_none();
        at_rest && state.membership.leaving.is_none() && up >= view.floor() || state.lost()
    }
}

impl Node {
    fn reachable(&self) -> bool {
        self.up && !self.cut
    }
}

impl State {
    fn up(&self, reachable: bool) -> BTreeSet<MemberId> {
        let up = |(_, node): &(&MemberId, &Node)| node.up && !(reachable && node.cut);
        self.nodes.iter().filter(up).map(|(m, _)| *m).collect()
    }

    fn leads(&self) -> Option<MemberId> {
        self.leader.filter(|m| self.nodes[m].reachable())
    }

    fn confirmed(&self) -> bool {
        self.leads().is_some() && quorum(&self.membership, &self.up(true)).reached()
    }

    /// Whether no quorum can be had among the members that are up, were all connected. So is a change
    /// that is under way, and cannot be forgotten, once two of the new voters die: no plan can foresee
    /// that. Nor the death of the second voter while it is being added to one, or of one when another
    /// is leaving.
    fn lost(&self) -> bool {
        let up = self.up(false);
        let before = self.pending.as_ref().is_some_and(|pending| {
            let mut others = pending.from.configs().flatten();
            let other = others.any(|m| *m != pending.by && up.contains(m));
            let stay = up.iter().filter(|m| !self.nodes[m].leaving);
            let dead = self.membership.voters.difference(&up).count();
            let held = dead >= 2 && self.leader.is_some();
            other && !held && quorum(&pending.from, &stay.copied().collect()).reached()
        });
        !before && !quorum(&self.membership, &up).reached()
    }

    fn elect(&mut self, leader: MemberId) {
        self.leader = Some(leader);
        self.evicted = false;
        self.nodes.values_mut().for_each(|node| node.silence = 0);
    }

    fn propose(&mut self, change: Change) {
        let mut after = self.membership.clone();
        match &change.step {
            Step::HandOver(to) => return self.elect(*to),
            Step::FinishJoint => after.leaving = None,
            Step::Voters {
                promote, remove, ..
            } => {
                after.voters = &(&after.voters | promote) - remove;
                after.leaving = Some(self.membership.voters.clone());
                after.learners = &after.learners - promote;
            }
            Step::DropLearners(gone) => after.learners = &after.learners - gone,
            Step::AddLearners(more) => {
                after.learners.extend(more);
                more.iter().for_each(|m| self.node(m).silence = 0);
            }
        }
        after.committed = false;
        self.evicted |= change.evicts();
        let by = self.leader.expect("a proposal comes from a leader");
        let from = std::mem::replace(&mut self.membership, after);
        self.pending = Some(Pending { by, from });
    }

    fn node(&mut self, member: &MemberId) -> &mut Node {
        self.nodes.get_mut(member).expect("a known member")
    }

    fn restart(&mut self, member: MemberId, durable: bool) {
        let node = self.node(&member);
        if durable {
            let leaving = node.leaving;
            *node = Node { leaving, ..FRESH };
            return;
        }
        node.superseded = true;
        let boot = boot_after(member);
        self.nodes.insert(boot, FRESH);
    }

    /// Forgets what can no longer matter.
    fn tidy(&mut self) {
        let mut members = self.membership.members();
        if let Some(pending) = &self.pending {
            members.extend(pending.from.members());
        }
        if self.leader.is_some_and(|leader| !self.nodes[&leader].up) {
            self.leader = None;
        }
        members.extend(self.leader);
        self.nodes.retain(|member, node| {
            let over = node.superseded || node.leaving || (node.departed && !node.up);
            members.contains(member) || !over
        });
    }
}

fn boot_after(member: MemberId) -> MemberId {
    let boot = member.boot + 1;
    MemberId { boot, ..member }
}

impl Model for Group {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let voters = (1..=self.voters).map(n).collect::<BTreeSet<_>>();
        let node = |peer: u8| {
            let caught_up = peer <= self.voters;
            (n(peer), Node { caught_up, ..FRESH })
        };
        vec![State {
            nodes: (1..=self.peers).map(node).collect(),
            leader: Some(n(1)),
            membership: membership(voters, BTreeSet::new()),
            pending: None,
            evicted: false,
            used: false,
            crashes: self.crashes,
            departures: self.departures,
            cuts: self.cuts,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        benign(state, actions);
        if !self.old.is_empty() && !state.used && state.confirmed() && self.may_use(state) {
            actions.push(Action::Use);
        }
        for (&member, node) in &state.nodes {
            if node.up && state.crashes > 0 {
                actions.push(Action::Crash(member));
            }
            let gone = node.superseded || state.nodes.contains_key(&boot_after(member));
            if !node.up && !gone {
                actions.push(Action::Restart(member));
            }
            if node.up && !node.leaving && state.departures > 0 {
                actions.push(Action::Leave(member));
                actions.push(Action::ShutDown(member));
            }
            if node.reachable() && state.cuts > 0 {
                actions.push(Action::Cut(member));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        let state = &mut next;
        match action {
            Action::Crash(member) => {
                state.node(&member).up = false;
                state.crashes -= 1;
            }
            Action::Restart(member) => state.restart(member, self.options.durable),
            Action::Leave(member) => {
                state.node(&member).leaving = true;
                state.departures -= 1;
            }
            Action::ShutDown(member) => {
                let node = state.node(&member);
                (node.up, node.departed) = (false, true);
                state.departures -= 1;
            }
            Action::Cut(member) => {
                state.node(&member).cut = true;
                state.cuts -= 1;
            }
            Action::Heal(member) => {
                let node = state.node(&member);
                (node.cut, node.silence) = (false, 0);
            }
            Action::Elect(member, keep) => {
                match state.pending.take() {
                    Some(Pending { from, .. }) if keep => {
                        let by = member;
                        state.pending = Some(Pending { by, from });
                    }
                    Some(Pending { from, .. }) => state.membership = from,
                    None => (),
                }
                state.elect(member);
            }
            Action::CatchUp(member) => state.node(&member).caught_up = true,
            Action::Propose => state.propose(self.plan(last)?),
            Action::Commit => {
                state.membership.committed = true;
                state.pending = None;
            }
            Action::Use => state.used = true,
            Action::Age => {
                state.evicted = false;
                for node in state.nodes.values_mut() {
                    let silent = (node.silence + 1).min(SILENCE.len() - 1);
                    node.silence = if node.reachable() { 0 } else { silent };
                }
            }
        }
        next.tidy();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one change at a time", one_at_a_time),
            Property::always("our own change never costs the quorum", keeps_quorum),
            Property::always("one boot of a peer votes for it", one_boot),
            Property::always(
                "voters know what was used",
                |group: &Self, state: &State| !state.used || group.may_use(state),
            ),
            Property::sometimes("a command is used that not all know", |_, state: &State| {
                state.used && !state.membership.learners.is_empty()
            }),
            Property::sometimes("a lost voter is replaced", |_, state: &State| {
                let voters = &state.membership.voters;
                state.membership.committed && voters.iter().any(|m| m.boot > 1)
            }),
        ]
    }
}

/// What happens by itself, sooner or later, if nothing more goes wrong.
fn benign(state: &State, actions: &mut Vec<Action>) {
    for (&member, node) in &state.nodes {
        if node.cut {
            actions.push(Action::Heal(member));
        }
        let fed = state.leads().is_some() && state.membership.members().contains(&member);
        if fed && node.reachable() && !node.caught_up {
            actions.push(Action::CatchUp(member));
        }
    }
    if state.confirmed() {
        actions.push(Action::Age);
        let due = state.pending.is_some();
        actions.push(if due { Action::Commit } else { Action::Propose });
    }
    if state.leads().is_none() {
        elections(state, actions);
    }
}

fn elections(state: &State, actions: &mut Vec<Action>) {
    let up = state.up(true);
    let mut elections = |membership: &Membership, keep: bool, not: Option<MemberId>| {
        if quorum(membership, &up).reached() {
            let voters = membership.configs().flatten().copied();
            let able = voters.filter(|m| up.contains(m) && Some(*m) != not);
            let able = able.collect::<BTreeSet<_>>();
            actions.extend(able.into_iter().map(|m| Action::Elect(m, keep)));
        }
    };
    elections(&state.membership, true, None);
    if let Some(pending) = &state.pending {
        elections(&pending.from, false, Some(pending.by));
    }
}

fn one_at_a_time(group: &Group, state: &State) -> bool {
    let Some(pending) = &state.pending else {
        return state.membership.committed;
    };
    pending.from.committed && !state.membership.committed && group.plan(state).is_none()
}

/// What is proposed keeps a quorum of those who are in fact up, were they all noticed; and with one
/// that is not, except from one voter to two, where each is needed, and but for those who leave.
fn keeps_quorum(group: &Group, state: &State) -> bool {
    if state.pending.is_some() {
        return true;
    }
    let Some(Step::Voters {
        promote, remove, ..
    }) = group.plan(state).map(|change| change.step)
    else {
        return true;
    };
    let mut after = state.membership.clone();
    after.voters = &(&after.voters | &promote) - &remove;
    let up = state.up(true);
    let members = state.membership.members();
    let unnoticed = members
        .iter()
        .filter(|m| !up.contains(m) && state.nodes[m].silence == 0);
    let unnoticed = unnoticed.count();
    let one_to_two = state.membership.voters.len() == 1 && after.voters.len() == 2;
    let excused = unnoticed > 1 || (unnoticed == 1 && one_to_two);
    // Who leaves counts only as long as everybody else does.
    let counts = |m: &MemberId| unnoticed == 0 || !state.nodes[m].leaving;
    let counted = up.iter().copied().filter(counts).collect();
    excused || !quorum(&state.membership, &counted).reached() || quorum(&after, &up).reached()
}

fn one_boot(_: &Group, state: &State) -> bool {
    let voters = &state.membership.voters;
    let peers = voters.iter().map(|m| m.peer).collect::<BTreeSet<_>>();
    peers.len() == voters.len()
}

/// Explores a group: no state breaks a property, and from each, with nothing more going wrong, the
/// roster can come to rest with enough voters.
#[expect(
    clippy::print_stdout,
    reason = "how much was explored is worth knowing"
)]
fn check(name: &str, group: &Group) {
    let checker = group.clone().checker().threads(2).spawn_bfs().join();
    checker.assert_no_discovery("one change at a time");
    checker.assert_no_discovery("our own change never costs the quorum");
    checker.assert_no_discovery("one boot of a peer votes for it");
    checker.assert_no_discovery("voters know what was used");
    if !group.old.is_empty() {
        checker.assert_any_discovery("a command is used that not all know");
    }
    if group.crashes > 0 && !group.options.durable {
        checker.assert_any_discovery("a lost voter is replaced");
    }
    println!("{name}: {} states", checker.unique_state_count());
    let stuck = unsettled(group);
    assert!(stuck.is_empty(), "{} stuck, as {:?}", stuck.len(), stuck[0]);
}

/// The states from which nothing benign leads to rest.
fn unsettled(group: &Group) -> Vec<State> {
    let mut states = group.init_states();
    let mut index = BTreeMap::from([(fingerprint(&states[0]), 0)]);
    let (mut before, mut good) = (vec![Vec::new()], Vec::new());
    let mut from = 0;
    while from < states.len() {
        let state = states[from].clone();
        if group.settled(&state) {
            good.push(from);
        }
        let mut actions = Vec::new();
        group.actions(&state, &mut actions);
        for action in actions {
            let Some(next) = group.next_state(&state, action) else {
                continue;
            };
            let to = *index.entry(fingerprint(&next)).or_insert_with(|| {
                before.push(Vec::new());
                states.push(next);
                states.len() - 1
            });
            if is_benign(action) {
                before[to].push(from);
            }
        }
        from += 1;
    }
    let mut settles = vec![false; before.len()];
    while let Some(state) = good.pop() {
        if !std::mem::replace(&mut settles[state], true) {
            good.extend(&before[state]);
        }
    }
    let states = states.into_iter().zip(settles);
    states
        .filter(|(_, settles)| !settles)
        .map(|(state, _)| state)
        .collect()
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

fn is_benign(action: Action) -> bool {
    !matches!(
        action,
        Action::Crash(_)
            | Action::Restart(_)
            | Action::Leave(_)
            | Action::ShutDown(_)
            | Action::Cut(_)
            | Action::Use
    )
}

#[test]
fn three_of_four_that_crash_and_are_cut_off() {
    check("volatile, 3 of 4", &group(4, 3, 1, 0, 1));
    check("durable, 3 of 4", &group(4, 3, 1, 0, 1).durable());
}

#[test]
fn members_that_depart_and_crash() {
    check("volatile, 2 of 3", &group(3, 2, 1, 1, 0));
    check("durable, 2 of 3", &group(3, 2, 1, 1, 0).durable());
    check("volatile, 3 of 3", &group(3, 3, 1, 1, 0));
}

#[test]
fn one_founder_that_grows() {
    check("volatile, 1 of 3", &group(3, 1, 1, 0, 0));
    check("durable, 1 of 3", &group(3, 1, 1, 0, 0).durable());
    check("volatile, 1 of 5", &group(5, 1, 0, 0, 0));
}

#[test]
fn members_of_two_versions() {
    check("volatile, 2 of 4, one old", &group(4, 2, 1, 0, 0).old(&[3]));
    let durable = group(4, 3, 1, 0, 0).durable();
    check("durable, 3 of 4, one old", &durable.old(&[4]));
}

#[test]
fn five_that_shrink_to_three() {
    check(
        "durable, 5 of 5",
        &group(5, 5, 2, 0, 0).durable().founders(3),
    );
}

#[test]
#[ignore = "minutes; run in release"]
fn large_volatile() {
    check(
        "volatile, 5 of 5, two crashes",
        &group(5, 5, 2, 0, 0).founders(3),
    );
    check("volatile, 2 of 3, all faults", &group(3, 2, 1, 1, 1));
    check("volatile, 3 of 4, all faults", &group(4, 3, 1, 1, 1));
    check("volatile, 3 of 5, two crashes", &group(5, 3, 2, 0, 0));
    check("volatile, 3 of 5, crash, departure", &group(5, 3, 1, 1, 0));
    check(
        "volatile, 4 of 5, two crashes",
        &group(5, 4, 2, 0, 0).founders(3),
    );
    check(
        "volatile, 5 of 5, crashes, cut",
        &group(5, 5, 2, 0, 1).founders(3),
    );
}

#[test]
#[ignore = "minutes; run in release"]
fn large_durable() {
    check(
        "durable, 1 of 3, all faults",
        &group(3, 1, 1, 1, 1).durable(),
    );
    check(
        "durable, 2 of 3, all faults",
        &group(3, 2, 1, 1, 1).durable(),
    );
    check(
        "durable, 3 of 4, all faults",
        &group(4, 3, 1, 1, 1).durable(),
    );
    check(
        "durable, 3 of 5, two crashes",
        &group(5, 3, 2, 0, 0).durable(),
    );
    check(
        "durable, 3 of 5, crash, departure",
        &group(5, 3, 1, 1, 0).durable(),
    );
    check(
        "durable, 4 of 5, two crashes",
        &group(5, 4, 2, 0, 0).durable().founders(3),
    );
    check(
        "durable, 5 of 5, crashes, cut",
        &group(5, 5, 2, 0, 1).durable().founders(3),
    );
}
