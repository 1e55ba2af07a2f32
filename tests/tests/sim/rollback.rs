//! Durable members whose disks go back to what they held earlier, as when a machine is set up again from a backup.

use std::time::Duration;

use futures::StreamExt as _;
use mosaik::{
    Group,
    groups::{Durability, Event},
    sim::{DiskImage, Host, World},
};
use mosaik_tests::{machines::Counter, within};

/// A member of a durable group of three. What it runs on lives as long as the process on the host.
async fn join(world: &World, host: &Host) -> Group<Counter> {
    let builder = host.builder("rollback", &world.hosts()).data_dir("data");
    let (tell, told) = tokio::sync::oneshot::channel();
    host.spawn(async move {
        let network = builder.build().await.unwrap();
        let options = network.groups().builder("counter").founders(3);
        let group = options.durable(Durability::Required).join();
        assert!(tell.send(group).is_ok());
        std::future::pending::<()>().await;
    });
    told.await.unwrap()
}

/// The groups of three hosts, once all vote.
pub(crate) async fn founded(world: &World, hosts: &[Host]) -> Vec<Group<Counter>> {
    let mut groups = Vec::new();
    for host in hosts {
        groups.push(join(world, host).await);
    }
    for group in &groups {
        within(group.when().voters(3)).await;
        within(group.when().online()).await;
    }
    groups
}

/// Who leads.
pub(crate) fn leader(hosts: &[Host], groups: &[Group<Counter>]) -> usize {
    let led = groups[0].leader().unwrap();
    hosts.iter().position(|host| host.peer() == led).unwrap()
}

async fn count(host: &Host, group: &Group<Counter>, times: u64) {
    let group = group.clone();
    let counted = host.run(async move {
        for _ in 0..times {
            group.execute(1).await.unwrap();
        }
    });
    within(counted).await.unwrap();
}

async fn value(host: &Host, group: &Group<Counter>) -> u64 {
    let group = group.clone();
    let asked = host.run(async move { group.query(()).await });
    within(asked).await.unwrap().unwrap()
}

/// Whether the explanation of a group holds these words.
async fn explained(world: &World, group: &Group<Counter>, words: &str) {
    let explained = async {
        while !group.explain().to_string().contains(words) {
            world.sleep(Duration::from_millis(10)).await;
        }
    };
    within(explained).await;
}

/// Takes the power from a host, and starts it again; on another disk, where an image is given.
async fn again(world: &World, host: &Host, image: Option<&DiskImage>) -> Group<Counter> {
    host.crash().await;
    if let Some(image) = image {
        host.disk().restore(image);
    }
    join(world, host).await
}

#[test]
fn a_member_on_an_older_disk_becomes_another_and_catches_up() {
    for seed in 0..3 {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let mut groups = founded(&world, &hosts).await;
            let leads = leader(&hosts, &groups);
            let back = (leads + 1) % 3;
            count(&hosts[leads], &groups[leads], 10).await;
            let image = hosts[back].disk().image();
            count(&hosts[leads], &groups[leads], 10).await;
            // On its own disk it is the same member.
            groups[back] = again(&world, &hosts[back], None).await;
            within(groups[back].when().online()).await;
            count(&hosts[back], &groups[back], 1).await;
            // On an older one it is another, which learns before it votes.
            groups[back] = again(&world, &hosts[back], Some(&image)).await;
            let mut events = groups[back].events();
            let told =
                async { while !matches!(events.next().await, Some(Event::RolledBack(_))) {} };
            within(told).await;
            let learns = format!("({})", hosts[back].peer().short());
            explained(&world, &groups[leads], &learns).await;
            within(groups[back].when().voters(3)).await;
            within(groups[back].when().online()).await;
            assert_eq!(value(&hosts[back], &groups[back]).await, 21);
            count(&hosts[back], &groups[back], 1).await;
            assert_eq!(value(&hosts[leads], &groups[leads]).await, 22);
        });
    }
}

/// Who leads by then has not heard what the member acknowledged; who led before has.
#[test]
fn a_leader_that_does_not_remember_takes_the_word_of_others() {
    for seed in 0..3 {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let mut groups = founded(&world, &hosts).await;
            let leads = leader(&hosts, &groups);
            let (back, next) = ((leads + 1) % 3, (leads + 2) % 3);
            count(&hosts[leads], &groups[leads], 10).await;
            let image = hosts[back].disk().image();
            count(&hosts[leads], &groups[leads], 10).await;
            hosts[back].crash().await;
            let (group, peer) = (groups[leads].clone(), hosts[next].peer());
            let handed = hosts[leads].run(async move { group.transfer_leadership(peer).await });
            within(handed).await.unwrap().unwrap();
            within(groups[next].when().leader_is(peer)).await;
            groups[back] = again(&world, &hosts[back], Some(&image)).await;
            let learns = format!("({})", hosts[back].peer().short());
            explained(&world, &groups[next], &learns).await;
            for group in &groups {
                within(group.when().voters(3)).await;
                within(group.when().online()).await;
            }
            assert_eq!(value(&hosts[back], &groups[back]).await, 20);
        });
    }
}

/// The other two would elect one of them, and what the leader had acknowledged since would be lost.
#[test]
fn two_of_three_on_older_disks_outvote_nobody() {
    for seed in 0..3 {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let mut groups = founded(&world, &hosts).await;
            let leads = leader(&hosts, &groups);
            let others = [(leads + 1) % 3, (leads + 2) % 3];
            count(&hosts[leads], &groups[leads], 10).await;
            let images = others.map(|n| hosts[n].disk().image());
            count(&hosts[leads], &groups[leads], 10).await;
            for n in others {
                hosts[n].crash().await;
            }
            for (n, image) in others.into_iter().zip(&images) {
                groups[n] = again(&world, &hosts[n], Some(image)).await;
            }
            for n in others {
                explained(&world, &groups[n], "it was restored from an older image").await;
                assert!(!groups[n].is_online());
            }
            let (host, group) = (&hosts[leads], groups[leads].clone());
            let recovered = host.run(async move { group.recover().await });
            within(recovered).await.unwrap().unwrap();
            for group in &groups {
                within(group.when().voters(3)).await;
                within(group.when().online()).await;
            }
            for (host, group) in hosts.iter().zip(&groups) {
                assert_eq!(value(host, group).await, 20);
            }
        });
    }
}

/// What a vote on the disk says of the leader is of another life.
#[test]
fn after_the_power_is_back_nobody_is_online_before_somebody_leads() {
    for seed in 0..5 {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let mut groups = founded(&world, &hosts).await;
            count(&hosts[0], &groups[0], 10).await;
            for host in &hosts {
                host.crash().await;
            }
            for (host, group) in hosts.iter().zip(&mut groups) {
                *group = join(&world, host).await;
            }
            while !groups.iter().all(Group::is_online) {
                let online = groups.iter().any(Group::is_online);
                assert!(!online || groups.iter().any(Group::is_leader));
                world.sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(value(&hosts[1], &groups[1]).await, 10);
        });
    }
}
