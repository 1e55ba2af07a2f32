//! What a group does when all goes well, and when members go away and come back.

use futures::stream::{FuturesOrdered, TryStreamExt as _};

use super::*;

#[tokio::test(start_paused = true)]
async fn three_elect_one_and_agree() {
    let (_world, hosts) = World::founded(Options::default(), 3).await;
    let leads = leader(&hosts).await;
    for n in 0..100u64 {
        leads.write(n.to_le_bytes().to_vec()).await.unwrap();
    }
    let read = leads.node.read_index().await.unwrap();
    let status = leads.until(|s| s.applied >= Some(read)).await;
    assert_eq!(status.leader, Some(leads.me));
    assert_eq!(status.membership.unwrap().voters.len(), 3);
    let all = leads.machine.payloads();
    for host in &hosts {
        assert_eq!(host.applied(all.len()).await, all);
    }
    for host in hosts.iter().filter(|host| host.me != leads.me) {
        host.until(|s| s.leader == Some(leads.me)).await;
        let leader = Some(leads.me);
        let refused = host.write("x").await;
        assert_eq!(refused, Err(ProposeError::NotLeader { leader }));
        let refused = host.node.read_index().await;
        assert_eq!(refused, Err(ReadError::NotLeader { leader }));
    }
}

/// Both followers took an entry before they elected another leader, and their answers come long after that: the first
/// commits the entry, which the second is told at once, and the second is about the same entry as that.
#[tokio::test(start_paused = true)]
async fn answers_from_before_an_election_confirm_nothing() {
    let (world, hosts) = World::founded(Options::default(), 3).await;
    let old = leader(&hosts).await;
    let others: Vec<_> = hosts.iter().filter(|host| host.me != old.me).collect();
    for host in &others {
        host.applied(old.machine.payloads().len()).await;
    }
    for (host, late) in others.iter().zip([900, 910]) {
        let latency = Duration::from_millis(late);
        world.fabric.delay(host.me.peer, old.me.peer, latency);
    }
    let began = rt::now();
    let late = old.node.propose(proposal("late")).await.unwrap();
    rt::sleep(LATENCY * 10).await;
    for host in &others {
        world.fabric.cut_way(old.me.peer, host.me.peer);
    }
    let new = others[0].until(|s| s.leader.is_some_and(|leader| leader != old.me));
    let new = new.await.leader;
    let new = others.iter().find(|host| Some(host.me) == new).unwrap();
    new.until(|s| s.role == Role::Leader).await;
    // It is not obeyed yet.
    let written = loop {
        match new.write("new").await {
            Ok(written) => break written,
            Err(error) => assert!(matches!(error, ProposeError::NotLeader { .. }), "{error}"),
        }
        rt::sleep(LATENCY).await;
    };

    // The old leader has fallen silent, and speaks again.
    let asked = began + Duration::from_millis(800);
    assert!(rt::now() < asked);
    rt::sleep_until(asked).await;
    assert_eq!(old.node.status().borrow().role, Role::Leader);
    let read = old.node.read_index().await;
    assert!(!matches!(read, Ok(read) if read < written), "{read:?}");
    assert!(late.await.is_ok(), "the first of the answers did not come");
}

#[tokio::test(start_paused = true)]
async fn a_leader_sees_who_hears_it() {
    let (world, hosts) = World::founded(Options::default(), 3).await;
    let leads = leader(&hosts).await;
    let after = rt::now() + Duration::from_secs(5);
    let heard = |s: &Status| {
        let others = hosts.iter().filter(|host| host.me != leads.me);
        let mut others = others.map(|host| s.heard.get(&host.me));
        s.confirmed > Some(after) && others.all(|at| at > Some(&after))
    };
    leads.until(heard).await;
    let follows = hosts.iter().find(|host| host.me != leads.me).unwrap();
    world.isolate(follows, &hosts, true);
    let cut = rt::now() + Duration::from_secs(1);
    let confirmed = leads.until(|s| s.confirmed > Some(cut)).await;
    assert!(confirmed.heard[&follows.me] < cut);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_was_cut_off_catches_up() {
    let (world, hosts) = World::founded(Options::default(), 3).await;
    let leads = leader(&hosts).await;
    let follows = hosts.iter().find(|host| host.me != leads.me).unwrap();
    world.isolate(follows, &hosts, true);
    for n in 0..500u64 {
        leads.write(n.to_le_bytes().to_vec()).await.unwrap();
    }
    let before = follows.machine.payloads().len();
    let all = leads.machine.payloads();
    assert!(before < all.len());
    // It does not stand for election over and over meanwhile: nobody would vote for it.
    let term = follows.node.status().borrow().term;
    rt::sleep(Duration::from_secs(20)).await;
    assert_eq!(follows.node.status().borrow().term, term);
    world.isolate(follows, &hosts, false);
    let connects = leads.lines.open(follows.me, Purpose::Call);
    rt::timeout(DEADLINE, connects).await.unwrap().unwrap();
    // It is tried at once, not after the pause that it has come to.
    leads.node.reachable(follows.me).await;
    let healed = rt::now();
    assert_eq!(follows.applied(all.len()).await, all);
    assert!(rt::now() - healed < Duration::from_millis(100));
    assert_eq!(leads.node.status().borrow().role, Role::Leader);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_leaders_loses_nothing_that_was_acknowledged() {
    let (world, hosts) = World::founded(Options::default(), 3).await;
    let mut acknowledged = Vec::new();
    let mut next = 0u64;
    for round in 0..6 {
        let leads = leader(&hosts).await;
        let mut proposed = Vec::new();
        for n in 0..40 {
            if n == 20 {
                world.isolate(leads, &hosts, true);
            }
            let payload = Bytes::from(format!("{round} {next}"));
            next += 1;
            match leads.node.propose(proposal(payload.clone())).await {
                Ok(outcome) => proposed.push((payload, outcome)),
                Err(error) => panic!("{error}"),
            }
            rt::sleep(Duration::from_micros(300)).await;
        }
        for host in hosts.iter().filter(|host| host.me != leads.me) {
            let other = |s: &Status| s.leader.is_some_and(|leader| leader != leads.me);
            host.until(other).await;
        }
        world.isolate(leads, &hosts, false);
        for (payload, outcome) in proposed {
            match rt::timeout(DEADLINE, outcome).await.expect("an outcome") {
                Ok(_) => acknowledged.push(payload),
                Err(ProposeError::Unknown | ProposeError::NotLeader { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    let count = acknowledged.len();
    assert!(count >= 6 * 15, "{count}");
    let leads = leader(&hosts).await;
    let all = leads.machine.payloads();
    for host in &hosts {
        assert_eq!(host.applied(all.len()).await, all);
    }
    let mut rest = all.iter();
    for payload in &acknowledged {
        let found = rest.any(|applied| applied == payload);
        assert!(found, "{payload:?} is lost or out of order");
    }
}

#[tokio::test(start_paused = true)]
async fn many_proposals_at_once_keep_their_order() {
    many_proposals(Options::default()).await;
}

/// In real time, on several threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_proposals_keep_their_order_on_threads() {
    let timing = Timing {
        heartbeat: Duration::from_millis(200),
        election_min: Duration::from_secs(1),
        election_max: Duration::from_secs(2),
    };
    let options = Options {
        timing,
        ..Options::default()
    };
    many_proposals(options).await;
}

async fn many_proposals(options: Options) {
    let (_world, hosts) = World::founded(options, 3).await;
    let leads = leader(&hosts).await;
    let before = leads.machine.payloads().len();
    let payload = |n: u64| Bytes::from(n.to_le_bytes().to_vec());
    let mut outcomes = FuturesOrdered::new();
    for n in 0..10_000 {
        let proposed = leads.node.propose(proposal(payload(n))).await;
        outcomes.push_back(proposed.unwrap());
    }
    let ids: Vec<_> = outcomes.map_ok(|(id, _)| id).try_collect().await.unwrap();
    assert_eq!(ids.len(), 10_000);
    assert!(ids.is_sorted());
    let expected: Vec<_> = (0..10_000).map(payload).collect();
    for host in &hosts {
        let applied = host.applied(before + 10_000).await;
        assert!(applied[before..] == expected);
    }
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go() {
    let (world, mut hosts) = World::founded(Options::default(), 3).await;
    hosts.push(world.join().await);
    let joins = hosts[3].me;
    let leads = leader(&hosts).await;
    let settled = |s: &Status| {
        let membership = s.membership.as_ref().unwrap();
        membership.committed && membership.leaving.is_none()
    };
    let change = async |step: Step| {
        let based_on = leads.until(settled).await.membership.unwrap().log_id;
        let change = Change { based_on, step };
        leads.node.change(&change).await.unwrap();
        // What it was based on is no more.
        let later = |s: &Status| s.membership.as_ref().unwrap().log_id > based_on;
        leads.until(later).await;
        let again = leads.node.change(&change).await;
        assert_eq!(again, Err(ChangeError::Outdated));
    };
    change(Step::AddLearners([joins].into())).await;
    let all = leads.machine.payloads();
    assert_eq!(hosts[3].applied(all.len()).await, all);
    let goes = hosts.iter().find(|host| host.me != leads.me).unwrap();
    change(Step::Voters {
        promote: [joins].into(),
        remove: [goes.me].into(),
        evicted: BTreeSet::new(),
    })
    .await;
    let membership = leads.until(settled).await.membership.unwrap();
    assert!(membership.voters.contains(&joins));
    assert!(!membership.members().contains(&goes.me));
    let based_on = membership.log_id;
    let step = Step::Voters {
        promote: [goes.me].into(),
        remove: BTreeSet::new(),
        evicted: BTreeSet::new(),
    };
    let refused = leads.node.change(&Change { based_on, step }).await;
    assert!(
        matches!(refused, Err(ChangeError::Refused(_))),
        "{refused:?}"
    );
    let step = Step::HandOver(joins);
    let hand_over = Change { based_on, step };
    leads.node.change(&hand_over).await.unwrap();
    hosts[3].until(|s| s.role == Role::Leader).await;
    leads.until(|s| s.leader == Some(joins)).await;
    let refused = leads.node.change(&hand_over).await;
    let leader = Some(joins);
    assert_eq!(refused, Err(ChangeError::NotLeader { leader }));
}

#[tokio::test(start_paused = true)]
async fn a_large_entry_replicates_and_a_larger_one_is_refused() {
    let (world, hosts) = World::founded(Options::default(), 3).await;
    let leads = leader(&hosts).await;
    let large = Bytes::from(vec![7; MAX_PAYLOAD]);
    leads.write(large.clone()).await.unwrap();
    let refused = leads.write(vec![7; MAX_PAYLOAD + 1]).await;
    let len = MAX_PAYLOAD + 1;
    assert_eq!(refused, Err(ProposeError::TooLarge { len }));
    // With what stands before it, it is more than a frame holds.
    let follows = hosts.iter().find(|host| host.me != leads.me).unwrap();
    world.isolate(follows, &hosts, true);
    for _ in 0..15 {
        leads.write(vec![1; 64 * 1024]).await.unwrap();
    }
    leads.write(large).await.unwrap();
    world.isolate(follows, &hosts, false);
    let all = leads.machine.payloads();
    assert!(follows.applied(all.len()).await == all);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_rests_wakes_when_asked() {
    let (_world, hosts) = World::founded(Options::default(), 3).await;
    let leads = leader(&hosts).await;
    let term = leads.node.status().borrow().term;
    for host in &hosts {
        host.node.rest();
    }
    rt::sleep(Duration::from_secs(60)).await;
    let confirmed = leads.node.status().borrow().confirmed;
    assert!(confirmed < Some(rt::now() - Duration::from_secs(50)));
    for host in &hosts {
        let status = host.node.status();
        assert_eq!(status.borrow().term, term, "{}", host.standing());
    }
    // Once a majority has confirmed that it leads, it takes what it is asked.
    let asked = rt::now();
    leads.write("awake").await.unwrap();
    assert!(asked.elapsed() < Duration::from_millis(50));
    assert!(*leads.node.awake().borrow());
    for host in &hosts {
        host.node.wake();
        host.node.run();
    }
    leads.write("still").await.unwrap();
    assert_eq!(leads.node.status().borrow().term, term);
}

#[tokio::test(start_paused = true)]
async fn who_rests_lets_nobody_stand_against_a_leader_that_shows_itself() {
    let (world, hosts) = World::founded(Options::default(), 3).await;
    let leads = leader(&hosts).await;
    let term = leads.node.status().borrow().term;
    world.shown.store(true, Ordering::Relaxed);
    let follower = hosts.iter().find(|host| host.me != leads.me).unwrap();
    for host in hosts.iter().filter(|host| host.me != follower.me) {
        host.node.rest();
    }
    // This one misses the heartbeats, and asks the others. That wakes them.
    let others = || hosts.iter().filter(|host| host.me != follower.me);
    for host in others() {
        host.node.awake().wait_for(|awake| *awake).await.unwrap();
        host.node.run();
    }
    leads.write("still").await.unwrap();
    assert_eq!(leads.node.status().borrow().term, term);
    // Where the leader does not show itself, another is elected.
    world.shown.store(false, Ordering::Relaxed);
    for host in others() {
        host.node.rest();
    }
    let later = |s: &Status| s.term > term && s.leader.is_some();
    follower.until(later).await;
}

#[tokio::test(start_paused = true)]
async fn who_stops_says_so() {
    let (_world, hosts) = World::founded(Options::default(), 3).await;
    let leads = leader(&hosts).await;
    leads.node.stop().await;
    let status = leads.until(|s| s.stopped.is_some()).await;
    assert_eq!(status.stopped.as_deref(), Some("it was stopped"));
    assert_eq!(leads.write("x").await, Err(ProposeError::Stopped));
    assert_eq!(leads.node.read_index().await, Err(ReadError::Stopped));
    for host in hosts.iter().filter(|host| host.me != leads.me) {
        let other = |s: &Status| s.leader.is_some_and(|leader| leader != leads.me);
        host.until(other).await;
    }
    for host in &hosts {
        host.node.stop().await;
        host.tasks.cancel();
        host.tasks.wait().await;
    }
}

/// Streams are opened once, and requests on them do not wait for each other.
#[tokio::test(start_paused = true)]
async fn streams_last_and_carry_many_requests_at_once() {
    let (world, hosts) = World::founded(Options::default(), 3).await;
    world.fabric.set_latency(Duration::from_millis(20));
    rt::sleep(Duration::from_secs(2)).await;
    let leads = leader(&hosts).await;
    let before = leads.lines.opened();
    let began = rt::now();
    let mut outcomes = FuturesOrdered::new();
    for n in 0..100u8 {
        outcomes.push_back(leads.node.propose(proposal(vec![n])).await.unwrap());
        rt::sleep(Duration::from_millis(2)).await;
    }
    outcomes.try_collect::<Vec<_>>().await.unwrap();
    let took = rt::now() - began;
    assert!(took < Duration::from_millis(200 + 60), "{took:?}");
    rt::sleep(Duration::from_secs(10)).await;
    assert_eq!(leads.lines.opened(), before);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_fails_stops_its_member_and_says_why() {
    let (_world, hosts) = World::founded(Options::default(), 3).await;
    let leads = leader(&hosts).await;
    let fails = hosts.iter().find(|host| host.me != leads.me).unwrap();
    lock(&fails.machine.state).broken = true;
    leads.write("x").await.unwrap();
    let stopped = fails.until(|s| s.stopped.is_some()).await.stopped.unwrap();
    assert!(stopped.contains("the state is broken"), "{stopped}");
    leads.write("y").await.unwrap();
}

/// What is in flight to a member that stops is given up in order.
#[tokio::test(start_paused = true)]
async fn a_member_stops_in_the_middle_of_it() {
    for pause in 0..8 {
        let (_world, hosts) = World::founded(Options::default(), 3).await;
        let leads = leader(&hosts).await;
        let stops = hosts.iter().find(|host| host.me != leads.me).unwrap();
        let mut outcomes = FuturesOrdered::new();
        for n in 0..2000u32 {
            let payload = n.to_le_bytes().to_vec();
            outcomes.push_back(leads.node.propose(proposal(payload)).await.unwrap());
        }
        rt::sleep(LATENCY * pause / 2).await;
        stops.node.stop().await;
        outcomes.try_collect::<Vec<_>>().await.unwrap();
        leads.write("after").await.unwrap();
    }
}

/// Nobody needs to confirm it, but it still tells who learns from it that it is there.
#[tokio::test(start_paused = true)]
async fn who_votes_alone_is_confirmed_by_nobody_and_heard_by_learners() {
    let (world, mut hosts) = World::founded(Options::default(), 1).await;
    hosts.push(world.join().await);
    let (leads, learner) = (&hosts[0], &hosts[1]);
    let membership = leads.until(|s| s.membership.is_some()).await.membership;
    let change = Change {
        based_on: membership.unwrap().log_id,
        step: Step::AddLearners([learner.me].into()),
    };
    leads.node.change(&change).await.unwrap();
    for _ in 0..3 {
        let after = rt::now() + Duration::from_secs(1);
        let heard = |s: &Status| s.heard.get(&learner.me) > Some(&after);
        let status = leads.until(heard).await;
        assert_eq!(status.confirmed, None);
        leads.node.read_index().await.unwrap();
        leads.write("x").await.unwrap();
    }
}
