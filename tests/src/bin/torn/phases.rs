//! What goes wrong, one after the other.

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use super::{
    cluster::{Cluster, HOSTS, MEMBERS},
    record::now,
    verdict::{self, Window},
};

/// How long what is wrong stays so: longer than a lease, an election and the time-out of a command together.
const FAULT: Duration = Duration::from_secs(5);

/// A run, and what was done when.
struct Run {
    cluster: Cluster,
    windows: Vec<Window>,
    /// What is to go wrong, if not all.
    only: Vec<String>,
}

/// Runs with logs on disk or in memory: all that goes wrong, or what is called so.
pub(crate) fn run(mode: &str, only: &[&str]) -> anyhow::Result<()> {
    let durable = match mode {
        "durable" => true,
        "volatile" => false,
        other => bail!("`durable` or `volatile`, not `{other}`"),
    };
    let dir = tempfile::tempdir()?;
    let mut run = Run {
        cluster: Cluster::start(dir.path(), durable)?,
        windows: Vec::new(),
        only: only.iter().map(|name| (*name).to_owned()).collect(),
    };
    let torn = run.tear(durable);
    torn.with_context(|| format!("{mode}\n{}", run.cluster.explain()))?;
    let states = run.cluster.finish()?;
    verdict::check(mode, &run.cluster, &run.windows, &states)
}

impl Run {
    fn tear(&mut self, durable: bool) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..HOSTS).collect();
        self.phase("nothing", |run, _| run.cluster.progress(&all))?;
        self.phase("leader killed", Self::kill_leader)?;
        self.phase("leader killed again", Self::kill_leader)?;
        self.phase("leader's cable pulled", Self::unplug_leader)?;
        self.phase("split 2|3, leader in the smaller part", |run, leader| {
            let other = (leader + 1) % MEMBERS;
            run.split(&[leader, other])
        })?;
        self.phase("split 1|4, a follower alone", |run, leader| {
            run.split(&[(leader + 1) % MEMBERS])
        })?;
        self.phase("leader heard by nobody", |run, leader| {
            run.one_way(leader, true)
        })?;
        self.phase("leader hears nobody", |run, leader| {
            run.one_way(leader, false)
        })?;
        self.phase("leader stopped, and continued", Self::freeze_leader)?;
        self.phase("split 2|4, leader and client alone", |run, leader| {
            run.split(&[leader, MEMBERS])
        })?;
        self.phase("client killed, and started again", |run, _| {
            run.cluster.kill(&[MEMBERS])?;
            run.cluster.boot(&[MEMBERS])
        })?;
        self.phase("client stopped, and continued", |run, _| {
            run.freeze(MEMBERS)
        })?;
        if durable {
            self.phase("a follower's disk full", |run, leader| {
                run.fill_disk((leader + 1) % MEMBERS)
            })?;
            self.phase("leader's disk full", Self::fill_disk)?;
            self.phase("all killed at once", |run, _| {
                let members: Vec<usize> = (0..MEMBERS).collect();
                run.cluster.kill(&members)?;
                run.cluster.boot(&members)
            })?;
        }
        self.phase("each restarted in turn", Self::restart_each)
    }

    /// Does something to a group that is well, with its leader, until it is well again.
    fn phase(
        &mut self,
        name: &'static str,
        tear: impl FnOnce(&mut Self, usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if !self.only.is_empty() && !self.only.iter().any(|only| only == name) {
            return Ok(());
        }
        let leader = self.cluster.leader(MEMBERS, &[])?;
        self.windows.push(Window::new(name));
        tear(self, leader).context(name)?;
        let all: Vec<usize> = (0..HOSTS).collect();
        self.cluster.progress(&all).context(name)?;
        for host in all {
            self.cluster.whole(host).context(name)?;
        }
        self.window().end = now();
        Ok(())
    }

    fn window(&mut self) -> &mut Window {
        let last = self.windows.len() - 1;
        &mut self.windows[last]
    }

    /// All but these.
    fn others(without: &[usize]) -> Vec<usize> {
        (0..HOSTS).filter(|host| !without.contains(host)).collect()
    }

    fn kill_leader(&mut self, leader: usize) -> anyhow::Result<()> {
        self.cluster.kill(&[leader])?;
        self.replaced(&[leader])?;
        self.cluster.boot(&[leader])
    }

    fn unplug_leader(&mut self, leader: usize) -> anyhow::Result<()> {
        self.cluster.plug(leader, false)?;
        self.cut_off(&[leader])?;
        self.cluster.plug(leader, true)
    }

    fn split(&mut self, smaller: &[usize]) -> anyhow::Result<()> {
        let larger = Self::others(smaller);
        self.cluster.mute(smaller, &larger, true)?;
        self.cluster.mute(&larger, smaller, true)?;
        self.cut_off(smaller)?;
        self.cluster.mute(smaller, &larger, false)?;
        self.cluster.mute(&larger, smaller, false)
    }

    /// These are cut off from the others now: they acknowledge nothing, and the others go on.
    fn cut_off(&mut self, smaller: &[usize]) -> anyhow::Result<()> {
        let cut = now();
        self.replaced(smaller)?;
        sleep(FAULT);
        self.window().cut_off = Some((smaller.to_vec(), cut, now()));
        Ok(())
    }

    fn one_way(&mut self, leader: usize, mute: bool) -> anyhow::Result<()> {
        let (leader, others) = (vec![leader], Self::others(&[leader]));
        let (from, to) = if mute {
            (&leader, &others)
        } else {
            (&others, &leader)
        };
        self.cluster.mute(from, to, true)?;
        self.replaced(&leader)?;
        sleep(FAULT);
        self.cluster.mute(from, to, false)
    }

    fn freeze_leader(&mut self, leader: usize) -> anyhow::Result<()> {
        self.cluster.signal(leader, Signal::STOP)?;
        self.replaced(&[leader])?;
        sleep(FAULT);
        self.cluster.signal(leader, Signal::CONT)
    }

    fn freeze(&mut self, host: usize) -> anyhow::Result<()> {
        self.cluster.signal(host, Signal::STOP)?;
        self.cluster.progress(&Self::others(&[host]))?;
        sleep(FAULT);
        self.cluster.signal(host, Signal::CONT)
    }

    /// Waits until the others are led by one of them, and go on.
    fn replaced(&mut self, gone: &[usize]) -> anyhow::Result<()> {
        let others = Self::others(gone);
        let seen_by = *others.first().context("nobody is left")?;
        self.cluster.leader(seen_by, gone)?;
        self.cluster.progress(&others)
    }

    fn fill_disk(&mut self, host: usize) -> anyhow::Result<()> {
        self.cluster.fill(host, true)?;
        self.cluster.trouble(host)?;
        self.cluster.progress(&Self::others(&[host]))?;
        sleep(FAULT);
        self.cluster.progress(&Self::others(&[host]))?;
        self.cluster.fill(host, false)
    }

    fn restart_each(&mut self, _: usize) -> anyhow::Result<()> {
        self.window().flawless = true;
        for host in 0..MEMBERS {
            self.cluster.shut_down(host)?;
            self.cluster.progress(&Self::others(&[host]))?;
            self.cluster.boot(&[host])?;
        }
        Ok(())
    }
}
