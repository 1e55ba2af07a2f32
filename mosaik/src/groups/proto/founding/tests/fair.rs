//! From any state on without further faults: does a charter become established?
//!
//! The rest of the run is simulated with the protocol's own timers. What was in the network is lost;
//! all machines are up and connected, each pair anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::{
        Founding,
        charter::{Charter, Epoch},
        message::{Input, Message, Output, Timer},
        verdict::Claim,
    },
    epoch, fired,
    model::State,
};
use crate::id::MemberId;

/// How long the simulated rest may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long a message or a Raft request takes.
const LATENCY: Duration = Duration::from_millis(1);

/// Something that will happen at a member.
#[derive(Clone, Debug)]
enum Event {
    Input(usize, Input),
    Message(MemberId, MemberId, Message),
    Raft,
}

struct Run {
    nodes: Vec<Founding>,
    runs: Vec<BTreeMap<Epoch, Charter>>,
    holds: Vec<BTreeSet<Epoch>>,
    queue: BTreeMap<(Duration, usize), Event>,
    next: usize,
    epochs: usize,
    now: Duration,
}

/// Whether the run from `state` on establishes a charter, or has one that some machine knows.
pub(super) fn establishes(state: &State) -> bool {
    let machines = 0..state.nodes.len();
    let mut run = Run {
        nodes: state.nodes.iter().map(|n| n.founding.clone()).collect(),
        runs: vec![BTreeMap::new(); machines.len()],
        holds: state.nodes.iter().map(|n| n.holds.clone()).collect(),
        queue: BTreeMap::new(),
        next: 0,
        epochs: state.charters.len(),
        now: Duration::ZERO,
    };
    for at in machines.clone() {
        let node = &state.nodes[at];
        for charter in state
            .charters
            .iter()
            .filter(|c| node.runs.contains(&c.epoch))
        {
            run.runs[at].insert(charter.epoch, Charter::clone(charter));
        }
        (0..node.unconfirmed.len())
            .for_each(|_| run.post(LATENCY, Event::Input(at, Input::Persisted)));
        run.resume_timers(at, &node.timers);
        for other in machines.clone().filter(|other| *other != at) {
            let (old, new) = (&run.nodes[at].peers, run.nodes[other].config.me);
            if let Some(boot) = old.get(&new.peer).map(|peer| peer.boot) {
                let lost = Input::Unbonded(MemberId { boot, ..new });
                run.post(Duration::ZERO, Event::Input(at, lost));
            }
            run.post(LATENCY, Event::Input(at, Input::Bonded(new)));
        }
    }
    run.post(LATENCY, Event::Raft);
    run.until_established()
}

impl Run {
    fn post(&mut self, after: Duration, event: Event) {
        self.queue.insert((self.now + after, self.next), event);
        self.next += 1;
    }

    /// The timers of the state, and those that the model does not fire: each is due in full.
    fn resume_timers(&mut self, at: usize, timers: &BTreeSet<Timer>) {
        let config = &self.nodes[at].config;
        let (timeout, resend) = (config.founding_timeout, config.resend);
        let mut due: Vec<(Timer, Duration)> = timers
            .iter()
            .map(|timer| match timer {
                Timer::Recover => (*timer, Duration::ZERO),
                _ => (*timer, timeout),
            })
            .collect();
        due.extend([(Timer::Resend, resend), (Timer::Settle, config.settle)]);
        due.push((Timer::Late, timeout));
        for (timer, after) in due {
            let epoch = epoch(0);
            self.post(after, Event::Input(at, fired(timer, epoch)));
        }
    }

    fn until_established(&mut self) -> bool {
        while let Some(((time, _), event)) = self.queue.pop_first() {
            self.now = time;
            if self.nodes.iter().any(|node| node.established.is_some()) {
                return true;
            }
            if time > DEADLINE {
                return false;
            }
            match event {
                Event::Input(at, input) => self.feed(at, input),
                Event::Message(from, to, message) => {
                    if let Some(at) = self.at(to) {
                        self.feed(at, Input::Received { from, message });
                    }
                }
                Event::Raft => {
                    self.raft();
                    self.post(Duration::from_millis(20), Event::Raft);
                }
            }
        }
        false
    }

    fn at(&self, member: MemberId) -> Option<usize> {
        self.nodes.iter().position(|node| node.config.me == member)
    }

    fn feed(&mut self, at: usize, mut input: Input) {
        if let Input::TimerFired { epoch: fresh, .. } = &mut input {
            *fresh = epoch(self.epochs);
            self.epochs += 1;
        }
        let mut out = Vec::new();
        let me = self.nodes[at].config.me;
        self.nodes[at].handle(input, &mut out);
        for output in out {
            match output {
                Output::SetTimer(after, timer) => {
                    let epoch = epoch(0);
                    self.post(after, Event::Input(at, fired(timer, epoch)));
                }
                Output::Persist(_) => self.post(LATENCY, Event::Input(at, Input::Persisted)),
                Output::Send { to, message } => self.post(LATENCY, Event::Message(me, to, message)),
                Output::Announce { to } => {
                    let claim = Claim {
                        charter: self.nodes[at].established.clone().unwrap(),
                        commands: false,
                        age: Duration::ZERO,
                    };
                    let message = Message::Established(claim);
                    self.post(LATENCY, Event::Message(me, to, message));
                }
                Output::StartRaft { charter, recovers } => {
                    self.runs[at].insert(charter.epoch, charter);
                    if let Some(old) = recovers {
                        self.runs[at].remove(&old);
                    }
                }
                Output::StopRaft(epoch) => {
                    self.runs[at].remove(&epoch);
                    self.holds[at].remove(&epoch);
                }
                _ => {}
            }
        }
    }

    /// A round of Raft: who runs a charter calls its founders; where a majority runs it, all append; where
    /// a majority has appended, they learn that it is committed.
    fn raft(&mut self) {
        let charters: BTreeMap<Epoch, Charter> = self
            .runs
            .iter()
            .flatten()
            .map(|(e, c)| (*e, c.clone()))
            .collect();
        for (epoch, charter) in charters {
            let founders: Vec<usize> = charter
                .founders
                .iter()
                .filter_map(|m| self.at(*m))
                .collect();
            let running: Vec<usize> = founders
                .iter()
                .copied()
                .filter(|at| self.runs[*at].contains_key(&epoch))
                .collect();
            let majority = charter.founders.len() / 2 + 1;
            let holding = running
                .iter()
                .filter(|at| self.holds[**at].contains(&epoch))
                .count();
            for caller in &running {
                let from = self.nodes[*caller].config.me;
                for at in founders.iter().filter(|at| *at != caller) {
                    self.post(
                        LATENCY,
                        Event::Input(*at, Input::RaftCalled { from, epoch }),
                    );
                }
            }
            if running.len() < majority {
                continue;
            }
            for at in running {
                let input = if holding >= majority {
                    Input::Committed(epoch)
                } else {
                    self.holds[at].insert(epoch);
                    Input::Appended(epoch)
                };
                self.feed(at, input);
            }
        }
    }
}
