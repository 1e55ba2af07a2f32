//! The adapter alone: what it takes in, and what it remembers.

use proptest::prelude::*;

use super::*;

fn gossip(n: u8) -> (PeerId, Gossip) {
    let me = PeerId::from_bytes([n; 32]);
    let network = NetworkId::from_name("n");
    let gossip = Gossip::new(network, &PeerAddr::new(me), &mut Vec::new());
    (me, gossip)
}

/// Two peers that are neighbours, by exchanging what they send.
fn neighbours() -> (PeerId, Gossip, PeerId, Gossip) {
    let ((a_id, mut a), (b_id, mut b)) = (gossip(1), gossip(2));
    let mut out = Vec::new();
    a.join(vec![b_id], &mut out);
    let mut at_a = true;
    while out.iter().any(|o| matches!(o, Output::Send(..))) {
        let (from, to) = if at_a { (a_id, &mut b) } else { (b_id, &mut a) };
        let mut next = Vec::new();
        for output in out.drain(..) {
            if let Output::Send(_, bytes) = output {
                to.receive(from, &bytes, &mut next).unwrap();
            }
        }
        out = next;
        at_a = !at_a;
    }
    (a_id, a, b_id, b)
}

#[test]
fn a_broadcast_reaches_the_neighbour_and_hops_are_read() {
    let (a_id, mut a, b_id, mut b) = neighbours();
    assert!(a.neighbours().contains(&b_id) && b.neighbours().contains(&a_id));
    let mut out = Vec::new();
    a.broadcast(Bytes::from_static(b"news"), &mut out);
    let sent = out.iter().find_map(|output| match output {
        Output::Send(_, bytes) => Some(bytes.clone()),
        _ => None,
    });
    let sent = sent.unwrap();
    assert_eq!(Shape::of(&sent).hops, Some(0));
    let mut out = Vec::new();
    b.receive(a_id, &sent, &mut out).unwrap();
    assert!(
        out.iter()
            .any(|o| matches!(o, Output::Received(_, c) if &c[..] == b"news"))
    );
}

#[test]
fn absurd_hops_are_ignored() {
    let (a_id, mut a, _, mut b) = neighbours();
    let mut out = Vec::new();
    a.broadcast(Bytes::from_static(b"news"), &mut out);
    let Some(Output::Send(_, sent)) = out.into_iter().find(|o| matches!(o, Output::Send(..)))
    else {
        panic!("nothing sent");
    };
    // The hops are the last field: 65535 instead of 0.
    let mut bytes = sent.to_vec();
    assert_eq!(bytes.pop(), Some(0));
    bytes.extend_from_slice(&[0xff, 0xff, 0x03]);
    let mut out = Vec::new();
    b.receive(a_id, &bytes, &mut out).unwrap();
    assert!(out.is_empty());
}

/// The encoding of a message of the membership layer: its tag and its fields.
fn membership(gossip: &Gossip, kind: u8, fields: &impl serde::Serialize) -> Vec<u8> {
    let head = (gossip.topic.as_bytes(), 0u8, kind);
    [wire::encode(&head).unwrap(), wire::encode(fields).unwrap()].concat()
}

#[test]
fn endless_walks_and_large_messages_are_refused() {
    let (a_id, _, _, mut b) = neighbours();
    let someone = PeerId::from_bytes([9; 32]);
    let mut receive = |bytes: &[u8]| {
        wire::decode::<Message<PeerId>>(bytes).unwrap();
        b.receive(a_id, bytes, &mut Vec::new())
    };
    let (_, other) = gossip(3);
    let data = None::<&[u8]>;
    let join = |ttl: u16| membership(&other, 1, &((someone, data), ttl));
    let shuffle = |nodes: usize, ttl: u16| {
        let nodes = vec![(someone, data); nodes];
        membership(&other, 2, &(someone, nodes, ttl))
    };
    assert_eq!(receive(&join(MAX_TTL)), Ok(()));
    assert_eq!(receive(&shuffle(3, MAX_TTL)), Ok(()));
    let ttl = MAX_TTL + 1;
    assert_eq!(receive(&join(ttl)), Err(ReceiveError::TooFar { ttl }));
    assert_eq!(receive(&shuffle(3, ttl)), Err(ReceiveError::TooFar { ttl }));
    assert!(matches!(
        receive(&shuffle(600, 1)),
        Err(ReceiveError::TooLarge { .. })
    ));
}

#[test]
fn nobody_joins_itself() {
    let (a_id, _, b_id, mut b) = neighbours();
    let bytes = membership(&b, 1, &((b_id, None::<&[u8]>), 0u16));
    let mut out = Vec::new();
    b.receive(a_id, &bytes, &mut out).unwrap();
    assert!(out.is_empty(), "{out:?}");
}

/// A peer that nobody has heard of, and how it is introduced: with as much as there may be.
fn stranger() -> (PeerId, Option<Vec<u8>>) {
    let peer = PeerId::from_bytes(rt::random_bytes());
    (peer, Some(vec![7; MAX_INTRODUCTION]))
}

fn reply(gossip: &Gossip, peers: usize) -> Vec<u8> {
    let nodes: Vec<_> = (0..peers).map(|_| stranger()).collect();
    membership(gossip, 3, &(nodes,))
}

fn promise(gossip: &Gossip, ids: impl IntoIterator<Item = [u8; 32]>) -> Vec<u8> {
    let ids: Vec<_> = ids.into_iter().map(|id| (id, 1u16)).collect();
    let head = (gossip.topic.as_bytes(), 1u8, 3u8);
    [wire::encode(&head).unwrap(), wire::encode(&ids).unwrap()].concat()
}

/// The size of all that the protocol remembers, in characters of its text.
fn size(gossip: &Gossip) -> usize {
    format!("{:?}", gossip.state).len()
}

#[test]
fn messages_that_carry_more_than_honest_ones_are_refused() {
    let (a_id, _, _, mut b) = neighbours();
    let (_, other) = gossip(3);
    let too_many = |what, count, limit| Err(ReceiveError::TooMany { what, count, limit });
    let mut receive = |bytes: &[u8]| {
        wire::decode::<Message<PeerId>>(bytes).unwrap();
        b.receive(a_id, bytes, &mut Vec::new())
    };
    assert_eq!(receive(&reply(&other, MAX_PEERS)), Ok(()));
    let count = MAX_PEERS + 1;
    assert_eq!(
        receive(&reply(&other, count)),
        too_many("introductions", count, MAX_PEERS)
    );
    let large = vec![7; MAX_INTRODUCTION + 1];
    for bytes in [
        membership(&other, 0, &Some(&large)),
        membership(&other, 1, &((a_id, Some(&large)), 0u16)),
        membership(&other, 4, &(0u8, Some(&large))),
    ] {
        let (count, limit) = (large.len(), MAX_INTRODUCTION);
        assert_eq!(
            receive(&bytes),
            too_many("bytes of one introduction", count, limit)
        );
    }
    let ids = |count| (0..count).map(|_| rt::random_bytes());
    // As many as the protocol itself puts into one message.
    assert_eq!(receive(&promise(&other, ids(116))), Ok(()));
    let count = MAX_PROMISES + 1;
    let refused = receive(&promise(&other, ids(count)));
    assert!(matches!(
        refused,
        Err(ReceiveError::TooLarge { .. } | ReceiveError::TooMany { .. })
    ));
    let (_, mut teller) = gossip(4);
    let mut out = Vec::new();
    teller.join(vec![a_id], &mut out);
    let payload = (
        *blake3::hash(&large).as_bytes(),
        vec![7u8; MAX_MESSAGE],
        0u8,
        0u16,
    );
    let head = (other.topic.as_bytes(), 1u8, 0u8);
    let bytes = [
        wire::encode(&head).unwrap(),
        wire::encode(&payload).unwrap(),
    ]
    .concat();
    assert!(matches!(
        receive(&bytes),
        Err(ReceiveError::TooLarge { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn invented_peers_take_bounded_memory_and_gossip_goes_on() {
    let (a_id, mut a, b_id, mut b) = neighbours();
    let mut largest = 0;
    for second in 0..150 {
        for _ in 0..20 {
            let bytes = reply(&a, MAX_PEERS);
            b.receive(a_id, &bytes, &mut Vec::new()).unwrap();
        }
        if second % 15 == 14 {
            largest = largest.max(format!("{:?}", b.state).matches("PeerData(").count());
        }
        rt::sleep(Duration::from_secs(1)).await;
        let mut out = Vec::new();
        b.sweep(1, &mut out);
        let mut back = Vec::new();
        for output in out {
            if let Output::Send(to, bytes) = output {
                assert_eq!(to, a_id, "second {second}");
                a.receive(b_id, &bytes, &mut back).unwrap();
            }
        }
        for output in back {
            if let Output::Send(to, bytes) = output
                && to == b_id
            {
                b.receive(a_id, &bytes, &mut Vec::new()).unwrap();
            }
        }
        assert!(b.neighbours().contains(&a_id), "second {second}");
    }
    // 24,000 were invented.
    assert!(b.life > 0);
    assert!((500..1100).contains(&largest), "{largest}");
}

#[tokio::test(start_paused = true)]
async fn peers_that_come_and_go_leave_nothing_for_ever() {
    let (_, _, b_id, mut b) = neighbours();
    let mut sizes = Vec::new();
    for n in 0..2400u32 {
        let peer = PeerId::from_bytes(*blake3::hash(&n.to_le_bytes()).as_bytes());
        let (_, mut c) = gossip(0);
        c.me = PeerAddr::new(peer).with_ip(([127, 0, 0, 1], 1).into());
        c.state = state(&c.me);
        let mut out = Vec::new();
        c.join(vec![b_id], &mut out);
        for output in out {
            if let Output::Send(_, bytes) = output {
                b.receive(peer, &bytes, &mut Vec::new()).unwrap();
            }
        }
        b.disconnected(peer, &mut Vec::new());
        rt::sleep(Duration::from_secs(1)).await;
        b.sweep(1, &mut Vec::new());
        if n % 20 == 19 {
            sizes.push(format!("{b:?}").len());
        }
    }
    let (early, late) = sizes.split_at(sizes.len() / 2);
    let largest = |sizes: &[usize]| sizes.iter().copied().max().unwrap_or_default();
    assert!(largest(late) < largest(early) * 11 / 10, "it grows");
}

#[tokio::test(start_paused = true)]
async fn promises_that_are_not_kept_take_bounded_memory() {
    let (a_id, a, _, mut b) = neighbours();
    let mut timers = Vec::new();
    let mut largest = 0;
    for second in 0..300 {
        for _ in 0..10 {
            let ids = (0..100).map(|_| rt::random_bytes());
            let mut out = Vec::new();
            b.receive(a_id, &promise(&a, ids), &mut out).unwrap();
            timers.extend(out);
        }
        if second % 10 == 9 {
            largest = largest.max(size(&b));
        }
        rt::sleep(Duration::from_secs(1)).await;
        // Whom the protocol asks does not answer.
        while !timers.is_empty() {
            let mut out = Vec::new();
            for output in timers.drain(..) {
                if let Output::SetTimer(delay, timer) = output
                    && delay < Duration::from_millis(500)
                {
                    b.timer_fired(timer, &mut out);
                }
            }
            timers = out;
        }
        b.sweep(1, &mut Vec::new());
    }
    assert!(largest < 1024 * 1024, "{largest}");
    // The same promise again and again is one.
    let before = size(&b);
    for _ in 0..1000 {
        b.receive(a_id, &promise(&a, [[1; 32]]), &mut Vec::new())
            .unwrap();
    }
    assert!(size(&b) < before + 1000);
}

#[tokio::test(start_paused = true)]
async fn timers_of_an_earlier_life_mean_nothing() {
    let (_, _, _, mut b) = neighbours();
    let mut out = Vec::new();
    b.begin_anew(&mut out);
    let timers = out.into_iter().filter_map(|output| match output {
        Output::SetTimer(_, timer) => Some(timer),
        _ => None,
    });
    let timers: Vec<_> = timers.collect();
    assert!(!timers.is_empty());
    b.begin_anew(&mut Vec::new());
    let mut out = Vec::new();
    for timer in timers {
        b.timer_fired(timer, &mut out);
    }
    assert!(out.is_empty(), "{out:?}");
}

proptest! {
    #[test]
    fn no_bytes_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (a_id, a, _, mut b) = neighbours();
        let bytes = [&a.topic.as_bytes()[..], &tail].concat();
        let outcome = b.receive(a_id, &bytes, &mut Vec::new());
        prop_assert!(outcome.is_ok() || outcome.is_err());
    }
}
