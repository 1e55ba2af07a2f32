//! Programs of different versions on one log: what they do not know stops them, and what was used is remembered.

use super::*;
use crate::groups::machine::{
    Application, Here, Interface, Program, Reply, Unencodable, Unknown, Used,
    application::AskError, number,
};

/// A sum. Version 1 can add, version 2 can take away too and panic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::groups) struct Sum<const VERSION: u8>(u64);

pub(in crate::groups) enum Step {
    Add(u64),
    Take(u64),
    Fail,
}

impl<const VERSION: u8> Application for Sum<VERSION> {
    type Operation = Step;
    type Image = Self;

    fn interface() -> Interface {
        let mut interface = Interface::of::<u64>(crate::declare::SchemaSource::Stated("1"));
        interface.command::<(u64,), u64>("add");
        if VERSION > 1 {
            interface.command::<(u64,), u64>("take");
            interface.command::<(u64,), u64>("fail");
        }
        interface
    }

    fn decode(bytes: &[u8]) -> Result<(Step, &[u8]), Unknown> {
        let (method, rest) = Unknown::number(bytes)?;
        let step = match method {
            method if method == number("add") => Step::Add,
            method if VERSION > 1 && method == number("take") => Step::Take,
            method if VERSION > 1 && method == number("fail") => |_| Step::Fail,
            method => return Err(Unknown::method(method)),
        };
        let ((amount,), rest) = Unknown::arguments(rest)?;
        Ok((step(amount), rest))
    }

    fn run(&mut self, _: &Ctx, step: Step, reply: &mut Reply) -> Result<(), Unencodable> {
        match step {
            Step::Add(amount) => self.0 += amount,
            Step::Take(amount) => self.0 -= amount,
            Step::Fail => panic!("broken on purpose"),
        }
        reply.put(&self.0)
    }

    fn ask(here: &Here<'_, Self>, _: &[u8], reply: &mut Reply) -> Result<(), AskError> {
        let answer = here.look(|state| state.0)?;
        Ok(reply.put(&answer)?)
    }

    fn image(&self) -> Self {
        self.clone()
    }

    fn from_image(image: Self) -> Self {
        image
    }
}

fn call(name: &str, amount: u64) -> Vec<u8> {
    let number = number(name).to_le_bytes();
    [&number[..], &wire::encode(&(amount,)).unwrap()].concat()
}

pub(in crate::groups) fn calls(sequence: u64, calls: &[(&str, u64)]) -> Item {
    let encoded: Vec<_> = calls.iter().map(|(name, n)| call(name, *n)).collect();
    Item::Commands {
        request: request(session(0, 0), sequence, sequence),
        count: u32::try_from(calls.len()).unwrap(),
        commands: encoded.concat().into(),
    }
}

fn applier<const VERSION: u8>() -> Applier {
    let machine = Box::new(Hosted::<Sum<VERSION>>::new());
    Applier::new(machine, EPOCH, None).unwrap()
}

fn knows(names: &[&str]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names.iter().map(|name| number(name)).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn programs_of_two_versions_have_one_layout_and_each_says_what_it_knows() {
    let (one, print_one) = Program::of::<Sum<1>>().unwrap();
    let (two, print_two) = Program::of::<Sum<2>>().unwrap();
    assert_eq!(print_one, print_two);
    assert!(one.is_named() && two.is_named());
    assert_eq!(one.announced().contradicts(two.announced()), None);
    assert_eq!(one.announced().commands.numbers().len(), 1);
    assert_eq!(two.announced().commands.numbers().len(), 3);
    assert_eq!(two.name(number("take")), "take");
    assert_eq!(one.name(number("take")), format!("{:016x}", number("take")));
    // By hand nothing has a name, and all types are the layout.
    let (tally, print) = Program::of::<Tally>().unwrap();
    assert!(!tally.is_named() && print != print_one);
    assert_eq!(
        **tally.announced(),
        crate::groups::proto::versions::Announced::default()
    );
    let mut same = std::sync::Arc::new((**two.announced()).clone());
    two.share(&mut same);
    assert!(std::sync::Arc::ptr_eq(&same, two.announced()));
}

#[test]
fn a_version_that_does_not_know_a_command_stops_and_says_so() {
    let journal = Journal::default();
    let records = [
        journal.push(vec![open(), calls(0, &[("add", 5)])]),
        journal.push(vec![calls(1, &[("add", 5), ("take", 1)])]),
    ];
    let mut new = applier::<2>();
    let mut old = applier::<1>();
    for applier in [&mut new, &mut old] {
        applier.apply(&records[0]).unwrap();
        assert_eq!(applier.used().missing_in(&knows(&["add"])), None);
    }
    new.apply(&records[1]).unwrap();
    let Err(Interrupted::Halt(halt)) = old.apply(&records[1]) else {
        panic!("it goes on");
    };
    assert!(matches!(halt, Halt::Unknown { .. }), "{halt:?}");
    let text = halt.to_string();
    let number = format!("{:016x}", number("take"));
    for part in ["update this member", &number] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(old.apply(&records[1]).is_err(), "it goes on");
    assert_eq!(old.used().missing_in(&knows(&["add"])), None);
}

#[test]
fn what_was_used_is_remembered_in_snapshots_and_where_it_panicked() {
    let journal = Journal::default();
    let records = [
        journal.push(vec![open(), calls(0, &[("add", 5)])]),
        journal.push(vec![calls(1, &[("take", 1)]), calls(2, &[("add", 1)])]),
        journal.push(vec![calls(3, &[("fail", 0)])]),
    ];
    let used = |applier: &Applier| applier.used().clone();
    let lacks = |used: &Used, names: &[&str]| used.missing_in(&knows(names));
    let mut replica = applier::<2>();
    for record in &records[..2] {
        replica.apply(record).unwrap();
    }
    assert_eq!(lacks(&used(&replica), &["add"]), Some(number("take")));
    assert_eq!(lacks(&used(&replica), &["add", "take"]), None);
    // As a snapshot has it.
    let mut content = Vec::new();
    let frozen = replica.freeze().unwrap();
    (frozen.encode)(&mut content).unwrap();
    let mut other = applier::<2>();
    let state = other.restoring()(&content).unwrap();
    other.restored(state);
    assert_eq!(used(&other), used(&replica));
    // A command that panics is undone, and stands in the log all the same.
    for replica in [&mut replica, &mut other] {
        replica.keep();
        let panicked = replica.apply(&records[2]);
        assert_eq!(panicked, Err(Interrupted::Panicked { index: 2 }));
        assert!(replica.roll_back());
        let replies = replica.apply(&records[2]).unwrap();
        assert!(matches!(replies[..], [ItemReply::Panicked { .. }]));
        let all = lacks(&used(replica), &["add", "take"]);
        assert_eq!(all, Some(number("fail")));
    }
    assert_eq!(used(&other), used(&replica));
}
