//! Answers what members and clients ask on a stream: see [`forward`](super::forward).
//!
//! Each request gets a ticket, by which its answer finds the stream. A ticket goes with an item through the proposer, so
//! that nothing has to wait here for each of thousands of items.

use std::{future::pending, marker::PhantomData, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::{
    forward::{Request, Response, WRITE, emptied},
    machine::{Item, ItemReply},
    proposer::Failed,
    proto::log_id::LogId,
    remote::{Answer, Standing, Standings, Unanswered},
};
use crate::{
    transport::{Halves, Link, LinkError},
    wire,
};

/// Requests of one stream that are under way at once.
const MAX_UNDER_WAY: usize = 8192;
/// Bytes of the requests of one stream that are under way at once, about: 16 MiB, and one request more.
const MAX_HELD: usize = 16 * 1024 * 1024;

/// What has to run for an answer to be told, if anything has to.
pub(super) type Work = Option<BoxFuture<'static, ()>>;

/// What answers the requests of a stream.
pub(super) trait Serve: Send + Sync + 'static {
    /// Has an item applied.
    fn answer_submit(self: &Arc<Self>, item: Item, ticket: Ticket<(LogId, ItemReply)>) -> Work;

    /// Tells how far the log has to be applied for a query that is asked now. Refused by what holds nothing to apply.
    fn answer_read(self: &Arc<Self>, ticket: Ticket<Option<u64>>) -> Work {
        ticket.tell(Err(Failed::Malformed));
        None
    }

    /// Answers a query. Refused by what only members ask, which have states of their own.
    fn answer_query(
        self: &Arc<Self>,
        query: Bytes,
        ticket: Ticket<Result<Answer, Unanswered>>,
    ) -> Work {
        drop(query);
        ticket.tell(Err(Failed::Malformed));
        None
    }
}

/// What is answered.
pub(super) trait Reply: Sized {
    /// The answer to the request of this number.
    fn response(id: u64, result: Result<Self, Failed>) -> Response;
}

impl Reply for (LogId, ItemReply) {
    fn response(id: u64, result: Result<Self, Failed>) -> Response {
        Response::Submitted { id, result }
    }
}

impl Reply for Option<u64> {
    fn response(id: u64, result: Result<Self, Failed>) -> Response {
        Response::Read { id, result }
    }
}

impl Reply for Result<Answer, Unanswered> {
    fn response(id: u64, result: Result<Self, Failed>) -> Response {
        Response::Queried { id, result }
    }
}

/// Where a request is answered, once. Dropped before, it says that nobody knows what became of the request.
#[derive(Debug)]
pub(super) struct Ticket<T: Reply> {
    id: u64,
    size: usize,
    answers: Option<mpsc::Sender<Answered>>,
    what: PhantomData<fn(T)>,
}

/// An answer, and the bytes of its request.
type Answered = (Response, usize);

impl<T: Reply> Ticket<T> {
    /// Tells the answer.
    pub(super) fn tell(mut self, result: Result<T, Failed>) {
        self.put(result);
    }

    fn put(&mut self, result: Result<T, Failed>) {
        if let Some(answers) = self.answers.take() {
            let told = answers.try_send((T::response(self.id, result), self.size));
            // Whoever asked may have gone; there is room for all that are under way.
            debug_assert!(!matches!(told, Err(TrySendError::Full(_))));
        }
    }
}

impl<T: Reply> Drop for Ticket<T> {
    fn drop(&mut self) {
        self.put(Err(Failed::Unknown));
    }
}

/// The requests of a stream that are under way.
struct Requests {
    count: usize,
    /// Their bytes.
    held: usize,
    /// What has to run for some of them.
    work: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Each request has one answer, so that there are no more of them than may be under way.
    answers: mpsc::Receiver<Answered>,
    tell: mpsc::Sender<Answered>,
}

impl Requests {
    fn new() -> Self {
        let (tell, answers) = mpsc::channel(MAX_UNDER_WAY);
        Self {
            count: 0,
            held: 0,
            work: FuturesUnordered::new(),
            answers,
            tell,
        }
    }

    /// Whether another may come.
    fn has_room(&self) -> bool {
        self.count < MAX_UNDER_WAY && self.held < MAX_HELD
    }

    /// Has a request answered, for which there is room.
    fn begin(&mut self, service: &Arc<impl Serve>, request: Request) {
        debug_assert!(self.has_room());
        let size = request.size();
        self.count += 1;
        self.held += size;
        let work = match request {
            Request::Submit { id, item } => service.answer_submit(item, self.ticket(id, size)),
            Request::Read { id } => service.answer_read(self.ticket(id, size)),
            Request::Query { id, query } => service.answer_query(query, self.ticket(id, size)),
        };
        self.work.extend(work);
    }

    fn ticket<T: Reply>(&self, id: u64, size: usize) -> Ticket<T> {
        Ticket {
            id,
            size,
            answers: Some(self.tell.clone()),
            what: PhantomData,
        }
    }

    /// Waits for an answer, and does meanwhile what has to be done for others.
    async fn answered(&mut self) -> Response {
        loop {
            tokio::select! {
                biased;
                Some(answered) = self.answers.recv() => return self.end(answered),
                Some(()) = self.work.next() => {}
                else => pending().await,
            }
        }
    }

    /// An answer that is there.
    fn next_answered(&mut self) -> Option<Response> {
        let answered = self.answers.try_recv().ok()?;
        Some(self.end(answered))
    }

    fn end(&mut self, (response, size): Answered) -> Response {
        self.count -= 1;
        self.held -= size;
        response
    }
}

/// Answers the requests of a stream, and says how the group is doing whenever that changes.
pub(super) async fn serve(
    service: &Arc<impl Serve>,
    halves: Halves,
    mut standings: Option<Standings>,
) -> Result<(), LinkError> {
    let Link { tx, mut rx } = Link::<Response, Request>::resume(halves, wire::MAX_FRAME);
    let mut half = tx.into_half();
    let mut under_way = Requests::new();
    let mut bytes = Vec::new();
    loop {
        tokio::select! {
            biased;
            response = under_way.answered() => {
                wire::encode_frame_onto(&response, wire::MAX_FRAME, &mut bytes)?;
                while bytes.len() < WRITE
                    && let Some(next) = under_way.next_answered()
                {
                    wire::encode_frame_onto(&next, wire::MAX_FRAME, &mut bytes)?;
                }
                half.write_all(&bytes).await?;
                emptied(&mut bytes);
            }
            standing = changed(&mut standings) => {
                let response = Response::Standing(standing);
                half.write_all(&wire::encode_frame(&response, wire::MAX_FRAME)?).await?;
            }
            request = rx.recv(), if under_way.has_room() => match request? {
                Some(request) => under_way.begin(service, request),
                None => return Ok(()),
            },
        }
    }
}

/// How the group is doing, once that has changed.
async fn changed(standings: &mut Option<Standings>) -> Standing {
    let next = match standings {
        Some(standings) => standings.next().await,
        None => None,
    };
    match next {
        Some(standing) => standing,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt as _;

    use super::*;
    use crate::{groups::proto::session::SessionId, rt::lock};

    /// Keeps the tickets of items, and says to a read how many there are.
    #[derive(Debug, Default)]
    struct Kept {
        tickets: Mutex<Vec<Ticket<(LogId, ItemReply)>>>,
    }

    impl Serve for Kept {
        fn answer_submit(self: &Arc<Self>, _: Item, ticket: Ticket<(LogId, ItemReply)>) -> Work {
            lock(&self.tickets).push(ticket);
            None
        }

        fn answer_read(self: &Arc<Self>, ticket: Ticket<Option<u64>>) -> Work {
            let kept = self.clone();
            let work = async move {
                tokio::task::yield_now().await;
                let count = lock(&kept.tickets).len();
                ticket.tell(Ok(Some(count as u64)));
            };
            Some(work.boxed())
        }
    }

    fn item(len: usize) -> Item {
        Item::Commands {
            request: crate::groups::proto::session::Request {
                session: SessionId(1),
                sequence: 1,
                unanswered: 1,
            },
            count: 1,
            commands: vec![0; len].into(),
        }
    }

    #[tokio::test]
    async fn each_request_gets_its_answer_and_room_is_given_back() {
        let (service, mut under_way) = (Arc::new(Kept::default()), Requests::new());
        for id in 0..4 {
            under_way.begin(
                &service,
                Request::Submit {
                    id,
                    item: item(100),
                },
            );
        }
        under_way.begin(&service, Request::Read { id: 4 });
        let query = Bytes::from_static(b"?");
        under_way.begin(&service, Request::Query { id: 5, query });
        assert_eq!((under_way.count, under_way.held), (6, 401));
        let tickets = std::mem::take(&mut *lock(&service.tickets));
        let at = LogId { term: 1, index: 9 };
        for (id, ticket) in tickets.into_iter().enumerate() {
            // Of the third nobody knows what became.
            if id != 2 {
                ticket.tell(Ok((at, ItemReply::Withdrawn)));
            }
        }
        let mut told = Vec::new();
        for _ in 0..6 {
            told.push(match under_way.answered().await {
                Response::Submitted { id, result } => (id, result.map(|(at, _)| Some(at.index))),
                Response::Read { id, result } => (id, result),
                Response::Queried { id, result } => (id, result.map(|_| None)),
                Response::Standing(standing) => panic!("{standing:?}"),
            });
        }
        told.sort_by_key(|(id, _)| *id);
        let applied = Ok(Some(9));
        assert_eq!(
            told,
            [
                (0, applied.clone()),
                (1, applied.clone()),
                (2, Err(Failed::Unknown)),
                (3, applied),
                (4, Ok(Some(0))),
                (5, Err(Failed::Malformed)),
            ]
        );
        assert_eq!((under_way.count, under_way.held), (0, 0));
        assert!(under_way.next_answered().is_none());
        assert!(under_way.answered().now_or_never().is_none());
    }

    #[tokio::test]
    async fn so_many_are_under_way_at_once_and_so_large() {
        let (service, mut under_way) = (Arc::new(Kept::default()), Requests::new());
        let submit = |id, len| Request::Submit {
            id,
            item: item(len),
        };
        while under_way.has_room() {
            under_way.begin(&service, submit(under_way.count as u64, 1));
        }
        assert_eq!(under_way.count, MAX_UNDER_WAY);
        drop(lock(&service.tickets).pop());
        assert!(!under_way.has_room());
        assert!(under_way.next_answered().is_some() && under_way.has_room());
        under_way.begin(&service, submit(0, MAX_HELD));
        lock(&service.tickets).drain(..100).for_each(drop);
        while under_way.count > MAX_UNDER_WAY - 100 {
            assert!(under_way.next_answered().is_some());
        }
        assert!(!under_way.has_room());
        lock(&service.tickets).clear();
        while under_way.next_answered().is_some() {}
        assert_eq!((under_way.count, under_way.held), (0, 0));
    }

    #[tokio::test]
    async fn who_answers_a_stream_that_is_gone_does_not_mind() {
        let (service, mut under_way) = (Arc::new(Kept::default()), Requests::new());
        under_way.begin(
            &service,
            Request::Submit {
                id: 0,
                item: item(1),
            },
        );
        drop(under_way);
        let ticket = lock(&service.tickets).pop().unwrap();
        ticket.tell(Err(Failed::Stopped));
    }
}
