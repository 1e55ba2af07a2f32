//! Exports of a state, whatever becomes of disks and readers.

use std::{io, time::Duration};

use mosaik::{
    Group, Network, PeerId,
    groups::{Ctx, Durability, ExportError, Exporting, StateMachine},
    sim::{Host, World},
};
use mosaik_tests::{machines::Counter, simulated, within};
use serde::{Deserialize, Serialize};

/// A durable group of one member that has counted to 7.
async fn counted(world: &World, host: &Host) -> (Network, Group<Counter>) {
    let builder = host.builder("simulated", &world.hosts()).data_dir("data");
    let network = host.run(builder.build()).await.unwrap().unwrap();
    let options = network.groups().builder("counter").founders(1);
    let options = options.durable(Durability::Required);
    let group = host.run(async move { options.join() }).await.unwrap();
    count(host, &group, 7).await;
    (network, group)
}

async fn count(host: &Host, group: &Group<Counter>, by: u64) {
    let group = group.clone();
    let counted = host.run(async move { group.execute(by).await });
    within(counted).await.unwrap().unwrap();
}

/// Numbers, so many that no stream has room for all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Many(Vec<u64>);

impl StateMachine for Many {
    type Command = u64;
    type Output = ();
    type Query = ();
    type Answer = usize;
    type Snapshot = Self;

    fn apply(&mut self, _: &Ctx, count: u64) {
        self.0 = (0..count).map(|n| u64::MAX - n).collect();
    }

    fn query(&self, (): ()) -> usize {
        self.0.len()
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// The value that an export holds.
async fn value(mut exporting: Exporting) -> u64 {
    let mut state = Vec::new();
    while let Some(chunk) = within(exporting.next()).await.unwrap() {
        state.extend_from_slice(&chunk);
    }
    postcard::from_bytes::<Counter>(&state).unwrap().value()
}

async fn export(host: &Host, network: &Network, at: PeerId) -> Exporting {
    let groups = network.groups().clone();
    let exporting = host.run(async move { groups.export("counter", Some(at), None).await });
    within(exporting).await.unwrap().unwrap()
}

#[test]
fn a_state_is_exported_from_a_disk_that_is_full_or_broken() {
    let world = World::new(1);
    world.run(async {
        let host = world.host("a");
        let (network, group) = counted(&world, &host).await;
        let me = network.local().id();
        host.disk().set_capacity(Some(0));
        assert_eq!(value(export(&host, &network, me).await).await, 7);
        host.disk().fail_writes(Some(io::ErrorKind::Other));
        assert_eq!(value(export(&host, &network, me).await).await, 7);
        host.disk().repair();
        world.sleep(Duration::from_secs(10)).await;
        count(&host, &group, 1).await;
        let explained = group.explain().to_string();
        assert!(!explained.contains("rebuilt"), "{explained}");
        assert_eq!(value(export(&host, &network, me).await).await, 8);
    });
}

/// Reads what is left of an export: how many bytes, or why there is no more.
async fn rest(exporting: &mut Exporting) -> Result<u64, ExportError> {
    let mut bytes = 0;
    while let Some(chunk) = within(exporting.next()).await? {
        bytes += chunk.len() as u64;
    }
    Ok(bytes)
}

#[test]
fn a_reader_that_stops_is_cut_and_gives_its_place_back() {
    let world = World::new(2);
    world.run(async {
        let (host, outside) = (world.host("member"), world.host("operator"));
        let network = simulated(&world, &host).await;
        let operator = simulated(&world, &outside).await;
        let options = network.groups().builder::<Many>("many").founders(1);
        let group = host.run(async move { options.join() }).await.unwrap();
        let filling = group.clone();
        let filled = host.run(async move { filling.execute(2_000_000).await });
        within(filled).await.unwrap().unwrap();
        let at = network.local().id();
        let export = async || {
            let groups = operator.groups().clone();
            let exporting = outside.run(async move { groups.export("many", Some(at), None).await });
            within(exporting).await.unwrap()
        };
        while export().await.is_err() {
            world.sleep(Duration::from_millis(100)).await;
        }
        world.sleep(Duration::from_secs(40)).await;
        let (mut first, mut second) = (export().await.unwrap(), export().await.unwrap());
        assert!(first.header().length > 16 << 20);
        let third = export().await.unwrap_err();
        assert_eq!(third, ExportError::Busy);
        assert!(
            third.to_string().contains("try again in a moment"),
            "{third}"
        );
        // One reads on, and is not cut; the other does not.
        let length = second.header().length;
        let mut read = 0;
        for _ in 0..8 {
            world.sleep(Duration::from_secs(10)).await;
            let chunk = within(second.next()).await.unwrap().unwrap();
            read += chunk.len() as u64;
        }
        let mut third = export().await.unwrap();
        assert!(matches!(
            rest(&mut first).await,
            Err(ExportError::Broken(_))
        ));
        assert_eq!(rest(&mut third).await, Ok(length));
        assert_eq!(rest(&mut second).await.map(|rest| rest + read), Ok(length));
        // What it is of ends with its member.
        let mut fourth = export().await.unwrap();
        host.run(async move { group.leave().await }).await.unwrap();
        assert!(matches!(
            rest(&mut fourth).await,
            Err(ExportError::Broken(_))
        ));
    });
}
