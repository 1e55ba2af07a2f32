//! The table that is printed.

use std::{fmt, time::Duration};

/// One row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// What is measured.
    pub(crate) case: &'a str,
    /// What it is compared with, measured in the same run.
    pub(crate) reference: Option<(&'static str, Figure)>,
    /// What we reach.
    pub(crate) ours: Figure,
    /// What is to be reached.
    pub(crate) target: Option<Target>,
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Figure {
    /// How long something takes.
    Time(Duration),
    /// How often something is done a second.
    Rate(f64),
    /// Bytes.
    Size(f64),
    /// Processor time, in cores.
    Cores(f64),
    /// How often something happened.
    Count(u64),
    /// How often something happened for each time that something else did.
    Times(f64),
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// This or less.
    AtMost(Figure),
    /// This or more.
    AtLeast(Figure),
}

/// Prints the names of the columns.
pub(crate) fn print_head(subject: &str) {
    println!(
        "{:<42} {:>24} {:>12} {:>8}   {:<15}",
        subject, "reference", "mosaik", "ratio", "target"
    );
}

impl Row<'_> {
    /// Prints the row.
    pub(crate) fn print(self) {
        let reference = self
            .reference
            .map(|(name, figure)| format!("{name} {figure}"));
        let ratio = self.reference.and_then(|(_, figure)| {
            let ratio = self.ours.number() / figure.number();
            ratio.is_finite().then(|| format!("{ratio:.2}"))
        });
        let target = self.target.map(|target| {
            let reached = if target.holds(self.ours) {
                "reached"
            } else {
                "missed"
            };
            format!("{:<15} {reached}", target.to_string())
        });
        println!(
            "{:<42} {:>24} {:>12} {:>8}   {}",
            self.case,
            reference.unwrap_or_default(),
            self.ours.to_string(),
            ratio.unwrap_or_default(),
            target.unwrap_or_default(),
        );
    }
}

impl Figure {
    fn number(self) -> f64 {
        match self {
            Self::Time(time) => time.as_secs_f64(),
            Self::Count(count) => count as f64,
            Self::Rate(number) | Self::Size(number) | Self::Cores(number) | Self::Times(number) => {
                number
            }
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(f, "{time:.1?}"),
            Self::Rate(rate) if *rate >= 1e6 => write!(f, "{:.2} M/s", rate / 1e6),
            Self::Rate(rate) if *rate >= 1e4 => write!(f, "{:.0} k/s", rate / 1e3),
            Self::Rate(rate) => write!(f, "{:.2} k/s", rate / 1e3),
            Self::Size(bytes) if *bytes < 4096.0 => write!(f, "{bytes:.0} B"),
            Self::Size(bytes) => write!(f, "{:.0} KiB", bytes / 1024.0),
            Self::Cores(cores) => write!(f, "{cores:.3} cores"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Times(times) => write!(f, "{times:.2}"),
        }
    }
}

impl Target {
    fn holds(self, figure: Figure) -> bool {
        match self {
            Self::AtMost(limit) => figure.number() <= limit.number(),
            Self::AtLeast(limit) => figure.number() >= limit.number(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(figure) => write!(f, "≤ {figure}"),
            Self::AtLeast(figure) => write!(f, "≥ {figure}"),
        }
    }
}
