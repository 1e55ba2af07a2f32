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
    let status = fs::read_to_string("/proc/self/status").context("only Linux tells")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
    Ok(kibibytes.parse::<u64>()? * 1024)
}
