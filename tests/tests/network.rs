//! A node as a whole: building, refusing, explaining, starting from every form of bootstrap.

use std::time::Duration;

use mosaik::{
    discovery::{DepartReason, Event as Seen},
    *,
};
use mosaik_tests::{loopback, node, unique, within};

#[tokio::test]
async fn every_form_of_bootstrap_works_and_a_bad_one_fails_the_build() {
    let name = unique("bootstrap");
    let first = node(&name, &[]).await;
    let addr = first.local().addr();
    let forms: [Bootstrap; 4] = [
        addr.clone().into(),
        addr.to_string().into(),
        first.local().ticket().into(),
        first.local().ticket().to_string().into(),
    ];
    for form in forms {
        let second = loopback(&name).bootstrap([form]).build().await.unwrap();
        let mut catalogs = second.discovery().watch();
        while !within(catalogs.next()).await.unwrap().contains(&addr.peer) {}
        within(second.shutdown()).await;
    }
    // An id alone says nothing of where; it is waited for, and explained.
    let third = loopback(&name)
        .bootstrap([addr.peer])
        .build()
        .await
        .unwrap();
    let explained = within(async {
        loop {
            let explained = third.explain().to_string();
            if explained.contains("not connected") {
                return explained;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(explained.contains("address"), "{explained}");
    let error = loopback(&name).bootstrap(["nonsense"]).build().await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("`nonsense` is not a peer id"), "{error}");
}

#[tokio::test]
async fn a_peer_of_another_network_is_refused_with_a_reason() {
    let ours = node(&unique("ours"), &[]).await;
    let theirs = node(&unique("theirs"), &[]).await;
    let error = within(ours.discovery().dial(theirs.local().addr())).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("give both the same network id"), "{error}");
    let secretive = loopback(&unique("x")).shared_secret("a").build().await;
    drop(secretive.unwrap());
}

#[tokio::test]
async fn a_shared_secret_keeps_out_who_does_not_know_it() {
    let name = unique("secret");
    let first = loopback(&name).shared_secret("right").build().await;
    let first = first.unwrap();
    let stranger = loopback(&name).shared_secret("wrong").build().await;
    let stranger = stranger.unwrap();
    let error = within(stranger.discovery().dial(first.local().addr())).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("shared secrets differ"), "{error}");
    let friend = loopback(&name)
        .shared_secret("right")
        .build()
        .await
        .unwrap();
    within(friend.discovery().dial(first.local().addr()))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_empty_shared_secret_fails_the_build() {
    let built = loopback(&unique("empty")).shared_secret("").build().await;
    assert!(matches!(built, Err(BuildError::EmptySecret)), "{built:?}");
}

#[tokio::test]
async fn who_was_refused_is_seen_by_who_refused() {
    let name = unique("refusals");
    let secretive = || loopback(&name).shared_secret("right");
    let ours = secretive().build().await.unwrap();
    let mut seen = ours.discovery().events();
    let foreign = loopback(&unique("foreign")).shared_secret("right");
    let ignorant = loopback(&name).shared_secret("wrong");
    for (stranger, why) in [
        (foreign, "another network"),
        (ignorant, "the shared secrets differ"),
    ] {
        let stranger = stranger.build().await.unwrap();
        let dialed = within(stranger.discovery().dial(ours.local().addr())).await;
        assert!(dialed.is_err());
        let id = stranger.local().id();
        let reason = loop {
            if let Some(Seen::Refused { peer, reason }) = within(seen.next()).await
                && peer == id
            {
                break reason;
            }
        };
        assert!(reason.to_string().contains(why), "{reason}");
        let explained = ours.explain().to_string();
        let line = explained.lines().find(|line| line.contains(&id.short()));
        let line = line.expect("a line of who was refused");
        assert!(line.contains("refused") && line.contains(why), "{line}");
    }
}

#[tokio::test]
async fn a_bootstrap_peer_is_explained_as_it_is() {
    let name = unique("explained");
    let key = SecretKey::from_bytes([7; 32]);
    // Nobody can be dialed by an id alone here: the peer itself has to come.
    let waiting = loopback(&name).bootstrap([key.peer()]).build();
    let waiting = waiting.await.unwrap();
    let line = |of: &Network| {
        let explained = of.explain().to_string();
        let line = explained.lines().find(|line| line.contains("bootstrap "));
        line.unwrap_or_else(|| panic!("no line of the bootstrap peer: {explained}"))
            .to_owned()
    };
    within(async {
        while !line(&waiting).contains("not connected after") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let late = loopback(&name).secret_key(key.clone());
    let late = late.bootstrap([waiting.local().addr()]).build();
    let late = late.await.unwrap();
    let mut catalogs = waiting.discovery().watch();
    while !within(catalogs.next()).await.unwrap().contains(&key.peer()) {}
    let told = line(&waiting);
    assert!(told.ends_with(": connected"), "{told}");
    within(late.shutdown()).await;
    let other = SecretKey::from_bytes([8; 32]);
    let itself = loopback(&name).secret_key(other.clone());
    let itself = itself.bootstrap([other.peer()]).build().await.unwrap();
    within(async {
        while !line(&itself).contains("this peer itself") {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_data_directory_keeps_the_peer_who_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let name = unique("data");
    let first = loopback(&name).data_dir(dir.path()).build().await.unwrap();
    let id = first.local().id();
    within(first.shutdown()).await;
    let again = loopback(&name).data_dir(dir.path()).build().await.unwrap();
    assert_eq!(again.local().id(), id);
    // Two processes that are one peer would outbid each other for ever.
    let second = loopback(&name).data_dir(dir.path()).build().await;
    assert!(
        matches!(second, Err(BuildError::DataDirInUse { .. })),
        "{second:?}"
    );
    drop(again);
    within(async {
        while let Err(error) = loopback(&name).data_dir(dir.path()).build().await {
            assert!(
                matches!(error, BuildError::DataDirInUse { .. }),
                "{error:?}"
            );
            tokio::task::yield_now().await;
        }
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = loopback(&name).data_dir(file.path()).build().await;
    assert!(
        matches!(error, Err(BuildError::DataDir { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_port_that_is_taken_is_a_named_error() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let built = Network::builder("taken")
        .offline()
        .local_rendezvous(false)
        .bind(addr)
        .build()
        .await;
    let error = built.unwrap_err().to_string();
    assert!(error.contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn processes_of_one_machine_find_each_other_without_any_address() {
    let dir = tempfile::tempdir().unwrap();
    let name = unique("rendezvous");
    let at = |name: &str| {
        loopback(name)
            .local_rendezvous(true)
            .rendezvous_dir(dir.path())
    };
    let first = at(&name).build().await.unwrap();
    let stranger = at(&unique("another")).build().await.unwrap();
    let second = at(&name).build().await.unwrap();
    let producer = first.streams().produce::<String>();
    let mut lines = second.streams().consume::<String>();
    within(producer.when().online()).await;
    producer.send("found".into()).await.unwrap();
    assert_eq!(within(lines.next()).await.unwrap(), "found");
    assert!(stranger.discovery().catalog().is_empty());
}

#[tokio::test]
async fn tags_and_departures_are_seen_by_all() {
    let name = unique("events");
    let first = node(&name, &[]).await;
    let second = node(&name, &[&first]).await;
    let third = node(&name, &[&first]).await;
    let mut seen = third.discovery().events();
    second.discovery().add_tags(["matcher"]).unwrap();
    let id = second.local().id();
    within(async {
        while third.discovery().catalog().with_tag("matcher").count() == 0 {
            seen.next().await.unwrap();
        }
    })
    .await;
    second.discovery().remove_tags(["matcher"]);
    let mut catalogs = third.discovery().watch();
    within(async { while catalogs.next().await.unwrap().with_tag("matcher").count() > 0 {} }).await;
    within(second.shutdown()).await;
    let reason = within(async {
        loop {
            if let Some(Seen::Departed { peer, reason }) = seen.next().await
                && peer == id
            {
                return reason;
            }
        }
    })
    .await;
    assert!(third.discovery().catalog().get(&id).is_none());
    assert_eq!(reason, DepartReason::Left);
}

#[tokio::test]
async fn a_shutdown_that_is_given_up_can_be_completed() {
    /// A datum larger than any window, so that a consumer which takes nothing holds the shutdown up.
    #[mosaik::stream(name = "test.stuck")]
    struct Stuck(Vec<u8>);

    let name = unique("given up");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, &[&producing]).await;
    let producer = Stuck::producer(&producing);
    let mut consumer = Stuck::consumer(&consuming);
    within(producer.when().online()).await;
    // One fills the consumer's window, the others the ring: a fourth would have to wait.
    for _ in 0..3 {
        within(producer.send(Stuck(vec![0; 2 << 20])))
            .await
            .unwrap();
    }
    let given_up = tokio::time::timeout(Duration::from_millis(50), producing.shutdown()).await;
    assert!(given_up.is_err(), "the consumer takes nothing");
    for _ in 0..3 {
        within(consumer.next()).await.unwrap();
    }
    within(producing.shutdown()).await;
    within(producing.shutdown()).await;
}

#[tokio::test]
async fn dropping_the_network_ends_its_producers_and_consumers() {
    let network = node(&unique("dropped"), &[]).await;
    let producer = network.streams().produce::<String>();
    let streams = network.streams().clone();
    let mut consumer = network.streams().consume::<u64>();
    let waiting = tokio::spawn({
        let producer = producer.clone();
        async move { producer.send("nobody is there".into()).await }
    });
    drop(network);
    assert!(within(consumer.next()).await.is_none());
    assert!(within(waiting).await.unwrap().is_err());
    assert!(producer.try_send("too late".into()).is_err());
    assert!(within(streams.consume::<u64>().next()).await.is_none());
}

#[test]
fn a_runtime_whose_tasks_own_networks_shuts_down() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (started, ready) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let network = node(&unique("owned by a task"), &[]).await;
        started.send(()).unwrap();
        std::future::pending::<()>().await;
        drop(network);
    });
    ready.recv_timeout(mosaik_tests::DEADLINE).unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(runtime);
        done.send(())
    });
    ended.recv_timeout(mosaik_tests::DEADLINE).unwrap();
}

#[tokio::test]
async fn a_port_is_free_again_after_shutdown_whatever_handles_live_on() {
    let name = unique("port");
    let network = node(&name, &[]).await;
    let producer = network.streams().produce::<String>();
    let addr = network.local().addr();
    let socket = *addr.ips.first().unwrap();
    within(network.shutdown()).await;
    let again = async {
        loop {
            let built = Network::builder(name.as_str())
                .offline()
                .local_rendezvous(false)
                .bind(socket)
                .build()
                .await;
            if let Ok(network) = built {
                return network;
            }
            tokio::task::yield_now().await;
        }
    };
    within(again).await;
    drop(producer);
}

#[test]
fn nothing_of_std_is_shadowed_and_everything_named_is_at_the_root() {
    // Compiles only if the glob import leaves std's prelude alone.
    fn prelude() -> Result<Vec<Option<String>>, Box<dyn std::error::Error>> {
        let all: Vec<Option<String>> = Vec::from([Some(String::from("x"))]);
        Ok(all)
    }
    assert_eq!(prelude().unwrap().len(), 1);
    let _: NetworkId = "my-app".into();
}

#[tokio::test]
async fn a_dial_goes_on_without_being_awaited() {
    let name = unique("dial");
    let one = node(&name, &[]).await;
    let other = node(&name, &[]).await;
    let mut catalogs = one.discovery().watch();
    one.discovery().dial(other.local().addr());
    let met = async { while catalogs.next().await.unwrap().is_empty() {} };
    within(met).await;
}
