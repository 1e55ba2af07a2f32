//! What this process uses, as Linux tells it.

use std::{fs, time::Duration};

use anyhow::Context as _;

/// Ticks a second in which Linux tells processor time to programs.
const TICKS: u32 = 100;

/// Processor time that this process has used.
pub(crate) fn cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").context("only Linux tells")?;
    // The name of the program, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no name of a program")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || anyhow::Ok(fields.next().context("too few fields")?.parse::<u32>()?);
    let ticks = ticks()? + ticks()?;
    Ok(Duration::from_secs(1) * ticks / TICKS)
}

/// Bytes of memory that this process holds.
pub(crate) fn memory() -> anyhow::Result<u64> {
    status("VmRSS:")
}

/// The most bytes of memory that this process has held so far.
pub(crate) fn peak() -> anyhow::Result<u64> {
    status("VmHWM:")
}

/// A size in the status of this process.
fn status(name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("only Linux tells")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.with_context(|| format!("no {name}"))?.trim();
    Ok(kibibytes.trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// Bytes that the loopback interface has sent so far, for all processes.
pub(crate) fn loopback() -> anyhow::Result<u64> {
    let table = fs::read_to_string("/proc/net/dev").context("only Linux tells")?;
    let counts = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"));
    let sent = counts.context("no loopback")?.split_whitespace().nth(8);
    Ok(sent.context("too few counts")?.parse()?)
}
