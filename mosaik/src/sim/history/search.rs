//! The search for an order of the operations that explains the answers.

use super::{
    bits::Bits,
    list::{Event, List, Place},
    model::Model,
    part::{Part, Step},
    visited::Visited,
};

/// How many operations tried, or configurations compared, cost as much as a configuration.
const TRIES: u64 = 64;

/// A depth-first search through the orders of one part's operations.
///
/// It leaves out what cannot help. Among the configurations from which an order can be completed, take
/// one with the shortest completion, and of those one that used the fewest uncertain operations. None of
/// the shortcuts below cuts it off: each is justified by another such configuration that would be
/// shorter, or as short and have used fewer.
pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    part: &'a Part<'a, M>,
    chains: Chains,
    /// The certain operations that are not placed.
    list: List,
    state: M::State,
    placed: Bits,
    placed_len: usize,
    used: Bits,
    path: Vec<Frame<M::State>>,
    visited: Visited<M::State>,
    tries: u64,
    best: Best,
}

/// Whether an order may have several uncertain operations in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chains {
    /// No: each must be followed at once by a certain one that needs it. Orders may be missed.
    None,
    /// Yes.
    Any,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An order that explains the answers.
    Found,
    /// There is no such order; this one comes furthest.
    Refuted(Vec<Step>),
    /// Nothing within its limit.
    GivenUp,
}

/// A step that was taken.
struct Frame<S> {
    step: Step,
    before: S,
    /// No other step needs to be tried in its place.
    forced: bool,
}

/// Where to go on in a configuration: certain operations first, uncertain ones where they end.
#[derive(Clone, Copy)]
struct Cursor {
    place: Place,
    uncertain: usize,
}

enum Attempt {
    Taken,
    /// This step leads nowhere.
    Rejected,
    /// Neither this step nor any other leads anywhere.
    DeadEnd,
}

impl<'a, M: Model> Search<'a, M> {
    /// A search that has not begun.
    pub(super) fn new(model: &'a M, key: &M::Key, part: &'a Part<'a, M>, chains: Chains) -> Self {
        let state = model.initial(key);
        let placed = Bits::new(part.certain.len());
        let used = Bits::new(part.uncertain.len());
        let mut visited = Visited::new();
        visited.insert(placed.pack(), state.clone(), used.pack());
        Self {
            model,
            part,
            chains,
            list: List::new(&part.intervals()),
            state,
            placed,
            placed_len: 0,
            used,
            path: Vec::new(),
            visited,
            tries: 0,
            best: Best::default(),
        }
    }

    /// Searches until it knows or has cost more than `limit`.
    pub(super) fn run(&mut self, limit: u64) -> Verdict {
        let mut cursor = self.start();
        while self.list.event(self.list.first()).is_some() {
            if self.cost() > limit {
                return Verdict::GivenUp;
            }
            if self.advance(&mut cursor) {
                cursor = self.start();
            } else if let Some(earlier) = self.undo() {
                cursor = earlier;
            } else {
                return Verdict::Refuted(std::mem::take(&mut self.best.steps));
            }
        }
        Verdict::Found
    }

    /// What it took so far: configurations, and tries in proportion.
    pub(super) fn cost(&self) -> u64 {
        self.visited.len() + (self.tries + self.visited.comparisons()) / TRIES
    }

    fn start(&self) -> Cursor {
        Cursor {
            place: self.list.first(),
            uncertain: 0,
        }
    }

    /// Takes the next step that may lead somewhere, if there is one.
    fn advance(&mut self, cursor: &mut Cursor) -> bool {
        while let Some(event) = self.list.event(cursor.place) {
            let attempt = match event {
                Event::Invoked(index) => {
                    cursor.place = self.list.after(cursor.place);
                    self.attempt(Step::Certain(index))
                }
                Event::Completed(index) => {
                    let deadline = self.part.certain[index].completed;
                    let at = cursor.uncertain;
                    match self.part.uncertain.get(at) {
                        Some(one) if one.operation.invoked() <= deadline => {
                            cursor.uncertain += 1;
                            self.attempt_uncertain(at)
                        }
                        _ => return false,
                    }
                }
            };
            match attempt {
                Attempt::Taken => return true,
                Attempt::Rejected => {}
                Attempt::DeadEnd => return false,
            }
        }
        false
    }

    fn attempt_uncertain(&mut self, index: usize) -> Attempt {
        let twin = self.part.uncertain[index].twin;
        if self.used.contains(index) || twin.is_some_and(|twin| !self.used.contains(twin)) {
            return Attempt::Rejected;
        }
        self.attempt(Step::Uncertain(index))
    }

    fn attempt(&mut self, step: Step) -> Attempt {
        self.tries += 1;
        let (op, answer) = self.part.step(step);
        let (state, ret) = self.applied(&self.state, op);
        if answer.is_some_and(|answer| *answer != ret) {
            return Attempt::Rejected;
        }
        let is_idle = state == self.state;
        if is_idle && answer.is_none() {
            // Used or not, it makes no difference.
            return Attempt::Rejected;
        }
        if answer.is_none() && self.chains == Chains::None && !self.is_needed(op, &state) {
            return Attempt::Rejected;
        }
        // A read that fits can as well be placed at once. A write that happens to change nothing cannot:
        // it may be needed later, where it would.
        let forced = is_idle && self.model.is_read(op);
        if self.is_wasteful(op, answer, &state) || !self.enter(step, &state) {
            return if forced {
                Attempt::DeadEnd
            } else {
                Attempt::Rejected
            };
        }
        let before = std::mem::replace(&mut self.state, state);
        self.path.push(Frame {
            step,
            before,
            forced,
        });
        Attempt::Taken
    }

    /// Whether the last step used an uncertain operation of which this one, to `state`, leaves no trace:
    /// the same is reached without it.
    fn is_wasteful(&self, op: &M::Op, answer: Option<&M::Ret>, state: &M::State) -> bool {
        let Some(frame) = self.path.last() else {
            return false;
        };
        if matches!(frame.step, Step::Certain(_)) {
            return false;
        }
        let (without, ret) = self.applied(&frame.before, op);
        without == *state && answer.is_none_or(|answer| *answer == ret)
    }

    /// Whether a certain operation can follow the uncertain `op`, which leads to `state`, and could not as
    /// well follow without it or come before it.
    fn is_needed(&mut self, op: &M::Op, state: &M::State) -> bool {
        if let Some(Step::Uncertain(_)) = self.path.last().map(|frame| frame.step) {
            return false;
        }
        let mut place = self.list.first();
        while let Some(Event::Invoked(index)) = self.list.event(place) {
            place = self.list.after(place);
            self.tries += 1;
            let next = &self.part.certain[index];
            let (after, ret) = self.applied(state, next.operation.op());
            if ret != *next.ret {
                continue;
            }
            let (without, ret) = self.applied(&self.state, next.operation.op());
            if ret != *next.ret {
                return true;
            }
            if without != after && self.applied(&without, op).0 != after {
                return true;
            }
        }
        false
    }

    fn applied(&self, state: &M::State, op: &M::Op) -> (M::State, M::Ret) {
        let mut state = state.clone();
        let ret = self.model.apply(&mut state, op);
        (state, ret)
    }

    /// Marks a step as taken, unless it leads to where the search has been.
    fn enter(&mut self, step: Step, state: &M::State) -> bool {
        self.mark(step);
        let (placed, used) = (self.placed.pack(), self.used.pack());
        let is_new = self.visited.insert(placed, state.clone(), used);
        if !is_new {
            self.unmark(step);
        } else if let Step::Certain(index) = step {
            self.list.lift(index);
        }
        is_new
    }

    /// Takes back the last step in whose place another can be tried, and returns where to go on.
    fn undo(&mut self) -> Option<Cursor> {
        self.best.consider(&self.path, self.placed_len);
        loop {
            let Frame {
                step,
                before,
                forced,
            } = self.path.pop()?;
            self.best.shared = self.best.shared.min(self.path.len());
            self.state = before;
            self.unmark(step);
            let cursor = match step {
                Step::Certain(index) => {
                    self.list.put_back(index);
                    let invocation = self.list.invocation(index);
                    Cursor {
                        place: self.list.after(invocation),
                        uncertain: 0,
                    }
                }
                Step::Uncertain(index) => Cursor {
                    place: self.first_completion(),
                    uncertain: index + 1,
                },
            };
            if !forced {
                return Some(cursor);
            }
        }
    }

    fn first_completion(&self) -> Place {
        let mut place = self.list.first();
        while let Some(Event::Invoked(_)) = self.list.event(place) {
            place = self.list.after(place);
        }
        place
    }

    fn mark(&mut self, step: Step) {
        match step {
            Step::Certain(index) => {
                self.placed.insert(index);
                self.placed_len += 1;
            }
            Step::Uncertain(index) => self.used.insert(index),
        }
    }

    fn unmark(&mut self, step: Step) {
        match step {
            Step::Certain(index) => {
                self.placed.remove(index);
                self.placed_len -= 1;
            }
            Step::Uncertain(index) => self.used.remove(index),
        }
    }
}

/// The order that places the most certain operations, of those that were found.
#[derive(Default)]
struct Best {
    steps: Vec<Step>,
    certain: usize,
    /// How many of its first steps are the path's too: what keeps copying cheap.
    shared: usize,
}

impl Best {
    fn consider<S>(&mut self, path: &[Frame<S>], certain: usize) {
        if certain > self.certain {
            self.steps.truncate(self.shared);
            let rest = &path[self.shared..];
            self.steps.extend(rest.iter().map(|frame| frame.step));
            self.certain = certain;
            self.shared = path.len();
        }
    }
}
