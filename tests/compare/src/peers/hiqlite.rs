//! hiqlite: a node in this process, and a table of accounts.

use std::{borrow::Cow, fs, time::Duration};

use anyhow::Context as _;
use hiqlite::{Client, LogSync, Node, NodeConfig, Param, Row};

use super::{
    Member,
    member::{ACCOUNT, AMOUNT},
};
use crate::seat::Seat;

const CREATE: &str =
    "CREATE TABLE accounts (account TEXT PRIMARY KEY, balance INTEGER NOT NULL) STRICT";
const OPEN: &str = "INSERT INTO accounts VALUES (?1, 0)";
const PAY_IN: &str = "UPDATE accounts SET balance = balance + ?2 WHERE account = ?1";
const BALANCE: &str = "SELECT balance FROM accounts WHERE account = ?1";
/// What the nodes of a cluster prove to each other that they know.
const SECRET: &str = "for this machine alone";

/// How often is looked whether the node is there.
const LOOK: Duration = Duration::from_millis(5);

/// A member of the cluster.
pub(crate) struct Hiqlite {
    client: Client,
    number: u64,
}

impl Hiqlite {
    /// Starts a node with its default options, except that it syncs before it acknowledges.
    pub(crate) async fn start(seat: &Seat) -> anyhow::Result<Self> {
        let dir = seat.own_dir();
        fs::create_dir_all(&dir)?;
        let nodes = seat.addresses.iter().enumerate();
        let nodes = nodes.map(|(n, member)| {
            anyhow::Ok(Node {
                id: number(n)?,
                addr_raft: member.members.to_string(),
                addr_api: member.clients.to_string(),
            })
        });
        let number = number(seat.number)?;
        let host = || Cow::Owned(seat.own_addresses().clients.ip().to_string());
        let config = NodeConfig {
            node_id: number,
            nodes: nodes.collect::<Result<_, _>>()?,
            listen_addr_api: host(),
            listen_addr_raft: host(),
            data_dir: Cow::Owned(dir.to_string_lossy().into_owned()),
            wal_sync: LogSync::Immediate,
            secret_raft: SECRET.to_owned(),
            secret_api: SECRET.to_owned(),
            ..NodeConfig::default()
        };
        let client = hiqlite::start_node(config).await?;
        // Its own way to wait looks twice a second.
        while client.is_healthy_db().await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
        if seat.number == 0 {
            client.execute(CREATE, vec![]).await?;
            client.execute(OPEN, account()).await?;
        }
        Ok(Self { client, number })
    }
}

impl Member for Hiqlite {
    async fn write(&self) -> anyhow::Result<()> {
        let mut values = account();
        values.push(Param::Integer(i64::try_from(AMOUNT)?));
        let changed = self.client.execute(PAY_IN, values).await?;
        anyhow::ensure!(changed == 1, "{changed} accounts changed");
        Ok(())
    }

    async fn read(&self) -> anyhow::Result<u64> {
        let rows = self.client.query_consistent(BALANCE, account()).await?;
        let row = rows.into_iter().next();
        let balance = row.map(|mut row: Row| row.try_get::<i64>("balance"));
        Ok(u64::try_from(balance.context("no account yet")??)?)
    }

    async fn leads(&self) -> anyhow::Result<bool> {
        let metrics = self.client.metrics_db().await?;
        Ok(metrics.current_leader == Some(self.number))
    }
}

fn account() -> Vec<Param> {
    vec![Param::Text(ACCOUNT.to_owned())]
}

/// hiqlite counts nodes from 1.
fn number(seat: usize) -> anyhow::Result<u64> {
    Ok(u64::try_from(seat)? + 1)
}
