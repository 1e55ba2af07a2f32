//! `mosaik group recover`: has a member found its group anew, after the quorum was lost.

use anyhow::{Context as _, bail};

use super::{args::Recover, node, output::note, peers::settled, run::End, signal::Interrupt};

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
        recovered
            .await
            .with_context(|| format!("{} did not recover `{}`", args.at.short(), args.group))?;
        note(format_args!(
            "`{}` was founded anew at {}; `mosaik group show` tells how it is doing",
            args.group,
            args.at.short()
        ));
        Ok(End::Done)
    })
    .await
}
