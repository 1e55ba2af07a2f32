//! What is to be measured, and how long.

use std::time::Duration;

use crate::peers::System;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    quick: bool,
    peers: Vec<String>,
}

impl Plan {
    /// Reads arguments: `--quick`, and names of peers.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let (flags, peers): (Vec<_>, Vec<_>) =
            args.into_iter().partition(|arg| arg.starts_with("--"));
        if let Some(flag) = flags.iter().find(|flag| *flag != "--quick") {
            anyhow::bail!("no option {flag}; there is --quick");
        }
        let known = |name: &str| System::ALL.iter().any(|system| system.name() == name);
        if let Some(peer) = peers.iter().find(|peer| !known(peer)) {
            let names = System::ALL.map(System::name).join(", ");
            anyhow::bail!("no system {peer}; there are {names}");
        }
        Ok(Self {
            quick: !flags.is_empty(),
            peers,
        })
    }

    /// Whether a system takes part. What all are compared with always does.
    pub(crate) fn wants(&self, system: System) -> bool {
        let named = self.peers.iter().any(|peer| peer == system.name());
        system == System::Mosaik || self.peers.is_empty() || named
    }

    /// How often everything is measured; odd.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    /// How long a load lasts each time.
    pub(crate) fn span(&self) -> Duration {
        Duration::from_millis(if self.quick { 300 } else { 1000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> anyhow::Result<Plan> {
        Plan::parse(args.iter().map(|arg| (*arg).to_owned()))
    }

    #[test]
    fn what_is_named_takes_part_beside_mosaik() -> anyhow::Result<()> {
        let wanted = |args: &[&str]| -> anyhow::Result<Vec<&str>> {
            let plan = parse(args)?;
            let wanted = System::ALL.into_iter().filter(|system| plan.wants(*system));
            Ok(wanted.map(System::name).collect())
        };
        assert_eq!(wanted(&["etcd", "--quick"])?, ["mosaik", "etcd"]);
        assert_eq!(wanted(&[])?.len(), System::ALL.len());
        Ok(())
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert!(parse(&["consul"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }
}
