//! `mosaik peers`: who is there, and what changes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{
    args::Peers,
    node,
    output::{Output, Reader, note, printable},
    run::End,
    signal::Interrupt,
};
use crate::{
    discovery::{Catalog, Entry, Role},
    id::PeerId,
    network::Network,
    rt,
};

/// How long nothing new must have come for the catalog to be taken as whole.
const QUIET: Duration = Duration::from_secs(1);
/// How long it is looked around at most.
const LOOK: Duration = Duration::from_secs(5);

pub(super) async fn run(args: Peers, interrupt: &Interrupt) -> anyhow::Result<End> {
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        if args.watch {
            watch(&network, &args).await?;
        } else {
            list(&network, &args).await?;
        }
        Ok(End::Done)
    })
    .await
}

async fn list(network: &Network, args: &Peers) -> anyhow::Result<()> {
    match args.wait {
        Some(wait) => rt::sleep(wait).await,
        None => settled(network).await,
    }
    let catalog = network.discovery().catalog();
    if catalog.is_empty() {
        note(format_args!("no peer was found\n{}", network.explain()));
        return Ok(());
    }
    let mut out = Output::new();
    for (index, entry) in catalog.iter().enumerate() {
        let text = if args.json {
            as_json(&entry).to_string()
        } else {
            let gap = if index == 0 { "" } else { "\n" };
            format!("{gap}{}", as_text(&entry))
        };
        if out.line(text.as_bytes())? == Reader::Gone {
            return Ok(());
        }
    }
    // Whoever does not read to the end has seen enough.
    let _ = out.flush()?;
    Ok(())
}

/// Completes once peers are known and nothing new came for a moment, or in the end.
pub(super) async fn settled(network: &Network) {
    let quiet = async {
        let mut snapshots = network.discovery().watch();
        let mut found = false;
        loop {
            match rt::timeout(QUIET, snapshots.next()).await {
                Ok(Some(catalog)) => found = !catalog.is_empty(),
                Ok(None) => return,
                Err(_) if found => return,
                Err(_) => {}
            }
        }
    };
    // At the latest then what is there is the answer.
    let _ = rt::timeout(LOOK, quiet).await;
}

async fn watch(network: &Network, args: &Peers) -> anyhow::Result<()> {
    let mut out = Output::new();
    let mut shown = BTreeMap::new();
    let mut snapshots = network.discovery().watch();
    while let Some(catalog) = snapshots.next().await {
        for (change, peer, entry) in changes(&mut shown, &catalog) {
            let line = match (args.json, entry) {
                (true, Some(entry)) => {
                    json!({ "change": change, "entry": as_json(&entry) }).to_string()
                }
                (true, None) => {
                    json!({ "change": change, "entry": { "peer": peer.to_string() } }).to_string()
                }
                (false, Some(entry)) => format!("{change} {}", as_text(&entry)),
                (false, None) => format!("{change} {peer}"),
            };
            if out.line(line.as_bytes())? == Reader::Gone {
                return Ok(());
            }
        }
        if out.flush()? == Reader::Gone {
            return Ok(());
        }
    }
    Ok(())
}

/// What `catalog` has that was not shown, and the other way round.
fn changes(
    shown: &mut BTreeMap<PeerId, Entry>,
    catalog: &Catalog,
) -> Vec<(&'static str, PeerId, Option<Entry>)> {
    let mut changes = Vec::new();
    shown.retain(|peer, _| {
        let stays = catalog.contains(peer);
        if !stays {
            changes.push(("departed", *peer, None));
        }
        stays
    });
    for entry in catalog.iter() {
        let peer = entry.peer();
        let change = match shown.insert(peer, entry.clone()) {
            None => "discovered",
            Some(before) if before != entry => "updated",
            Some(_) => continue,
        };
        changes.push((change, peer, Some(entry)));
    }
    changes
}

fn as_json(entry: &Entry) -> Value {
    json!({
        "peer": entry.peer().to_string(),
        "addresses": addresses(entry),
        "tags": entry.tags().collect::<Vec<_>>(),
        "produces": topics(entry, Role::Producer),
        "consumes": topics(entry, Role::Consumer),
        "rtt_ms": entry.rtt().map(millis),
        "started_ms": started(entry).as_millis() as u64,
        "software": entry.software(),
    })
}

fn as_text(entry: &Entry) -> String {
    let words = |words: Vec<&str>| match words.is_empty() {
        true => "-".to_owned(),
        false => printable(&words.join(", ")).into_owned(),
    };
    let addresses = addresses(entry);
    let mut text = entry.peer().to_string();
    let rtt = entry.rtt().map(|rtt| format!("{:.1} ms", millis(rtt)));
    let lines = [
        (
            "addresses",
            words(addresses.iter().map(String::as_str).collect()),
        ),
        ("tags", words(entry.tags().collect())),
        ("produces", words(topics(entry, Role::Producer))),
        ("consumes", words(topics(entry, Role::Consumer))),
        ("rtt", rtt.unwrap_or_else(|| "-".into())),
        ("started", format!("{} ago", age(entry))),
        ("software", words(vec![entry.software()])),
    ];
    for (name, value) in lines {
        // A string takes everything.
        let _ = write!(text, "\n  {name:<10} {value}");
    }
    text
}

fn addresses(entry: &Entry) -> Vec<String> {
    let addr = entry.addr();
    let ips = addr.ips.iter().map(ToString::to_string);
    ips.chain(addr.relays.iter().cloned()).collect()
}

fn topics(entry: &Entry, role: Role) -> Vec<&str> {
    let topics = entry.topics().filter(|(r, _)| *r == role);
    topics.map(|(_, topic)| topic.name.as_str()).collect()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// When the peer started, by its own clock, since 1970.
fn started(entry: &Entry) -> Duration {
    entry
        .started()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// How long ago that was, for people.
fn age(entry: &Entry) -> String {
    let now = Duration::from_millis(rt::unix_millis());
    let seconds = now.saturating_sub(started(entry)).as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}
