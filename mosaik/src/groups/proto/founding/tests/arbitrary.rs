//! Whatever is said to it, the protocol neither panics nor grows beyond its limits.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::{
    super::{
        Founding,
        charter::{Charter, MAX_FOUNDERS, Terms},
        machine::{MAX_ANNOUNCERS, MAX_PEERS},
        message::{Awaited, Input, Message, Output, Record, Timer},
        verdict::Claim,
    },
    GROUP, config, epoch, fired, member,
};
use crate::{
    groups::proto::timing::Timing,
    id::{GroupId, MemberId, PeerId},
};

fn any_member() -> impl Strategy<Value = MemberId> {
    (0..5usize, 0..3u64).prop_map(|(machine, boot)| member(machine, boot))
}

fn any_charter() -> impl Strategy<Value = Charter> {
    let round = prop_oneof![4 => 0..6u64, 1 => any::<u64>()];
    let parent = prop::option::of(0..4usize);
    let founders = prop::collection::btree_set(any_member(), 0..5);
    let rest = (
        0..4usize,
        round,
        parent,
        any::<u64>(),
        any::<bool>(),
        0..8u8,
    );
    (founders, rest).prop_map(
        |(founders, (number, round, parent, generation, durable, group))| Charter {
            epoch: epoch(number),
            group: if group == 0 {
                GroupId::from_bytes([0; 32])
            } else {
                GROUP
            },
            founders,
            parent: parent.map(epoch),
            generation,
            round,
            timing: Timing::default(),
            terms: Terms {
                durable,
                ..Terms::default()
            },
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<u64>().prop_map(|round| Message::Free { round }),
        (0..4u64).prop_map(|round| Message::Free { round }),
        any_charter().prop_map(Message::Accepted),
        any_charter().prop_map(Message::Pledged),
        any_charter().prop_map(Message::Refused),
        (any_charter(), any::<bool>(), any::<u32>()).prop_map(|(charter, commands, age)| {
            let age = Duration::from_secs(age.into());
            Message::Established(Claim {
                charter,
                commands,
                age,
            })
        }),
    ]
}

fn any_timer() -> impl Strategy<Value = Timer> {
    prop_oneof![
        Just(Timer::Settle),
        Just(Timer::Late),
        Just(Timer::Patience),
        Just(Timer::Resend),
        Just(Timer::Forget),
        Just(Timer::Recover),
        (0..6u64).prop_map(|round| Timer::Acceptances { round }),
    ]
}

fn any_input() -> impl Strategy<Value = Input> {
    let number = || 0..4usize;
    prop_oneof![
        3 => any_member().prop_map(Input::Bonded),
        1 => any_member().prop_map(Input::Unbonded),
        1 => any_member().prop_map(Input::Gone),
        1 => any_member().prop_map(|m| Input::Answered(Awaited::Peer(m.peer))),
        9 => (any_member(), any_message()).prop_map(|(from, message)| Input::Received { from, message }),
        1 => any_member().prop_map(Input::Withdrawn),
        1 => (any_member(), number()).prop_map(|(from, n)| Input::RaftCalled { from, epoch: epoch(n) }),
        1 => number().prop_map(|n| Input::Appended(epoch(n))),
        1 => number().prop_map(|n| Input::Committed(epoch(n))),
        1 => (any_charter(), any::<bool>()).prop_map(|(winner, commands)| Input::VerdictCommitted { winner, commands }),
        2 => Just(Input::Persisted),
        3 => (any_timer(), number()).prop_map(|(timer, n)| fired(timer, epoch(n))),
    ]
}

fn check_bounds(founding: &Founding) -> Result<(), TestCaseError> {
    prop_assert!(founding.peers.len() <= MAX_PEERS);
    prop_assert!(founding.owed.len() <= founding.peers.len());
    if let Some(bound) = &founding.bound {
        prop_assert!(bound.charter.founders.len() <= MAX_FOUNDERS);
        for set in [&bound.accepted, &bound.pledges, &bound.gone] {
            prop_assert!(set.is_subset(&bound.charter.founders));
        }
        prop_assert!(!(bound.pledged && bound.sealed));
    }
    for epoch in (0..4)
        .map(epoch)
        .filter(|epoch| !founding.awaits_entry(*epoch))
    {
        let (mut told, mut out) = (founding.clone(), Vec::new());
        told.handle(Input::Appended(epoch), &mut out);
        prop_assert!(
            told == *founding && out.is_empty(),
            "it was of no use to tell"
        );
    }
    let announcers = founding.heard.as_ref().map_or(0, |h| h.announcers.len());
    prop_assert!(announcers <= MAX_ANNOUNCERS);
    let _ = founding.status().to_string();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Rounds only grow, nothing is said before it is on disk, and sets stay within their limits.
    #[test]
    fn no_input_panics_or_grows_anything(
        inputs in prop::collection::vec(any_input(), 0..60),
        founders in 0..4usize,
        durable in any::<bool>(),
    ) {
        let mut out = Vec::new();
        let mut founding = Founding::new(config(member(1, 0), founders, durable), [], &mut out);
        let (mut unconfirmed, mut disk) = (Vec::new(), Record::default());
        for input in inputs {
            if input == Input::Persisted && !unconfirmed.is_empty() {
                disk = unconfirmed.remove(0);
            }
            let round = founding.record().round;
            out.clear();
            founding.handle(input, &mut out);
            prop_assert!(founding.record().round >= round);
            prop_assert!(out.len() <= 2 * founding.peers.len() + 10);
            for output in &out {
                match output {
                    Output::Persist(record) => unconfirmed.push(Record::clone(record)),
                    Output::Send { message: Message::Accepted(charter), .. } if durable => {
                        let bound = disk.bound.as_ref().map(|bound| &bound.charter);
                        prop_assert_eq!(bound, Some(charter));
                    }
                    Output::Send { message: Message::Pledged(charter), .. } if durable => {
                        prop_assert!(disk.round >= charter.round);
                    }
                    Output::StartRaft { charter, .. } if durable => {
                        prop_assert!(disk.bound.as_ref().is_some_and(|b| b.sealed && b.charter == *charter));
                    }
                    _ => {}
                }
            }
            check_bounds(&founding)?;
        }
    }
}

#[test]
fn peers_and_announcers_are_bounded() {
    let mut out = Vec::new();
    let mut founding = Founding::new(config(member(1, 0), 3, false), [], &mut out);
    let charter = Charter {
        epoch: epoch(1),
        group: GROUP,
        founders: BTreeSet::from([member(9, 0)]),
        parent: None,
        generation: 0,
        round: 1,
        timing: Timing::default(),
        terms: Terms::default(),
    };
    for number in 0..MAX_PEERS as u64 + 5 {
        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        let peer = PeerId::from_bytes(bytes);
        let from = MemberId { peer, boot: 0 };
        let message = Message::Established(Claim {
            charter: charter.clone(),
            commands: true,
            age: Duration::ZERO,
        });
        founding.handle(Input::Bonded(from), &mut out);
        founding.handle(Input::Received { from, message }, &mut out);
        out.clear();
    }
    assert_eq!(founding.peers.len(), MAX_PEERS);
    let heard = founding.heard.as_ref().unwrap();
    assert_eq!(heard.announcers.len(), MAX_ANNOUNCERS);
}
