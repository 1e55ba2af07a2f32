//! Models of liveness: from every state that can be reached, if no more goes wrong and all machines are up
//! and connected, the protocol's own timers lead to an established charter within two minutes.

use super::{model::Plan, safety::check};

#[test]
fn two_founders_are_never_stuck() {
    let plan = Plan {
        live: true,
        charters: 2,
        ..Plan::new(2, 2)
    };
    check(
        "N=2, 3 machines, live",
        Plan {
            machines: 3,
            ..plan
        },
    );
    check(
        "N=2, 2 machines, 1 volatile restart, live",
        Plan {
            restarts: 1,
            ..plan
        },
    );
    check(
        "N=2, 2 machines, 1 durable restart, live",
        Plan {
            charters: 1,
            durable: true,
            restarts: 1,
            ..plan
        },
    );
}

#[test]
fn three_founders_are_never_stuck() {
    check(
        "N=3, 3 machines, live",
        Plan {
            live: true,
            ..Plan::new(3, 3)
        },
    );
}

#[test]
fn three_founders_that_restart_are_never_stuck() {
    let plan = Plan {
        announce: false,
        live: true,
        restarts: 1,
        ..Plan::new(3, 3)
    };
    check("N=3, 3 machines, 1 volatile restart, live", plan);
}

#[test]
#[ignore = "minutes in release"]
fn large() {
    let plan = Plan {
        live: true,
        announce: false,
        ..Plan::new(3, 3)
    };
    check(
        "N=3, 3 machines, 2 volatile restarts, live",
        Plan {
            restarts: 2,
            ..plan
        },
    );
    check(
        "N=3, 3 machines, 2 charters, live",
        Plan {
            charters: 2,
            ..plan
        },
    );
    check(
        "N=3, 3 machines, 1 durable restart, live",
        Plan {
            durable: true,
            restarts: 1,
            ..plan
        },
    );
}
