//! Faults. The two checks see different things: a search sees answers, a log also places.

use super::{
    super::{
        History,
        Position::{After, Entry},
        samples::{
            Bank,
            BankOp::{Balances, Transfer},
            BankRet, Lock,
            LockOp::{Acquire, Release},
            Store,
            StoreOp::{Add, CompareAndSet, Get, Put},
            StoreRet::{Changed, Done, Value},
        },
    },
    Case, Verdicts, done, judge,
};

const NOT_LINEARIZABLE: &str = "not linearizable";

/// Name, story, and what the search and the check of the log say.
macro_rules! cases {
    ($($name:literal, $story:ident, $search:expr, $log:expr;)*) => {
        [$(Case { name: $name, story: $story, search: $search, log: $log }),*]
    };
}

pub(super) const CASES: [Case; 29] = cases![
    "a read is stale", stale_read, NOT_LINEARIZABLE, "stale";
    "an acknowledged write is lost", lost_write, NOT_LINEARIZABLE, "lost";
    "an increment is applied twice", doubled_increment, NOT_LINEARIZABLE, "doubled";
    "an unknown increment is applied twice", doubled_unknown, NOT_LINEARIZABLE, "doubled";
    "a refused write is read", failed_write, NOT_LINEARIZABLE, "resurrected";
    "both sides of a partition accept", split_brain, NOT_LINEARIZABLE, "lost";
    "a client's reads go back", non_monotonic_reads, NOT_LINEARIZABLE, "stale";
    "two clients win a lock", two_winners, NOT_LINEARIZABLE, "wrong answer";
    "a lock is released by another", foreign_release, NOT_LINEARIZABLE, "wrong answer";
    "a transfer creates money", money_from_nothing, NOT_LINEARIZABLE, "wrong answer";
    "a read sees half a transfer", torn_read, NOT_LINEARIZABLE, "wrong answer";
    "two transfers spend the same", double_spend, NOT_LINEARIZABLE, "wrong answer";
    "an acknowledged and read write is undone", undone_write, NOT_LINEARIZABLE, "lost";
    "a client's writes change places", reordered_writes, NOT_LINEARIZABLE, "out of order";
    "a read sees what is not yet asked", future_read, NOT_LINEARIZABLE, "out of order";
    "a read sees what nobody asked", thin_air, NOT_LINEARIZABLE, "wrong answer";
    "an unknown write appears and disappears", flickering_write, NOT_LINEARIZABLE, "wrong answer";
    "an unknown write takes effect before it", early_unknown, NOT_LINEARIZABLE, "out of order";
    "an update is lost", lost_update, NOT_LINEARIZABLE, "wrong answer";
    "a refused comparison writes", wrong_refusal, NOT_LINEARIZABLE, "wrong answer";
    "readers disagree on the order of writes", disagreement, NOT_LINEARIZABLE, "stale";
    "a replica behind serves a read", replica_behind, NOT_LINEARIZABLE, "stale";
    "a write is elsewhere than answered", moved_write, "passes", "moved";
    "a read is in the log", logged_read, "passes", "moved";
    "the log holds what nobody asked", phantom, "passes", "phantom";
    "the log goes back", disordered, "passes", "disordered";
    "two entries share a position", shared_position, "passes", "disordered";
    "a read is ahead of its position", early_read, "passes", "wrong answer";
    "an answer has no position", no_position, "passes", "the history is malformed";
];

fn stale_read() -> Verdicts {
    let history = History::new();
    let put = done(&history, 1, Put(0, 1), Done, Entry(1));
    done(&history, 2, Get(0), Value(0), After(0));
    judge(&Store, &history, &[(1, put)])
}

fn lost_write() -> Verdicts {
    let history = History::new();
    done(&history, 1, Put(0, 1), Done, Entry(1));
    let put = done(&history, 1, Put(1, 1), Done, Entry(2));
    done(&history, 2, Get(0), Value(0), After(2));
    judge(&Store, &history, &[(2, put)])
}

fn doubled_increment() -> Verdicts {
    let history = History::new();
    let add = done(&history, 1, Add(0, 1), Value(1), Entry(1));
    done(&history, 1, Get(0), Value(2), After(2));
    judge(&Store, &history, &[(1, add), (2, add)])
}

fn doubled_unknown() -> Verdicts {
    let history = History::new();
    let add = history.invoke(1, Add(0, 1));
    done(&history, 2, Get(0), Value(2), After(2));
    judge(&Store, &history, &[(1, add.id()), (2, add.id())])
}

fn failed_write() -> Verdicts {
    let history = History::new();
    let put = history.invoke(1, Put(0, 1));
    let id = put.id();
    put.failed();
    done(&history, 2, Get(0), Value(1), After(1));
    judge(&Store, &history, &[(1, id)])
}

fn split_brain() -> Verdicts {
    let history = History::new();
    let majority = history.invoke(1, CompareAndSet(0, 0, 1));
    let minority = history.invoke(2, CompareAndSet(0, 0, 2));
    let survivor = majority.id();
    minority.ok_at(Changed(true), Entry(1));
    majority.ok_at(Changed(true), Entry(1));
    judge(&Store, &history, &[(1, survivor)])
}

fn non_monotonic_reads() -> Verdicts {
    let history = History::new();
    let put = history.invoke(1, Put(0, 1));
    done(&history, 2, Get(0), Value(1), After(1));
    done(&history, 2, Get(0), Value(0), After(0));
    judge(&Store, &history, &[(1, put.id())])
}

fn two_winners() -> Verdicts {
    let history = History::new();
    let first = done(&history, 1, Acquire(1), true, Entry(1));
    let second = done(&history, 2, Acquire(2), true, Entry(2));
    judge(&Lock, &history, &[(1, first), (2, second)])
}

fn foreign_release() -> Verdicts {
    let history = History::new();
    let acquire = done(&history, 1, Acquire(1), true, Entry(1));
    let release = done(&history, 2, Release(2), true, Entry(2));
    judge(&Lock, &history, &[(1, acquire), (2, release)])
}

fn money_from_nothing() -> Verdicts {
    let history = History::new();
    let transfer = done(
        &history,
        1,
        Transfer(0, 1, 5),
        BankRet::Moved(true),
        Entry(1),
    );
    let balances = BankRet::Balances([10, 15, 10]);
    done(&history, 2, Balances, balances, After(1));
    judge(&Bank, &history, &[(1, transfer)])
}

fn torn_read() -> Verdicts {
    let history = History::new();
    let transfer = history.invoke(1, Transfer(0, 1, 5));
    let id = transfer.id();
    done(
        &history,
        2,
        Balances,
        BankRet::Balances([5, 10, 10]),
        After(1),
    );
    transfer.ok_at(BankRet::Moved(true), Entry(1));
    judge(&Bank, &history, &[(1, id)])
}

fn double_spend() -> Verdicts {
    let history = History::new();
    let first = history.invoke(1, Transfer(0, 1, 8));
    let second = history.invoke(2, Transfer(0, 2, 8));
    let log = [(1, first.id()), (2, second.id())];
    first.ok_at(BankRet::Moved(true), Entry(1));
    second.ok_at(BankRet::Moved(true), Entry(2));
    judge(&Bank, &history, &log)
}

fn undone_write() -> Verdicts {
    let history = History::new();
    done(&history, 1, Put(0, 1), Done, Entry(1));
    done(&history, 2, Get(0), Value(1), After(1));
    done(&history, 3, Get(0), Value(0), After(1));
    judge(&Store, &history, &[])
}

fn reordered_writes() -> Verdicts {
    let history = History::new();
    let first = done(&history, 1, Put(0, 1), Done, Entry(2));
    let second = done(&history, 1, Put(0, 2), Done, Entry(1));
    done(&history, 2, Get(0), Value(1), After(2));
    judge(&Store, &history, &[(1, second), (2, first)])
}

fn future_read() -> Verdicts {
    let history = History::new();
    done(&history, 1, Get(0), Value(1), After(1));
    let put = done(&history, 2, Put(0, 1), Done, Entry(1));
    judge(&Store, &history, &[(1, put)])
}

fn thin_air() -> Verdicts {
    let history = History::new();
    let put = done(&history, 1, Put(0, 1), Done, Entry(1));
    done(&history, 2, Get(0), Value(7), After(1));
    judge(&Store, &history, &[(1, put)])
}

fn flickering_write() -> Verdicts {
    let history = History::new();
    let put = history.invoke(1, Put(0, 1));
    let id = put.id();
    put.unknown();
    done(&history, 2, Get(0), Value(1), After(1));
    done(&history, 2, Get(0), Value(0), After(1));
    judge(&Store, &history, &[(1, id)])
}

fn early_unknown() -> Verdicts {
    let history = History::new();
    let before = done(&history, 1, Put(0, 1), Done, Entry(2));
    let unknown = history.invoke(2, Add(0, 5));
    done(&history, 3, Get(0), Value(5), After(1));
    judge(&Store, &history, &[(1, unknown.id()), (2, before)])
}

fn lost_update() -> Verdicts {
    let history = History::new();
    let first = history.invoke(1, Add(0, 1));
    let second = history.invoke(2, Add(0, 1));
    let log = [(1, first.id()), (2, second.id())];
    first.ok_at(Value(1), Entry(1));
    second.ok_at(Value(1), Entry(2));
    judge(&Store, &history, &log)
}

fn wrong_refusal() -> Verdicts {
    let history = History::new();
    let refused = done(
        &history,
        1,
        CompareAndSet(0, 9, 1),
        Changed(false),
        Entry(1),
    );
    done(&history, 2, Get(0), Value(1), After(1));
    judge(&Store, &history, &[(1, refused)])
}

fn disagreement() -> Verdicts {
    let history = History::new();
    let one = history.invoke(1, Put(0, 1));
    let two = history.invoke(2, Put(0, 2));
    let log = [(1, one.id()), (2, two.id())];
    done(&history, 3, Get(0), Value(1), After(1));
    done(&history, 4, Get(0), Value(2), After(2));
    done(&history, 3, Get(0), Value(2), After(2));
    done(&history, 4, Get(0), Value(1), After(1));
    one.ok_at(Done, Entry(1));
    two.ok_at(Done, Entry(2));
    judge(&Store, &history, &log)
}

fn replica_behind() -> Verdicts {
    let history = History::new();
    let first = done(&history, 1, Put(0, 1), Done, Entry(1));
    let second = done(&history, 1, Put(0, 2), Done, Entry(2));
    done(&history, 2, Get(0), Value(1), After(1));
    judge(&Store, &history, &[(1, first), (2, second)])
}

fn moved_write() -> Verdicts {
    let history = History::new();
    let put = done(&history, 1, Put(0, 1), Done, Entry(1));
    judge(&Store, &history, &[(2, put)])
}

fn logged_read() -> Verdicts {
    let history = History::new();
    let get = done(&history, 1, Get(0), Value(0), After(1));
    judge(&Store, &history, &[(1, get)])
}

fn phantom() -> Verdicts {
    let history = History::new();
    let put = done(&history, 1, Put(0, 1), Done, Entry(1));
    judge(&Store, &history, &[(1, put), (2, 77.into())])
}

fn disordered() -> Verdicts {
    let history = History::new();
    let first = done(&history, 1, Put(0, 1), Done, Entry(1));
    let second = done(&history, 1, Put(0, 2), Done, Entry(2));
    judge(&Store, &history, &[(2, second), (1, first)])
}

fn shared_position() -> Verdicts {
    let history = History::new();
    let first = done(&history, 1, Put(0, 1), Done, Entry(1));
    let second = done(&history, 1, Put(0, 2), Done, Entry(1));
    judge(&Store, &history, &[(1, first), (1, second)])
}

fn early_read() -> Verdicts {
    let history = History::new();
    let put = history.invoke(1, Put(0, 1));
    let id = put.id();
    done(&history, 2, Get(0), Value(1), After(0));
    put.ok_at(Done, Entry(1));
    judge(&Store, &history, &[(1, id)])
}

fn no_position() -> Verdicts {
    let history = History::new();
    let put = history.invoke(1, Put(0, 1));
    let id = put.id();
    put.ok(Done);
    judge(&Store, &history, &[(1, id)])
}
