//! For how many a leader waits before it proposes, once what it proposed last is answered.
//!
//! Those who were answered together ask again together, a moment later. What came meanwhile is there first: proposed at
//! once, it would leave the others behind, and they it, so that two halves took turns, with twice the entries, each of
//! them waiting for the other. So whoever may come is waited for, and the two become one.
//!
//! That is a guess: those who are answered may not ask again, or much later, and what comes may come from others all the
//! time. Each wait is judged by how long it took and by what comes of it, and if it was for nothing, the next ones are
//! left out, twice as many each time.
//! What waits for a group commit is the idea of P. Helland et al., *Group Commit Timers and High Volume Transaction
//! Systems* (1987); the judging is ours.

use std::time::Duration;

use crate::rt::Instant;

/// So many there have to be that waiting is considered: few cost little, and want to be fast.
const CROWD: usize = 16;
/// How long is waited at most, but for what the timer takes besides, which is another of it at most.
const LIMIT: Duration = Duration::from_millis(1);
/// Waits that are left out after the first that was for nothing.
const FIRST_PENALTY: u32 = 8;
/// Most of them.
const MAX_PENALTY: u32 = 1024;

/// Whether those who were answered are waited for.
#[derive(Debug, Default)]
pub(super) struct Batching {
    wait: Option<Wait>,
    /// The entry under way, if it was waited for.
    tried: Option<Tried>,
    /// Waits that were left out last, as they were for nothing.
    penalty: u32,
    /// Waits that are still to be left out.
    left_out: u32,
}

/// How many are waited for, and until when.
#[derive(Clone, Copy, Debug)]
struct Wait {
    target: usize,
    since: Instant,
    until: Instant,
}

/// An entry that was waited for.
#[derive(Clone, Copy, Debug)]
struct Tried {
    items: usize,
    waited: Duration,
    proposed: Instant,
}

impl Batching {
    /// An entry of `items` was answered, none if it was lost; nothing else is under way, and `there` have come meanwhile.
    pub(super) fn answered(&mut self, items: usize, there: usize, now: Instant) {
        let tried = self.tried.take().filter(|_| items > 0);
        if let Some(tried) = tried {
            let took = now.duration_since(tried.proposed);
            // Two halves that take turns lose nothing by a wait as long as a round. A longer one pays where an entry costs
            // more than what is in it, so the bound only has to leave commands at a steady rate to the other judgement:
            // of all that come in a wait and a round, more than a quarter come in the round.
            let long = tried.waited > took * 2;
            if long || tried.missed(there) {
                self.punish();
            } else {
                self.penalty /= 2;
            }
        }
        let all = items + there;
        // One of eight may do something else.
        let target = all - all / 8;
        self.wait = None;
        if all < CROWD || target <= there {
            return;
        }
        if self.left_out > 0 {
            self.left_out -= 1;
            return;
        }
        self.wait = Some(Wait {
            target,
            since: now,
            until: now + LIMIT,
        });
    }

    /// How many have to be there before they are proposed.
    pub(super) fn target(&self) -> usize {
        self.wait.map_or(1, |wait| wait.target)
    }

    /// Until when they are waited for, if they are.
    pub(super) fn until(&self) -> Option<Instant> {
        self.wait.map(|wait| wait.until)
    }

    /// They did not come in time, and `there` have waited for them.
    pub(super) fn gave_up(&mut self, there: usize) {
        if self.wait.take().is_some() && there > 0 {
            self.punish();
        }
    }

    /// What was there is proposed: so many items.
    pub(super) fn proposed(&mut self, items: usize, now: Instant) {
        // It goes beside one that was waited for, and took so long that others did not wait for its end.
        if self.tried.take().is_some_and(|tried| tried.missed(items)) {
            self.punish();
        }
        self.tried = self.wait.take().map(|wait| Tried {
            items,
            waited: now.duration_since(wait.since),
            proposed: now,
        });
    }

    fn punish(&mut self) {
        self.penalty = (self.penalty * 2).clamp(FIRST_PENALTY, MAX_PENALTY);
        self.left_out = self.penalty;
    }
}

impl Tried {
    /// Whether so many came while it was under way that it was not all those who come who were in it.
    fn missed(&self, others: usize) -> bool {
        others > self.items / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    /// A load, in microseconds.
    #[derive(Clone, Copy, Debug, Default)]
    struct Load {
        /// For how long an entry is under way.
        round: u64,
        /// So many callers ask again and again,
        many: usize,
        /// so long after they were answered,
        late: u64,
        /// or longer by up to this.
        spread: u64,
        /// So many others come in a round, at even intervals.
        others: u64,
        /// So many are there at first.
        burst: usize,
    }

    /// What became of it.
    #[derive(Debug, Default)]
    struct Seen {
        entries: Vec<usize>,
        waited: usize,
        took: u64,
    }

    impl Seen {
        /// Items in a millisecond.
        fn rate(&self) -> f64 {
            self.entries.iter().sum::<usize>() as f64 * 1000.0 / self.took as f64
        }
    }

    /// Those who come, and when.
    struct Coming {
        load: Load,
        random: u64,
        now: u64,
        callers: Vec<u64>,
        next_other: u64,
        others: usize,
    }

    impl Coming {
        fn new(load: Load) -> Self {
            // Two halves that take turns, at first.
            let half = |at: usize| {
                if at < load.many / 2 {
                    0
                } else {
                    load.round / 2
                }
            };
            Self {
                load,
                random: 1,
                now: 0,
                callers: (0..load.many).map(half).collect(),
                next_other: 0,
                others: load.burst,
            }
        }

        fn there(&mut self) -> usize {
            while self.load.others > 0 && self.next_other <= self.now {
                self.others += 1;
                self.next_other += self.load.round / self.load.others;
            }
            let here = self.callers.iter().filter(|at| **at <= self.now);
            here.count() + self.others
        }

        /// All who are there make an entry, which is answered after a round.
        fn propose(&mut self) -> usize {
            let items = self.there();
            self.others = 0;
            let (now, answered) = (self.now, self.now + self.load.round);
            for at in self.callers.iter_mut().filter(|at| **at <= now) {
                self.random = self
                    .random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let thinks = (self.random >> 33) % (self.load.spread + 1);
                *at = answered + self.load.late + thinks;
            }
            items
        }
    }

    /// Proposes so many entries.
    fn run(batching: &mut Batching, load: Load, entries: usize) -> Seen {
        let (mut coming, mut seen, start) = (Coming::new(load), Seen::default(), rt::now());
        let instant = |micros| start + Duration::from_micros(micros);
        while seen.entries.len() < entries {
            let until = batching.until();
            while coming.there() < batching.target() {
                if until.is_some_and(|until| instant(coming.now) >= until) {
                    batching.gave_up(coming.there());
                    if coming.there() > 0 {
                        break;
                    }
                }
                coming.now += 5;
            }
            let items = coming.propose();
            batching.proposed(items, instant(coming.now));
            seen.waited += usize::from(until.is_some());
            seen.entries.push(items);
            coming.now += load.round;
            batching.answered(items, coming.there(), instant(coming.now));
        }
        seen.took = coming.now;
        seen
    }

    /// Never waits.
    fn hasty() -> Batching {
        Batching {
            left_out: u32::MAX,
            ..Batching::default()
        }
    }

    #[test]
    fn two_halves_that_take_turns_become_one() {
        let mut batching = Batching::default();
        for late in [5, 100, 300, 500, 700] {
            let load = Load {
                round: 400,
                many: 64,
                late,
                ..Load::default()
            };
            let halves = run(&mut hasty(), load, 100);
            assert!(halves.entries[90..].iter().all(|items| *items <= 32));
            let seen = run(&mut batching, load, 100);
            let last = &seen.entries[90..];
            assert!(last.iter().all(|items| *items >= 56), "{late}: {seen:?}");
            assert!(seen.rate() > 0.85 * halves.rate(), "{late}: {seen:?}");
        }
    }

    #[test]
    fn whoever_thinks_between_calls_loses_little() {
        for round in [50, 100, 200, 400, 900] {
            for spread in [100, 300, 1000, 3000] {
                let load = Load {
                    round,
                    many: 64,
                    spread,
                    ..Load::default()
                };
                let unwaited = run(&mut hasty(), load, 3_000).rate();
                let seen = run(&mut Batching::default(), load, 3_000).rate();
                assert!(seen > 0.8 * unwaited, "{load:?}: {seen} of {unwaited}");
            }
        }
    }

    #[test]
    fn few_are_never_waited_for() {
        let mut batching = Batching::default();
        for many in 1..CROWD {
            let load = Load {
                round: 400,
                many,
                late: 300,
                ..Load::default()
            };
            let seen = run(&mut batching, load, 200);
            assert_eq!(seen.waited, 0, "{many}");
        }
    }

    #[test]
    fn those_who_come_all_the_time_are_seldom_waited_for() {
        for round in [50, 100, 150, 400, 900] {
            for others in [4, 10, 16, 25, 40] {
                for burst in [0, 64, 1000] {
                    let load = Load {
                        round,
                        others,
                        burst,
                        ..Load::default()
                    };
                    let seen = run(&mut Batching::default(), load, 4_000);
                    assert!(seen.waited <= 40, "{load:?}: {}", seen.waited);
                }
            }
        }
    }

    #[test]
    fn those_who_do_not_come_back_are_seldom_waited_for() {
        let (mut batching, now, mut waited) = (Batching::default(), rt::now(), 0);
        for _ in 0..10_000 {
            batching.answered(64, 1, now);
            if batching.until().is_some() {
                waited += 1;
                batching.gave_up(1);
            }
            assert_eq!((batching.target(), batching.until()), (1, None));
            batching.proposed(1, now);
        }
        assert!((1..=24).contains(&waited), "{waited}");
        // Those who come back are found out again.
        for _ in 0..2 * MAX_PENALTY {
            batching.answered(64, 0, now);
            batching.proposed(64, now);
        }
        batching.answered(64, 0, now);
        assert_eq!(batching.target(), 56);
    }

    #[test]
    fn an_entry_that_others_go_beside_was_not_all_and_one_that_was_lost_says_nothing() {
        let now = rt::now();
        let tried = || {
            let mut batching = Batching::default();
            batching.answered(64, 0, now);
            batching.proposed(60, now);
            batching
        };
        let mut beside = tried();
        beside.proposed(16, now);
        assert_eq!((beside.penalty, beside.left_out), (8, 8));
        for mut other in [tried(), tried()] {
            other.proposed(15, now);
            assert_eq!((other.penalty, other.left_out), (0, 0));
            other.answered(15, 60, now);
            assert_eq!((other.penalty, other.left_out), (0, 0));
        }
        let mut lost = tried();
        lost.answered(0, 60, now);
        assert_eq!((lost.penalty, lost.target()), (0, 1));
    }

    #[test]
    fn a_wait_in_which_nobody_was_there_cost_nobody_anything() {
        let mut batching = Batching::default();
        for _ in 0..10 {
            batching.answered(64, 0, rt::now());
            assert_eq!(batching.target(), 56);
            batching.gave_up(0);
            assert_eq!((batching.target(), batching.until()), (1, None));
        }
    }
}
