//! Near misses: what looks like a fault, and is none.

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

macro_rules! cases {
    ($($name:literal, $story:ident;)*) => {
        [$(Case { name: $name, story: $story, search: "passes", log: "passes" }),*]
    };
}

pub(super) const CASES: [Case; 21] = cases![
    "nothing happened", nothing;
    "a read under way with a write sees the old value", concurrent_read_old;
    "a read under way with a write sees the new value", concurrent_read_new;
    "overlapping reads of a write go either way", overlapping_reads;
    "a refused write is not seen", failed_write;
    "an unknown write never appears", unknown_never;
    "an unknown write appears late", unknown_late;
    "an unknown write appears between others", unknown_between;
    "an unknown increment counts once", unknown_increment;
    "an unknown read means nothing", unknown_read;
    "one side of a partition accepts", no_split_brain;
    "concurrent writes take effect in the order that readers saw", concurrent_writes;
    "a lock goes from hand to hand", lock_handed_on;
    "a lock that an unknown client took and released", lock_unknown;
    "a transfer moves money", money_moved;
    "the second transfer of the same is refused", no_double_spend;
    "a comparison is refused", right_refusal;
    "independent keys go their own ways", independent_keys;
    "the log has holes", holes;
    "a read is after an entry of the system", read_beyond;
    "a read is fresher than it must be", fresher;
];

fn nothing() -> Verdicts {
    judge(&Store, &History::new(), &[])
}

fn concurrent_read_old() -> Verdicts {
    let history = History::new();
    let put = history.invoke(1, Put(0, 1));
    let id = put.id();
    done(&history, 2, Get(0), Value(0), After(0));
    put.ok_at(Done, Entry(1));
    judge(&Store, &history, &[(1, id)])
}

fn concurrent_read_new() -> Verdicts {
    let history = History::new();
    let put = history.invoke(1, Put(0, 1));
    let id = put.id();
    done(&history, 2, Get(0), Value(1), After(1));
    put.ok_at(Done, Entry(1));
    judge(&Store, &history, &[(1, id)])
}

fn overlapping_reads() -> Verdicts {
    let history = History::new();
    let put = history.invoke(1, Put(0, 1));
    let id = put.id();
    let slow = history.invoke(2, Get(0));
    done(&history, 3, Get(0), Value(1), After(1));
    slow.ok_at(Value(0), After(0));
    put.ok_at(Done, Entry(1));
    judge(&Store, &history, &[(1, id)])
}

fn failed_write() -> Verdicts {
    let history = History::new();
    history.invoke(1, Put(0, 1)).failed();
    done(&history, 2, Get(0), Value(0), After(0));
    judge(&Store, &history, &[])
}

fn unknown_never() -> Verdicts {
    let history = History::new();
    drop(history.invoke(1, Put(0, 1)));
    done(&history, 2, Get(0), Value(0), After(0));
    judge(&Store, &history, &[])
}

fn unknown_late() -> Verdicts {
    let history = History::new();
    let lost = history.invoke(1, Put(0, 1));
    let id = lost.id();
    lost.unknown();
    done(&history, 2, Get(0), Value(0), After(0));
    let put = done(&history, 2, Put(0, 2), Done, Entry(1));
    done(&history, 2, Get(0), Value(2), After(1));
    done(&history, 2, Get(0), Value(1), After(2));
    judge(&Store, &history, &[(1, put), (2, id)])
}

fn unknown_between() -> Verdicts {
    let history = History::new();
    let lost = history.invoke(1, Put(0, 1));
    let put = history.invoke(2, CompareAndSet(0, 1, 2));
    let log = [(1, lost.id()), (2, put.id())];
    lost.unknown();
    put.ok_at(Changed(true), Entry(2));
    done(&history, 3, Get(0), Value(2), After(2));
    judge(&Store, &history, &log)
}

fn unknown_increment() -> Verdicts {
    let history = History::new();
    let lost = history.invoke(1, Add(0, 1));
    let id = lost.id();
    drop(lost);
    drop(history.invoke(1, Add(0, 1)));
    let add = done(&history, 2, Add(0, 1), Value(2), Entry(2));
    done(&history, 2, Get(0), Value(2), After(2));
    judge(&Store, &history, &[(1, id), (2, add)])
}

fn unknown_read() -> Verdicts {
    let history = History::new();
    drop(history.invoke(1, Get(0)));
    let put = done(&history, 2, Put(0, 1), Done, Entry(1));
    judge(&Store, &history, &[(1, put)])
}

fn no_split_brain() -> Verdicts {
    let history = History::new();
    let majority = history.invoke(1, CompareAndSet(0, 0, 1));
    let minority = history.invoke(2, CompareAndSet(0, 0, 2));
    let log = [(1, majority.id()), (2, minority.id())];
    minority.ok_at(Changed(false), Entry(2));
    majority.ok_at(Changed(true), Entry(1));
    judge(&Store, &history, &log)
}

fn concurrent_writes() -> Verdicts {
    let history = History::new();
    let one = history.invoke(1, Put(0, 1));
    let two = history.invoke(2, Put(0, 2));
    let log = [(1, two.id()), (2, one.id())];
    done(&history, 3, Get(0), Value(2), After(1));
    done(&history, 4, Get(0), Value(1), After(2));
    one.ok_at(Done, Entry(2));
    two.ok_at(Done, Entry(1));
    judge(&Store, &history, &log)
}

fn lock_handed_on() -> Verdicts {
    let history = History::new();
    let first = done(&history, 1, Acquire(1), true, Entry(1));
    let refused = done(&history, 2, Acquire(2), false, Entry(2));
    let release = history.invoke(1, Release(1));
    let second = history.invoke(2, Acquire(2));
    let log = [
        (1, first),
        (2, refused),
        (3, release.id()),
        (4, second.id()),
    ];
    second.ok_at(true, Entry(4));
    release.ok_at(true, Entry(3));
    judge(&Lock, &history, &log)
}

fn lock_unknown() -> Verdicts {
    let history = History::new();
    let acquire = history.invoke(1, Acquire(1));
    let release = history.invoke(1, Release(1));
    let (acquired, released) = (acquire.id(), release.id());
    let refused = done(&history, 2, Acquire(2), false, Entry(2));
    let granted = done(&history, 2, Acquire(2), true, Entry(4));
    let log = [(1, acquired), (2, refused), (3, released), (4, granted)];
    judge(&Lock, &history, &log)
}

fn money_moved() -> Verdicts {
    let history = History::new();
    let transfer = done(
        &history,
        1,
        Transfer(0, 1, 5),
        BankRet::Moved(true),
        Entry(1),
    );
    let balances = BankRet::Balances([5, 15, 10]);
    done(&history, 2, Balances, balances, After(1));
    judge(&Bank, &history, &[(1, transfer)])
}

fn no_double_spend() -> Verdicts {
    let history = History::new();
    let first = history.invoke(1, Transfer(0, 1, 8));
    let second = history.invoke(2, Transfer(0, 2, 8));
    let log = [(1, second.id()), (2, first.id())];
    first.ok_at(BankRet::Moved(false), Entry(2));
    second.ok_at(BankRet::Moved(true), Entry(1));
    judge(&Bank, &history, &log)
}

fn right_refusal() -> Verdicts {
    let history = History::new();
    let refused = done(
        &history,
        1,
        CompareAndSet(0, 9, 1),
        Changed(false),
        Entry(1),
    );
    done(&history, 2, Get(0), Value(0), After(1));
    judge(&Store, &history, &[(1, refused)])
}

fn independent_keys() -> Verdicts {
    let history = History::new();
    let slow = history.invoke(1, Put(0, 1));
    let quick = done(&history, 2, Put(1, 1), Done, Entry(1));
    done(&history, 2, Get(0), Value(0), After(1));
    let log = [(1, quick), (2, slow.id())];
    slow.ok_at(Done, Entry(2));
    judge(&Store, &history, &log)
}

fn holes() -> Verdicts {
    let history = History::new();
    let first = done(&history, 1, Put(0, 1), Done, Entry(3));
    let second = done(&history, 1, Put(0, 2), Done, Entry(9));
    done(&history, 1, Get(0), Value(2), After(9));
    judge(&Store, &history, &[(3, first), (9, second)])
}

fn read_beyond() -> Verdicts {
    let history = History::new();
    let put = done(&history, 1, Put(0, 1), Done, Entry(1));
    done(&history, 1, Get(0), Value(1), After(4));
    judge(&Store, &history, &[(1, put)])
}

fn fresher() -> Verdicts {
    let history = History::new();
    let get = history.invoke(1, Get(0));
    let put = done(&history, 2, Put(0, 1), Done, Entry(1));
    get.ok_at(Value(1), After(1));
    judge(&Store, &history, &[(1, put)])
}
