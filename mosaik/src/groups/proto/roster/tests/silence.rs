//! The silence clock: tables, and a comparison with its definition on random histories.

use proptest::prelude::*;

use super::*;

const GAP: u64 = 500;

fn heard(peer: u8, at: u64) -> Input {
    let member = n(peer);
    Input::Heard { member, at }
}

fn confirmed(at: u64) -> Input {
    Input::Confirmed { at }
}

/// A leader's clock: elected at 1000 with members 1 to 3.
fn clock(inputs: &[Input]) -> Silence {
    let gap = Duration::from_millis(GAP);
    let mut silence = Silence::new(1000, gap, set(&[1, 2, 3]));
    inputs
        .iter()
        .cloned()
        .for_each(|input| silence.handle(input));
    silence
}

#[track_caller]
fn check(inputs: &[Input], expected: [u64; 2]) {
    let silence = clock(inputs);
    let silent = [2, 3].map(|peer| silence.silent_for(&n(peer)).as_millis() as u64);
    assert_eq!(silent, expected, "{silence:?}");
}

#[test]
fn silence_begins_at_the_election_and_ends_when_heard() {
    check(&[], [0, 0]);
    check(&[confirmed(1400), confirmed(1800)], [800, 800]);
    let history = [confirmed(1400), heard(2, 1400), confirmed(1800)];
    check(&history, [400, 800]);
    let ahead = [confirmed(1400), heard(2, 1500), confirmed(1800)];
    check(&ahead, [300, 800]);
}

#[test]
fn a_leader_that_is_cut_off_ages_nobody() {
    check(&[confirmed(1400), confirmed(90_000)], [400, 400]);
    let back = [confirmed(1400), confirmed(90_000), confirmed(90_400)];
    check(&back, [800, 800]);
    assert!(clock(&back).confirmed(90_900));
    assert!(!clock(&back).confirmed(90_901));
}

#[test]
fn an_old_acknowledgement_reported_again_is_no_news() {
    let again = [heard(2, 1000), confirmed(1400), heard(2, 1000)];
    check(&again, [400, 400]);
    // One that was underway counts as of now: silence is never overstated.
    let late = [confirmed(1400), heard(2, 1100)];
    check(&late, [0, 400]);
}

#[test]
fn a_member_counts_from_when_it_came() {
    let members = Input::Members(set(&[1, 2]));
    let joined = Input::Members(set(&[1, 2, 3]));
    check(
        &[confirmed(1400), members, joined, confirmed(1600)],
        [600, 200],
    );
    check(&[Input::Members(set(&[1])), confirmed(1400)], [0, 0]);
}

proptest! {
    /// Against the definition: the time between close confirmations, after the member was last heard.
    #[test]
    fn silence_is_never_overstated(
        steps in prop::collection::vec((0..800u64, any::<bool>(), 0..300u64), 0..60),
    ) {
        let mut silence = clock(&[]);
        let (mut now, mut confirmations, mut last) = (1000, vec![1000], 1000);
        let mut slack = 0;
        for (pause, hears, late) in steps {
            now += pause;
            if hears {
                let at = now.saturating_sub(late).max(1000);
                silence.handle(heard(2, at));
                if at > last {
                    last = at;
                    slack = late + GAP;
                }
            } else {
                silence.handle(confirmed(now));
                confirmations.push(now);
            }
            let counted = confirmations.windows(2).filter(|pair| pair[1] - pair[0] <= GAP);
            let after = counted.map(|pair| pair[1].saturating_sub(pair[0].max(last)));
            let truth = after.sum::<u64>();
            let measured = silence.silent_for(&n(2)).as_millis() as u64;
            prop_assert!(measured <= truth, "{measured} > {truth}");
            prop_assert!(measured + slack >= truth, "{measured} + {slack} < {truth}");
        }
    }
}
