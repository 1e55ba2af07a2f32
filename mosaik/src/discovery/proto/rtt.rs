//! Round-trip times, smoothed as [RFC 6298] does it.
//!
//! [RFC 6298]: https://www.rfc-editor.org/rfc/rfc6298#section-2

use std::time::Duration;

/// A smoothed round-trip time: an eighth of each sample, seven eighths of what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rtt(Duration);

impl Rtt {
    /// The first sample stands for itself.
    pub(crate) fn new(sample: Duration) -> Self {
        Self(sample)
    }

    /// Takes in a sample.
    pub(crate) fn observe(&mut self, sample: Duration) {
        self.0 = self.0 * 7 / 8 + sample / 8;
    }

    /// The smoothed time.
    pub(crate) fn smoothed(self) -> Duration {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_outlier_counts_an_eighth() {
        let mut rtt = Rtt::new(Duration::from_millis(8));
        rtt.observe(Duration::from_millis(80));
        assert_eq!(rtt.smoothed(), Duration::from_millis(17));
    }
}
