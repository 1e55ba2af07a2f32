//! What ends a rest and what begins one, as one member decides it.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};

use super::super::log_id::LogId;
use crate::id::MemberId;

/// The longest rest: then the leader looks after everybody again, whether or not something has happened.
pub(super) const LONGEST: Duration = Duration::from_secs(120);

/// What is the same for all who rest: whoever finds it changed rests no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Pact {
    /// The term.
    pub(crate) term: u64,
    /// The last entry; it is committed.
    pub(crate) last: LogId,
}

/// What members say to each other about resting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Message {
    /// The leader: rest with me.
    Rest(Pact),
    /// Another member: I do.
    Resting(Pact),
    /// Rest no longer.
    Stir,
}

/// How a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The member.
    pub(crate) me: MemberId,
    /// Who leads in the term.
    pub(crate) leader: Option<MemberId>,
    /// The term.
    pub(crate) term: u64,
    /// The last entry of the log.
    pub(crate) last: Option<LogId>,
    /// Everything up to it is committed.
    pub(crate) committed: Option<LogId>,
    /// The other members.
    pub(crate) others: BTreeSet<MemberId>,
    /// For a leader: whether all others are connected and hold the log, and the roster is as it shall be.
    pub(crate) settled: bool,
    /// Counts what was asked of the member that leaves no entry.
    pub(crate) asked: u64,
}

impl Facts {
    fn pact(&self) -> Option<Pact> {
        let last = self.last.filter(|_| self.last == self.committed)?;
        Some(Pact {
            term: self.term,
            last,
        })
    }

    fn leads(&self) -> bool {
        self.leader == Some(self.me)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Event {
    /// Nothing in particular; time may have passed, or the facts may have changed.
    Look,
    /// A member has said something.
    Said(MemberId, Message),
    /// The group has something to do, or somebody has come or gone.
    Stirred,
    /// A node of a member that rests with this one shows itself no longer.
    Silent,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Output {
    /// Tell a member.
    Tell(MemberId, Message),
    /// Stop the clock of Raft, and the heartbeats.
    Still,
    /// Beat again, if this member leads. The clock stands still yet.
    Wake,
    /// Let the clock of Raft run again.
    Run,
}

/// Durations that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Timing {
    /// How long nothing has to happen before a group rests.
    pub(crate) after: Duration,
    /// How long members may take to agree to rest, and a leader to beat again.
    pub(crate) patience: Duration,
}

/// Whom a member has to show itself to, and whom it has to hear from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    /// The members to show oneself to.
    pub(crate) show: BTreeSet<MemberId>,
    /// Whether the rest ends when one of them falls silent.
    pub(crate) hear: bool,
}

/// One member's part in resting. Moments are milliseconds of one clock that never goes back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Quiesce {
    timing: Timing,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Raft runs. For a leader: since when nothing has happened, and as how it stood.
    Awake(Option<(u64, Pact, u64)>),
    /// A leader waits until all rest.
    Asking {
        pact: Pact,
        since: u64,
        asked: u64,
        others: BTreeSet<MemberId>,
        resting: BTreeSet<MemberId>,
    },
    /// It rests, with these.
    Resting {
        pact: Pact,
        since: u64,
        leader: MemberId,
        with: BTreeSet<MemberId>,
    },
    /// A follower was woken, and gives the leader time to beat.
    Waking { until: u64 },
}

impl Quiesce {
    /// The part of a member whose Raft begins to run.
    pub(crate) fn new(timing: Timing) -> Self {
        let state = State::Awake(None);
        Self { timing, state }
    }

    /// Whether the member rests.
    pub(crate) fn rests(&self) -> bool {
        matches!(self.state, State::Resting { .. })
    }

    /// Whom to show oneself to, as long as this is so.
    pub(crate) fn watch(&self) -> Watch {
        match &self.state {
            State::Awake(_) | State::Waking { .. } => Watch::default(),
            State::Asking { others, .. } => Watch {
                show: others.clone(),
                hear: false,
            },
            State::Resting { with, .. } => Watch {
                show: with.clone(),
                hear: true,
            },
        }
    }

    /// When to look at the latest.
    pub(crate) fn deadline(&self) -> Option<u64> {
        match &self.state {
            State::Awake(quiet) => quiet.map(|(since, ..)| after(since, self.timing.after)),
            State::Asking { since, .. } => Some(after(*since, self.timing.patience)),
            State::Resting { since, .. } => Some(after(*since, LONGEST)),
            State::Waking { until } => Some(*until),
        }
    }

    /// Takes in what happened, and how the member stands now.
    pub(crate) fn handle(&mut self, now: u64, facts: &Facts, event: Event) -> Vec<Output> {
        let mut out = Vec::new();
        match event {
            Event::Look => {}
            Event::Stirred => self.stir(now, facts, true, &mut out),
            // Whoever is left finds out by itself who leads.
            Event::Silent => self.stir(now, facts, facts.leads(), &mut out),
            Event::Said(from, Message::Rest(pact)) => self.asked(now, facts, from, pact, &mut out),
            Event::Said(from, Message::Resting(pact)) => {
                if let State::Asking {
                    pact: ours,
                    resting,
                    others,
                    ..
                } = &mut self.state
                    && *ours == pact
                    && others.contains(&from)
                {
                    resting.insert(from);
                }
            }
            Event::Said(_, Message::Stir) => self.stir(now, facts, facts.leads(), &mut out),
        }
        self.look(now, facts, &mut out);
        if event == Event::Silent && matches!(self.state, State::Waking { .. }) {
            // It waited long enough to be sure.
            self.run(&mut out);
        }
        out
    }

    fn look(&mut self, now: u64, facts: &Facts, out: &mut Vec<Output>) {
        match &mut self.state {
            State::Awake(quiet) => {
                let pact = facts.pact().filter(|_| facts.leads() && facts.settled);
                let Some(pact) = pact else {
                    *quiet = None;
                    return;
                };
                match quiet {
                    Some((since, known, asked)) if (*known, *asked) == (pact, facts.asked) => {
                        if now >= after(*since, self.timing.after) {
                            self.ask(now, facts, pact, out);
                        }
                    }
                    _ => *quiet = Some((now, pact, facts.asked)),
                }
            }
            State::Asking {
                pact,
                since,
                asked,
                others,
                resting,
            } => {
                let same = facts.leads()
                    && facts.settled
                    && (facts.pact(), facts.asked) == (Some(*pact), *asked)
                    && facts.others == *others;
                if !same || now >= after(*since, self.timing.patience) {
                    self.stir(now, facts, true, out);
                } else if *resting == facts.others {
                    let pact = *pact;
                    self.rest(now, facts, pact, facts.others.clone(), out);
                }
            }
            State::Resting {
                pact,
                since,
                leader,
                with,
            } => {
                let same = facts.pact() == Some(*pact) && facts.leader == Some(*leader);
                let leads = facts.leads();
                if !same {
                    // Raft has heard of the change from whoever made it: its clock is fresh.
                    let with = std::mem::take(with);
                    self.wake(with.into_iter().filter(|_| leads), out);
                    self.run(out);
                } else if leads && (*with != facts.others || now >= after(*since, LONGEST)) {
                    self.stir(now, facts, true, out);
                }
            }
            State::Waking { until } => {
                if now >= *until {
                    self.run(out);
                }
            }
        }
    }

    /// A leader asks all others to rest with it.
    fn ask(&mut self, now: u64, facts: &Facts, pact: Pact, out: &mut Vec<Output>) {
        if facts.others.is_empty() {
            return self.rest(now, facts, pact, BTreeSet::new(), out);
        }
        let rest = |member: &MemberId| Output::Tell(*member, Message::Rest(pact));
        out.extend(facts.others.iter().map(rest));
        self.state = State::Asking {
            pact,
            since: now,
            asked: facts.asked,
            others: facts.others.clone(),
            resting: BTreeSet::new(),
        };
    }

    /// A leader asks this member to rest with it.
    fn asked(
        &mut self,
        now: u64,
        facts: &Facts,
        from: MemberId,
        pact: Pact,
        out: &mut Vec<Output>,
    ) {
        let agrees = facts.leader == Some(from) && !facts.leads() && facts.pact() == Some(pact);
        let answer = if agrees {
            Message::Resting(pact)
        } else {
            Message::Stir
        };
        out.push(Output::Tell(from, answer));
        if agrees && !self.rests() {
            self.rest(now, facts, pact, BTreeSet::from([from]), out);
        }
    }

    fn rest(
        &mut self,
        now: u64,
        facts: &Facts,
        pact: Pact,
        with: BTreeSet<MemberId>,
        out: &mut Vec<Output>,
    ) {
        out.push(Output::Still);
        self.state = State::Resting {
            pact,
            since: now,
            leader: facts.leader.unwrap_or(facts.me),
            with,
        };
    }

    /// Ends the rest of this member, and of those that it rests with if they are to be told.
    fn stir(&mut self, now: u64, facts: &Facts, tell: bool, out: &mut Vec<Output>) {
        match &mut self.state {
            State::Awake(quiet) => *quiet = None,
            State::Waking { .. } => {}
            State::Asking { others, .. } => {
                let others = std::mem::take(others);
                // Its own clock never stood still.
                out.extend(
                    others
                        .into_iter()
                        .map(|member| Output::Tell(member, Message::Stir)),
                );
                self.state = State::Awake(None);
            }
            State::Resting { with, .. } => {
                let with = std::mem::take(with);
                self.wake(with.into_iter().filter(|_| tell), out);
                if facts.leads() {
                    self.run(out);
                } else {
                    let until = after(now, self.timing.patience);
                    self.state = State::Waking { until };
                }
            }
        }
    }

    fn wake(&mut self, tell: impl Iterator<Item = MemberId>, out: &mut Vec<Output>) {
        out.push(Output::Wake);
        out.extend(tell.map(|member| Output::Tell(member, Message::Stir)));
    }

    fn run(&mut self, out: &mut Vec<Output>) {
        out.push(Output::Run);
        self.state = State::Awake(None);
    }
}

/// The moment so long after another.
fn after(moment: u64, time: Duration) -> u64 {
    moment.saturating_add(millis(time))
}

/// In whole milliseconds, as moments are counted here.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
