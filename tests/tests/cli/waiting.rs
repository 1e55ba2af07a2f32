//! `mosaik group wait`: until the members of a group have caught up.

use mosaik_tests::{node, within};

use crate::{
    operating::{counting, run},
    terminal::World,
    value,
};

#[tokio::test(flavor = "multi_thread")]
async fn members_are_waited_for_until_they_have_caught_up() {
    let world = World::new("waiting");
    let members = counting(&world, "no key is needed to look").await;
    let (first, group) = &members[0];
    for _ in 0..50 {
        within(group.execute(1)).await.unwrap();
    }
    let ticket = first.local().ticket().to_string();
    let wait = |args: &[&str]| {
        let order = ["group", "wait", "counts", "--bootstrap", &ticket];
        run(world.start(&[&order, args].concat()))
    };
    // One that comes now is one of them.
    let late = node(&world.network, &[first]).await;
    let joined = late
        .groups()
        .builder::<mosaik_tests::machines::Counter>("counts");
    let joined = joined.founders(3).key("no key is needed to look").observe();
    let (json, code, notes) = wait(&["--json", "--timeout", "30s"]).await;
    assert_eq!(code, 0, "{notes:#?}");
    let caught_up = value(&json[0]);
    assert_eq!(caught_up["group"], "counts");
    let version = caught_up["version"].as_u64().unwrap();
    assert!(version >= 50, "{version}");
    for (_, member) in &members {
        assert!(u64::from(member.version()) >= version);
    }
    assert_eq!(within(joined.query(())).await.unwrap(), 50);
    // A voter that is gone is missed, and named.
    let (gone, _) = &members[2];
    let id = gone.local().id().short();
    gone.shutdown().await;
    let (_, code, notes) = wait(&["--timeout", "2s"]).await;
    assert_eq!(code, 1, "{notes:#?}");
    let missed = |note: &String| note.contains("not caught up within 2s") && note.contains(&id);
    assert!(notes.iter().any(missed), "{notes:#?}");
}
