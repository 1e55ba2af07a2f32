//! The hosts: a network namespace each, joined by a bridge.

use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

/// Where the hosts are: this, and their number from 1 on.
const SUBNET: &str = "10.77.0.";
/// An address that no host has: what is sent there goes nowhere, and nobody is told.
const NOWHERE: &str = "02:00:00:00:ff:ff";

/// The hosts' network. Gone when it is dropped.
pub(crate) struct Net {
    /// What keeps the namespace of each host.
    holders: Vec<Child>,
}

impl Net {
    /// So many hosts that reach each other.
    pub(crate) fn new(hosts: usize) -> anyhow::Result<Self> {
        ip("link set lo up")?;
        ip("link add bridge type bridge")?;
        ip("link set bridge up")?;
        let mut net = Self { holders: vec![] };
        for host in 0..hosts {
            let holder = Command::new("unshare")
                .args(["--net", "sh", "-c", "echo ready; exec sleep infinity"])
                .stdout(Stdio::piped())
                .spawn()
                .context("cannot run `unshare`")?;
            net.holders.push(holder);
            net.wait_for(host)?;
            let pid = net.holders[host].id();
            ip(&format!(
                "link add port{host} type veth peer name host{host}"
            ))?;
            ip(&format!("link set port{host} master bridge up"))?;
            ip(&format!("link set host{host} netns {pid}"))?;
            net.ip(host, "link set lo up")?;
            net.ip(
                host,
                &format!("address add {}/24 dev host{host}", address(host)),
            )?;
            net.ip(host, &format!("link set host{host} up"))?;
        }
        Ok(net)
    }

    /// Waits until a host's namespace is there.
    fn wait_for(&mut self, host: usize) -> anyhow::Result<()> {
        use std::io::Read as _;
        let mut ready = [0; 5];
        let output = self.holders[host].stdout.as_mut().context("no output")?;
        Ok(output.read_exact(&mut ready)?)
    }

    /// What runs a program on a host.
    pub(crate) fn on(&self, host: usize) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holders[host].id().to_string();
        command.args(["--target", &pid, "--net", "--"]);
        command
    }

    /// Pulls a host's cable, or puts it back.
    pub(crate) fn plug(&self, host: usize, plugged: bool) -> anyhow::Result<()> {
        let state = if plugged { "up" } else { "down" };
        ip(&format!("link set port{host} {state}"))
    }

    /// Has what `from` sends to `to` go nowhere, or arrive again. Neither is told.
    pub(crate) fn mute(&self, from: usize, to: usize, mute: bool) -> anyhow::Result<()> {
        let address = address(to);
        let change = if mute {
            format!("neighbour replace {address} lladdr {NOWHERE} nud permanent dev host{from}")
        } else {
            format!("neighbour delete {address} dev host{from}")
        };
        self.ip(from, &change)
    }

    fn ip(&self, host: usize, args: &str) -> anyhow::Result<()> {
        let mut command = self.on(host);
        command.arg("ip");
        run(&mut command, args)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            // It ends with this process's namespaces in any case.
            drop(holder.kill());
            drop(holder.wait());
        }
    }
}

/// A host's address.
pub(crate) fn address(host: usize) -> String {
    format!("{SUBNET}{}", host + 1)
}

fn ip(args: &str) -> anyhow::Result<()> {
    run(&mut Command::new("ip"), args)
}

/// Runs a program with these arguments.
pub(crate) fn run(command: &mut Command, args: &str) -> anyhow::Result<()> {
    let command = command.args(args.split(' '));
    let output = command
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
