//! What goes wrong in a world, and when: a value that can be drawn, written down, printed and shortened.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    time::Duration,
};

use super::{Conditions, Host, World};
use crate::rt;

/// Longer than any schedule.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// Something that goes wrong. Hosts are given by name.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing passes between these hosts and all others.
    Partition(Vec<String>),
    /// Nothing passes from the first host to the second.
    OneWay(String, String),
    /// The ways between two hosts, or between all if none are given, are like that.
    Degrade(Option<(String, String)>, Conditions),
    /// The host is down; its program is started again at the end.
    Crash(String),
    /// As [`Crash`](Self::Crash), and its disk is lost too.
    CrashAndWipe(String),
    /// The host stands still.
    Pause(String),
    /// The host's wall clock is so many milliseconds ahead, or behind if negative.
    Clock(String, i64),
    /// Nothing moves on the host's disk.
    DiskStall(String),
    /// Writes and syncs on the host's disk fail.
    DiskError(String),
    /// Nothing more fits on the host's disk.
    DiskFull(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(side) => write!(f, "partition: {} from all others", side.join(", ")),
            Self::OneWay(from, to) => write!(f, "nothing passes from {from} to {to}"),
            Self::Degrade(Some((a, b)), to) => write!(f, "between {a} and {b}: {to:?}"),
            Self::Degrade(None, to) => write!(f, "between all: {to:?}"),
            Self::Crash(host) => write!(f, "{host} crashes"),
            Self::CrashAndWipe(host) => write!(f, "{host} crashes and loses its disk"),
            Self::Pause(host) => write!(f, "{host} is paused"),
            Self::Clock(host, ahead) => write!(f, "the clock of {host} is {ahead} ms ahead"),
            Self::DiskStall(host) => write!(f, "the disk of {host} stalls"),
            Self::DiskError(host) => write!(f, "the disk of {host} fails"),
            Self::DiskFull(host) => write!(f, "the disk of {host} is full"),
        }
    }
}

/// A fault, from when and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When it begins, from the begin of the schedule.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What goes wrong.
    pub fault: Fault,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lasts, fault } = self;
        write!(f, "at {at:.1?} for {lasts:.1?}: {fault}")
    }
}

/// Faults in the order in which they begin. They may overlap: what any of them breaks is broken for as long
/// as one of them lasts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    steps: Vec<Step>,
}

impl Schedule {
    /// Nothing goes wrong.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault.
    #[must_use]
    pub fn with(mut self, at: Duration, lasts: Duration, fault: Fault) -> Self {
        self.steps.push(Step { at, lasts, fault });
        self.steps.sort_by_key(|step| step.at);
        self
    }

    /// Its faults.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Only the faults with these numbers, counted from 0.
    #[must_use]
    pub fn only(&self, numbers: &[usize]) -> Self {
        let steps = numbers.iter().filter_map(|n| self.steps.get(*n));
        Self {
            steps: steps.cloned().collect(),
        }
    }

    /// When the last fault is over.
    pub fn ends(&self) -> Duration {
        let ends = self.steps.iter().map(|step| step.at + step.lasts);
        ends.max().unwrap_or_default()
    }

    /// Lets it happen to the hosts of `world`; completes when all is over and mended.
    pub async fn carry_out(&self, world: &World) {
        let mut times: BTreeSet<Duration> = BTreeSet::new();
        for step in &self.steps {
            times.extend([step.at, step.at + step.lasts]);
        }
        let began = rt::now();
        let mut inflicted = Inflicted::default();
        for time in times {
            rt::sleep_until(began + time).await;
            let lasts = |step: &&Step| step.at <= time && time < step.at + step.lasts;
            let active: Vec<_> = self
                .steps
                .iter()
                .filter(lasts)
                .map(|step| &step.fault)
                .collect();
            tracing::debug!(?active, "faults");
            inflicted.become_like(world, &active).await;
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}

/// What a schedule has broken and not mended yet.
#[derive(Debug, Default)]
struct Inflicted {
    cut: BTreeSet<(String, String)>,
    degraded: BTreeSet<(String, String)>,
    down: BTreeSet<String>,
    paused: BTreeSet<String>,
    clocks: BTreeSet<String>,
    disks: BTreeSet<String>,
}

impl Inflicted {
    /// Breaks what `active` says and mends what it does not say any more.
    async fn become_like(&mut self, world: &World, active: &[&Fault]) {
        let hosts = world
            .hosts()
            .into_iter()
            .map(|host| (host.name().to_owned(), host));
        let hosts: BTreeMap<String, Host> = hosts.collect();
        self.ways(world, &hosts, active);
        self.clocks(&hosts, active);
        self.disks(&hosts, active);
        self.pauses(&hosts, active);
        self.crashes(&hosts, active).await;
    }

    fn ways(&mut self, world: &World, hosts: &BTreeMap<String, Host>, active: &[&Fault]) {
        let names: Vec<_> = hosts.keys().cloned().collect();
        let (mut cut, mut degraded) = (BTreeSet::new(), BTreeMap::new());
        for from in &names {
            for to in &names {
                let way = (from.clone(), to.clone());
                for fault in active {
                    match fault {
                        Fault::Partition(side) if side.contains(from) != side.contains(to) => {
                            cut.insert(way.clone());
                        }
                        Fault::OneWay(a, b) if (a, b) == (from, to) => {
                            cut.insert(way.clone());
                        }
                        Fault::Degrade(None, conditions) => {
                            degraded.insert(way.clone(), conditions);
                        }
                        Fault::Degrade(Some((a, b)), conditions)
                            if (a, b) == (from, to) || (b, a) == (from, to) =>
                        {
                            degraded.insert(way.clone(), conditions);
                        }
                        _ => {}
                    }
                }
            }
        }
        for (from, to) in cut.symmetric_difference(&self.cut) {
            let now = cut.contains(&(from.clone(), to.clone()));
            world.set_cut(&hosts[from], &hosts[to], now);
        }
        for (from, to) in &self.degraded {
            world.set_link(&hosts[from], &hosts[to], None);
        }
        for ((from, to), conditions) in &degraded {
            world.set_link(&hosts[from], &hosts[to], Some((*conditions).clone()));
        }
        self.cut = cut;
        self.degraded = degraded.into_keys().collect();
    }

    fn clocks(&mut self, hosts: &BTreeMap<String, Host>, active: &[&Fault]) {
        for host in std::mem::take(&mut self.clocks) {
            hosts[&host].set_clock(0);
        }
        for fault in active {
            if let Fault::Clock(host, ahead) = fault
                && let Some(found) = hosts.get(host)
            {
                found.set_clock(*ahead);
                self.clocks.insert(host.clone());
            }
        }
    }

    fn disks(&mut self, hosts: &BTreeMap<String, Host>, active: &[&Fault]) {
        for host in std::mem::take(&mut self.disks) {
            hosts[&host].disk().repair();
        }
        for fault in active {
            let (Fault::DiskStall(name) | Fault::DiskError(name) | Fault::DiskFull(name)) = fault
            else {
                continue;
            };
            let Some(disk) = hosts.get(name).map(Host::disk) else {
                continue;
            };
            match fault {
                Fault::DiskStall(_) => disk.stall(FOR_EVER),
                Fault::DiskFull(_) => disk.set_capacity(Some(0)),
                _ => disk.fail_writes(Some(io::ErrorKind::Other)),
            }
            self.disks.insert(name.clone());
        }
    }

    fn pauses(&mut self, hosts: &BTreeMap<String, Host>, active: &[&Fault]) {
        let pauses = active.iter().filter_map(|fault| match fault {
            Fault::Pause(host) if hosts.contains_key(host) => Some(host.clone()),
            _ => None,
        });
        let paused: BTreeSet<_> = pauses.collect();
        for host in paused.difference(&self.paused) {
            hosts[host].pause();
        }
        for host in self.paused.difference(&paused) {
            hosts[host].resume();
        }
        self.paused = paused;
    }

    async fn crashes(&mut self, hosts: &BTreeMap<String, Host>, active: &[&Fault]) {
        let mut down = BTreeSet::new();
        for fault in active {
            let (Fault::Crash(name) | Fault::CrashAndWipe(name)) = fault else {
                continue;
            };
            let Some(host) = hosts.get(name) else {
                continue;
            };
            if !self.down.contains(name) {
                host.crash().await;
            }
            if matches!(fault, Fault::CrashAndWipe(_)) {
                host.disk().wipe();
            }
            down.insert(name.clone());
        }
        for host in self.down.difference(&down) {
            hosts[host].restart().await;
        }
        self.down = down;
    }
}
