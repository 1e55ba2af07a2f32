//! Peers that are faulty, or not whom they are taken for.

use openraft::{
    RaftNetworkFactory as _, RaftNetworkV2 as _, errors::RPCError, network::RPCOption,
    raft::VoteRequest,
};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::groups::{
    raft::wire::{Append, Call, Outgoing},
    storage::{Kind, Record, Vote},
};

/// Asks `to` for a pre-vote as `host` would.
async fn pre_vote(host: &Host, to: MemberId) -> Result<bool, RPCError<Types>> {
    let mut network = Network::new(Shared {
        me: host.me,
        timing: Timing::default(),
        lines: host.lines.clone(),
        slots: Slots::default(),
        pulse: Arc::default(),
    });
    let mut client = network.new_client(to, &EmptyNode::new()).await;
    let vote = types::raft_vote(Vote {
        term: 100,
        candidate: host.me,
        committed: false,
    });
    let last = types::raft_log_id(LogId {
        term: 100,
        index: 1_000_000,
    });
    let option = RPCOption::new(Duration::from_secs(10));
    let answer = client.pre_vote(VoteRequest::new(vote, Some(last)), option);
    answer.await.map(|answer| answer.vote_granted)
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_reached_grants_nothing() {
    let world = World::new(Options::default());
    let (asks, asked) = (world.join().await, world.join().await);
    assert_eq!(pre_vote(&asks, asked.me).await, Ok(true));
    let other_boot = MemberId {
        boot: 2,
        ..asked.me
    };
    let unknown = MemberId {
        peer: PeerId::from_bytes([1; 32]),
        boot: 1,
    };
    for nobody in [other_boot, unknown] {
        let refused = pre_vote(&asks, nobody).await;
        assert!(
            matches!(refused, Err(RPCError::Unreachable(_))),
            "{refused:?}"
        );
    }
    world.fabric.cut(asks.me.peer, asked.me.peer);
    let lost = pre_vote(&asks, asked.me).await;
    assert!(lost.is_err(), "{lost:?}");
}

fn number(random: &mut StdRng) -> u64 {
    match random.random_range(0..5) {
        0 => random.random(),
        _ => random.random_range(0..12),
    }
}

fn id(random: &mut StdRng) -> Option<LogId> {
    let (term, index) = (number(random), number(random));
    random.random_bool(0.8).then_some(LogId { term, index })
}

fn vote(random: &mut StdRng, from: MemberId) -> Vote {
    let boot = random.random_range(1..3);
    Vote {
        term: number(random),
        candidate: MemberId { boot, ..from },
        committed: random.random_bool(0.7),
    }
}

fn call(random: &mut StdRng, from: MemberId) -> Call {
    let (vote, last) = (vote(random, from), id(random));
    match random.random_range(0..3) {
        0 => Call::Vote {
            vote,
            last,
            transfer: random.random(),
        },
        1 => Call::PreVote { vote, last },
        _ => Call::Transfer {
            vote,
            to: from,
            last,
        },
    }
}

fn append(random: &mut StdRng, from: MemberId) -> Append {
    let record = |random: &mut StdRng| Record {
        id: LogId {
            term: number(random),
            index: 0,
        },
        kind: match random.random_range(0..3) {
            0 => Kind::Blank,
            1 => Kind::Commands { format: 1 },
            _ => Kind::Membership,
        },
        payload: vec![1; random.random_range(0..20)].into(),
    };
    let count = random.random_range(0..4);
    Append {
        vote: vote(random, from),
        prev: id(random),
        committed: id(random),
        entries: (0..count).map(|_| record(random)).collect(),
    }
}

/// A frame as a member might send it, sound or nearly so.
fn frame(random: &mut StdRng, purpose: Purpose, from: MemberId) -> Vec<u8> {
    let mut frame = if purpose == Purpose::Call {
        wire::encode_frame(&call(random, from), HEADER).unwrap()
    } else {
        let mut out = Outgoing::default();
        out.append(&mut append(random, from)).unwrap();
        out.step().unwrap_or_default().concat()
    };
    if random.random_bool(0.3) {
        let at = random.random_range(0..frame.len());
        frame[at] ^= 1 << random.random_range(0..8);
    }
    frame
}

/// Sends nonsense on every kind of stream, as `from`.
async fn disturb(from: &Host, hosts: &[Host], seed: u64) {
    let purposes = [
        Purpose::Append,
        Purpose::Heartbeat,
        Purpose::Call,
        Purpose::Snapshot,
    ];
    let mut random = StdRng::seed_from_u64(seed);
    for n in 0..600 {
        let purpose = purposes[n % 4];
        let (mut send, recv) = from.open(hosts[n % 3].me, purpose).await;
        let mut bytes = Vec::new();
        for _ in 0..random.random_range(1..4) {
            if random.random_bool(0.2) {
                let mut noise = vec![0; random.random_range(0..64)];
                random.fill_bytes(&mut noise);
                bytes.extend(noise);
            } else {
                bytes.extend(frame(&mut random, purpose, from.me));
            }
        }
        // It may be refused in the middle.
        drop(send.write_all(&bytes).await);
        rt::sleep(Duration::from_millis(5)).await;
        drop(recv);
    }
}

#[tokio::test(start_paused = true)]
async fn no_bytes_on_any_stream_harm_a_member() {
    for seed in 0..4 {
        let (world, hosts) = World::founded(Options::default(), 3).await;
        // No member of the group, so that it disturbs nothing but what takes it for one.
        let stranger = world.join().await;
        disturb(&stranger, &hosts, seed).await;
        for host in &hosts {
            let stopped = host.node.status().borrow().stopped.clone();
            assert_eq!(stopped, None, "seed {seed}: {}", host.standing());
        }
        world.isolate(&stranger, &hosts, true);
        // What it sent was sound at times, so that some may follow it in the term of a member that leads: the
        // next term settles that.
        let deposed = leader(&hosts).await;
        world.isolate(deposed, &hosts, true);
        for host in hosts.iter().filter(|host| host.me != deposed.me) {
            let elected = |s: &Status| {
                s.leader
                    .is_some_and(|leader| leader != deposed.me && leader != stranger.me)
            };
            host.until(elected).await;
        }
        world.isolate(deposed, &hosts, false);
        let leads = leader(&hosts).await;
        let all = leads.machine.payloads();
        for host in &hosts {
            assert_eq!(host.applied(all.len()).await, all, "seed {seed}");
        }
    }
}
