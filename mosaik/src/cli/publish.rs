//! `mosaik pub`: standard input, line by line, and whether it arrived.

use std::{fmt, pin::pin, time::Duration};

use anyhow::{Context as _, anyhow, bail};

use super::{
    args::Publish, delivery::Delivery, input::Lines, node, output::note, run::End,
    signal::Interrupt,
};
use crate::{
    network::Network,
    rt::{self, Instant},
    streams::{Condition, Producer, SendError, TrySendError},
};

/// How often it is looked at what has arrived while nothing else happens.
const TICK: Duration = Duration::from_millis(100);
/// How long a wait for consumers lasts before it is mentioned.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn run(args: Publish, interrupt: &Interrupt) -> anyhow::Result<End> {
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        Publisher::new(&network, &args).publish(&args).await?;
        Ok(End::Done)
    })
    .await
}

/// A publication that runs.
struct Publisher<'a> {
    network: &'a Network,
    producer: Producer<String>,
    /// Enough consumers are connected.
    enough: Condition,
    needed: usize,
    timeout: Duration,
    sent: u64,
    delivery: Delivery,
}

impl<'a> Publisher<'a> {
    fn new(network: &'a Network, args: &Publish) -> Self {
        let producer = network.streams().topic::<String>(&args.topic).produce();
        let enough = producer.when().subscribed().at_least(args.consumers);
        Self {
            network,
            producer,
            enough,
            needed: args.consumers,
            timeout: args.timeout,
            sent: 0,
            delivery: Delivery::new(args.consumers),
        }
    }

    async fn publish(&mut self, args: &Publish) -> anyhow::Result<()> {
        self.first_consumers(args).await?;
        let mut lines = Lines::of_stdin();
        let failure = loop {
            let batch = tokio::select! {
                biased;
                () = rt::sleep(TICK) => {
                    self.settle();
                    continue;
                }
                batch = lines.next() => batch,
            };
            match batch {
                Ok(Some(batch)) => self.send(batch).await?,
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        let arrived = self.finish().await;
        match failure {
            // What was read before counts all the same, but this came first.
            Some(failure) => Err(failure),
            None => arrived,
        }
    }

    async fn first_consumers(&mut self, args: &Publish) -> anyhow::Result<()> {
        let what = match self.needed {
            1 => format!("a consumer of `{}`", args.topic),
            needed => format!("{needed} consumers of `{}`", args.topic),
        };
        let enough = node::wait(self.network, &what, self.enough.clone());
        let Some(limit) = args.wait else {
            enough.await;
            return Ok(());
        };
        let waited = rt::timeout(limit, enough).await;
        waited.map_err(|_| anyhow!("{what} did not come within {limit:?}"))
    }

    async fn send(&mut self, batch: Vec<String>) -> anyhow::Result<()> {
        for line in batch {
            if !self.enough.holds() {
                self.until("for another consumer", self.enough.clone())
                    .await?;
            }
            match self.producer.try_send(line) {
                Ok(()) => self.sent += 1,
                Err(TrySendError::Full(line) | TrySendError::Offline(line)) => {
                    let producer = self.producer.clone();
                    let sending = producer.send(line);
                    let sent = self.until("for consumers to go on", sending).await?;
                    self.sent(sent)?;
                }
                Err(TrySendError::Failed(error)) => self.sent(Err(error))?,
            }
        }
        self.settle();
        // Sending needs no other task to run.
        tokio::task::consume_budget().await;
        Ok(())
    }

    fn sent(&mut self, sent: Result<(), SendError>) -> anyhow::Result<()> {
        let line = self.sent + 1;
        sent.with_context(|| format!("line {line} cannot be sent"))?;
        self.sent = line;
        Ok(())
    }

    /// Waits until all that was sent has arrived.
    async fn finish(&mut self) -> anyhow::Result<()> {
        let producer = self.producer.clone();
        let flushed = self.until("for delivery", producer.flush()).await?;
        flushed.context("the lines cannot be delivered")?;
        self.settle();
        let (sent, lost) = (self.sent, self.delivery.lost());
        let open = sent - self.delivery.settled();
        if lost + open > 0 {
            bail!("{} of {sent} lines did not arrive", lost + open);
        }
        Ok(())
    }

    /// Waits, but no longer than the timeout without any line arriving.
    async fn until<F: Future>(
        &mut self,
        what: impl fmt::Display,
        future: F,
    ) -> anyhow::Result<F::Output> {
        let mut future = pin!(future);
        let (began, mut moved) = (rt::now(), rt::now());
        let mut mentioned = false;
        loop {
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                () = rt::sleep(TICK) => {}
            }
            if self.settle() {
                moved = rt::now();
            }
            if since(moved) > self.timeout {
                bail!(self.given_up());
            }
            if !mentioned && since(moved) > PATIENCE && since(began) > PATIENCE {
                note(format_args!("waiting {what}\n{}", self.network.explain()));
                mentioned = true;
            }
        }
    }

    fn given_up(&self) -> String {
        let (first, last) = (self.delivery.settled() + 1, self.sent);
        let held = match last.checked_sub(first) {
            None => format!("line {first} was not sent"),
            Some(0) => format!("line {first} did not arrive"),
            Some(_) => format!("lines {first} to {last} did not arrive"),
        };
        let lost = match self.delivery.lost() {
            0 => String::new(),
            lost => format!(", nor did {lost} before"),
        };
        format!(
            "gave up after {:?} without progress: {held}{lost}",
            self.timeout
        )
    }

    /// Looks at what has arrived; says what cannot arrive any more. Returns whether anything changed.
    fn settle(&mut self) -> bool {
        let before = self.delivery.settled();
        if before == self.sent {
            return false;
        }
        let places = self.producer.places();
        for (first, last) in self.delivery.settle(self.sent, &places) {
            note(format_args!(
                "lines {first} to {last} did not arrive: their consumer is gone"
            ));
        }
        self.delivery.settled() > before
    }
}

fn since(then: Instant) -> Duration {
    rt::now().duration_since(then)
}
