//! The table that is printed.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use crate::{measure::median, peers::System};

/// What is measured, a row each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Case {
    /// From no process to three members that answer reads.
    Start,
    /// One write after another.
    LeaderP50,
    /// The same.
    LeaderP99,
    /// The same through another member.
    FollowerP50,
    /// The same.
    FollowerP99,
    /// Writes of 64 callers.
    LeaderMany,
    /// The same through another member.
    FollowerMany,
    /// Writes of 1,024 callers.
    LeaderVeryMany,
    /// The same through another member.
    FollowerVeryMany,
    /// One linearizable read after another.
    ReadP50,
    /// Linearizable reads of 64 callers.
    ReadMany,
    /// From `kill -9` of the leader to a write that is acknowledged.
    FailOver,
    /// What three idle members hold.
    Memory,
    /// The same without what is mapped from files.
    AnonymousMemory,
}

/// What a row's figures are, in seconds, calls a second and bytes.
#[derive(Clone, Copy, Debug)]
enum Unit {
    Time,
    Rate,
    Size,
}

impl Case {
    const ALL: [Self; 14] = [
        Self::Start,
        Self::LeaderP50,
        Self::LeaderP99,
        Self::FollowerP50,
        Self::FollowerP99,
        Self::LeaderMany,
        Self::FollowerMany,
        Self::LeaderVeryMany,
        Self::FollowerVeryMany,
        Self::ReadP50,
        Self::ReadMany,
        Self::FailOver,
        Self::Memory,
        Self::AnonymousMemory,
    ];

    fn describe(self) -> (&'static str, Unit) {
        match self {
            Self::Start => ("start -> all online", Unit::Time),
            Self::LeaderP50 => ("one write after another, leader, p50", Unit::Time),
            Self::LeaderP99 => ("one write after another, leader, p99", Unit::Time),
            Self::FollowerP50 => ("one write after another, follower, p50", Unit::Time),
            Self::FollowerP99 => ("one write after another, follower, p99", Unit::Time),
            Self::LeaderMany => ("64 in flight, leader", Unit::Rate),
            Self::FollowerMany => ("64 in flight, follower", Unit::Rate),
            Self::LeaderVeryMany => ("1,024 in flight, leader", Unit::Rate),
            Self::FollowerVeryMany => ("1,024 in flight, follower", Unit::Rate),
            Self::ReadP50 => ("linearizable read, follower, p50", Unit::Time),
            Self::ReadMany => ("linearizable read, follower, 64 readers", Unit::Rate),
            Self::FailOver => ("kill -9 of the leader -> next write", Unit::Time),
            Self::Memory => ("memory of the idle cluster, RSS", Unit::Size),
            Self::AnonymousMemory => ("memory of the idle cluster, anonymous", Unit::Size),
        }
    }
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::Time => format!("{:.1?}", Duration::from_secs_f64(figure)),
            Self::Rate if figure >= 1e4 => format!("{:.0} k/s", figure / 1e3),
            Self::Rate => format!("{:.2} k/s", figure / 1e3),
            Self::Size => format!("{:.0} MiB", figure / 1024.0 / 1024.0),
        }
    }
}

/// All figures of all rounds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    figures: BTreeMap<(System, Case), Vec<f64>>,
}

impl Table {
    /// Notes what one round has measured.
    pub(crate) fn note(&mut self, system: System, case: Case, figure: f64) {
        self.figures.entry((system, case)).or_default().push(figure);
    }

    /// Prints the medians, and what one has to know of each system.
    pub(crate) fn print(&self, systems: &[System]) {
        print!("\n{}", self.rows(systems));
        println!("\nratio: the figure before it, divided by mosaik's of the same run");
        for system in systems {
            println!("{}: {}", system.name(), system.note());
        }
    }

    fn rows(&self, systems: &[System]) -> String {
        let mut text = format!("{:<40}", "three members");
        for system in systems {
            text += &self.columns(*system, system.name(), "ratio");
        }
        for case in Case::ALL {
            let (name, unit) = case.describe();
            let _ = write!(text, "\n{name:<40}");
            let ours = self.median(System::Mosaik, case);
            for system in systems {
                let figure = self.median(*system, case);
                let ratio = figure.zip(ours).map(|(figure, ours)| figure / ours);
                let figure = figure.map_or("-".into(), |figure| unit.show(figure));
                let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.2}"));
                text += &self.columns(*system, &figure, &ratio);
            }
        }
        text + "\n"
    }

    /// What a system has in a row. Nothing is compared with itself.
    fn columns(&self, system: System, figure: &str, ratio: &str) -> String {
        match system {
            System::Mosaik => format!(" {figure:>10}"),
            _ => format!(" {figure:>12} {ratio:>7}"),
        }
    }

    fn median(&self, system: System, case: Case) -> Option<f64> {
        median(self.figures.get(&(system, case))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_what_they_are_of_ours() {
        let mut table = Table::default();
        for figure in [0.001, 0.9, 0.002] {
            table.note(System::Mosaik, Case::Start, figure);
        }
        table.note(System::Etcd, Case::Start, 0.005);
        let rows = table.rows(&[System::Mosaik, System::Etcd]);
        let words = |n| {
            rows.lines()
                .nth(n)
                .map(|row| row.split_whitespace().collect())
        };
        let start: Option<Vec<_>> = words(1);
        assert_eq!(
            start,
            Some(vec![
                "start", "->", "all", "online", "2.0ms", "5.0ms", "2.50"
            ])
        );
        let not_measured: Option<Vec<_>> = words(2);
        assert!(not_measured.is_some_and(|row| row.ends_with(&["-", "-", "-"])));
    }

    #[test]
    fn figures_are_short() {
        let shown = [
            (Unit::Time, 0.000_123_4, "123.4µs"),
            (Unit::Rate, 1234.0, "1.23 k/s"),
            (Unit::Rate, 123_456.0, "123 k/s"),
            (Unit::Size, 3.0 * 1024.0 * 1024.0, "3 MiB"),
        ];
        for (unit, figure, expected) in shown {
            assert_eq!(unit.show(figure), expected);
        }
    }
}
