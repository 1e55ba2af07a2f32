//! States that are imported while members, leaders and operators go away.

use std::time::Duration;

use mosaik::{
    Group, Network,
    groups::{Ctx, Durability, Export, ImportError, ImportStep, Importing, NoImport, StateMachine},
    sim::{Host, World},
};
use mosaik_tests::within;
use serde::{Deserialize, Serialize};

/// Some megabytes, made of a number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Large(Vec<u64>);

impl StateMachine for Large {
    type Command = u64;
    type Output = ();
    type Query = ();
    type Answer = u64;
    type Snapshot = Self;

    fn apply(&mut self, _: &Ctx, seed: u64) {
        self.0 = (0..500_000).map(|n| u64::MAX / 3 + seed + n).collect();
    }

    fn query(&self, (): ()) -> u64 {
        self.0.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// What a state that was made of this number answers.
fn answer(seed: u64) -> u64 {
    let mut large = Large::default();
    (0..500_000).for_each(|n| large.0.push(u64::MAX / 3 + seed + n));
    large.query(())
}

struct Member {
    host: Host,
    network: Network,
    group: Group<Large>,
}

impl Member {
    async fn join(world: &World, host: Host, founders: usize) -> Self {
        let builder = host.builder("simulated", &world.hosts()).data_dir("data");
        let network = host.run(builder.build()).await.unwrap().unwrap();
        let options = network.groups().builder("large").founders(founders);
        let options = options.durable(Durability::Required);
        let group = host.run(async move { options.join() }).await.unwrap();
        Self {
            host,
            network,
            group,
        }
    }

    async fn make(&self, seed: u64) {
        let group = self.group.clone();
        let made = self.host.run(async move { group.execute(seed).await });
        within(made).await.unwrap().unwrap();
    }

    async fn answer(&self) -> u64 {
        let group = self.group.clone();
        let asked = self.host.run(async move { group.query(()).await });
        within(asked).await.unwrap().unwrap()
    }

    /// Begins to import by way of another member.
    async fn import(&self, export: &Export, by: &Self) -> Result<Importing, ImportError> {
        let (groups, export) = (self.network.groups().clone(), export.clone());
        let at = by.network.local().id();
        let importing = async move { groups.import(export, Some(at), None, false).await };
        within(self.host.run(importing)).await.unwrap()
    }

    fn leads(&self) -> bool {
        let leader = self.group.leader();
        leader == Some(self.network.local().id())
    }
}

/// A state that is made of 7, of a group that is gone.
async fn exported(world: &World) -> Export {
    let member = Member::join(world, world.host("old"), 1).await;
    member.make(7).await;
    let (groups, at) = (member.network.groups().clone(), member.network.local().id());
    let exporting = async move { groups.export("large", Some(at), None).await };
    let exporting = within(member.host.run(exporting)).await.unwrap().unwrap();
    let export = within(exporting.collect()).await.unwrap();
    member.host.crash().await;
    member.host.disk().wipe();
    export
}

/// Goes on until so many bytes are in the log, or to the end.
async fn go_on(importing: &mut Importing, upto: u64) -> Result<Option<u64>, ImportError> {
    while let Some(step) = within(importing.next()).await? {
        match step {
            ImportStep::Replicated(bytes) if bytes >= upto => return Ok(None),
            ImportStep::Imported(version) => return Ok(Some(version)),
            _ => {}
        }
    }
    panic!("it ended without an end")
}

async fn founded(world: &World) -> Vec<Member> {
    let mut members = Vec::new();
    for name in ["a", "b", "c"] {
        members.push(Member::join(world, world.host(name), 3).await);
    }
    for member in &members {
        within(member.group.when().online()).await;
    }
    members
}

#[test]
fn an_import_goes_on_under_another_leader_and_survives_a_crash_of_all() {
    let world = World::new(5);
    world.run(async {
        let export = exported(&world).await;
        let members = founded(&world).await;
        let leads = members.iter().position(Member::leads).unwrap();
        let (by, from) = ((leads + 1) % 3, (leads + 2) % 3);
        let importing = members[from].import(&export, &members[by]).await;
        let mut importing = importing.unwrap();
        let half = export.header.length / 2;
        assert_eq!(go_on(&mut importing, half).await, Ok(None));
        // Nobody sees any of it.
        assert_eq!(members[by].answer().await, 0);
        members[leads].host.crash().await;
        let version = go_on(&mut importing, u64::MAX).await.unwrap();
        assert!(version.is_some());
        for member in [&members[by], &members[from]] {
            assert_eq!(member.answer().await, answer(7));
        }
        drop(importing);
        for member in members {
            member.host.crash().await;
        }
        let mut members = Vec::new();
        for name in ["a", "b", "c"] {
            let host = world.hosts().into_iter().find(|host| host.name() == name);
            members.push(Member::join(&world, host.unwrap(), 3).await);
        }
        for member in &members {
            assert_eq!(member.answer().await, answer(7));
        }
    });
}

#[test]
fn an_operator_who_goes_away_leaves_nothing_behind() {
    let world = World::new(6);
    world.run(async {
        let export = exported(&world).await;
        let members = founded(&world).await;
        let half = export.header.length / 2;
        let mut first = members[0].import(&export, &members[1]).await.unwrap();
        assert_eq!(go_on(&mut first, half).await, Ok(None));
        // Another one takes its place.
        let mut second = members[1].import(&export, &members[1]).await.unwrap();
        assert_eq!(go_on(&mut second, half).await, Ok(None));
        let ended = go_on(&mut first, u64::MAX).await;
        assert_eq!(ended, Err(NoImport::Replaced.into()));
        drop((first, second));
        world.sleep(Duration::from_secs(40)).await;
        members[2].make(1).await;
        assert_eq!(members[0].answer().await, answer(1));
        let refused = members[0].import(&export, &members[1]).await.unwrap_err();
        assert_eq!(refused, NoImport::HasCommands.into());
    });
}

#[test]
fn a_command_that_comes_first_is_not_lost_to_an_import() {
    let world = World::new(7);
    world.run(async {
        let export = exported(&world).await;
        let members = founded(&world).await;
        let mut importing = members[0].import(&export, &members[1]).await.unwrap();
        let half = export.header.length / 2;
        assert_eq!(go_on(&mut importing, half).await, Ok(None));
        members[2].make(1).await;
        let ended = go_on(&mut importing, u64::MAX).await;
        assert_eq!(ended, Err(NoImport::HasCommands.into()));
        for member in &members {
            assert_eq!(member.answer().await, answer(1));
        }
    });
}

#[test]
fn who_has_no_majority_imports_nothing() {
    let world = World::new(8);
    world.run(async {
        let export = exported(&world).await;
        let members = founded(&world).await;
        let half = export.header.length / 2;
        let mut importing = members[0].import(&export, &members[1]).await.unwrap();
        assert_eq!(go_on(&mut importing, half).await, Ok(None));
        members[0].host.crash().await;
        members[2].host.crash().await;
        drop(importing);
        let mut importing = members[1].import(&export, &members[1]).await;
        let ended = match &mut importing {
            Ok(importing) => go_on(importing, u64::MAX).await,
            Err(error) => Err(error.clone()),
        };
        assert_eq!(ended, Err(NoImport::NoLeader.into()));
        let explained = members[1].group.explain().to_string();
        assert!(explained.contains("not available"), "{explained}");
    });
}
