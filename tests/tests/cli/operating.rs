//! `mosaik groups` and `mosaik group`: looking after groups.

use std::{fs, path::Path, time::Duration};

use mosaik::{
    groups::{Ctx, Export, GroupError, GroupReport, MemberRole, StateMachine},
    *,
};
use mosaik_tests::{loopback, machines::Counter, node, within};
use serde::{Deserialize, Serialize};

use crate::{
    terminal::{Mosaik, World},
    value,
};

/// Members of a durable group that counts, each on a node of its own; the last only observes. Without a quorum they
/// wait for an operator.
pub(crate) async fn counting(world: &World, key: &str) -> [(Network, Group<Counter>); 4] {
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
pub(crate) async fn run(mut command: Mosaik) -> (Vec<String>, i32, Vec<String>) {
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

/// Reads what the command wrote.
#[track_caller]
fn read(file: &Path) -> Export {
    let file = fs::File::open(file).expect("a file that was written");
    Export::read(file).expect("an export")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_exported_to_a_file() {
    let world = World::new("export");
    let members = counting(&world, "sesame").await;
    let (first, group) = &members[0];
    assert_eq!(within(group.execute(7)).await.unwrap(), 7);
    let ticket = first.local().ticket().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counts.export");
    let export = |args: &[&str]| {
        let path = file.to_str().unwrap();
        let order = ["group", "export", "counts", path, "--bootstrap", &ticket];
        run(world.start(&[&order, args].concat()))
    };
    let refused = async |args: &[&str], why: &str| {
        let (_, code, notes) = export(args).await;
        assert_eq!(code, 1, "{args:?}: {notes:#?}");
        assert!(
            notes.iter().any(|note| note.contains(why)),
            "{args:?}: {notes:#?}"
        );
    };
    let follows = |report: &GroupReport| report.answers().any(|a| a.role == MemberRole::Follower);
    let report = reported(first, follows).await;
    refused(&[], "the group keys differ").await;
    let observer = members[3].0.local().id().to_string();
    refused(
        &["--key", "sesame", "--at", &observer],
        "it only follows the group",
    )
    .await;
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        0,
        "nothing was written"
    );
    let beside = folder.path().join("counts.export.new");
    fs::write(&beside, "not ours").unwrap();
    let (_, code, notes) = export(&["--key", "sesame"]).await;
    assert_eq!(code, 0, "{notes:#?}");
    assert!(
        notes[0].contains("exporting `counts` at version"),
        "{notes:#?}"
    );
    let voters = members[..3].iter().map(|(network, _)| network.local().id());
    let said = |peer: PeerId| notes[0].contains(&format!(" from {peer}"));
    assert!(voters.into_iter().any(said), "{notes:#?}");
    let before = read(&file);
    assert_eq!(before.decode::<Counter>().unwrap().value(), 7);
    assert_eq!(before.header.group, "counts");
    assert_eq!(Some(before.header.charter), report.best().unwrap().charter);
    // Without a quorum the state is still there.
    assert_eq!(within(group.execute(2)).await.unwrap(), 9);
    for (network, _) in &members[1..3] {
        within(network.shutdown()).await;
    }
    reported(first, |report| report.answers().all(|a| !a.online)).await;
    refused(&["--key", "sesame"], "no majority of those who answer").await;
    let at = first.local().id().to_string();
    let (_, code, notes) = export(&["--key", "sesame", "--at", &at]).await;
    assert_eq!(code, 0, "{notes:#?}");
    let after = read(&file);
    assert_eq!(after.decode::<Counter>().unwrap().value(), 9);
    assert!(after.header.version > before.header.version);
    assert_eq!(after.header.layout, before.header.layout);
    assert_eq!(fs::read_to_string(&beside).unwrap(), "not ours");
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        2,
        "only the export is left"
    );
}

/// Texts, one a command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Texts(Vec<String>);

impl StateMachine for Texts {
    type Command = String;
    type Output = ();
    type Query = ();
    type Answer = usize;
    type Snapshot = Self;

    fn apply(&mut self, _: &Ctx, text: String) {
        self.0.push(text);
    }

    fn query(&self, (): ()) -> usize {
        self.0.len()
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

/// Exports the texts as a node has them.
async fn texts(network: &Network, at: PeerId) -> Texts {
    let exporting = network.groups().export("texts", Some(at), None);
    let mut exporting = within(exporting).await.unwrap();
    let mut state = Vec::new();
    while let Some(chunk) = within(exporting.next()).await.unwrap() {
        assert!(chunk.len() <= 256 * 1024);
        state.extend_from_slice(&chunk);
    }
    assert_eq!(state.len() as u64, exporting.header().length);
    postcard::from_bytes(&state).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_many_chunks_and_superseded_ones_are_exported() {
    let world = World::new("superseded");
    let [one, two] = [
        node(&world.network, &[]).await,
        node(&world.network, &[]).await,
    ];
    // Neither knows of the other, so that each founds a group of its own.
    let mut held = Vec::new();
    for (network, letter) in [(&one, "1"), (&two, "2")] {
        let group = network.groups().join::<Texts>("texts");
        let written: Vec<_> = (0..3).map(|_| letter.repeat(400_000)).collect();
        for text in &written {
            within(group.execute(text.clone())).await.unwrap();
        }
        let id = network.local().id();
        // A node asks itself as well.
        assert_eq!(texts(network, id).await, Texts(written.clone()));
        held.push((id, group, Texts(written)));
    }
    let between = node(&world.network, &[&one, &two]).await;
    let loser = within(async {
        loop {
            let report = between.groups().report("texts").await;
            let superseded = |report: &GroupReport| {
                let mut answers = report.answers();
                let role = MemberRole::Superseded;
                answers.find(|a| a.role == role).map(|a| a.peer)
            };
            match report.ok().as_ref().and_then(superseded) {
                Some(peer) => return peer,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    for (id, group, expected) in &held {
        assert_eq!(texts(&between, *id).await, *expected);
        let more = within(group.execute("more".into())).await;
        match *id == loser {
            true => assert!(matches!(more, Err(GroupError::Superseded)), "{more:?}"),
            false => more.unwrap(),
        }
    }
}
