//! Clocks that are wrong: who leads then, and which time commands see.

use std::time::{Duration, UNIX_EPOCH};

use mosaik::{
    Group,
    groups::{Ctx, StateMachine},
};
use mosaik_tests::{groups::rests, within};
use serde::{Deserialize, Serialize};

use crate::trio::Trio;

/// An hour, in milliseconds.
const HOUR: i64 = 3_600_000;
/// How far commands may see another time than the right one, in milliseconds: what they take, and then some.
const SLACK: u64 = 200;

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

impl Trio<Moments> {
    /// Starts all; the right time when the world began, as commands see it while all clocks are right.
    async fn begin(&self) -> u64 {
        self.start();
        self.until("online", |trio| trio.all(Group::is_online))
            .await;
        self.zero().await
    }

    fn find(&self, n: usize) -> Option<Group<Moments>> {
        self.group(&self.hosts[n])
    }

    fn member(&self, n: usize) -> Group<Moments> {
        self.find(n).expect("a member")
    }

    fn up(&self) -> impl Iterator<Item = usize> {
        (0..3).filter(|n| self.hosts[*n].is_up())
    }

    /// Whether a member leads, as somebody sees it.
    fn is_led_by(&self, n: usize) -> bool {
        let peer = Some(self.hosts[n].peer());
        let leads = |group: Group<Moments>| group.leader() == peer;
        self.up().any(|n| self.find(n).is_some_and(leads))
    }

    /// Who leads, once all agree.
    async fn agreed(&self) -> usize {
        let agreed = |n: usize| {
            let peer = Some(self.hosts[n].peer());
            self.up().all(|n| self.member(n).leader() == peer)
        };
        self.until("led", |_| self.up().any(agreed)).await;
        self.up().find(|n| agreed(*n)).expect("a leader")
    }

    fn explains(&self, n: usize, words: &str) -> bool {
        self.member(n).explain().to_string().contains(words)
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.world.elapsed().as_millis()).unwrap()
    }

    /// The time that a command of this member sees.
    async fn moment(&self, n: usize) -> u64 {
        within(self.member(n).execute(0)).await.unwrap()
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
            let zero = trio.begin().await;
            let old = trio.agreed().await;
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
            trio.until("said", |_| trio.explains(old, &words)).await;
            trio.go_on_without(old, zero, Duration::from_secs(20)).await;
            assert!(trio.explains(old, &words));
            trio.hosts[old].set_clock(4_000);
            trio.until("healed", |_| !trio.explains(old, "median"))
                .await;
            // The leader hears of it when it asks next.
            trio.world.sleep(Duration::from_secs(11)).await;
            let leader = trio.agreed().await;
            let peer = trio.hosts[old].peer();
            let handed = trio.member(leader).transfer_leadership(peer).await;
            handed.unwrap();
            for n in 0..3 {
                let moment = trio.moment(n).await;
                let right = zero + trio.elapsed() + 4_000;
                assert!(right.abs_diff(moment) <= SLACK, "{right} {moment}");
            }
            trio.world.sleep(Duration::from_secs(15)).await;
            assert_eq!(trio.agreed().await, old);
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
            let online = |trio: &Trio<Moments>| {
                assert!(trio.find(wrong).is_none() || !trio.is_led_by(wrong));
                trio.all(Group::is_online)
            };
            trio.until("online", online).await;
            let zero = trio.zero().await;
            trio.go_on_without(wrong, zero, Duration::from_secs(10))
                .await;
            // Even if only it and another are left: what was known of a clock still counts.
            let leader = trio.agreed().await;
            trio.hosts[leader].crash().await;
            let other = 3 - leader - wrong;
            let led = |_: &Trio<Moments>| {
                assert!(!trio.is_led_by(wrong));
                trio.up()
                    .all(|n| trio.member(n).leader() == Some(trio.hosts[other].peer()))
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
            let zero = trio.begin().await;
            let old = trio.agreed().await;
            let (median, third) = ((old + 1) % 3, (old + 2) % 3);
            trio.hosts[old].set_clock(HOUR);
            trio.hosts[third].set_clock(-HOUR);
            let median_leads = |_: &Trio<Moments>| trio.is_led_by(median);
            trio.until("led by the median", median_leads).await;
            assert_eq!(trio.agreed().await, median);
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
            let zero = trio.begin().await;
            let old = trio.agreed().await;
            let (wrong, cut) = ((old + 1) % 3, (old + 2) % 3);
            trio.hosts[wrong].set_clock(HOUR);
            trio.until("said", |_| trio.explains(wrong, "ahead of"))
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
                .until("led all the same", |_| trio.is_led_by(wrong))
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
        let zero = trio.begin().await;
        let rest = |trio: &Trio<Moments>| trio.up().all(|n| rests(&trio.member(n)));
        trio.until("at rest", rest).await;
        let old = trio.agreed().await;
        trio.hosts[old].set_clock(HOUR);
        let took = trio.until("led by another", |_| !trio.is_led_by(old)).await;
        assert!(took < Duration::from_secs(15), "{took:?}");
        trio.until("at rest", rest).await;
        // Who comes before it is noticed sees no wrong time either.
        let next = trio.agreed().await;
        trio.hosts[old].set_clock(0);
        // What is known of other clocks may be ten seconds old.
        trio.world.sleep(Duration::from_secs(11)).await;
        assert_eq!(trio.agreed().await, next);
        trio.hosts[next].set_clock(HOUR);
        trio.behind(old, zero).await;
        trio.behind(next, zero).await;
    });
}
