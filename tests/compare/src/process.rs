//! Processes of this machine, as Linux tells of them.

use std::{fs, ops::Add};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// Memory that processes hold, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) resident: u64,
    /// Without what is mapped from files, as programs are, of which several processes may share one copy.
    pub(crate) anonymous: u64,
}

impl Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            resident: self.resident + other.resident,
            anonymous: self.anonymous + other.anonymous,
        }
    }
}

/// What a process holds.
pub(crate) fn memory(id: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("only Linux tells")?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.with_context(|| format!("no {name}"))?.trim();
        anyhow::Ok(kibibytes.trim_end_matches(" kB").parse::<u64>()? * 1024)
    };
    Ok(Memory {
        resident: bytes("VmRSS:")?,
        anonymous: bytes("RssAnon:")?,
    })
}

/// Kills a process as `kill -9` does; nothing of it runs any more when this returns.
pub(crate) async fn kill(id: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    kill_process(pid.context("no process")?, Signal::KILL)?;
    while runs(id) {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Whether a process runs. One that nobody has waited for is still listed, as a zombie.
pub(crate) fn runs(id: u32) -> bool {
    // What cannot be read is gone.
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_program_is_no_anonymous_memory() -> anyhow::Result<()> {
        let held = memory(std::process::id())?;
        assert!(
            held.anonymous > 0 && held.resident > held.anonymous,
            "{held:?}"
        );
        Ok(())
    }

    #[tokio::test]
    async fn what_is_killed_runs_no_more() -> anyhow::Result<()> {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
        assert!(runs(child.id()));
        let held = memory(child.id())?;
        assert!(
            held.anonymous > 0 && held.resident > held.anonymous,
            "{held:?}"
        );
        kill(child.id()).await?;
        assert!(!runs(child.id()));
        child.wait()?;
        Ok(())
    }
}
