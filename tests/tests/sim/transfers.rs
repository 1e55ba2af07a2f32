//! Transactions under faults: money is never made or lost, and every history is strictly serializable.

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
    groups::Durability,
    sim::{Campaign, Host, Nemesis, Schedule, World},
};
use mosaik_tests::transfers::{ACCOUNTS, Bank, BankReader, BankWriter, Call, EACH, Fate, check};

/// Transactions of each client at most.
const CALLS: u64 = 120;
/// How long a process that could not start stays down.
const RESTART: Duration = Duration::from_millis(500);
/// Time that all may take to be well again after the last fault.
const MEND: Duration = Duration::from_secs(90);

/// What the tasks of a run share.
#[derive(Clone)]
struct Run {
    world: World,
    durable: bool,
    writers: usize,
    next: Arc<AtomicU64>,
    clock: Arc<AtomicU64>,
    calls: Arc<Mutex<BTreeMap<u64, Call>>>,
    /// The writers and readers of the present processes.
    banks: Arc<Mutex<BTreeMap<String, BankReader>>>,
}

impl Run {
    /// The life of one process.
    async fn live(self, host: Host, n: usize) {
        self.banks.lock().unwrap().remove(host.name());
        let network = self.network(&host).await;
        let durable = if self.durable {
            Durability::Required
        } else {
            Durability::Volatile
        };
        let builder = Bank::builder(&network)
            .command_timeout(Duration::from_secs(3))
            .durable(durable);
        let name = host.name().to_owned();
        if n < self.writers {
            let bank = builder.writer();
            self.banks
                .lock()
                .unwrap()
                .insert(name, BankReader::clone(&bank));
            tokio::join!(self.use_it(&bank), self.watch(&bank));
        } else {
            let bank = builder.reader();
            self.banks.lock().unwrap().insert(name, bank.clone());
            self.watch(&bank).await;
        }
        std::future::pending::<()>().await;
    }

    async fn network(&self, host: &Host) -> Network {
        loop {
            let mut builder = host.builder("transfers", &self.world.hosts());
            if self.durable {
                builder = builder.data_dir("data");
            }
            if let Ok(network) = builder.build().await {
                return network;
            }
            self.world.sleep(RESTART).await;
        }
    }

    /// A view is of one moment, on every node, whatever happens.
    async fn watch(&self, bank: &BankReader) {
        for _ in 0..600 {
            assert_eq!(bank.view().sum(), ACCOUNTS * EACH);
            let pause = self.world.random_duration(Duration::from_millis(150));
            self.world.sleep(pause).await;
        }
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    async fn use_it(&self, bank: &BankWriter) {
        bank.when().online().await;
        for _ in 0..CALLS {
            self.call(bank).await;
            let pause = self.world.random_duration(Duration::from_millis(200));
            self.world.sleep(pause).await;
        }
    }

    async fn call(&self, bank: &BankWriter) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let invoked = self.now();
        // A process that is killed never says what became of it.
        self.note(id, invoked, u64::MAX, Fate::Unknown(id));
        let fate = if self.world.random(0..4) == 0 {
            bank.try_look(id).await
        } else {
            self.transfer(bank, id).await
        };
        self.note(id, invoked, self.now(), fate);
    }

    async fn transfer(&self, bank: &BankWriter, id: u64) -> Fate {
        let from = self.world.random(0..ACCOUNTS);
        let to = (from + self.world.random(1..ACCOUNTS)) % ACCOUNTS;
        let cents = self.world.random(0..EACH);
        bank.try_transfer(id, from, to, cents).await
    }

    fn note(&self, id: u64, invoked: u64, completed: u64, fate: Fate) {
        let call = Call {
            invoked,
            completed,
            fate,
        };
        self.calls.lock().unwrap().insert(id, call);
    }

    /// Waits until all nodes have the same, which no transaction is under way to change.
    async fn mended(&self, hosts: &[Host]) {
        loop {
            let banks = self.banks.lock().unwrap().clone();
            let banks: Vec<_> = banks.into_values().collect();
            let mut is_mended = banks.len() == hosts.len();
            for bank in &banks {
                is_mended &= bank.refresh().await.is_ok();
            }
            let versions: Vec<_> = banks.iter().map(|bank| bank.view().version()).collect();
            if is_mended && versions.windows(2).all(|pair| pair[0] == pair[1]) {
                return;
            }
            self.world.sleep(RESTART).await;
        }
    }
}

/// Runs one world; returns how many transfers were made, and how many of the calls were something else.
fn run(world: &World, schedule: &Schedule, writers: usize, durable: bool) -> (usize, usize) {
    let run = Run {
        world: world.clone(),
        durable,
        writers,
        next: Arc::default(),
        clock: Arc::default(),
        calls: Arc::default(),
        banks: Arc::default(),
    };
    let hosts = world.hosts();
    world.run(async {
        for (n, host) in hosts.iter().enumerate() {
            let run = run.clone();
            host.start(move |host| run.clone().live(host, n));
        }
        schedule.carry_out(world).await;
        let mended = tokio::time::timeout(MEND, run.mended(&hosts)).await;
        assert!(mended.is_ok(), "not well again");
        let banks = run.banks.lock().unwrap().clone();
        let views: Vec<_> = banks.values().map(|bank| bank.view()).collect();
        let moved: Vec<_> = views[0].moved.iter().cloned().collect();
        for view in &views {
            assert_eq!(view.sum(), ACCOUNTS * EACH);
            assert!(view.moved.iter().eq(&moved));
            assert_eq!(view.entries(), views[0].entries());
        }
        let calls = run.calls.lock().unwrap().clone();
        let calls: Vec<_> = calls.into_values().collect();
        if let Err(violation) = check(&calls, &moved) {
            panic!("{violation}");
        }
        let seen = |call: &&Call| matches!(call.fate, Fate::Saw(_) | Fate::Refused(..));
        (moved.len(), calls.iter().filter(seen).count())
    })
}

/// Runs seeds, in which something must have happened.
fn survive(
    name: &str,
    seeds: std::ops::Range<u64>,
    writers: usize,
    durable: bool,
    nemesis: Nemesis,
) {
    let (moved, seen) = (AtomicU64::default(), AtomicU64::default());
    let campaign = Campaign::new(writers + 1)
        .seeds(seeds.clone())
        .nemesis(nemesis);
    let count = campaign.run(|world, schedule| {
        let (transfers, others) = run(world, schedule, writers, durable);
        moved.fetch_add(transfers as u64, Ordering::Relaxed);
        seen.fetch_add(others as u64, Ordering::Relaxed);
    });
    println!("{name}: {count} seeds, {moved:?} transfers, {seen:?} others");
    assert!(moved.into_inner() > count * 20 && seen.into_inner() > count * 5);
}

/// What goes wrong often, and for short.
fn hasty() -> Nemesis {
    Nemesis {
        every: Duration::from_secs(2),
        longest: Duration::from_secs(6),
        duration: Duration::from_secs(15),
        ..Nemesis::default()
    }
}

#[test]
fn durable_transfers_survive_crashes_and_partitions() {
    survive("durable, 3 and a reader", 0..12, 3, true, hasty());
}

#[test]
fn transfers_in_memory_survive_partitions_and_pauses() {
    let nemesis = Nemesis {
        crash: 0,
        ..hasty()
    };
    survive("volatile, 5 and a reader", 1000..1006, 5, false, nemesis);
}
