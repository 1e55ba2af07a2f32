//! This program once more, as a child that does a part of what is measured.

use mosaik::Network;
use mosaik_tests::{Child, loopback};

use crate::{collections, groups};

/// The first argument of a child. The second says for which subject it works, and what follows, what it does.
pub(crate) const CHILD: &str = "--child";

/// Starts a child that works for a subject.
pub(crate) fn start(subject: &str, args: &[&str]) -> Child {
    Child::again(&[&[CHILD, subject], args].concat())
}

/// Does what a child is told.
pub(crate) async fn run(args: &[String]) -> anyhow::Result<()> {
    match args {
        [subject, args @ ..] if subject == groups::SUBJECT => groups::child(args).await,
        [subject, args @ ..] if subject == collections::SUBJECT => collections::child(args).await,
        other => anyhow::bail!("there are no children for {other:?}"),
    }
}

/// A node of a child.
pub(crate) async fn build(name: &str, bootstrap: &[String]) -> anyhow::Result<Network> {
    Ok(loopback(name).bootstrap(bootstrap).build().await?)
}

/// The next line that the parent writes; none once it is gone.
pub(crate) async fn line() -> anyhow::Result<Option<String>> {
    let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next().transpose());
    Ok(line.await??)
}
