//! Typed frames over a stream.

use std::marker::PhantomData;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

use super::{CloseCode, Closed, Connection, RecvHalf, SendHalf};
use crate::wire::{self, DecodeError, EncodeError, HEADER_LEN};

/// Bytes read ahead at once.
const READ_SIZE: usize = 16 * 1024;

/// A stream that carries frames of type `Tx` one way and `Rx` the other.
#[derive(Debug)]
pub(crate) struct Link<Tx, Rx> {
    /// The sending direction.
    pub(crate) tx: LinkSender<Tx>,
    /// The receiving direction.
    pub(crate) rx: LinkReceiver<Rx>,
}

impl<Tx: Serialize, Rx: DeserializeOwned> Link<Tx, Rx> {
    /// Opens a stream on `connection` whose frames are at most `limit` bytes.
    pub(crate) async fn open(connection: &Connection, limit: usize) -> Result<Self, LinkError> {
        Ok(Self::new(connection.open_bi().await?, limit))
    }

    /// Puts frames of at most `limit` bytes on a stream.
    pub(crate) fn new((send, recv): (SendHalf, RecvHalf), limit: usize) -> Self {
        Self::resume((send, (recv, BytesMut::new())), limit)
    }

    /// Puts frames of at most `limit` bytes on a stream of which some bytes were read already.
    pub(crate) fn resume((send, (recv, buffer)): Halves, limit: usize) -> Self {
        Self {
            tx: LinkSender {
                half: send,
                limit,
                marker: PhantomData,
            },
            rx: LinkReceiver {
                half: recv,
                buffer,
                ended: false,
                limit,
                marker: PhantomData,
            },
        }
    }
}

impl<Tx: Serialize, Rx> Link<Tx, Rx> {
    /// The bare stream, and what was read ahead of it: for frames of other types.
    pub(crate) fn into_halves(self) -> Halves {
        (self.tx.half, (self.rx.half, self.rx.buffer))
    }
}

/// Both halves of a stream, with what was read ahead of it.
pub(crate) type Halves = (SendHalf, (RecvHalf, BytesMut));

/// The sending direction of a link.
#[derive(Debug)]
pub(crate) struct LinkSender<T> {
    half: SendHalf,
    limit: usize,
    marker: PhantomData<fn(T)>,
}

impl<T: Serialize> LinkSender<T> {
    /// Sends one frame, waiting for room.
    pub(crate) async fn send(&mut self, message: &T) -> Result<(), LinkError> {
        let frame = wire::encode_frame(message, self.limit)?;
        self.half.write_all(&frame).await
    }

    /// Sends the explicit end and waits until the peer has taken everything.
    pub(crate) async fn finish(mut self) -> Result<(), LinkError> {
        self.half.write_all(&wire::END).await?;
        self.half.finish().await
    }

    /// The bare half, for bytes that are framed already.
    pub(crate) fn into_half(self) -> SendHalf {
        self.half
    }
}

/// The receiving direction of a link.
#[derive(Debug)]
pub(crate) struct LinkReceiver<T> {
    half: RecvHalf,
    buffer: BytesMut,
    ended: bool,
    limit: usize,
    marker: PhantomData<fn() -> T>,
}

impl<T> LinkReceiver<T> {
    /// The content of the next frame, whatever it is, or `None` behind the explicit end. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::Truncated`] when the stream stops without its end.
    pub(crate) async fn recv_frame(&mut self) -> Result<Option<Bytes>, LinkError> {
        let Some(len) = self.fill().await? else {
            return Ok(None);
        };
        self.buffer.advance(HEADER_LEN);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// Reads until the buffer begins with a whole frame, and says how long its content is.
    async fn fill(&mut self) -> Result<Option<usize>, LinkError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if let Some((header, body)) = self.buffer.split_first_chunk::<HEADER_LEN>() {
                let Some(len) = wire::frame_len(*header, self.limit)? else {
                    self.ended = true;
                    return Ok(None);
                };
                if body.len() >= len {
                    return Ok(Some(len));
                }
            }
            self.buffer.reserve(READ_SIZE);
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Err(LinkError::Truncated);
            }
        }
    }
}

impl<T: DeserializeOwned> LinkReceiver<T> {
    /// The next frame, or `None` behind the explicit end. Cancel-safe.
    ///
    /// # Errors
    /// [`LinkError::Truncated`] when the stream stops without its end.
    pub(crate) async fn recv(&mut self) -> Result<Option<T>, LinkError> {
        let Some(len) = self.fill().await? else {
            return Ok(None);
        };
        let value = wire::decode(&self.buffer[HEADER_LEN..HEADER_LEN + len]);
        self.buffer.advance(HEADER_LEN + len);
        Ok(Some(value?))
    }

    /// The bare half and what it has read ahead, for bytes of another framing.
    pub(crate) fn into_half(self) -> (RecvHalf, BytesMut) {
        (self.half, self.buffer)
    }

    /// Tells the peer to send no more.
    pub(crate) fn stop(&mut self, code: CloseCode) {
        self.half.stop(code);
    }
}

/// Why a link broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LinkError {
    /// The connection is gone.
    #[error("connection closed: {0}")]
    Connection(Closed),
    /// The peer gave this stream up, or told us to stop sending.
    #[error("stream closed by the peer: {0}")]
    Stream(CloseCode),
    /// The stream ended in the middle: the peer crashed or is faulty.
    #[error("stream ended without its end mark")]
    Truncated,
    /// The peer sent what cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// What we wanted to send cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}
