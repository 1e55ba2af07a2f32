//! What is to be measured, and how long.

use std::time::Duration;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    quick: bool,
    wanted: Vec<String>,
}

impl Plan {
    /// Reads arguments: `--quick`, names of subjects, and parts of names of rows.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let (flags, wanted): (Vec<_>, Vec<_>) =
            args.into_iter().partition(|arg| arg.starts_with("--"));
        if let Some(flag) = flags.iter().find(|flag| *flag != "--quick") {
            anyhow::bail!("no option {flag}; there is --quick");
        }
        Ok(Self {
            quick: !flags.is_empty(),
            wanted,
        })
    }

    /// Whether the run is to be short.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// Whether a row of a subject is wanted.
    pub(crate) fn wants(&self, subject: &str, row: &str) -> bool {
        let wants = |wanted: &String| wanted == subject || row.contains(wanted.as_str());
        self.wanted.is_empty() || self.wanted.iter().any(wants)
    }

    /// How often what varies is repeated; odd.
    pub(crate) fn rounds(&self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    /// How often what takes seconds is repeated; odd.
    pub(crate) fn few_rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    /// How long a load lasts each time.
    pub(crate) fn span(&self) -> Duration {
        if self.quick {
            Duration::from_millis(300)
        } else {
            Duration::from_secs(1)
        }
    }

    /// How often something that takes less than a millisecond is repeated for a median.
    pub(crate) fn samples(&self) -> usize {
        if self.quick { 1_000 } else { 5_000 }
    }
}
