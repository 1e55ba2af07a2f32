//! Tears a group of real processes apart, and checks that it keeps what it promises:
//! `cargo run -p mosaik-tests --bin torn`. Linux only, as root or with unprivileged user namespaces.
//!
//! Five members and a client live in network namespaces of their own, joined by a bridge, and change registers all the
//! while. Leaders are killed, cut off, heard by nobody, deaf or stopped; the network is split; disks fill up; all are
//! killed at once; each is restarted in turn. In the end the history of all that the clients saw has to be
//! linearizable, and every command that was acknowledged has to be applied, none twice; nothing that was begun on the
//! smaller side of a split may have been acknowledged there, and nothing may have failed while each was restarted.
//! Each member also moves money by transactions in a store of collections, which have to be strictly serializable.
//!
//! Once with logs on disk, and at the same time once with logs in memory, which leaves out what those do not survive.
//! `torn durable` or `torn volatile` runs one of the two, and names behind that only what is called so. `RUST_LOG` shows
//! what the members log.

mod bank;
mod cluster;
mod member;
mod net;
mod phases;
mod record;
mod verdict;

use std::{env, process::Command};

use anyhow::{Context as _, ensure};

/// Set in the namespaces that all this goes on in.
const INSIDE: &str = "MOSAIK_TORN";

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["member", rest @ ..] => member::run(rest),
        [mode, only @ ..] if env::var_os(INSIDE).is_some() => phases::run(mode, only),
        [] => enter(&[&["durable"], &["volatile"]]),
        one => enter(&[one]),
    }
}

/// Runs this program again with each of these arguments, at once, in namespaces that vanish with it.
fn enter(runs: &[&[&str]]) -> anyhow::Result<()> {
    let mut started = Vec::new();
    for args in runs {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--mount", "--pid", "--fork"]);
        command.args(["--mount-proc", "--kill-child"]);
        command.arg(env::current_exe()?).args(*args);
        let child = command.env(INSIDE, "1").spawn();
        started.push(child.context("cannot run `unshare`: install util-linux")?);
    }
    let mut ended = Vec::new();
    for child in &mut started {
        ended.push(child.wait()?);
    }
    let all = ended.iter().all(|status| status.success());
    ensure!(all, "it did not go well: {ended:?}");
    Ok(())
}
