//! One stream to a follower, whose answers are made up.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::{
    groups::{proto::roster::Membership, raft::types::Proposal, storage::LogId},
    id::{MemberId, NetworkId, PeerId, SecretKey},
    rt::Tasks,
    transport::{
        Alpn, CarrierConfig, Config, Connection, Endpoint, Identity, Pool, memory::Fabric,
    },
    wire::MAX_FRAME,
};

const PATIENCE: Duration = Duration::from_secs(1);
const LATENCY: Duration = Duration::from_millis(1);

const LEADER: MemberId = MemberId {
    peer: PeerId::from_bytes([1; 32]),
    boot: 1,
};

const FOLLOWER: MemberId = MemberId {
    peer: PeerId::from_bytes([2; 32]),
    boot: 1,
};

/// A line, the follower's end of it, and what must live as long.
struct Pair {
    line: Line,
    far: Link<Answer, ()>,
    _kept: (Connection, Connection, Tasks),
}

impl Pair {
    async fn new() -> Self {
        let fabric = Fabric::default();
        fabric.set_latency(LATENCY);
        let tasks = Tasks::new(tracing::Span::none());
        let bind = async || {
            let identity = Identity::new(SecretKey::generate(), NetworkId::from("n"), None);
            let endpoint = Endpoint::bind(Config {
                identity: Arc::new(identity),
                carrier: CarrierConfig::memory(fabric.clone()),
            });
            let endpoint = endpoint.await.unwrap();
            let (pool, fresh) = Pool::new(endpoint.clone(), Alpn::Streams, tasks.clone());
            (endpoint, pool, fresh)
        };
        let (_near, pool, _) = bind().await;
        let (far, far_pool, mut fresh) = bind().await;
        let addr = far.addr();
        tasks.spawn(async move {
            while let Some(incoming) = far.accept().await {
                drop(Pool::accept(std::slice::from_ref(&far_pool), incoming).await);
            }
        });
        let addr = addr.borrow().clone();
        let out = pool.connect(&addr).await.unwrap();
        let back = fresh.recv().await.unwrap();
        // The follower hears of a stream with the first bytes on it.
        let mut hello = Link::<u8, ()>::open(&out, 8).await.unwrap();
        hello.tx.send(&7).await.unwrap();
        let far = back.accept_bi().await.unwrap();
        let mut far = Link::<Answer, ()>::new(far, MAX_FRAME);
        far.rx.recv_frame().await.unwrap().unwrap();
        let (recv, _) = hello.rx.into_half();
        Self {
            line: Line::new((hello.tx.into_half(), recv), FOLLOWER, Arc::default()),
            far,
            _kept: (out, back, tasks),
        }
    }
}

fn id(index: u64) -> LogId {
    LogId { term: 1, index }
}

/// Both vote.
fn both() -> Membership {
    Membership {
        log_id: id(1),
        committed: true,
        leaving: None,
        voters: [LEADER, FOLLOWER].into(),
        learners: [].into(),
    }
}

/// A request with one entry of so many bytes behind `index`.
fn request(index: u64, bytes: usize) -> AppendEntriesRequest<Types> {
    let vote = Vote {
        term: 1,
        candidate: LEADER,
        committed: true,
    };
    let payload = Proposal {
        format: 1,
        bytes: Bytes::from(vec![7; bytes]),
    };
    AppendEntriesRequest {
        vote: types::raft_vote(vote),
        prev_log_id: Some(types::raft_log_id(id(index))),
        entries: vec![types::RaftEntry {
            log_id: types::raft_log_id(id(index + 1)),
            payload: openraft::EntryPayload::Normal(payload),
        }],
        leader_commit: None,
    }
}

fn requests(count: u64, bytes: usize) -> impl Stream<Item = AppendEntriesRequest<Types>> + Unpin {
    stream::iter((0..count).map(move |index| request(index, bytes)))
}

fn matched(index: u64) -> StreamAppendResult<Types> {
    Ok(Some(types::raft_log_id(id(index))))
}

/// Frames that arrive, until there are no more for a while.
async fn frames(far: &mut Link<Answer, ()>) -> Vec<Append> {
    let mut frames = Vec::new();
    while let Ok(frame) = rt::timeout(PATIENCE / 2, far.rx.recv_frame()).await {
        frames.push(Append::decode(&frame.unwrap().unwrap()).unwrap());
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn a_silent_follower_is_sent_so_much_and_given_up() {
    for (bytes, expected) in [(100, MAX_IN_FLIGHT), (1024 * 1024, 16)] {
        let mut pair = Pair::new().await;
        let began = rt::now();
        let mut session = session(&mut pair.line, requests(1000, bytes), PATIENCE);
        let (answer, arrived) = tokio::join!(session.next(), frames(&mut pair.far));
        assert_eq!(answer, Some(Err(CallError::Late(PATIENCE))));
        assert_eq!(arrived.len(), expected);
        let took = rt::now() - began;
        let expected = PATIENCE..PATIENCE + Duration::from_secs(3);
        assert!(expected.contains(&took), "{took:?}");
        assert_eq!(session.next().await, None);
        drop(session);
        assert!(!pair.line.is_reusable());
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_is_used_again_once_all_is_answered() {
    let mut pair = Pair::new().await;
    for _ in 0..3 {
        let answered = session(&mut pair.line, requests(200, 10), PATIENCE).collect::<Vec<_>>();
        let answers = async {
            for _ in 0..200 {
                pair.far.rx.recv_frame().await.unwrap().unwrap();
                pair.far.tx.send(&Answer::Done).await.unwrap();
            }
        };
        let (answered, ()) = tokio::join!(answered, answers);
        // Some speak for those before them.
        let told = |index| answered.contains(&Ok(matched(index)));
        let expected = (1..=200).filter(|index| told(*index));
        let expected: Vec<_> = expected.map(|index| Ok(matched(index))).collect();
        assert_eq!(answered, expected);
        assert_eq!(answered.last(), Some(&Ok(matched(200))));
        assert!(pair.line.is_reusable());
    }
    // Not when somebody went away in the middle.
    let mut begun = session(&mut pair.line, requests(2, 10), PATIENCE);
    assert!(rt::timeout(LATENCY * 5, begun.next()).await.is_err());
    drop(begun);
    assert!(!pair.line.is_reusable());
}

#[tokio::test(start_paused = true)]
async fn the_last_of_those_that_are_done_speaks_for_all() {
    let mut pair = Pair::new().await;
    let mut frames = Vec::new();
    for answer in [Answer::Done, Answer::Working, Answer::Done, Answer::Done] {
        crate::wire::encode_frame_onto(&answer, ANSWER_FRAME, &mut frames).unwrap();
    }
    let Link { tx, mut rx } = pair.far;
    let mut tx = tx.into_half();
    let mut session = session(&mut pair.line, requests(4, 10), PATIENCE);
    let far = async {
        for _ in 0..4 {
            rx.recv_frame().await.unwrap().unwrap();
        }
        tx.write_all(&frames).await.unwrap();
        rt::sleep(LATENCY * 5).await;
        tx.write_all(&frames).await.unwrap();
    };
    let answers = async {
        let first = session.next().await;
        (first, session.next().await, session.next().await)
    };
    let (answers, ()) = tokio::join!(answers, far);
    // The last of all is answered by itself, and what follows it answers nothing.
    let offence = Some(Err(CallError::Offence(Offence::Answer)));
    assert_eq!(
        answers,
        (Some(Ok(matched(3))), Some(Ok(matched(4))), offence)
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_is_the_last_answer() {
    let vote = Vote {
        term: 9,
        candidate: LEADER,
        committed: true,
    };
    let conflict = StreamAppendError::Conflict(types::raft_log_id(id(1)));
    let higher = StreamAppendError::HigherVote(types::raft_vote(vote));
    let number = Vote {
        term: u64::MAX,
        ..vote
    };
    let offence = CallError::Offence(Offence::Number(u64::MAX));
    for (answer, expected) in [
        (Answer::Conflict, Ok(Err(conflict))),
        (Answer::Higher(vote), Ok(Err(higher))),
        (Answer::Higher(number), Err(offence)),
    ] {
        let mut pair = Pair::new().await;
        for answer in [Answer::Done, answer] {
            pair.far.tx.send(&answer).await.unwrap();
        }
        // The answers are there before the way breaks.
        drop(pair.far);
        let answers = session(&mut pair.line, requests(1000, 10), PATIENCE);
        let answers: Vec<_> = answers.collect().await;
        assert_eq!(answers, [Ok(matched(1)), expected]);
        assert!(!pair.line.is_reusable());
    }
}

#[tokio::test(start_paused = true)]
async fn late_answers_are_no_answers_to_later_questions() {
    let mut pair = Pair::new().await;
    for index in 0..3 {
        let late = rt::timeout(LATENCY * 5, pair.line.ask(request(index, 10))).await;
        assert!(late.is_err());
    }
    let (answer, ()) = tokio::join!(pair.line.ask(request(3, 10)), async {
        for _ in 0..4 {
            pair.far.rx.recv_frame().await.unwrap().unwrap();
            rt::sleep(LATENCY * 3).await;
            pair.far.tx.send(&Answer::Done).await.unwrap();
        }
    });
    assert_eq!(answer, Ok(matched(4)));
    assert!(pair.line.is_reusable());
    for index in 0..MAX_UNANSWERED {
        assert!(pair.line.is_reusable(), "{index}");
        let late = rt::timeout(LATENCY * 5, pair.line.ask(request(index, 10))).await;
        assert!(late.is_err());
    }
    assert!(!pair.line.is_reusable());
}

#[tokio::test(start_paused = true)]
async fn who_works_on_it_is_there_however_long_it_takes() {
    let mut pair = Pair::new().await;
    let pulse = pair.line.rx.pulse.clone();
    let membership = both();
    let began = rt::now();
    let age = || pulse.heard.age(&membership, LEADER, began, rt::now());
    let late = {
        let mut session = session(&mut pair.line, requests(1, 10), PATIENCE);
        let work = async {
            for _ in 0..10 {
                rt::sleep(PATIENCE / 2).await;
                pair.far.tx.send(&Answer::Working).await.unwrap();
            }
            assert!(age() <= PATIENCE / 2);
            pair.far.tx.send(&Answer::Done).await.unwrap();
        };
        let (answers, ()) = tokio::join!(session.by_ref().collect::<Vec<_>>(), work);
        assert_eq!(answers, [Ok(matched(1))]);
        drop(session);
        // Who says nothing more is given up.
        let mut session = super::session(&mut pair.line, requests(1, 10), PATIENCE);
        pair.far.tx.send(&Answer::Working).await.unwrap();
        session.next().await
    };
    assert!(matches!(late, Some(Err(CallError::Late(_)))), "{late:?}");
    assert!(age() >= PATIENCE);
}

/// What only says how far the log is committed follows the same entry as what is before it, and is answered by itself.
#[tokio::test(start_paused = true)]
async fn an_answer_says_nothing_of_what_was_sent_behind_it() {
    let mut pair = Pair::new().await;
    let pulse = pair.line.rx.pulse.clone();
    let membership = both();
    let obeyed = |since| pulse.obeyed.is_majority_since(&membership, LEADER, since);
    let began = rt::now();
    let note_at = began + PATIENCE / 4;
    let note = AppendEntriesRequest {
        prev_log_id: Some(types::raft_log_id(id(1))),
        entries: Vec::new(),
        leader_commit: Some(types::raft_log_id(id(1))),
        ..request(0, 10)
    };
    let input = stream::once(std::future::ready(request(0, 10))).chain(stream::once(async move {
        rt::sleep_until(note_at).await;
        note
    }));
    let mut session = session(&mut pair.line, input.boxed(), PATIENCE);
    let (answer, ()) = tokio::join!(session.next(), async {
        for _ in 0..2 {
            pair.far.rx.recv_frame().await.unwrap().unwrap();
        }
        assert!(!obeyed(began));
        pair.far.tx.send(&Answer::Done).await.unwrap();
    });
    assert_eq!(answer, Some(Ok(matched(1))));
    assert!(obeyed(began));
    assert!(!obeyed(began + Duration::from_millis(1)));

    pair.far.tx.send(&Answer::Done).await.unwrap();
    assert_eq!(session.next().await, Some(Ok(matched(1))));
    assert!(obeyed(note_at));
    assert!(!obeyed(note_at + Duration::from_millis(10)));
    assert_eq!(session.next().await, None);
    drop(session);

    // Who follows somebody else obeys no more, whatever it was sent.
    let asked = rt::now() + Duration::from_millis(1);
    let higher = Vote {
        term: 2,
        candidate: FOLLOWER,
        committed: true,
    };
    let higher = Answer::Higher(higher);
    rt::sleep_until(asked).await;
    let (refused, sent) = tokio::join!(pair.line.ask(request(1, 10)), pair.far.tx.send(&higher));
    sent.unwrap();
    assert!(matches!(refused, Ok(Err(_))), "{refused:?}");
    assert!(!obeyed(asked));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_nothing_is_an_offence() {
    let mut pair = Pair::new().await;
    pair.far.tx.send(&Answer::Done).await.unwrap();
    let input = stream::pending();
    let answer = session(&mut pair.line, input, PATIENCE).next().await;
    assert_eq!(answer, Some(Err(CallError::Offence(Offence::Answer))));
}
