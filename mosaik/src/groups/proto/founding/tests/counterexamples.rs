//! What the protocol does not promise, and what it would break without its rules: each is found.

use stateright::{Checker, Model};

use super::model::{Action, Plan};

/// Searches for a run that establishes two charters, neither of them lost, and returns what happens in it.
fn find(plan: Plan) -> Vec<Action> {
    let checker = plan.checker().spawn_bfs().join();
    let found = checker.discovery("at most one charter");
    found.expect("a run with two charters").into_actions()
}

/// With twice as many boots as founders two charters need not share one: the bound is exact.
#[test]
fn twice_as_many_boots_found_two_charters() {
    find(Plan {
        charters: 2,
        ..Plan::new(1, 2)
    });
    find(Plan {
        charters: 2,
        announce: false,
        ..Plan::new(2, 4)
    });
}

#[test]
#[ignore = "minutes in release"]
fn six_boots_found_two_charters_of_three() {
    let plan = Plan {
        charters: 2,
        announce: false,
        ..Plan::new(3, 6)
    };
    let checker = plan.checker().spawn_dfs().join();
    assert!(checker.discovery("at most one charter").is_some());
}

/// If only a *command* in the log kept the last survivor from forgetting its charter, three boots would do
/// for two founders: both seal and hold the leader's first entry, which the leader commits and announces;
/// it restarts; the other forgets, and founds again with the new boot. So any entry of a leader counts,
/// and the survivor recovers instead, by a descendant.
#[test]
fn forgetting_a_log_without_commands_founds_two_charters() {
    let plan = Plan {
        charters: 2,
        restarts: 1,
        ..Plan::new(2, 2)
    };
    let actions = find(Plan {
        entries: false,
        ..plan
    });
    let restarts = actions
        .iter()
        .filter(|action| matches!(action, Action::Restart(..)));
    assert_eq!(restarts.count(), 1);
    let checker = plan.checker().spawn_bfs().join();
    assert!(checker.discovery("at most one charter").is_none());
}
