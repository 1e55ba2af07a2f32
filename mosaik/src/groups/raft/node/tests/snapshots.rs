//! Members that lack more than the log holds.

use super::*;
use crate::{
    groups::{
        proto::compaction::Length,
        raft::wire::{Append, CHUNK_FRAME, Offer, OfferAnswer, Outgoing},
        storage::{Kind, Record, Vote},
    },
    transport::{LinkError, memory::Conditions},
};

type Sender = Link<Offer, OfferAnswer>;

/// A leader whose log begins behind a snapshot of several chunks, and one that has nothing.
async fn behind() -> (World, Vec<Host>) {
    let options = Options {
        limits: Limits {
            every: Length {
                entries: 100,
                ..Limits::default().every
            },
            keep: Length {
                entries: 10,
                ..Limits::default().keep
            },
        },
        ..Options::default()
    };
    let (world, mut hosts) = World::founded(options, 3).await;
    let leads = leader(&hosts).await;
    for _ in 0..300u64 {
        leads.write(vec![7; 16 * 1024]).await.unwrap();
    }
    hosts.push(world.join().await);
    (world, hosts)
}

async fn add_learner(leads: &Host, learner: MemberId) {
    let committed = |s: &Status| s.membership.as_ref().unwrap().committed;
    let membership = leads.until(committed).await.membership.unwrap();
    let change = Change {
        based_on: membership.log_id,
        step: Step::AddLearners([learner].into()),
    };
    leads.node.change(&change).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_learner_far_behind_gets_a_snapshot_although_the_way_breaks() {
    let (world, hosts) = behind().await;
    let leads = leader(&hosts[..3]).await;
    let learner = &hosts[3];
    // The snapshot takes some seconds.
    world.fabric.set_conditions(Conditions {
        latency: Duration::from_millis(1),
        bandwidth: Some(1_000_000),
        ..Conditions::default()
    });
    add_learner(leads, learner.me).await;
    rt::sleep(Duration::from_secs(2)).await;
    assert_eq!(lock(&learner.machine.state).installed, 0);
    world.isolate(learner, &hosts, true);
    rt::sleep(Duration::from_secs(8)).await;
    world.isolate(learner, &hosts, false);
    let all = leads.machine.payloads();
    assert!(learner.applied(all.len()).await == all);
    assert_eq!(lock(&learner.machine.state).installed, 1);
}

/// An offer of the leader's snapshot, as the leader makes it.
fn offer(leads: &Host) -> (Offer, Snapshot) {
    let (_, snapshot) = lock(&leads.machine.state).snapshot.clone().unwrap();
    let offer = Offer {
        vote: Vote {
            term: leads.node.status().borrow().term,
            candidate: leads.me,
            committed: true,
        },
        header: snapshot.header().clone(),
    };
    (offer, snapshot)
}

/// A stream on which `leads` makes an offer.
async fn offered(leads: &Host, to: &Host, offer: &Offer) -> Sender {
    let halves = leads.open(to.me, Purpose::Snapshot).await;
    let mut link = Sender::new(halves, CHUNK_FRAME);
    link.tx.send(offer).await.unwrap();
    link
}

#[tokio::test(start_paused = true)]
async fn a_receiver_asks_for_what_it_lacks_only() {
    let (_world, hosts) = behind().await;
    let (leads, learner) = (leader(&hosts[..3]).await, &hosts[3]);
    let (offer, snapshot) = offer(leads);
    let chunks = offer.header.chunks;
    assert!(chunks > 5);
    let mut first = 0;
    while first < chunks {
        let mut link = offered(leads, learner, &offer).await;
        let from = link.rx.recv().await.unwrap();
        assert_eq!(from, Some(OfferAnswer::From(first)));
        // Two of them, then the way breaks; or the last ones.
        let mut half = link.tx.into_half();
        let upto = chunks.min(first + 2);
        for n in first..upto {
            let chunk = snapshot.chunk(n).await.unwrap().unwrap();
            let header = u32::try_from(chunk.len()).unwrap().to_le_bytes();
            let frame = [&header[..], &chunk].concat();
            half.write_all(&frame).await.unwrap();
        }
        first = upto;
        if first == chunks {
            let done = link.rx.recv().await.unwrap();
            assert_eq!(done, Some(OfferAnswer::Done(offer.vote)));
        }
    }
    assert_eq!(lock(&learner.machine.state).installed, 1);
    // What is there already is not sent again.
    learner
        .until(|s| s.committed >= Some(offer.header.last))
        .await;
    let mut link = offered(leads, learner, &offer).await;
    let done = link.rx.recv().await.unwrap();
    assert_eq!(done, Some(OfferAnswer::Done(offer.vote)));
}

#[tokio::test(start_paused = true)]
async fn the_later_of_two_offers_is_taken() {
    let (_world, hosts) = behind().await;
    let (leads, learner) = (leader(&hosts[..3]).await, &hosts[3]);
    let (offer, _) = offer(leads);
    let mut links = Vec::new();
    for _ in 0..2 {
        let mut link = offered(leads, learner, &offer).await;
        let from = link.rx.recv().await.unwrap();
        assert_eq!(from, Some(OfferAnswer::From(0)));
        links.push(link);
    }
    let gone = links[0].rx.recv().await;
    assert_eq!(gone, Err(LinkError::Stream(CloseCode::NoCapacity)));
}

#[tokio::test(start_paused = true)]
async fn offers_that_no_leader_of_the_group_makes_are_refused() {
    let (_world, hosts) = behind().await;
    let (leads, learner) = (leader(&hosts[..3]).await, &hosts[3]);
    let (sound, _) = offer(leads);
    let spoilt: [fn(&mut Offer); 7] = [
        |offer| offer.vote.committed = false,
        |offer| offer.vote.candidate.boot += 1,
        |offer| offer.vote.term = u64::MAX,
        |offer| offer.header.group = GroupId::from_name("other"),
        |offer| offer.header.epoch = Epoch::from_bytes([8; 16]),
        |offer| offer.header.last.term = offer.vote.term + 1,
        |offer| offer.header.membership = Bytes::from_static(b"?"),
    ];
    for spoil in spoilt {
        let mut offer = sound.clone();
        spoil(&mut offer);
        let mut link = offered(leads, learner, &offer).await;
        let refused = link.rx.recv().await;
        let expected = Err(LinkError::Stream(CloseCode::Malformed));
        assert_eq!(refused, expected, "{offer:?}");
    }
}

/// Entries of a term, behind `prev`, that a leader of that term sends and does not commit.
fn uncommitted(from: MemberId, prev: Option<LogId>, ids: &[LogId]) -> Vec<u8> {
    let record = |id: &LogId| Record {
        id: *id,
        kind: Kind::Blank,
        payload: Bytes::new(),
    };
    let mut append = Append {
        vote: Vote {
            term: ids.last().unwrap().term,
            candidate: from,
            committed: true,
        },
        prev,
        committed: None,
        entries: ids.iter().map(record).collect(),
    };
    let mut out = Outgoing::default();
    out.append(&mut append).unwrap();
    out.step().unwrap_or_default().concat()
}

/// Such entries are left where a leader wrote some that nobody else has, and the next ones committed others.
#[tokio::test(start_paused = true)]
async fn a_snapshot_takes_the_place_of_entries_of_later_terms() {
    let (world, hosts) = behind().await;
    let (leads, learner) = (leader(&hosts[..3]).await, &hosts[3]);
    let (mut offer, snapshot) = offer(leads);
    let last = offer.header.last;
    let (deposed, later) = (world.join().await, last.term + 1);
    let id = |term, index| LogId { term, index };
    let ids = [id(last.term, 0), id(later, 1), id(later, 2)];
    let (mut send, recv) = deposed.open(learner.me, Purpose::Append).await;
    let frame = uncommitted(deposed.me, None, &ids);
    send.write_all(&frame).await.unwrap();
    learner.until(|s| s.last == Some(ids[2])).await;
    drop((send, recv));
    // Elected since, in a term that is later still.
    offer.vote.term = later + 1;
    let mut link = offered(leads, learner, &offer).await;
    assert_eq!(link.rx.recv().await.unwrap(), Some(OfferAnswer::From(0)));
    let mut half = link.tx.into_half();
    for n in 0..offer.header.chunks {
        let chunk = snapshot.chunk(n).await.unwrap().unwrap();
        let header = u32::try_from(chunk.len()).unwrap().to_le_bytes();
        half.write_all(&[&header[..], &chunk].concat())
            .await
            .unwrap();
    }
    let done = link.rx.recv().await.unwrap();
    assert_eq!(done, Some(OfferAnswer::Done(offer.vote)));
    let status = learner.until(|s| s.committed == Some(last)).await;
    assert_eq!((status.last, status.stopped), (Some(last), None));
}
