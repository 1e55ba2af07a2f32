//! Exports of a state, whatever becomes of disks and readers.

use std::{io, time::Duration};

use mosaik::{
    Group, Network, PeerId,
    groups::{Durability, Exporting},
    sim::{Host, World},
};
use mosaik_tests::{machines::Counter, within};

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
