//! What holds of every plan, on random views.

use proptest::prelude::*;

use super::*;

/// Anything a leader may know of a member.
fn facts() -> impl Strategy<Value = Facts> {
    let silence = prop_oneof![4 => Just(0), 1 => Just(5), 1 => 30..90u64];
    let matched = prop_oneof![
        4 => Just(Some(COMMIT)),
        1 => Just(None),
        1 => (COMMIT - 2000..COMMIT).prop_map(Some)
    ];
    let rarely = || prop::bool::weighted(0.12);
    let preference = prop_oneof![
        4 => Just(Preference::Neutral),
        1 => Just(Preference::Avoid),
        1 => Just(Preference::Prefer)
    ];
    let program = prop_oneof![
        6 => Just(Program::Current),
        1 => Just(Program::Unheard),
        1 => Just(Program::Outdated)
    ];
    let numbers = (silence, matched, preference);
    (
        numbers,
        rarely(),
        rarely(),
        (rarely(), rarely(), rarely(), rarely()),
        program,
    )
        .prop_map(
            |(
                (silence, matched, preference),
                superseded,
                departed,
                (leaving, diskless, observes, wrong),
                program,
            )| {
                Facts {
                    role: if observes {
                        Role::Observer
                    } else {
                        Role::Writer
                    },
                    durable: !diskless,
                    matched,
                    silent_for: secs(silence),
                    superseded,
                    departed,
                    leaving,
                    preference,
                    sound: !wrong,
                    program,
                }
            },
        )
}

fn options() -> impl Strategy<Value = Options> {
    (0..5usize, 1..=5usize, any::<bool>()).prop_map(|(voters, founders, durable)| Options {
        voters: voters * 2 + 1,
        founders,
        durable,
        ..Options::default()
    })
}

/// Ten peers, two of them with a second boot; each a voter, a learner or outside.
fn views() -> impl Strategy<Value = View> {
    let place = prop_oneof![3 => Just(0u8), 2 => Just(1u8), 2 => Just(2u8)];
    let members = prop::collection::vec((facts(), place), 12);
    let paced = prop::option::of(0..40_000u64);
    (members, options(), paced, 0..8u8).prop_map(|(members, options, paced, joint)| {
        let mut view = view(&[1], &[]);
        view.options = options;
        view.last_eviction = paced.map(|ago| view.now - ago);
        for (i, (facts, place)) in members.into_iter().enumerate() {
            let peer = i as u8 % 10 + 1;
            let member = boot(peer, 1 + i as u64 / 10);
            let place = if i == 0 { 0 } else { place };
            // A superseded boot is the older one; what lives in two places is refused elsewhere.
            let superseded = facts.superseded && member.boot == 1 && i > 0;
            let elder = member.boot > 1 && !view.facts[&n(peer)].superseded;
            if elder {
                continue;
            }
            match place {
                0 if view.membership.voters.len() < 9 => view.membership.voters.insert(member),
                1 if view.membership.learners.len() < 9 => view.membership.learners.insert(member),
                _ => false,
            };
            view.facts.insert(
                member,
                Facts {
                    superseded,
                    ..facts
                },
            );
        }
        let leader = view.facts.get_mut(&n(1)).expect("the leader");
        leader.silent_for = Duration::ZERO;
        if joint == 0 {
            view.membership.leaving = Some(set(&[1, 2, 3]));
        }
        view
    })
}

/// Voters that may still fail, of those that are live and stay; negative when no quorum is left.
fn margin(view: &View, voters: &BTreeSet<MemberId>) -> i64 {
    let stays = |m: &&MemberId| view.answers(m) && view.fate(m) == Fate::Live;
    let live = voters.iter().filter(stays).count() as i64;
    live - majority(voters.len()) as i64
}

fn after(view: &View, change: &Change) -> BTreeSet<MemberId> {
    view.apply(change).membership.voters
}

/// Every rule that a change of voters keeps.
fn check_voters(view: &View, change: &Change) {
    let Step::Voters {
        promote,
        remove,
        evicted,
    } = &change.step
    else {
        return;
    };
    let (old, new) = (&view.membership.voters, &after(view, change));
    let lowered = old.len() > view.options.target();
    assert!(
        promote.is_subset(&view.membership.learners),
        "one joint change"
    );
    assert!(remove.is_subset(old) && !remove.contains(&view.leader));
    assert!(view.membership.leaving.is_none() && view.membership.committed);
    assert!(new.len() >= view.floor().min(old.len()), "the floor");
    assert!(new.len() <= view.options.target().max(old.len()));
    for member in promote {
        assert_eq!(view.fate(member), Fate::Live);
        assert!(view.electable(member) && view.caught_up(member));
        assert_eq!(view.program(member), Program::Current);
        assert!(new.iter().filter(|m| m.peer == member.peer).count() == 1);
    }
    for member in remove {
        let fate = view.fate(member);
        assert!(fate >= Fate::Silent || lowered, "{member} is {fate:?}");
        assert_eq!(fate == Fate::Silent, evicted.contains(member));
    }
    let left = remove.iter().any(|m| view.fate(m) == Fate::Left);
    if new.len() < old.len() && !left && !lowered {
        assert!(new.len() % 2 == 1 && new.len() >= view.options.founders.max(3));
    }
    if new.len() > old.len() {
        assert!(new.len() % 2 == 1 || new.len() == 2);
    }
    check_pace(view, evicted, lowered);
    if !lowered {
        let one_to_two = old.len() == 1 && new.len() == 2;
        let (before, after) = (margin(view, old), margin(view, new));
        assert!(
            after >= before,
            "bears {after} failures instead of {before}"
        );
        // Nor if one of the promoted has just died unnoticed.
        if !promote.is_empty() && !one_to_two {
            assert!(after > before || new.len() == old.len(), "{after} {before}");
        }
    }
    let answers = |m: &&MemberId| view.answers(m);
    let live = |voters: &BTreeSet<_>| voters.iter().filter(answers).count();
    assert!(live(new) >= majority(new.len()), "a live quorum is kept");
    check_intersection(old, new);
}

fn check_pace(view: &View, evicted: &BTreeSet<MemberId>, lowered: bool) {
    let evict_after = view.options.evict_after;
    if let Some(last) = view.last_eviction
        && !evicted.is_empty()
        && !lowered
    {
        assert!(view.since(last) >= evict_after, "the pace");
    }
    if evicted.len() > 1 && !lowered {
        assert_eq!(evicted.len(), 2);
        let two_turns = |m: &MemberId| view.facts[m].silent_for >= evict_after * 2;
        assert!(evicted.iter().all(two_turns));
    }
}

/// Every majority of the old voters meets every joint quorum, and that every majority of the new.
fn check_intersection(old: &BTreeSet<MemberId>, new: &BTreeSet<MemberId>) {
    let all = (old | new).into_iter().collect::<Vec<_>>();
    let mask = |of: &BTreeSet<MemberId>| {
        let bit = |(i, m): (usize, &MemberId)| u32::from(of.contains(m)) << i;
        all.iter().enumerate().map(bit).sum::<u32>()
    };
    let (old, new) = (mask(old), mask(new));
    let quorum = |votes: u32, of: u32| (votes & of).count_ones() > of.count_ones() / 2;
    for votes in 0..1u32 << all.len() {
        if quorum(votes, old) && quorum(votes, new) {
            assert!(!quorum(!votes, old) && !quorum(!votes, new));
        }
    }
}

/// Plans and applies until nothing is due; panics if a roster comes up twice.
fn settle(view: &View) -> View {
    let mut view = view.clone();
    let mut seen = BTreeSet::new();
    while let Some(change) = plan(&view) {
        check_voters(&view, &change);
        let membership = &view.membership;
        let roster = (
            view.leader,
            membership.voters.clone(),
            membership.learners.clone(),
            membership.leaving.clone(),
        );
        assert!(seen.insert(roster), "{change:?} leads in a circle");
        assert!(seen.len() <= 12, "{change:?} is one too many");
        view = view.apply(&change);
    }
    view
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_change_keeps_the_rules(view in views()) {
        if let Some(change) = plan(&view) {
            prop_assert_eq!(change.based_on, view.membership.log_id);
            check_voters(&view, &change);
        } else {
            explain(&view).iter().for_each(|reason| assert!(!reason.to_string().is_empty()));
        }
    }

    #[test]
    fn no_change_while_one_is_under_way_or_the_leader_unconfirmed(view in views(), which: bool) {
        let mut view = view;
        if which {
            view.membership.committed = false;
        } else {
            view.confirmed = false;
        }
        prop_assert_eq!(plan(&view), None);
        prop_assert_eq!(explain(&view).len(), 1);
    }

    #[test]
    fn plans_come_to_rest(view in views()) {
        let mut view = view;
        for _ in 0..12 {
            view = settle(&view);
            view.now += 30_000;
        }
        prop_assert_eq!(plan(&view), None, "still at it after six minutes");
    }

    #[test]
    fn a_settled_roster_has_enough_voters(view in views()) {
        let mut view = view;
        // All catch up, and say what they know.
        for facts in view.facts.values_mut() {
            facts.matched = Some(COMMIT);
            if facts.program == Program::Unheard {
                facts.program = Program::Current;
            }
        }
        // What is silent stays so.
        for _ in 0..12 {
            view = settle(&view);
            view.now += 30_000;
            let silent = |f: &&mut Facts| f.departed || f.silent_for > Duration::ZERO;
            view.facts.values_mut().filter(silent).for_each(|f| f.silent_for += secs(30));
            let leader = view.leader;
            view.facts.get_mut(&leader).expect("the leader").silent_for = Duration::ZERO;
        }
        let live = view.membership.voters.iter().filter(|m| view.fate(m) == Fate::Live).count();
        let reasons = explain(&view);
        let stuck = reasons.iter().any(|r| matches!(r, Reason::NoQuorum(_) | Reason::NoSuccessor));
        let leader_stays = view.fate(&view.leader) == Fate::Live;
        if !stuck && leader_stays {
            prop_assert!(live >= view.floor(), "{live} of {}: {reasons:?}", view.floor());
        }
    }
}
