//! What a topic looks like, asked of a peer that produces it.

use std::time::Duration;

use tracing::debug;

use super::{
    handle::Inner,
    proto::subscription::{ConsumerMessage, MAX_MESSAGE, ProducerMessage},
};
use crate::{
    declare::{Schema, SchemaError},
    id::{PeerId, TopicId},
    rt,
    transport::{CloseCode, ConnectError, Link, LinkError},
};

/// How long a producer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a topic looks like: from [`Streams::describe`](super::Streams::describe).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Description {
    /// The topic's name.
    pub name: String,
    /// The schema of its datums; `None` when the producer's type cannot be traced.
    pub schema: Option<Schema>,
}

pub(super) async fn ask(
    streams: &Inner,
    peer: PeerId,
    topic: TopicId,
) -> Result<Description, DescribeError> {
    if peer == streams.peer() {
        let hub = streams.hub(&topic).ok_or(DescribeError::NotProduced)?;
        return Ok(Description {
            name: hub.topic().name.clone(),
            schema: hub.topic().schema.clone(),
        });
    }
    let addr = streams.addr_of(&peer).ok_or(DescribeError::UnknownPeer)?;
    let connection = streams.pool().connect(&addr).await?;
    let ask = async {
        let mut link =
            Link::<ConsumerMessage, ProducerMessage>::open(&connection, MAX_MESSAGE).await?;
        link.tx.send(&ConsumerMessage::Describe { topic }).await?;
        let answer = link.rx.recv().await?;
        if let Err(error) = link.tx.finish().await {
            debug!(%error, "the producer has answered and closed its side");
        }
        Ok::<_, LinkError>(answer)
    };
    let answer = rt::timeout(ANSWER_TIMEOUT, ask)
        .await
        .map_err(|_| DescribeError::Connect(ConnectError::TimedOut))?
        .map_err(|error| DescribeError::Connect(error.into()))?;
    match answer {
        Some(ProducerMessage::Description { name, schema }) => Ok(Description {
            name,
            schema: schema.as_deref().map(Schema::decode).transpose()?,
        }),
        Some(ProducerMessage::Refuse { code, .. })
            if CloseCode::from_code(code) == CloseCode::NotFound =>
        {
            Err(DescribeError::NotProduced)
        }
        Some(ProducerMessage::Refuse { code, reason }) => {
            let code = CloseCode::from_code(code);
            Err(ConnectError::Refused { code, reason }.into())
        }
        Some(ProducerMessage::Accept(_) | ProducerMessage::Over { .. }) | None => {
            Err(DescribeError::OutOfPlace)
        }
    }
}

/// Why a topic could not be described.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescribeError {
    /// Wait until discovery shows the peer.
    #[error("the peer is not in the catalog")]
    UnknownPeer,
    /// Ask a peer whose entry lists the topic as produced.
    #[error("the peer does not produce that topic (any more)")]
    NotProduced,
    /// The peer is faulty or of another version.
    #[error("the peer gave an answer out of place")]
    OutOfPlace,
    /// The peer was not reached, or refused.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The peer sent a schema that cannot be read; it is faulty or of another version.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}
