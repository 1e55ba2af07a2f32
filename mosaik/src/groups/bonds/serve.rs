//! Serves the streams of every bond.

use std::time::Duration;

use tokio::sync::mpsc;
use tracing::debug;

use super::{Bonds, Control, Header, table::Line};
use crate::{
    groups::operate,
    rt,
    transport::{CloseCode, Connection, Halves, Link, LinkError, RecvHalf, SendHalf},
    wire,
};

/// Largest header of a stream, in bytes.
pub(super) const MAX_HEADER: usize = 1024;
/// Largest control message, in bytes.
const MAX_CONTROL: usize = 64 * 1024;
/// Control messages that are written at once.
const MAX_BATCH: usize = 1024;
/// How long a stream may take to say what it is for.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the connections, dialed and accepted alike, as long as the network.
pub(super) async fn run(bonds: Bonds, mut connections: mpsc::Receiver<Connection>) {
    while let Some(connection) = connections.recv().await {
        let (tasks, bonds) = (bonds.tasks().clone(), bonds.clone());
        tasks.spawn(async move {
            let peer = connection.peer();
            let ended = serve(&bonds, &connection).await;
            if let Err(error) = ended {
                debug!(peer = %peer.short(), %error, "a bond ended");
            }
            bonds.closed(&connection);
        });
    }
}

async fn serve(bonds: &Bonds, connection: &Connection) -> Result<(), LinkError> {
    if connection.dialed() {
        let mut link = Link::<Header, Control>::open(connection, MAX_CONTROL).await?;
        link.tx.send(&Header::Control).await?;
        let halves = link.into_halves();
        start_control(bonds, connection, halves);
    }
    let mut controlled = connection.dialed();
    loop {
        let (send, recv) = connection.accept_bi().await?;
        if !controlled {
            // The first stream is the control stream: nothing else means anything before it.
            let (header, halves) = header(send, recv).await?;
            if header != Header::Control {
                connection.close(CloseCode::Malformed, "the first stream is not for control");
                return Ok(());
            }
            start_control(bonds, connection, halves);
            controlled = true;
            continue;
        }
        let (bonds, connection) = (bonds.clone(), connection.clone());
        let tasks = bonds.tasks().clone();
        tasks.spawn(async move {
            if let Err(error) = stream(&bonds, &connection, send, recv).await {
                debug!(peer = %connection.peer().short(), %error, "a stream of a group ended");
            }
        });
    }
}

async fn header(send: SendHalf, recv: RecvHalf) -> Result<(Header, Halves), LinkError> {
    let mut link = Link::<(), Header>::new((send, recv), MAX_HEADER);
    let header = rt::timeout(HEADER_TIMEOUT, link.rx.recv()).await;
    let header = header.map_err(|_| LinkError::Stream(CloseCode::TimedOut))??;
    let header = header.ok_or(LinkError::Truncated)?;
    Ok((header, link.into_halves()))
}

/// Serves a stream that the peer opened.
async fn stream(
    bonds: &Bonds,
    connection: &Connection,
    send: SendHalf,
    recv: RecvHalf,
) -> Result<(), LinkError> {
    let (header, mut halves) = header(send, recv).await?;
    let refuse = |halves: &mut Halves, code| {
        halves.0.reset(code);
        halves.1.0.stop(code);
    };
    let group = match &header {
        Header::Group(header) => header.group,
        Header::Client { group } | Header::Report { group } | Header::Order { group } => *group,
        Header::Control => {
            refuse(&mut halves, CloseCode::Malformed);
            return Ok(());
        }
    };
    // Kept until this ends.
    let line = bonds.line(connection).map(Line::in_use);
    if let Some(front) = bonds.front(&group) {
        match header {
            Header::Group(header)
                if header.from.peer == connection.peer()
                    && front.is_bonded(&header.from, connection) =>
            {
                return front.serve(header, halves).await;
            }
            Header::Client { .. } if let Some(line) = line.clone() => {
                return front.serve_client(line, halves).await;
            }
            Header::Order { .. } if let Some(line) = line.clone() => {
                return operate::obey(&front, &line, halves).await;
            }
            Header::Report { .. } => return operate::report(&front, halves).await,
            _ => {}
        }
    }
    refuse(&mut halves, CloseCode::NotFound);
    Ok(())
}

/// Starts to send and receive control messages.
fn start_control(bonds: &Bonds, connection: &Connection, halves: Halves) {
    let session = connection.keying_material();
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            connection.close(CloseCode::NotAdmitted, &error.to_string());
            return;
        }
    };
    let (line, messages) = bonds.open(connection.clone(), session);
    let link = Link::<Control, Control>::resume(halves, MAX_CONTROL);
    let Link { tx, rx } = link;
    let (tasks, receiving) = (bonds.tasks(), bonds.clone());
    let sending = line.clone();
    tasks.spawn(async move {
        let mut tx = tx.into_half();
        if let Err(error) = send(&mut tx, messages).await {
            debug!(%error, "control messages cannot be sent");
            let reason = "the control stream broke";
            sending.connection.close(CloseCode::Done, reason);
        }
    });
    tasks.spawn(async move {
        let (mut rx, line) = (rx, line);
        let error = receive(&receiving, &line, &mut rx).await;
        debug!(?error, "the control stream ended");
        let code = match error {
            Err(LinkError::Decode(_)) => CloseCode::Malformed,
            _ => CloseCode::Done,
        };
        line.connection.close(code, "the control stream ended");
    });
}

/// Sends what there is, many messages at once: where a thousand groups begin, one at a time would not keep up.
async fn send(tx: &mut SendHalf, mut messages: mpsc::Receiver<Control>) -> Result<(), LinkError> {
    let mut batch = Vec::new();
    let mut frames = Vec::new();
    while messages.recv_many(&mut batch, MAX_BATCH).await > 0 {
        for message in batch.drain(..) {
            wire::encode_frame_onto(&message, MAX_CONTROL, &mut frames)?;
        }
        tx.write_all(&frames).await?;
        frames.clear();
    }
    Ok(())
}

async fn receive(
    bonds: &Bonds,
    line: &Line,
    rx: &mut crate::transport::LinkReceiver<Control>,
) -> Result<(), LinkError> {
    while let Some(message) = rx.recv().await? {
        bonds.received(line, message);
    }
    Ok(())
}
