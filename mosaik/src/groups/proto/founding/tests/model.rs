//! The model: the shipping protocol on a few machines, under a network and a Raft that do their worst.
//!
//! The network is the set of all messages ever sent: any of them may be delivered at any time, again and
//! again, or never. A timer may fire as soon as it is set; that to settle fires only when something is
//! proposed, as it may be late. Raft is what it is to founding: a member that
//! runs a charter may call others; a leader's entry may be appended once a majority has run it, and then
//! by whoever runs it; the charter is *established* when a majority has appended it.

use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
    time::Duration,
};

use stateright::{Model, Property};

use super::{
    super::{
        Founding,
        charter::{Charter, Epoch},
        machine::Gathering,
        message::{Input, Message, Output, Record, Timer},
        verdict::Claim,
    },
    config, epoch, fair, fired, member,
};
use crate::id::MemberId;

/// What may happen in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Founders of a charter.
    pub(super) founders: usize,
    /// Machines, all up and bonded at first.
    pub(super) machines: usize,
    /// Whether state is on disk, and a restart the same boot.
    pub(super) durable: bool,
    /// Restarts altogether.
    pub(super) restarts: usize,
    /// Bonds that are lost without a restart, each noticed by one side only.
    pub(super) unbonds: usize,
    /// Charters that are proposed, besides those that recover another.
    pub(super) charters: usize,
    /// Whether who proposes what follows from what members were heard to be. If not, any free member may
    /// propose to any that it is bonded with, which allows more and has far fewer states.
    pub(super) exact: bool,
    /// Whether members learn that a charter is established, and announce it. If not, they are as ready
    /// as ever to leave it.
    pub(super) announce: bool,
    /// Whether the protocol is told of entries; if not, only of commands, of which there are none.
    pub(super) entries: bool,
    /// Whether it is checked that every state can go on to an established charter.
    pub(super) live: bool,
}

impl Plan {
    /// Nothing but `machines` that found with `founders`, and one charter.
    pub(super) const fn new(founders: usize, machines: usize) -> Self {
        Self {
            founders,
            machines,
            durable: false,
            restarts: 0,
            unbonds: 0,
            charters: 1,
            exact: false,
            announce: true,
            entries: true,
            live: false,
        }
    }
}

/// A message in the network, small: its charter is a position in [`State::charters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Said {
    Free(u64),
    Accepted(usize),
    Pledged(usize),
    Refused(usize),
    Established(usize),
}

/// A member, small: its machine and boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Boot(u8, u8);

/// Something that may happen next. Numbers are machines, then charters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Deliver(Boot, usize, Said),
    Fire(usize, Timer),
    /// To the machines that are set in the number.
    Propose(usize, u8),
    Persisted(usize),
    /// With how many of the records that were not confirmed on disk.
    Restart(usize, usize),
    Bond(usize, usize),
    Unbond(usize, usize),
    Call(usize, usize),
    Append(usize, usize),
    Commit(usize, usize),
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) founding: Founding,
    pub(super) timers: BTreeSet<Timer>,
    pub(super) disk: Record,
    pub(super) unconfirmed: Vec<Record>,
    pub(super) runs: BTreeSet<Epoch>,
    pub(super) holds: BTreeSet<Epoch>,
}

impl Node {
    /// Forgets what only matters to proposals.
    fn forget_gathering(&mut self) {
        self.founding.gathering = Gathering::default();
        self.timers.remove(&Timer::Settle);
        let peers = self.founding.peers.values_mut();
        peers.for_each(|peer| peer.free = None);
    }

    /// Forgets timers whose firing would change nothing.
    fn drop_stale_timers(&mut self) {
        let bound = self.founding.bound.as_ref();
        let open = bound
            .filter(|bound| bound.is_open())
            .map(|bound| bound.charter.round);
        let stale =
            |timer: &Timer| matches!(timer, Timer::Acceptances { round } if open != Some(*round));
        self.timers.retain(|timer| !stale(timer));
    }
}

/// Something with its hash, which is computed once.
#[derive(Debug)]
pub(super) struct Cached<T> {
    value: Arc<T>,
    hash: u64,
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        let (value, hash) = (self.value.clone(), self.hash);
        Self { value, hash }
    }
}

impl<T> Deref for Cached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Cached<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T> PartialEq for Cached<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl<T: Hash> Cached<T> {
    fn new(value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let (hash, value) = (hasher.finish(), Arc::new(value));
        Self { value, hash }
    }
}

/// A charter that was established.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Established {
    pub(super) charter: usize,
    /// The majority that first held its entry.
    pub(super) by: BTreeSet<Boot>,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub(super) struct State {
    pub(super) nodes: Vec<Cached<Node>>,
    pub(super) network: BTreeSet<(Boot, u8, Said)>,
    pub(super) charters: Vec<Cached<Charter>>,
    pub(super) ran: BTreeSet<(usize, Boot)>,
    pub(super) held: BTreeSet<(usize, Boot)>,
    pub(super) established: Vec<Established>,
    restarts: usize,
    unbonds: usize,
}

impl State {
    pub(super) fn me(&self, machine: usize) -> MemberId {
        self.nodes[machine].founding.config.me
    }

    /// Charters that were proposed.
    fn proposed(&self) -> usize {
        self.charters.iter().filter(|c| c.parent.is_none()).count()
    }

    /// Forgets messages of charters that neither end will ever care about again.
    fn forget_messages(&mut self) {
        let is_past = |machine: usize, charter: &Charter| {
            let founding = &self.nodes[machine].founding;
            let bound = founding.bound.as_ref();
            founding.established.is_none()
                && founding.heard.is_none()
                && founding.round >= charter.round
                && bound.is_none_or(|bound| bound.charter.epoch != charter.epoch)
        };
        let is_idle = |(from, to, said): &(Boot, u8, Said)| {
            let (Said::Accepted(charter) | Said::Pledged(charter) | Said::Refused(charter)) = said
            else {
                return false;
            };
            let charter = &self.charters[*charter];
            let answered = matches!(said, Said::Refused(_));
            let sender = usize::from(from.0);
            let dead = boot_of(self.me(sender)) != *from;
            is_past(usize::from(*to), charter) && (answered || dead || is_past(sender, charter))
        };
        let idle: Vec<_> = self
            .network
            .iter()
            .filter(|m| is_idle(m))
            .copied()
            .collect();
        for message in idle {
            self.network.remove(&message);
        }
    }

    /// Makes states equal that differ only in what matters to further proposals.
    fn forget_gathering(&mut self) {
        self.network
            .retain(|(_, _, said)| !matches!(said, Said::Free(_)));
        for cached in &mut self.nodes {
            let mut node = Node::clone(cached);
            node.founding.gathering = Gathering::default();
            node.timers
                .retain(|timer| !matches!(timer, Timer::Settle | Timer::Late));
            node.founding
                .peers
                .values_mut()
                .for_each(|peer| peer.free = None);
            if node != **cached {
                *cached = Cached::new(node);
            }
        }
    }

    fn position(&self, epoch: Epoch) -> Option<usize> {
        self.charters.iter().position(|c| c.epoch == epoch)
    }

    fn count(set: &BTreeSet<(usize, Boot)>, charter: usize) -> usize {
        set.iter().filter(|(of, _)| *of == charter).count()
    }

    fn majority(&self, charter: usize) -> usize {
        self.charters[charter].founders.len() / 2 + 1
    }

    fn learn(&mut self, charter: &Charter) -> usize {
        self.position(charter.epoch).unwrap_or_else(|| {
            self.charters.push(Cached::new(charter.clone()));
            self.charters.len() - 1
        })
    }

    /// Whether every boot that established the charter is dead.
    fn is_lost(&self, established: &Established) -> bool {
        let alive = (0..self.nodes.len()).map(|i| boot_of(self.me(i))).collect();
        established.by.is_disjoint(&alive)
    }

    fn descends(&self, charter: usize, ancestor: usize) -> bool {
        let parent = self.charters[charter].parent;
        let parent = parent.and_then(|epoch| self.position(epoch));
        parent.is_some_and(|p| p == ancestor || self.descends(p, ancestor))
    }

    /// Of two established charters one descends from the other, or one has lost all of its memory.
    pub(super) fn is_safe(&self) -> bool {
        let pairs = self.established.iter().enumerate();
        let mut pairs = pairs.flat_map(|(i, a)| self.established[..i].iter().map(move |b| (a, b)));
        pairs.all(|(a, b)| {
            self.descends(a.charter, b.charter)
                || self.descends(b.charter, a.charter)
                || self.is_lost(a)
                || self.is_lost(b)
        })
    }
}

impl Plan {
    fn boot(&self, me: MemberId, disk: Record) -> (Node, Vec<Output>) {
        let mut out = Vec::new();
        let config = config(me, self.founders, self.durable);
        let founding = Founding::restore(config, [], disk.clone(), &mut out);
        let node = Node {
            founding,
            timers: BTreeSet::new(),
            disk,
            unconfirmed: Vec::new(),
            runs: BTreeSet::new(),
            holds: BTreeSet::new(),
        };
        (node, out)
    }

    fn feed(&self, state: &mut State, at: usize, input: Input) {
        let mut node = Node::clone(&state.nodes[at]);
        let mut out = Vec::new();
        node.founding.handle(input, &mut out);
        self.execute(state, at, node, out);
    }

    fn execute(&self, state: &mut State, at: usize, mut node: Node, out: Vec<Output>) {
        let me = node.founding.config.me;
        if let Some(bound) = &node.founding.bound {
            state.learn(&bound.charter);
        }
        for output in out {
            match output {
                Output::SetTimer(_, Timer::Resend | Timer::Patience | Timer::Late) => {}
                Output::SetTimer(_, Timer::Settle) if !self.exact => {}
                Output::SetTimer(_, timer) => {
                    node.timers.insert(timer);
                }
                Output::Persist(record) => node.unconfirmed.push(*record),
                Output::Send {
                    message: Message::Free { .. },
                    ..
                } if !self.exact => {}
                Output::Send { to, message } => {
                    let said = match message {
                        Message::Free { round } => Said::Free(round),
                        Message::Accepted(charter) => Said::Accepted(state.learn(&charter)),
                        Message::Pledged(charter) => Said::Pledged(state.learn(&charter)),
                        Message::Refused(charter) => Said::Refused(state.learn(&charter)),
                        Message::Established(_) => unreachable!("announced"),
                    };
                    post(state, me, to, said);
                }
                Output::Announce { to } if self.announce => {
                    let charter = node.founding.established.clone().unwrap();
                    let said = Said::Established(state.learn(&charter));
                    post(state, me, to, said);
                }
                Output::StartRaft { charter, recovers } => {
                    let number = state.learn(&charter);
                    node.runs.insert(charter.epoch);
                    if charter.founders.contains(&me) {
                        state.ran.insert((number, boot_of(me)));
                    }
                    if let Some(old) = recovers {
                        node.runs.remove(&old);
                        node.holds.remove(&old);
                    }
                }
                Output::StopRaft(epoch) => {
                    node.runs.remove(&epoch);
                    node.holds.remove(&epoch);
                }
                _ => {}
            }
        }
        node.drop_stale_timers();
        if !self.exact {
            node.forget_gathering();
        }
        state.nodes[at] = Cached::new(node);
    }

    fn append(&self, state: &mut State, at: usize, charter: usize) {
        let (me, epoch) = (state.me(at), state.charters[charter].epoch);
        let mut node = Node::clone(&state.nodes[at]);
        node.holds.insert(epoch);
        state.nodes[at] = Cached::new(node);
        if self.entries {
            self.feed(state, at, Input::Appended(epoch));
        }
        state.held.insert((charter, boot_of(me)));
        let known = state.established.iter().any(|e| e.charter == charter);
        if !known && State::count(&state.held, charter) >= state.majority(charter) {
            let by = state.held.iter().filter(|(of, _)| *of == charter);
            let by = by.map(|(_, member)| *member).collect();
            state.established.push(Established { charter, by });
        }
    }

    fn propose(&self, state: &mut State, at: usize, to: u8) {
        let mut node = Node::clone(&state.nodes[at]);
        for (peer, known) in &mut node.founding.peers {
            let machine = usize::from(peer.as_bytes()[0]);
            if to & (1 << machine) != 0 {
                known.free = Some(state.nodes[machine].founding.round);
            }
        }
        node.founding.gathering.settled = true;
        state.nodes[at] = Cached::new(node);
        let (timer, epoch) = (Timer::Late, epoch(state.charters.len()));
        self.feed(state, at, fired(timer, epoch));
    }

    /// Who may propose what. The first charter is one for all: until then all members are alike.
    fn proposals(&self, state: &State, actions: &mut Vec<Action>) {
        if state.charters.is_empty() {
            actions.push(Action::Propose(0, (1 << self.founders) - 2));
            return;
        }
        if state.proposed() == self.charters {
            return;
        }
        for (at, node) in state.nodes.iter().enumerate() {
            if !node.founding.is_free() {
                continue;
            }
            let peers = node.founding.peers.keys();
            let bonded = peers.fold(0, |set, peer| set | 1u8 << peer.as_bytes()[0]);
            let sets = (0..=bonded).filter(|set| set & !bonded == 0);
            let sets = sets.filter(|set| set.count_ones() as usize == self.founders - 1);
            actions.extend(sets.map(|set| Action::Propose(at, set)));
        }
    }

    fn restart(&self, state: &mut State, at: usize, written: usize) {
        let old = Node::clone(&state.nodes[at]);
        let mut me = old.founding.config.me;
        let mut disk = Record::default();
        if self.durable {
            let last = old.unconfirmed[..written].last();
            disk = last.cloned().unwrap_or(old.disk);
        } else {
            me.boot += 1;
            state.network.retain(|(_, to, _)| usize::from(*to) != at);
        }
        let (mut node, out) = self.boot(me, disk);
        if self.durable {
            node.runs = old.runs;
            node.holds = old.holds;
        }
        self.execute(state, at, node, out);
    }

    fn step(&self, state: &mut State, action: Action) {
        match action {
            Action::Deliver(boot, to, said) => {
                if matches!(said, Said::Free(_)) {
                    state
                        .network
                        .remove(&(boot, u8::try_from(to).unwrap(), said));
                }
                let from = member(usize::from(boot.0), u64::from(boot.1));
                let message = message(state, said);
                self.feed(state, to, Input::Received { from, message });
            }
            Action::Fire(at, timer) => {
                let mut node = Node::clone(&state.nodes[at]);
                node.timers.remove(&timer);
                state.nodes[at] = Cached::new(node);
                let epoch = epoch(state.charters.len());
                self.feed(state, at, fired(timer, epoch));
            }
            Action::Propose(at, to) => self.propose(state, at, to),
            Action::Persisted(at) => {
                let mut node = Node::clone(&state.nodes[at]);
                node.disk = node.unconfirmed.remove(0);
                state.nodes[at] = Cached::new(node);
                self.feed(state, at, Input::Persisted);
            }
            Action::Restart(at, written) => {
                state.restarts -= 1;
                self.restart(state, at, written);
            }
            Action::Bond(a, b) => {
                let (first, second) = (state.me(a), state.me(b));
                self.feed(state, a, Input::Bonded(second));
                self.feed(state, b, Input::Bonded(first));
            }
            Action::Unbond(at, other) => {
                state.unbonds -= 1;
                let other = state.me(other);
                self.feed(state, at, Input::Unbonded(other));
            }
            Action::Call(at, charter) => {
                let epoch = state.charters[charter].epoch;
                let me = boot_of(state.me(at));
                let mut ran = state.ran.iter();
                let from = ran.find(|(of, member)| *of == charter && *member != me);
                let Boot(machine, boot) = from.unwrap().1;
                let from = member(usize::from(machine), u64::from(boot));
                self.feed(state, at, Input::RaftCalled { from, epoch });
            }
            Action::Append(at, charter) => self.append(state, at, charter),
            Action::Commit(at, charter) => {
                let epoch = state.charters[charter].epoch;
                self.feed(state, at, Input::Committed(epoch));
            }
        }
    }

    /// What Raft may do at a machine.
    fn raft(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[at];
        let me = boot_of(state.me(at));
        if let Some(bound) = &node.founding.bound
            && bound.is_open()
            && let Some(charter) = state.position(bound.charter.epoch)
            && state
                .ran
                .iter()
                .any(|(of, member)| *of == charter && *member != me)
        {
            actions.push(Action::Call(at, charter));
        }
        for epoch in &node.runs {
            let Some(charter) = state.position(*epoch) else {
                continue;
            };
            let led = State::count(&state.ran, charter) >= state.majority(charter)
                || State::count(&state.held, charter) > 0;
            if !node.holds.contains(epoch) {
                if led && node.founding.may_answer_raft(*epoch) {
                    actions.push(Action::Append(at, charter));
                }
            } else if self.announce
                && node.founding.established.is_none()
                && state.established.iter().any(|e| e.charter == charter)
            {
                actions.push(Action::Commit(at, charter));
            }
        }
    }
}

/// The message that was said.
pub(super) fn message(state: &State, said: Said) -> Message {
    match said {
        Said::Free(round) => Message::Free { round },
        Said::Accepted(number) => Message::Accepted(Charter::clone(&state.charters[number])),
        Said::Pledged(number) => Message::Pledged(Charter::clone(&state.charters[number])),
        Said::Refused(number) => Message::Refused(Charter::clone(&state.charters[number])),
        Said::Established(number) => Message::Established(Claim {
            charter: Charter::clone(&state.charters[number]),
            commands: false,
            age: Duration::ZERO,
        }),
    }
}

/// Puts a message into the network, unless its receiver is dead. Of what a member said of being free
/// only the last is there, and only until it is delivered: all else is a fact for ever.
fn post(state: &mut State, from: MemberId, to: MemberId, said: Said) {
    let (from, at) = (boot_of(from), to.peer.as_bytes()[0]);
    if state.me(usize::from(at)) != to {
        return;
    }
    if matches!(said, Said::Free(_)) {
        let stale =
            |(f, t, s): &(Boot, u8, Said)| (*f, *t) == (from, at) && matches!(s, Said::Free(_));
        state.network.retain(|sent| !stale(sent));
    }
    state.network.insert((from, at, said));
}

/// The small form of a member.
fn boot_of(member: MemberId) -> Boot {
    Boot(
        member.peer.as_bytes()[0],
        u8::try_from(member.boot).unwrap(),
    )
}

impl Model for Plan {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let boot = |machine| Cached::new(self.boot(member(machine, 0), Record::default()).0);
        let mut state = State {
            nodes: (0..self.machines).map(boot).collect(),
            network: BTreeSet::new(),
            charters: Vec::new(),
            ran: BTreeSet::new(),
            held: BTreeSet::new(),
            established: Vec::new(),
            restarts: self.restarts,
            unbonds: self.unbonds,
        };
        // A start at which nobody sees another is the same after a while, as no message precedes it.
        for machine in 0..self.machines {
            let (_, out) = self.boot(member(machine, 0), Record::default());
            let node = Node::clone(&state.nodes[machine]);
            self.execute(&mut state, machine, node, out);
        }
        for b in 0..self.machines {
            (0..b).for_each(|a| self.step(&mut state, Action::Bond(a, b)));
        }
        for (from, to, said) in state.network.clone() {
            self.step(&mut state, Action::Deliver(from, usize::from(to), said));
        }
        state.network.clear();
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let deliver =
            |(from, to, said): &(Boot, u8, Said)| Action::Deliver(*from, usize::from(*to), *said);
        actions.extend(state.network.iter().map(deliver));
        if !self.exact {
            self.proposals(state, actions);
            if state.charters.is_empty() {
                return;
            }
        }
        for (at, cached) in state.nodes.iter().enumerate() {
            let node = &**cached;
            actions.extend(node.timers.iter().map(|timer| Action::Fire(at, *timer)));
            if !node.unconfirmed.is_empty() {
                actions.push(Action::Persisted(at));
            }
            if state.restarts > 0 {
                let written = 0..=node.unconfirmed.len();
                actions.extend(written.map(|written| Action::Restart(at, written)));
            }
            for other in 0..state.nodes.len() {
                let bonded = node.founding.is_bonded(&state.me(other));
                if other != at && !bonded {
                    actions.push(Action::Bond(at, other));
                } else if other != at && state.unbonds > 0 {
                    actions.push(Action::Unbond(at, other));
                }
            }
            self.raft(state, at, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        self.step(&mut state, action.clone());
        let proposed = state.proposed();
        let idle = matches!(action, Action::Fire(_, Timer::Settle)) && proposed == last.proposed();
        if proposed > self.charters || idle {
            return None;
        }
        if self.exact && proposed == self.charters {
            state.forget_gathering();
        }
        state.forget_messages();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("at most one charter", |_, state| state.is_safe()),
            Property::<Self>::sometimes("a charter", |_, state| !state.established.is_empty()),
        ];
        if self.live {
            let live = |_: &Self, state: &State| fair::establishes(state);
            properties.push(Property::<Self>::always("never stuck", live));
        }
        properties
    }
}
