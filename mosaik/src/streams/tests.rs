//! Peers that do not keep to the protocol: whatever they send, nobody else notices.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    ChannelState, Consumer, Event, Place, Streams,
    proto::{
        credit::Ack,
        record::{self, Control},
        subscription::{Accept, ConsumerMessage, Filter, MAX_MESSAGE, ProducerMessage, Subscribe},
    },
};
use crate::{
    discovery::{self, Discovery, TopicInfo},
    id::{NetworkId, SecretKey, TopicId},
    rt::{self, Tasks},
    transport::{
        Alpn, CarrierConfig, CloseCode, Config, Connection, Endpoint, Identity, Link, Pool,
        RecvHalf, SendHalf, memory::Fabric,
    },
    wire::{self, EncodeError},
};

const DEADLINE: Duration = Duration::from_secs(20);
const TOPIC: &str = "test.u64";

/// A node without anything on top of its streams protocol.
struct Bare {
    endpoint: Endpoint,
    discovery: Discovery,
    pool: Pool,
    tasks: Tasks,
}

impl Bare {
    async fn start(fabric: &Fabric, peers: &[&Self]) -> (Self, mpsc::Receiver<Connection>) {
        let network = NetworkId::from("hostile");
        let identity = Identity::new(SecretKey::generate(), network, None);
        let endpoint = Endpoint::bind(Config {
            identity: Arc::new(identity),
            carrier: CarrierConfig::memory(fabric.clone()),
        })
        .await
        .unwrap();
        let tasks = Tasks::new(tracing::Span::none());
        let (gossip, gossip_connections) =
            Pool::new(endpoint.clone(), Alpn::Discovery, tasks.clone());
        let (pool, connections) = Pool::new(endpoint.clone(), Alpn::Streams, tasks.clone());
        let bootstrap = peers.iter().map(|p| p.endpoint.addr().borrow().clone());
        let config = discovery::Config {
            bootstrap: bootstrap.collect(),
            local_rendezvous: false,
            ..discovery::Config::default()
        };
        let started = Discovery::start(
            config,
            endpoint.clone(),
            (gossip.clone(), gossip_connections),
            tasks.clone(),
        );
        let accepting = endpoint.clone();
        let pools = [gossip, pool.clone()];
        tasks.spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                Pool::accept(&pools, incoming).await.unwrap();
            }
        });
        let bare = Self {
            endpoint,
            discovery: started.unwrap(),
            pool,
            tasks,
        };
        (bare, connections)
    }

    /// A node whose streams are as they should be.
    async fn good(fabric: &Fabric, peers: &[&Self]) -> (Self, Streams) {
        let (bare, connections) = Self::start(fabric, peers).await;
        let streams = Streams::start(
            bare.pool.clone(),
            connections,
            bare.discovery.clone(),
            bare.tasks.clone(),
        );
        (bare, streams)
    }

    /// A node that claims to produce the topic, and answers each subscription as `answer` does.
    async fn producing<F>(
        fabric: &Fabric,
        peers: &[&Self],
        answer: impl Fn(SendHalf, RecvHalf) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (bare, mut connections) = Self::start(fabric, peers).await;
        let topic = TopicInfo {
            name: TOPIC.into(),
            fingerprint: None,
        };
        bare.discovery.set_topics(vec![topic], vec![]).unwrap();
        let tasks = bare.tasks.clone();
        bare.tasks.spawn(async move {
            while let Some(connection) = connections.recv().await {
                while let Ok((send, recv)) = connection.accept_bi().await {
                    tasks.spawn(answer(send, recv));
                }
            }
        });
        bare
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    rt::timeout(DEADLINE, future).await.expect("in time")
}

fn frame<T: serde::Serialize>(message: &T) -> Vec<u8> {
    wire::encode_frame(message, MAX_MESSAGE).unwrap()
}

fn subscribe(limit: u64) -> ConsumerMessage {
    ConsumerMessage::Subscribe(Subscribe {
        topic: TopicId::from_name(TOPIC),
        consumer: 1,
        schema: None,
        filter: Filter::All,
        resume: None,
        limit,
    })
}

fn datum(value: u64) -> Vec<u8> {
    let mut buffer = vec![];
    record::append::<EncodeError>(&mut buffer, |out| {
        out.extend_from_slice(&wire::encode(&value)?);
        Ok(())
    })
    .unwrap();
    buffer
}

#[tokio::test]
async fn a_producer_survives_whatever_a_consumer_asks() {
    let fabric = Fabric::default();
    let (producing, streams) = Bare::good(&fabric, &[]).await;
    let (consuming, consumer_streams) = Bare::good(&fabric, &[&producing]).await;
    let producer = streams.topic::<u64>(TOPIC).produce();
    let mut good = consumer_streams.topic::<u64>(TOPIC).consume();
    within(producer.when().online()).await;
    let (hostile, _connections) = Bare::start(&fabric, &[&producing]).await;
    let addr = producing.endpoint.addr().borrow().clone();
    let connection = within(hostile.pool.connect(&addr)).await.unwrap();
    let ack_first = frame(&ConsumerMessage::Ack(Ack {
        received: 1,
        limit: 1,
        taken: 0,
    }));
    let bad_schema = frame(&ConsumerMessage::Subscribe(Subscribe {
        topic: TopicId::from_name(TOPIC),
        consumer: 1,
        schema: Some(vec![0xff; 100]),
        filter: Filter::All,
        resume: None,
        limit: 0,
    }));
    let oversized = u32::MAX.to_le_bytes().to_vec();
    let garbage = [&9u32.to_le_bytes()[..], &[0xee; 9]].concat();
    let mut truncated = frame(&subscribe(1));
    truncated.pop();
    for bytes in [ack_first, bad_schema, oversized, garbage, truncated] {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        let mut link = Link::<u8, ProducerMessage>::new((send, recv), MAX_MESSAGE);
        match within(link.rx.recv()).await {
            Ok(Some(ProducerMessage::Refuse { code, reason })) => {
                let code = CloseCode::from_code(code);
                // The truncated one might still go on, so it is given its time.
                let expected = [CloseCode::Malformed, CloseCode::TimedOut];
                assert!(expected.contains(&code), "{code}: {reason}");
            }
            other => panic!("{other:?}"),
        }
        assert!(connection.is_open(), "other streams go on");
        producer.send(7).await.unwrap();
        assert_eq!(within(good.next()).await, Some(7));
    }
    // Acknowledges what was never sent, then goes back: neither frees nor holds anything.
    let mut link = Link::<ConsumerMessage, ProducerMessage>::open(&connection, MAX_MESSAGE)
        .await
        .unwrap();
    link.tx.send(&subscribe(1 << 20)).await.unwrap();
    assert!(matches!(
        within(link.rx.recv()).await,
        Ok(Some(ProducerMessage::Accept(_)))
    ));
    for received in [u64::MAX, 0, u64::MAX - 1] {
        let limit = u64::MAX;
        let ack = ConsumerMessage::Ack(Ack {
            received,
            limit,
            taken: limit,
        });
        link.tx.send(&ack).await.unwrap();
    }
    for value in 0..1_000 {
        producer.send(value).await.unwrap();
        assert_eq!(within(good.next()).await, Some(value));
    }
    drop((link, consuming));
}

/// Stops the streams of a node as a network does.
async fn stop(node: &Bare, streams: &Streams) {
    streams.drain(DEADLINE).await;
    for connection in node.pool.connections() {
        connection.close(CloseCode::ShuttingDown, "the node shuts down");
    }
    node.tasks.cancel();
    node.tasks.wait().await;
}

/// The producer knows what has arrived where, however soon after that the other node stops.
#[tokio::test]
async fn who_stops_has_acknowledged_what_it_received() {
    for drops in [true, false] {
        let fabric = Fabric::default();
        let (producing, streams) = Bare::good(&fabric, &[]).await;
        let (consuming, consumer_streams) = Bare::good(&fabric, &[&producing]).await;
        let producer = streams.topic::<u64>(TOPIC).produce();
        let mut consumer = consumer_streams.topic::<u64>(TOPIC).consume();
        within(producer.when().subscribed()).await;
        for value in 0..3 {
            producer.send(value).await.unwrap();
        }
        for value in 0..3 {
            assert_eq!(within(consumer.next()).await, Some(value));
        }
        let held = (!drops).then_some(consumer);
        within(stop(&consuming, &consumer_streams)).await;
        within(producer.when().subscribed().not()).await;
        let place = Place {
            first: 0,
            received: 3,
            open: false,
        };
        assert_eq!(producer.places(), [place]);
        drop((producing, held));
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_and_does_not_read_the_answer_is_given_up() {
    let fabric = Fabric::default();
    let (producing, streams) = Bare::good(&fabric, &[]).await;
    let _producer = streams.topic::<u64>(TOPIC).produce();
    let (hostile, _connections) = Bare::start(&fabric, &[&producing]).await;
    let addr = producing.endpoint.addr().borrow().clone();
    let connection = within(hostile.pool.connect(&addr)).await.unwrap();
    let topic = TopicId::from_name;
    let described = ConsumerMessage::Describe {
        topic: topic(TOPIC),
    };
    let unknown = ConsumerMessage::Describe { topic: topic("?") };
    for message in [described, unknown] {
        let (mut send, recv) = connection.open_bi().await.unwrap();
        send.write_all(&frame(&message)).await.unwrap();
        // As soon as nobody serves the stream any more, it takes nothing more.
        let given_up = async {
            while send.write_all(&[0]).await.is_ok() {
                rt::sleep(Duration::from_millis(100)).await;
            }
        };
        within(given_up).await;
        assert!(connection.is_open());
        drop(recv);
    }
}

/// A consumer of two producers: a good one, and one that answers each subscription with `bytes`.
async fn beside(bytes: Vec<u8>) -> (Consumer<u64>, super::Producer<u64>, [Bare; 3]) {
    let fabric = Fabric::default();
    let (producing, streams) = Bare::good(&fabric, &[]).await;
    let hostile = Bare::producing(&fabric, &[&producing], move |mut send, recv| {
        let bytes = bytes.clone();
        async move {
            // The consumer may hang up in the middle, which is what it should do.
            if send.write_all(&bytes).await.is_ok() {
                rt::sleep(DEADLINE).await;
            }
            drop(recv);
        }
    })
    .await;
    let (consuming, consumer_streams) = Bare::good(&fabric, &[&producing]).await;
    let producer = streams.topic::<u64>(TOPIC).produce();
    let consumer = consumer_streams.topic::<u64>(TOPIC).consume();
    within(producer.when().online()).await;
    (consumer, producer, [producing, hostile, consuming])
}

async fn state(consumer: &Consumer<u64>, peer: &Bare, wanted: impl Fn(&ChannelState) -> bool) {
    let peer = peer.endpoint.peer();
    let reached = async {
        loop {
            let channels = consumer.producers();
            let channel = channels.iter().find(|channel| channel.peer == peer);
            if channel.is_some_and(|channel| wanted(&channel.state)) {
                return;
            }
            rt::sleep(Duration::from_millis(1)).await;
        }
    };
    within(reached).await;
}

#[tokio::test]
async fn a_consumer_names_what_a_faulty_producer_answers_and_serves_the_others() {
    let accept = frame(&ProducerMessage::Accept(Accept {
        epoch: 1,
        first: 0,
        ack_every: 1,
    }));
    let oversized = (u32::MAX >> 1).to_le_bytes();
    let bad_control = [&(1u32 << 31 | 2).to_le_bytes()[..], &[0xff; 2]].concat();
    let out_of_place = frame(&ProducerMessage::Description {
        name: "x".into(),
        schema: None,
    });
    for bytes in [
        [&accept[..], &oversized].concat(),
        [&accept[..], &bad_control].concat(),
        out_of_place,
    ] {
        let (mut consumer, producer, [_a, hostile, _b]) = beside(bytes).await;
        state(
            &consumer,
            &hostile,
            |state| matches!(state, ChannelState::Refused(reason) if !reason.is_empty()),
        )
        .await;
        producer.send(5).await.unwrap();
        assert_eq!(within(consumer.next()).await, Some(5));
    }
}

#[tokio::test]
async fn a_datum_that_cannot_be_decoded_is_reported_in_its_place() {
    let accept = frame(&ProducerMessage::Accept(Accept {
        epoch: 1,
        first: 0,
        ack_every: 1,
    }));
    let mut undecodable = vec![];
    record::append::<EncodeError>(&mut undecodable, |out| {
        out.extend_from_slice(&[0xff; 11]);
        Ok(())
    })
    .unwrap();
    let end = Control::End {
        code: 0,
        reason: String::new(),
    };
    let gap = Control::Gap { missed: 4 };
    let bytes = [
        &accept[..],
        &datum(1),
        &undecodable,
        &gap.to_record().unwrap(),
        &datum(2),
        &end.to_record().unwrap(),
    ]
    .concat();
    let (mut consumer, _producer, [_a, hostile, _b]) = beside(bytes).await;
    let mut seen = vec![];
    while seen.last() != Some(&Event::Left(hostile.endpoint.peer())) {
        match within(consumer.next_event()).await.unwrap() {
            Event::Joined(_) => {}
            event => seen.push(event),
        }
    }
    let producer = hostile.endpoint.peer();
    let lagged = |missed| Event::Lagged { producer, missed };
    let expected = [
        Event::Datum(1),
        lagged(1),
        lagged(4),
        Event::Datum(2),
        Event::Left(producer),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_producer_that_ignores_its_credit_fills_no_more_than_the_window() {
    const WINDOW: usize = 64 * 1024;
    let fabric = Fabric::default();
    let accept = frame(&ProducerMessage::Accept(Accept {
        epoch: 1,
        first: 0,
        ack_every: 1,
    }));
    let flood = datum(u64::MAX).repeat(4096);
    let hostile = Bare::producing(&fabric, &[], move |mut send, recv| {
        let (accept, flood) = (accept.clone(), flood.clone());
        async move {
            let mut result = send.write_all(&accept).await;
            while result.is_ok() {
                result = send.write_all(&flood).await;
            }
            drop(recv);
        }
    })
    .await;
    let (_consuming, streams) = Bare::good(&fabric, &[&hostile]).await;
    let topic = streams.topic::<u64>(TOPIC);
    let mut consumer = topic.consumer_builder().window(WINDOW).build();
    for _ in 0..100_000 {
        assert_eq!(within(consumer.next()).await, Some(u64::MAX));
        let held = consumer.producers()[0].lag;
        // A read brings what fits the buffer, whatever the window has left.
        assert!(held <= (WINDOW + 256 * 1024) as u64, "{held} bytes");
    }
}
