//! A table for each rule of the planner.

use super::*;

/// Checks what is planned, and that the reasons given include some.
#[track_caller]
fn check(view: View, expected: Option<Step>, reasons: &[&str]) {
    view.options.check().expect("valid options");
    let step = plan(&view).map(|change| change.step);
    let given = explain(&view);
    assert_eq!(step, expected, "{given:?}");
    let given = given.iter().map(short).collect::<Vec<_>>();
    for reason in reasons {
        assert!(given.iter().any(|g| g == reason), "{reason:?} in {given:?}");
    }
}

fn voters(promote: &[u8], remove: &[u8], evicted: &[u8]) -> Option<Step> {
    Some(Step::Voters {
        promote: set(promote),
        remove: set(remove),
        evicted: set(evicted),
    })
}

fn add(peers: &[u8]) -> Option<Step> {
    Some(Step::AddLearners(set(peers)))
}

fn superseded(f: &mut Facts) {
    f.superseded = true;
    f.silent_for = secs(3);
}

fn departed(f: &mut Facts) {
    f.departed = true;
    f.silent_for = secs(3);
}

fn leaving(f: &mut Facts) {
    f.leaving = true;
}

#[test]
fn one_change_at_a_time_and_only_under_a_confirmed_leader() {
    let due = || view(&[1, 2, 3], &[4, 5]);
    check(due(), voters(&[4, 5], &[], &[]), &[]);
    let mut uncommitted = due();
    uncommitted.membership.committed = false;
    let waits = "the change at 3-7 is not committed yet";
    check(uncommitted, None, &[waits]);
    let mut cut_off = due();
    cut_off.confirmed = false;
    let waits = "no majority has confirmed the leader lately";
    check(cut_off, None, &[waits]);
    let lost = due().silent(&[2, 3], 5);
    let waits = "nothing can be committed: 1 of the 2 voters needed are live; missing: n2, n3";
    check(lost, None, &[waits]);
    assert_eq!(plan(&due()).unwrap().based_on, due().membership.log_id);
}

#[test]
fn a_joint_membership_left_behind_is_finished_first() {
    let mut joint = view(&[1, 2, 4], &[]).outside(&[3]);
    joint.membership.leaving = Some(set(&[1, 2, 3]));
    check(joint.clone(), Some(Step::FinishJoint), &[]);
    joint.membership.committed = false;
    check(joint, None, &["the change at 3-7 is not committed yet"]);
}

#[test]
fn writers_become_learners_and_two_of_them_are_spares() {
    check(view(&[1], &[]).outside(&[2]), add(&[2]), &[]);
    let many = [2, 3, 4, 5, 6, 7, 8, 9, 10];
    let outside = ["writers that follow from outside, all seats being taken: 3"];
    check(view(&[1], &[]).outside(&many), add(&many[..6]), &outside);
    let full = view(&[1, 2, 3, 4, 5], &[6, 7]).outside(&[8]);
    check(
        full,
        None,
        &["writers that follow from outside, all seats being taken: 1"],
    );
    // A voter that is to be replaced gets its replacement seated beside the spares.
    let short = view(&[1, 2, 3, 4, 5], &[6, 7]).outside(&[8, 9]);
    let short = short.silent(&[5], 40);
    let short = short.with(n(6), |f| f.matched = None);
    let short = short.with(n(7), |f| f.matched = Some(0));
    check(
        short,
        add(&[8]),
        &["n6 is not caught up: nothing replicated yet"],
    );
    // Nor is anybody seated who is about to go.
    let going = view(&[1, 2, 3], &[]).outside(&[4, 5]);
    let going = going.with(n(4), leaving).with(n(5), departed);
    check(going, None, &[]);
}

#[test]
fn observers_never_enter_the_membership() {
    let observer = |f: &mut Facts| f.role = Role::Observer;
    check(view(&[1, 2], &[]).with(n(3), observer), None, &[]);
    let strays = view(&[1, 2], &[3]).with(n(3), observer);
    check(strays, Some(Step::DropLearners(set(&[3]))), &[]);
    let turned = view(&[1, 2, 3], &[]).with(n(3), observer);
    check(turned, voters(&[], &[3], &[]), &[]);
}

#[test]
fn voters_grow_to_an_odd_number_or_two() {
    check(view(&[1], &[2]), voters(&[2], &[], &[]), &[]);
    check(view(&[1], &[2, 3]), voters(&[2, 3], &[], &[]), &[]);
    check(view(&[1], &[2, 3, 4]), voters(&[2, 3], &[], &[]), &[]);
    check(view(&[1, 2], &[3]), voters(&[3], &[], &[]), &[]);
    check(view(&[1, 2, 3, 4], &[5]), voters(&[5], &[], &[]), &[]);
    check(view(&[1, 2, 3], &[4, 5, 6]), voters(&[4, 5], &[], &[]), &[]);
    check(view(&[1, 2, 3, 4, 5], &[6, 7]), None, &[]);
    let waits = "n4 stays a learner: 3 voters and one more bear no more failures, so it waits for \
                 another";
    check(view(&[1, 2, 3], &[4]), None, &[waits]);
}

#[test]
fn only_learners_that_are_caught_up_live_and_durable_are_promoted() {
    let behind = |by: u64| view(&[1, 2], &[3]).with(n(3), |f| f.matched = Some(COMMIT - by));
    check(behind(1023), voters(&[3], &[], &[]), &[]);
    let waits = "n3 is not caught up: 1024 entries behind";
    check(behind(1024), None, &[waits]);
    let quiet = view(&[1, 2], &[3]).silent(&[3], 5);
    check(quiet, None, &["n3 has not been heard from for 5 s"]);
    let volatile = view(&[1, 2], &[3])
        .durable()
        .with(n(3), |f| f.durable = false);
    check(
        volatile,
        None,
        &["n3 stays a learner: it has no data directory"],
    );
    // It takes a spare's seat only if one is free.
    let diskless = |f: &mut Facts| f.durable = false;
    let full = view(&[1, 2, 3, 4, 5], &[6]).outside(&[7, 8, 9]).durable();
    let full = full.with(n(7), diskless).with(n(8), diskless);
    check(
        full,
        add(&[9]),
        &["writers that follow from outside, all seats being taken: 2"],
    );
    let room = view(&[1, 2, 3, 4, 5], &[6]).outside(&[7, 8]).durable();
    let room = room.with(n(7), diskless).with(n(8), diskless);
    check(room, add(&[7]), &[]);
}

#[test]
fn the_proven_dead_are_replaced_at_once_in_one_change() {
    let lost = view(&[1, 2, 3], &[4, 5]).with(n(3), superseded);
    check(lost, voters(&[4], &[3], &[]), &[]);
    let two = view(&[1, 2, 3, 4, 5], &[6, 7]);
    let two = two.with(n(3), superseded).with(n(4), departed);
    check(two, voters(&[6, 7], &[3, 4], &[]), &[]);
    let none = view(&[1, 2, 3], &[]).with(n(3), superseded);
    let waits = "n3 is gone, but no learner is ready to replace it, and 3 voters may shrink only to \
                 an odd number of at least 3";
    check(none, None, &[waits]);
}

#[test]
fn a_new_boot_replaces_the_one_that_lost_its_log() {
    let mut back = view(&[1, 2, 3], &[4]).with(n(3), superseded);
    back.membership.learners.insert(boot(3, 2));
    let back = back.with(boot(3, 2), |_| ());
    let step = Step::Voters {
        promote: [boot(3, 2)].into(),
        remove: set(&[3]),
        evicted: set(&[]),
    };
    check(back.clone(), Some(step), &[]);
    // It takes no other's place while its own can be taken.
    let mut two = view(&[1, 2, 3, 4, 5], &[]).with(n(2), superseded);
    two.membership.learners.insert(boot(5, 2));
    let two = two.with(n(5), superseded).with(boot(5, 2), |_| ());
    let step = Step::Voters {
        promote: [boot(5, 2)].into(),
        remove: set(&[5]),
        evicted: set(&[]),
    };
    check(two, Some(step), &[]);
    // Two boots of one peer are never both members while the first is not known to be dead.
    let waits = "n3 waits: boot 1 of the same peer is a member and not known to be dead";
    let alive = back.clone().with(n(3), |f| f.superseded = false);
    check(alive.clone(), None, &[waits]);
    let mut outside = alive;
    outside.membership.learners.remove(&boot(3, 2));
    check(outside.clone(), None, &[waits]);
    let outside = outside
        .with(n(3), superseded)
        .with(n(4), |f| f.matched = None);
    let add = Step::AddLearners([boot(3, 2)].into());
    check(outside, Some(add), &[]);
}

#[test]
fn the_silent_are_replaced_after_evict_after_one_at_a_time() {
    let silent = |seconds| view(&[1, 2, 3, 4, 5], &[6, 7]).silent(&[4, 5], seconds);
    let waits = "n5 has been silent for 29 s, and may be replaced in 1 s";
    check(silent(29), None, &[waits]);
    check(silent(30), voters(&[6], &[4], &[4]), &[]);
    let longest = silent(30).silent(&[5], 31);
    check(longest, voters(&[6], &[5], &[5]), &[]);
    let mut paced = silent(40);
    paced.last_eviction = Some(paced.now - 12_000);
    let waits = "one voter was removed 12 s ago, the next in 18 s";
    check(paced.clone(), None, &[waits]);
    // The pace does not hold up what is proven.
    let proven = paced.clone().with(n(5), superseded);
    check(proven, voters(&[6], &[5], &[]), &[waits]);
    paced.last_eviction = Some(paced.now - 30_000);
    check(paced, voters(&[6], &[4], &[4]), &[]);
}

#[test]
fn silence_shrinks_only_to_an_odd_number_of_at_least_three_and_the_founders() {
    let gone = |seconds| view(&[1, 2, 3, 4, 5], &[]).silent(&[4, 5], seconds);
    let waits = "n4 is gone, but no learner is ready to replace it, and 5 voters may shrink only to an \
                 odd number of at least 3";
    check(gone(31), None, &[waits]);
    check(gone(60), voters(&[], &[4, 5], &[4, 5]), &[]);
    check(gone(60).founders(5), None, &[]);
    check(
        view(&[1, 2, 3, 4], &[]).silent(&[4], 30),
        voters(&[], &[4], &[4]),
        &[],
    );
    check(
        view(&[1, 2, 3, 4], &[]).silent(&[4], 30).founders(4),
        None,
        &[],
    );
    check(view(&[1, 2, 3], &[]).silent(&[3], 90), None, &[]);
    // One proven, one silent: two seats with one turn.
    let mixed = gone(31).with(n(5), superseded);
    check(mixed, voters(&[], &[4, 5], &[4]), &[]);
    let lost = gone(31).with(n(5), superseded).with(n(4), superseded);
    check(lost, voters(&[], &[4, 5], &[]), &[]);
    // A replacement comes before shrinking.
    let spare = view(&[1, 2, 3, 4, 5], &[6]).silent(&[4, 5], 90);
    check(spare, voters(&[6], &[4], &[4]), &[]);
}

#[test]
fn who_leaves_is_removed_and_replaced_if_possible() {
    check(
        view(&[1, 2, 3], &[4]).with(n(3), leaving),
        voters(&[4], &[3], &[]),
        &[],
    );
    check(
        view(&[1, 2, 3], &[]).with(n(3), leaving),
        voters(&[], &[3], &[]),
        &[],
    );
    check(
        view(&[1, 2], &[]).with(n(2), leaving),
        voters(&[], &[2], &[]),
        &[],
    );
    check(
        view(&[1, 2, 3], &[]).with(n(3), departed),
        voters(&[], &[3], &[]),
        &[],
    );
    // Not below the floor while a live writer is on its way.
    let catching_up = view(&[1, 2, 3], &[4]).with(n(4), |f| f.matched = None);
    let waits = "n3 is to leave, but 3 voters are needed and no learner is ready yet";
    check(catching_up.with(n(3), leaving), None, &[waits]);
    // Not if those who stay were no quorum: it is needed still.
    let needed = view(&[1, 2, 3], &[]).silent(&[2], 10).with(n(3), leaving);
    let waits = "the voters would be left without a quorum: 1 of the 2 voters needed are live; \
                 missing: n2";
    check(needed, None, &[waits]);
    // Replacing one of two is fine where removing the other as well is not.
    let two = view(&[1, 2, 3, 4, 5], &[6]).silent(&[4, 5], 5);
    let two = two.with(n(2), leaving).with(n(3), leaving);
    let waits = "the voters would be left without a quorum: 2 of the 3 voters needed are live; \
                 missing: n4, n5";
    check(two, voters(&[6], &[2], &[]), &[waits]);
}

#[test]
fn a_durable_member_that_shuts_down_keeps_its_vote_unless_replaced() {
    let down = |learners: &[u8], seconds| {
        let view = view(&[1, 2, 3, 4, 5], learners)
            .durable()
            .silent(&[4, 5], seconds);
        view.with(n(4), |f| f.departed = true)
            .with(n(5), |f| f.departed = true)
    };
    let keeps = "n5 has shut down with its data and keeps its vote";
    check(down(&[6, 7], 20), None, &[keeps]);
    check(down(&[], 3600), None, &[]);
    check(down(&[6, 7], 30), voters(&[6], &[4], &[4]), &[]);
    let leaves = down(&[], 5).with(n(5), leaving);
    check(leaves, voters(&[], &[5], &[]), &[]);
}

#[test]
fn learners_that_are_gone_are_dropped() {
    let drop = |peers: &[u8]| Some(Step::DropLearners(set(peers)));
    let quiet = view(&[1, 2, 3, 4, 5], &[6, 7]).silent(&[6], 29);
    check(quiet, None, &["n6 has not been heard from for 29 s"]);
    let silent = view(&[1, 2, 3, 4, 5], &[6, 7]).silent(&[6, 7], 30);
    check(silent, drop(&[6, 7]), &[]);
    let left = view(&[1, 2, 3], &[6, 7])
        .with(n(6), superseded)
        .with(n(7), leaving);
    check(left, drop(&[6, 7]), &[]);
    let down = view(&[1, 2, 3], &[6]).durable();
    check(down.with(n(6), departed), None, &[]);
    let down = view(&[1, 2, 3], &[6]);
    check(down.with(n(6), departed), drop(&[6]), &[]);
}

#[test]
fn who_lacks_a_command_that_was_used_has_no_seat_and_no_vote() {
    let outdated = |f: &mut Facts| f.program = Program::Outdated;
    let drop = |peers: &[u8]| Some(Step::DropLearners(set(peers)));
    let says = "n3 loses its seat: it does not know a command that was used; update it";
    let old = view(&[1, 2], &[3]).with(n(3), outdated);
    check(old.clone(), drop(&[3]), &[says]);
    // Nor does it come back, or count among those who could vote.
    let after = old.apply(&plan(&old).unwrap());
    check(after.clone(), None, &[]);
    assert_eq!(after.floor(), 2);
    // Its place is another's, also that of one that is gone.
    check(old.outside(&[4]), drop(&[3]), &[]);
    let replaced = view(&[1, 2, 5], &[3, 4]).with(n(3), outdated);
    let replaced = replaced.with(n(5), superseded);
    check(replaced, voters(&[4], &[5], &[]), &[says]);
    // Who has not said anything keeps its seat until it does.
    let unheard = view(&[1, 2], &[3]).with(n(3), |f| f.program = Program::Unheard);
    check(
        unheard,
        None,
        &["n3 has not said yet which commands it knows"],
    );
    // A voter cannot be helped: it keeps its vote while it lives.
    let voter = view(&[1, 2, 3], &[]).with(n(3), outdated);
    check(voter.clone(), None, &[]);
    assert_eq!(voter.floor(), 3);
}

#[test]
fn fewer_voters_are_kept_when_the_options_say_so() {
    let lowered = |peers: &[u8], founders| {
        let mut view = view(peers, &[]).founders(founders);
        view.options.voters = 3;
        view
    };
    check(lowered(&[1, 2, 3, 4, 5], 1), voters(&[], &[4, 5], &[]), &[]);
    check(lowered(&[5, 1, 2, 3, 4], 1), voters(&[], &[3, 4], &[]), &[]);
    let silent = lowered(&[1, 2, 3, 4, 5], 1).silent(&[2], 5);
    check(silent, voters(&[], &[2, 5], &[]), &[]);
    check(lowered(&[1, 2, 3, 4, 5], 5), None, &[]);
    check(lowered(&[1, 2, 3, 4], 4), None, &[]);
}

#[test]
fn a_leader_that_goes_hands_over_first() {
    let to = |peer| Some(Step::HandOver(n(peer)));
    check(view(&[1, 2, 3], &[4]).with(n(1), leaving), to(2), &[]);
    check(
        view(&[1, 2, 3], &[]).with(n(1), |f| f.departed = true),
        to(2),
        &[],
    );
    check(
        view(&[1, 2, 3], &[]).silent(&[2], 5).with(n(1), leaving),
        to(3),
        &[],
    );
    let behind = view(&[1, 2, 3], &[]).with(n(2), |f| f.matched = None);
    check(behind.with(n(1), leaving), to(3), &[]);
    let alone = view(&[1], &[2]).with(n(1), leaving);
    let waits = "the leader is to go, but no other voter is live and caught up";
    check(alone, voters(&[2], &[], &[]), &[waits]);
    check(view(&[1], &[]).with(n(1), leaving), None, &[waits]);
    let avoids = view(&[1, 2, 3], &[]).with(n(2), |f| f.preference = Preference::Avoid);
    check(avoids.with(n(1), leaving), to(3), &[]);
    let tried = |ago: u64| {
        let mut tried = view(&[1, 2, 3], &[]).with(n(1), leaving);
        tried.last_hand_over = Some(tried.now - ago);
        tried
    };
    check(tried(199), None, &[]);
    check(tried(200), to(2), &[]);
}

#[test]
fn leadership_goes_to_who_prefers_it_and_from_who_avoids_it() {
    let to = |peer| Some(Step::HandOver(n(peer)));
    let with =
        |peer, preference| view(&[1, 2, 3], &[]).with(n(peer), |f| f.preference = preference);
    check(with(3, Preference::Prefer), to(3), &[]);
    check(with(1, Preference::Avoid), to(2), &[]);
    check(with(1, Preference::Prefer), None, &[]);
    check(with(3, Preference::Avoid), None, &[]);
    let mut paused = with(3, Preference::Prefer);
    paused.last_hand_over = Some(paused.now - 4_500);
    let waits = "n3 should lead; handing over is tried again in 6 s";
    check(paused, None, &[waits]);
    check(with(3, Preference::Prefer).silent(&[3], 3), None, &[]);
}

#[test]
fn leadership_goes_from_a_wrong_clock_to_a_right_one() {
    let to = |peer| Some(Step::HandOver(n(peer)));
    let wrong = |peers: &[u8]| {
        let all = peers.iter();
        all.fold(view(&[1, 2, 3], &[]), |view, peer| {
            view.with(n(*peer), |f| f.sound = false)
        })
    };
    check(wrong(&[1]), to(2), &[]);
    check(wrong(&[1, 2]), to(3), &[]);
    check(wrong(&[2, 3]), None, &[]);
    // A right clock counts before what was declared.
    let prefers = |view: View, peer| view.with(n(peer), |f| f.preference = Preference::Prefer);
    check(prefers(wrong(&[1, 2]), 2), to(3), &[]);
    check(prefers(wrong(&[1]), 1), to(2), &[]);
    check(prefers(wrong(&[2]), 2), None, &[]);
    // Nobody else can lead: it goes on.
    let waits = "the leader's clock is wrong, but no voter with a right one is live and caught up";
    check(wrong(&[1, 2, 3]), None, &[waits]);
    check(prefers(wrong(&[1, 2, 3]), 2), None, &[waits]);
    check(wrong(&[1, 2]).silent(&[3], 3), None, &[waits]);
    // Who goes hands over to a wrong clock rather than to nobody.
    check(wrong(&[2]).with(n(1), leaving), to(3), &[]);
    check(wrong(&[2, 3]).with(n(1), leaving), to(2), &[]);
    let mut paused = wrong(&[1]);
    paused.last_hand_over = Some(paused.now - 4_500);
    let waits = "n2 should lead; handing over is tried again in 6 s";
    check(paused, None, &[waits]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options.check().map_err(|e| e.to_string())
    };
    assert_eq!(with(|_| ()), Ok(()));
    assert_eq!(with(|o| o.voters = 9), Ok(()));
    let refused = "`voters = 4` is not an odd number up to 9";
    assert_eq!(with(|o| o.voters = 4), Err(refused.into()));
    assert!(with(|o| o.voters = 11).is_err());
    assert!(with(|o| o.founders = 0).is_err());
    assert!(with(|o| o.founders = 10).is_err());
    assert!(with(|o| o.evict_after = secs(1)).is_err());
}
