//! Which of two established charters lives on.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::{
    super::{
        charter::{Charter, Terms},
        verdict::{Claim, Verdict, verdict},
    },
    GROUP, epoch, member,
};
use crate::groups::proto::timing::Timing;

fn claim(number: usize, parent: Option<usize>, generation: u64, commands: bool, age: u64) -> Claim {
    let charter = Charter {
        epoch: epoch(number),
        group: GROUP,
        founders: BTreeSet::from([member(0, 0)]),
        parent: parent.map(epoch),
        generation,
        round: 1,
        timing: Timing::default(),
        terms: Terms::default(),
    };
    let age = Duration::from_secs(age);
    Claim {
        charter,
        commands,
        age,
    }
}

fn check(winner: &Claim, loser: &Claim) {
    assert_eq!(verdict(winner, loser), Verdict::Ours);
    assert_eq!(verdict(loser, winner), Verdict::Theirs);
    assert_eq!(verdict(winner, winner), Verdict::Same);
}

#[test]
fn precedence() {
    let plain = claim(1, None, 0, false, 10);
    // A descendant before everything else, over more than one generation too.
    let busy = claim(1, None, 0, true, 99);
    check(&claim(2, Some(1), 1, false, 0), &busy);
    check(&claim(3, Some(2), 2, false, 0), &busy);
    // Then commands, before age and id; a child of another charter is no descendant.
    check(&claim(9, None, 0, true, 0), &plain);
    check(&busy, &claim(0, Some(7), 1, false, 99));
    // Then age, then the smaller id.
    check(&claim(9, None, 0, false, 11), &plain);
    check(&claim(0, None, 0, false, 10), &plain);
}

fn any_claim() -> impl Strategy<Value = Claim> {
    let parent = prop::option::of(0..4usize);
    let parts = (0..4usize, parent, 0..4u64, any::<bool>(), 0..3u64);
    parts.prop_map(|(number, parent, generation, commands, age)| {
        claim(number, parent, generation, commands, age)
    })
}

proptest! {
    /// Both sides come to the same verdict.
    #[test]
    fn both_sides_agree(ours in any_claim(), theirs in any_claim()) {
        let swapped = match verdict(&theirs, &ours) {
            Verdict::Same => Verdict::Same,
            Verdict::Ours => Verdict::Theirs,
            Verdict::Theirs => Verdict::Ours,
        };
        prop_assert_eq!(verdict(&ours, &theirs), swapped);
    }
}
