//! What entries do, in tables.

use proptest::prelude::*;

use super::*;
use crate::groups::{
    machine::{Check, CheckError, DIGEST_EVERY, MAX_COMMANDS, Machine as _, QueryError},
    proto::{
        founding::charter::{Charter, Terms},
        session::{EXPIRY, WINDOW},
        timing::Timing,
    },
};

use Command::{Add, Caller, Draw, Index, Now};

fn entry(now: u64, uptime: u64, items: Vec<Item>) -> Entry {
    Entry {
        now,
        uptime,
        check: None,
        items,
    }
}

fn charter(epoch: Epoch) -> Box<Charter> {
    Box::new(Charter {
        epoch,
        group: group(),
        founders: Default::default(),
        parent: None,
        generation: 0,
        round: 0,
        timing: Timing::default(),
        terms: Terms::default(),
    })
}

#[test]
fn a_batch_is_applied_once() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let (a, b) = (session(0, 0), session(0, 1));
    let five = applied(&[Output::Number(5)]);
    let nobody = session(7, 0);
    let table = [
        (open(), ItemReply::Opened(a)),
        (open(), ItemReply::Opened(b)),
        (commands_of(request(a, 0, 0), &[Add(1, 5)]), five.clone()),
        // A copy gets the same answer, and so does one that says less than it did.
        (commands_of(request(a, 0, 0), &[Add(1, 5)]), five),
        (
            commands_of(request(b, 0, 0), &[Add(1, 1), Add(2, 7)]),
            applied(&[Output::Number(6), Output::Number(7)]),
        ),
        (
            commands_of(request(a, 2, 1), &[Add(1, 10)]),
            applied(&[Output::Number(16)]),
        ),
        // It has the answer to the first.
        (
            commands_of(request(a, 0, 0), &[Add(1, 5)]),
            ItemReply::Answered,
        ),
        (
            commands_of(request(nobody, 0, 0), &[Add(1, 5)]),
            ItemReply::Expired,
        ),
        (
            commands_of(request(a, WINDOW + 1, 0), &[Add(1, 5)]),
            ItemReply::Ahead,
        ),
        (commands_of(request(a, 3, 3), &[]), applied(&[])),
        (Item::Close { session: b }, ItemReply::Closed),
        (
            commands_of(request(b, 0, 0), &[Add(1, 5)]),
            ItemReply::Expired,
        ),
    ];
    let (items, expected): (Vec<_>, Vec<_>) = table.into_iter().unzip();
    assert_eq!(replica.apply(&journal.push(items)).unwrap(), expected);
    let tally = replica.tally();
    assert_eq!(tally.sums, BTreeMap::from([(1, 16), (2, 7)]));
    assert_eq!(tally.commands, 4);
}

#[test]
fn what_is_withdrawn_is_never_applied_unless_it_was() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let mut apply = |item| replica.apply(&journal.push(vec![item])).unwrap().remove(0);
    apply(open());
    let a = session(0, 0);
    let withdraw = |sequence| Item::Withdraw {
        request: request(a, sequence, 0),
    };
    let add = |sequence| commands_of(request(a, sequence, 0), &[Add(1, 5)]);
    let added = applied(&[Output::Number(5)]);
    assert_eq!(apply(add(0)), added);
    for item in [withdraw(0), add(0), withdraw(0)] {
        assert_eq!(apply(item), added);
    }
    for item in [withdraw(1), add(1), withdraw(1), add(1)] {
        assert_eq!(apply(item), ItemReply::Withdrawn);
    }
    let answered = Item::Withdraw {
        request: request(a, 0, 0),
    };
    assert_eq!(apply(commands_of(request(a, 2, 2), &[])), applied(&[]));
    assert_eq!(apply(answered), ItemReply::Answered);
    let nobody = Item::Withdraw {
        request: request(session(9, 9), 0, 0),
    };
    assert_eq!(apply(nobody), ItemReply::Expired);
    assert_eq!(replica.tally().sums, BTreeMap::from([(1, 5)]));
}

#[test]
fn sessions_expire_by_uptime() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let mut apply = |uptime, item| {
        let record = journal.push_entry(&entry(0, uptime, vec![item]));
        replica.apply(&record).unwrap().remove(0)
    };
    apply(0, open());
    assert_eq!(apply(EXPIRY - 1, batch(0, &[])), applied(&[]));
    assert_eq!(apply(EXPIRY - 1, batch(1, &[])), applied(&[]));
    assert_eq!(apply(EXPIRY, batch(2, &[Add(1, 1)])), ItemReply::Expired);
}

#[test]
fn a_superseded_state_does_not_change() {
    let loser = |commands: &[Command]| {
        let (journal, mut replica) = (Journal::default(), fresh());
        let ours = Item::Verdict {
            winner: charter(EPOCH),
        };
        let other = |n| Item::Verdict {
            winner: charter(Epoch::from_bytes([n; 16])),
        };
        let first = vec![open(), batch(0, commands), ours];
        replica.apply(&journal.push(first)).unwrap();
        assert!(replica.applier.superseded().is_none());
        let before = replica.tally();
        let after = vec![
            other(1),
            other(2),
            batch(1, &[Add(1, 1)]),
            open(),
            // It was applied before.
            commands_of(request(session(0, 0), 0, 0), commands),
        ];
        let expected = [
            ItemReply::Verdict,
            ItemReply::Verdict,
            ItemReply::Superseded,
            ItemReply::Superseded,
            ItemReply::Answered,
        ];
        assert_eq!(replica.apply(&journal.push(after)).unwrap(), expected);
        let again = vec![commands_of(request(session(0, 0), 1, 0), &[Add(1, 1)])];
        let again = replica.apply(&journal.push(again)).unwrap();
        assert_eq!(again, [ItemReply::Superseded]);
        assert_eq!(replica.tally(), before);
        let superseded = replica.applier.superseded().unwrap();
        assert_eq!(superseded.winner, *charter(Epoch::from_bytes([1; 16])));
        superseded.commands
    };
    assert!(loser(&[Add(1, 1)]));
    assert!(!loser(&[]), "it can dissolve");
}

#[test]
fn time_does_not_go_back() {
    let (journal, mut replica) = (Journal::default(), fresh());
    replica.apply(&journal.push(vec![open()])).unwrap();
    let last = 253_402_300_799_999;
    let table = [
        (0, 0),
        (1000, 1000),
        (999, 1000),
        (2000, 2000),
        (u64::MAX, last),
        (3000, last),
    ];
    for (sequence, (stamp, shown)) in (0..).zip(table) {
        let record = journal.push_entry(&entry(stamp, 0, vec![batch(sequence, &[Now])]));
        let replies = replica.apply(&record).unwrap();
        assert_eq!(output(&replies[0]), Output::Number(shown));
    }
}

#[test]
fn a_command_sees_the_same_on_every_replica() {
    let journal = Journal::default();
    let other = PeerId::from_bytes([8; 32]);
    let items = vec![
        open(),
        Item::Open { peer: other },
        batch(0, &[Draw]),
        batch(1, &[Draw]),
        batch(2, &[Index]),
        batch(3, &[Caller]),
        commands_of(request(session(0, 1), 0, 0), &[Caller]),
    ];
    let record = journal.push(items);
    let replies = fresh().apply(&record).unwrap();
    assert_eq!(replies, fresh().apply(&record).unwrap());
    let Output::Numbers([a, b]) = output(&replies[2]) else {
        panic!("{replies:?}");
    };
    let Output::Numbers([c, d]) = output(&replies[3]) else {
        panic!("{replies:?}");
    };
    let different: std::collections::BTreeSet<_> = [a, b, c, d].into();
    assert_eq!(different.len(), 4, "{different:?}");
    assert_eq!(output(&replies[4]), Output::Numbers([0, 1]));
    assert_eq!(output(&replies[5]), Output::Caller(PEER));
    assert_eq!(output(&replies[6]), Output::Caller(other));
}

#[test]
fn what_is_not_known_stops_it() {
    let unknown = |count, commands: &[u8]| {
        let items = vec![
            open(),
            Item::Commands {
                request: request(session(0, 0), 0, 0),
                count,
                commands: Bytes::copy_from_slice(commands),
            },
        ];
        let payload = entry(0, 0, items).encode().unwrap();
        (1, payload)
    };
    let add = wire::encode(&Add(1, 1)).unwrap();
    let mut trailing = add.clone();
    trailing.push(0);
    let is_unknown = |halt: &Halt| matches!(halt, Halt::Unknown { index: 0, .. });
    let is_malformed = |halt: &Halt| matches!(halt, Halt::Malformed { index: 0, .. });
    let is_format = |halt: &Halt| matches!(halt, Halt::Format { index: 0, found: 2 });
    let good = unknown(1, &add);
    type Case<'a> = (&'a str, (u8, Bytes), &'a dyn Fn(&Halt) -> bool);
    let table: [Case<'_>; 7] = [
        ("an unknown variant", unknown(1, &[99]), &is_unknown),
        ("one too few", unknown(2, &add), &is_unknown),
        ("one too many", unknown(1, &trailing), &is_unknown),
        (
            "more than may be",
            unknown(MAX_COMMANDS + 1, &[]),
            &is_unknown,
        ),
        ("another format", (2, good.1.clone()), &is_format),
        ("no entry", (1, good.1.slice(1..)), &is_malformed),
        ("nothing", (1, Bytes::new()), &is_malformed),
    ];
    for (name, (format, payload), expected) in table {
        let (journal, mut replica) = (Journal::default(), fresh());
        let record = journal.push_record(Kind::Commands { format }, payload);
        let halt = replica.apply(&record).unwrap_err();
        assert!(expected(&halt), "{name}: {halt}");
        assert!(replica.apply(&record).is_err(), "{name}: it goes on");
        assert_eq!(replica.tally().commands, 0, "{name}");
    }
    let record = Journal::default().push_record(Kind::Commands { format: 1 }, good.1);
    fresh().apply(&record).unwrap();
}

#[test]
fn entries_are_applied_in_order() {
    let journal = Journal::default();
    for _ in 0..4 {
        journal.push_record(Kind::Blank, Bytes::new());
    }
    let records = journal.all();
    for (first, second) in [(0, 0), (1, 0), (0, 2), (1, 3)] {
        let mut replica = fresh();
        replica.apply(&records[first]).unwrap();
        let halt = replica.apply(&records[second]).unwrap_err();
        assert!(matches!(halt, Halt::Order { .. }), "{halt}");
    }
}

#[test]
fn replicas_that_differ_find_out() {
    let journal = Journal::default();
    let (mut leader, mut same, mut other) = (fresh(), fresh(), Replica::<1>::new());
    let check = |journal: &Journal, check| {
        journal.push_entry(&Entry {
            check,
            ..entry(0, 0, Vec::new())
        })
    };
    let mut apply_all = |record: &Record| {
        leader.apply(record).unwrap();
        same.apply(record).unwrap();
        other.apply(record)
    };
    apply_all(&journal.push(vec![open()])).unwrap();
    // One answer is another, long before anybody compares.
    apply_all(&journal.push(vec![batch(0, &[Add(1, 1)])])).unwrap();
    for _ in 2..=DIGEST_EVERY {
        apply_all(&journal.push_record(Kind::Blank, Bytes::new())).unwrap();
    }
    let stamped = leader.applier.check().unwrap();
    assert_eq!(stamped.at, DIGEST_EVERY);
    let record = check(&journal, Some(stamped));
    leader.apply(&record).unwrap();
    same.apply(&record).unwrap();
    let halt = other.apply(&record).unwrap_err();
    assert_eq!(halt, Halt::Diverged { at: DIGEST_EVERY });
    // What nobody remembers any more says nothing.
    let unknown = Check {
        at: 1,
        digest: [0; 32],
    };
    same.apply(&check(&journal, Some(unknown))).unwrap();
}

#[test]
fn batches_and_queries_are_checked_on_their_own() {
    let mut hosted = Hosted::<Tally>::new();
    let add = wire::encode(&Add(1, 5)).unwrap();
    assert_eq!(hosted.check(1, &add, &mut |_| ()), Ok(()));
    assert!(matches!(
        hosted.check(2, &add, &mut |_| ()),
        Err(CheckError::Unknown(_))
    ));
    assert!(matches!(
        hosted.check(u32::MAX, &add, &mut |_| ()),
        Err(CheckError::TooMany { .. })
    ));
    let record = Journal::default().push(vec![open(), batch(0, &[Add(1, 5)])]);
    let mut applier = Applier::new(Box::new(hosted.clone()), EPOCH, None).unwrap();
    applier.apply(&record).unwrap();
    let ask = |hosted: &Hosted<Tally>, query| hosted.query(&wire::encode(&query).unwrap());
    let five = wire::encode(&5u64).unwrap();
    assert_eq!(ask(&hosted, Query::Sum(1)), Ok(five.clone()));
    let message = "no answer".into();
    assert_eq!(
        ask(&hosted, Query::Panic),
        Err(QueryError::Panicked { message })
    );
    assert!(matches!(hosted.query(&[9]), Err(QueryError::Unknown(_))));
    // Queries change nothing, and a state that is torn answers none.
    assert_eq!(ask(&hosted, Query::Sum(1)), Ok(five));
    hosted.reset().unwrap();
    assert_eq!(ask(&hosted, Query::Sum(1)), Err(QueryError::Restoring));
    assert_eq!(hosted.local().read(Clone::clone), None);
    hosted.mend();
    assert_eq!(ask(&hosted, Query::Sum(1)), Ok(vec![0]));
}

proptest! {
    /// Whatever stands in a log, it is applied, or stops the replica with a name.
    #[test]
    fn no_bytes_panic_it(format in 0u8..3, bytes: Vec<u8>) {
        let record = Journal::default().push_record(Kind::Commands { format }, bytes.into());
        drop(fresh().apply(&record));
    }

    /// The same for commands of an open session.
    #[test]
    fn no_commands_panic_it(count in 0u32..4, commands: Vec<u8>) {
        let (journal, mut replica) = (Journal::default(), fresh());
        replica.apply(&journal.push(vec![open()])).unwrap();
        let item = Item::Commands { request: request(session(0, 0), 0, 0), count, commands: commands.into() };
        let record = journal.push(vec![item]);
        let applied = replica.applier.apply(&record);
        let named = matches!(applied, Ok(_) | Err(Interrupted::Panicked { .. } | Interrupted::Halt(Halt::Unknown { .. })));
        prop_assert!(named, "{:?}", applied);
    }

    /// And for what a peer says is a snapshot.
    #[test]
    fn no_content_panics_it(bytes: Vec<u8>) {
        let mut replica = fresh();
        drop(replica.applier.restoring()(&bytes));
    }
}
