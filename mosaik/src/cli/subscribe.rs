//! `mosaik sub`: the datums of a topic, one a line.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::bail;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::FutureExt as _;
use serde_json::json;
use tokio::task::coop::unconstrained;
use tracing::info;

use super::{
    args::Subscribe,
    formats::{Format, Formats},
    node,
    output::{Output, Reader, note},
    run::End,
    signal::Interrupt,
};
use crate::{
    id::PeerId,
    network::Network,
    streams::{Consumer, Event},
    wire,
};

pub(super) async fn run(args: Subscribe, interrupt: &Interrupt) -> anyhow::Result<End> {
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        print(&network, &args, interrupt).await
    })
    .await
}

async fn print(network: &Network, args: &Subscribe, interrupt: &Interrupt) -> anyhow::Result<End> {
    if args.count == Some(0) {
        return Ok(End::Done);
    }
    let mut printer = Printer {
        formats: Formats::follow(network, &args.topic),
        current: None,
        unreadable: BTreeSet::new(),
        json: args.json,
        out: Output::new(),
    };
    let mut consumer = network.streams().topic::<Bytes>(&args.topic).consume_raw();
    let what = format!("a producer of `{}`", args.topic);
    node::wait(network, what, consumer.when().online()).await;
    let mut left = args.count;
    while left != Some(0) {
        if interrupt.is_raised() {
            return Ok(End::Interrupted);
        }
        // This thread serves no other task, so that none starves while it takes what is there.
        let event = match unconstrained(consumer.next_event()).now_or_never() {
            Some(event) => event,
            None if printer.out.flush()? == Reader::Gone => return Ok(End::Done),
            None => consumer.next_event().await,
        };
        let Some(event) = event else {
            bail!("the node was shut down");
        };
        if let Event::Datum(datum) = event {
            if printer.datum(&consumer, &datum).await? == Reader::Gone {
                return Ok(End::Done);
            }
            left = left.map(|left| left - 1);
        } else {
            printer.event(event);
        }
    }
    // Whether or not somebody reads the last lines: they are what was asked for.
    let _ = printer.out.flush()?;
    Ok(End::Done)
}

/// Knows how to print the datums of each producer.
struct Printer {
    formats: Formats,
    /// The producer of the last datum.
    current: Option<(PeerId, Arc<Format>)>,
    /// Producers that somebody was told about.
    unreadable: BTreeSet<PeerId>,
    json: bool,
    out: Output,
}

impl Printer {
    async fn datum(&mut self, consumer: &Consumer<Bytes>, datum: &[u8]) -> anyhow::Result<Reader> {
        let Some(peer) = consumer.origin() else {
            bail!("a datum without a producer");
        };
        let format = match &self.current {
            Some((current, format)) if *current == peer => format.clone(),
            _ => self.formats.of(peer).await,
        };
        let reason = match self.known(&format, datum)? {
            Ok(reader) => {
                self.current = Some((peer, format));
                return Ok(reader);
            }
            Err(reason) => reason,
        };
        self.current = Some((peer, format));
        if self.unreadable.insert(peer) {
            let peer = peer.short();
            note(format_args!("cannot decode the datums of {peer}: {reason}"));
        }
        let line = json!({ "undecoded": HEXLOWER.encode(datum) });
        self.out.line(line.to_string().as_bytes())
    }

    /// Prints a datum by its format, or says why it does not fit.
    fn known(&mut self, format: &Format, datum: &[u8]) -> anyhow::Result<Result<Reader, String>> {
        let line = match format {
            Format::Text => match wire::decode::<&str>(datum) {
                Ok(text) if self.json => serde_json::to_string(text)?,
                Ok(text) => return self.out.line(text.as_bytes()).map(Ok),
                Err(error) => return Ok(Err(error.to_string())),
            },
            Format::Schema(schema) => match schema.to_json(datum) {
                Ok(value) => value.to_string(),
                Err(error) => return Ok(Err(error.to_string())),
            },
            Format::Unknown(reason) => return Ok(Err(reason.clone())),
        };
        self.out.line(line.as_bytes()).map(Ok)
    }

    fn event(&mut self, event: Event<Bytes>) {
        match event {
            Event::Lagged { producer, missed } => {
                let producer = producer.short();
                note(format_args!("missed {missed} datums of {producer}"));
            }
            Event::Joined(peer) => {
                info!(peer = %peer.short(), "producer joined");
                // It may be another program than before.
                self.current = None;
                self.unreadable.remove(&peer);
            }
            Event::Left(peer) => {
                info!(peer = %peer.short(), "producer left");
                self.unreadable.remove(&peer);
            }
            Event::Datum(_) => {}
        }
    }
}
