//! Long ways, and narrow ones.

use super::*;
use crate::transport::memory::Conditions;

/// How often leaders changed is in the terms.
fn terms(hosts: &[Host]) -> Vec<u64> {
    let terms = hosts.iter().map(|host| host.node.status().borrow().term);
    terms.collect()
}

/// Writes now and then for a while, with pauses in which only heartbeats keep the leader.
async fn stays_stable(hosts: &[Host], pause: Duration) {
    let leads = leader(hosts).await;
    let before = terms(hosts);
    for _ in 0..5 {
        rt::sleep(pause).await;
        let writes = (0..200).map(|n| leads.write(vec![n]));
        for outcome in futures::future::join_all(writes).await {
            outcome.unwrap();
        }
        leads.node.read_index().await.unwrap();
    }
    assert_eq!(terms(hosts), before);
    let all = leads.machine.payloads();
    for host in hosts {
        assert_eq!(host.applied(all.len()).await, all);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_across_the_world_is_stable_with_its_timing() {
    let rtt = Duration::from_millis(600);
    let timing = Timing {
        heartbeat: rtt * 3,
        election_min: rtt * 9,
        election_max: rtt * 15,
    };
    let options = Options {
        timing,
        ..Options::default()
    };
    let (world, hosts) = World::founded(options, 3).await;
    world.fabric.set_latency(rtt / 2);
    rt::sleep(rtt * 15).await;
    stays_stable(&hosts, Duration::from_secs(60)).await;
}

/// A heartbeat takes longer than its interval here.
#[tokio::test(start_paused = true)]
async fn a_long_way_does_not_cost_a_leader_its_lease() {
    let (world, hosts) = World::founded(Options::default(), 3).await;
    world.fabric.set_latency(Duration::from_millis(50));
    rt::sleep(Duration::from_secs(2)).await;
    stays_stable(&hosts, Duration::from_secs(3)).await;
}

/// An entry takes longer here than a follower may say nothing.
#[tokio::test(start_paused = true)]
async fn a_large_entry_passes_a_narrow_way() {
    let timing = Timing {
        heartbeat: Duration::from_millis(300),
        election_min: Duration::from_millis(900),
        election_max: Duration::from_millis(1500),
    };
    let options = Options {
        timing,
        ..Options::default()
    };
    let (world, hosts) = World::founded(options, 3).await;
    let leads = leader(&hosts).await;
    let before = terms(&hosts);
    world.fabric.set_conditions(Conditions {
        latency: Duration::from_millis(5),
        bandwidth: Some(4_000_000),
        ..Conditions::default()
    });
    let began = rt::now();
    leads.write(vec![7; MAX_PAYLOAD]).await.unwrap();
    let took = rt::now() - began;
    let expected = Duration::from_secs(4)..Duration::from_secs(5);
    assert!(expected.contains(&took), "{took:?}");
    assert_eq!(terms(&hosts), before);
}
