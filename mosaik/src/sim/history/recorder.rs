//! The recorder that clients share.

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    digest::Digest,
    operation::{Operation, OperationId, Outcome, Position},
};

/// Most operations that a [`History::new`] takes.
pub const DEFAULT_CAPACITY: usize = 1_000_000;

/// What the clients of a system asked and were answered, in the order in which it happened.
///
/// A handle, cheap to clone and shared between threads and tasks. Note an invocation *before* the request
/// is sent and a completion *after* the answer has arrived:
///
/// ```
/// use mosaik::sim::history::History;
///
/// let history = History::new();
/// let pending = history.invoke(1, "increment");
/// let answer: Result<u64, std::io::Error> = Ok(7);
/// match answer {
///     Ok(value) => pending.ok(value),
///     // Refused for certain: `pending.failed()`. A broken connection proves nothing.
///     Err(_) => pending.unknown(),
/// }
/// assert_eq!(history.operations()[0].ret(), Some(&7));
/// ```
///
/// Stamps are sequence numbers, given when something is noted: no clock is read, so that two runs of one
/// seed record the same history.
pub struct History<O, R> {
    recording: Arc<Mutex<Recording<O, R>>>,
}

struct Recording<O, R> {
    capacity: usize,
    /// The id of an operation is its index.
    operations: Vec<Operation<O, R>>,
    next_stamp: u64,
}

impl<O, R> History<O, R> {
    /// An empty history for up to [`DEFAULT_CAPACITY`] operations.
    pub fn new() -> Self {
        Self::with_capacity(DEFAULT_CAPACITY)
    }

    /// An empty history for up to `capacity` operations.
    pub fn with_capacity(capacity: usize) -> Self {
        let recording = Recording {
            capacity,
            operations: Vec::new(),
            next_stamp: 0,
        };
        Self {
            recording: Arc::new(Mutex::new(recording)),
        }
    }

    /// Notes that `client` is about to ask for `op`.
    ///
    /// # Panics
    ///
    /// If the history is full: record less, or give it more room with [`History::with_capacity`].
    pub fn invoke(&self, client: u64, op: O) -> Pending<O, R> {
        let mut recording = self.lock();
        let capacity = recording.capacity;
        if recording.operations.len() >= capacity {
            // The other clients' notes are still good.
            drop(recording);
            panic!("the history is full: it takes {capacity} operations, see `with_capacity`");
        }
        let id = OperationId::from(recording.operations.len() as u64);
        let invoked = recording.stamp();
        let operation = Operation::new(id, client, op, invoked);
        recording.operations.push(operation);
        Pending {
            history: self.clone(),
            index: recording.operations.len() - 1,
            id,
        }
    }

    /// Number of operations so far.
    pub fn len(&self) -> usize {
        self.lock().operations.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The operations so far, by invocation. Those that are still pending are of unknown outcome.
    pub fn operations(&self) -> Vec<Operation<O, R>>
    where
        O: Clone,
        R: Clone,
    {
        self.lock().operations.clone()
    }

    /// A number that tells two histories apart: FNV-1a over everything that was noted.
    ///
    /// It is the same on every platform and in every run, for as long as the [`Debug`](fmt::Debug) forms
    /// of `O` and `R` are. Beware of a `HashMap` in them: its order differs between runs.
    pub fn digest(&self) -> u64
    where
        O: fmt::Debug,
        R: fmt::Debug,
    {
        let mut digest = Digest::new();
        for operation in &self.lock().operations {
            writeln!(digest, "{operation}").expect("a digest takes everything");
        }
        digest.finish()
    }

    fn lock(&self) -> MutexGuard<'_, Recording<O, R>> {
        // Nothing that can panic happens in the middle of a change.
        self.recording
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O, R> Recording<O, R> {
    fn stamp(&mut self) -> u64 {
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        stamp
    }
}

impl<O, R> Clone for History<O, R> {
    fn clone(&self) -> Self {
        Self {
            recording: self.recording.clone(),
        }
    }
}

impl<O, R> Default for History<O, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O, R> fmt::Debug for History<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recording = self.lock();
        f.debug_struct("History")
            .field("len", &recording.operations.len())
            .field("capacity", &recording.capacity)
            .finish()
    }
}

/// An operation that was invoked and has not completed.
///
/// Dropped, it stays of unknown outcome, as if its client had crashed.
#[must_use = "an operation that nobody completes is of unknown outcome"]
pub struct Pending<O, R> {
    history: History<O, R>,
    index: usize,
    id: OperationId,
}

impl<O, R> Pending<O, R> {
    /// The operation's name. Let it travel with the request, for replicas to note what they apply.
    pub fn id(&self) -> OperationId {
        self.id
    }

    /// It was answered: it took effect.
    pub fn ok(self, ret: R) {
        self.complete(|completed| Outcome::Ok {
            completed,
            ret,
            position: None,
        });
    }

    /// It was answered: it took effect at `position` of the replicated log.
    pub fn ok_at(self, ret: R, position: Position) {
        self.complete(|completed| Outcome::Ok {
            completed,
            ret,
            position: Some(position),
        });
    }

    /// It definitely did not happen, and will not.
    pub fn failed(self) {
        self.complete(|completed| Outcome::Failed { completed });
    }

    /// It may have happened, may yet happen, or may never: a timeout, a lost connection.
    pub fn unknown(self) {
        drop(self);
    }

    fn complete(self, outcome: impl FnOnce(u64) -> Outcome<R>) {
        let mut recording = self.history.lock();
        let completed = recording.stamp();
        recording.operations[self.index].set_outcome(outcome(completed));
    }
}

impl<O, R> fmt::Debug for Pending<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pending").field(&self.id).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(history: &History<&'static str, u64>) -> Vec<Outcome<u64>> {
        let operations = history.operations();
        operations.iter().map(|o| o.outcome().clone()).collect()
    }

    #[test]
    fn each_way_to_complete_is_an_outcome() {
        let history = History::new();
        let open = history.invoke(1, "open");
        history.invoke(2, "ok").ok(7);
        history.invoke(2, "at").ok_at(8, Position::Entry(3));
        history.invoke(2, "failed").failed();
        history.invoke(2, "unknown").unknown();
        drop(history.invoke(3, "crashed"));
        let expected = [
            Outcome::Unknown,
            Outcome::Ok {
                completed: 2,
                ret: 7,
                position: None,
            },
            Outcome::Ok {
                completed: 4,
                ret: 8,
                position: Some(Position::Entry(3)),
            },
            Outcome::Failed { completed: 6 },
            Outcome::Unknown,
            Outcome::Unknown,
        ];
        assert_eq!(outcomes(&history), expected);
        open.ok(1);
        assert_eq!(history.operations()[0].completed(), Some(9));
    }

    #[test]
    fn ids_and_stamps_are_unique_across_threads() {
        let history = History::<u64, u64>::new();
        std::thread::scope(|scope| {
            for client in 0..4 {
                let history = history.clone();
                scope.spawn(move || (0..250).for_each(|op| history.invoke(client, op).ok(op)));
            }
        });
        let operations = history.operations();
        let mut stamps: Vec<u64> = operations
            .iter()
            .flat_map(|o| [Some(o.invoked()), o.completed()])
            .flatten()
            .collect();
        stamps.sort_unstable();
        assert!(stamps.into_iter().eq(0..2000));
        let ids = operations.iter().map(|o| u64::from(o.id()));
        assert!(ids.eq(0..1000));
    }

    #[test]
    fn the_digest_tells_histories_apart() {
        let record = |ret| {
            let history = History::new();
            history.invoke(1, "get").ok(ret);
            history.digest()
        };
        assert_eq!(record(1), record(1));
        assert_ne!(record(1), record(2));
        // Fixed for good: digests of earlier runs are compared with.
        assert_eq!(record(1), 0x3488_e97b_14ed_2b72);
    }

    #[test]
    fn a_full_history_says_so_and_keeps_what_it_has() {
        let history = History::<&str, u64>::with_capacity(1);
        let first = history.invoke(1, "first");
        let overfull = std::panic::AssertUnwindSafe(|| history.invoke(1, "second").unknown());
        let panic = std::panic::catch_unwind(overfull).unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("takes 1 operations"), "{message}");
        first.ok(5);
        assert_eq!(
            (history.len(), history.operations()[0].ret()),
            (1, Some(&5))
        );
    }
}
