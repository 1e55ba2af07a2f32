//! What the programs of the upgrade tests have in common: one bank, of which each knows a version.

use std::{fmt::Debug, ops::Deref, sync::Arc, time::Duration};

use mosaik::{
    Group, Network, PeerId,
    groups::{GroupError, Member},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::watch,
};

/// How long no command may take. Members come and go, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A version of the bank, as its handle shows it.
pub trait Version: Deref<Target = Group<Self::State>> + Clone + Send + Sync + 'static {
    /// What it replicates.
    type State: Send + Sync + 'static;

    /// Takes part.
    fn join(network: &Network, patience: Duration) -> Self;

    /// Adds to an account; returns the new balance.
    fn deposit(&self, account: String) -> impl Future<Output = Result<u64, GroupError>> + Send;

    /// What an account has.
    fn balance(
        &self,
        account: String,
    ) -> impl Future<Output = Result<Option<u64>, GroupError>> + Send;

    /// What only this version can do.
    fn special(&self) -> impl Future<Output = Result<u64, GroupError>> + Send;
}

/// Runs a member, which does what it is told until it is killed: `program NETWORK DIR BOOTSTRAP…`.
///
/// It reads lines: `deposit ACCOUNT`, `balance ACCOUNT`, `special`, `lead PEER`, `members`, `voters`,
/// `explain`, `load` (deposits one after the other), `unload`, `leave`, `stop`. It says by itself when it is online, and why it is closed.
///
/// # Errors
/// When it cannot start, or is told something else.
pub async fn run<V: Version>() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [network, dir, bootstrap @ ..] = args.as_slice() else {
        anyhow::bail!("at least two arguments, not {}", args.len());
    };
    let builder = crate::loopback(network).data_dir(dir).bootstrap(bootstrap);
    let network = builder.build().await?;
    println!("ticket {}", network.local().ticket());
    println!("id {}", network.local().id());
    let bank = V::join(&network, PATIENCE);
    let (online, closed) = (bank.when().online(), bank.when().closed());
    tokio::spawn(async move {
        online.await;
        println!("online");
    });
    tokio::spawn(async move { println!("closed {}", closed.await) });
    let mut load = None;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["stop"] => break,
            ["deposit", account] => say("deposited", bank.deposit((*account).into()).await),
            ["balance", account] => say("balance", bank.balance((*account).into()).await),
            ["special"] => say("special", bank.special().await),
            ["lead", peer] => {
                let peer: PeerId = peer.parse()?;
                println!("led {:?}", bank.transfer_leadership(peer).await);
            }
            ["members"] => println!("members {}", peers(&bank, |_| true)),
            ["voters"] => println!("voters {}", peers(&bank, |member| member.voter)),
            ["leave"] => {
                bank.leave().await;
                println!("left");
            }
            ["explain"] => println!(
                "explain {}",
                bank.explain().to_string().replace('\n', " | ")
            ),
            ["load"] => load = Some(Load::start(bank.clone())),
            ["unload"] => match load.take() {
                Some(load) => println!("{}", load.stop().await?),
                None => anyhow::bail!("there is no load"),
            },
            other => anyhow::bail!("no command {other:?}"),
        }
    }
    network.shutdown().await;
    println!("stopped");
    Ok(())
}

fn peers<M>(group: &Group<M>, of: impl Fn(&Member) -> bool) -> String {
    let members = group.members().into_iter().filter(of);
    let peers: Vec<String> = members.map(|member| member.peer.to_string()).collect();
    peers.join(" ")
}

fn say<T: Debug>(what: &str, result: Result<T, GroupError>) {
    match result {
        Ok(value) => println!("{what} {value:?}"),
        Err(GroupError::Unsupported(why)) => println!("unsupported {} {}", why.command, why.peer),
        Err(error) => println!("error {error}"),
    }
}

/// Deposits, one after the other.
struct Load {
    stop: Arc<watch::Sender<bool>>,
    task: tokio::task::JoinHandle<String>,
}

impl Load {
    fn start<V: Version>(bank: V) -> Self {
        let stop = Arc::new(watch::Sender::new(false));
        let stopped = stop.subscribe();
        let task = tokio::spawn(async move {
            let mut deposits = 0_u64;
            while !*stopped.borrow() {
                if let Err(error) = bank.deposit("load".into()).await {
                    return format!("failed after {deposits}: {error}");
                }
                deposits += 1;
            }
            format!("loaded {deposits}")
        });
        Self { stop, task }
    }

    async fn stop(self) -> anyhow::Result<String> {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}
