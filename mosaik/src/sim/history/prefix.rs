//! Replicas apply the same.

use std::fmt::Debug;

use super::violation::Violation;

/// Checks that of any two of these logs one is a prefix of the other: that replicas apply the same
/// entries in the same order, some further than others.
///
/// An entry is whatever tells two entries apart: a position and an id, or a position and a digest of the
/// state. A replica that was restored from a snapshot has not applied what the snapshot holds: let the
/// snapshot carry the log, or compare such a replica apart, from there on.
///
/// ```
/// use mosaik::sim::history::{Violation, check_prefix};
///
/// let ahead = vec![(1, "put x"), (2, "put y")];
/// let behind = vec![(1, "put x")];
/// assert!(check_prefix(&[behind, ahead.clone()]).is_ok());
///
/// let astray = vec![(1, "put z")];
/// let violation = check_prefix(&[ahead, astray]).unwrap_err();
/// assert!(matches!(violation, Violation::Diverged { at: 0, replicas: (0, 1), .. }));
/// ```
///
/// # Errors
///
/// [`Violation::Diverged`] with the first difference from the longest log.
pub fn check_prefix<E: PartialEq + Debug>(logs: &[Vec<E>]) -> Result<(), Violation> {
    let Some((longest, reference)) = logs.iter().enumerate().max_by_key(|(_, log)| log.len())
    else {
        return Ok(());
    };
    for (replica, log) in logs.iter().enumerate() {
        let pairs = reference.iter().zip(log);
        let difference = pairs.enumerate().find(|(_, (a, b))| a != b);
        if let Some((at, (expected, found))) = difference {
            return Err(Violation::Diverged {
                at,
                replicas: (longest, replica),
                entries: (format!("{expected:?}"), format!("{found:?}")),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_log_is_compared_with_the_longest() {
        let cases = [
            ("", None),
            ("/abc/a", None),
            ("ab/ab", None),
            ("abc/ac", Some((1, 0, 1))),
            ("a/abcd/abd", Some((2, 1, 2))),
            ("x/ab", Some((0, 1, 0))),
        ];
        for (logs, expected) in cases {
            let logs = logs.split('/').map(|log| log.chars().collect());
            let logs: Vec<Vec<char>> = logs.collect();
            let found = check_prefix(&logs).err().map(|violation| match violation {
                Violation::Diverged { at, replicas, .. } => (at, replicas.0, replicas.1),
                other => panic!("{other}"),
            });
            assert_eq!(found, expected, "{logs:?}");
        }
    }
}
