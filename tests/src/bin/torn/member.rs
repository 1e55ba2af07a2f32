//! One process: a member of the group, or a client of it, and workers that use it all the while.
//!
//! `torn member HOST HOSTS BOOT RECORD DIR`: DIR is `-` for a log in memory, and `client` for none. It reads lines:
//! `go` and `stop` start and stop its workers, `count` tells how many commands were acknowledged here, `leader` which
//! host leads, `voters N` waits for so many, `state FILE` writes the state down, `explain` says how the group is
//! doing, `shutdown` ends it in good order. Each is answered by a line that begins with the same word.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use mosaik::{
    Group, Network, PeerAddr, SecretKey,
    groups::{Durability, GroupClient, GroupError, When},
};
use mosaik_tests::{
    groups::Op,
    machines::{Change, Registers},
};
use rand::RngExt as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::{RwLock, watch},
};

use tracing_subscriber::EnvFilter;

use super::{bank::Teller, net::address, record::Recorder};

/// Members that found the group: more than half of the five, so that they found it once.
const FOUNDERS: usize = 3;
/// Workers of each process.
const WORKERS: u64 = 3;
/// Registers that all use.
const KEYS: u64 = 64;
/// Longest pause of a worker between two operations, in milliseconds.
const PAUSE: u64 = 60;
/// Where each host listens.
const PORT: u16 = 7077;

/// The key of a host.
pub(crate) fn key(host: usize) -> SecretKey {
    SecretKey::from_bytes([u8::try_from(host + 1).unwrap_or(u8::MAX); 32])
}

/// What a process uses the group by.
#[derive(Clone)]
enum Handle {
    Member(Group<Registers>),
    Client(GroupClient<Registers>),
}

impl Handle {
    fn when(&self) -> When {
        match self {
            Self::Member(group) => group.when(),
            Self::Client(client) => client.when(),
        }
    }

    async fn change(&self, change: Change) -> Result<u64, GroupError> {
        match self {
            Self::Member(group) => group.execute(change).await,
            Self::Client(client) => client.execute(change).await,
        }
    }

    async fn get(&self, key: u64) -> Result<u64, GroupError> {
        match self {
            Self::Member(group) => group.query(key).await,
            Self::Client(client) => client.query(key).await,
        }
    }
}

/// What the workers share.
struct Work {
    handle: Handle,
    /// Of a member.
    teller: Option<Teller>,
    recorder: Recorder,
    ids: AtomicU64,
    acknowledged: AtomicU64,
    /// Whether they are to go on.
    goes: watch::Sender<bool>,
    /// Held by each while it waits for an answer.
    busy: RwLock<()>,
}

/// Runs the process.
#[tokio::main]
pub(crate) async fn run(args: &[&str]) -> anyhow::Result<()> {
    let [host, hosts, boot, record, dir] = args else {
        bail!("five arguments, not {}", args.len());
    };
    let log = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    let log = tracing_subscriber::fmt().with_env_filter(log);
    log.with_writer(std::io::stderr).init();
    let (host, hosts): (usize, usize) = (host.parse()?, hosts.parse()?);
    let boot: u64 = boot.parse()?;
    let socket =
        |host| -> anyhow::Result<SocketAddr> { Ok((format!("{}:{PORT}", address(host))).parse()?) };
    let mut others = Vec::new();
    for other in (0..hosts).filter(|other| *other != host) {
        others.push(PeerAddr::new(key(other).peer()).with_ip(socket(other)?));
    }
    let mut builder = Network::builder("torn")
        .offline()
        .local_rendezvous(false)
        .secret_key(key(host))
        .bind(socket(host)?)
        .bootstrap(others);
    let durable = !matches!(*dir, "-" | "client");
    if durable {
        builder = builder.data_dir(dir);
    }
    let network = builder.build().await?;
    let group = network.groups().builder::<Registers>("registers");
    let group = group
        .founders(FOUNDERS)
        .evict_after(Duration::from_secs(10))
        .command_timeout(Duration::from_secs(3));
    let handle = match *dir {
        "client" => Handle::Client(group.connect()),
        "-" => Handle::Member(group.durable(Durability::Volatile).join()),
        _ => Handle::Member(group.durable(Durability::Required).join()),
    };
    let teller = match *dir {
        "client" => None,
        _ => Some(Teller::new(&network, durable, record)?),
    };
    let work = Arc::new(Work {
        handle: handle.clone(),
        teller,
        recorder: Recorder::new(record)?,
        ids: AtomicU64::new(boot << 32),
        acknowledged: AtomicU64::new(0),
        goes: watch::Sender::new(false),
        busy: RwLock::new(()),
    });
    for worker in 0..WORKERS {
        let working = work.clone().work(boot * WORKERS + worker, worker == 0);
        tokio::spawn(or_exit(working));
    }
    handle.when().online().await;
    if let Some(teller) = &work.teller {
        teller.online().await;
        tokio::spawn(or_exit(work.clone().tell()));
    }
    println!("online");
    obey(&network, &work, hosts).await
}

/// Ends the process if something fails.
async fn or_exit(working: impl Future<Output = anyhow::Result<()>>) {
    if let Err(error) = working.await {
        eprintln!("{error:#}");
        std::process::exit(1);
    }
}

/// Does what it is told.
async fn obey(network: &Network, work: &Work, hosts: usize) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["go"] => {
                work.goes.send_replace(true);
                println!("go");
            }
            ["stop"] => {
                work.goes.send_replace(false);
                drop(work.busy.write().await);
                println!("stop");
            }
            ["count"] => println!("count {}", work.acknowledged.load(Ordering::Relaxed)),
            ["leader"] => {
                let leader = match &work.handle {
                    Handle::Member(group) => group.leader(),
                    Handle::Client(client) => client.leader(),
                };
                let host = (0..hosts).find(|host| leader == Some(key(*host).peer()));
                match host {
                    Some(host) => println!("leader {host}"),
                    None => println!("leader none"),
                }
            }
            ["voters", count] => {
                work.handle.when().online().await;
                work.handle.when().voters(count.parse()?).await;
                println!("voters {count}");
            }
            ["state", path] => {
                std::fs::write(path, state(&work.handle).await?)?;
                if let Some(teller) = &work.teller {
                    teller.write_state(path).await?;
                }
                println!("state");
            }
            ["explain"] => {
                println!(
                    "explain {}",
                    network.explain().to_string().replace('\n', " | ")
                );
            }
            ["shutdown"] => break,
            _ => bail!("not understood: {line}"),
        }
    }
    network.shutdown().await;
    println!("shutdown");
    Ok(())
}

/// What this member's replica holds, with all that was acknowledged before.
async fn state(handle: &Handle) -> anyhow::Result<String> {
    let Handle::Member(group) = handle else {
        bail!("a client holds no state");
    };
    let state = group.read(Registers::clone).await?;
    let mut text = format!("context {}\n", state.context());
    for key in 0..KEYS {
        writeln!(text, "value {key} {}", state.get(key))?;
    }
    for id in state.applied() {
        writeln!(text, "applied {id}")?;
    }
    Ok(text)
}

impl Work {
    /// Changes and reads registers whenever it may, or only reads: so it never waits for one answer for long.
    async fn work(self: Arc<Self>, client: u64, reads: bool) -> anyhow::Result<()> {
        self.again_and_again(|| self.once(client, reads)).await
    }

    /// Moves money whenever it may.
    async fn tell(self: Arc<Self>) -> anyhow::Result<()> {
        let Some(teller) = &self.teller else {
            return Ok(());
        };
        self.again_and_again(|| teller.once(self.ids.fetch_add(1, Ordering::Relaxed)))
            .await
    }

    async fn again_and_again<F: Future<Output = anyhow::Result<()>>>(
        &self,
        once: impl Fn() -> F,
    ) -> anyhow::Result<()> {
        let mut goes = self.goes.subscribe();
        loop {
            goes.wait_for(|goes| *goes).await.context("the end")?;
            let busy = self.busy.read().await;
            if *self.goes.borrow() {
                once().await?;
            }
            drop(busy);
            let pause = rand::rng().random_range(0..PAUSE);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn once(&self, client: u64, reads: bool) -> anyhow::Result<()> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (key, add, reads) = {
            let mut random = rand::rng();
            let key = random.random_range(0..KEYS);
            (
                key,
                random.random_range(1..10),
                reads || random.random_range(0..3) == 0,
            )
        };
        let change = Change { id, key, add };
        let op = if reads {
            Op::Get(key)
        } else {
            Op::Change(change.clone())
        };
        self.recorder.invoke(id, client, &op)?;
        let mut result = if reads {
            self.handle.get(key).await
        } else {
            self.handle.change(change).await
        };
        if let Err(GroupError::Timeout(pending)) = result {
            result = pending.outcome().await;
        }
        match result {
            Ok(value) => {
                self.recorder.ok(id, value)?;
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // A query changes nothing, however it ends.
            Err(_) if reads => self.recorder.failed(id)?,
            Err(GroupError::Unavailable(_) | GroupError::Busy) => self.recorder.failed(id)?,
            Err(_) => self.recorder.unknown(id)?,
        }
        Ok(())
    }
}
