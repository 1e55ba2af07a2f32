//! Streams between nodes: order, backpressure, conditions, joining and leaving.

use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream};
use mosaik::{streams::*, *};
use mosaik_tests::{node, unique, within};

/// A numbered datum.
#[mosaik::stream(name = "test.number")]
#[derive(Debug, PartialEq)]
struct Number(u64);

/// A datum that needs two consumers.
#[mosaik::stream(name = "test.pair", online_when = 2, max_consumers = 2)]
#[derive(Debug)]
struct Pair(u64);

/// A numbered datum that says who sent it.
#[mosaik::stream(name = "test.origin")]
struct Origin {
    node: usize,
    value: u64,
}

#[tokio::test]
async fn datums_arrive_in_order_from_every_producer() {
    const COUNT: u64 = 20_000;
    let name = unique("order");
    let first = node(&name, &[]).await;
    let second = node(&name, &[&first]).await;
    let third = node(&name, &[&first]).await;
    // One of the three producers is on the consumer's own node.
    let mut origins = Origin::consumer(&third);
    let nodes = [&first, &second, &third];
    let producers = nodes.map(Origin::producer);
    within(origins.when().subscribed().at_least(3)).await;
    let sending: Vec<_> = producers
        .into_iter()
        .enumerate()
        .map(|(node, producer)| {
            tokio::spawn(async move {
                producer.when().online().await;
                let mut all = stream::iter((0..COUNT).map(|value| Origin { node, value }));
                producer.send_all(&mut all).await.unwrap();
                producer.flush().await.unwrap();
                producer
            })
        })
        .collect();
    let mut next = [0; 3];
    while next != [COUNT; 3] {
        let origin = within(origins.next()).await.unwrap();
        assert_eq!(origin.value, next[origin.node]);
        next[origin.node] += 1;
    }
    let counted: Vec<_> = origins.producers().iter().map(|c| c.datums).collect();
    assert_eq!(counted, [COUNT; 3]);
    for task in sending {
        drop(within(task).await.unwrap());
    }
}

#[tokio::test]
async fn a_full_buffer_makes_the_sender_wait_and_loses_nothing() {
    /// One datum is a megabyte, so a few fill ring and window.
    #[mosaik::stream(name = "test.large", capacity = 4)]
    struct Large(Vec<u8>);

    let name = unique("backpressure");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, &[&producing]).await;
    let producer = Large::producer(&producing);
    let mut larges = Large::consumer(&consuming);
    within(producer.when().online()).await;
    let mut sent = 0u8;
    loop {
        match producer.try_send(Large(vec![sent; 1 << 20])) {
            Ok(()) => sent += 1,
            Err(TrySendError::Full(Large(back))) => {
                assert_eq!(back[0], sent, "the datum comes back");
                break;
            }
            Err(other) => panic!("{other}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(producer.buffered_bytes() <= 5 << 20, "capacity and a datum");
    let last = producer.send(Large(vec![sent; 1 << 20]));
    let receive = async {
        for expected in 0..=sent {
            assert_eq!(larges.next().await.unwrap().0[0], expected);
        }
    };
    let (last, ()) = within(async { tokio::join!(last, receive) }).await;
    last.unwrap();
}

#[tokio::test]
async fn conditions_follow_who_is_connected() {
    let name = unique("conditions");
    let producing = node(&name, &[]).await;
    let producer = Pair::producer(&producing);
    assert!(producer.when().offline().holds() && producer.when().unsubscribed().holds());
    assert!(matches!(
        producer.try_send(Pair(0)),
        Err(TrySendError::Offline(Pair(0)))
    ));
    let explained = producing.explain().to_string();
    assert!(explained.contains("has 0, needs 2"), "{explained}");
    let tagged = mosaik_tests::loopback(&name)
        .tags(["trusted"])
        .bootstrap([producing.local().addr()])
        .build()
        .await
        .unwrap();
    let first = Pair::consumer(&tagged);
    within(producer.when().subscribed().with_tag("trusted")).await;
    assert!(!producer.is_online());
    assert!(!producer.when().subscribed().with_tag("other").holds());
    let second_node = node(&name, &[&producing]).await;
    let second = Pair::consumer(&second_node);
    within(producer.when().online()).await;
    assert!(producer.when().subscribed().at_least(2).holds());
    assert!(producer.when().subscribed().at_least(3).not().holds());
    // No more than the topic allows; whoever is refused is told.
    let third_node = node(&name, &[&producing]).await;
    let third = Pair::consumer(&third_node);
    within(async {
        while !third
            .producers()
            .iter()
            .any(|channel| matches!(channel.state, ChannelState::Refused(_)))
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(first);
    drop(second);
    within(producer.when().online().not()).await;
    within(third.when().online()).await;
}

#[tokio::test]
async fn a_condition_sees_the_tags_of_its_own_node() {
    let network = node(&unique("own tags"), &[]).await;
    let producer = Number::producer(&network);
    let _numbers = Number::consumer(&network);
    within(producer.when().subscribed()).await;
    let mut tagged = producer.when().subscribed().with_tag("x");
    assert!(futures::poll!(&mut tagged).is_pending());
    network.discovery().add_tags(["x"]).unwrap();
    within(&mut tagged).await;
    network.discovery().remove_tags(["x"]);
    within(producer.when().subscribed().with_tag("x").not()).await;
}

#[tokio::test]
async fn producers_of_a_topic_on_one_node_share_a_buffer() {
    let name = unique("shared");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, &[&producing]).await;
    let first = Number::producer(&producing);
    let second = producing.streams().produce::<Number>();
    let mut numbers = Number::consumer(&consuming);
    within(first.when().online()).await;
    let numbered = stream::iter([1, 2]).map(Number);
    first.send_all(numbered).await.unwrap();
    drop(first);
    second.send(Number(3)).await.unwrap();
    for expected in 1..=3 {
        assert_eq!(within(numbers.next()).await.unwrap().0, expected);
    }
    let leaving = producing.local().id();
    drop(second);
    loop {
        if within(numbers.next_event()).await.unwrap() == Event::Left(leaving) {
            break;
        }
    }
}

#[tokio::test]
async fn sinks_and_streams_work_with_combinators() {
    let name = unique("combinators");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, &[&producing]).await;
    let producer = producing.streams().topic::<String>("words").produce();
    let words = consuming.streams().topic::<String>("words").consume();
    within(producer.when().online()).await;
    let mut sink = producer.clone();
    let source = stream::iter(["a", "b", "c"].map(|word| Ok(word.to_string())));
    let forwarding = async {
        source.forward(&mut sink).await.unwrap();
        SinkExt::close(&mut sink).await.unwrap();
    };
    let collecting = StreamExt::take(words, 3).collect::<Vec<_>>();
    let ((), got) = within(async { tokio::join!(forwarding, collecting) }).await;
    assert_eq!(got, ["a", "b", "c"]);
}

#[tokio::test]
async fn channels_tell_what_went_through() {
    let name = unique("channels");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, &[&producing]).await;
    let producer = Number::producer(&producing);
    let mut numbers = Number::consumer(&consuming);
    within(producer.when().online()).await;
    for value in 0..100 {
        producer.send(Number(value)).await.unwrap();
    }
    for _ in 0..100 {
        within(numbers.next()).await.unwrap();
    }
    within(producer.flush()).await.unwrap();
    let [channel] = &producer.consumers()[..] else {
        panic!("one consumer");
    };
    assert_eq!(channel.peer, consuming.local().id());
    assert_eq!((channel.datums, channel.lag), (100, 0));
    assert_eq!(channel.state, ChannelState::Connected);
    let [channel] = &numbers.producers()[..] else {
        panic!("one producer");
    };
    assert_eq!((channel.datums, channel.lag), (100, 0));
    assert_eq!(channel.bytes, 500, "a byte and four of framing each");
}

#[tokio::test]
async fn handles_of_a_network_that_is_shut_down_say_so() {
    let name = unique("closed");
    let network = node(&name, &[]).await;
    let producer = Number::producer(&network);
    let mut numbers = Number::consumer(&network);
    within(producer.when().online()).await;
    within(network.shutdown()).await;
    assert_eq!(producer.send(Number(0)).await, Err(SendError::Closed));
    assert!(within(numbers.next()).await.is_none());
    assert_eq!(numbers.try_recv().err(), Some(RecvError::Closed.into()));
    let late = Number::producer(&network);
    assert_eq!(late.send(Number(0)).await, Err(SendError::Closed));
    assert!(network.explain().to_string().contains("shut down"));
}

#[tokio::test]
async fn an_instance_of_a_generic_declaration_is_refused_by_type_and_served_by_name() {
    /// Wraps anything.
    #[mosaik::stream(name = "test.wrap")]
    struct Wrap<T> {
        inner: T,
    }

    let name = unique("generic");
    let network = node(&name, &[]).await;
    let producer = Wrap::<u64>::producer(&network);
    let mut wraps = Wrap::<u64>::consumer(&network);
    within(producer.when().online()).await;
    producer.send(Wrap { inner: 7 }).await.unwrap();
    assert_eq!(within(wraps.next()).await.unwrap().inner, 7);
    assert_eq!(producer.topic(), "test.wrap<u64>");
}

#[tokio::test]
async fn a_name_that_cannot_be_announced_is_refused_and_keeps_no_other_from_it() {
    let name = unique("names");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, &[&producing]).await;
    let long = "x".repeat(257);
    for (round, name) in ["", "a\nb", &long].into_iter().enumerate() {
        let mut raw = consuming.streams().topic::<Bytes>(name).consume_raw();
        assert!(matches!(raw.recv().await, Err(RecvError::Refused(_))));
        let mut typed = consuming.streams().topic::<u64>(name).consume();
        assert!(matches!(typed.recv().await, Err(RecvError::Refused(_))));
        let producer = producing.streams().topic::<u64>(name).produce();
        assert!(matches!(producer.send(1).await, Err(SendError::Refused(_))));
        let good = format!("good {round}");
        let _consumer = consuming.streams().topic::<u64>(&good).consume();
        let announced = |entry: Entry| {
            let mut topics = entry.topics();
            topics.any(|(_, topic)| topic.name == good)
        };
        let mut catalogs = producing.discovery().watch();
        within(async { while !catalogs.next().await.unwrap().iter().any(announced) {} }).await;
    }
}

/// A generic declaration at the top of a module, where its instances can be recognised.
#[mosaik::stream(name = "test.boxed")]
struct Boxed<T> {
    inner: T,
}

#[tokio::test]
async fn a_generic_instance_by_type_never_gets_a_default_topic() {
    let name = unique("generic by type");
    let network = node(&name, &[]).await;
    let producer = network.streams().produce::<Boxed<u64>>();
    let error = producer.send(Boxed { inner: 1 }).await.unwrap_err();
    assert!(matches!(error, SendError::Refused(_)), "{error}");
    assert!(
        error.to_string().contains("Boxed::<u64>::producer"),
        "{error}"
    );
    let mut consumer = network.streams().consume::<Boxed<u64>>();
    assert!(matches!(consumer.recv().await, Err(RecvError::Refused(_))));
}

#[tokio::test]
async fn dropping_the_last_handle_of_a_network_delivers_what_was_sent() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let name = unique("linger");
    let consuming = node(&name, &[]).await;
    let mut numbers = Number::consumer(&consuming);
    let bootstrap = consuming.local().addr();
    let sending = runtime.spawn(async move {
        let network = mosaik_tests::loopback(&name)
            .bootstrap([bootstrap])
            .build()
            .await
            .unwrap();
        let producer = Number::producer(&network);
        producer.when().online().await;
        producer.send(Number(7)).await.unwrap();
        // Both handles are dropped here, without a shutdown.
    });
    assert_eq!(within(numbers.next()).await.unwrap().0, 7);
    within(sending).await.unwrap();
    runtime.shutdown_background();
}
