//! Groups whose members are processes and nodes on loopback.

use std::time::Duration;

use futures::StreamExt as _;
use mosaik::{
    Group, Network,
    groups::{Event, GroupError, Refusal, Unavailable},
};
use mosaik_tests::{
    Child,
    bank::{Bank, BankGroup},
    loopback,
    machines::{Booking, Counter, Ledger, Overdrawn},
    node, unique, within,
};

/// Three nodes, of which the later know the first.
async fn three(name: &str) -> [Network; 3] {
    let first = node(name, &[]).await;
    let second = node(name, &[&first]).await;
    let third = node(name, &[&first]).await;
    [first, second, third]
}

fn counter(network: &Network) -> Group<Counter> {
    network.groups().builder("counter").founders(3).join()
}

fn ledger(network: &Network) -> Group<Ledger> {
    network.groups().builder("ledger").founders(3).join()
}

fn deposit(account: &str, cents: u64) -> Booking {
    Booking::Deposit {
        account: account.into(),
        cents,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_count_together() {
    let networks = three(&unique("counter")).await;
    let groups = networks.each_ref().map(counter);
    for group in &groups {
        within(group.when().online()).await;
    }
    let mut expected = 0;
    for group in &groups {
        expected += 1;
        assert_eq!(within(group.execute(1)).await.unwrap(), expected);
        // What was applied is seen here at once, and by everybody's queries.
        assert_eq!(group.local(Counter::value), Some(expected));
        for other in &groups {
            assert_eq!(within(other.query(())).await.unwrap(), expected);
        }
    }
    let leader = groups[0].leader().unwrap();
    assert_eq!(groups.iter().filter(|group| group.is_leader()).count(), 1);
    assert!(groups.iter().all(|group| group.leader() == Some(leader)));
    for group in &groups {
        within(group.when().voters(3)).await;
        assert_eq!(group.members().iter().filter(|m| m.voter).count(), 3);
    }
    let outputs = within(groups[1].execute_all([10, 20, 30])).await.unwrap();
    assert_eq!(outputs, [13, 33, 63]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_keeps_its_money_whatever_panics() {
    let networks = three(&unique("ledger")).await;
    let groups = networks.each_ref().map(ledger);
    for group in &groups {
        within(group.when().online()).await;
    }
    assert_eq!(
        within(groups[0].execute(deposit("a", 100))).await.unwrap(),
        Ok(100)
    );
    let transfer = |cents| Booking::Transfer {
        from: "a".into(),
        to: "b".into(),
        cents,
    };
    assert_eq!(
        within(groups[1].execute(transfer(60))).await.unwrap(),
        Ok(60)
    );
    let short = within(groups[2].execute(transfer(60))).await.unwrap();
    assert_eq!(short, Err(Overdrawn { balance: 40 }));
    for group in &groups {
        match within(group.execute(Booking::Break)).await {
            Err(GroupError::Panicked {
                command: 0,
                message,
            }) => {
                assert_eq!(message, "broken on purpose");
            }
            other => panic!("{other:?}"),
        }
        // One that panics takes its batch with it, and nothing else.
        let batch = [deposit("c", 1), Booking::Break, deposit("c", 1)];
        let outcome = within(group.execute_all(batch)).await;
        assert!(
            matches!(outcome, Err(GroupError::Panicked { command: 1, .. })),
            "{outcome:?}"
        );
        assert_eq!(within(group.query("a".into())).await.unwrap(), Some(40));
        assert_eq!(within(group.query("c".into())).await.unwrap(), None);
        assert_eq!(within(group.read(Ledger::total)).await.unwrap(), 100);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_bank_is_the_same_for_all() {
    let name = unique("bank");
    let networks = three(&name).await;
    let banks = networks.each_ref().map(Bank::join);
    let observer = node(&name, &[&networks[0]]).await;
    let banks: Vec<BankGroup> = banks
        .into_iter()
        .chain([Bank::observe(&observer)])
        .collect();
    for bank in &banks {
        within(bank.when().online()).await;
    }
    let mut expected = 0;
    for bank in &banks {
        expected += 3;
        assert_eq!(
            within(bank.deposit("a".into(), 1)).await.unwrap(),
            expected - 2
        );
        let twice = [("a".to_owned(), 1), ("a".to_owned(), 1)];
        let balances = within(bank.deposit_many(twice)).await.unwrap();
        assert_eq!(balances, [expected - 1, expected]);
        assert_eq!(bank.local().balance("a"), Some(expected));
        for other in &banks {
            assert_eq!(within(other.balance("a")).await.unwrap(), Some(expected));
        }
        let me = within(bank.whoami()).await.unwrap();
        assert!(
            networks
                .iter()
                .chain([&observer])
                .any(|known| known.local().id() == me)
        );
    }
    let (short, moved, rest) = within(
        banks[3]
            .batch()
            .transfer("a".into(), "b".into(), 13)
            .transfer("a".into(), "b".into(), 5)
            .deposit("a".into(), 0)
            .into_future(),
    )
    .await
    .unwrap();
    assert_eq!(
        (short, moved, rest),
        (Err(Overdrawn { balance: 12 }), Ok(()), 7)
    );
    // What panics takes its batch with it, and nothing else.
    let outcome = within(banks[1].batch().deposit("a".into(), 1).fail().into_future()).await;
    assert!(
        matches!(outcome, Err(GroupError::Panicked { command: 1, .. })),
        "{outcome:?}"
    );
    for bank in &banks {
        assert_eq!(within(bank.total()).await.unwrap(), 12);
    }
    assert!(banks[0].local().total() == 12 && banks[0].local().is_empty("c"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_later_follows_and_votes() {
    let name = unique("late");
    let networks = three(&name).await;
    let groups = networks.each_ref().map(counter);
    within(groups[0].when().online()).await;
    for _ in 0..10 {
        within(groups[0].execute(1)).await.unwrap();
    }
    let late: Vec<Network> = vec![
        node(&name, &[&networks[0]]).await,
        node(&name, &[&networks[1]]).await,
    ];
    let later: Vec<Group<Counter>> = late.iter().map(counter).collect();
    for group in &later {
        within(group.when().online()).await;
        assert_eq!(within(group.query(())).await.unwrap(), 10);
        within(group.when().voters(5)).await;
    }
    let watcher = node(&name, &[&networks[2]]).await;
    let observer: Group<Counter> = watcher.groups().builder("counter").founders(3).observe();
    within(observer.when().online()).await;
    assert_eq!(within(observer.query(())).await.unwrap(), 10);
    // Who observes commands too.
    assert_eq!(within(observer.execute(5)).await.unwrap(), 15);
    assert_eq!(observer.local(Counter::value), Some(15));
    let peer = watcher.local().id();
    assert!(groups[0].members().iter().all(|member| member.peer != peer));
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over() {
    let networks = three(&unique("hand over")).await;
    let groups = networks.each_ref().map(counter);
    for group in &groups {
        within(group.when().online()).await;
    }
    let at = groups.iter().position(Group::is_leader).unwrap();
    let (leader, next) = (&groups[at], &networks[(at + 1) % 3]);
    let mut events = groups[(at + 2) % 3].events();
    within(leader.transfer_leadership(next.local().id()))
        .await
        .unwrap();
    loop {
        if let Some(Event::LeaderChanged(Some(peer))) = within(events.next()).await
            && peer == next.local().id()
        {
            break;
        }
    }
    assert_eq!(within(leader.execute(1)).await.unwrap(), 1);
    // A leader that shuts down hands over, and nobody's command fails.
    let at = groups.iter().position(Group::is_leader).unwrap();
    let (going, staying) = (networks[at].clone(), groups[(at + 1) % 3].clone());
    let commands = tokio::spawn(async move {
        for expected in 2..200 {
            assert_eq!(staying.execute(1).await.unwrap(), expected);
        }
    });
    within(going.shutdown()).await;
    within(commands).await.unwrap();
    let closed = within(groups[at].execute(1)).await;
    assert!(matches!(closed, Err(GroupError::Closed)), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_differs_is_refused_and_told_why() {
    let name = unique("refused");
    let first = node(&name, &[]).await;
    let second = node(&name, &[&first]).await;
    let one: Group<Counter> = first.groups().join("shared");
    within(one.when().online()).await;
    let other: Group<Ledger> = second.groups().builder("shared").founders(2).join();
    let explained = async {
        loop {
            let text = other.explain().to_string();
            if text.contains("state machines differ (2)") {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within(explained).await;
    // The same name, another machine, on one node.
    let again: Group<Ledger> = first.groups().join("shared");
    let refused = within(again.execute(deposit("a", 1))).await;
    assert!(
        matches!(refused, Err(GroupError::Refused(Refusal::Declared))),
        "{refused:?}"
    );
    assert!(within(again.when().closed()).await.contains("(6)"));
    // Alone it is not founded, and says so.
    let alone: Group<Counter> = second
        .groups()
        .builder("alone")
        .founders(3)
        .command_timeout(Duration::from_millis(50))
        .join();
    let unavailable = within(alone.execute(1)).await;
    assert!(
        matches!(unavailable, Err(GroupError::Unavailable(_))),
        "{unavailable:?}"
    );
    let text = alone.explain().to_string();
    assert!(text.contains("1 of 3 founders are here"), "{text}");
}

/// Starts members as processes, and returns them and their tickets.
fn members(name: &str, dirs: &[String]) -> Vec<Child> {
    let mut tickets: Vec<String> = Vec::new();
    let mut children = Vec::new();
    for dir in dirs {
        let mut args = vec![name, dir, "3"];
        args.extend(tickets.iter().map(String::as_str));
        let child = Child::start("member", &args);
        let ticket = child.expect("ticket ");
        tickets.push(ticket.trim_start_matches("ticket ").to_owned());
        children.push(child);
    }
    for child in &children {
        child.expect("online ");
    }
    children
}

fn ask(child: &mut Child, command: &str, answer: &str) {
    child.tell(command);
    let line = child.line().expect("a process that lives");
    assert_eq!(line, answer, "to `{command}`");
}

#[test]
fn processes_share_a_counter_and_a_ledger_in_memory() {
    let dirs = vec!["-".to_owned(); 3];
    let mut children = members(&unique("processes"), &dirs);
    ask(&mut children[0], "add 5", "counted 5");
    ask(&mut children[1], "add 5", "counted 10");
    ask(&mut children[2], "count", "count 10");
    ask(&mut children[0], "deposit alice 100", "booked 100");
    ask(&mut children[1], "transfer alice bob 30", "booked 30");
    ask(&mut children[2], "transfer bob alice 31", "overdrawn 30");
    ask(
        &mut children[2],
        "break",
        "error command 0 of the batch panicked: broken on purpose",
    );
    ask(&mut children[0], "total", "total 100");
    // One is killed; the others go on.
    children[2].kill();
    ask(&mut children[0], "add 1", "counted 11");
    ask(&mut children[1], "balance alice", "balance Some(70)");
    ask(&mut children[1], "stop", "stopped");
}

#[test]
fn processes_that_are_all_killed_come_back_with_everything() {
    let name = unique("durable");
    let dirs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let paths: Vec<String> = dirs
        .iter()
        .map(|dir| dir.path().to_str().unwrap().to_owned())
        .collect();
    let mut children = members(&name, &paths);
    ask(&mut children[0], "deposit alice 100", "booked 100");
    children[1].tell("load 1000000");
    let line = children[1].expect("acknowledged 2000");
    assert_eq!(line, "acknowledged 2000");
    for child in &mut children {
        child.kill();
    }
    let mut acknowledged = 2000;
    while let Some(line) = children[1].line() {
        if let Some(count) = line.strip_prefix("acknowledged ") {
            acknowledged = count.parse().unwrap();
        }
    }
    drop(children);
    let mut children = members(&name, &paths);
    ask(&mut children[0], "balance alice", "balance Some(100)");
    children[2].tell("count");
    let line = children[2].line().unwrap();
    let count: u64 = line.strip_prefix("count ").unwrap().parse().unwrap();
    assert!(
        count >= acknowledged,
        "{count} of {acknowledged} acknowledged"
    );
    ask(&mut children[1], "add 1", &format!("counted {}", count + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn development_mode_needs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let name = unique("development");
    for round in 1..=3 {
        let network = loopback(&name).data_dir(dir.path()).build().await.unwrap();
        let group: Group<Counter> = network.groups().join("counter");
        within(group.when().online()).await;
        assert_eq!(within(group.execute(1)).await.unwrap(), round);
        assert!(group.explain().to_string().contains("development mode"));
        within(network.shutdown()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_large_is_not_sent() {
    let network = node(&unique("batch"), &[]).await;
    // It waits for two others, so that whatever is sent would wait.
    let group = counter(&network);
    let outcome = within(group.execute_all(std::iter::repeat_n(1, 65_537))).await;
    let error = outcome.unwrap_err();
    assert!(matches!(error, GroupError::TooLarge { .. }), "{error:?}");
    let said = "65537 commands are over the limit of 65536 for one command or batch";
    assert_eq!(error.to_string(), said);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_opened_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("groups");
    std::fs::write(&logs, "in the way").unwrap();
    let name = unique("in the way");
    let network = loopback(&name).data_dir(dir.path()).build().await.unwrap();
    let builder = network.groups().builder("counter").founders(1);
    let group: Group<Counter> = builder.command_timeout(Duration::from_secs(600)).join();
    let refused = [
        within(group.execute(1)).await.unwrap_err(),
        within(group.query(())).await.unwrap_err(),
    ];
    for error in refused {
        let GroupError::Unavailable(Unavailable::Storage { dir, why }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(*dir, logs);
        assert!(!why.is_empty());
        assert!(
            error.to_string().contains(logs.to_str().unwrap()),
            "{error}"
        );
    }
    assert!(group.explain().to_string().contains("cannot be opened"));
    // It can be left all the same, and joined again.
    within(group.leave()).await;
    let error = within(group.execute(1)).await.unwrap_err();
    assert!(matches!(error, GroupError::Closed), "{error:?}");
    let builder = network.groups().builder("counter").founders(1);
    let group: Group<Counter> = builder.join();
    // It is tried again.
    std::fs::remove_file(&logs).unwrap();
    within(group.when().online()).await;
    assert_eq!(within(group.execute(1)).await.unwrap(), 1);
    within(network.shutdown()).await;
}
