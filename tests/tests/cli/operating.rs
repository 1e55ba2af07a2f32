//! `mosaik groups` and `mosaik group`: looking after groups.

use std::time::Duration;

use mosaik::{
    groups::{GroupReport, MemberRole},
    *,
};
use mosaik_tests::{loopback, machines::Counter, node, within};

use crate::{
    terminal::{Mosaik, World},
    value,
};

/// Members of a durable group that counts, each on a node of its own; the last only observes. Without a quorum they
/// wait for an operator.
async fn counting(world: &World, key: &str) -> [(Network, Group<Counter>); 4] {
    let durable = async |name: &str, peers: &[&Network]| {
        let peers = peers.iter().map(|peer| peer.local().addr());
        let dir = world.runtime.path().join(name);
        let built = loopback(&world.network).bootstrap(peers).data_dir(dir);
        built.build().await.expect("a node on loopback")
    };
    let first = durable("first", &[]).await;
    let second = durable("second", &[&first]).await;
    let third = durable("third", &[&first]).await;
    let fourth = durable("fourth", &[&first]).await;
    let mut at = 0;
    [first, second, third, fourth].map(|network| {
        at += 1;
        let group = network.groups().builder("counts").founders(3).key(key);
        let group = match at {
            4 => group.observe(),
            _ => group.join(),
        };
        (network, group)
    })
}

/// Waits until a node sees what it should of the group that counts.
async fn reported(network: &Network, seen: impl Fn(&GroupReport) -> bool) -> GroupReport {
    within(async {
        loop {
            match network.groups().report("counts").await {
                Ok(report) if seen(&report) => return report,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

/// Runs a command to its end: what it prints, its exit code, and what it says besides.
async fn run(mut command: Mosaik) -> (Vec<String>, i32, Vec<String>) {
    let ended = tokio::task::spawn_blocking(move || {
        (command.out.rest(), command.code(), command.err.rest())
    });
    within(ended).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_listed_with_what_their_members_say() {
    let world = World::new("groups");
    let members = counting(&world, "no key is needed to look").await;
    let (first, group) = &members[0];
    assert_eq!(within(group.execute(7)).await.unwrap(), 7);
    let ids: Vec<_> = members
        .iter()
        .map(|(network, _)| network.local().id())
        .collect();
    let ticket = first.local().ticket().to_string();
    // A node that takes no part sees the same as one that does.
    let outside = node(&world.network, &[first]).await;
    for network in [first, &outside] {
        let report = reported(network, |report| {
            let up_to_date = |peer| report.behind(peer) == Some(0);
            report.answers().all(|answer| answer.online) && ids.iter().all(up_to_date)
        })
        .await;
        assert_eq!(report.parts.len(), 4);
        assert_eq!(report.charters().len(), 1);
        let best = report.best().unwrap();
        assert!(
            best.leads() && best.term >= Some(1) && best.version >= Some(1),
            "{report}"
        );
        assert!(best.durable && !best.development, "{report}");
        assert_eq!(best.members.iter().filter(|place| place.voter).count(), 3);
        let observer = report
            .answers()
            .find(|answer| answer.peer == ids[3])
            .unwrap();
        assert_eq!(observer.role, MemberRole::Follower);
        assert_eq!(observer.leader, best.leader);
    }
    let start = |args: &[&str]| world.start(&[args, &["--bootstrap", &ticket]].concat());
    let (json, code, notes) = run(start(&["groups", "--json"])).await;
    assert_eq!((json.len(), code), (1, 0), "{json:#?} {notes:#?}");
    let json = value(&json[0]);
    assert_eq!(json["group"], "counts");
    assert_eq!(
        (&json["online"], &json["durable"]),
        (&true.into(), &true.into())
    );
    assert_eq!(json["voters"].as_array().unwrap().len(), 3, "{json}");
    let parts = json["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 4);
    assert_eq!(
        parts.iter().filter(|part| part["leads"] == true).count(),
        1,
        "{json}"
    );
    assert!(
        parts
            .iter()
            .all(|part| part["behind"] == 0 && part["error"].is_null()),
        "{json}"
    );
    let (text, code, _) = run(start(&["groups"])).await;
    assert_eq!((&*text[0], code), ("counts", 0));
    for line in [
        "  state      online",
        "  members    3 voters, 0 learners, 1 others",
    ] {
        assert!(text.iter().any(|l| l == line), "{line}: {text:#?}");
    }
    // Two of three voters are gone: what is left says what it lacks.
    for (network, _) in &members[1..3] {
        within(network.shutdown()).await;
    }
    reported(&outside, |report| {
        report.answers().all(|answer| !answer.online)
    })
    .await;
    let (text, code, _) = run(start(&["group", "show", "counts"])).await;
    assert_eq!(code, 0);
    assert!(
        text[0].starts_with("group counts (") && text[0].contains("not online"),
        "{text:#?}"
    );
    let missing = "not available: 1 of the 2 voters needed are connected";
    assert!(text.iter().any(|line| line.contains(missing)), "{text:#?}");
    let (_, code, notes) = run(start(&["group", "show", "orders"])).await;
    assert_eq!(code, 1);
    let why = "no node that takes part in group `orders` is known";
    assert!(notes.iter().any(|note| note.contains(why)), "{notes:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_without_a_quorum_is_founded_anew_where_an_operator_says() {
    let world = World::new("recover");
    let members = counting(&world, "sesame").await;
    let (first, group) = &members[0];
    assert_eq!(within(group.execute(7)).await.unwrap(), 7);
    let ticket = first.local().ticket().to_string();
    let at = first.local().id().to_string();
    let recover = |args: &[&str]| {
        let order = [
            "group",
            "recover",
            "counts",
            "--at",
            &at,
            "--bootstrap",
            &ticket,
        ];
        run(world.start(&[&order, args].concat()))
    };
    let refused = async |args: &[&str], why: &str| {
        let (_, code, notes) = recover(args).await;
        assert_eq!(code, 1, "{args:?}: {notes:#?}");
        assert!(notes[0].contains("warning"), "{notes:#?}");
        assert!(
            notes.iter().any(|note| note.contains(why)),
            "{args:?}: {notes:#?}"
        );
    };
    refused(&["--key", "sesame"], "nothing was done; give `--yes`").await;
    let quorum = "nothing to recover from: a quorum of the voters is connected";
    refused(&["--key", "sesame", "--yes"], quorum).await;
    let before = reported(first, |report| {
        report.best().is_some_and(|best| best.leads())
    })
    .await;
    let outside = node(&world.network, &[first]).await;
    for (network, _) in &members[1..3] {
        within(network.shutdown()).await;
    }
    reported(&outside, |report| {
        report.answers().all(|answer| !answer.online)
    })
    .await;
    refused(&["--yes"], "the group keys differ").await;
    refused(&["--key", "simsalabim", "--yes"], "the group keys differ").await;
    let still = reported(&outside, |report| report.answers().count() == 2).await;
    assert_eq!(still.charters(), before.charters());
    let (_, code, notes) = recover(&["--key", "sesame", "--yes"]).await;
    assert_eq!(code, 0, "{notes:#?}");
    let after = reported(&outside, |report| {
        report.best().is_some_and(|best| best.online)
    })
    .await;
    assert!(after.charters().is_disjoint(&before.charters()), "{after}");
    assert_eq!(within(group.execute(1)).await.unwrap(), 8);
}
