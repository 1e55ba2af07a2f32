//! Replicas that live through anything have the state of a plain model.

use proptest::prelude::*;

use super::*;

/// What happens.
#[derive(Clone, Debug)]
enum Step {
    /// An entry of these batches, each of which may come again.
    Entry(Vec<(Vec<Command>, bool)>),
    /// The replica makes a snapshot.
    Snapshot,
    /// It starts anew, from its snapshot.
    Restart,
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        4 => (0..3u8, 0..9u64).prop_map(|(key, amount)| Command::Add(key, amount)),
        1 => Just(Command::Panic("no".into())),
        1 => Just(Command::Draw),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let batch = (prop::collection::vec(command(), 0..4), any::<bool>());
    prop_oneof![
        6 => prop::collection::vec(batch, 0..4).prop_map(Step::Entry),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restart),
    ]
}

/// What the sums are when batches that panic do nothing.
#[derive(Debug, Default)]
struct Model {
    sums: BTreeMap<u8, u64>,
    commands: u64,
}

impl Model {
    fn apply(&mut self, batch: &[Command]) {
        if batch.iter().any(|c| matches!(c, Command::Panic(_))) {
            return;
        }
        for command in batch {
            self.commands += 1;
            if let Command::Add(key, amount) = command {
                *self.sums.entry(*key).or_default() += amount;
            }
        }
    }
}

async fn live(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (journal, mut model) = (Journal::default(), Model::default());
    let mut replica = fresh();
    let tasks = crate::rt::Tasks::new(tracing::Span::none());
    let storage = crate::groups::storage::Storage::volatile(&tasks);
    let log = storage.open_group(group()).await.unwrap();
    replica
        .apply_any(&journal.push(vec![open()]), &journal)
        .await;
    let mut sequence = 0;
    for step in steps {
        match step {
            Step::Entry(batches) => {
                let mut items = Vec::new();
                for (commands, again) in batches {
                    let item = batch(sequence, &commands);
                    model.apply(&commands);
                    items.extend(again.then(|| item.clone()));
                    items.push(item);
                    sequence += 1;
                }
                let record = journal.push(items);
                replica.apply_any(&record, &journal).await;
            }
            Step::Snapshot => {
                let snapshot = replica.store.write(replica.freeze()).await.unwrap();
                let current = replica.store.publish(&log, snapshot).await.unwrap();
                replica.applier.forget_until(current.header().last);
            }
            Step::Restart => {
                let mut restarted = Replica::<0>::on(replica.store.clone());
                if let Some(snapshot) = replica.store.current() {
                    let restored = replay::restore(&mut restarted.applier, &snapshot).await;
                    restored.unwrap();
                }
                restarted.catch_up(&journal).await;
                prop_assert_eq!(restarted.contents(), replica.contents());
                replica = restarted;
            }
        }
        let tally = replica.tally();
        prop_assert_eq!(&tally.sums, &model.sums);
        prop_assert_eq!(tally.commands, model.commands);
    }
    let mut replayed = fresh();
    replayed.catch_up(&journal).await;
    prop_assert_eq!(replayed.contents(), replica.contents());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn replicas_are_the_model(steps in prop::collection::vec(step(), 0..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(live(steps))?;
    }
}
