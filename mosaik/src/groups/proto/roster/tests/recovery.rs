//! A lost quorum: what it lacks, and when a descendant is founded.

use std::collections::BTreeMap;

use super::*;

#[track_caller]
fn check_quorum(membership: &Membership, live: &[u8], have: usize, need: usize, missing: &[u8]) {
    let missing = set(missing);
    let expected = Quorum {
        have,
        need,
        missing,
    };
    assert_eq!(quorum(membership, &set(live)), expected);
}

#[test]
fn a_quorum_says_what_it_lacks() {
    let three = membership(set(&[1, 2, 3]), set(&[4]));
    check_quorum(&three, &[1, 2, 4], 2, 2, &[3]);
    check_quorum(&three, &[1, 4], 1, 2, &[2, 3]);
    assert!(!quorum(&three, &set(&[1])).reached());
    // While joint, the set that lacks most.
    let mut joint = membership(set(&[3, 4, 5]), set(&[]));
    joint.leaving = Some(set(&[1, 2, 3]));
    check_quorum(&joint, &[1, 2, 3], 1, 2, &[4, 5]);
    check_quorum(&joint, &[3, 4, 5], 1, 2, &[1, 2]);
    check_quorum(&joint, &[1, 3, 4], 2, 2, &[5]);
}

#[test]
fn a_majority_of_a_volatile_charter_must_be_proven_dead() {
    let check = |volatile, membership: &Membership, live: &[u8], dead: &[u8], expected| {
        let dead = set(dead).into_iter().map(|m| (m, Death::Superseded));
        let proven = provably_dead(volatile, membership, &set(live), &dead.collect());
        assert_eq!(proven, expected, "{membership:?}");
    };
    let three = membership(set(&[1, 2, 3]), set(&[4]));
    check(true, &three, &[1], &[2, 4], false);
    check(true, &three, &[1], &[2, 3], true);
    check(false, &three, &[1], &[2, 3], false);
    check(true, &membership(set(&[1, 2]), set(&[])), &[1], &[2], true);
    let four = membership(set(&[1, 2, 3, 4]), set(&[]));
    check(true, &four, &[1, 2], &[4], false);
    check(true, &four, &[1, 2], &[3, 4], true);
    // While joint, of both sets; or of one, and the other has all that it needs.
    let mut joint = membership(set(&[3, 4, 5]), set(&[]));
    joint.leaving = Some(set(&[1, 2, 3]));
    check(true, &joint, &[3], &[1, 2], false);
    check(true, &joint, &[3, 4], &[1, 2], true);
    check(true, &joint, &[5], &[1, 2, 3, 4], true);
}

/// A volatile charter with three founders and these voters, of whom some survive with equal logs.
fn loss(voters: &[u8], survivors: &[u8]) -> Loss {
    let membership = membership(set(voters), set(&[]));
    let replica = Replica {
        last: LogId { term: 4, index: 50 },
        membership: membership.log_id,
        durable: false,
        writer: true,
    };
    Loss {
        membership,
        survivors: survivors.iter().map(|&peer| (n(peer), replica)).collect(),
        evidence: BTreeMap::new(),
        testaments: BTreeMap::new(),
        newcomers: BTreeSet::new(),
        lost_for: secs(5),
        recover_after: None,
        operator: false,
        options: Options {
            founders: 3,
            ..Options::default()
        },
    }
}

impl Loss {
    fn superseded(mut self, peers: &[u8]) -> Self {
        for &peer in peers {
            self.evidence.insert(n(peer), Death::Superseded);
            self.newcomers.insert(boot(peer, 2));
        }
        self
    }

    fn departed(mut self, peers: &[u8], last: LogId) -> Self {
        for &peer in peers {
            self.evidence.insert(n(peer), Death::Departed);
            self.testaments.insert(n(peer), last);
        }
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

#[track_caller]
fn refuses(loss: &Loss, why: &str) {
    assert_eq!(short(&refound(loss).unwrap_err()), why);
}

#[track_caller]
fn founds(loss: &Loss, cause: Cause, founder: u8, founders: &[MemberId]) {
    let found = refound(loss).unwrap_or_else(|waiting| panic!("{waiting}"));
    let with = founders.iter().copied().collect();
    assert_eq!(
        (found.cause, found.founder, found.founders),
        (cause, n(founder), with)
    );
}

const KNOWN: LogId = LogId { term: 3, index: 7 };
const LATER: LogId = LogId { term: 4, index: 9 };

#[test]
fn proof_takes_the_dead_and_that_they_did_not_move_on() {
    let departed = loss(&[1, 2, 3], &[1])
        .superseded(&[3])
        .departed(&[2], KNOWN);
    founds(&departed, Cause::Proof, 1, &[n(1), boot(3, 2)]);
    // With two voters the survivor knows: nothing was committed without it.
    let two = loss(&[1, 2], &[1]).superseded(&[2]);
    founds(&two, Cause::Proof, 1, &[n(1), boot(2, 2)]);
    let five = loss(&[1, 2, 3, 4, 5], &[1, 2]).superseded(&[4, 5]);
    let five = five.departed(&[3], KNOWN);
    founds(&five, Cause::Proof, 1, &[n(1), n(2), boot(4, 2)]);
    let early = loss(&[1, 2, 3], &[1]).superseded(&[3]);
    let early = early.departed(&[2], LogId { term: 1, index: 1 });
    founds(&early, Cause::Proof, 1, &[n(1), boot(3, 2)]);
}

#[test]
fn a_majority_that_died_may_have_moved_on_before() {
    // 2 and 3 replaced 1, which was cut off, and 4 and 5 are the voters now: 2 and 3 restarted since.
    let crashed = loss(&[1, 2, 3], &[1]).superseded(&[2, 3]);
    let why = "the dead may have moved on to other voters before they died: 2 members must attest that \
               they did not, 1 do";
    refuses(&crashed, why);
    let testified = loss(&[1, 2, 3], &[1])
        .superseded(&[3])
        .departed(&[2], LATER);
    refuses(&testified, why);
    let later = crashed.with(|loss| {
        let replica = loss.survivors[&n(1)];
        let membership = LATER;
        let later = Replica {
            membership,
            ..replica
        };
        loss.survivors.insert(n(4), later);
    });
    refuses(&later, "n4 knows of a later membership, at 4-9");
}

#[test]
fn while_joint_neither_set_may_have_had_a_majority_of_others() {
    let joint = |survivors: &[u8], dead: &[u8]| {
        let joint = loss(&[3, 4, 5], survivors).superseded(dead);
        joint.with(|loss| loss.membership.leaving = Some(set(&[1, 2, 3])))
    };
    // 3, 4 and 5 may have finished the change among themselves.
    let why = "the dead may have moved on to other voters before they died: 2 members must attest that \
               they did not, 0 do";
    refuses(&joint(&[1], &[2, 3, 4, 5]), &why.replace("0 do", "1 do"));
    let both = joint(&[3], &[1, 2, 4, 5]);
    refuses(&both, &why.replace("0 do", "1 do"));
    let both = joint(&[3], &[2, 4]).departed(&[1, 5], KNOWN);
    founds(&both, Cause::Proof, 3, &[n(3), boot(2, 2), boot(4, 2)]);
}

#[test]
fn a_joint_change_whose_new_voters_died_does_not_block_for_ever() {
    // 2 was being replaced by 4 when 3 and 4 died.
    let joint = loss(&[1, 3, 4], &[1, 2]).superseded(&[3]);
    let joint = joint
        .departed(&[4], KNOWN)
        .with(|loss| loss.membership.leaving = Some(set(&[1, 2, 3])));
    founds(&joint, Cause::Proof, 1, &[n(1), n(2), boot(3, 2)]);
    // 2 leads instead if it was elected since, without the change.
    let overwritten = joint.with(|loss| {
        let other = loss.survivors.get_mut(&n(2)).expect("a survivor");
        other.last = LogId { term: 5, index: 40 };
        other.membership = LogId { term: 1, index: 1 };
    });
    let why = "n2 has a later log without the change at 3-7, and may yet be elected";
    refuses(&overwritten, why);
}

#[test]
fn those_who_may_return_are_waited_for() {
    let missing = loss(&[1, 2, 3], &[1]).superseded(&[3]);
    refuses(
        &missing,
        "too few voters are proven dead; these may come back: n2",
    );
    let durable = loss(&[1, 2, 3], &[1]).with(|loss| loss.options.durable = true);
    refuses(
        &durable,
        "a durable group waits for its members to come back: n2, n3",
    );
    refuses(
        &loss(&[1, 2, 3], &[]),
        "no member that holds the state is reachable",
    );
    let quorum = "nothing to recover from: 2 voters are reachable, 2 are a quorum";
    refuses(&loss(&[1, 2, 3], &[1, 2]), quorum);
    refuses(
        &loss(&[1, 2, 3], &[1, 2]).with(|loss| loss.operator = true),
        quorum,
    );
}

#[test]
fn declared_and_development_groups_re_form_in_time() {
    let declared =
        |after| loss(&[1, 2, 3], &[1]).with(|loss| loss.recover_after = Some(secs(after)));
    founds(&declared(5), Cause::Declared, 1, &[n(1)]);
    refuses(
        &declared(60),
        "the group re-forms by itself in 55 s, as declared",
    );
    let development = |lost_for| {
        loss(&[1, 2], &[2]).with(|loss| {
            loss.options.founders = 1;
            loss.lost_for = secs(lost_for);
        })
    };
    founds(&development(10), Cause::Development, 2, &[n(2)]);
    refuses(
        &development(7),
        "the group re-forms by itself in 3 s, in development mode",
    );
    let slower = development(30).with(|loss| loss.recover_after = Some(secs(60)));
    refuses(&slower, "the group re-forms by itself in 30 s, as declared");
    let durable = development(30).with(|loss| loss.options.durable = true);
    refuses(
        &durable,
        "a durable group waits for its members to come back: n1",
    );
    assert!(!durable.ends_in_time());
    let declared = |after| {
        let durable = development(30).with(|loss| loss.options.durable = true);
        durable.with(|loss| {
            loss.recover_after = Some(secs(after));
            for replica in loss.survivors.values_mut() {
                replica.durable = true;
            }
        })
    };
    founds(&declared(30), Cause::Declared, 2, &[n(2)]);
    assert!(declared(30).is_timed_out());
    refuses(
        &declared(31),
        "the group re-forms by itself in 1 s, as declared",
    );
    assert!(declared(31).ends_in_time() && !declared(31).is_timed_out());
}

#[test]
fn the_most_up_to_date_replica_founds_and_the_unreachable_are_named() {
    let last = |peer, term, index| {
        move |loss: &mut Loss| {
            let replica = loss.survivors.get_mut(&n(peer));
            replica.expect("a survivor").last = LogId { term, index };
        }
    };
    let five = || loss(&[1, 2, 3, 4, 5], &[1, 2]).with(|loss| loss.operator = true);
    founds(&five(), Cause::Operator, 1, &[n(1), n(2)]);
    founds(
        &five().with(last(2, 4, 51)),
        Cause::Operator,
        2,
        &[n(1), n(2)],
    );
    founds(
        &five().with(last(1, 3, 99)),
        Cause::Operator,
        2,
        &[n(1), n(2)],
    );
    assert_eq!(refound(&five()).unwrap().unfenced, set(&[3, 4, 5]));
    let known = five().superseded(&[4]);
    assert_eq!(refound(&known).unwrap().unfenced, set(&[3, 5]));
    // A learner may hold the most; an observer is no founder beside another.
    let learner = five().with(|loss| {
        let replica = loss.survivors[&n(1)];
        loss.survivors.insert(n(7), replica);
        let writer = false;
        loss.survivors.insert(n(8), Replica { writer, ..replica });
    });
    founds(&learner, Cause::Operator, 1, &[n(1), n(2), n(7)]);
    founds(
        &learner.with(last(7, 5, 1)),
        Cause::Operator,
        7,
        &[n(1), n(2), n(7)],
    );
}
