//! What happened lately, so that it does not happen again too soon.

use std::{collections::BTreeMap, time::Duration};

use crate::rt::Instant;

/// Most things remembered; what was noted first goes first.
const MAX_RECENT: usize = 4096;

/// Things that happened within the last `span`.
#[derive(Debug)]
pub(super) struct Recent<K> {
    span: Duration,
    at: BTreeMap<K, Instant>,
}

impl<K: Ord + Copy> Recent<K> {
    /// Nothing has happened. What does is remembered for `span`.
    pub(super) fn new(span: Duration) -> Self {
        Self {
            span,
            at: BTreeMap::new(),
        }
    }

    /// It happened now.
    pub(super) fn note(&mut self, key: K, now: Instant) {
        self.at.insert(key, now);
        if self.at.len() > MAX_RECENT {
            let oldest = self.at.iter().min_by_key(|(_, at)| **at);
            if let Some((oldest, _)) = oldest.map(|(key, at)| (*key, *at)) {
                self.at.remove(&oldest);
            }
        }
    }

    /// For how long it still counts as recent; zero if it does not.
    pub(super) fn left(&self, key: &K, now: Instant) -> Duration {
        let at = self.at.get(key);
        at.map_or(Duration::ZERO, |at| {
            (*at + self.span).saturating_duration_since(now)
        })
    }

    /// Whether it happened lately.
    pub(super) fn contains(&self, key: &K, now: Instant) -> bool {
        !self.left(key, now).is_zero()
    }

    /// Forgets what is long past; call now and then.
    pub(super) fn sweep(&mut self, now: Instant) {
        let span = self.span;
        self.at.retain(|_, at| *at + span > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;

    #[test]
    fn what_happened_counts_for_its_span_and_memory_is_bounded() {
        let (now, span) = (rt::now(), Duration::from_secs(5));
        let mut recent = Recent::new(span);
        recent.note(0, now);
        assert!(recent.contains(&0, now) && !recent.contains(&1, now));
        assert_eq!(recent.left(&0, now + span / 5), span * 4 / 5);
        assert!(!recent.contains(&0, now + span));
        for key in 1..=MAX_RECENT {
            recent.note(key, now + span / 2);
        }
        assert_eq!(recent.at.len(), MAX_RECENT);
        assert!(!recent.contains(&0, now));
        recent.sweep(now + span * 2);
        assert!(recent.at.is_empty());
    }
}
