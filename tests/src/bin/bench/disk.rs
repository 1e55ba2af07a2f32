//! The reference for what is durable: the disk's own sync.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::measure;

/// Bytes of one write.
const WRITE: usize = 100;

/// The median time of writing 100 B to a file in `dir`, behind those before, and syncing it.
///
/// The file has its length from the start: one that grows measures the journal of the file system as well, whose
/// syncs take a tenth of a millisecond or four, by the mood that it is in.
pub(crate) async fn sync(dir: &Path, samples: usize) -> anyhow::Result<Duration> {
    let path = dir.join("sync");
    let syncing = tokio::task::spawn_blocking(move || {
        let mut file = File::create(&path)?;
        file.write_all(&vec![0; WRITE * samples])?;
        file.sync_all()?;
        file.rewind()?;
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples {
            let started = Instant::now();
            file.write_all(&[7; WRITE])?;
            file.sync_data()?;
            times.push(started.elapsed());
        }
        std::fs::remove_file(path)?;
        anyhow::Ok(times)
    });
    Ok(measure::median_duration(&mut syncing.await??))
}
