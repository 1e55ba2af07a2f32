//! Groups whose quorum is lost: which of them re-form, from what, and what becomes of the rest.

use std::time::Duration;

use mosaik::{
    Group, Network,
    groups::{Durability, Event, GroupBuilder, GroupError, RecoverError},
    sim::{Host, World},
};
use mosaik_tests::{machines::Counter, simulated, within};

/// How the worlds differ: `RECOVER_SEEDS=100` runs a hundred of each.
fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("RECOVER_SEEDS").ok();
    0..asked.map_or(3, |seeds| seeds.parse().unwrap())
}

/// How long groups wait that declare it.
const DECLARED: Duration = Duration::from_secs(20);

/// A member, and what keeps it up.
struct Member {
    host: Host,
    network: Network,
    group: Group<Counter>,
}

impl Member {
    async fn join(world: &World, host: &Host, founders: usize) -> Self {
        let network = simulated(world, host).await;
        Self::on(host, network, founders, Durability::Volatile).await
    }

    /// The same, with its log on the host's disk.
    async fn join_durable(world: &World, host: &Host, founders: usize) -> Self {
        let builder = host.builder("simulated", &world.hosts()).data_dir("data");
        let network = host.run(builder.build()).await.unwrap().unwrap();
        Self::on(host, network, founders, Durability::Required).await
    }

    /// The same, in a group of three founders that does not wait for longer than [`DECLARED`].
    async fn join_declared(world: &World, host: &Host, durable: Durability) -> Self {
        let builder = host.builder("simulated", &world.hosts()).data_dir("data");
        let network = host.run(builder.build()).await.unwrap().unwrap();
        let options = network.groups().builder("counter").founders(3);
        let options = options.durable(durable).evict_after(DECLARED / 2);
        Self::with(host, network, options.recover_after(DECLARED)).await
    }

    async fn on(host: &Host, network: Network, founders: usize, durable: Durability) -> Self {
        let options = network.groups().builder("counter").founders(founders);
        Self::with(host, network, options.durable(durable)).await
    }

    async fn with(host: &Host, network: Network, options: GroupBuilder<Counter>) -> Self {
        let group = host.run(async move { options.join() }).await.unwrap();
        let host = host.clone();
        Self {
            host,
            network,
            group,
        }
    }

    /// Counts so many times one further.
    async fn count(&self, times: u64) {
        let group = self.group.clone();
        let counted = self.host.run(async move {
            for _ in 0..times {
                group.execute(1).await.unwrap();
            }
        });
        within(counted).await.unwrap();
    }

    async fn value(&self) -> u64 {
        let group = self.group.clone();
        let asked = self.host.run(async move { group.query(()).await });
        within(asked).await.unwrap().unwrap()
    }

    async fn recover(&self) -> Result<(), RecoverError> {
        let group = self.group.clone();
        let recovered = self.host.run(async move { group.recover().await });
        recovered.await.unwrap()
    }

    /// The voters that the next descendant does not fence.
    fn refounded(&self) -> impl Future<Output = usize> + use<> {
        let mut events = self.group.events();
        async move {
            loop {
                let event = futures::StreamExt::next(&mut events).await;
                if let Event::Refounded { unfenced } = event.unwrap() {
                    return unfenced.len();
                }
            }
        }
    }

    /// Waits until the group is online and has so many voters.
    async fn votes_among(&self, voters: usize) {
        within(self.group.when().voters(voters)).await;
        within(self.group.when().online()).await;
    }

    fn explains(&self, words: &str) -> bool {
        self.group.explain().to_string().contains(words)
    }

    /// Waits until the explanation holds all these words.
    async fn explained(&self, world: &World, words: &[&str]) {
        let explained = async {
            while !words.iter().all(|words| self.explains(words)) {
                world.sleep(Duration::from_millis(100)).await;
            }
        };
        within(explained).await;
    }
}

/// So many members that all vote.
async fn voting(world: &World, hosts: &[Host], founders: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for host in hosts {
        members.push(Member::join(world, host, founders).await);
    }
    for member in &members {
        member.votes_among(hosts.len()).await;
    }
    members
}

#[test]
fn in_development_mode_the_one_left_re_forms_and_keeps_everything() {
    for seed in seeds() {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let members = voting(&world, &hosts[..2], 1).await;
            members[0].count(10).await;
            members[1].count(10).await;
            // Whoever leads or follows.
            let (gone, left) = (&members[seed as usize % 2], &members[1 - seed as usize % 2]);
            let refounded = left.refounded();
            gone.host.crash().await;
            within(left.group.when().offline()).await;
            let began = world.elapsed();
            assert_eq!(within(refounded).await, 1, "the other may live");
            let took = (world.elapsed() - began).as_secs_f64();
            assert!((9.0..15.0).contains(&took), "{took}");
            within(left.group.when().online()).await;
            assert_eq!(left.value().await, 20);
            left.count(1).await;
            let third = Member::join(&world, &hosts[2], 1).await;
            third.votes_among(2).await;
            third.count(1).await;
            assert_eq!((left.value().await, third.value().await), (22, 22));
        });
    }
}

#[test]
fn a_new_boot_proves_that_the_quorum_of_two_is_gone() {
    for seed in seeds() {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(2);
            let members = voting(&world, &hosts, 2).await;
            members[0].count(10).await;
            let left = &members[1];
            let refounded = left.refounded();
            hosts[0].crash().await;
            within(left.group.when().offline()).await;
            // Not in development mode: time proves nothing.
            world.sleep(Duration::from_secs(120)).await;
            assert!(left.explains("may come back"), "{}", left.group.explain());
            let again = Member::join(&world, &hosts[0], 2).await;
            assert_eq!(within(refounded).await, 0, "none is left that lives");
            again.votes_among(2).await;
            again.count(1).await;
            assert_eq!((left.value().await, again.value().await), (11, 11));
        });
    }
}

#[test]
fn of_two_survivors_one_founds_and_the_other_joins() {
    for seed in seeds() {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(6);
            let members = voting(&world, &hosts[..5], 1).await;
            let watching = simulated(&world, &hosts[5]).await;
            let observes = watching.groups().builder("counter").founders(1);
            let observer: Group<Counter> = hosts[5]
                .run(async move { observes.observe() })
                .await
                .unwrap();
            within(observer.when().online()).await;
            for member in &members {
                member.count(2).await;
            }
            let (left, gone) = members.split_at(2);
            let refounded = [left[0].refounded(), left[1].refounded()];
            for member in gone {
                member.host.crash().await;
            }
            for refounded in refounded {
                assert_eq!(within(refounded).await, 3);
            }
            for member in left {
                member.votes_among(2).await;
                member.count(1).await;
            }
            for member in left {
                assert_eq!(member.value().await, 12);
            }
            within(observer.when().online()).await;
            let seen = hosts[5].run(async move { observer.query(()).await });
            assert_eq!(within(seen).await.unwrap().unwrap(), 12);
        });
    }
}

/// Who is shut down says what it knew last of who votes: enough of that, and nobody else can have moved on.
#[test]
fn the_one_of_three_that_is_not_shut_down_goes_on() {
    for seed in seeds() {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let members = voting(&world, &hosts, 3).await;
            members[0].count(10).await;
            let left = &members[seed as usize % 3];
            let gone = members
                .iter()
                .filter(|member| member.host.ip() != left.host.ip());
            let stopping = gone.map(|member| {
                let network = member.network.clone();
                member.host.run(async move { network.shutdown().await })
            });
            for stopped in futures::future::join_all(stopping).await {
                stopped.unwrap();
            }
            within(left.group.when().online()).await;
            left.count(1).await;
            assert_eq!(left.value().await, 11);
        });
    }
}

/// Two of three may have made voters of others before they died: nothing but an operator's word helps.
#[test]
fn what_is_not_proven_waits_for_an_operator() {
    for seed in seeds() {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let members = voting(&world, &hosts, 3).await;
            members[0].count(10).await;
            let left = &members[2];
            assert_eq!(left.recover().await, Err(RecoverError::QuorumReachable));
            hosts[0].crash().await;
            hosts[1].crash().await;
            within(left.group.when().offline()).await;
            let first = Member::join(&world, &hosts[0], 3).await;
            let second = Member::join(&world, &hosts[1], 3).await;
            world.sleep(Duration::from_secs(120)).await;
            let explained = left.group.explain().to_string();
            assert!(
                explained.contains("moved on to other voters"),
                "{explained}"
            );
            assert!(!left.group.is_online());
            assert_eq!(first.recover().await, Err(RecoverError::NotMember));
            let refounded = left.refounded();
            assert_eq!(left.recover().await, Ok(()));
            assert_eq!(within(refounded).await, 0, "both are proven dead");
            for member in [left, &first, &second] {
                member.votes_among(3).await;
                member.count(1).await;
            }
            assert_eq!((left.value().await, first.value().await), (13, 13));
        });
    }
}

/// It would compete with the one that there is, and with what that one has acknowledged.
#[test]
fn who_hears_of_a_descendant_founds_none() {
    for seed in seeds() {
        for founders in [1, 2] {
            let world = World::new(seed);
            world.run(async {
                let hosts = world.make_hosts(2);
                let members = voting(&world, &hosts, founders).await;
                members[0].count(10).await;
                let (other, left) = (&members[seed as usize % 2], &members[1 - seed as usize % 2]);
                let refounded = [other.refounded(), left.refounded()];
                world.cut(&hosts[0], &hosts[1]);
                within(other.group.when().offline()).await;
                assert_eq!(other.recover().await, Ok(()));
                within(other.group.when().online()).await;
                other.count(1).await;
                world.heal_all();
                if founders == 2 {
                    let met = "another charter of the group was met";
                    left.explained(&world, &[met]).await;
                    world.sleep(Duration::from_secs(60)).await;
                    let waits = "a descendant of the charter lives on";
                    assert!(left.explains(waits), "{}", left.group.explain());
                    assert!(!left.group.is_online());
                    assert_eq!(left.recover().await, Ok(()));
                }
                for refounded in refounded {
                    assert_eq!(within(refounded).await, 1);
                }
                left.votes_among(2).await;
                left.count(1).await;
                assert_eq!((left.value().await, other.value().await), (12, 12));
            });
        }
    }
}

#[test]
fn of_two_halves_that_both_re_formed_one_lives_on_and_the_other_says_so() {
    for seed in seeds() {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(2);
            let members = voting(&world, &hosts, 1).await;
            members[0].count(10).await;
            let refounded = [members[0].refounded(), members[1].refounded()];
            world.cut(&hosts[0], &hosts[1]);
            for refounded in refounded {
                assert_eq!(within(refounded).await, 1);
            }
            for (member, more) in members.iter().zip([1, 2]) {
                within(member.group.when().online()).await;
                member.count(more).await;
            }
            world.heal_all();
            let superseded = |member: &Member| {
                let mut events = member.group.events();
                async move {
                    let superseded = |event| event == Event::Superseded;
                    while !superseded(futures::StreamExt::next(&mut events).await.unwrap()) {}
                }
            };
            let lost = tokio::select! {
                biased;
                () = within(superseded(&members[0])) => 0,
                () = within(superseded(&members[1])) => 1,
            };
            let (lost, won) = (&members[lost], &members[1 - lost]);
            world.sleep(Duration::from_secs(60)).await;
            let explained = |member: &Member| member.group.explain().to_string();
            assert!(lost.explains("superseded:"), "{}", explained(lost));
            assert!(!won.explains("superseded:"), "{}", explained(won));
            let refused = lost.group.clone();
            let refused = lost.host.run(async move { refused.execute(1).await }).await;
            assert!(matches!(refused.unwrap(), Err(GroupError::Superseded)));
            assert_eq!(lost.recover().await, Err(RecoverError::Superseded));
            let (kept, lives) = (lost.group.local(Counter::value), won.value().await);
            assert_eq!(
                kept.unwrap() + lives,
                23,
                "each side has what it acknowledged"
            );
            won.count(1).await;
            lost.host.crash().await;
            let again = Member::join(&world, &lost.host, 1).await;
            again.votes_among(2).await;
            again.count(1).await;
            assert_eq!(
                (won.value().await, again.value().await),
                (lives + 2, lives + 2)
            );
        });
    }
}

#[test]
fn nothing_is_left_of_a_volatile_group_whose_members_all_crash() {
    for seed in seeds() {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(2);
            let members = voting(&world, &hosts, 1).await;
            members[0].count(10).await;
            hosts[0].crash().await;
            hosts[1].crash().await;
            let members = voting(&world, &hosts, 1).await;
            assert_eq!(members[0].value().await, 0);
            members[1].count(1).await;
            assert_eq!(members[0].value().await, 1);
        });
    }
}

#[test]
fn a_durable_group_waits_for_an_operator_and_outlives_the_crash_of_the_founder() {
    for seed in seeds() {
        let world = World::new(seed);
        world.run(async {
            let hosts = world.make_hosts(3);
            let mut members = Vec::new();
            for host in &hosts {
                members.push(Member::join_durable(&world, host, 3).await);
            }
            for member in &members {
                within(member.group.when().online()).await;
            }
            members[0].count(10).await;
            assert_eq!(members[2].value().await, 10);
            hosts[0].crash().await;
            hosts[1].crash().await;
            within(members[2].group.when().offline()).await;
            world.sleep(Duration::from_secs(120)).await;
            let waits = "waits for its members to come back";
            assert!(members[2].explains(waits), "{}", members[2].group.explain());
            assert_eq!(members[2].recover().await, Ok(()));
            within(members[2].group.when().online()).await;
            members[2].count(1).await;
            hosts[2].crash().await;
            let left = Member::join_durable(&world, &hosts[2], 3).await;
            within(left.group.when().online()).await;
            assert_eq!(left.value().await, 11);
            // One of the lost comes back after all, with its log of the ancestor.
            let back = Member::join_durable(&world, &hosts[0], 3).await;
            let met = ["another charter of the group", "recovery:"];
            back.explained(&world, &met).await;
            assert!(!back.group.is_online());
            assert_eq!(back.recover().await, Ok(()));
            back.votes_among(2).await;
            assert_eq!(back.value().await, 11);
            left.network.shutdown().await;
        });
    }
}

/// What time proves nothing of is given up where that is declared, on disks too.
#[test]
fn where_a_time_is_declared_a_group_re_forms_after_it() {
    for seed in seeds() {
        for durable in [Durability::Volatile, Durability::Required] {
            let world = World::new(seed);
            world.run(async {
                let hosts = world.make_hosts(3);
                let mut members = Vec::new();
                for host in &hosts {
                    members.push(Member::join_declared(&world, host, durable).await);
                }
                for member in &members {
                    member.votes_among(3).await;
                }
                members[0].count(10).await;
                let left = &members[2];
                assert_eq!(left.value().await, 10);
                let refounded = left.refounded();
                hosts[0].crash().await;
                hosts[1].crash().await;
                within(left.group.when().offline()).await;
                let began = world.elapsed();
                left.explained(&world, &["re-forms by itself", "as declared"])
                    .await;
                assert_eq!(within(refounded).await, 2, "both may live");
                let took = (world.elapsed() - began).as_secs_f64();
                assert!((19.0..25.0).contains(&took), "{took}");
                within(left.group.when().online()).await;
                left.count(1).await;
                // With its log of the ancestor, if it had one on a disk: it waits as long, then joins by itself.
                let back = Member::join_declared(&world, &hosts[0], durable).await;
                left.votes_among(2).await;
                back.votes_among(2).await;
                back.count(1).await;
                assert_eq!((left.value().await, back.value().await), (12, 12));
            });
        }
    }
}
