//! What a leader proposes: the commands of many clients, gathered into few entries.
//!
//! While an entry is under way, what comes in is gathered for the next one, for as long as the way to a majority
//! takes, or [`PATIENCE`] where that is far, and those who are answered together are waited for where that pays
//! ([`Batching`]); alone, a command is an entry of its own and waits for nothing. An entry costs each member about as
//! much as a hundred commands in it do, so that few large ones are faster than many small ones even to whoever waits.
//! After J. Nagle, *Congestion Control in IP/TCP Internetworks* (RFC 896).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::{
    mpsc::{
        self,
        error::{SendError, TrySendError},
    },
    oneshot,
};
use tracing::debug;

use super::{
    answering::{Ticket, Work},
    batching::Batching,
    clock::Clock,
    gate::{Admitted, Gate},
    machine::{ENTRY_FORMAT, Entry, Item, ItemReply},
    proto::log_id::LogId,
    raft::{Applied, Node, Proposal, ProposeError, Role},
};
use crate::{
    id::{MemberId, PeerId},
    rt::{self, Instant, Tasks},
    wire,
};

/// Items that wait to be proposed; more wait to be let in.
const BACKLOG: usize = 4096;
/// Most items of an entry.
const MAX_ITEMS: usize = 1024;
/// Bytes of items beyond which an entry takes no more: 1 MiB.
const MAX_BYTES: usize = 1024 * 1024;
/// Largest item, in bytes: what an entry holds, less what surrounds it.
pub(crate) const MAX_ITEM: usize = wire::MAX_FRAME - 64 * 1024;
/// Entries that are under way at once; what comes then is gathered, however long they take.
const MAX_UNDER_WAY: usize = 64;
/// How long what comes in is gathered at most while fewer entries are under way.
const PATIENCE: Duration = Duration::from_millis(1);

/// Why an item was not applied, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Failed {
    /// This member does not lead: not applied.
    NotLeader {
        /// Who does.
        leader: Option<MemberId>,
    },
    /// Leadership was lost on the way: it may be applied.
    Unknown,
    /// The replica has stopped: it may be applied.
    Stopped,
    /// Too much is under way: not applied.
    Busy,
    /// It cannot be decoded here, so the members run different programs: not applied.
    Malformed,
    /// It holds a command that a voter does not know yet: not applied.
    Unsupported {
        /// The command's number.
        command: u64,
        /// The voter.
        peer: PeerId,
    },
}

/// What became of an item: where it stands in the log and what it got, or why it does not.
pub(crate) type Fate = Result<(LogId, ItemReply), Failed>;

/// Where an item's fate is told.
pub(crate) type Told = oneshot::Receiver<Fate>;

/// An item that is handed over, or may be from now on, until its fate is told.
pub(crate) enum UnderWay {
    /// To a proposer, here or on another member.
    Proposed(Told),
    /// To a member that passes it on.
    Passed(BoxFuture<'static, Fate>),
}

impl Future for UnderWay {
    type Output = Fate;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Fate> {
        match &mut *self {
            Self::Proposed(told) => {
                let told = ready!(told.poll_unpin(cx));
                Poll::Ready(told.unwrap_or(Err(Failed::Unknown)))
            }
            Self::Passed(fate) => fate.poll_unpin(cx),
        }
    }
}

impl From<Told> for UnderWay {
    fn from(told: Told) -> Self {
        Self::Proposed(told)
    }
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnderWay").finish_non_exhaustive()
    }
}

/// Who is told an item's fate.
#[derive(Debug)]
pub(crate) enum Asker {
    /// Whoever waits for it here.
    Here(oneshot::Sender<Fate>),
    /// Whoever asked for it on a stream.
    Stream(Ticket<(LogId, ItemReply)>),
}

impl Asker {
    /// Tells it.
    pub(crate) fn tell(self, fate: Fate) {
        match self {
            // Who asked may have gone.
            Self::Here(reply) => drop(reply.send(fate)),
            Self::Stream(ticket) => ticket.tell(fate),
        }
    }
}

#[derive(Debug)]
struct Submission {
    admitted: Admitted,
    asker: Asker,
}

impl Submission {
    fn size(&self) -> usize {
        self.admitted.item.size()
    }
}

/// Proposes on one member. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Submission>,
}

impl Proposer {
    /// Starts proposing.
    pub(crate) fn start(
        node: Node,
        applied: Applied,
        clock: Clock,
        gate: Arc<Gate>,
        tasks: &Tasks,
    ) -> Self {
        let (queue, submissions) = mpsc::channel(BACKLOG);
        let gathering = Gathering {
            node,
            applied,
            clock,
            gate,
            stamped: None,
            checked: None,
        };
        tasks.spawn(gathering.run(submissions));
        Self { queue }
    }

    /// Hands an item over, waiting for room.
    pub(crate) async fn submit(&self, admitted: Admitted) -> Told {
        ask(|asker| self.hand_over(admitted, asker)).await
    }

    /// Hands an item over; where there is no room, once what is returned has waited for some.
    pub(crate) fn hand_over(&self, admitted: Admitted, asker: Asker) -> Work {
        match self.queue.try_send(Submission { admitted, asker }) {
            Ok(()) => None,
            Err(TrySendError::Closed(submission)) => {
                submission.asker.tell(Err(Failed::Stopped));
                None
            }
            Err(TrySendError::Full(submission)) => {
                let queue = self.queue.clone();
                let waits = async move {
                    if let Err(SendError(submission)) = queue.send(submission).await {
                        submission.asker.tell(Err(Failed::Stopped));
                    }
                };
                Some(waits.boxed())
            }
        }
    }
}

/// Has an item handed over by whoever waits for its fate here.
pub(crate) async fn ask(hand_over: impl FnOnce(Asker) -> Work) -> Told {
    let (reply, told) = oneshot::channel();
    if let Some(waits) = hand_over(Asker::Here(reply)) {
        waits.await;
    }
    told
}

/// What is to be proposed.
struct Incoming {
    submissions: mpsc::Receiver<Submission>,
    /// What was taken from there for the next batch, in its order.
    held: Vec<Submission>,
    /// Their bytes.
    bytes: usize,
    /// What there was no room for behind them, until they are taken.
    carried: Option<Submission>,
    /// Whether others are likely to come with the first.
    crowded: bool,
}

impl Incoming {
    fn new(submissions: mpsc::Receiver<Submission>) -> Self {
        Self {
            submissions,
            held: Vec::new(),
            bytes: 0,
            carried: None,
            crowded: false,
        }
    }

    /// How many are there.
    fn len(&self) -> usize {
        self.held.len() + self.submissions.len()
    }

    /// Waits until so many are there, one at least, or as many as an entry holds; what there is then, and `None`
    /// once nothing comes any more. Nothing is lost if this is dropped while it waits.
    async fn next(&mut self, target: usize) -> Option<Vec<Submission>> {
        if self.held.is_empty() {
            let first = self.submissions.recv().await?;
            self.hold(first);
            if self.crowded {
                // Those who were answered together ask again together: all that can run do so first.
                tokio::task::yield_now().await;
            }
        }
        while !self.is_full() {
            let next = match self.submissions.try_recv() {
                Ok(next) => Some(next),
                Err(_) if self.held.len() < target => self.submissions.recv().await,
                Err(_) => None,
            };
            let Some(next) = next else {
                break;
            };
            self.hold(next);
        }
        let batch = std::mem::take(&mut self.held);
        self.bytes = 0;
        if let Some(carried) = self.carried.take() {
            self.hold(carried);
        }
        self.crowded = batch.len() > 1;
        Some(batch)
    }

    /// Whether an entry holds no more than this.
    fn is_full(&self) -> bool {
        self.held.len() >= MAX_ITEMS || self.bytes >= MAX_BYTES || self.carried.is_some()
    }

    fn hold(&mut self, submission: Submission) {
        let bytes = self.bytes + submission.size();
        if bytes > MAX_ITEM && !self.held.is_empty() {
            self.carried = Some(submission);
            return;
        }
        self.bytes = bytes;
        self.held.push(submission);
    }
}

struct Gathering {
    node: Node,
    applied: Applied,
    clock: Clock,
    gate: Arc<Gate>,
    /// The term and the moment of the last entry, which the time of the next counts from.
    stamped: Option<(u64, Instant)>,
    /// Up to where the digest was stamped.
    checked: Option<u64>,
}

/// Tells what became of an entry to whoever is to hear of it; how many items were applied.
type Outcome = Pin<Box<dyn Future<Output = usize> + Send + Sync>>;

impl Gathering {
    async fn run(mut self, submissions: mpsc::Receiver<Submission>) {
        let mut under_way: FuturesUnordered<Outcome> = FuturesUnordered::new();
        let mut incoming = Incoming::new(submissions);
        let mut batching = Batching::default();
        let mut patient_until = rt::now();
        loop {
            let room = under_way.len() < MAX_UNDER_WAY;
            let open = under_way.is_empty() || rt::now() >= patient_until;
            let until = if open {
                batching.until()
            } else {
                Some(patient_until)
            };
            let batch = tokio::select! {
                biased;
                Some(items) = under_way.next() => {
                    if under_way.is_empty() {
                        batching.answered(items, incoming.len(), rt::now());
                    }
                    continue;
                }
                batch = incoming.next(batching.target()), if room && open => batch,
                () = rt::sleep_until(until.unwrap_or(patient_until)), if room && until.is_some() => {
                    if open {
                        batching.gave_up(incoming.len());
                    }
                    continue;
                }
            };
            let Some(batch) = batch else {
                break;
            };
            batching.proposed(batch.len(), rt::now());
            under_way.push(self.propose(batch).await);
            patient_until = rt::now() + PATIENCE;
        }
        while under_way.next().await.is_some() {}
    }

    /// Proposes what was gathered.
    async fn propose(&mut self, batch: Vec<Submission>) -> Outcome {
        let (items, askers) =
            still_admitted(&self.gate, batch, |failed| refused(&self.node, failed));
        if items.is_empty() {
            return Box::pin(std::future::ready(0));
        }
        let entry = self.stamp(items);
        let proposal = match entry.encode() {
            Ok(bytes) => Proposal {
                format: ENTRY_FORMAT,
                bytes,
            },
            Err(error) => {
                debug!(%error, "an entry cannot be encoded");
                tell_all(askers, &Failed::Malformed);
                return Box::pin(std::future::ready(0));
            }
        };
        let proposed = match self.node.propose(proposal).await {
            Ok(proposed) => proposed,
            Err(error) => {
                tell_all(askers, &failed(error));
                return Box::pin(std::future::ready(0));
            }
        };
        // What a leader proposed that is none any more may never be told of: who asked asks the next one.
        let lost = self.node.leads_no_longer();
        Box::pin(async move {
            let outcome = tokio::select! {
                biased;
                outcome = proposed => outcome,
                () = lost => Err(ProposeError::Unknown),
            };
            match outcome {
                Ok((at, reply)) => {
                    let items = askers.len();
                    for (reply, asker) in reply.items.into_iter().zip(askers) {
                        asker.tell(Ok((at, reply)));
                    }
                    items
                }
                Err(error) => {
                    tell_all(askers, &failed(error));
                    0
                }
            }
        })
    }

    fn stamp(&mut self, items: Vec<Item>) -> Entry {
        let (term, now) = (self.node.term(), rt::now());
        let since = match self.stamped {
            Some((stamped, at)) if stamped == term => at,
            _ => now,
        };
        let uptime = whole_millis(now.duration_since(since));
        // What is no whole millisecond is in the next: however many there are in one, none is lost.
        self.stamped = Some((term, since + Duration::from_millis(uptime)));
        let check = self.applied.check();
        let check = check.filter(|check| self.checked.is_none_or(|at| at < check.at));
        if let Some(check) = &check {
            self.checked = Some(check.at);
        }
        Entry {
            now: self.clock.stamp(),
            uptime,
            check,
            items,
        }
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What the gate still lets through, and who is to hear of it; the others are told.
fn still_admitted(
    gate: &Gate,
    batch: Vec<Submission>,
    refused: impl Fn(Failed) -> Failed,
) -> (Vec<Item>, Vec<Asker>) {
    let mut still = (
        Vec::with_capacity(batch.len()),
        Vec::with_capacity(batch.len()),
    );
    for Submission { admitted, asker } in batch {
        match gate.check_again(&admitted) {
            Ok(()) => {
                still.0.push(admitted.item);
                still.1.push(asker);
            }
            Err(failed) => asker.tell(Err(refused(failed))),
        }
    }
    still
}

/// Why an item was not let through: only a leader can tell that a voter does not know a command.
pub(crate) fn refused(node: &Node, failed: Failed) -> Failed {
    let status = node.status();
    let status = status.borrow();
    match failed {
        Failed::Unsupported { .. } if status.role != Role::Leader => Failed::NotLeader {
            leader: status.leader,
        },
        failed => failed,
    }
}

fn tell_all(askers: Vec<Asker>, failed: &Failed) {
    for asker in askers {
        asker.tell(Err(failed.clone()));
    }
}

fn failed(error: ProposeError) -> Failed {
    match error {
        ProposeError::NotLeader { leader } => Failed::NotLeader { leader },
        ProposeError::Unknown => Failed::Unknown,
        ProposeError::Stopped => Failed::Stopped,
        ProposeError::TooLarge { .. } => Failed::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::groups::{
        machine::{
            Hosted, number,
            tests::versions::{Sum, calls},
        },
        proto::{
            session::{Request, SessionId},
            versions::{Gaps, Heard},
        },
    };

    const PEER: PeerId = PeerId::from_bytes([1; 32]);

    fn gate() -> Gate {
        Gate::new(PEER, Arc::new(Hosted::<Sum<2>>::new()))
    }

    /// Somebody else votes who does not know any of these.
    fn lacking(commands: &[&str]) -> Gaps {
        let voter = MemberId {
            peer: PeerId::from_bytes([2; 32]),
            boot: 1,
        };
        let numbers: Vec<u64> = commands.iter().map(|name| number(name)).collect();
        Gaps::find(&numbers, [&voter], &Heard::default(), |_| false)
    }

    /// A batch of one command, of `len` bytes.
    fn submission(sequence: u64, len: usize) -> Submission {
        let request = Request {
            session: SessionId(1),
            sequence,
            unanswered: 0,
        };
        Submission {
            admitted: gate()
                .admit_known(Item::Commands {
                    request,
                    count: 1,
                    commands: Bytes::from(vec![0; len]),
                })
                .unwrap(),
            asker: Asker::Here(oneshot::channel().0),
        }
    }

    fn sequences(batch: &[Submission]) -> Vec<u64> {
        let sequence = |submission: &Submission| match &submission.admitted.item {
            Item::Commands { request, .. } => request.sequence,
            other => panic!("{other:?}"),
        };
        batch.iter().map(sequence).collect()
    }

    #[tokio::test]
    async fn what_is_there_is_gathered_in_order_and_within_bounds() {
        let (queue, submissions) = mpsc::channel(BACKLOG);
        let mut incoming = Incoming::new(submissions);
        let many = MAX_ITEMS as u64;
        for sequence in 0..=many {
            queue.try_send(submission(sequence, 8)).unwrap();
        }
        // One that fills an entry, with one that it leaves no room for.
        queue
            .try_send(submission(many + 1, MAX_ITEM - 256))
            .unwrap();
        queue.try_send(submission(many + 2, 300)).unwrap();
        drop(queue);
        let mut batches = Vec::new();
        while let Some(batch) = incoming.next(1).await {
            batches.push(sequences(&batch));
        }
        let lens: Vec<usize> = batches.iter().map(Vec::len).collect();
        assert_eq!(lens, [MAX_ITEMS, 2, 1]);
        assert!(batches.concat().into_iter().eq(0..=many + 2));
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_for_room_has_handed_nothing_over() {
        let (queue, mut submissions) = mpsc::channel(1);
        let proposer = Proposer { queue };
        let handed_over = |sequence| proposer.submit(submission(sequence, 8).admitted);
        let mut first = handed_over(0).now_or_never().unwrap();
        let mut second = Box::pin(handed_over(1));
        assert!((&mut second).now_or_never().is_none());
        drop(second);
        assert_eq!(sequences(&[submissions.try_recv().unwrap()]), [0]);
        assert!((&mut first).now_or_never().unwrap().is_err());
        let mut third = handed_over(2).now_or_never().unwrap();
        assert_eq!(sequences(&[submissions.try_recv().unwrap()]), [2]);

        // Nothing is proposed any more.
        drop(submissions);
        let last = handed_over(3).now_or_never().unwrap();
        assert_eq!(last.await.unwrap(), Err(Failed::Stopped));
        assert!((&mut third).now_or_never().unwrap().is_err());
    }

    #[tokio::test]
    async fn those_who_come_together_are_waited_for_and_none_is_lost() {
        let (queue, submissions) = mpsc::channel(BACKLOG);
        let mut incoming = Incoming::new(submissions);
        queue.try_send(submission(0, 8)).unwrap();
        queue.try_send(submission(1, 8)).unwrap();
        assert_eq!(incoming.next(1).await.unwrap().len(), 2);
        // The last were two: the next is taken and has to wait for others, but not to be forgotten.
        queue.try_send(submission(2, 8)).unwrap();
        assert!(incoming.next(1).now_or_never().is_none());
        queue.try_send(submission(3, 8)).unwrap();
        let batch = incoming.next(1).now_or_never().flatten().unwrap();
        assert_eq!(sequences(&batch), [2, 3]);
        // One that comes alone waits once, and then not any more.
        queue.try_send(submission(4, 8)).unwrap();
        assert_eq!(incoming.next(1).await.unwrap().len(), 1);
        queue.try_send(submission(5, 8)).unwrap();
        let batch = incoming.next(1).now_or_never().flatten().unwrap();
        assert_eq!(sequences(&batch), [5]);
    }

    #[tokio::test]
    async fn as_many_as_are_wanted_are_waited_for_and_no_more_than_an_entry_holds() {
        let (queue, submissions) = mpsc::channel(BACKLOG);
        let mut incoming = Incoming::new(submissions);
        for sequence in 0..3 {
            queue.try_send(submission(sequence, 8)).unwrap();
            assert!(incoming.next(4).now_or_never().is_none());
            assert_eq!(incoming.len(), sequence as usize + 1);
        }
        queue.try_send(submission(3, 8)).unwrap();
        let batch = incoming.next(4).now_or_never().flatten().unwrap();
        assert_eq!(sequences(&batch), [0, 1, 2, 3]);
        // Who gives up waiting takes what there is.
        queue.try_send(submission(4, 8)).unwrap();
        assert!(incoming.next(4).now_or_never().is_none());
        let batch = incoming.next(1).now_or_never().flatten().unwrap();
        assert_eq!(sequences(&batch), [4]);
        // What fills an entry is not waited with.
        queue.try_send(submission(5, MAX_BYTES)).unwrap();
        let batch = incoming.next(4).now_or_never().flatten().unwrap();
        assert_eq!(sequences(&batch), [5]);
        // Nor is the end.
        queue.try_send(submission(6, 8)).unwrap();
        drop(queue);
        let batch = incoming.next(4).now_or_never().flatten().unwrap();
        assert_eq!(sequences(&batch), [6]);
        assert!(incoming.next(4).await.is_none());
    }

    #[tokio::test]
    async fn what_waited_while_the_voters_changed_is_looked_at_again() {
        let gate = gate();
        let mut told = Vec::new();
        let mut batch = Vec::new();
        let mut admit = |item: Item| {
            let (reply, fate) = oneshot::channel();
            let admitted = gate.admit(item).unwrap();
            batch.push(Submission {
                admitted,
                asker: Asker::Here(reply),
            });
            told.push(fate);
        };
        admit(calls(0, &[("add", 1)]));
        admit(calls(1, &[("add", 1), ("take", 1)]));
        admit(Item::Open { peer: PEER });
        // Somebody votes by now who does not know all that.
        gate.set(lacking(&["take"]));
        let (items, replies) = still_admitted(&gate, batch, |failed| failed);
        assert_eq!(items, [calls(0, &[("add", 1)]), Item::Open { peer: PEER }]);
        assert_eq!(replies.len(), 2);
        let refused = told[1].try_recv().unwrap();
        let Err(Failed::Unsupported { command, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(command, number("take"));
        assert!(told[0].try_recv().is_err(), "it is to be proposed");
        // What is let through as things are is not looked at again.
        let admitted = gate.admit_known(calls(2, &[("add", 1)])).unwrap();
        gate.set(lacking(&["take"]));
        assert_eq!(gate.check_again(&admitted), Ok(()));
        gate.set(Gaps::default());
        let admitted = gate.admit_known(calls(2, &[("take", 1)])).unwrap();
        assert_eq!(gate.check_again(&admitted), Ok(()));
    }
}
