//! Models of safety: of two established charters one descends from the other, or is lost entirely.

use stateright::{Checker, Model};

use super::model::Plan;

/// Explores everything that `plan` allows and checks its properties in every state.
#[expect(
    clippy::print_stdout,
    reason = "how much was explored is worth knowing"
)]
pub(super) fn check(name: &str, plan: Plan) {
    let checker = plan.checker().threads(2).spawn_bfs().join();
    println!("{name}: {} states", checker.unique_state_count());
    for (property, path) in checker.discoveries() {
        let wanted = property == "a charter";
        assert!(
            wanted,
            "{name}: not `{property}`: {:#?}",
            path.into_actions()
        );
    }
    checker.assert_any_discovery("a charter");
}

#[test]
fn one_founder() {
    check(
        "N=1, 1 boot",
        Plan {
            charters: 2,
            ..Plan::new(1, 1)
        },
    );
}

#[test]
fn two_founders_of_three_boots() {
    let plan = Plan {
        charters: 2,
        ..Plan::new(2, 3)
    };
    check(
        "N=2, 3 machines, exact",
        Plan {
            exact: true,
            unbonds: 1,
            ..plan
        },
    );
    check("N=2, 3 machines", plan);
    check(
        "N=2, 3 machines, 3 charters",
        Plan {
            charters: 3,
            ..plan
        },
    );
}

#[test]
fn two_founders_that_restart() {
    let plan = Plan {
        charters: 2,
        restarts: 1,
        ..Plan::new(2, 2)
    };
    check(
        "N=2, 2 machines, 1 volatile restart, exact",
        Plan {
            exact: true,
            unbonds: 1,
            ..plan
        },
    );
    check(
        "N=2, 2 machines, 1 volatile restart",
        Plan {
            charters: 3,
            ..plan
        },
    );
    check(
        "N=2, 2 machines, 1 durable restart",
        Plan {
            durable: true,
            ..plan
        },
    );
}

/// Three founders; what is left out to keep it small is in the other models: that a charter is announced.
const THREE: Plan = Plan {
    announce: false,
    ..Plan::new(3, 3)
};

#[test]
fn three_founders() {
    check(
        "N=3, 3 machines, 1 volatile restart",
        Plan {
            restarts: 1,
            ..THREE
        },
    );
}

#[test]
#[ignore = "seconds in release"]
fn three_founders_further() {
    check(
        "N=3, 3 machines, 2 charters",
        Plan {
            charters: 2,
            ..THREE
        },
    );
    check(
        "N=3, 3 machines, 2 volatile restarts",
        Plan {
            restarts: 2,
            ..THREE
        },
    );
    check(
        "N=3, 3 machines, 1 durable restart",
        Plan {
            durable: true,
            restarts: 1,
            ..THREE
        },
    );
}

#[test]
#[ignore = "seconds in release"]
fn two_founders_of_three_boots_that_restart() {
    let plan = Plan {
        charters: 2,
        durable: true,
        restarts: 1,
        ..Plan::new(2, 3)
    };
    check("N=2, 3 machines, 2 charters, 1 durable restart", plan);
}

#[test]
#[ignore = "minutes in release"]
fn three_founders_of_four_boots() {
    check(
        "N=3, 4 machines, 2 charters",
        Plan {
            machines: 4,
            charters: 2,
            ..THREE
        },
    );
}

#[test]
#[ignore = "many minutes in release"]
fn three_founders_of_five_boots() {
    check(
        "N=3, 5 machines, 2 charters",
        Plan {
            machines: 5,
            charters: 2,
            ..THREE
        },
    );
}

#[test]
#[ignore = "many minutes in release"]
fn three_founders_of_three_machines_and_five_boots() {
    check(
        "N=3, 3 machines, 2 charters, 2 volatile restarts",
        Plan {
            charters: 2,
            restarts: 2,
            ..THREE
        },
    );
}

#[test]
#[ignore = "minutes in release"]
fn three_founders_of_three_machines_and_four_boots() {
    let plan = Plan {
        charters: 2,
        restarts: 1,
        ..THREE
    };
    check("N=3, 3 machines, 2 charters, 1 volatile restart", plan);
}
