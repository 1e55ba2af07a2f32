//! The reference for what is durable: the disk's own sync.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use crate::measure;

/// Bytes of one append.
const APPEND: usize = 100;

/// The median time of appending 100 B to a file in `dir` and syncing it.
pub(crate) async fn sync(dir: &Path, samples: usize) -> anyhow::Result<Duration> {
    let path = dir.join("sync");
    let syncing = tokio::task::spawn_blocking(move || {
        let mut file = File::create(&path)?;
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples {
            let started = Instant::now();
            file.write_all(&[7; APPEND])?;
            file.sync_data()?;
            times.push(started.elapsed());
        }
        std::fs::remove_file(path)?;
        anyhow::Ok(times)
    });
    Ok(measure::median_duration(&mut syncing.await??))
}
