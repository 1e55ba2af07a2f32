//! What is checked of a run.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::{Context as _, ensure};
use mosaik::sim::history::{Operation, OperationId, check_exactly_once, check_linearizable};
use mosaik_tests::groups::{Op, Sequential};

use super::{
    bank,
    cluster::Cluster,
    record::{self, Asked, now},
};

/// Milliseconds for which nothing may be acknowledged, on a machine that has other things to do: who is not replaced is
/// noticed.
const LONGEST: u64 = 20_000;

/// When something was done to the group, from when it was well until it was well again.
#[derive(Debug)]
pub(crate) struct Window {
    /// What.
    pub(crate) name: &'static str,
    /// When it began, in nanoseconds.
    pub(crate) begin: u64,
    /// When it ended.
    pub(crate) end: u64,
    /// Hosts that reached no others, and since when and until when.
    pub(crate) cut_off: Option<(Vec<usize>, u64, u64)>,
    /// Whether nothing that was asked meanwhile may have failed.
    pub(crate) flawless: bool,
}

impl Window {
    /// One that begins now.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            begin: now(),
            end: u64::MAX,
            cut_off: None,
            flawless: false,
        }
    }

    /// The longest time within it in which nothing was acknowledged, in nanoseconds.
    fn silence(&self, acknowledged: &BTreeSet<u64>) -> u64 {
        let within = acknowledged.range(self.begin..self.end).copied();
        let (mut longest, mut last) = (0, self.begin);
        for at in within.chain([self.end]) {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }

    /// Checks that who was cut off acknowledged nothing that was asked of it then.
    fn check_cut_off(&self, asked: &[Asked]) -> anyhow::Result<()> {
        let Some((hosts, since, until)) = &self.cut_off else {
            return Ok(());
        };
        let within = since..until;
        let there = asked.iter().filter(|asked| {
            hosts.contains(&asked.host) && within.contains(&&asked.operation.invoked())
        });
        let there: Vec<&Asked> = there.collect();
        ensure!(!there.is_empty(), "{}: nothing was asked", self.name);
        let wrong = there.iter().find(|asked| {
            let completed = asked.operation.completed().is_some_and(|at| at < *until);
            completed && asked.operation.ret().is_some()
        });
        ensure!(
            wrong.is_none(),
            "{}: acknowledged by few: {wrong:?}",
            self.name
        );
        Ok(())
    }

    /// Checks that nothing that was asked meanwhile failed, if so.
    fn check_flawless(&self, asked: &[Asked]) -> anyhow::Result<()> {
        let within = self.begin..self.end;
        let wrong = asked
            .iter()
            .find(|asked| within.contains(&asked.operation.invoked()) && asked.is_trouble());
        ensure!(
            !self.flawless || wrong.is_none(),
            "{}: failed: {wrong:?}",
            self.name
        );
        Ok(())
    }
}

/// Checks all that was promised, and prints how long nothing was acknowledged.
pub(crate) fn check(
    mode: &str,
    cluster: &Cluster,
    windows: &[Window],
    states: &[String],
) -> anyhow::Result<()> {
    let mut asked = Vec::new();
    for (host, record) in cluster.records() {
        asked.extend(record::read(*host, record)?);
    }
    let unknown = asked.iter().filter(|asked| asked.unknown);
    let unknown: Vec<&Asked> = unknown.collect();
    ensure!(
        unknown.is_empty(),
        "nobody knows what became of {unknown:?}"
    );
    let answered = asked.iter().filter(|asked| asked.operation.ret().is_some());
    let times = answered.filter_map(|asked| asked.operation.completed());
    let acknowledged: BTreeSet<u64> = times.collect();
    let mut text = format!("{mode}:\n");
    writeln!(text, "  {:<42} {:>22}", "", "nothing acknowledged for")?;
    for window in windows {
        let millis = window.silence(&acknowledged) / 1_000_000;
        writeln!(text, "  {:<42} {millis:>19} ms", window.name)?;
        window.check_cut_off(&asked)?;
        window.check_flawless(&asked)?;
        ensure!(millis < LONGEST, "{}: too long", window.name);
    }
    let first = states.first().context("no state")?;
    let same = states.iter().all(|state| state == first);
    ensure!(same, "replicas differ");
    let ids = first
        .lines()
        .filter_map(|line| line.strip_prefix("applied "));
    let mut applied = Vec::new();
    for id in ids {
        applied.push(OperationId::from(id.parse::<u64>()?));
    }
    let operations: Vec<Operation<Op, u64>> =
        asked.into_iter().map(|asked| asked.operation).collect();
    let changes = operations.iter().cloned();
    let changes = changes.filter(|operation| matches!(operation.op(), Op::Change(_)));
    let changes: Vec<_> = changes.collect();
    check_exactly_once(&changes, &applied)?;
    check_linearizable(&Sequential, &operations)?;
    let known = changes.iter().filter(|change| change.ret().is_some());
    writeln!(
        text,
        "  {} commands acknowledged, {} applied, {} queries: linearizable, each once",
        known.count(),
        applied.len(),
        operations.len() - changes.len(),
    )?;
    let records = cluster.records().iter().map(|(_, path)| path.as_path());
    let told = bank::verdict(records, cluster.states())?;
    writeln!(text, "  {told}")?;
    print!("{text}");
    Ok(())
}
