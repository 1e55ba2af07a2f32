//! `mosaik group import`: states that go into groups.

use std::{fs, path::Path};

use mosaik::{
    groups::{Ctx, StateMachine},
    *,
};
use mosaik_tests::{loopback, machines::Counter, within};
use serde::{Deserialize, Serialize};

use crate::{
    terminal::{Mosaik, World},
    value,
};

type Members = [(Network, Group<Counter>); 3];

/// Members of a group that counts, each on a node of its own, with disks of this name or none.
async fn counting(world: &World, disks: Option<&str>) -> Members {
    let mut networks: Vec<Network> = Vec::new();
    for n in 0..3 {
        let peers = networks.iter().map(|peer| peer.local().addr());
        let mut builder = loopback(&world.network).bootstrap(peers);
        if let Some(disks) = disks {
            builder = builder.data_dir(world.runtime.path().join(format!("{disks} {n}")));
        }
        networks.push(builder.build().await.expect("a node on loopback"));
    }
    let join = |network: Network| {
        let group = network.groups().builder("counts").founders(3).key("sesame");
        let group = group.join();
        (network, group)
    };
    let members: Vec<_> = networks.into_iter().map(join).collect();
    members.try_into().expect("three of them")
}

async fn stop(members: &Members) {
    for (network, _) in members {
        within(network.shutdown()).await;
    }
}

/// Runs a command to its end: what it prints, its exit code, and what it says besides.
async fn run(mut command: Mosaik) -> (Vec<String>, i32, Vec<String>) {
    let ended = tokio::task::spawn_blocking(move || {
        (command.out.rest(), command.code(), command.err.rest())
    });
    within(ended).await.unwrap()
}

/// Runs `mosaik group` with these arguments behind its verb and the group.
async fn group(
    world: &World,
    to: &Network,
    verb: &str,
    file: &Path,
    args: &[&str],
) -> (Vec<String>, i32, Vec<String>) {
    let ticket = to.local().ticket().to_string();
    let order = ["group", verb, "counts", file.to_str().unwrap()];
    let node = ["--bootstrap", &ticket];
    run(world.start(&[&order, &node[..], args].concat())).await
}

/// An export of a group that has counted to 7, and is gone.
async fn exported(world: &World, file: &Path) {
    let members = counting(world, Some("old")).await;
    assert_eq!(within(members[1].1.execute(7)).await.unwrap(), 7);
    let args = ["--key", "sesame"];
    let (_, code, notes) = group(world, &members[0].0, "export", file, &args).await;
    assert_eq!(code, 0, "{notes:#?}");
    stop(&members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_goes_into_a_group_that_is_founded_anew() {
    let world = World::new("import");
    let file = world.runtime.path().join("counts.export");
    exported(&world, &file).await;
    // On the same network with other disks, and on another one without any.
    for (world, disks) in [(&world, Some("new")), (&World::new("moved"), None)] {
        let members = counting(world, disks).await;
        let args = ["--key", "sesame", "--json"];
        let (json, code, notes) = group(world, &members[0].0, "import", &file, &args).await;
        assert_eq!(code, 0, "{notes:#?}");
        assert!(
            notes[0].contains("importing `counts` as it was at version"),
            "{notes:#?}"
        );
        let json = value(&json[0]);
        assert_eq!(json["group"], "counts");
        let version = json["version"].as_u64().expect("a version");
        assert_eq!(json["bytes"].as_u64(), Some(1), "{json}");
        for (_, group) in &members {
            assert_eq!(within(group.query(())).await.unwrap(), 7);
            assert!(u64::from(group.version()) >= version);
        }
        // It is a state like any other: it takes commands, and survives as the group does.
        assert_eq!(within(members[2].1.execute(1)).await.unwrap(), 8);
        if disks.is_some() {
            stop(&members).await;
            let again = counting(world, disks).await;
            assert_eq!(within(again[0].1.query(())).await.unwrap(), 8);
            stop(&again).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_holds_is_only_replaced_where_that_is_said() {
    let world = World::new("replace");
    let file = world.runtime.path().join("counts.export");
    exported(&world, &file).await;
    let members = counting(&world, Some("new")).await;
    let (network, counts) = &members[0];
    assert_eq!(within(counts.execute(100)).await.unwrap(), 100);
    let refused = async |file: &Path, args: &[&str], why: &str| {
        let (out, code, notes) = group(&world, network, "import", file, args).await;
        assert_eq!((out.len(), code), (0, 1), "{args:?}: {notes:#?}");
        assert!(
            notes.iter().any(|note| note.contains(why)),
            "{args:?}: {notes:#?}"
        );
        assert_eq!(within(counts.query(())).await.unwrap(), 100);
    };
    let key = ["--key", "sesame"];
    refused(&file, &key, "the group holds what commands have made").await;
    refused(&file, &["--replace"], "the group keys differ").await;
    let missing = world.runtime.path().join("missing");
    refused(&missing, &key, "cannot read").await;
    let good = fs::read(&file).unwrap();
    let bad = world.runtime.path().join("bad");
    fs::write(&bad, "something else").unwrap();
    refused(&bad, &key, "this is no export of a group").await;
    for at in [good.len() - 1, good.len() / 2] {
        let mut damaged = good.clone();
        damaged[at] ^= 1;
        fs::write(&bad, damaged).unwrap();
        refused(&bad, &key, "an export is damaged").await;
    }
    fs::write(&bad, &good[..good.len() - 1]).unwrap();
    refused(&bad, &key, "an export is damaged").await;
    let replace = ["--key", "sesame", "--replace"];
    let (_, code, notes) = group(&world, network, "import", &file, &replace).await;
    assert_eq!(code, 0, "{notes:#?}");
    assert!(
        notes[0].contains("all that the group holds is lost"),
        "{notes:#?}"
    );
    for (_, counts) in &members {
        assert_eq!(within(counts.query(())).await.unwrap(), 7);
    }
}

/// Another machine than the one that counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Other(String);

impl StateMachine for Other {
    type Command = String;
    type Output = ();
    type Query = ();
    type Answer = String;
    type Snapshot = Self;

    fn apply(&mut self, _: &Ctx, text: String) {
        self.0 = text;
    }

    fn query(&self, (): ()) -> String {
        self.0.clone()
    }

    fn snapshot(&self) -> Self {
        self.clone()
    }

    fn restore(snapshot: Self) -> Self {
        snapshot
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_of_something_else_is_refused() {
    let world = World::new("something else");
    let file = world.runtime.path().join("counts.export");
    exported(&world, &file).await;
    let network = mosaik_tests::node(&world.network, &[]).await;
    let other = network.groups().builder::<Other>("counts").key("sesame");
    let other = other.founders(1).join();
    within(other.when().online()).await;
    let args = ["--key", "sesame"];
    let (_, code, notes) = group(&world, &network, "import", &file, &args).await;
    assert_eq!(code, 1, "{notes:#?}");
    let why = "exported from another state machine";
    assert!(notes.iter().any(|note| note.contains(why)), "{notes:#?}");
    assert_eq!(within(other.query(())).await.unwrap(), "");
    // Of another group, whatever runs there.
    let order = ["group", "import", "orders", file.to_str().unwrap()];
    let (_, code, notes) = run(world.start(&order)).await;
    assert_eq!(code, 1);
    let why = "holds the state of group `counts`, not of `orders`";
    assert!(notes.iter().any(|note| note.contains(why)), "{notes:#?}");
}
