//! Carries out a catalog exchange over a stream.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{
    Refusal, SyncError,
    frame::{Frame, FrameLink, MAX_FRAME},
    proto::{
        entry::{Record, SignedEntry},
        sync::{Aged, Exchange, Holdings, Input as In, Message, Output as Out},
    },
    shared::{Input, Shared},
};
use crate::{
    id::PeerId,
    rt,
    transport::{CloseCode, Connection, LinkError, LinkReceiver},
};

/// How long an exchange may take.
pub(super) const SYNC_TIMEOUT: Duration = Duration::from_secs(15);
/// Signatures that are checked without a pause.
const VERIFY_BATCH: usize = 32;

/// Begins an exchange on a connection.
pub(super) async fn begin(shared: &Arc<Shared>, connection: &Connection) -> Result<(), SyncError> {
    let exchange = async {
        let link = FrameLink::open(connection, MAX_FRAME).await?;
        run(shared, connection.peer(), link, In::Begin).await
    };
    let outcome = rt::timeout(SYNC_TIMEOUT, exchange).await;
    outcome.unwrap_or(Err(SyncError::TimedOut))
}

/// Answers an exchange whose first message has arrived.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    peer: PeerId,
    link: FrameLink,
    first: Message,
) -> Result<(), SyncError> {
    let exchange = run(shared, peer, link, In::Received(first));
    let outcome = rt::timeout(SYNC_TIMEOUT, exchange).await;
    outcome.unwrap_or(Err(SyncError::TimedOut))
}

async fn run(
    shared: &Arc<Shared>,
    peer: PeerId,
    link: FrameLink,
    first: In,
) -> Result<(), SyncError> {
    let (reply, holdings) = oneshot::channel();
    shared.tell(Input::Holdings(peer, reply)).await;
    let holdings = holdings.await.map_err(|_| SyncError::ShutDown)?;
    let FrameLink { mut tx, mut rx } = link;
    let (mut exchange, mut out) = (Exchange::new(), Vec::new());
    exchange.handle(first, &holdings, &mut out);
    // Greeting first, one step at a time; then both directions stream at once, or two full windows
    // would wait for each other.
    let (ours, mut finished) = 'greeted: loop {
        for output in out.drain(..) {
            match output {
                Out::Send(message) => tx.send(&Frame::Sync(message)).await?,
                Out::Stream { batches, gone } => break 'greeted (Some((batches, gone)), false),
                Out::Finished => break 'greeted (None, true),
                Out::Refute(entry) => refute(shared, peer, entry).await,
                Out::Merge(_) | Out::Suspect(_) => {}
                Out::Abort(why) => return Err(SyncError::Broken(why.into())),
            }
        }
        let message = receive(&mut rx).await?;
        exchange.handle(In::Received(message), &holdings, &mut out);
    };
    let write = async {
        if let Some((batches, gone)) = ours {
            for batch in &batches {
                let message = holdings.batch(batch, shared.time());
                tx.send(&Frame::Sync(message)).await?;
            }
            if !gone.is_empty() {
                tx.send(&Frame::Sync(Message::Gone(gone))).await?;
            }
            tx.send(&Frame::Sync(Message::Done)).await?;
        }
        match tx.finish().await {
            // The other side is through, and did not wait for more than our end mark.
            Err(LinkError::Stream(CloseCode::Done)) => Ok(()),
            finished => finished.map_err(SyncError::from),
        }
    };
    let read = async {
        while !finished {
            let message = receive(&mut rx).await?;
            exchange.handle(In::Received(message), &holdings, &mut out);
            for output in out.drain(..) {
                match output {
                    Out::Merge(entries) => merge(shared, peer, entries, &holdings).await,
                    Out::Finished => finished = true,
                    Out::Abort(why) => return Err(SyncError::Broken(why.into())),
                    Out::Suspect(gone) => shared.tell(Input::Gone(gone)).await,
                    Out::Send(_) | Out::Stream { .. } | Out::Refute(_) => {}
                }
            }
        }
        match rx.recv().await? {
            None => Ok(()),
            Some(_) => Err(SyncError::Broken("message behind the last".into())),
        }
    };
    tokio::try_join!(write, read)?;
    let (reply, merged) = oneshot::channel();
    shared.tell(Input::Flush(reply)).await;
    merged.await.map_err(|_| SyncError::ShutDown)
}

async fn receive(rx: &mut LinkReceiver<Frame>) -> Result<Message, SyncError> {
    match rx.recv().await? {
        Some(Frame::Sync(message)) => Ok(message),
        Some(_) => Err(SyncError::Broken("not a message of an exchange".into())),
        None => Err(SyncError::Broken("ended early".into())),
    }
}

/// We are buried at `from` under this entry. Only what we have signed is worth an answer: a version that
/// somebody made up could be one that there is nothing above.
async fn refute(shared: &Arc<Shared>, from: PeerId, entry: SignedEntry) {
    match shared.verify(entry) {
        Ok(record) if record.peer() == shared.me() => {
            shared.tell(Input::Refute(record.version())).await;
        }
        Ok(_) => {
            let refusal = Refusal::Malformed("another's entry in place of ours".into());
            shared.tell(Input::Refused(from, refusal)).await;
        }
        Err(error) => {
            let refusal = Refusal::Entry(error);
            shared.tell(Input::Refused(from, refusal)).await;
        }
    }
}

/// Verifies entries and hands them on. Those that we hold just so are not verified again.
async fn merge(shared: &Arc<Shared>, from: PeerId, entries: Vec<Aged>, holdings: &Holdings) {
    let mut verified = Vec::with_capacity(entries.len());
    for (i, aged) in entries.into_iter().enumerate() {
        // A full batch takes a while, in which others want to run too.
        if i % VERIFY_BATCH == VERIFY_BATCH - 1 {
            tokio::task::yield_now().await;
        }
        let age = aged.age();
        match known_or_verified(shared, aged, holdings) {
            Ok(record) => verified.push((record, age)),
            Err(error) => {
                let refusal = Refusal::Entry(error);
                shared.tell(Input::Refused(from, refusal)).await;
            }
        }
    }
    shared.tell(Input::Merge(verified, Some(from))).await;
}

fn known_or_verified(
    shared: &Arc<Shared>,
    aged: Aged,
    holdings: &Holdings,
) -> Result<Arc<Record>, super::EntryError> {
    let known = holdings.by_signature(&aged.entry);
    match known {
        Some(record) => Ok(record.clone()),
        None => shared.verify(aged.entry),
    }
}

impl Holdings {
    /// The entry that we hold with just these signed bytes.
    fn by_signature(&self, entry: &SignedEntry) -> Option<&Arc<Record>> {
        let peer = entry.claimed_peer()?;
        let (record, _) = self.entries.get(&peer)?;
        (record.signed() == entry).then_some(record)
    }
}
