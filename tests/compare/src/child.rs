//! This program once more, as a child: a member, or a server that is one and this as its client.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    measure::{self, Load},
    peers::{self, Member, System},
    seat::Seat,
};

/// The first argument of a child; the second is its seat.
pub(crate) const CHILD: &str = "--child";
/// Far above what any step takes, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Time between two tries of what cannot be done yet.
const RETRY: Duration = Duration::from_millis(5);
/// Time between two writes that look for a new leader.
const PROBE: Duration = Duration::from_millis(5);

/// What a child is asked, a line each, one after another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Writes with so many callers at once.
    Write {
        /// How many.
        callers: usize,
        /// For how long.
        span: Duration,
    },
    /// Reads with so many callers at once.
    Read {
        /// How many.
        callers: usize,
        /// For how long.
        span: Duration,
        /// What every one of them must see.
        expected: u64,
    },
    /// Reads once.
    Balance,
    /// Says whether it leads.
    Leads,
    /// Begins one write after another, without waiting for those before, until one is acknowledged.
    Probe,
}

/// What a child says, a line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The first of all: reads are answered.
    Online {
        /// The process that is the member.
        process: u32,
    },
    /// To `Write` and `Read`.
    Load(Load),
    /// To `Balance`.
    Balance(u64),
    /// To `Leads`.
    Leads(bool),
    /// To `Probe`.
    Acknowledged {
        /// How many writes were begun; one or more are acknowledged.
        begun: u64,
    },
    /// To anything.
    Failed(String),
}

/// Takes part until its input ends; never returns.
pub(crate) async fn run(args: Vec<String>) -> anyhow::Result<()> {
    let (requests, inbox) = mpsc::channel(1);
    let ended = tokio::select! {
        biased;
        ended = listen(requests) => ended,
        ended = serve(&args, inbox) => ended,
    };
    if let Err(error) = &ended {
        say(&Reply::Failed(format!("{error:#}")))?;
    }
    // Threads of the peers would be waited for, some of them for ever.
    std::process::exit(ended.is_err().into());
}

/// Passes on what the parent writes, until it is gone.
async fn listen(requests: mpsc::Sender<Request>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        requests.send(serde_json::from_str(&line)?).await?;
    }
    Ok(())
}

async fn serve(args: &[String], inbox: mpsc::Receiver<Request>) -> anyhow::Result<()> {
    let [seat] = args else {
        anyhow::bail!("a child has one seat: {args:?}");
    };
    let seat: Seat = serde_json::from_str(seat)?;
    match seat.system {
        System::Mosaik | System::InMemory => {
            answer(peers::Mosaik::start(&seat).await?, inbox).await
        }
        #[cfg(feature = "etcd")]
        System::Etcd => {
            let (_server, member) = peers::Etcd::start(&seat).await?;
            answer(member, inbox).await
        }
        #[cfg(feature = "hiqlite")]
        System::Hiqlite => answer(peers::Hiqlite::start(&seat).await?, inbox).await,
        #[cfg(not(all(feature = "etcd", feature = "hiqlite")))]
        other => anyhow::bail!("{} is not built in", other.name()),
    }
}

/// Answers requests, one after another.
async fn answer(member: impl Member, mut inbox: mpsc::Receiver<Request>) -> anyhow::Result<()> {
    let member = Arc::new(member);
    online(&*member).await?;
    say(&Reply::Online {
        process: member.process(),
    })?;
    while let Some(request) = inbox.recv().await {
        let reply = handle(&member, request).await;
        say(&reply.unwrap_or_else(|error| Reply::Failed(format!("{error:#}"))))?;
    }
    Ok(())
}

/// Waits until reads are answered.
async fn online(member: &impl Member) -> anyhow::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match member.read().await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.context("not online")),
            Err(_) => sleep(RETRY).await,
        }
    }
}

async fn handle<M: Member>(member: &Arc<M>, request: Request) -> anyhow::Result<Reply> {
    let here = member.clone();
    Ok(match request {
        Request::Write { callers, span } => {
            let write = move || {
                let here = here.clone();
                async move { here.write().await }
            };
            Reply::Load(measure::load(callers, span, write).await?)
        }
        Request::Read {
            callers,
            span,
            expected,
        } => {
            let read = move || {
                let here = here.clone();
                async move {
                    let balance = here.read().await?;
                    ensure!(balance == expected, "read {balance}, not {expected}");
                    Ok(())
                }
            };
            Reply::Load(measure::load(callers, span, read).await?)
        }
        Request::Balance => Reply::Balance(member.read().await?),
        Request::Leads => Reply::Leads(member.leads().await?),
        Request::Probe => Reply::Acknowledged {
            begun: probe(member).await?,
        },
    })
}

/// Begins writes until one is acknowledged; how many.
///
/// A call that was under way when the leader died may wait for long, in some systems for its own timeout. What
/// counts is when the cluster serves again.
async fn probe<M: Member>(member: &Arc<M>) -> anyhow::Result<u64> {
    let deadline = Instant::now() + DEADLINE;
    let mut ticks = interval(PROBE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut calls = JoinSet::new();
    let mut begun = 0;
    loop {
        tokio::select! {
            biased;
            Some(ended) = calls.join_next() => match ended? {
                Ok(()) => return Ok(begun),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("no write was acknowledged");
                }
                // The next may be.
                Err(_) => {}
            },
            _ = ticks.tick() => {
                let member = member.clone();
                calls.spawn(async move { member.write().await });
                begun += 1;
            }
        }
    }
}

fn say(reply: &Reply) -> anyhow::Result<()> {
    // Alone on its line, whatever a library has printed before.
    println!("\n{}", serde_json::to_string(reply)?);
    Ok(())
}
