//! Topics and groups that ask for tickets, on loopback.

use std::{future::Future, time::Duration};

use mosaik::{
    Consumer, Group, Network, PeerId, Topic,
    groups::{Durability, GroupBuilder, GroupError, Refusal, Unavailable},
    tickets::{AccessTicket, Algorithm, Jwt, JwtIssuer},
};
use mosaik_tests::{loopback, machines::Counter, unique, within};

const SECRET: &str = "not so secret";
const HOUR: Duration = Duration::from_secs(3600);
/// How long it is looked whether something does not happen.
const WHILE: Duration = Duration::from_millis(500);
/// How often it is looked whether something has come to pass.
const LOOK: Duration = Duration::from_millis(5);

fn traders() -> Jwt {
    let jwt = Jwt::secret(Algorithm::Hs256, SECRET).unwrap();
    jwt.claim("role", "trader").leeway(Duration::ZERO)
}

fn ticket(holder: PeerId, valid_for: Duration) -> AccessTicket {
    let issuer = JwtIssuer::secret(Algorithm::Hs256, SECRET).unwrap();
    let issuer = issuer.claim("role", "trader");
    issuer.issue(holder, valid_for).unwrap()
}

/// What only traders see.
#[mosaik::stream(ticket = traders())]
struct Price {
    cents: u64,
}

fn give(network: &Network, valid_for: Duration) {
    let ticket = ticket(network.local().id(), valid_for);
    network.discovery().add_ticket(ticket).unwrap();
}

/// A node, which knows `peers`.
async fn node(name: &str, peers: &[Network]) -> Network {
    let peers = peers.iter().map(|peer| peer.local().addr());
    loopback(name).bootstrap(peers).build().await.unwrap()
}

/// Nodes that know each other and carry tickets.
async fn nodes(name: &str, count: usize) -> Vec<Network> {
    let mut nodes = Vec::new();
    for _ in 0..count {
        let next = node(name, &nodes).await;
        give(&next, HOUR);
        nodes.push(next);
    }
    nodes
}

fn guarded(network: &Network) -> GroupBuilder<Counter> {
    let builder = network.groups().builder("guarded");
    builder.ticket(traders()).founders(3)
}

async fn found(networks: &[Network]) -> Vec<Group<Counter>> {
    let groups: Vec<_> = networks.iter().map(|n| guarded(n).join()).collect();
    for group in &groups {
        within(group.when().online()).await;
    }
    groups
}

/// Asks again until it is so.
async fn until<F: Future<Output = bool>>(so: impl Fn() -> F) {
    let asked = async {
        while !so().await {
            tokio::time::sleep(LOOK).await;
        }
    };
    within(asked).await;
}

fn lacks_one(error: &GroupError) -> bool {
    matches!(
        error,
        GroupError::Unavailable(Unavailable::Ticket { class, why })
            if class == "jwt" && why == "it carries none"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_with_tickets_take_part() {
    let name = unique("tickets");
    let networks = nodes(&name, 3).await;
    let groups = found(&networks).await;
    assert_eq!(within(groups[0].execute(1)).await.unwrap(), 1);

    // It would be let in by nobody, and does not found one of its own.
    let late = node(&name, &networks).await;
    let alone = late.groups().builder::<Counter>("guarded");
    let alone = alone.ticket(traders()).founders(3).join();
    let answer = within(alone.execute(1)).await.unwrap_err();
    assert!(lacks_one(&answer), "{answer:?}");
    let text = alone.explain().to_string();
    let said = "this node has no valid ticket of class `jwt`: it carries none; add one";
    assert!(text.contains(said), "{text}");
    // One that is somebody else's is of no use.
    let stolen = networks[0].discovery().me().tickets()[0].clone();
    late.discovery().add_ticket(stolen).unwrap();
    until(async || {
        let text = alone.explain().to_string();
        text.contains("its subject (`sub`) is not the peer that carries it")
    })
    .await;
    give(&late, HOUR);
    within(alone.when().online()).await;
    assert_eq!(within(alone.execute(1)).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_carry_tickets_too() {
    let name = unique("clients");
    let networks = nodes(&name, 3).await;
    let groups = found(&networks).await;
    let here = node(&name, &networks).await;
    let client = guarded(&here).connect();
    until(async || {
        let refused = client.execute(1).await.unwrap_err();
        matches!(
            refused,
            GroupError::Unavailable(Unavailable::Refused {
                why: Refusal::Ticket { .. },
                ..
            })
        )
    })
    .await;
    give(&here, HOUR);
    within(client.when().online()).await;
    assert_eq!(within(client.execute(1)).await.unwrap(), 1);
    // And lose what they can with them.
    here.discovery().remove_tickets("jwt");
    within(client.when().offline()).await;
    assert_eq!(within(groups[0].execute(1)).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_ticket_ends_is_cut_off_and_comes_back_with_another() {
    let name = unique("ends");
    let networks = nodes(&name, 3).await;
    let groups = found(&networks).await;
    let fourth = node(&name, &networks).await;
    // What asks for no ticket is open to all.
    let open = |network: &Network| {
        let builder = network.groups().builder::<Counter>("open");
        builder.founders(3).durable(Durability::Volatile).join()
    };
    let opened: Vec<_> = networks.iter().map(open).collect();
    let mine = open(&fourth);
    give(&fourth, Duration::from_secs(8));
    let guest = guarded(&fourth).join();
    within(guest.when().online()).await;
    assert_eq!(within(guest.execute(1)).await.unwrap(), 1);
    within(mine.when().online()).await;
    let before = within(mine.execute(1)).await.unwrap();

    let peer = fourth.local().id();
    until(async || {
        let text = groups[0].explain().to_string();
        text.contains(&format!("refused {}: no valid ticket", peer.short()))
    })
    .await;
    // Nothing of what the others do arrives.
    let seen = guest.version();
    for count in 2..5 {
        assert_eq!(within(groups[1].execute(1)).await.unwrap(), count);
    }
    let reached = guest.when().reaches(groups[1].version());
    assert!(tokio::time::timeout(WHILE, reached).await.is_err());
    assert_eq!(guest.version(), seen);
    // The other group goes on, on new connections.
    assert_eq!(within(mine.execute(1)).await.unwrap(), before + 1);
    assert_eq!(within(opened[2].execute(1)).await.unwrap(), before + 2);

    give(&fourth, HOUR);
    within(guest.when().reaches(groups[1].version())).await;
    assert_eq!(within(guest.execute(1)).await.unwrap(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_renewed_in_time_costs_nothing() {
    let name = unique("renewed");
    let networks = nodes(&name, 3).await;
    let groups = found(&networks).await;
    let fourth = node(&name, &networks).await;
    let ends = tokio::time::Instant::now() + Duration::from_secs(8);
    give(&fourth, Duration::from_secs(8));
    let guest = guarded(&fourth).join();
    within(guest.when().online()).await;
    give(&fourth, HOUR);
    let peer = fourth.local().id();
    until(async || {
        let catalog = networks[0].discovery().catalog();
        catalog.get(&peer).is_some_and(|e| e.tickets().len() == 2)
    })
    .await;
    let mut count = 0;
    let mut losses = std::pin::pin!(guest.when().offline());
    while tokio::time::Instant::now() < ends + WHILE {
        count += 1;
        assert_eq!(within(guest.execute(1)).await.unwrap(), count);
        let lost = tokio::time::timeout(LOOK, &mut losses).await;
        assert!(lost.is_err(), "cut off, though it had another");
    }
    for group in &groups {
        let text = group.explain().to_string();
        assert!(!text.contains("refused"), "{text}");
    }
}

async fn next(prices: &mut Consumer<Price>) -> u64 {
    within(prices.next()).await.expect("a price").cents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_for_those_with_tickets() {
    let name = unique("topic");
    let producing = node(&name, &[]).await;
    let consuming = node(&name, std::slice::from_ref(&producing)).await;
    let producer = Price::producer(&producing);
    let mut prices = Price::consumer(&consuming);
    let refused = async |why: &str| {
        until(async || {
            let text = consuming.explain().to_string();
            text.contains(why)
        })
        .await;
    };
    // Each looks at the other's.
    let lacks = "no valid ticket of class `jwt`: it carries none";
    refused(lacks).await;
    give(&producing, HOUR);
    assert!(
        tokio::time::timeout(WHILE, producer.when().online())
            .await
            .is_err()
    );
    refused(lacks).await;
    give(&consuming, Duration::from_secs(6));
    within(producer.when().online()).await;
    within(producer.send(Price { cents: 1 })).await.unwrap();
    assert_eq!(next(&mut prices).await, 1);
    // It ends, and another one begins.
    within(producer.when().offline()).await;
    refused("no valid ticket of class `jwt`: it ended at").await;
    give(&consuming, HOUR);
    within(producer.when().online()).await;
    within(producer.send(Price { cents: 2 })).await.unwrap();
    assert_eq!(next(&mut prices).await, 2);
    // What the producer had is taken back.
    producing.discovery().remove_tickets("jwt");
    within(producer.when().offline()).await;
    refused(lacks).await;
}
