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
///
/// While others keep all processors busy, Linux may let each sync wait for the next tick, 4 ms: then this says
/// more about them than about the disk.
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
