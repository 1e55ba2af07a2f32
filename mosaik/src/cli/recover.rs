//! `mosaik group recover`: has a member found its group anew, after the quorum was lost.

use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    args::Recover,
    node,
    output::{note, printable},
    peers::settled,
    run::End,
    signal::Interrupt,
};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);
/// What the bar shows.
const BAR: &str = "{spinner} {msg}, {elapsed}";
/// What whoever recovers has to know.
const WARNING: &str = "\
this founds the group anew from the replica of one member. A majority that is merely out of reach may go on without
it, and what it acknowledges from now on is lost once the two meet; so is what the member had not received yet.
Recover only if the majority is gone for good, or is shut down and stays so.";

pub(super) async fn run(args: Recover, interrupt: &Interrupt) -> anyhow::Result<End> {
    note(format_args!("warning: {WARNING}"));
    if !args.yes {
        bail!("nothing was done; give `--yes` to go on");
    }
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        settled(&network).await;
        let groups = network.groups();
        let recovered = groups.recover_at(&args.group, args.at, args.key.key.as_deref());
        let bar = bar(&args)?;
        let recovered = recovered.await;
        bar.finish_and_clear();
        recovered
            .with_context(|| format!("{} did not recover `{}`", args.at.short(), args.group))?;
        note(format_args!(
            "`{}` was founded anew at {}; `mosaik group wait` tells when the others have its state",
            args.group,
            args.at.short()
        ));
        Ok(End::Done)
    })
    .await
}

/// Shows for how long it takes, where standard error is a terminal.
fn bar(args: &Recover) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template(BAR)?);
    let at = args.at.short();
    bar.set_message(format!("{at} founds `{}` anew", printable(&args.group)));
    bar.enable_steady_tick(TICK);
    Ok(bar)
}
