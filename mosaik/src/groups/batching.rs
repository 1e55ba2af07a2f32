//! For how many a leader waits before it proposes, once what it proposed last is answered.
//!
//! Those who were answered together ask again together, a moment later. What came meanwhile is there first: proposed at
//! once, it would leave the others behind, and they it, so that two halves took turns, with twice the entries, each of
//! them waiting for the other. So whoever may come is waited for, and the two become one.
//!
//! That is a guess: those who are answered may not ask again, and what comes may come from others all the time. Each
//! wait is judged by what comes of it, and if it was for nothing, the next ones are left out, twice as many each time.
//! What waits for a group commit is the idea of P. Helland et al., *Group Commit Timers and High Volume Transaction
//! Systems* (1987); the judging is ours.

use std::time::Duration;

use crate::rt::Instant;

/// So many there have to be that waiting is considered: few cost little, and want to be fast.
const CROWD: usize = 16;
/// How long is waited at most. An entry that takes longer is not alone on its way, and nobody is waited for then.
const LIMIT: Duration = Duration::from_millis(1);
/// Waits that are left out after the first that was for nothing.
const FIRST_PENALTY: u32 = 8;
/// Most of them.
const MAX_PENALTY: u32 = 1024;

/// Whether those who were answered are waited for.
#[derive(Debug, Default)]
pub(super) struct Batching {
    wait: Option<Wait>,
    /// Whether the entry under way is one for which was waited.
    tried: bool,
    /// Waits that were left out last, as they were for nothing.
    penalty: u32,
    /// Waits that are still to be left out.
    left_out: u32,
}

/// How many are waited for, and until when.
#[derive(Clone, Copy, Debug)]
struct Wait {
    target: usize,
    until: Instant,
}

impl Batching {
    /// An entry of `items` was answered, nothing else is under way, and `there` have come meanwhile.
    pub(super) fn answered(&mut self, items: usize, there: usize, now: Instant) {
        if std::mem::take(&mut self.tried) {
            // Had all those who come been in that entry, nobody would have come while it was under way.
            if there > items / 4 {
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
        let until = now + LIMIT;
        self.wait = Some(Wait { target, until });
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

    /// What was there is proposed.
    pub(super) fn proposed(&mut self) {
        self.tried = self.wait.take().is_some();
    }

    fn punish(&mut self) {
        self.penalty = (self.penalty * 2).clamp(FIRST_PENALTY, MAX_PENALTY);
        self.left_out = self.penalty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    const ROUND: Duration = Duration::from_micros(400);

    /// So many callers that ask again `late` after they were answered.
    struct Callers {
        many: usize,
        late: Duration,
    }

    /// What became of the load of callers who ask again, and of others who come all the time.
    #[derive(Debug, Default)]
    struct Seen {
        entries: Vec<usize>,
        waited: usize,
    }

    /// Proposes `entries` of them: each is under way for a [`ROUND`], and `others` come in each round besides.
    fn run(batching: &mut Batching, callers: &Callers, others: usize, entries: usize) -> Seen {
        let mut now = rt::now();
        // When each of those who come is there.
        let mut coming: Vec<Instant> = vec![now; callers.many];
        // Two halves that take turns, at first.
        for at in coming.iter_mut().skip(callers.many / 2) {
            *at += ROUND / 2;
        }
        let mut next_other = now;
        let mut seen = Seen::default();
        while seen.entries.len() < entries {
            let (target, until) = (batching.target(), batching.until());
            loop {
                while others > 0 && next_other <= now {
                    coming.push(next_other);
                    next_other += ROUND / u32::try_from(others).unwrap();
                }
                let there = coming.iter().filter(|at| **at <= now).count();
                if there >= target.max(1) {
                    break;
                }
                if until.is_some_and(|until| now >= until) {
                    batching.gave_up(there);
                    if there > 0 {
                        break;
                    }
                }
                now += Duration::from_micros(10);
            }
            seen.waited += usize::from(until.is_some());
            let before = coming.len();
            coming.retain(|at| *at > now);
            let items = before - coming.len();
            // Others do not come again.
            let again = items.min(callers.many - coming.len().min(callers.many));
            batching.proposed();
            seen.entries.push(items);
            now += ROUND;
            coming.extend(std::iter::repeat_n(now + callers.late, again));
            while others > 0 && next_other <= now {
                coming.push(next_other);
                next_other += ROUND / u32::try_from(others).unwrap();
            }
            let there = coming.iter().filter(|at| **at <= now).count();
            batching.answered(items, there, now);
        }
        seen
    }

    #[test]
    fn two_halves_that_take_turns_become_one() {
        let mut batching = Batching::default();
        for late in [0, 100, 300, 600] {
            let callers = Callers {
                many: 64,
                late: Duration::from_micros(late),
            };
            let seen = run(&mut batching, &callers, 0, 100);
            let last = &seen.entries[90..];
            assert!(last.iter().all(|items| *items >= 56), "{late}: {seen:?}");
        }
    }

    #[test]
    fn few_are_never_waited_for() {
        let mut batching = Batching::default();
        for many in 1..CROWD {
            let late = Duration::from_micros(300);
            let seen = run(&mut batching, &Callers { many, late }, 0, 200);
            assert_eq!(seen.waited, 0, "{many}");
        }
    }

    #[test]
    fn those_who_come_all_the_time_are_seldom_waited_for() {
        for others in [16, 40, 400] {
            let mut batching = Batching::default();
            let nobody = Callers {
                many: 0,
                late: Duration::ZERO,
            };
            let seen = run(&mut batching, &nobody, others, 10_000);
            assert!(seen.waited <= 24, "{others}: {}", seen.waited);
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
            batching.proposed();
        }
        assert!((1..=24).contains(&waited), "{waited}");
        // Those who come back are found out again.
        for _ in 0..2 * MAX_PENALTY {
            batching.answered(64, 0, now);
            batching.proposed();
        }
        batching.answered(64, 0, now);
        assert_eq!(batching.target(), 56);
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
