//! Peers in processes of their own: killed, restarted, of another build.

use std::collections::BTreeSet;

use mosaik::{discovery::Event as Seen, streams::*, *};
use mosaik_tests::{Child, node, unique, within};

/// As the program `numbers` declares it.
#[mosaik::stream(name = "test.numbers", stall = "1s")]
#[derive(Debug)]
struct Number {
    value: u64,
}

fn ticket(child: &Child) -> String {
    let line = child.expect("ticket ");
    line.trim_start_matches("ticket ").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_in_mid_stream_holds_nobody_up_for_long() {
    let name = unique("killed consumer");
    let network = node(&name, &[]).await;
    let producer = Number::producer(&network);
    let mut seen = network.discovery().events();
    let survivor_node = node(&name, &[&network]).await;
    let mut survivor = Number::consumer(&survivor_node);
    within(producer.when().online()).await;
    let survivor_id = survivor_node.local().id();
    let ticket = network.local().ticket().to_string();
    let mut killed = Child::start("numbers", &["consume", &name, "-", &ticket, "0"]);
    within(producer.when().subscribed().at_least(2)).await;
    let channels = producer.consumers();
    let victim = channels.iter().map(|c| c.peer).find(|p| *p != survivor_id);
    let victim = victim.expect("the child among the consumers");

    // Sends until the dead one is given up: its place fills the ring, and then its time runs.
    let sending = tokio::spawn(async move {
        let mut value = 0;
        while producer.consumers().len() > 1 {
            producer.send(Number { value }).await.unwrap();
            value += 1;
        }
        producer.send(Number { value: u64::MAX }).await.unwrap();
        producer
    });
    let receiving = tokio::spawn(async move {
        let mut next = 0;
        loop {
            match survivor.recv().await.unwrap().value {
                u64::MAX => return next,
                value => assert_eq!(value, next),
            }
            next += 1;
        }
    });
    tokio::task::spawn_blocking(move || {
        killed.expect("got 10000");
        killed.kill();
    })
    .await
    .unwrap();
    let producer = within(sending).await.unwrap();
    let received = within(receiving).await.unwrap();
    assert!(received > 10_000, "{received}");
    assert!(producer.when().subscribed().at_least(2).not().holds());
    // Discovery notices too.
    loop {
        if let Some(Seen::Departed { peer, .. }) = within(seen.next()).await
            && peer == victim
        {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_killed_and_restarted_with_its_key_is_found_on_its_new_port() {
    let name = unique("restarted producer");
    let network = node(&name, &[]).await;
    let own = network.local().ticket().to_string();
    let mut numbers = Number::consumer(&network);
    let mut killed = Child::start("numbers", &["produce", &name, "7", &own, "0"]);
    let first = ticket(&killed);
    for expected in 0..1_000 {
        assert_eq!(within(numbers.recv()).await.unwrap().value, expected);
    }
    killed.kill();
    let again = Child::start("numbers", &["produce", &name, "7", &own, "5000000"]);
    assert_ne!(ticket(&again), first, "another port");
    let peer = SecretKey::from_bytes([7; 32]).peer();
    // What had arrived from the first life, then a goodbye, then the second life from its start.
    let (mut next, mut left) = (1_000, false);
    loop {
        match within(numbers.next_event()).await.unwrap() {
            Event::Datum(Number { value: 5_000_000 }) => break,
            Event::Datum(Number { value }) => {
                assert_eq!(value, next);
                next += 1;
            }
            Event::Left(who) => {
                assert_eq!(who, peer);
                left = true;
            }
            Event::Joined(who) => assert!(left && who == peer, "joined anew only after it left"),
            other => panic!("{other:?}"),
        }
    }
    assert!(left, "the loss of the first life was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_binaries_whose_nested_types_differ_refuse_each_other_in_words() {
    let name = unique("schemas");
    let one = Child::start("quote_one", &["produce", &name, "-"]);
    let two = Child::start("quote_two", &["consume", &name, &ticket(&one)]);
    let same = Child::start("quote_one", &["consume", &name, &ticket_of(&one, &two)]);
    let said: BTreeSet<_> = [one.expect("differently"), two.expect("differently")].into();
    for line in said {
        for part in ["`test.quote`", "u64", "u32", "cents"] {
            assert!(line.contains(part), "`{part}` is not in: {line}");
        }
    }
    // A third of the first build is served all the same.
    same.expect("online");
    one.expect("sent to a consumer that understands");
}

/// The consumer's own ticket leads to the producer as well: peers tell each other of peers.
fn ticket_of(_producer: &Child, consumer: &Child) -> String {
    ticket(consumer)
}

#[test]
fn declarations_that_contradict_each_other_fail_the_build_and_are_both_named() {
    let source = include_str!("../src/bin/conflict.rs").lines();
    let numbered = source.enumerate();
    let declared = numbered.filter(|(_, line)| line.contains("#[mosaik::stream"));
    let places: Vec<_> = declared
        .map(|(number, _)| format!("conflict.rs:{}", number + 1))
        .collect();
    assert_eq!(places.len(), 2);
    let child = Child::start("conflict", &[]);
    let line = child.expect("refused: ");
    let parts = ["`test.price`", "u64", "str", &places[0], &places[1]];
    for part in parts {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
}
