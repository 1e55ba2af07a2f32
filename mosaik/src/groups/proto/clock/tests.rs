//! Tests of the judgement: tables of cases, and properties of clocks of any kind.

use proptest::prelude::*;

use super::*;

fn exactly(ahead: i64) -> Option<Offset> {
    Some(Offset {
        least: ahead,
        most: ahead,
    })
}

fn between(least: i64, most: i64) -> Option<Offset> {
    Some(Offset { least, most })
}

/// How far the own clock is ahead of the median, its own and these.
fn ahead(others: &[Option<Offset>]) -> i64 {
    let mut voters = vec![Some(Offset::OWN)];
    voters.extend(others);
    Offset::OWN.ahead_of_median(&voters)
}

#[test]
fn a_majority_of_all_voters_has_to_be_against_a_clock() {
    let hour = exactly(-3_600_000);
    let later = exactly(60_000);
    let same = exactly(100);
    let cases: &[(&[Option<Offset>], i64)] = &[
        // Alone, or of two, nobody can tell.
        (&[], 0),
        (&[hour], 0),
        (&[None], 0),
        // Of three.
        (&[hour, hour], 3_600_000),
        (&[hour, exactly(-3_599_000)], 3_599_000),
        (&[hour, None], 0),
        (&[hour, same], 0),
        (&[hour, later], 0),
        (&[later, exactly(70_000)], -60_000),
        // Of four: two are no majority.
        (&[hour, hour, same], 0),
        (&[hour, hour, None], 0),
        (&[hour, hour, hour], 3_600_000),
        (&[hour, hour, exactly(-20_000)], 20_000),
        // Of five.
        (&[hour, hour, same, None], 0),
        (&[hour, hour, hour, None], 3_600_000),
        (&[hour, hour, later, later], 0),
    ];
    for (others, expected) in cases {
        assert_eq!(ahead(others), *expected, "{others:?}");
    }
}

#[test]
fn doubt_speaks_for_the_member() {
    let case = |least, most| ahead(&[between(least, most), between(least, most)]);
    assert_eq!(case(-20_000, -15_000), 15_000);
    assert_eq!(case(-20_000, 5), 0);
    assert_eq!(case(15_000, 20_000), -15_000);
    assert_eq!(case(-5, 20_000), 0);
    // The nearest that they may be.
    let two = [between(-30_000, -12_000), between(-40_000, -11_000)];
    assert_eq!(ahead(&two), 11_000);
}

#[test]
fn another_is_judged_by_what_is_known_of_it() {
    let voters = [Some(Offset::OWN), exactly(200), between(15_000, 19_000)];
    let third = voters[2].unwrap();
    assert_eq!(third.ahead_of_median(&voters), 14_800);
    assert!(!is_close(14_800));
    assert!(is_close(5_000) && is_close(-5_000));
    assert!(!is_close(5_001) && !is_close(-5_001));
    assert_eq!(Offset::OWN.ahead_of_median(&voters), -200);
}

#[test]
fn a_clock_that_was_wrong_has_to_come_close() {
    let mut judge = Judge::default();
    let steps = [
        (0, true),
        (10_000, true),
        (-10_000, true),
        (10_001, false),
        (9_000, false),
        (-9_000, false),
        (5_001, false),
        (5_000, true),
        (9_000, true),
        (-10_001, false),
        (0, true),
    ];
    for (ahead, sound) in steps {
        assert_eq!(judge.judge(ahead).is_sound(), sound, "{ahead}");
    }
    assert_eq!(judge.judge(i64::MIN), Verdict::Wrong { ahead: i64::MIN });
    assert_eq!(judge.judge(i64::MAX), Verdict::Wrong { ahead: i64::MAX });
}

#[test]
fn a_reading_is_as_wide_as_the_round_trip_and_widens() {
    let reading = Reading::new(50_000, Duration::from_millis(40));
    let at = |mine, age| reading.ahead_of(mine, Duration::from_secs(age));
    let expected = |least, most| Offset { least, most };
    assert_eq!(at(50_000, 0), expected(-2, 42));
    assert_eq!(at(40_000, 0), expected(9_998, 10_042));
    assert_eq!(at(90_000, 0), expected(-40_002, -39_958));
    // A minute on, with a clock that goes right, and with one that was set meanwhile.
    assert_eq!(at(110_000, 60), expected(-62, 102));
    assert_eq!(at(3_710_000, 60), expected(-3_600_062, -3_599_898));
    // What a peer says is believed to any extent.
    let absurd = Reading::new(u64::MAX, Duration::MAX);
    let offset = absurd.ahead_of(0, Duration::MAX);
    assert_eq!(offset.most, i64::MAX);
    let absurd = Reading::new(0, Duration::ZERO);
    assert_eq!(absurd.ahead_of(u64::MAX, Duration::ZERO).most, 2 - i64::MAX);
}

#[test]
fn it_is_said_in_words() {
    let said = |ahead| Verdict::Wrong { ahead }.to_string();
    let ahead = "this member's clock is 3600 s ahead of the voters' median";
    assert_eq!(said(3_599_988), ahead);
    let behind = "this member's clock is 11 s behind the voters' median";
    assert_eq!(said(-11_020), behind);
    let sound = "this member's clock agrees with the voters'";
    assert_eq!(Verdict::Sound.to_string(), sound);
}

/// What one member knows of the clocks of all: of each an interval that holds the truth, or nothing.
fn seen(clocks: &[i64], me: usize, doubts: &[Option<(i64, i64)>]) -> Vec<Option<Offset>> {
    let one = |(other, &clock): (usize, &i64)| {
        if other == me {
            return Some(Offset::OWN);
        }
        let (below, above) = doubts[other % doubts.len()]?;
        let offset = clock - clocks[me];
        between(offset - below, offset + above)
    };
    clocks.iter().enumerate().map(one).collect()
}

fn judged(clocks: &[i64], me: usize, doubts: &[Option<(i64, i64)>]) -> i64 {
    Offset::OWN.ahead_of_median(&seen(clocks, me, doubts))
}

/// Doubts of up to so many milliseconds to either side, and clocks that are not known at all.
fn doubts(most: i64) -> impl Strategy<Value = Vec<Option<(i64, i64)>>> {
    let doubt = (0..=most, 0..=most);
    prop::collection::vec(prop::option::weighted(0.8, doubt), 9)
}

/// Clocks about right, and some of any kind.
fn clocks(right: i64) -> impl Strategy<Value = (Vec<i64>, Vec<i64>)> {
    let about_right = prop::collection::vec(-right..=right, 1..=6);
    let wrong = prop::collection::vec(-100_000_000..=100_000_000_i64, 0..=5);
    (about_right, wrong)
}

proptest! {
    #[test]
    fn a_minority_never_disqualifies_who_is_right(
        (right, mut wrong) in clocks(5_000),
        doubts in doubts(60_000),
    ) {
        wrong.truncate(right.len() - 1);
        let all = [&right[..], &wrong[..]].concat();
        for me in 0..right.len() {
            let ahead = judged(&all, me, &doubts);
            prop_assert!(Judge::default().judge(ahead).is_sound(), "{ahead}");
        }
    }

    #[test]
    fn a_majority_that_is_right_finds_who_is_wrong(
        (right, mut wrong) in clocks(1_000),
        round_trip in 0..=1_000_i64,
    ) {
        wrong.truncate(right.len() - 1);
        wrong.retain(|clock| clock.abs() > 13_000);
        let all = [&right[..], &wrong[..]].concat();
        let doubts = [Some((0, round_trip))];
        for me in 0..all.len() {
            let sound = Judge::default().judge(judged(&all, me, &doubts)).is_sound();
            prop_assert_eq!(sound, me < right.len());
        }
    }

    #[test]
    fn somebody_is_always_right(
        (some, others) in clocks(100_000_000),
        doubts in doubts(60_000),
    ) {
        let all = [some, others].concat();
        // Even if all were wrong before.
        let sound = |me: usize| is_close(judged(&all, me, &doubts));
        prop_assert!((0..all.len()).any(sound));
    }

    #[test]
    fn nobody_is_further_off_than_it_is(
        (some, others) in clocks(100_000),
        doubts in doubts(60_000),
    ) {
        let all = [some, others].concat();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        let middle = [sorted[(all.len() - 1) / 2], sorted[all.len() / 2]];
        for me in 0..all.len() {
            let distance = middle.map(|clock| (all[me] - clock).abs()).into_iter().min();
            prop_assert!(judged(&all, me, &doubts).abs() <= distance.unwrap());
        }
    }
}
