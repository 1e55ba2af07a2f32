//! How things are measured: loads of so many callers for so long, quantiles, medians.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

/// What a load achieved.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// How many calls were answered.
    pub(crate) done: u64,
    /// How many a second.
    pub(crate) rate: f64,
    /// How long half of them took at most.
    pub(crate) p50: Duration,
    /// How long all but one in a hundred took at most.
    pub(crate) p99: Duration,
}

/// Lets `callers` call at once, each on a task of its own and one call after another, for `span`.
pub(crate) async fn load<F>(
    callers: usize,
    span: Duration,
    call: impl Fn() -> F + Clone + Send + 'static,
) -> anyhow::Result<Load>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let started = Instant::now();
    let callers = (0..callers).map(|_| tokio::spawn(in_turn(started + span, call.clone())));
    let times = try_join_all(callers).await?;
    let took = started.elapsed();
    let times: Vec<_> = times.into_iter().collect::<anyhow::Result<_>>()?;
    let mut times = times.concat();
    Ok(Load {
        done: u64::try_from(times.len())?,
        rate: times.len() as f64 / took.as_secs_f64(),
        p50: quantile(&mut times, 0.5),
        p99: quantile(&mut times, 0.99),
    })
}

/// Calls until the time has come, at least once; how long each call took.
async fn in_turn<F>(until: Instant, call: impl Fn() -> F) -> anyhow::Result<Vec<Duration>>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut times = vec![];
    loop {
        let started = Instant::now();
        if started >= until && !times.is_empty() {
            return Ok(times);
        }
        call().await?;
        times.push(started.elapsed());
    }
}

/// The time that this share of all, from 0 to 1, do not exceed; 0 of none.
pub(crate) fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    let rank = (times.len() as f64 * share).ceil() as usize;
    let time = times.get(rank.saturating_sub(1));
    time.copied().unwrap_or_default()
}

/// The middle of many figures; none of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_time_that_was_measured() {
        let mut times: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let expected = [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)];
        for (share, millis) in expected {
            assert_eq!(quantile(&mut times, share), Duration::from_millis(millis));
        }
        assert_eq!(quantile(&mut [], 0.5), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_load_counts_what_all_callers_did() -> anyhow::Result<()> {
        let call = || async { Ok(()) };
        let load = load(3, Duration::ZERO, call).await?;
        assert_eq!(load.done, 3);
        Ok(())
    }

    #[tokio::test]
    async fn a_call_that_fails_fails_the_load() {
        let call = || async { anyhow::bail!("refused") };
        assert!(load(2, Duration::ZERO, call).await.is_err());
    }
}
