//! etcd: a server beside this process, and a client of it.

use std::{fs, net::SocketAddr, path::Path, process::Stdio, thread, time::Duration};

use anyhow::{Context as _, bail};
use etcd_client::{Client, KvClient};
use tokio::process::{Child, Command};

use super::{
    Member,
    member::{ACCOUNT, AMOUNT},
};
use crate::seat::Seat;

/// The server's program.
const PROGRAM: &str = "etcd";
/// How often is looked whether the server is there, or gone.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes at the end of a server's log that an error shows.
const LOG_TAIL: usize = 2000;

/// The version of the server that is installed.
pub(super) fn version() -> anyhow::Result<String> {
    let output = std::process::Command::new(PROGRAM)
        .arg("--version")
        .output();
    let output = output.context("no `etcd` in the `PATH`: Debian has it in `etcd-server`")?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = output
        .lines()
        .next()
        .context("`etcd --version` says nothing")?;
    Ok(version.trim_start_matches("etcd Version: ").to_owned())
}

/// The client of one member alone.
pub(crate) struct Etcd {
    client: Client,
    /// Cloned for each call, as its methods need it alone.
    keys: KvClient,
    process: u32,
}

impl Etcd {
    /// Starts a server with its default options, and waits until it knows a leader.
    ///
    /// The server is the caller's, who drops it at the end: calls that are under way hold on to the client.
    pub(crate) async fn start(seat: &Seat) -> anyhow::Result<(Server, Self)> {
        let mut server = Server::start(seat)?;
        let process = server.0.id().context("the server has ended")?;
        let endpoint = url(seat.own_addresses().clients);
        let client = Client::connect([endpoint], None).await?;
        loop {
            let status = client.clone().status().await;
            if status.is_ok_and(|status| status.leader() != 0) {
                break;
            }
            if let Some(ended) = server.0.try_wait()? {
                bail!("the server ended, {ended}: {}", tail(&log(seat)));
            }
            tokio::time::sleep(LOOK).await;
        }
        let member = Self {
            keys: client.kv_client(),
            client,
            process,
        };
        Ok((server, member))
    }
}

impl Member for Etcd {
    async fn write(&self) -> anyhow::Result<()> {
        let amount = AMOUNT.to_be_bytes();
        self.keys.clone().put(ACCOUNT, amount, None).await?;
        Ok(())
    }

    /// A key's version says how often it was put: what was added, one by one.
    async fn read(&self) -> anyhow::Result<u64> {
        let answer = self.keys.clone().get(ACCOUNT, None).await?;
        let version = answer.kvs().first().map(|entry| entry.version());
        Ok(u64::try_from(version.unwrap_or_default())? * AMOUNT)
    }

    async fn leads(&self) -> anyhow::Result<bool> {
        let status = self.client.clone().status().await?;
        let me = status.header().context("no header")?.member_id();
        Ok(status.leader() == me)
    }

    fn process(&self) -> u32 {
        self.process
    }
}

/// A server, which is gone once this is dropped.
pub(crate) struct Server(Child);

impl Server {
    fn start(seat: &Seat) -> anyhow::Result<Self> {
        let own = seat.own_addresses();
        let (clients, members) = (url(own.clients), url(own.members));
        let cluster = seat.addresses.iter().enumerate();
        let cluster = cluster.map(|(n, member)| format!("{n}={}", url(member.members)));
        let cluster: Vec<_> = cluster.collect();
        let log = fs::File::create(log(seat))?;
        let mut command = Command::new(PROGRAM);
        command
            .args(["--name", &seat.number.to_string()])
            .arg("--data-dir")
            .arg(seat.own_dir())
            .args(["--listen-client-urls", &clients])
            .args(["--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &members])
            .args(["--initial-advertise-peer-urls", &members])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", "new"])
            // The environment may hold other options.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        Ok(Self(command.spawn().context("`etcd` does not start")?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; either way nobody writes to its directory afterwards.
        if self.0.start_kill().is_ok() {
            while let Ok(None) = self.0.try_wait() {
                thread::sleep(LOOK);
            }
        }
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn log(seat: &Seat) -> std::path::PathBuf {
    seat.dir.join(format!("{}.log", seat.number))
}

/// The end of a file.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(LOG_TAIL)..];
    String::from_utf8_lossy(tail).into_owned()
}
