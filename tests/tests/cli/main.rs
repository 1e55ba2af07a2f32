//! The `mosaik` command, as its users run it: processes, pipes, signals and exit codes.

mod importing;
mod operating;
mod terminal;
mod tickets;
mod waiting;

use std::{io::Write as _, sync::mpsc, thread};

use mosaik::*;
use mosaik_tests::{node, within};
use serde::{Deserialize, Serialize};
use terminal::{Mosaik, World};

#[test]
fn every_line_arrives_once_and_in_order_by_way_of_a_beacon() {
    const LINES: usize = 20_000;
    let world = World::new("three terminals");
    let (mut beacon, ticket) = world.beacon();
    let (mut sub, mut publish) = {
        // Separate folders: only the ticket lets them meet.
        let elsewhere = |args: &[&str]| {
            let other = World {
                network: world.network.clone(),
                ..World::new("elsewhere")
            };
            (
                other.start(&[args, &["--bootstrap", &ticket]].concat()),
                other,
            )
        };
        let (sub, publish) = (elsewhere(&["sub", "logs"]), elsewhere(&["pub", "logs"]));
        (sub, publish)
    };
    publish.0.err.expect("waiting for a consumer of `logs`");
    // The last line has no end.
    let lines: Vec<_> = (0..LINES).map(|n| format!("{n:06} some line")).collect();
    publish.0.feed(lines.join("\n"));
    for expected in &lines {
        assert_eq!(sub.0.out.line().as_ref(), Some(expected));
    }
    assert_eq!(publish.0.code(), 0, "{:#?}", publish.0.err.rest());
    sub.0.signal("-INT");
    assert_eq!(sub.0.code(), 130);
    assert_eq!(sub.0.out.rest(), [""; 0]);
    beacon.signal("-TERM");
    assert_eq!(beacon.code(), 0);
}

/// What the command never heard of.
#[mosaik::stream(name = "test.orders")]
#[derive(Debug, PartialEq)]
struct Order {
    id: u64,
    side: Side,
    notes: Vec<Option<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Side {
    Halt,
    Buy(u32),
    Sell { limit: i64, venue: (char, bool) },
}

#[tokio::test(flavor = "multi_thread")]
async fn any_topic_is_printed_as_json_by_the_schema_of_its_producer() {
    let world = World::new("json");
    let network = node(&world.network, &[]).await;
    let producer = Order::producer(&network);
    let ticket = network.local().ticket().to_string();
    let sides = [
        Side::Halt,
        Side::Buy(7),
        Side::Sell {
            limit: -5,
            venue: ('x', true),
        },
    ];
    let order = |(id, side): (u64, Side)| Order {
        id,
        side,
        notes: vec![None, Some("a \"quoted\"\nnote".into())],
    };
    let orders: Vec<_> = (0..).zip(sides).map(order).collect();
    // Without `--json` it makes no difference for what is no string.
    for json in [&["--json"][..], &[]] {
        let args = [&["sub", "test.orders", "--count", "3"], json].concat();
        let mut sub = world.start(&[&args, &["--bootstrap", &*ticket][..]].concat());
        within(producer.when().online()).await;
        for order in &orders {
            producer.send(order.clone()).await.unwrap();
        }
        let (printed, code, notes) = within(tokio::task::spawn_blocking(move || {
            (sub.out.rest(), sub.code(), sub.err.rest())
        }))
        .await
        .unwrap();
        let printed: Vec<_> = printed.iter().map(|line| value(line)).collect();
        let expected = orders.iter().map(|o| serde_json::to_value(o).unwrap());
        assert_eq!(printed, expected.collect::<Vec<_>>(), "{notes:#?}");
        assert_eq!(code, 0);
        within(producer.when().offline()).await;
    }
}

fn value(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn strings_are_json_too_when_asked_for() {
    let world = World::new("json strings");
    let mut sub = world.start(&["sub", "logs", "--json", "--count", "2"]);
    let mut publish = world.start(&["pub", "logs"]);
    publish.feed("a \"b\"\n\n");
    assert_eq!(sub.out.rest(), [r#""a \"b\"""#, r#""""#]);
    assert_eq!((sub.code(), publish.code()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_listed_with_tags_and_topics() {
    let world = World::new("peers");
    let network = node(&world.network, &[]).await;
    network.discovery().add_tags(["matcher", "eu"]).unwrap();
    let _producer = Order::producer(&network);
    let _consumer = network.streams().topic::<String>("logs").consume();
    let peer = network.local().id().to_string();
    let ticket = network.local().ticket().to_string();
    let run = move |args: &[&str]| {
        let mut peers = world.start(&[&["peers", "--bootstrap", &ticket], args].concat());
        (peers.out.rest(), peers.code())
    };
    let listed = tokio::task::spawn_blocking(move || (run(&[]), run(&["--json"])));
    let ((text, code), (json, json_code)) = within(listed).await.unwrap();
    assert_eq!((code, json_code), (0, 0));
    assert_eq!(text[0], peer);
    for line in [
        "  addresses  127.0.0.1:",
        "  tags       eu, matcher",
        "  produces   test.orders",
        "  consumes   logs",
        "  rtt        ",
        "  started    ",
    ] {
        assert!(
            text.iter().any(|l| l.starts_with(line)),
            "{line}: {text:#?}"
        );
    }
    assert_eq!(json.len(), 1, "{json:#?}");
    let json = value(&json[0]);
    assert_eq!(json["peer"], peer);
    assert_eq!(json["tags"], serde_json::json!(["eu", "matcher"]));
    assert_eq!(json["produces"], serde_json::json!(["test.orders"]));
    assert_eq!(json["consumes"], serde_json::json!(["logs"]));
    assert!(json["rtt_ms"].is_number(), "{json}");
}

#[test]
fn options_may_come_from_the_environment() {
    let (world, elsewhere) = (World::new("environment"), World::new("elsewhere"));
    let node = ["--bind", "127.0.0.1:0"];
    let served = [
        ("MOSAIK_NETWORK", &*world.network),
        ("MOSAIK_SHARED_SECRET", "open sesame"),
        ("MOSAIK_OFFLINE", "1"),
    ];
    let mut beacon = Mosaik::start_with(&world, &[&["beacon"], &node[..]].concat(), &served);
    let ticket = beacon.out.line().expect("a ticket");
    // In another folder, so that only the variables can make them meet.
    let peers = |network: &str, secret: &str, bootstrap: &str| {
        let variables = [
            ("MOSAIK_NETWORK", network),
            ("MOSAIK_SHARED_SECRET", secret),
            ("MOSAIK_OFFLINE", "true"),
            ("MOSAIK_BOOTSTRAP", bootstrap),
        ];
        let args = [&["peers", "--json"], &node[..]].concat();
        let mut peers = Mosaik::start_with(&elsewhere, &args, &variables);
        let found = peers.out.rest().len();
        assert_eq!(peers.code(), 0, "{:#?}", peers.err.rest());
        found
    };
    let (network, secret) = (&*world.network, "open sesame");
    assert_eq!(peers(network, secret, &ticket), 1);
    assert_eq!(peers(network, "wrong", &ticket), 0, "another secret");
    assert_eq!(
        peers(&elsewhere.network, secret, &ticket),
        0,
        "another network"
    );
    assert_eq!(peers(network, secret, ""), 0, "nobody to start from");
    // What is said on the command line counts more.
    let args = [
        "peers",
        "--json",
        "--network",
        network,
        "--bind",
        "127.0.0.1:0",
    ];
    let variables = [
        ("MOSAIK_NETWORK", "another"),
        ("MOSAIK_SHARED_SECRET", secret),
    ];
    let mut peers = Mosaik::start_with(&world, &[&args[..], &["--offline"]].concat(), &variables);
    assert_eq!(peers.out.rest().len(), 1, "{:#?}", peers.err.rest());
    let mut bad = Mosaik::start_with(&world, &["peers"], &[("MOSAIK_BOOTSTRAP", "nonsense")]);
    assert_eq!(bad.code(), 2);
    bad.err.expect("nonsense");
}

#[test]
fn peers_are_watched_as_they_come_and_go() {
    let world = World::new("watch");
    let mut watch = world.start(&["peers", "--watch"]);
    let mut sub = world.start(&["sub", "logs", "--tag", "reader"]);
    watch.out.expect("discovered ");
    watch.out.expect("  tags       reader");
    sub.err.expect("waiting for a producer of `logs`");
    sub.signal("-INT");
    watch.out.expect("departed ");
    assert_eq!(sub.code(), 130);
    watch.signal("-INT");
    assert_eq!(watch.code(), 130);
}

#[test]
fn help_has_examples_and_exit_codes() {
    let world = World::new("help");
    for command in [
        &[][..],
        &["pub"],
        &["sub"],
        &["beacon"],
        &["peers"],
        &["groups"],
        &["group"],
        &["group", "show"],
    ] {
        for help in ["--help", "-h"] {
            let mut shown = Mosaik::start(&world, &[command, &[help]].concat());
            let text = shown.out.rest().join("\n");
            assert_eq!(shown.code(), 0);
            for part in ["Examples", "Exit codes", "mosaik "] {
                assert!(text.contains(part), "{command:?} {help}: {text}");
            }
        }
    }
}

#[test]
fn arguments_that_make_no_sense_are_named() {
    let world = World::new("usage");
    let check = |args: &[&str], named: &str| {
        let mut refused = world.start(args);
        assert_eq!(refused.code(), 2, "{args:?}");
        let text = refused.err.rest().join("\n");
        assert!(text.contains(named), "{args:?}: {text}");
    };
    check(
        &["sub", "logs", "--bootstrap", "nobody"],
        "`nobody` is not a peer id",
    );
    check(
        &["beacon", "--bootstrap", "mosaik1abc"],
        "not a valid ticket",
    );
    check(&["peers", "--wait", "soon"], "give a time as");
    let long = "x".repeat(257);
    for command in ["pub", "sub"] {
        check(&[command, ""], "the topic's name is empty");
        check(&[command, "a\tb"], "holds control characters");
        check(&[command, &long], "has 257 bytes");
    }
    check(&["pub", "logs", "--consumers", "0"], "at least 1");
    check(&["sub"], "<TOPIC>");
}

#[test]
fn failures_at_the_start_are_readable() {
    let world = World::new("failures");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut beacon = Mosaik::start(&world, &["beacon", "--offline", "--bind", &addr]);
    assert_eq!(beacon.code(), 1);
    beacon.err.expect(&addr);
}

#[test]
fn a_beacon_serves_several_networks_and_keeps_its_id() {
    let world = World::new("beacon");
    let data = world.runtime.path().join("data");
    let data = data.to_str().unwrap();
    let tickets = || {
        let args = ["beacon", "--network", "other", "--data-dir", data];
        let mut beacon = world.start(&args);
        [beacon.out.line(), beacon.out.line()].map(|line| {
            let line = line.expect("a ticket");
            let (network, ticket) = line.rsplit_once(' ').expect("a name before it");
            let peer: PeerAddr = ticket.parse().unwrap();
            (network.to_owned(), peer.peer)
        })
    };
    let first = tickets();
    let names = [&*first[0].0, &*first[1].0];
    assert_eq!(names, ["other", &world.network]);
    assert_eq!(tickets(), first);
}

#[test]
fn input_that_cannot_be_sent_is_named_by_its_line() {
    let check = |input: Vec<u8>, named: &str| {
        let world = World::new("bad input");
        let mut sub = world.start(&["sub", "logs", "--count", "2"]);
        let mut publish = world.start(&["pub", "logs"]);
        publish.feed([b"one\ntwo\n", &*input].concat());
        assert_eq!(sub.out.rest(), ["one", "two"]);
        assert_eq!(publish.code(), 1);
        publish.err.expect(named);
        assert_eq!(sub.code(), 0);
    };
    check(vec![b'x'; 17 * 1024 * 1024], "line 3 is too long");
    check(b"caf\xe9\nfour\n".to_vec(), "line 3 is not UTF-8");
}

#[test]
fn a_consumer_that_dies_for_good_is_an_error_in_bounded_time() {
    let world = World::new("dead consumer");
    let mut sub = world.start(&["sub", "logs"]);
    let mut publish = world.start(&["pub", "logs", "--timeout", "2s"]);
    let mut stdin = publish.stdin.take().unwrap();
    // Lines without end, until nobody reads them any more.
    let feeding = thread::spawn(move || {
        let mut lines = 0_u64;
        while writeln!(stdin, "{lines}").is_ok() {
            lines += 1;
        }
    });
    sub.out.expect("1000");
    sub.kill();
    assert_eq!(publish.code(), 1);
    let error = publish
        .err
        .expect("error: gave up after 2s without progress");
    assert!(error.contains("did not arrive"), "{error}");
    feeding.join().unwrap();
}

#[test]
fn another_consumer_takes_over_where_one_left() {
    let world = World::new("second consumer");
    let mut first = world.start(&["sub", "logs"]);
    let mut publish = world.start(&["pub", "logs"]);
    let mut stdin = publish.stdin.take().unwrap();
    writeln!(stdin, "one").unwrap();
    assert_eq!(first.out.line().unwrap(), "one");
    first.signal("-INT");
    assert_eq!(first.code(), 130);
    // What everybody has got before they left is not lost.
    let mut second = world.start(&["sub", "logs", "--count", "1"]);
    writeln!(stdin, "two").unwrap();
    assert_eq!(second.out.line().unwrap(), "two");
    drop(stdin);
    assert_eq!((second.code(), publish.code()), (0, 0));
}

#[test]
fn all_consumers_that_were_asked_for_get_everything() {
    let world = World::new("two consumers");
    let mut publish = world.start(&["pub", "logs", "--consumers", "2"]);
    publish.feed("one\ntwo");
    publish.err.expect("waiting for 2 consumers of `logs`");
    let mut subs = [(); 2].map(|()| world.start(&["sub", "logs", "--count", "2"]));
    for sub in &mut subs {
        assert_eq!(sub.out.rest(), ["one", "two"]);
        assert_eq!(sub.code(), 0);
    }
    assert_eq!(publish.code(), 0, "{:#?}", publish.err.rest());
}

#[test]
fn no_consumer_in_time_is_an_error() {
    let world = World::new("no consumer");
    let mut publish = world.start(&["pub", "logs", "--wait", "200ms"]);
    publish.feed("one\n");
    assert_eq!(publish.code(), 1);
    publish.err.expect("a consumer of `logs` did not come");
}

#[test]
fn whoever_closes_the_pipe_has_seen_enough() {
    let world = World::new("closed pipe");
    let mut sub = world.start(&["sub", "logs"]);
    let mut publish = world.start(&["pub", "logs"]);
    let mut stdin = publish.stdin.take().unwrap();
    let feeding = thread::spawn(move || while writeln!(stdin, "line").is_ok() {});
    assert_eq!(sub.out.line().unwrap(), "line");
    let (_, nothing) = mpsc::sync_channel(0);
    drop(std::mem::replace(&mut sub.out.lines, nothing));
    assert_eq!(sub.code(), 0);
    publish.kill();
    feeding.join().unwrap();
}
