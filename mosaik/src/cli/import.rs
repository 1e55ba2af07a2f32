//! `mosaik group import`: has a group take over the state of a file.

use std::{fs::File, io::BufReader, time::Duration};

use anyhow::{Context as _, bail};
use data_encoding::HEXLOWER;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    args::Import,
    node,
    output::{Output, note, printable},
    peers::settled,
    run::End,
    signal::Interrupt,
};
use crate::{
    groups::{Export, ExportHeader, ImportStep},
    network::Network,
    rt,
};

/// How often the bar moves while nothing comes.
const TICK: Duration = Duration::from_millis(200);
/// What the bar shows.
const BAR: &str = "{spinner} {msg} {bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left";
/// What whoever replaces a state has to know.
const WARNING: &str = "\
all that the group holds is lost for the state of the file, and so is what it acknowledges until then.
`mosaik group export` saves it.";

pub(super) async fn run(args: Import, interrupt: &Interrupt) -> anyhow::Result<End> {
    if args.replace {
        note(format_args!("warning: {WARNING}"));
    }
    let file = args.file.clone();
    let read = rt::blocking(move || Export::read(BufReader::new(File::open(file)?)));
    let cannot_read = || format!("cannot read {}", args.file.display());
    let export = read.await.with_context(cannot_read)?;
    if export.header.group != args.group {
        bail!(
            "{} holds the state of group `{}`, not of `{}`",
            args.file.display(),
            printable(&export.header.group),
            args.group
        );
    }
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        settled(&network).await;
        import(&network, &args, export).await?;
        Ok(End::Done)
    })
    .await
}

async fn import(network: &Network, args: &Import, export: Export) -> anyhow::Result<()> {
    let failed = || format!("cannot import `{}`", args.group);
    let header = export.header.clone();
    let key = args.key.key.as_deref();
    let groups = network.groups();
    let importing = groups.import(export, args.at, key, args.replace);
    let mut importing = importing.await.with_context(failed)?;
    note(format_args!(
        "importing `{}` as it was at version {} of charter {} by way of {}, {}",
        printable(&header.group),
        header.version,
        HEXLOWER.encode(&header.charter),
        importing.at(),
        HumanBytes(header.length)
    ));
    let bar = bar(&header)?;
    let mut version = None;
    while let Some(step) = importing.next().await.with_context(failed)? {
        match step {
            ImportStep::Sent(bytes) => shows(&bar, "sent", bytes),
            ImportStep::Replicated(bytes) => shows(&bar, "replicated", bytes),
            ImportStep::Imported(at) => version = Some(at),
        }
    }
    bar.finish_and_clear();
    let Some(version) = version else {
        bail!("{}: it ended without an end", failed());
    };
    if args.json {
        let imported = json!({
            "group": header.group,
            "version": version,
            "bytes": header.length,
            "at": importing.at().to_string(),
            "exported": {
                "version": header.version,
                "charter": HEXLOWER.encode(&header.charter),
            },
        });
        let mut out = Output::new();
        let _ = out.line(imported.to_string().as_bytes())?;
        let _ = out.flush()?;
    }
    note(format_args!(
        "`{}` has the state of {} from version {version} on",
        args.group,
        args.file.display()
    ));
    Ok(())
}

/// Shows how far it is, where standard error is a terminal.
fn bar(header: &ExportHeader) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(header.length).with_style(ProgressStyle::with_template(BAR)?);
    bar.enable_steady_tick(TICK);
    Ok(bar)
}

fn shows(bar: &ProgressBar, what: &'static str, bytes: u64) {
    if bar.message() != what {
        bar.set_message(what);
        bar.reset();
    }
    bar.set_position(bytes);
}
