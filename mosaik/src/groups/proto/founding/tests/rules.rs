//! Each rule of the protocol, by what goes in and what comes out.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::{
        Founding,
        charter::{Charter, Epoch},
        message::{Awaited, Input, Message, Output, Record, Timer},
        status::Status,
        verdict::Claim,
    },
    GROUP, config, epoch, fired, member,
};
use crate::{groups::proto::timing::Timing, id::MemberId};

/// A member under test, with what it has put out since it was last asked.
struct Member {
    founding: Founding,
    out: Vec<Output>,
}

impl Member {
    /// Machine `me` of three founders, volatile, bonded with free members on the other machines up to 3.
    fn of_three(me: usize) -> Self {
        let mut this = Self::start(me, 3, false, []);
        for other in (0..4).filter(|other| *other != me) {
            this.tell(Input::Bonded(member(other, 0)));
            this.hear(other, Message::Free { round: 0 });
        }
        this.out.clear();
        this
    }

    fn start<const N: usize>(
        me: usize,
        founders: usize,
        durable: bool,
        awaited: [Awaited; N],
    ) -> Self {
        let mut out = Vec::new();
        let config = config(member(me, 0), founders, durable);
        let founding = Founding::new(config, awaited, &mut out);
        Self { founding, out }
    }

    fn tell(&mut self, input: Input) -> Vec<Output> {
        self.founding.handle(input, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn hear(&mut self, from: usize, message: Message) -> Vec<Output> {
        let from = member(from, 0);
        self.tell(Input::Received { from, message })
    }

    fn fire(&mut self, timer: Timer, number: usize) -> Vec<Output> {
        let epoch = epoch(number);
        self.tell(fired(timer, epoch))
    }

    /// Accepts `charter` and hears of all acceptances.
    fn seal(&mut self, charter: &Charter) -> Vec<Output> {
        let me = self.founding.config.me;
        let others = charter.founders.iter().filter(|m| **m != me);
        let others: Vec<MemberId> = others.copied().collect();
        let accepted = others.into_iter().flat_map(|from| {
            let message = Message::Accepted(charter.clone());
            self.tell(Input::Received { from, message })
        });
        accepted.collect()
    }
}

/// Charter `number` of machines 0, 1 and 2 in round `round`.
fn charter(number: usize, round: u64) -> Charter {
    Charter {
        epoch: epoch(number),
        group: GROUP,
        founders: (0..3).map(|machine| member(machine, 0)).collect(),
        parent: None,
        generation: 0,
        round,
        timing: Timing::default(),
        terms: config(member(0, 0), 3, false).terms,
    }
}

fn claim(charter: Charter) -> Claim {
    let (commands, age) = (false, Duration::ZERO);
    Claim {
        charter,
        commands,
        age,
    }
}

fn sent(out: &[Output]) -> BTreeSet<(usize, Message)> {
    let sent = out.iter().filter_map(|output| match output {
        Output::Send { to, message } => Some((to.peer.as_bytes()[0].into(), message.clone())),
        _ => None,
    });
    sent.collect()
}

fn to<const N: usize>(machines: [usize; N], message: Message) -> BTreeSet<(usize, Message)> {
    machines.map(|machine| (machine, message.clone())).into()
}

fn starts(out: &[Output], number: usize) -> bool {
    out.iter()
        .any(|o| matches!(o, Output::StartRaft { charter, .. } if charter.epoch == epoch(number)))
}

fn pledged(member: &Member) -> bool {
    matches!(member.founding.status(), Status::Pledged { .. })
}

#[test]
fn the_lowest_proposes_the_lowest_once_enough_have_settled() {
    let mut lowest = Member::of_three(0);
    let out = lowest.fire(Timer::Settle, 1);
    assert_eq!(sent(&out), to([1, 2], Message::Accepted(charter(1, 1))));
    let mut second = Member::of_three(1);
    assert!(sent(&second.fire(Timer::Settle, 1)).is_empty());
    let by = member(0, 0);
    assert_eq!(second.founding.status(), Status::WaitingForProposal { by });
    assert_eq!(
        sent(&second.fire(Timer::Late, 2)).len(),
        2,
        "if the lowest is late"
    );
}

#[test]
fn who_leaves_while_settling_starts_it_anew() {
    let mut lowest = Member::of_three(0);
    lowest.tell(Input::Unbonded(member(3, 0)));
    lowest.tell(Input::Unbonded(member(2, 0)));
    lowest.tell(Input::Bonded(member(2, 0)));
    lowest.hear(2, Message::Free { round: 0 });
    let again = Output::SetTimer(Duration::from_millis(500), Timer::Settle);
    let out = lowest.fire(Timer::Settle, 1);
    assert!(sent(&out).is_empty() && out.contains(&again));
    assert_eq!(sent(&lowest.fire(Timer::Settle, 1)).len(), 2);
}

#[test]
fn nothing_is_proposed_before_those_who_were_to_be_asked_have_answered() {
    let peer = Awaited::Peer(member(9, 0).peer);
    for awaited in [peer, Awaited::Rendezvous("the rendezvous")] {
        let mut alone = Member::start(0, 1, false, [awaited.clone()]);
        assert!(!starts(&alone.fire(Timer::Settle, 1), 1));
        let unanswered = vec![awaited.clone()];
        assert_eq!(alone.founding.status(), Status::LookingFirst { unanswered });
        let now = Output::SetTimer(Duration::ZERO, Timer::Settle);
        assert!(alone.clone_tell(Input::Answered(awaited)).contains(&now));
        assert!(alone.fire(Timer::Patience, 1).contains(&now));
        assert!(starts(&alone.fire(Timer::Settle, 1), 1));
    }
}

impl Member {
    /// What it would put out.
    fn clone_tell(&self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.founding.clone().handle(input, &mut out);
        out
    }
}

#[test]
fn one_charter_is_accepted_and_others_are_refused() {
    let mut second = Member::of_three(1);
    let out = second.hear(0, Message::Accepted(charter(1, 1)));
    assert_eq!(sent(&out), to([0, 2], Message::Accepted(charter(1, 1))));
    let other = Message::Accepted(charter(2, 5));
    let out = second.hear(2, other);
    assert_eq!(sent(&out), to([2], Message::Refused(charter(2, 5))));
    // The refusal is for ever, although it is free again.
    second.hear(0, Message::Pledged(charter(1, 1)));
    assert!(second.founding.is_free());
    let out = second.hear(0, Message::Accepted(charter(2, 5)));
    assert_eq!(sent(&out), to([0], Message::Refused(charter(2, 5))));
    let out = second.hear(0, Message::Accepted(charter(3, 6)));
    assert_eq!(sent(&out).len(), 2, "a later round is accepted");
}

#[test]
fn charters_that_make_no_sense_are_ignored() {
    let absurd = charter(1, u64::MAX);
    let mut few = charter(1, 1);
    few.founders.remove(&member(2, 0));
    let mut twice = few.clone();
    twice.founders.insert(member(0, 1));
    let mut foreign = charter(1, 1);
    foreign.terms.durable = true;
    for charter in [absurd, few, twice, foreign] {
        let mut second = Member::of_three(1);
        let out = second.hear(0, Message::Accepted(charter));
        assert!(sent(&out).is_empty() && second.founding.is_free());
        assert_eq!(second.founding.record().round, 0);
    }
}

#[test]
fn pledges_spread_and_a_blocking_set_frees() {
    let charter = charter(1, 1);
    let mut second = Member::of_three(1);
    second.hear(0, Message::Accepted(charter.clone()));
    let out = second.fire(Timer::Acceptances { round: 1 }, 0);
    assert_eq!(sent(&out), to([0, 2], Message::Pledged(charter.clone())));
    assert!(pledged(&second));
    let out = second.hear(2, Message::Pledged(charter.clone()));
    assert_eq!(sent(&out), to([0, 2, 3], Message::Free { round: 1 }));
    // Who is still bound learns that it has pledged, and who only answers is not answered.
    let out = second.hear(0, Message::Pledged(charter.clone()));
    assert_eq!(sent(&out), to([0], Message::Refused(charter.clone())));
    assert!(sent(&second.hear(0, Message::Refused(charter))).is_empty());
}

#[test]
fn who_has_sealed_never_pledges_but_yields_to_a_blocking_set() {
    let charter = charter(1, 1);
    let mut second = Member::of_three(1);
    assert!(starts(&second.seal(&charter), 1));
    assert!(second.founding.may_answer_raft(epoch(1)));
    second.fire(Timer::Acceptances { round: 1 }, 0);
    second.hear(0, Message::Pledged(charter.clone()));
    assert!(matches!(second.founding.status(), Status::Sealed { .. }));
    let out = second.hear(2, Message::Pledged(charter));
    assert!(out.contains(&Output::StopRaft(epoch(1))));
    assert!(second.founding.is_free() && !second.founding.may_answer_raft(epoch(1)));
}

#[test]
fn a_raft_request_proves_all_acceptances_unless_pledged() {
    let (from, epoch) = (member(0, 0), epoch(1));
    for pledge in [false, true] {
        let mut second = Member::of_three(1);
        second.hear(0, Message::Accepted(charter(1, 1)));
        assert!(!second.founding.may_answer_raft(epoch));
        if pledge {
            second.fire(Timer::Acceptances { round: 1 }, 0);
        }
        let out = second.tell(Input::RaftCalled { from, epoch });
        assert_eq!(starts(&out, 1), !pledge);
        assert_eq!(second.founding.may_answer_raft(epoch), !pledge);
    }
}

#[test]
fn an_entry_is_told_of_once() {
    let mut second = Member::of_three(1);
    assert!(!second.founding.awaits_entry(epoch(1)));
    second.seal(&charter(1, 1));
    assert!(second.founding.awaits_entry(epoch(1)));
    assert!(!second.founding.awaits_entry(epoch(2)));
    second.tell(Input::Appended(epoch(1)));
    assert!(!second.founding.awaits_entry(epoch(1)));
}

#[test]
fn the_last_one_left_forgets_or_recovers() {
    let charter = charter(1, 1);
    for entry in [false, true] {
        let mut second = Member::of_three(1);
        second.seal(&charter);
        if entry {
            second.tell(Input::Appended(epoch(1)));
        }
        second.hear(2, Message::Pledged(charter.clone()));
        let out = second.tell(Input::Bonded(member(0, 7)));
        let recover = Output::SetTimer(Duration::ZERO, Timer::Recover);
        assert_eq!(out.contains(&Output::StopRaft(epoch(1))), !entry);
        assert_eq!(out.contains(&recover), entry);
        if entry {
            let out = second.fire(Timer::Recover, 2);
            let started = out.iter().find_map(|output| match output {
                Output::StartRaft { charter, recovers } => Some((charter, *recovers)),
                _ => None,
            });
            let (child, recovers) = started.unwrap();
            assert_eq!((child.parent, recovers), (Some(epoch(1)), Some(epoch(1))));
            assert_eq!(child.founders, BTreeSet::from([member(1, 0)]));
            let out = second.hear(2, Message::Pledged(charter.clone()));
            assert!(sent(&out).is_empty(), "a pledge would be false");
        }
    }
}

/// Whatever it runs the charter as: founder or newcomer, established or not.
#[test]
fn who_lost_its_quorum_goes_over_to_a_descendant() {
    let charter = charter(1, 1);
    let child = |me: usize| charter.descendant(epoch(2), member(me, 0), 2);
    let mut sealed = Member::of_three(1);
    sealed.seal(&charter);
    let mut founder = Member::of_three(1);
    founder.seal(&charter);
    founder.tell(Input::Committed(epoch(1)));
    let mut newcomer = Member::of_three(3);
    newcomer.hear(0, Message::Established(claim(charter.clone())));
    let mut member = Member::of_three(3);
    member.hear(0, Message::Established(claim(charter.clone())));
    member.tell(Input::Committed(epoch(1)));
    for (me, mut this) in [(1, sealed), (1, founder), (3, newcomer), (3, member)] {
        let out = this.tell(Input::Refounded(child(me)));
        let starts = Output::StartRaft {
            charter: child(me),
            recovers: Some(epoch(1)),
        };
        assert!(out.contains(&starts), "{out:?}");
        let erases = |o: &Output| matches!(o, Output::StopRaft(_) | Output::Leave(_));
        assert!(
            !out.iter().any(erases),
            "the log is the descendant's: {out:?}"
        );
        assert!(this.founding.may_answer_raft(epoch(2)));
        assert!(!this.founding.may_answer_raft(epoch(1)));
        this.tell(Input::Committed(epoch(2)));
        assert_eq!(this.founding.record().established, Some(child(me)));
        // What it held before is of no interest, and a pledge against it would be false.
        let out = this.hear(0, Message::Pledged(charter.clone()));
        assert!(sent(&out).is_empty());
    }
}

/// Its log is not given up for what founding hears: the driver decides what becomes of it.
#[test]
fn who_runs_a_charter_that_is_not_established_tells_of_a_descendant() {
    let charter = charter(1, 1);
    let mut second = Member::of_three(1);
    second.seal(&charter);
    let other = claim(self::charter(3, 2));
    let out = second.hear(2, Message::Established(other));
    assert!(!out.iter().any(|o| matches!(o, Output::Conflict { .. })));
    let theirs = claim(charter.descendant(epoch(2), member(0, 0), 2));
    let out = second.hear(0, Message::Established(theirs.clone()));
    let by = member(0, 0);
    assert!(out.contains(&Output::Conflict { by, theirs }), "{out:?}");
    assert!(second.founding.may_answer_raft(epoch(1)));
}

#[test]
fn a_descendant_of_another_charter_or_founder_is_ignored() {
    let charter = charter(1, 1);
    let me = member(1, 0);
    let other = self::charter(3, 1).descendant(epoch(2), me, 2);
    let not_me = charter.descendant(epoch(2), member(0, 0), 2);
    let stale = charter.descendant(epoch(2), me, 1);
    let unrelated = self::charter(4, 2);
    for wrong in [other, not_me, stale, unrelated] {
        let mut second = Member::of_three(1);
        second.seal(&charter);
        second.tell(Input::Committed(epoch(1)));
        let before = second.founding.record();
        let out = second.tell(Input::Refounded(wrong));
        assert!(!starts(&out, 2) && !starts(&out, 4));
        assert_eq!(second.founding.record(), before);
    }
}

/// A founder that is silent is not known to be dead: the one that has sealed waits for it.
#[test]
fn a_silent_founder_is_waited_for_and_its_next_boot_frees() {
    let mut first = Member::of_three(0);
    first.seal(&charter(1, 1));
    first.tell(Input::Unbonded(member(2, 0)));
    first.hear(1, Message::Pledged(charter(1, 1)));
    let waits = Status::Sealed {
        charter: epoch(1),
        unreachable: vec![member(2, 0)],
    };
    assert_eq!(first.founding.status(), waits);
    first.tell(Input::Gone(member(2, 0)));
    assert!(first.founding.is_free());
}

#[test]
fn who_hears_of_an_established_charter_joins_it() {
    let theirs = |number| claim(charter(number, 1));
    let join = |number, fresh_boot| Output::Join {
        charter: charter(number, 1),
        fresh_boot,
    };
    let established = |number| Message::Established(theirs(number));
    // A newcomer.
    let mut other = Member::of_three(3);
    assert!(other.hear(0, established(1)).contains(&join(1, false)));
    assert!(other.founding.may_answer_raft(epoch(1)));
    other.tell(Input::Committed(epoch(1)));
    let announce = Output::Announce { to: member(5, 0) };
    assert!(other.tell(Input::Bonded(member(5, 0))).contains(&announce));
    // A founder that is bound to it runs it; one that has pledged joins with a fresh boot.
    let mut bound = Member::of_three(1);
    bound.hear(0, Message::Accepted(charter(1, 1)));
    let mut late = Member::of_three(1);
    late.hear(0, Message::Accepted(charter(1, 1)));
    late.fire(Timer::Acceptances { round: 1 }, 0);
    assert!(starts(&bound.hear(0, established(1)), 1));
    assert!(late.hear(0, established(1)).contains(&join(1, true)));
    assert!(!late.founding.may_answer_raft(epoch(1)));
}

#[test]
fn who_is_bound_elsewhere_pledges_joins_and_stays_bound_until_it_is_a_member() {
    let mut second = Member::of_three(1);
    second.hear(0, Message::Accepted(charter(1, 1)));
    let mut other = charter(2, 1);
    other.founders = BTreeSet::from([member(4, 0), member(5, 0), member(6, 0)]);
    let out = second.hear(4, Message::Established(claim(other)));
    assert_eq!(sent(&out), to([0, 2], Message::Pledged(charter(1, 1))));
    assert!(matches!(second.founding.status(), Status::Joining { .. }));
    // Nobody announces it any more: it is forgotten, the pledge is not.
    let forget = Output::SetTimer(Duration::from_secs(10), Timer::Forget);
    assert!(
        second
            .tell(Input::Withdrawn(member(4, 0)))
            .contains(&forget)
    );
    assert!(
        second
            .fire(Timer::Forget, 0)
            .contains(&Output::Leave(epoch(2)))
    );
    assert!(pledged(&second));
}

#[test]
fn two_established_charters_meet() {
    let theirs = claim(charter(2, 1));
    let winner = theirs.charter.clone();
    for commands in [false, true] {
        let mut first = Member::of_three(0);
        first.seal(&charter(1, 1));
        first.tell(Input::Committed(epoch(1)));
        let by = member(3, 0);
        let theirs = theirs.clone();
        let out = first.hear(3, Message::Established(theirs.clone()));
        assert!(out.contains(&Output::Conflict { by, theirs }));
        let winner = winner.clone();
        let out = first.tell(Input::VerdictCommitted { winner, commands });
        assert_eq!(out.contains(&Output::StopRaft(epoch(1))), !commands);
        let superseded = Status::Superseded {
            charter: epoch(1),
            by: epoch(2),
        };
        assert_eq!(first.founding.status() == superseded, commands);
    }
}

#[test]
fn a_durable_member_says_nothing_before_it_is_on_disk_and_remembers() {
    let mut charter = charter(1, 1);
    charter.terms.durable = true;
    let mut second = Member::start(1, 3, true, []);
    for other in [0, 2] {
        second.tell(Input::Bonded(member(other, 0)));
    }
    let out = second.hear(0, Message::Accepted(charter.clone()));
    assert!(sent(&out).is_empty() && matches!(out.last(), Some(Output::Persist(_))));
    assert_eq!(sent(&second.tell(Input::Persisted)).len(), 2);
    let out = second.hear(2, Message::Accepted(charter.clone()));
    assert!(!starts(&out, 1) && !second.founding.may_answer_raft(epoch(1)));
    assert!(starts(&second.tell(Input::Persisted), 1));
    check_restored(&second, &charter);
}

fn check_restored(second: &Member, charter: &Charter) {
    let record: Record = second.founding.record();
    let mut out = Vec::new();
    let config = second.founding.config.clone();
    let mut restored = Founding::restore(config, [], record, &mut out);
    assert!(starts(&out, 1));
    out.clear();
    restored.handle(Input::Bonded(member(0, 0)), &mut out);
    assert_eq!(sent(&out), to([0], Message::Accepted(charter.clone())));
    let epoch: Epoch = charter.epoch;
    restored.handle(Input::Committed(epoch), &mut out);
    out.clear();
    let record = restored.record();
    Founding::restore(restored.config.clone(), [], record, &mut out);
    assert!(starts(&out, 1), "an established charter is run again");
}
