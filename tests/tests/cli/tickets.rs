//! Operators of groups that ask for tickets.

use std::time::Duration;

use mosaik::{
    SecretKey,
    tickets::{Algorithm, Jwt, JwtIssuer},
};
use mosaik_tests::{loopback, machines::Counter, within};

use crate::{operating::run, terminal::World};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_carries_a_ticket_too() {
    let world = World::new("tickets");
    let issuer = JwtIssuer::secret(Algorithm::Hs256, "s3cret").unwrap();
    let issue = |key: &SecretKey| issuer.issue(key.peer(), Duration::from_secs(3600)).unwrap();
    let key = SecretKey::generate();
    let network = loopback(&world.network)
        .access_ticket(issue(&key))
        .secret_key(key)
        .build()
        .await
        .unwrap();
    let group = network.groups().builder::<Counter>("guarded");
    let group = group.ticket(Jwt::secret(Algorithm::Hs256, "s3cret").unwrap());
    let group = group.join();
    within(group.when().online()).await;
    assert_eq!(within(group.execute(3)).await.unwrap(), 3);

    let file = world.runtime.path().join("export");
    let file = file.to_str().unwrap();
    let bootstrap = network.local().ticket().to_string();
    let export = [
        "group",
        "export",
        "guarded",
        file,
        "--bootstrap",
        &bootstrap,
    ];
    let (_, code, notes) = run(world.start(&export)).await;
    assert_eq!(code, 1, "{notes:#?}");
    let refused = "no valid ticket of class `jwt` (10): it carries none";
    assert!(
        notes.iter().any(|note| note.contains(refused)),
        "{notes:#?}"
    );

    let operator = SecretKey::generate();
    let ticket = issue(&operator);
    let ticket = str::from_utf8(&ticket.data).unwrap();
    let digits: String = operator
        .to_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let carries = ["--secret-key", &digits, "--access-ticket", ticket];
    let (_, code, notes) = run(world.start(&[&export[..], &carries].concat())).await;
    assert_eq!(code, 0, "{notes:#?}");
    let export = mosaik::groups::Export::read(std::fs::File::open(file).unwrap()).unwrap();
    assert_eq!(export.decode::<Counter>().unwrap().value(), 3);
}
