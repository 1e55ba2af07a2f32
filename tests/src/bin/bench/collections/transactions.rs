//! Transactions that move something from one key to another. The reference inserts one key, as often as it can.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::ensure;
use mosaik::{
    collections::{Map, MapWriter},
    groups::GroupError,
};

use super::stores::online;
use crate::{
    measure::{self, median},
    nodes::{MEMBERS, Nodes},
    plan::Plan,
    table::{Figure, Row, Target},
};

/// Transactions in flight, of all nodes together.
const IN_FLIGHT: u64 = 16;
/// Two for each of them.
const ACCOUNTS: u64 = 2 * IN_FLIGHT;

/// Measures.
pub(super) async fn run(plan: &Plan) -> anyhow::Result<()> {
    let nodes = Nodes::start(None).await?;
    let mut bank = Bank::start(&nodes).await?;
    bank.measure(plan, "2 keys, 16 in flight, no conflicts", |n| 2 * n)
        .await?;
    bank.measure(plan, "2 keys, 16 in flight, all conflict", |_| 0)
        .await?;
    nodes.stop().await;
    Ok(())
}

/// Accounts in pairs: something is moved from the first of a pair to the second.
struct Bank {
    writers: Vec<MapWriter<u64, i64>>,
    /// How often something was moved.
    moved: u64,
}

/// What became of transactions.
#[derive(Debug, Default)]
struct Tries {
    begun: AtomicU64,
    given_up: AtomicU64,
}

impl Bank {
    async fn start(nodes: &Nodes) -> anyhow::Result<Self> {
        let writer = |network| Map::builder(network, "bank").founders(MEMBERS).writer();
        let writers: Vec<MapWriter<u64, i64>> = nodes.networks().iter().map(writer).collect();
        for writer in &writers {
            online(writer).await?;
        }
        writers[0]
            .extend((0..ACCOUNTS).map(|account| (account, 0)))
            .await?;
        for writer in &writers {
            writer.refresh().await?;
        }
        Ok(Self { writers, moved: 0 })
    }

    /// Lets each caller move between a pair of its own, or of all.
    async fn measure(
        &mut self,
        plan: &Plan,
        case: &str,
        pair: fn(u64) -> u64,
    ) -> anyhow::Result<()> {
        let (mut reference, mut ours) = (vec![], vec![]);
        let tries = Arc::new(Tries::default());
        let before = self.moved;
        for _ in 0..plan.rounds() {
            reference.push(self.insert(plan).await?);
            ours.push(self.transfer(plan, pair, &tries).await?);
            self.check().await?;
        }
        let begun = tries.begun.load(Ordering::Relaxed) as f64;
        Row {
            case,
            reference: Some(("insert", Figure::Rate(median(&mut reference)))),
            ours: Figure::Rate(median(&mut ours)),
            target: None,
        }
        .print();
        Row {
            case: "  tries until it is applied",
            reference: None,
            ours: Figure::Times(begun / (self.moved - before) as f64),
            target: None,
        }
        .print();
        Row {
            case: "  given up, after 10 s",
            reference: None,
            ours: Figure::Count(tries.given_up.load(Ordering::Relaxed)),
            target: Some(Target::AtMost(Figure::Count(0))),
        }
        .print();
        Ok(())
    }

    /// Inserts at keys that are no accounts; how often a second.
    async fn insert(&self, plan: &Plan) -> anyhow::Result<f64> {
        let callers = Callers::new(&self.writers);
        let load = measure::load(usize::try_from(IN_FLIGHT)?, plan.span(), |until| {
            let (n, writer) = callers.next();
            async move {
                let mut done = 0;
                while Instant::now() < until {
                    writer.insert(ACCOUNTS + n, 0).await?;
                    done += 1;
                }
                Ok(done)
            }
        });
        Ok(load.await?.rate())
    }

    /// Moves between accounts; how often a second.
    async fn transfer(
        &mut self,
        plan: &Plan,
        pair: fn(u64) -> u64,
        tries: &Arc<Tries>,
    ) -> anyhow::Result<f64> {
        let callers = Callers::new(&self.writers);
        let load = measure::load(usize::try_from(IN_FLIGHT)?, plan.span(), |until| {
            let (n, writer) = callers.next();
            let tries = tries.clone();
            async move {
                let mut done = 0;
                while Instant::now() < until {
                    done += u64::from(transfer(&writer, pair(n), &tries).await?);
                }
                Ok(done)
            }
        });
        let load = load.await?;
        self.moved += load.done;
        Ok(load.rate())
    }

    /// Checks that each node has the same sum as ever, and has moved as often as was acknowledged.
    async fn check(&self) -> anyhow::Result<()> {
        for writer in &self.writers {
            writer.refresh().await?;
            let view = writer.view();
            let (mut sum, mut moved) = (0, 0);
            for account in 0..ACCOUNTS {
                let balance = view.get(&account).copied().unwrap_or_default();
                sum += balance;
                moved += balance.max(0);
            }
            ensure!(sum == 0, "the sum is {sum}");
            let acknowledged = self.moved;
            ensure!(
                u64::try_from(moved)? == acknowledged,
                "{moved} moved, {acknowledged} acknowledged"
            );
        }
        Ok(())
    }
}

/// Moves once from an account to the next; whether it was not given up.
async fn transfer(
    writer: &MapWriter<u64, i64>,
    account: u64,
    tries: &Tries,
) -> anyhow::Result<bool> {
    let moved = writer.transaction(|accounts| {
        tries.begun.fetch_add(1, Ordering::Relaxed);
        let (from, to) = (accounts.get(&account)?, accounts.get(&(account + 1))?);
        accounts.insert(account, from - 1);
        accounts.insert(account + 1, to + 1);
        Some(())
    });
    match moved.await {
        Ok(moved) => {
            ensure!(moved.is_some(), "account {account} or the next is gone");
            Ok(true)
        }
        Err(GroupError::Contended) => {
            tries.given_up.fetch_add(1, Ordering::Relaxed);
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Numbers callers, and spreads them over the nodes.
struct Callers<'a> {
    writers: &'a [MapWriter<u64, i64>],
    next: AtomicU64,
}

impl<'a> Callers<'a> {
    fn new(writers: &'a [MapWriter<u64, i64>]) -> Self {
        Self {
            writers,
            next: AtomicU64::new(0),
        }
    }

    fn next(&self) -> (u64, MapWriter<u64, i64>) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let node = n as usize % self.writers.len();
        (n, self.writers[node].clone())
    }
}
