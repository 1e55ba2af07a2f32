//! Which commands the log of a group ever held, as far as they have names.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::groups::proto::versions::MAX_METHODS;

/// The numbers of the commands that were ever applied: whoever does not know one of them cannot apply the log.
/// Empty where commands have no names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Used {
    /// At most [`MAX_METHODS`], which is what a program knows; any beyond are not remembered.
    numbers: BTreeSet<u64>,
    /// The command that was applied last, which is likely to be the next one too: only a short cut.
    #[serde(skip)]
    last: Option<u64>,
}

impl PartialEq for Used {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for Used {}

impl Used {
    /// A command is applied.
    pub(super) fn add(&mut self, number: u64) {
        if self.last == Some(number) {
            return;
        }
        self.last = Some(number);
        if self.numbers.len() < MAX_METHODS {
            self.numbers.insert(number);
        }
    }

    /// Whether a command was applied.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }

    /// One that a member who knows `commands`, ascending, could not apply.
    pub(crate) fn missing_in(&self, commands: &[u64]) -> Option<u64> {
        let mut numbers = self.numbers.iter().copied();
        numbers.find(|number| commands.binary_search(number).is_err())
    }

    /// Whether no command with a name was applied.
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Whether it is as [`add`](Self::add) leaves it.
    pub(super) fn is_sound(&self) -> bool {
        self.numbers.len() <= MAX_METHODS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_remembered_once_and_not_without_end() {
        let mut used = Used::default();
        assert!(used.is_empty());
        assert_eq!(used.missing_in(&[]), None);
        for number in [7, 7, 3, 7] {
            used.add(number);
        }
        assert!(!used.is_empty() && used.has(3) && used.has(7) && !used.has(4));
        assert_eq!(used.missing_in(&[]), Some(3));
        assert_eq!(used.missing_in(&[3, 9]), Some(7));
        assert_eq!(used.missing_in(&[3, 7]), None);
        for number in 0..2 * MAX_METHODS as u64 {
            used.add(number);
        }
        assert_eq!(used.numbers.len(), MAX_METHODS);
        assert!(used.is_sound());
        used.numbers.insert(u64::MAX);
        assert!(!used.is_sound());
    }
}
