//! The consumer's side of a subscription: asks, receives, acknowledges, comes back after a loss.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::BytesMut;
use tracing::{debug, info, warn};

use super::{
    channels::Identity,
    driver::Active,
    handle::Inner,
    info::ChannelState,
    intake::{Intake, Item, Start},
    past::Found,
    proto::{
        credit::{Due, Receiving},
        record::{self, Control, Front},
        subscription::{
            ConsumerMessage, Filter, MAX_MESSAGE, MAX_SEQUENCE, Position, ProducerMessage,
            Subscribe,
        },
    },
    seat::Next,
};
use crate::{
    declare::Schema,
    id::PeerId,
    metrics,
    rt::{self, Instant, Tasks},
    tickets::Right,
    transport::{CloseCode, ConnectError, Connection, Link, LinkError, LinkSender, RecvHalf},
};

/// How long a producer may take to answer a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an acknowledgement waits for company.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// How long leaving may take to be heard.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes read ahead at once.
const READ_SIZE: usize = 128 * 1024;
/// Room in the buffer under which more is made.
const READ_MIN: usize = 32 * 1024;
/// First wait before a producer is tried again.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// Longest wait before a producer is tried again.
const BACKOFF_LAST: Duration = Duration::from_secs(5);

/// One consumer's work with one producer.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) streams: Inner,
    pub(super) intake: Arc<Intake>,
    pub(super) peer: PeerId,
    /// Cancelled when the consumer is dropped.
    pub(super) consumer: Tasks,
    pub(super) active: Active,
}

/// How an attempt ended.
#[derive(Debug)]
enum Ended {
    /// The consumer was dropped.
    Dropped,
    /// The producer says that nothing follows.
    Finished(CloseCode),
    /// The producer's life that the consumer was at had ended.
    Over,
    /// The producer said no.
    Refused(CloseCode, String),
    /// Something broke.
    Broken(LinkError),
    /// There was no connection.
    Unreachable(ConnectError),
}

impl Ended {
    /// Whether one of the two carries no valid ticket.
    fn is_for_tickets(&self) -> bool {
        matches!(self, Self::Refused(CloseCode::TicketExpired, _))
    }

    /// Whether the producer gave this consumer up because it took nothing.
    fn is_cut(&self) -> bool {
        matches!(
            self,
            Self::Finished(CloseCode::TooSlow)
                | Self::Broken(LinkError::Stream(CloseCode::TooSlow))
        )
    }

    /// Whether the producer owes nothing from before the end: it gave everything, or has nothing to tell.
    fn is_settled(&self) -> bool {
        match self {
            Self::Finished(code) => !matches!(code, CloseCode::TooSlow | CloseCode::Duplicate),
            Self::Refused(code, _) => *code == CloseCode::NotFound,
            Self::Over => true,
            Self::Dropped | Self::Broken(_) | Self::Unreachable(_) => false,
        }
    }
}

impl Session {
    /// Subscribes, again and again, for as long as the producer is there.
    pub(super) async fn run(self) {
        let mut backoff = BACKOFF_FIRST;
        let mut told = None;
        loop {
            let boot = self.streams.boot_of(&self.peer);
            let ended = self.attempt().await;
            let next = match &ended {
                Ended::Refused(_, reason) => ChannelState::Refused(reason.clone()),
                Ended::Unreachable(error @ ConnectError::Refused { .. }) => {
                    ChannelState::Refused(error.to_string())
                }
                _ => ChannelState::Reconnecting,
            };
            let was_connected = self.intake.left(self.peer, next.clone());
            if matches!(ended, Ended::Dropped) {
                break;
            }
            self.note(&ended, next, &mut told);
            if ended.is_settled() {
                self.intake.settled(self.peer);
            }
            if was_connected {
                backoff = BACKOFF_FIRST;
            }
            let wanted = || {
                let (streams, peer) = (&self.streams, &self.peer);
                let wanted = streams.produces(peer, &self.intake.topic().id)
                    || (streams.is_live(peer) && self.intake.is_unsettled(*peer));
                if !wanted {
                    // Before anybody else can begin anew with the peer.
                    self.intake.end(self.peer);
                }
                wanted
            };
            if !self.active.keep(self.peer, wanted) {
                return;
            }
            if ended.is_cut() {
                // Coming back without room would only hold the others up again.
                tokio::select! {
                    biased;
                    () = self.consumer.cancelled() => break,
                    () = self.intake.has_room(self.peer) => {}
                }
            }
            tokio::select! {
                biased;
                () = self.consumer.cancelled() => break,
                () = self.streams.rebooted(&self.peer, boot) => backoff = BACKOFF_FIRST,
                () = self.streams.reentered(&self.peer), if ended.is_for_tickets() => {
                    backoff = BACKOFF_FIRST;
                }
                () = rt::sleep(rt::jitter(backoff)) => backoff = (backoff * 2).min(BACKOFF_LAST),
            }
        }
        self.intake.end(self.peer);
    }

    /// Logs how an attempt ended; a refusal once until another one follows.
    fn note(&self, ended: &Ended, next: ChannelState, told: &mut Option<ChannelState>) {
        let (peer, topic) = (self.peer.short(), &self.intake.topic().name);
        match ended {
            Ended::Dropped => {}
            // A producer that has just gone is no contradiction.
            Ended::Refused(CloseCode::NotFound | CloseCode::ShuttingDown, reason) => {
                debug!(%peer, reason, "producer gone");
            }
            Ended::Refused(code, reason) => {
                metrics::subscription_refused();
                if *told != Some(next.clone()) {
                    warn!(%peer, topic, %code, reason, "subscription refused");
                    *told = Some(next);
                }
            }
            Ended::Unreachable(error) => debug!(%peer, %error, "producer unreachable"),
            Ended::Broken(error) => info!(%peer, topic, %error, "connection to the producer lost"),
            Ended::Finished(code) => debug!(%peer, %code, "producer finished"),
            Ended::Over => debug!(%peer, "producer had finished"),
        }
    }

    async fn attempt(&self) -> Ended {
        if self.peer == self.streams.peer() {
            return self.local().await;
        }
        let Some(addr) = self.streams.addr_of(&self.peer) else {
            return Ended::Unreachable(ConnectError::NoAddress);
        };
        let connection = tokio::select! {
            biased;
            () = self.consumer.cancelled() => return Ended::Dropped,
            connected = self.streams.pool().connect(&addr) => match connected {
                Ok(connection) => connection,
                Err(error) => return Ended::Unreachable(error),
            },
        };
        let right = match self.streams.right(&self.peer, self.intake.topic()).await {
            Ok(right) => right,
            Err(why) => return Ended::Refused(CloseCode::TicketExpired, why.to_string()),
        };
        // To its end, even when the consumer is dropped meanwhile: once asked, the producer has a seat for it
        // that it must be told to give up.
        match self.ask(&connection).await {
            Ok(records) => records.run(&connection, right).await,
            Err(ended) => ended,
        }
    }

    /// Takes datums from a producer on this node straight from its ring.
    async fn local(&self) -> Ended {
        let start = self.intake.begin(self.peer);
        let hub = match self.streams.find(&self.intake.topic().id, start.position) {
            Found::Hub(hub) => hub,
            Found::Over { next } => return self.over(next, &start),
            Found::Nothing => return Ended::Finished(CloseCode::NotFound),
        };
        if let Err(difference) = hub.topic().compare(self.intake.topic().schema.as_ref()) {
            return Ended::Refused(CloseCode::SchemaMismatch, difference);
        }
        let consumer = Identity {
            peer: self.peer,
            consumer: self.intake.id(),
        };
        let seat = match hub.attach(consumer, start.position, Some(start.meter.clone())) {
            Ok(seat) => seat,
            Err((code, reason)) => return Ended::Refused(code, reason.into()),
        };
        self.joined(hub.epoch(), seat.first, &start);
        let mut received = seat.first;
        let mut batches = Vec::new();
        loop {
            let held = self.intake.held(self.peer);
            let limit = self.intake.window().saturating_sub(held);
            match seat.read(limit, &mut batches) {
                Next::Go if !batches.is_empty() => {
                    for batch in batches.drain(..) {
                        received += batch.count;
                        seat.counters.add(batch.count, batch.records.len());
                        let records = Item::Datums(batch.records.into());
                        self.intake.deliver(self.peer, batch.count, records);
                    }
                    seat.ack(received, 0);
                    // A producer on another thread may always have more.
                    tokio::task::consume_budget().await;
                    if self.consumer.is_cancelled() {
                        seat.leave();
                        return Ended::Dropped;
                    }
                }
                Next::Go | Next::Idle => tokio::select! {
                    biased;
                    () = self.consumer.cancelled() => {
                        seat.leave();
                        return Ended::Dropped;
                    }
                    () = seat.wake.notified() => {}
                    () = start.meter.woken() => {}
                },
                Next::End(code, _) => {
                    seat.leave();
                    return Ended::Finished(code);
                }
            }
        }
    }

    fn joined(&self, epoch: u64, first: u64, start: &Start) {
        let position = Position { epoch, next: first };
        let missed = position.missed_since(start.position);
        self.intake.joined(self.peer, position, missed);
    }

    /// The producer's life that the consumer was at has ended, at the sequence number `next`.
    fn over(&self, next: u64, start: &Start) -> Ended {
        let position = start.position;
        let missed = position.map_or(0, |position| next.saturating_sub(position.next));
        self.intake.over(self.peer, missed);
        Ended::Over
    }

    async fn ask(&self, connection: &Connection) -> Result<Records<'_>, Ended> {
        let start = self.intake.begin(self.peer);
        let window = self.intake.window();
        let request = Subscribe {
            topic: self.intake.topic().id,
            consumer: self.intake.id(),
            schema: self.intake.topic().schema.as_ref().map(Schema::encode),
            filter: Filter::All,
            resume: start.position,
            limit: Receiving::first_limit(start.held, window),
        };
        let ask = async {
            let mut link =
                Link::<ConsumerMessage, ProducerMessage>::open(connection, MAX_MESSAGE).await?;
            link.tx.send(&ConsumerMessage::Subscribe(request)).await?;
            let answer = link.rx.recv().await?;
            Ok((link, answer))
        };
        let (link, answer) = match rt::timeout(ANSWER_TIMEOUT, ask).await {
            Ok(Ok(asked)) => asked,
            Ok(Err(error)) => return Err(Ended::Broken(error)),
            Err(_) => return Err(Ended::Unreachable(ConnectError::TimedOut)),
        };
        let accept = match answer {
            Some(ProducerMessage::Accept(accept)) if accept.first <= MAX_SEQUENCE => accept,
            Some(ProducerMessage::Over { next }) if next <= MAX_SEQUENCE => {
                return Err(self.over(next, &start));
            }
            Some(ProducerMessage::Refuse { code, reason }) => {
                return Err(Ended::Refused(CloseCode::from_code(code), reason));
            }
            _ => {
                let reason = "an answer out of place".into();
                return Err(Ended::Refused(CloseCode::Malformed, reason));
            }
        };
        self.joined(accept.epoch, accept.first, &start);
        let (first, taken) = (accept.first, start.meter.taken());
        let flow = Receiving::new(first, start.held, taken, window, accept.ack_every);
        let (half, buffer) = link.rx.into_half();
        Ok(Records {
            session: self,
            start,
            flow,
            half,
            buffer,
            tx: link.tx,
        })
    }
}

/// A subscription that runs.
struct Records<'a> {
    session: &'a Session,
    start: Start,
    flow: Receiving,
    half: RecvHalf,
    buffer: BytesMut,
    tx: LinkSender<ConsumerMessage>,
}

impl Records<'_> {
    async fn run(mut self, connection: &Connection, right: Option<Right>) -> Ended {
        let streams = self.session.streams.clone();
        let mut lost = pin!(streams.lost(right));
        let mut ack_at: Option<Instant> = None;
        loop {
            match self.split() {
                Ok(None) => {}
                Ok(Some(code)) => return self.leave(Ended::Finished(code)).await,
                Err(error) => {
                    warn!(peer = %self.session.peer.short(), %error, "producer sent garbage");
                    metrics::malformed();
                    self.half.stop(CloseCode::Malformed);
                    return Ended::Refused(CloseCode::Malformed, error.to_string());
                }
            }
            // While nothing is unsaid, the next datum that is taken is news.
            let taken = match ack_at {
                None => self.start.meter.watch(),
                Some(_) => self.start.meter.taken(),
            };
            let held = self.session.intake.held(self.session.peer);
            self.flow.on_taken(held, taken);
            match self.flow.due() {
                Due::Never => ack_at = None,
                Due::Soon => {
                    ack_at.get_or_insert_with(|| rt::now() + ACK_DELAY);
                }
                Due::Now => ack_at = Some(rt::now()),
            }
            if ack_at.is_some_and(|at| at <= rt::now()) {
                ack_at = None;
                self.measure(connection);
                let ack = ConsumerMessage::Ack(self.flow.tell());
                if let Err(error) = self.tx.send(&ack).await {
                    return Ended::Broken(error);
                }
                // Before it rests, it must watch for the next datum that is taken.
                continue;
            }
            let ack_due = async {
                match ack_at {
                    Some(at) => rt::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.session.consumer.cancelled() => return self.leave(Ended::Dropped).await,
                () = ack_due => {}
                denial = &mut lost => {
                    let ended = Ended::Refused(CloseCode::TicketExpired, denial.to_string());
                    return self.leave(ended).await;
                }
                read = self.half.read_buf(&mut self.buffer), if self.flow.has_room() => match read {
                    Ok(0) => return Ended::Broken(LinkError::Truncated),
                    Ok(_) => {}
                    Err(error) => return Ended::Broken(error),
                },
                // Reading would tell of it too, but there is no room to read.
                closed = connection.closed(), if !self.flow.has_room() => {
                    return Ended::Broken(LinkError::Connection(closed));
                }
                () = self.start.meter.woken() => {}
            }
        }
    }

    /// Notes how long the way to the producer and back takes.
    fn measure(&self, connection: &Connection) {
        if let Some(rtt) = connection.rtt() {
            self.start.counters.set_rtt(rtt);
            let discovery = self.session.streams.discovery();
            discovery.observe_rtt(connection.peer(), rtt);
        }
    }

    /// Hands over all that is whole. Returns the code of an end.
    fn split(&mut self) -> Result<Option<CloseCode>, LinkError> {
        let (intake, peer) = (&self.session.intake, self.session.peer);
        loop {
            match record::split_front(&mut self.buffer)? {
                Front::Datums { count, records } => {
                    self.flow.on_received(count, records.len());
                    metrics::received(count, records.len());
                    intake.deliver(peer, count, Item::Datums(records.into()));
                }
                Front::Control(Control::Gap { missed }) => {
                    self.flow.on_gap(missed);
                    intake.deliver(peer, missed, Item::Lagged(missed));
                }
                Front::Control(Control::End { code, .. }) => {
                    return Ok(Some(CloseCode::from_code(code)));
                }
                Front::Incomplete { missing } => {
                    let spare = self.buffer.capacity() - self.buffer.len();
                    if spare < READ_MIN.min(missing) || spare == 0 {
                        self.buffer.reserve(READ_SIZE);
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Tells the producer the last number and that nothing follows.
    async fn leave(mut self, ended: Ended) -> Ended {
        let tell = async {
            self.tx
                .send(&ConsumerMessage::Ack(self.flow.tell()))
                .await?;
            self.tx.finish().await
        };
        match rt::timeout(LEAVE_TIMEOUT, tell).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "the producer is gone already"),
            Err(_) => debug!("the producer does not take the goodbye"),
        }
        ended
    }
}
