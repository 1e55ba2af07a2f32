//! The processes, and what is done to them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use mosaik_tests::Child;
use rustix::process::{Pid, Signal, kill_process};

use super::net::{self, Net};

/// Members; the client's host comes after theirs.
pub(crate) const MEMBERS: usize = 5;
/// Hosts.
pub(crate) const HOSTS: usize = MEMBERS + 1;
/// Size of each member's disk.
const DISK: &str = "96m";
/// How long anything may take: far more than it does, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether something has come to pass.
const LOOK: Duration = Duration::from_millis(50);
/// Commands after which a host is taken to make progress.
const PROGRESS: u64 = 20;

/// A group of processes.
pub(crate) struct Cluster {
    net: Net,
    dir: PathBuf,
    durable: bool,
    children: Vec<Option<Child>>,
    /// Where each process that was started records what its clients see, and its host.
    records: Vec<(usize, PathBuf)>,
}

impl Cluster {
    /// Starts all, and waits until they work.
    pub(crate) fn start(dir: &Path, durable: bool) -> anyhow::Result<Self> {
        let mut cluster = Self {
            net: Net::new(HOSTS)?,
            dir: dir.to_owned(),
            durable,
            children: (0..HOSTS).map(|_| None).collect(),
            records: Vec::new(),
        };
        if durable {
            for host in 0..MEMBERS {
                let disk = cluster.disk(host);
                fs::create_dir_all(&disk)?;
                let mut mount = std::process::Command::new("mount");
                let args = format!("-t tmpfs -o size={DISK} tmpfs {}", disk.display());
                net::run(&mut mount, &args)?;
            }
        }
        cluster.boot(&(0..HOSTS).collect::<Vec<_>>())?;
        Ok(cluster)
    }

    /// What is known of how the group is doing.
    pub(crate) fn explain(&mut self) -> String {
        let mut text = String::new();
        for host in 0..HOSTS {
            if let Ok(said) = self.ask(host, "explain") {
                text += &format!("host {host}: {said}\n");
            }
        }
        text
    }

    /// Where the clients of each process recorded what they saw, and on which host it was.
    pub(crate) fn records(&self) -> &[(usize, PathBuf)] {
        &self.records
    }

    fn disk(&self, host: usize) -> PathBuf {
        self.dir.join(format!("disk-{host}"))
    }

    /// Starts the processes of these hosts, and waits until they are online and the group is whole.
    pub(crate) fn boot(&mut self, hosts: &[usize]) -> anyhow::Result<()> {
        for host in hosts {
            let boot = self.records.len() + 1;
            let record = self.dir.join(format!("record-{boot}"));
            self.records.push((*host, record.clone()));
            let dir = if *host >= MEMBERS {
                PathBuf::from("client")
            } else if self.durable {
                self.disk(*host).join("data")
            } else {
                PathBuf::from("-")
            };
            let mut command = self.net.on(*host);
            command.arg(std::env::current_exe()?).args([
                "member",
                &host.to_string(),
                &HOSTS.to_string(),
                &boot.to_string(),
            ]);
            command.arg(record).arg(dir);
            self.children[*host] = Some(Child::command(command));
        }
        for host in hosts {
            self.child(*host)?.expect("online");
            self.whole(*host)?;
            self.ask(*host, "go")?;
        }
        Ok(())
    }

    /// Waits until all members vote, as a host sees it.
    pub(crate) fn whole(&mut self, host: usize) -> anyhow::Result<()> {
        self.ask(host, &format!("voters {MEMBERS}")).map(drop)
    }

    fn child(&mut self, host: usize) -> anyhow::Result<&mut Child> {
        let child = self.children[host].as_mut();
        child.with_context(|| format!("host {host} does not run"))
    }

    /// Tells a process something, and returns what it answers.
    pub(crate) fn ask(&mut self, host: usize, line: &str) -> anyhow::Result<String> {
        let word = line.split(' ').next().unwrap_or_default().to_owned();
        let child = self.child(host)?;
        child.tell(line);
        let answer = child.expect(&word);
        let rest = answer.strip_prefix(&word).unwrap_or(&answer);
        Ok(rest.trim().to_owned())
    }

    /// Who leads, as a host sees it and the leader itself, once one does that is not among `gone`.
    pub(crate) fn leader(&mut self, seen_by: usize, gone: &[usize]) -> anyhow::Result<usize> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            let seen: Option<usize> = self.ask(seen_by, "leader")?.parse().ok();
            if let Some(leader) = seen.filter(|leader| !gone.contains(leader))
                && self.ask(leader, "leader")? == leader.to_string()
            {
                return Ok(leader);
            }
            std::thread::sleep(LOOK);
        }
        bail!("no leader within {LIMIT:?}\n{}", self.explain())
    }

    /// Waits until a member says that its log cannot be written.
    pub(crate) fn trouble(&mut self, host: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if self.ask(host, "explain")?.contains("storage") {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("host {host} does not notice\n{}", self.explain())
    }

    /// Waits until commands of all these hosts are acknowledged again.
    pub(crate) fn progress(&mut self, hosts: &[usize]) -> anyhow::Result<()> {
        let mut before = Vec::new();
        for host in hosts {
            before.push(self.count(*host)?);
        }
        let began = Instant::now();
        for (host, before) in hosts.iter().zip(before) {
            while self.count(*host)? < before + PROGRESS {
                if began.elapsed() > LIMIT {
                    bail!("host {host} makes no progress\n{}", self.explain());
                }
                std::thread::sleep(LOOK);
            }
        }
        Ok(())
    }

    fn count(&mut self, host: usize) -> anyhow::Result<u64> {
        Ok(self.ask(host, "count")?.parse()?)
    }

    /// Kills processes, all at once.
    pub(crate) fn kill(&mut self, hosts: &[usize]) -> anyhow::Result<()> {
        for host in hosts {
            self.signal(*host, Signal::KILL)?;
        }
        for host in hosts {
            self.children[*host] = None;
        }
        Ok(())
    }

    /// Sends a process a signal.
    pub(crate) fn signal(&mut self, host: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child(host)?.id())?;
        let pid = Pid::from_raw(pid).context("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends a process in good order, with its workers first.
    pub(crate) fn shut_down(&mut self, host: usize) -> anyhow::Result<()> {
        self.ask(host, "stop")?;
        self.ask(host, "shutdown")?;
        self.children[host] = None;
        Ok(())
    }

    /// Pulls a host's cable, or puts it back.
    pub(crate) fn plug(&self, host: usize, plugged: bool) -> anyhow::Result<()> {
        self.net.plug(host, plugged)
    }

    /// Has nothing that the first send arrive at the second, or all of it again.
    pub(crate) fn mute(&self, from: &[usize], to: &[usize], mute: bool) -> anyhow::Result<()> {
        for from in from {
            for to in to {
                self.net.mute(*from, *to, mute)?;
            }
        }
        Ok(())
    }

    /// Fills a member's disk, or makes room again.
    pub(crate) fn fill(&self, host: usize, full: bool) -> anyhow::Result<()> {
        let ballast = self.disk(host).join("ballast");
        if !full {
            return Ok(fs::remove_file(ballast)?);
        }
        use std::io::Write as _;
        let mut file = fs::File::create(ballast)?;
        let block = vec![0; 64 * 1024];
        // Until there is no room for a block, and then for no page of one.
        for block in [&block[..], &block[..4096]] {
            while file.write_all(block).is_ok() {}
        }
        Ok(())
    }

    /// Where a member writes its state.
    fn state(&self, host: usize) -> PathBuf {
        self.dir.join(format!("state-{host}"))
    }

    /// Where all members have written theirs.
    pub(crate) fn states(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..MEMBERS).map(|host| self.state(host))
    }

    /// Stops the workers of all, and returns what each member holds.
    pub(crate) fn finish(&mut self) -> anyhow::Result<Vec<String>> {
        for host in 0..HOSTS {
            self.ask(host, "stop")?;
        }
        let mut states = Vec::new();
        for host in 0..MEMBERS {
            let path = self.state(host);
            self.ask(host, &format!("state {}", path.display()))?;
            states.push(fs::read_to_string(path)?);
        }
        ensure!(!states.is_empty(), "no states");
        Ok(states)
    }
}

impl Drop for Cluster {
    /// Nothing of it may keep the folder that it is in.
    fn drop(&mut self) {
        self.children.clear();
        for host in (0..MEMBERS).filter(|_| self.durable) {
            let mut unmount = std::process::Command::new("umount");
            if let Err(error) = net::run(&mut unmount, &format!("{}", self.disk(host).display())) {
                eprintln!("{error:#}");
            }
        }
    }
}
