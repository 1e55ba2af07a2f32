//! Clocks that are wrong: who leads then, and which time commands see.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use mosaik::{
    Group,
    groups::{Ctx, StateMachine},
    sim::{Host, World},
};
use mosaik_tests::{groups::rests, within};
use serde::{Deserialize, Serialize};

/// An hour, in milliseconds.
const HOUR: i64 = 3_600_000;
/// How far commands may see another time than the right one, in milliseconds: what they take, and then some.
const SLACK: u64 = 200;
/// How long something may take in a world in which nothing else happens.
const SOON: Duration = Duration::from_secs(30);

/// Answers which time a command sees, in milliseconds since 1970.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Moments {
    last: u64,
}

impl StateMachine for Moments {
    type Command = u8;
    type Output = u64;
    type Query = ();
    type Answer = u64;
    type Snapshot = Self;

    fn apply(&mut self, ctx: &Ctx, _: u8) -> u64 {
        let since = ctx.now().duration_since(UNIX_EPOCH).unwrap();
        self.last = u64::try_from(since.as_millis()).unwrap();
        self.last
    }

    fn query(&self, (): ()) -> u64 {
        self.last
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// Three members of one group, each in a process of its own.
struct Trio {
    world: World,
    hosts: Vec<Host>,
    groups: Arc<Mutex<BTreeMap<String, Group<Moments>>>>,
}

impl Trio {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        world.set_limit(Duration::from_secs(600));
        Self {
            hosts: world.make_hosts(3),
            groups: Arc::default(),
            world,
        }
    }

    fn start(&self) {
        for host in &self.hosts {
            let (world, groups) = (self.world.clone(), self.groups.clone());
            host.start(move |host| {
                let (world, groups) = (world.clone(), groups.clone());
                async move {
                    let network = host.builder("clocks", &world.hosts()).build().await;
                    let network = network.unwrap();
                    let group = network.groups().builder::<Moments>("moments");
                    let group = group.founders(3).join();
                    groups.lock().unwrap().insert(host.name().into(), group);
                    std::future::pending::<()>().await;
                }
            });
        }
    }

    fn find(&self, n: usize) -> Option<Group<Moments>> {
        let groups = self.groups.lock().unwrap();
        groups.get(self.hosts[n].name()).cloned()
    }

    fn group(&self, n: usize) -> Group<Moments> {
        self.find(n).expect("a member")
    }

    fn up(&self) -> impl Iterator<Item = usize> {
        (0..3).filter(|n| self.hosts[*n].is_up())
    }

    /// Waits until something holds, and says how long that took.
    async fn until(&self, what: &str, holds: impl Fn() -> bool) -> Duration {
        let began = self.world.elapsed();
        while !holds() {
            let explain = || {
                let texts = self.up().map(|n| self.group(n).explain().to_string());
                texts.collect::<String>()
            };
            let late = self.world.elapsed() - began > SOON;
            assert!(!late, "not {what}: {}", explain());
            self.world.sleep(Duration::from_millis(2)).await;
        }
        self.world.elapsed() - began
    }

    fn online(&self) -> bool {
        self.up()
            .all(|n| self.find(n).is_some_and(|group| group.is_online()))
    }

    /// Whether a member leads, as somebody sees it.
    fn is_led_by(&self, n: usize) -> bool {
        let peer = Some(self.hosts[n].peer());
        let leads = |group: Group<Moments>| group.leader() == peer;
        self.up().any(|n| self.find(n).is_some_and(leads))
    }

    /// Who leads, once all agree.
    async fn leader(&self) -> usize {
        let agreed = |n: usize| {
            let peer = Some(self.hosts[n].peer());
            self.up().all(|n| self.group(n).leader() == peer)
        };
        self.until("led", || self.up().any(agreed)).await;
        self.up().find(|n| agreed(*n)).expect("a leader")
    }

    fn explains(&self, n: usize, words: &str) -> bool {
        self.group(n).explain().to_string().contains(words)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.world.elapsed().as_millis()).unwrap()
    }

    /// The time that a command of this member sees.
    async fn moment(&self, n: usize) -> u64 {
        within(self.group(n).execute(0)).await.unwrap()
    }

    /// The right time when the world began: commands see it, as all clocks are right.
    async fn zero(&self) -> u64 {
        let elapsed = self.elapsed();
        self.moment(0).await - elapsed
    }

    /// Lets a member send a command, which must not see a time that is yet to come; returns how far the time
    /// that it sees is behind the right one.
    async fn behind(&self, n: usize, zero: u64) -> u64 {
        let moment = self.moment(n).await;
        let right = zero + self.elapsed();
        assert!(moment <= right + SLACK, "{} ms ahead", moment - right);
        right.saturating_sub(moment)
    }

    /// Lets all in turn send commands for so long, which must see the right time, while somebody never leads.
    async fn go_on_without(&self, wrong: usize, zero: u64, time: Duration) {
        let until = self.world.elapsed() + time;
        let members: Vec<usize> = self.up().collect();
        for n in members.into_iter().cycle() {
            let behind = self.behind(n, zero).await;
            assert!(behind <= SLACK, "{behind} ms behind");
            for _ in 0..10 {
                assert!(!self.is_led_by(wrong));
                self.world.sleep(Duration::from_millis(20)).await;
            }
            if self.world.elapsed() > until {
                break;
            }
        }
    }
}

#[test]
fn a_leader_whose_clock_jumps_hands_over_until_it_is_healed() {
    for (seed, ahead) in [(1, HOUR), (2, HOUR), (3, -HOUR)] {
        let trio = Trio::new(seed);
        trio.world.run(async {
            trio.start();
            trio.until("online", || trio.online()).await;
            let old = trio.leader().await;
            let zero = trio.zero().await;
            trio.hosts[old].set_clock(ahead);
            let jumped = trio.world.elapsed();
            // Its own jump is noticed at the next entry: not one is stamped with what the clock shows now.
            while trio.is_led_by(old) {
                for n in 0..3 {
                    trio.behind(n, zero).await;
                }
                let took = trio.world.elapsed() - jumped;
                assert!(took < Duration::from_secs(5), "{took:?}");
                trio.world.sleep(Duration::from_millis(5)).await;
            }
            let side = if ahead > 0 { "ahead of" } else { "behind" };
            let words = format!("clock is 3600 s {side} the voters' median; it neither leads nor");
            trio.until("said", || trio.explains(old, &words)).await;
            trio.go_on_without(old, zero, Duration::from_secs(20)).await;
            assert!(trio.explains(old, &words));
            trio.hosts[old].set_clock(4_000);
            trio.until("healed", || !trio.explains(old, "median")).await;
            // The leader hears of it when it asks next.
            trio.world.sleep(Duration::from_secs(11)).await;
            let leader = trio.leader().await;
            let peer = trio.hosts[old].peer();
            let handed = trio.group(leader).transfer_leadership(peer).await;
            handed.unwrap();
            for n in 0..3 {
                let moment = trio.moment(n).await;
                let right = zero + trio.elapsed() + 4_000;
                assert!(right.abs_diff(moment) <= SLACK, "{right} {moment}");
            }
            trio.world.sleep(Duration::from_secs(15)).await;
            assert_eq!(trio.leader().await, old);
        });
    }
}

#[test]
fn who_begins_with_a_wrong_clock_never_leads() {
    for seed in 0..6 {
        let trio = Trio::new(10 + seed);
        trio.world.run(async {
            let wrong = (seed % 3) as usize;
            let ahead = if seed < 3 { HOUR } else { -HOUR };
            trio.hosts[wrong].set_clock(ahead);
            trio.start();
            let online = || {
                assert!(trio.find(wrong).is_none() || !trio.is_led_by(wrong));
                trio.online()
            };
            trio.until("online", online).await;
            let zero = trio.zero().await;
            trio.go_on_without(wrong, zero, Duration::from_secs(10))
                .await;
            // Even if only it and another are left: what was known of a clock still counts.
            let leader = trio.leader().await;
            trio.hosts[leader].crash().await;
            let other = 3 - leader - wrong;
            let led = || {
                assert!(!trio.is_led_by(wrong));
                trio.up()
                    .all(|n| trio.group(n).leader() == Some(trio.hosts[other].peer()))
            };
            trio.until("led by the other", led).await;
            trio.go_on_without(wrong, zero, Duration::from_secs(10))
                .await;
        });
    }
}

#[test]
fn of_clocks_that_all_differ_the_median_leads() {
    for seed in 20..23 {
        let trio = Trio::new(seed);
        trio.world.run(async {
            trio.start();
            trio.until("online", || trio.online()).await;
            let zero = trio.zero().await;
            let old = trio.leader().await;
            let (median, third) = ((old + 1) % 3, (old + 2) % 3);
            trio.hosts[old].set_clock(HOUR);
            trio.hosts[third].set_clock(-HOUR);
            let median_leads = || trio.is_led_by(median);
            trio.until("led by the median", median_leads).await;
            assert_eq!(trio.leader().await, median);
            trio.go_on_without(old, zero, Duration::from_secs(8)).await;
            trio.go_on_without(third, zero, Duration::from_secs(8))
                .await;
        });
    }
}

#[test]
fn who_alone_has_the_log_leads_for_a_while_though_its_clock_is_wrong() {
    for seed in 30..33 {
        let trio = Trio::new(seed);
        trio.world.run(async {
            trio.start();
            trio.until("online", || trio.online()).await;
            let zero = trio.zero().await;
            let old = trio.leader().await;
            let (wrong, cut) = ((old + 1) % 3, (old + 2) % 3);
            trio.hosts[wrong].set_clock(HOUR);
            trio.until("said", || trio.explains(wrong, "ahead of"))
                .await;
            trio.world.cut(&trio.hosts[cut], &trio.hosts[old]);
            trio.world.cut(&trio.hosts[cut], &trio.hosts[wrong]);
            for _ in 0..10 {
                trio.behind(old, zero).await;
            }
            trio.hosts[old].crash().await;
            trio.world.heal_all();
            // The other cannot be elected before it has what was committed without it.
            let took = trio
                .until("led all the same", || trio.is_led_by(wrong))
                .await;
            assert!(took < Duration::from_secs(15), "{took:?}");
            let passed_on = || trio.is_led_by(cut) && !trio.is_led_by(wrong);
            while !passed_on() {
                trio.behind(wrong, zero).await;
                trio.world.sleep(Duration::from_millis(5)).await;
                assert!(trio.world.elapsed() < Duration::from_secs(60));
            }
            trio.go_on_without(wrong, zero, Duration::from_secs(8))
                .await;
        });
    }
}

#[test]
fn a_leader_that_rests_hands_over_too() {
    let trio = Trio::new(40);
    trio.world.run(async {
        trio.start();
        trio.until("online", || trio.online()).await;
        let zero = trio.zero().await;
        let rest = || trio.up().all(|n| rests(&trio.group(n)));
        trio.until("at rest", rest).await;
        let old = trio.leader().await;
        trio.hosts[old].set_clock(HOUR);
        let took = trio.until("led by another", || !trio.is_led_by(old)).await;
        assert!(took < Duration::from_secs(15), "{took:?}");
        trio.until("at rest", rest).await;
        // Who comes before it is noticed sees no wrong time either.
        let next = trio.leader().await;
        trio.hosts[old].set_clock(0);
        // What is known of other clocks may be ten seconds old.
        trio.world.sleep(Duration::from_secs(11)).await;
        assert_eq!(trio.leader().await, next);
        trio.hosts[next].set_clock(HOUR);
        trio.behind(old, zero).await;
        trio.behind(next, zero).await;
    });
}
