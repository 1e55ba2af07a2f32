//! Producers and consumers from the type that declares a topic.

use super::Network;
use crate::{
    declare::Declared,
    streams::{Consumer, ConsumerBuilder, Producer},
};

/// What `#[mosaik::stream]` gives to a type: `Price::producer(&network)` and the like.
pub trait Topic: Declared + Sized {
    /// A producer of the topic on this node.
    fn producer(network: &Network) -> Producer<Self> {
        network.streams().declared_producer()
    }

    /// A consumer of the topic, from all its producers.
    fn consumer(network: &Network) -> Consumer<Self> {
        Self::consumer_builder(network).build()
    }

    /// A consumer of the topic, with options.
    fn consumer_builder(network: &Network) -> ConsumerBuilder<Self> {
        network.streams().declared_consumer()
    }
}

impl<T: Declared + Sized> Topic for T {}
