//! Locks under faults: no two hold one at a time, tokens only grow, and what is fenced stays in their order.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mosaik::{
    Network,
    collections::{Lock, LockGuard, Map, Vec as List},
    groups::Durability,
    sim::{Campaign, Host, Nemesis, Schedule, World},
};

/// How long who holds the lock holds it without a word.
const LEASE: Duration = Duration::from_secs(4);
/// How long a process that could not start stays down.
const RESTART: Duration = Duration::from_millis(500);
/// Time that all may take to be well again after the last fault.
const MEND: Duration = Duration::from_secs(120);
/// Hosts there are.
const HOSTS: usize = 3;

/// What is done under a lock.
#[mosaik::replicated(name = "guarded", founders = 3)]
struct Guarded {
    lock: Lock,
    /// The tokens of who did it, in that order.
    done: List<u64>,
    /// Who is alive, for a while.
    alive: Map<String, u64>,
}

/// What the tasks of a run share.
#[derive(Clone)]
struct Run {
    world: World,
    /// The token of the latest holder that was seen to hold it.
    latest: Arc<Mutex<u64>>,
    /// How often somebody held it, and how often that was lost.
    counts: Arc<(AtomicU64, AtomicU64)>,
    readers: Arc<Mutex<BTreeMap<String, GuardedReader>>>,
}

impl Run {
    /// The life of one process.
    async fn live(self, host: Host) {
        self.readers.lock().unwrap().remove(host.name());
        let network = self.network(&host).await;
        let guarded = Guarded::builder(&network)
            .command_timeout(Duration::from_secs(3))
            .durable(Durability::Required)
            .writer();
        let name = host.name().to_owned();
        self.readers
            .lock()
            .unwrap()
            .insert(name.clone(), GuardedReader::clone(&guarded));
        tokio::join!(self.say(&guarded, name), self.take_turns(&guarded));
    }

    /// Says again and again that it is alive. It may get lost.
    async fn say(&self, guarded: &GuardedWriter, name: String) {
        loop {
            drop(guarded.alive.insert_for(name.clone(), 1, LEASE).await);
            self.world.sleep(LEASE / 4).await;
        }
    }

    async fn take_turns(&self, guarded: &GuardedWriter) {
        loop {
            let pause = self.world.random_duration(Duration::from_millis(400));
            self.world.sleep(pause).await;
            if let Ok(guard) = guarded.lock.acquire(LEASE).await {
                self.hold(guarded, guard).await;
            }
        }
    }

    async fn network(&self, host: &Host) -> Network {
        loop {
            let builder = host.builder("locks", &self.world.hosts());
            if let Ok(network) = builder.data_dir("data").build().await {
                return network;
            }
            self.world.sleep(RESTART).await;
        }
    }

    /// Holds the lock for a while, or until it is lost.
    async fn hold(&self, guarded: &GuardedWriter, guard: LockGuard) {
        let token = guard.token();
        self.counts.0.fetch_add(1, Ordering::Relaxed);
        let working = async {
            for _ in 0..self.world.random(1..40) {
                self.see(&guard);
                let fenced = guarded.transaction(|guarded| {
                    guarded
                        .lock
                        .is_held_by(token)
                        .then(|| guarded.done.push_back(token))
                });
                // If it cannot be done, or its outcome is not known, others will tell by the order.
                drop(fenced.await);
                let pause = self.world.random_duration(Duration::from_millis(300));
                self.world.sleep(pause).await;
            }
        };
        tokio::select! {
            biased;
            () = guard.lost() => {
                self.counts.1.fetch_add(1, Ordering::Relaxed);
            }
            () = working => {}
        }
        if self.world.random(0..2) == 0 {
            drop(guard.release().await);
        }
    }

    /// Whoever believes to hold it is the last who acquired it.
    fn see(&self, guard: &LockGuard) {
        if guard.is_held() {
            let mut latest = self.latest.lock().unwrap();
            assert!(
                guard.token() >= *latest,
                "{} is held after {latest}",
                guard.token()
            );
            *latest = guard.token();
        }
    }

    /// Waits until every node is well, and says so to every other.
    async fn mended(&self) {
        loop {
            let readers = self.readers.lock().unwrap().clone();
            let readers: Vec<_> = readers.into_values().collect();
            let mut is_mended = readers.len() == HOSTS;
            for reader in &readers {
                is_mended &= reader.refresh().await.is_ok();
                is_mended &= reader.alive.len() == HOSTS;
            }
            if is_mended {
                return;
            }
            self.world.sleep(RESTART).await;
        }
    }
}

/// Runs one world; returns how often somebody held the lock, how often that was lost, and what was done.
fn run(world: &World, schedule: &Schedule) -> (u64, u64, usize) {
    let run = Run {
        world: world.clone(),
        latest: Arc::default(),
        counts: Arc::default(),
        readers: Arc::default(),
    };
    world.run(async {
        for host in world.hosts() {
            let run = run.clone();
            host.start(move |host| run.clone().live(host));
        }
        schedule.carry_out(world).await;
        let held = run.counts.0.load(Ordering::Relaxed);
        let mended = tokio::time::timeout(MEND, run.mended()).await;
        assert!(mended.is_ok(), "not well again");
        let again = async {
            while run.counts.0.load(Ordering::Relaxed) < held + 3 {
                world.sleep(RESTART).await;
            }
        };
        let again = tokio::time::timeout(MEND, again).await;
        assert!(again.is_ok(), "nobody gets the lock any more");
        let readers = run.readers.lock().unwrap().clone();
        let mut most = 0;
        for reader in readers.values() {
            let done: Vec<_> = reader.view().done.iter().copied().collect();
            assert!(done.is_sorted(), "{done:?}");
            most = most.max(done.len());
        }
        let (held, lost) = &*run.counts;
        (
            held.load(Ordering::Relaxed),
            lost.load(Ordering::Relaxed),
            most,
        )
    })
}

#[test]
fn one_holds_a_lock_whatever_happens() {
    let nemesis = Nemesis {
        // Leases do not go by it.
        clock: 4,
        pause: 6,
        every: Duration::from_secs(2),
        longest: Duration::from_secs(12),
        duration: Duration::from_secs(25),
        ..Nemesis::default()
    };
    let (held, lost, done) = (
        AtomicU64::default(),
        AtomicU64::default(),
        AtomicU64::default(),
    );
    let campaign = Campaign::new(HOSTS).seeds(4000..4006).nemesis(nemesis);
    let count = campaign.run(|world, schedule| {
        let (times, losses, most) = run(world, schedule);
        held.fetch_add(times, Ordering::Relaxed);
        lost.fetch_add(losses, Ordering::Relaxed);
        done.fetch_add(most as u64, Ordering::Relaxed);
    });
    println!("{count} seeds, held {held:?} times, lost {lost:?}, done {done:?}");
    assert!(held.into_inner() > count * 10 && done.into_inner() > count * 20);
    assert!(lost.into_inner() > 0);
}
