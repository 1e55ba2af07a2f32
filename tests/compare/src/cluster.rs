//! Three children that are a cluster, and what it has acknowledged.

use std::{
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{
    child::{CHILD, DEADLINE, Reply, Request},
    measure::Load,
    peers::System,
    process::{self, Memory},
    seat::{MEMBERS, Seat},
};

/// How long a child that was told to end is waited for.
const ENDING: Duration = Duration::from_secs(5);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);

/// A cluster; its processes and files are gone once this is dropped.
pub(crate) struct Cluster {
    members: Vec<Remote>,
    /// What the balance must be.
    acknowledged: u64,
    /// After the members, which write to it.
    _dir: TempDir,
}

impl Cluster {
    /// Starts all members; all answer reads when this returns.
    pub(crate) async fn start(system: System) -> anyhow::Result<Self> {
        let dir = TempDir::new()?;
        let path: &Path = dir.path();
        let seats = Seat::all(system, path.to_owned())?;
        let members: Vec<_> = seats.iter().map(Remote::start).collect::<Result<_, _>>()?;
        let mut cluster = Self {
            members,
            acknowledged: 0,
            _dir: dir,
        };
        for member in &mut cluster.members {
            member.online().await?;
        }
        Ok(cluster)
    }

    /// Which member leads, and one that does not.
    pub(crate) async fn roles(&mut self) -> anyhow::Result<(usize, usize)> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut leaders = vec![];
            for (n, member) in self.members.iter_mut().enumerate() {
                if let Reply::Leads(true) = member.ask(Request::Leads).await? {
                    leaders.push(n);
                }
            }
            if let [leader] = leaders[..] {
                return Ok((leader, (leader + 1) % MEMBERS));
            }
            ensure!(Instant::now() < deadline, "these lead: {leaders:?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Writes through a member.
    pub(crate) async fn write(
        &mut self,
        member: usize,
        callers: usize,
        span: Duration,
    ) -> anyhow::Result<Load> {
        let request = Request::Write { callers, span };
        let load = self.members[member].load(request).await?;
        self.acknowledged += load.done;
        Ok(load)
    }

    /// Reads through a member what was acknowledged.
    pub(crate) async fn read(
        &mut self,
        member: usize,
        callers: usize,
        span: Duration,
    ) -> anyhow::Result<Load> {
        let expected = self.acknowledged;
        let request = Request::Read {
            callers,
            span,
            expected,
        };
        self.members[member].load(request).await
    }

    /// Kills a member; how long another then takes to acknowledge a write.
    pub(crate) async fn fail_over(
        &mut self,
        killed: usize,
        asked: usize,
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        process::kill(self.members[killed].process).await?;
        let reply = self.members[asked].ask(Request::Probe).await?;
        let took = started.elapsed();
        let Reply::Acknowledged { begun } = reply else {
            bail!("not asked for: {reply:?}");
        };
        let balance = self.members[asked].balance().await?;
        // What was begun and not acknowledged may be applied.
        let possible = self.acknowledged + 1..=self.acknowledged + begun;
        ensure!(
            possible.contains(&balance),
            "{balance} after the leader was killed, not in {possible:?}"
        );
        Ok(took)
    }

    /// Checks that each member has what was acknowledged, no more and no less.
    pub(crate) async fn check(&mut self) -> anyhow::Result<()> {
        let acknowledged = self.acknowledged;
        for member in &mut self.members {
            let balance = member.balance().await?;
            ensure!(
                balance == acknowledged,
                "the balance is {balance}, {acknowledged} acknowledged"
            );
        }
        Ok(())
    }

    /// What all members hold together.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let mut sum = Memory::default();
        for member in &self.members {
            sum = sum + process::memory(member.process)?;
        }
        Ok(sum)
    }
}

/// A child, and how to talk to it.
struct Remote {
    child: Child,
    /// None once it is told to end.
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    /// The process that is the member; the child's own until it says so.
    process: u32,
}

impl Remote {
    fn start(seat: &Seat) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([CHILD, &serde_json::to_string(seat)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("no output")?;
        Ok(Self {
            input: child.stdin.take(),
            output: BufReader::new(output).lines(),
            process: child.id().context("it has ended")?,
            child,
        })
    }

    async fn online(&mut self) -> anyhow::Result<()> {
        let Reply::Online { process } = self.reply().await? else {
            bail!("not online first");
        };
        self.process = process;
        Ok(())
    }

    async fn load(&mut self, request: Request) -> anyhow::Result<Load> {
        match self.ask(request).await? {
            Reply::Load(load) => Ok(load),
            other => bail!("not asked for: {other:?}"),
        }
    }

    async fn balance(&mut self) -> anyhow::Result<u64> {
        match self.ask(Request::Balance).await? {
            Reply::Balance(balance) => Ok(balance),
            other => bail!("not asked for: {other:?}"),
        }
    }

    async fn ask(&mut self, request: Request) -> anyhow::Result<Reply> {
        let line = format!("{}\n", serde_json::to_string(&request)?);
        let input = self.input.as_mut().context("it was told to end")?;
        input.write_all(line.as_bytes()).await?;
        let reply = self.reply().await;
        reply.with_context(|| format!("{request:?}"))
    }

    async fn reply(&mut self) -> anyhow::Result<Reply> {
        // The child has a deadline of its own, after which it says why.
        match timeout(2 * DEADLINE, self.next())
            .await
            .context("no answer")??
        {
            Reply::Failed(why) => bail!("{why}"),
            reply => Ok(reply),
        }
    }

    /// The next line that is a reply; libraries print others.
    async fn next(&mut self) -> anyhow::Result<Reply> {
        loop {
            let line = self.output.next_line().await?;
            let line = line.context("the process has ended")?;
            if let Ok(reply) = serde_json::from_str(&line) {
                return Ok(reply);
            }
        }
    }
}

impl Drop for Remote {
    /// Lets the child end what it has started, and waits until nobody writes to the directory any more.
    fn drop(&mut self) {
        self.input = None;
        let deadline = Instant::now() + ENDING;
        while matches!(self.child.try_wait(), Ok(None)) || process::runs(self.process) {
            if Instant::now() > deadline {
                // It may have ended just now.
                let _ = self.child.start_kill();
                return;
            }
            thread::sleep(LOOK);
        }
    }
}
