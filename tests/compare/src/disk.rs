//! What a sync costs where the members keep their logs.

use std::{
    io::{Seek as _, Write as _},
    time::{Duration, Instant},
};

use crate::measure::quantile;

/// Bytes of one write.
const WRITE: usize = 100;
/// Syncs that are timed.
const SYNCS: usize = 200;

/// The median time of writing 100 B into a temporary file and syncing it.
///
/// The file has its length beforehand, as logs have, so that a sync is of data alone.
pub(crate) async fn sync() -> anyhow::Result<Duration> {
    let syncing = tokio::task::spawn_blocking(|| {
        // With a name, as the members' files have.
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&[0; WRITE * SYNCS])?;
        file.rewind()?;
        file.as_file().sync_all()?;
        let mut times = Vec::with_capacity(SYNCS);
        for _ in 0..SYNCS {
            let started = Instant::now();
            file.write_all(&[7; WRITE])?;
            file.as_file().sync_data()?;
            times.push(started.elapsed());
        }
        anyhow::Ok(times)
    });
    Ok(quantile(&mut syncing.await??, 0.5))
}
