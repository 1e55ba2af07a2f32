//! A leader and two followers, and what each does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::log_id::LogId,
    machine::{Event, Facts, LONGEST, Message, Output, Pact, Quiesce, Timing},
};
use crate::id::{MemberId, PeerId};

const AFTER: u64 = 1000;
const PATIENCE: u64 = 400;

fn member(n: u8) -> MemberId {
    let peer = PeerId::from_bytes([n; 32]);
    MemberId { peer, boot: 1 }
}

fn entry(index: u64) -> LogId {
    LogId { term: 2, index }
}

fn pact(index: u64) -> Pact {
    Pact {
        term: 2,
        last: entry(index),
    }
}

/// A member, how it stands, and what became of its outputs.
struct Member {
    quiesce: Quiesce,
    facts: Facts,
    still: bool,
    runs: bool,
}

/// Members that hear each other at once.
struct Group {
    now: u64,
    members: BTreeMap<MemberId, Member>,
    /// What is said to whom is lost.
    deaf: BTreeSet<MemberId>,
}

impl Group {
    fn new(count: u8) -> Self {
        let all: BTreeSet<MemberId> = (1..=count).map(member).collect();
        let timing = Timing {
            after: Duration::from_millis(AFTER),
            patience: Duration::from_millis(PATIENCE),
        };
        let one = |me: &MemberId| {
            let mut others = all.clone();
            others.remove(me);
            let facts = Facts {
                me: *me,
                leader: Some(member(1)),
                term: 2,
                last: Some(entry(7)),
                committed: Some(entry(7)),
                others,
                settled: true,
                asked: 0,
            };
            let one = Member {
                quiesce: Quiesce::new(timing),
                facts,
                still: false,
                runs: true,
            };
            (*me, one)
        };
        Self {
            now: 0,
            members: all.iter().map(one).collect(),
            deaf: BTreeSet::new(),
        }
    }

    fn of(&mut self, n: u8) -> &mut Member {
        self.members.get_mut(&member(n)).unwrap()
    }

    /// Something happens to a member, and all that follows from it at once.
    fn happens(&mut self, n: u8, event: Event) {
        let mut queue = vec![(member(n), event)];
        while !queue.is_empty() {
            let (me, event) = queue.remove(0);
            let now = self.now;
            let one = self.members.get_mut(&me).unwrap();
            for output in one.quiesce.handle(now, &one.facts, event) {
                match output {
                    Output::Tell(to, message) => {
                        if !self.deaf.contains(&to) {
                            queue.push((to, Event::Said(me, message)));
                        }
                    }
                    Output::Still => (one.still, one.runs) = (true, false),
                    Output::Wake => one.still = false,
                    Output::Run => one.runs = true,
                }
            }
        }
    }

    fn look(&mut self) {
        for n in 1..=u8::try_from(self.members.len()).unwrap() {
            self.happens(n, Event::Look);
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now += millis;
        self.look();
    }

    /// All look, and nothing happens for long enough.
    fn idle(&mut self) {
        self.look();
        self.pass(AFTER);
        self.look();
    }

    fn resting(&self) -> Vec<bool> {
        self.members
            .values()
            .map(|one| one.quiesce.rests())
            .collect()
    }

    fn running(&self) -> Vec<bool> {
        self.members.values().map(|one| one.runs).collect()
    }
}

#[test]
fn all_rest_once_nothing_happened_for_long() {
    let mut group = Group::new(3);
    group.look();
    group.pass(AFTER - 1);
    assert_eq!(group.resting(), [false; 3]);
    group.pass(1);
    group.look();
    assert_eq!(group.resting(), [true; 3]);
    assert_eq!(group.running(), [false; 3]);
    let leader = group.of(1).quiesce.watch();
    assert!(leader.hear && leader.show == [member(2), member(3)].into());
    let follower = group.of(2).quiesce.watch();
    assert!(follower.hear && follower.show == [member(1)].into());
}

#[test]
fn one_alone_asks_nobody() {
    let mut group = Group::new(1);
    group.idle();
    assert_eq!(group.resting(), [true]);
}

#[test]
fn whatever_happens_begins_the_wait_anew() {
    for change in [
        |facts: &mut Facts| facts.asked += 1,
        |facts: &mut Facts| (facts.last, facts.committed) = (Some(entry(8)), Some(entry(8))),
    ] {
        let mut group = Group::new(3);
        group.look();
        group.pass(AFTER - 1);
        for one in group.members.values_mut() {
            change(&mut one.facts);
        }
        group.pass(1);
        group.pass(AFTER - 1);
        assert_eq!(group.resting(), [false; 3]);
        group.pass(1);
        group.look();
        assert_eq!(group.resting(), [true; 3]);
    }
    for unfit in [
        |facts: &mut Facts| facts.settled = false,
        |facts: &mut Facts| facts.committed = Some(entry(6)),
    ] {
        let mut group = Group::new(3);
        unfit(&mut group.of(1).facts);
        group.idle();
        assert_eq!(group.resting(), [false; 3]);
    }
}

#[test]
fn who_stands_otherwise_keeps_all_awake() {
    for change in [
        |facts: &mut Facts| facts.term = 3,
        |facts: &mut Facts| facts.leader = None,
        |facts: &mut Facts| facts.leader = Some(member(2)),
        |facts: &mut Facts| facts.committed = Some(entry(6)),
        |facts: &mut Facts| (facts.last, facts.committed) = (Some(entry(6)), Some(entry(6))),
    ] {
        let mut group = Group::new(3);
        change(&mut group.of(3).facts);
        group.idle();
        assert_eq!(group.resting(), [false; 3]);
        // The one that had agreed runs again, once the leader had the time to beat.
        group.pass(PATIENCE);
        assert_eq!(group.running(), [true; 3]);
    }
}

#[test]
fn who_does_not_answer_keeps_all_awake() {
    let mut group = Group::new(3);
    group.deaf.insert(member(3));
    group.idle();
    // The leader waits, and runs; the other rests already and watches it.
    assert_eq!(group.resting(), [false, true, false]);
    assert!(!group.of(1).quiesce.watch().hear);
    assert!(group.of(1).quiesce.watch().show.contains(&member(2)));
    group.pass(PATIENCE);
    group.pass(PATIENCE);
    assert_eq!(group.resting(), [false; 3]);
    assert_eq!(group.running(), [true; 3]);
}

#[test]
fn whoever_has_something_to_do_wakes_all() {
    for n in 1..=3 {
        let mut group = Group::new(3);
        group.idle();
        group.happens(n, Event::Stirred);
        assert_eq!(group.resting(), [false; 3], "woken by {n}");
        // A follower does not stand for election before the leader had the time to beat.
        assert_eq!(group.running(), [true, false, false], "woken by {n}");
        assert!(group.members.values().all(|one| !one.still));
        group.pass(PATIENCE - 1);
        assert_eq!(group.running(), [true, false, false]);
        group.pass(1);
        assert_eq!(group.running(), [true; 3]);
        // And they rest again.
        group.idle();
        assert_eq!(group.resting(), [true; 3]);
    }
}

#[test]
fn what_the_leader_replicates_wakes_all() {
    let mut group = Group::new(3);
    group.idle();
    group.of(1).facts.last = Some(entry(8));
    group.happens(1, Event::Look);
    assert_eq!(group.resting(), [false; 3]);
    assert!(group.of(1).runs);
}

#[test]
fn another_term_wakes_at_once() {
    let mut group = Group::new(3);
    group.idle();
    group.deaf = [member(1), member(3)].into();
    group.of(2).facts.term = 3;
    group.of(2).facts.leader = None;
    group.happens(2, Event::Look);
    assert_eq!(group.resting(), [true, false, true]);
    assert!(group.of(2).runs);
}

#[test]
fn followers_of_a_leader_that_fell_silent_run_at_once() {
    let mut group = Group::new(3);
    group.idle();
    group.deaf.insert(member(1));
    group.happens(2, Event::Silent);
    assert!(group.of(2).runs && !group.of(2).still);
    // They do not wake each other: each decides by what it hears.
    assert_eq!(group.resting(), [true, false, true]);
    group.happens(3, Event::Silent);
    assert!(group.of(3).runs);
}

#[test]
fn a_leader_that_misses_a_follower_wakes_the_others() {
    let mut group = Group::new(3);
    group.idle();
    group.deaf.insert(member(3));
    group.happens(1, Event::Silent);
    assert_eq!(group.resting(), [false, false, true]);
    assert!(group.of(1).runs);
}

#[test]
fn no_rest_is_for_ever() {
    let mut group = Group::new(3);
    group.idle();
    let longest = u64::try_from(LONGEST.as_millis()).unwrap();
    group.pass(longest - AFTER);
    assert_eq!(group.resting(), [true; 3]);
    group.pass(AFTER);
    assert_eq!(group.resting(), [false; 3]);
    group.pass(PATIENCE);
    assert_eq!(group.running(), [true; 3]);
}

#[test]
fn an_answer_to_an_older_question_does_not_count() {
    let mut group = Group::new(3);
    group.deaf = [member(2), member(3)].into();
    group.idle();
    for n in [2, 3] {
        group.happens(1, Event::Said(member(n), Message::Resting(pact(6))));
    }
    group.happens(1, Event::Said(member(9), Message::Resting(pact(7))));
    assert!(!group.of(1).quiesce.rests());
    for n in [2, 3] {
        group.happens(1, Event::Said(member(n), Message::Resting(pact(7))));
    }
    assert!(group.of(1).quiesce.rests());
}
