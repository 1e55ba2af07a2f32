//! What streams wait for, for people.

use std::{fmt, sync::Arc};

use super::{
    hub::Hub,
    info::{ChannelInfo, ChannelState},
    intake::Intake,
};
use crate::id::PeerId;

/// The state of all producers and consumers of a node.
#[derive(Clone, Debug)]
pub(crate) struct StreamsStatus {
    producers: Vec<ProducerStatus>,
    consumers: Vec<ConsumerStatus>,
    refusals: Vec<Refused>,
    unannounced: Option<String>,
}

#[derive(Clone, Debug)]
struct ProducerStatus {
    topic: String,
    online_when: usize,
    online: bool,
    ended: bool,
    unchecked: Option<String>,
    channels: Vec<ChannelInfo>,
}

#[derive(Clone, Debug)]
struct ConsumerStatus {
    topic: String,
    unchecked: Option<String>,
    channels: Vec<ChannelInfo>,
}

/// A subscription that this node refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) peer: PeerId,
    pub(crate) topic: String,
    pub(crate) reason: String,
}

impl StreamsStatus {
    pub(super) fn new(
        hubs: &[Arc<Hub>],
        intakes: &[Arc<Intake>],
        refusals: Vec<Refused>,
        unannounced: Option<String>,
    ) -> Self {
        let producer = |hub: &Arc<Hub>| ProducerStatus {
            topic: hub.topic().name.clone(),
            online_when: hub.topic().options.online_when,
            online: hub.status().borrow().online,
            ended: hub.is_closing(),
            unchecked: hub.topic().unchecked.as_ref().map(ToString::to_string),
            channels: hub.channels(),
        };
        let consumer = |intake: &Arc<Intake>| ConsumerStatus {
            topic: intake.topic().name.clone(),
            unchecked: intake.topic().unchecked.as_ref().map(ToString::to_string),
            channels: intake.channels(),
        };
        Self {
            producers: hubs.iter().map(producer).collect(),
            consumers: intakes.iter().map(consumer).collect(),
            refusals,
            unannounced,
        }
    }
}

impl fmt::Display for StreamsStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for producer in &self.producers {
            let connected = connected(&producer.channels);
            let state = if producer.online {
                format!("online, {connected} consumer(s)")
            } else if producer.ended {
                "ended; what its consumers do not have yet is kept for a while".into()
            } else {
                format!(
                    "waiting for consumers: has {connected}, needs {}",
                    producer.online_when.max(1)
                )
            };
            writeln!(f, "producer of `{}`: {state}", producer.topic)?;
            describe(
                f,
                producer.unchecked.as_ref(),
                &producer.channels,
                "datum(s) behind",
            )?;
        }
        for consumer in &self.consumers {
            let connected = connected(&consumer.channels);
            let state = match (connected, consumer.channels.len()) {
                (0, 0) => "waiting for a producer: no live peer announces the topic".into(),
                (0, known) => format!("waiting for a producer: {known} known, none connected"),
                (connected, _) => format!("online, {connected} producer(s)"),
            };
            writeln!(f, "consumer of `{}`: {state}", consumer.topic)?;
            describe(
                f,
                consumer.unchecked.as_ref(),
                &consumer.channels,
                "byte(s) not taken yet",
            )?;
        }
        if let Some(reason) = &self.unannounced {
            writeln!(f, "the latest topics are not announced: {reason}")?;
        }
        for refused in &self.refusals {
            let (topic, peer, reason) = (&refused.topic, refused.peer.short(), &refused.reason);
            writeln!(f, "refused {peer} on `{topic}`: {reason}")?;
        }
        Ok(())
    }
}

fn connected(channels: &[ChannelInfo]) -> usize {
    let connected = |channel: &&ChannelInfo| channel.state == ChannelState::Connected;
    channels.iter().filter(connected).count()
}

fn describe(
    f: &mut fmt::Formatter<'_>,
    unchecked: Option<&String>,
    channels: &[ChannelInfo],
    behind: &str,
) -> fmt::Result {
    if let Some(reason) = unchecked {
        writeln!(f, "  unchecked: {reason}")?;
    }
    for channel in channels {
        let state = match &channel.state {
            ChannelState::Connecting => "connecting".into(),
            ChannelState::Connected => "connected".into(),
            ChannelState::Reconnecting => "lost, reconnecting".into(),
            ChannelState::Cut => {
                "cut: took nothing for too long; its place is kept for a while".into()
            }
            ChannelState::Refused(reason) => format!("refused: {reason}"),
        };
        let (peer, datums, lag) = (channel.peer.short(), channel.datums, channel.lag);
        writeln!(f, "  {peer}: {state}, {datums} datum(s), {lag} {behind}")?;
    }
    Ok(())
}
