//! `mosaik group export`: writes the state of a group to a file.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use data_encoding::HEXLOWER;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::{
    args::Export,
    node,
    output::{note, printable},
    peers::settled,
    run::End,
    signal::Interrupt,
};
use crate::{
    groups::ExportHeader,
    network::Network,
    rt::{
        self,
        fs::{self, File},
    },
};

/// How often the bar moves while nothing comes.
const TICK: Duration = Duration::from_millis(200);
/// What the bar shows.
const BAR: &str = "{spinner} {bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";

pub(super) async fn run(args: Export, interrupt: &Interrupt) -> anyhow::Result<End> {
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        settled(&network).await;
        export(&network, &args).await?;
        Ok(End::Done)
    })
    .await
}

async fn export(network: &Network, args: &Export) -> anyhow::Result<()> {
    let failed = || format!("cannot export `{}`", args.group);
    let key = args.key.key.as_deref();
    let exporting = network.groups().export(&args.group, args.at, key);
    let mut exporting = exporting.await.with_context(failed)?;
    let header = exporting.header().clone();
    note(format_args!(
        "exporting `{}` at version {} of charter {} from {}, {}",
        printable(&header.group),
        header.version,
        HEXLOWER.encode(&header.charter),
        exporting.at(),
        HumanBytes(header.length)
    ));
    let cannot_write = || format!("cannot write {}", args.file.display());
    let mut draft = Draft::create(&args.file, header).with_context(cannot_write)?;
    let bar = bar(&draft.header)?;
    while let Some(chunk) = exporting.next().await.with_context(failed)? {
        draft.push(&chunk).with_context(cannot_write)?;
        bar.inc(chunk.len() as u64);
    }
    draft.finish().with_context(cannot_write)?;
    bar.finish_and_clear();
    note(format_args!("{} is written", args.file.display()));
    Ok(())
}

/// Shows how far it is, where standard error is a terminal.
fn bar(header: &ExportHeader) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(header.length).with_style(ProgressStyle::with_template(BAR)?);
    bar.enable_steady_tick(TICK);
    Ok(bar)
}

/// A file that is being written beside the one that it will replace; removed unless it is finished.
struct Draft {
    header: ExportHeader,
    path: PathBuf,
    partial: PathBuf,
    file: File,
    /// Where the next bytes go.
    at: u64,
    hasher: blake3::Hasher,
    finished: bool,
}

impl Draft {
    fn create(path: &Path, header: ExportHeader) -> io::Result<Self> {
        let at = header.encode([0; 32])?.len() as u64;
        let hasher = header.hasher()?;
        let (partial, file) = beside(path)?;
        Ok(Self {
            at,
            hasher,
            path: path.into(),
            partial,
            file,
            finished: false,
            header,
        })
    }

    fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        self.hasher.update(chunk);
        self.file.write_at(self.at, chunk)?;
        self.at += chunk.len() as u64;
        Ok(())
    }

    /// Writes the header, which tells what was written, and gives the file its name.
    fn finish(mut self) -> io::Result<()> {
        let digest = self.hasher.finalize();
        let header = self.header.encode(*digest.as_bytes())?;
        self.file.write_at(0, &header)?;
        self.file.sync()?;
        fs::rename(&self.partial, &self.path)?;
        self.finished = true;
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        fs::sync_dir(dir.unwrap_or(Path::new(".")))
    }
}

/// A new file beside `path`, of a name that nothing had before.
fn beside(path: &Path) -> io::Result<(PathBuf, File)> {
    loop {
        let beside = path.with_added_extension(format!("{:016x}.new", rt::random_u64()));
        match File::create_new_private(&beside) {
            // By chance.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (beside, file)),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove(&self.partial)
        {
            note(format_args!(
                "cannot remove {}: {error}",
                self.partial.display()
            ));
        }
    }
}
