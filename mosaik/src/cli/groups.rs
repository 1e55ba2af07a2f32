//! `mosaik groups` and `mosaik group show`: the groups of a network, and what their members say.

use std::{collections::BTreeSet, fmt::Write as _};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{
    args::{Groups, Show},
    node,
    output::{Output, Reader, note, printable},
    peers::settled,
    run::End,
    signal::Interrupt,
};
use crate::{
    groups::{GroupReport, MemberReport, Part, ReportError},
    network::Network,
    rt,
};

pub(super) async fn run(args: Groups, interrupt: &Interrupt) -> anyhow::Result<End> {
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        list(&network, &args).await?;
        Ok(End::Done)
    })
    .await
}

pub(super) async fn show(args: Show, interrupt: &Interrupt) -> anyhow::Result<End> {
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        let report = found(&network, &args.group).await?;
        let text = match args.json {
            true => as_json(&report).to_string(),
            false => report.to_string(),
        };
        let mut out = Output::new();
        if out.line(text.as_bytes())? == Reader::There {
            // Whoever does not read to the end has seen enough.
            let _ = out.flush()?;
        }
        Ok(End::Done)
    })
    .await
}

/// The report of a group, once discovery has found all it finds.
async fn found(network: &Network, name: &str) -> Result<GroupReport, ReportError> {
    settled(network).await;
    network.groups().report(name).await
}

async fn list(network: &Network, args: &Groups) -> anyhow::Result<()> {
    match args.wait {
        Some(wait) => rt::sleep(wait).await,
        None => settled(network).await,
    }
    let catalog = network.discovery().catalog();
    let groups = catalog.iter().flat_map(|entry| {
        let names = entry.groups().iter().map(|info| info.name.clone());
        names.collect::<Vec<_>>()
    });
    let groups: BTreeSet<String> = groups.collect();
    if groups.is_empty() {
        note(format_args!("no group was found\n{}", network.explain()));
        return Ok(());
    }
    let mut out = Output::new();
    for (index, name) in groups.iter().enumerate() {
        let report = match network.groups().report(name).await {
            Ok(report) => report,
            // Whoever took part has left since.
            Err(ReportError::NotFound { .. }) => continue,
        };
        let text = if args.json {
            as_json(&report).to_string()
        } else {
            let gap = if index == 0 { "" } else { "\n" };
            format!("{gap}{}", as_text(&report))
        };
        if out.line(text.as_bytes())? == Reader::Gone {
            return Ok(());
        }
    }
    // Whoever does not read to the end has seen enough.
    let _ = out.flush()?;
    Ok(())
}

fn as_text(report: &GroupReport) -> String {
    let best = report.best();
    let mut text = printable(&report.name).into_owned();
    let known = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let leader = best.and_then(|best| {
        let leader = best.leader?;
        let term = best.term.map(|term| format!(", term {term}"));
        Some(format!("{leader}{}", term.unwrap_or_default()))
    });
    let lines = [
        ("state", state(best).to_owned()),
        ("leader", known(leader)),
        ("members", members(report)),
        (
            "version",
            known(best.and_then(|best| best.version).map(|v| v.to_string())),
        ),
        (
            "charter",
            known(best.and_then(|best| best.charter).map(hex)),
        ),
        ("mode", known(best.map(mode))),
    ];
    for (name, value) in lines {
        // A string takes everything.
        let _ = write!(text, "\n  {name:<10} {value}");
    }
    if report.charters().len() > 1 {
        let _ = write!(text, "\n  the members hold logs of different charters");
    }
    for part in &report.parts {
        let _ = write!(text, "\n  {:<10} {}", "", member(report, part));
    }
    if let Some(best) = best.filter(|best| !best.online) {
        for note in &best.notes {
            let _ = write!(text, "\n  {note}");
        }
    }
    text
}

fn state(best: Option<&MemberReport>) -> &'static str {
    match best {
        Some(best) if best.online => "online",
        Some(_) => "not online",
        None => "nobody answers",
    }
}

/// How many there are of each sort.
fn members(report: &GroupReport) -> String {
    let places = report.best().map(|best| best.members.as_slice());
    let places = places.unwrap_or_default();
    let voters = places.iter().filter(|place| place.voter).count();
    let outside = report.parts.iter().filter(|part| {
        let peer = part.peer;
        !places.iter().any(|place| place.peer == peer)
    });
    format!(
        "{voters} voters, {} learners, {} others",
        places.len() - voters,
        outside.count()
    )
}

/// A line about one of them.
fn member(report: &GroupReport, part: &Part) -> String {
    let mut text = part.peer.to_string();
    let said = match &part.answer {
        Ok(said) => said,
        Err(why) => {
            let _ = write!(text, " does not answer: {why}");
            return text;
        }
    };
    let _ = write!(text, " {}", said.role);
    if said.leads() {
        text.push_str(", leads");
    }
    if let Some(behind) = report.behind(&part.peer) {
        let _ = write!(text, ", {behind} behind");
    }
    text
}

fn mode(report: &MemberReport) -> String {
    let mode = match report.durable {
        true => "durable",
        false => "volatile",
    };
    match report.development {
        true => format!("{mode}, development"),
        false => mode.into(),
    }
}

fn hex(epoch: [u8; 16]) -> String {
    HEXLOWER.encode(&epoch)
}

fn as_json(report: &GroupReport) -> Value {
    let best = report.best();
    json!({
        "group": report.name,
        "state": state(best),
        "online": best.is_some_and(|best| best.online),
        "leader": best.and_then(|best| best.leader).map(|leader| leader.to_string()),
        "term": best.and_then(|best| best.term),
        "version": best.and_then(|best| best.version),
        "charter": best.and_then(|best| best.charter).map(hex),
        "durable": best.map(|best| best.durable),
        "development": best.map(|best| best.development),
        "resting": best.map(|best| best.resting),
        "voters": voters(best),
        "parts": report.parts.iter().map(|part| part_as_json(report, part)).collect::<Vec<_>>(),
    })
}

fn voters(best: Option<&MemberReport>) -> Vec<String> {
    let places = best.map(|best| best.members.as_slice());
    let places = places.unwrap_or_default().iter();
    let voters = places.filter(|place| place.voter);
    voters.map(|place| place.peer.to_string()).collect()
}

fn part_as_json(report: &GroupReport, part: &Part) -> Value {
    let said = part.answer.as_ref().ok();
    json!({
        "peer": part.peer.to_string(),
        "writer": part.writer,
        "role": said.map(|said| said.role.to_string()),
        "leads": said.is_some_and(MemberReport::leads),
        "online": said.map(|said| said.online),
        "version": said.and_then(|said| said.version),
        "behind": report.behind(&part.peer),
        "charter": said.and_then(|said| said.charter).map(hex),
        "notes": said.map(|said| &said.notes),
        "error": part.answer.as_ref().err().map(ToString::to_string),
    })
}
