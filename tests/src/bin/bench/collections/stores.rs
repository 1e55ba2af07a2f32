//! A map on three nodes, and what was acknowledged of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use mosaik::{PeerId, collections::Store};
use mosaik_tests::DEADLINE;

use super::kind::{self, Kind, entries, value};
use crate::{
    measure::{self, Load},
    nodes::{MEMBERS, Nodes},
};

/// Items of an `extend`.
pub(super) const ITEMS: u64 = 1000;
/// Calls of `extend` in flight.
const EXTENDING: usize = 16;
/// How long it may take to fill a map.
const FILLING: Duration = Duration::from_secs(180);

/// A map with a writer on each node. Keys are given out one after the other, and never twice.
pub(super) struct Stores<K: Kind> {
    writers: Vec<(PeerId, K::Writer)>,
    keys: Keys,
}

impl<K: Kind> Stores<K> {
    /// Founds it; all writers are online when this returns.
    pub(super) async fn start(nodes: &Nodes) -> anyhow::Result<Self> {
        let writer = |network| K::writer(network, MEMBERS);
        let writers = nodes.networks().iter();
        let writers: Vec<_> = writers
            .map(|network| (network.local().id(), writer(network)))
            .collect();
        for (_, writer) in &writers {
            online(writer).await?;
        }
        Ok(Self {
            writers,
            keys: Keys::default(),
        })
    }

    /// The writer on the node that leads.
    pub(super) fn leader(&self) -> anyhow::Result<K::Writer> {
        self.find(true).context("nobody leads")
    }

    /// A writer on a node that does not.
    pub(super) fn follower(&self) -> anyhow::Result<K::Writer> {
        self.find(false).context("everybody leads")
    }

    fn find(&self, leads: bool) -> Option<K::Writer> {
        let is_wanted =
            |(id, writer): &&(PeerId, K::Writer)| writer.when().leader_is(*id).holds() == leads;
        let found = self.writers.iter().find(is_wanted);
        found.map(|(_, writer)| writer.clone())
    }

    /// The keys that were given out.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Inserts for `span`, or until there are so many keys, with so many calls in flight.
    pub(super) async fn insert(
        &self,
        writer: &K::Writer,
        in_flight: usize,
        span: Duration,
        most: u64,
    ) -> anyhow::Result<Load> {
        let load = measure::load(in_flight, span, |until| {
            let (writer, keys) = (writer.clone(), self.keys.clone());
            async move {
                let mut done = 0;
                while Instant::now() < until
                    && let Some(key) = keys.take(1, most)
                {
                    let old = K::insert(&writer, key, value(key)).await?;
                    ensure!(old.is_none(), "{key} was there before");
                    done += 1;
                }
                Ok(done)
            }
        });
        load.await
    }

    /// The same with many items a call.
    pub(super) async fn extend(
        &self,
        writer: &K::Writer,
        span: Duration,
        most: u64,
    ) -> anyhow::Result<Load> {
        let load = measure::load(EXTENDING, span, |until| {
            let (writer, keys) = (writer.clone(), self.keys.clone());
            async move {
                let mut done = 0;
                while Instant::now() < until
                    && let Some(first) = keys.take(ITEMS, most)
                {
                    let new = K::extend(&writer, entries(first..first + ITEMS)).await?;
                    ensure!(new == ITEMS, "{new} of {ITEMS} were not there before");
                    done += new;
                }
                Ok(done)
            }
        });
        load.await
    }

    /// Fills it until there are so many keys.
    pub(super) async fn fill(&self, most: u64) -> anyhow::Result<()> {
        self.extend(&self.leader()?, FILLING, most).await?;
        let filled = self.keys.given();
        ensure!(filled == most, "{filled} of {most} within {FILLING:?}");
        self.check().await
    }

    /// Checks that each node holds what was acknowledged, and nothing else.
    pub(super) async fn check(&self) -> anyhow::Result<()> {
        for (_, writer) in &self.writers {
            writer.refresh().await?;
            kind::check::<K>(writer, self.keys.given())?;
        }
        Ok(())
    }

    /// Removes all that is there, and begins with the keys anew.
    pub(super) async fn clear(&mut self) -> anyhow::Result<()> {
        let removed = K::clear(&self.leader()?).await?;
        let expected = std::mem::take(&mut self.keys).given();
        ensure!(removed == expected, "removed {removed}, not {expected}");
        Ok(())
    }
}

/// Waits until writes can be applied.
pub(super) async fn online(store: &Store) -> anyhow::Result<()> {
    let online = tokio::time::timeout(DEADLINE, store.when().online()).await;
    online.with_context(|| format!("not online: {}", store.explain()))
}

/// Gives out keys, from 0 on.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(Arc<AtomicU64>);

impl Keys {
    /// The first of the next `count` keys; none once there are `most`.
    pub(super) fn take(&self, count: u64, most: u64) -> Option<u64> {
        let next = |given: u64| (given < most).then_some(given + count);
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.ok()
    }

    /// How many were given out.
    pub(super) fn given(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
