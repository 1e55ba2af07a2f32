//! Clients of groups: nodes that hold no replica, on loopback.

use std::{collections::BTreeSet, time::Duration};

use mosaik::{
    Network, PeerId,
    groups::{GroupClient, GroupError, Refusal, Unavailable},
};
use mosaik_tests::{
    bank::{Bank, BankClient},
    loopback,
    machines::{Booking, Counter, Ledger, Overdrawn},
    node, unique, within,
};

/// How often it is looked whether something has come to pass.
const LOOK: Duration = Duration::from_millis(5);

/// Three nodes, of which the later know the first.
async fn three(name: &str) -> [Network; 3] {
    let first = node(name, &[]).await;
    let second = node(name, &[&first]).await;
    let third = node(name, &[&first]).await;
    [first, second, third]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_all_that_a_member_can() {
    let name = unique("client");
    let networks = three(&name).await;
    let here = node(&name, &[&networks[2]]).await;
    let client = Bank::connect(&here);
    let banks = networks.each_ref().map(Bank::join);
    within(client.when().leader().voters(3)).await;
    assert!(client.is_online());
    assert_eq!(client.name(), "bank");

    assert_eq!(within(client.deposit("a".into(), 10)).await.unwrap(), 10);
    let twice = [("a".to_owned(), 1), ("b".to_owned(), 1)];
    assert_eq!(within(client.deposit_many(twice)).await.unwrap(), [11, 1]);
    let batch = client
        .batch()
        .transfer("b".into(), "a".into(), 5)
        .deposit("b".into(), 4)
        .into_future();
    let short = Err(Overdrawn { balance: 1 });
    assert_eq!(within(batch).await.unwrap(), (short, 5));
    assert_eq!(within(client.whoami()).await.unwrap(), here.local().id());
    // Each sees at once what the others did, and a member's replica gets to what the client has seen.
    for bank in &banks {
        assert_eq!(within(bank.balance("a")).await.unwrap(), Some(11));
        let now = within(bank.deposit("a".into(), 0)).await.unwrap();
        assert_eq!(within(client.balance("a")).await.unwrap(), Some(now));
        within(bank.when().reaches(client.version())).await;
        assert_eq!(bank.local().balance("a"), Some(now));
    }
    assert!(!within(client.is_empty("a")).await.unwrap());
    assert_eq!(within(client.balance("nobody")).await.unwrap(), None);
    let outcome = within(client.batch().deposit("a".into(), 1).fail().into_future()).await;
    assert!(
        matches!(outcome, Err(GroupError::Panicked { command: 1, .. })),
        "{outcome:?}"
    );
    assert_eq!(within(client.total()).await.unwrap(), 16);

    // It is no member, and the leader serves it.
    let members: BTreeSet<PeerId> = client.members().iter().map(|member| member.peer).collect();
    let nodes = networks.each_ref().map(|network| network.local().id());
    assert_eq!(members, BTreeSet::from(nodes));
    within(banks[0].when().leader()).await;
    let leader = banks[0].leader().unwrap();
    within(client.when().leader_is(leader)).await;
    let leader = leader.short().to_string();
    let served = async {
        while !client
            .explain()
            .to_string()
            .contains(&format!("served by {leader}"))
        {
            tokio::time::sleep(LOOK).await;
        }
    };
    within(served).await;
}

/// Commands of a client that go on until `stop`, and how often each was acknowledged: always once.
async fn count(client: &GroupClient<Counter>, stop: &tokio::sync::Notify) -> u64 {
    let mut acknowledged = 0;
    let stopped = stop.notified();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            biased;
            value = client.execute(1) => {
                acknowledged += 1;
                assert_eq!(value.unwrap(), acknowledged, "applied more than once, or lost");
            }
            () = &mut stopped => return acknowledged,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_outlives_whoever_serves_it() {
    let name = unique("outlives");
    let mut networks = Vec::from(three(&name).await);
    // Two more, so that two can go.
    networks.push(node(&name, &[&networks[0]]).await);
    networks.push(node(&name, &[&networks[0]]).await);
    let here = node(&name, &[&networks[0], &networks[1], &networks[4]]).await;
    let groups: Vec<_> = networks
        .iter()
        .map(|network| {
            network
                .groups()
                .builder::<Counter>("counter")
                .founders(3)
                .join()
        })
        .collect();
    let client = here.groups().connect::<Counter>("counter");
    within(client.when().online().voters(5)).await;
    let stop = tokio::sync::Notify::new();
    let going = async {
        for _ in 0..2 {
            within(client.when().leader()).await;
            let leader = client.leader().unwrap();
            let at = networks
                .iter()
                .position(|network| network.local().id() == leader);
            let gone = networks.remove(at.unwrap());
            let before = client.version();
            within(gone.shutdown()).await;
            let others = networks.iter().map(|network| network.local().id());
            let others: Vec<PeerId> = others.collect();
            let follows = async {
                while !client
                    .leader()
                    .is_some_and(|leader| others.contains(&leader))
                {
                    tokio::time::sleep(LOOK).await;
                }
            };
            within(follows).await;
            let further = u64::from(before) + 100;
            let goes_on = async {
                while u64::from(client.version()) < further {
                    tokio::time::sleep(LOOK).await;
                }
            };
            within(goes_on).await;
        }
        stop.notify_one();
    };
    let (acknowledged, ()) = tokio::join!(count(&client, &stop), going);
    let value = within(client.query(())).await.unwrap();
    assert!(
        value == acknowledged || value == acknowledged + 1,
        "{value} of {acknowledged}"
    );
    drop(groups);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_for_a_group_and_says_what_for() {
    let name = unique("waits");
    let first = node(&name, &[]).await;
    let here = node(&name, &[&first]).await;
    let builder = here.groups().builder::<Counter>("counter");
    let hasty = builder.command_timeout(Duration::from_millis(50)).connect();
    let nobody = within(hasty.query(())).await.unwrap_err();
    assert!(
        matches!(nobody, GroupError::Unavailable(Unavailable::NoMember)),
        "{nobody:?}"
    );
    let explained = hasty.explain().to_string();
    assert!(
        explained.contains("no member that holds the state"),
        "{explained}"
    );
    let patient = here.groups().connect::<Counter>("counter");
    let member = first
        .groups()
        .builder::<Counter>("counter")
        .founders(1)
        .join();
    assert_eq!(within(patient.execute(7)).await.unwrap(), 7);
    within(hasty.when().online()).await;
    // A node can be both, and its client needs nobody else then.
    let own = first.groups().connect::<Counter>("counter");
    assert_eq!(within(own.query(())).await.unwrap(), 7);
    let me = first.local().id().short().to_string();
    assert!(
        own.explain()
            .to_string()
            .contains(&format!("served by {me}"))
    );
    // Where the member leaves there is nobody again.
    within(member.leave()).await;
    within(hasty.when().offline()).await;
    within(own.when().offline()).await;
    within(first.shutdown()).await;
    let closed = within(own.execute(1)).await.unwrap_err();
    assert!(matches!(closed, GroupError::Closed), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_differs_is_told_why() {
    let name = unique("differs");
    let first = node(&name, &[]).await;
    let here = node(&name, &[&first]).await;
    let member = first.groups().builder::<Counter>("counter").founders(1);
    let member = member.key("secret").join();
    within(member.when().online()).await;
    let refused = |error: GroupError| match error {
        GroupError::Unavailable(Unavailable::Refused { by, why }) => {
            assert_eq!(by, first.local().id());
            why
        }
        other => panic!("{other:?}"),
    };
    let keyless = here.groups().connect::<Counter>("counter");
    let why = refused(within(keyless.execute(1)).await.unwrap_err());
    assert_eq!(why, Refusal::Key);
    let other = here.groups().builder::<Ledger>("counter").key("secret");
    let other = other.connect();
    let booking = Booking::Deposit {
        account: "a".into(),
        cents: 1,
    };
    let why = refused(within(other.execute(booking)).await.unwrap_err());
    assert_eq!(why, Refusal::Machine);
    let explained = other.explain().to_string();
    assert!(
        explained.contains("the state machines differ"),
        "{explained}"
    );
    let right = here.groups().builder::<Counter>("counter").key("secret");
    assert_eq!(within(right.connect().execute(1)).await.unwrap(), 1);
}

/// The session of a client that is dropped is closed, so that those who come and go leave nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_lives_as_long_as_a_handle_or_a_command() {
    let name = unique("lives");
    let first = loopback(&name).build().await.unwrap();
    let here = node(&name, &[&first]).await;
    let bank = first.groups().declared::<Bank>().founders(1).join();
    within(bank.when().online()).await;
    let client: BankClient = here
        .groups()
        .declared::<Bank>()
        .founders(1)
        .connect()
        .into();
    assert_eq!(within(client.deposit("a".into(), 1)).await.unwrap(), 1);
    let clone = client.clone();
    drop(client);
    assert_eq!(within(clone.deposit("a".into(), 1)).await.unwrap(), 2);
    let before = bank.version();
    drop(clone);
    // Closing its session is an entry of the log.
    within(async {
        while bank.version() <= before {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_and_a_query_too_many_do_no_harm() {
    let name = unique("harm");
    let first = node(&name, &[]).await;
    let here = node(&name, &[&first]).await;
    let ledger = first
        .groups()
        .builder::<Ledger>("ledger")
        .founders(1)
        .join();
    // A condition keeps its client, also where that has no other handle.
    let when = here.groups().builder::<Ledger>("ledger").connect().when();
    within(when.online()).await;
    within(ledger.when().online()).await;
    let client = here.groups().connect::<Ledger>("ledger");
    let long = "a".repeat(16 * 1024 * 1024);
    let (long, short) = tokio::join!(
        within(client.query(long)),
        within(client.query("a".to_owned()))
    );
    assert!(matches!(long, Err(GroupError::TooLarge { .. })), "{long:?}");
    assert_eq!(short.unwrap(), None);
    let closed = client.when().closed();
    within(here.shutdown()).await;
    within(closed).await;
    assert!(!client.is_online());
    let late = here.groups().connect::<Ledger>("ledger");
    let late = within(late.query("a".to_owned())).await.unwrap_err();
    assert!(matches!(late, GroupError::Closed), "{late:?}");
}

/// One member that takes a client for another's says nothing of the others.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_a_client_is_passed_over() {
    let name = unique("passed over");
    let odd = node(&name, &[]).await;
    let even = node(&name, &[&odd]).await;
    let here = node(&name, &[&odd, &even]).await;
    let strange = odd
        .groups()
        .builder::<Counter>("counter")
        .founders(1)
        .key("other")
        .join();
    within(strange.when().online()).await;
    let client = here.groups().connect::<Counter>("counter");
    within(async {
        while !client.explain().to_string().contains("refused") {
            tokio::time::sleep(LOOK).await;
        }
    })
    .await;
    let own = even
        .groups()
        .builder::<Counter>("counter")
        .founders(1)
        .join();
    within(client.when().online()).await;
    assert_eq!(within(client.execute(3)).await.unwrap(), 3);
    within(own.when().reaches(client.version())).await;
    assert_eq!(own.local(Counter::value), Some(3));
}
