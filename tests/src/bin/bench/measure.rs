//! How things are measured: medians, and loads of so many callers for so long.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use futures::future::try_join_all;

/// What a load achieved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// What all callers report together.
    pub(crate) done: u64,
    /// How long they took.
    pub(crate) took: Duration,
}

impl Load {
    /// What was done a second.
    pub(crate) fn rate(self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }
}

/// Lets `callers` work at once, each on a task of its own, until the time that they are given.
pub(crate) async fn load<F>(
    callers: usize,
    span: Duration,
    caller: impl Fn(Instant) -> F,
) -> anyhow::Result<Load>
where
    F: Future<Output = anyhow::Result<u64>> + Send + 'static,
{
    let started = Instant::now();
    let callers = (0..callers).map(|_| tokio::spawn(caller(started + span)));
    let done = try_join_all(callers).await?;
    let took = started.elapsed();
    let done: u64 = done.into_iter().sum::<anyhow::Result<u64>>()?;
    Ok(Load { done, took })
}

/// Calls one after another for `span`, on a task; how long each took.
pub(crate) async fn in_turn<F>(
    span: Duration,
    mut call: impl FnMut() -> F + Send + 'static,
) -> anyhow::Result<Vec<Duration>>
where
    F: Future<Output = anyhow::Result<()>> + Send,
{
    let calling = tokio::spawn(async move {
        let until = Instant::now() + span;
        let mut times = vec![];
        loop {
            let started = Instant::now();
            if started >= until && !times.is_empty() {
                return anyhow::Ok(times);
            }
            call().await?;
            times.push(started.elapsed());
        }
    });
    calling.await?
}

/// The middle of many figures; 0 of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The middle of many durations; 0 of none.
pub(crate) fn median_duration(values: &mut [Duration]) -> Duration {
    values.sort();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Nanoseconds since the first call in this process.
pub(crate) fn clock() -> u64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
