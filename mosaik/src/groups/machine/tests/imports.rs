//! A state that is imported is that of all replicas, however each came to it.

use super::*;
use crate::groups::machine::{ImportId, Step, Taken};

use Command::{Add, Panic};

const ID: ImportId = [4; 16];

fn import(step: Step) -> Item {
    Item::Import(Box::new(step))
}

/// What brings an encoded state in, in chunks of a few bytes.
fn steps(state: &[u8]) -> Vec<Item> {
    let begin = Step::Begin {
        id: ID,
        length: state.len() as u64,
        digest: *blake3::hash(state).as_bytes(),
        replace: false,
    };
    let chunk = |(n, bytes): (usize, &[u8])| Step::Chunk {
        id: ID,
        at: n as u64 * 7,
        bytes: Bytes::copy_from_slice(bytes),
    };
    let chunks = state.chunks(7).enumerate().map(chunk);
    let steps = std::iter::once(begin).chain(chunks);
    steps.chain([Step::Finish { id: ID }]).map(import).collect()
}

fn state() -> Tally {
    Tally {
        sums: (0..20).map(|key| (key, 1000 + u64::from(key))).collect(),
        commands: 77,
        blob: Bytes::from_static(b"what was there before"),
    }
}

#[tokio::test]
async fn it_is_there_at_one_entry_and_goes_on_from_there() {
    let journal = Journal::default();
    let mut replica = fresh();
    let steps = steps(&wire::encode(&state()).unwrap());
    let last = steps.len() - 1;
    let mut snapshots = Vec::new();
    for (n, step) in steps.into_iter().enumerate() {
        assert_eq!(replica.tally(), Tally::default(), "before step {n}");
        assert!(!replica.applier.has_commands());
        if n > 0 {
            let frozen = replica.freeze();
            snapshots.push(replica.store.write(frozen).await.unwrap());
        }
        let replies = replica.apply(&journal.push(vec![step])).unwrap();
        let expected = match n {
            _ if n == last => Taken::Imported,
            n => Taken::Upto((n as u64 * 7).min(wire::encode(&state()).unwrap().len() as u64)),
        };
        assert_eq!(replies, [ItemReply::Import(expected)], "step {n}");
    }
    assert_eq!(replica.tally(), state());
    // It counts as made by commands.
    assert!(replica.applier.has_commands());
    let opened = journal.push(vec![open()]).id.index;
    let commands = |sequence, commands: &[Command]| {
        let request = request(session(opened, 0), sequence, sequence);
        commands_of(request, commands)
    };
    journal.push(vec![commands(0, &[Add(0, 1)])]);
    // Undone by applying the log again, the import with it.
    journal.push(vec![
        commands(1, &[Panic("no".into())]),
        commands(2, &[Add(1, 1)]),
    ]);
    replica.catch_up(&journal).await;
    let sums = replica.tally().sums;
    assert_eq!((sums[&0], sums[&1], sums[&2]), (1001, 1002, 1002));
    // From any snapshot that was made on the way, or from none.
    let mut others = vec![fresh()];
    for snapshot in &snapshots {
        let mut other = fresh();
        replay::restore(&mut other.applier, snapshot).await.unwrap();
        others.push(other);
    }
    for mut other in others {
        other.catch_up(&journal).await;
        assert_eq!(other.contents(), replica.contents());
    }
}

#[tokio::test]
async fn what_is_no_state_changes_nothing() {
    let (journal, mut replica) = (Journal::default(), fresh());
    let steps = steps(b"no state of this machine, of which more follows");
    let replies = replica.apply(&journal.push(steps)).unwrap();
    let last = replies.last().unwrap();
    assert_eq!(last, &ItemReply::Import(Taken::Unreadable));
    assert_eq!(replica.tally(), Tally::default());
    assert!(!replica.applier.has_commands());
    let mut other = fresh();
    other.catch_up(&journal).await;
    assert_eq!(other.contents(), replica.contents());
}
