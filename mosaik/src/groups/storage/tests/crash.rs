//! Power cuts and errors at every change of the disk.

use std::{io, path::Path};

use super::{DIR, History, Run, simulated};
use crate::{
    groups::storage::{Failure, WriteError},
    rt::machine::Machine,
};

/// Writes of each group.
const WRITES: usize = 12;

/// Two groups that are written at once, and what a life of their storage does.
struct Life {
    histories: [History; 2],
    /// The boots, once they are known to be on the disk.
    boots: [Option<u64>; 2],
}

impl Life {
    fn new(seed: u64) -> Self {
        Self {
            histories: [History::new("a", seed), History::new("b", seed + 1)],
            boots: [None; 2],
        }
    }

    /// Writes until all is done or something fails.
    async fn write(&mut self, run: &Run) -> Result<(), WriteError> {
        let mut logs = Vec::new();
        for (history, boot) in self.histories.iter().zip(&mut self.boots) {
            let log = run.storage.open_group(history.group).await?;
            assert!(boot.is_none_or(|boot| boot == log.state().boot));
            *boot = Some(log.state().boot);
            logs.push(log);
        }
        let [a, b] = &mut self.histories;
        let (a, b) = tokio::join!(a.write(&logs[0], WRITES), b.write(&logs[1], WRITES));
        a.and(b)
    }

    /// Checks what is there, and forgets what is not.
    async fn check(&mut self, run: &Run) {
        for (history, boot) in self.histories.iter().zip(&self.boots) {
            let log = run.storage.open_group(history.group).await.unwrap();
            let found = log.state();
            assert!(
                boot.is_none_or(|boot| boot == found.boot),
                "a member forgot itself"
            );
            history.check(&log).await;
        }
    }
}

/// Lets `fault` strike after so many changes, then the power be cut. Returns whether it struck.
async fn strike(machine: &Machine, seed: u64, fault: impl Fn(&Machine), errors: bool) -> bool {
    let mut life = Life::new(seed);
    fault(machine);
    let struck = match Run::open(Path::new(DIR)).await {
        Ok(run) => {
            let written = life.write(&run).await;
            if let Err(error) = &written {
                assert!(
                    matches!(error, WriteError::Failed(Failure::Io { .. })),
                    "{error}"
                );
                let again = life.write(&run).await.unwrap_err();
                assert_eq!(&again, error, "the failure is everybody's");
            } else {
                run.storage.close().await;
            }
            let failure = run.storage.failure().borrow().clone();
            machine.disk().crash();
            run.kill().await;
            written.is_err() || failure.is_some()
        }
        Err(error) => {
            assert!(error.to_string().contains(DIR), "{error}");
            machine.disk().crash();
            true
        }
    };
    if errors {
        machine
            .disk()
            .set_faults(|faults| *faults = Default::default());
    }
    // Recovery is a life like others.
    machine
        .disk()
        .set_faults(|faults| faults.cut_after = Some(seed % 11));
    if let Ok(run) = Run::open(Path::new(DIR)).await {
        machine.disk().crash();
        run.kill().await;
    }
    machine.disk().crash();
    let run = Run::open(Path::new(DIR)).await.unwrap();
    life.check(&run).await;
    run.storage.close().await;
    struck
}

fn at_every_change(seeds: u64, fault: impl Fn(&Machine, u64), errors: bool) {
    for seed in 0..seeds {
        let mut changes = 0;
        loop {
            let struck = simulated(seed * 1000 + changes, async |machine| {
                strike(
                    &machine,
                    seed + changes,
                    |machine| fault(machine, changes),
                    errors,
                )
                .await
            });
            if !struck {
                break;
            }
            changes += 1;
        }
        assert!(changes > 50, "{changes} changes are not much of a life");
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_every_change() {
    let cut = |machine: &Machine, after| {
        machine
            .disk()
            .set_faults(|faults| faults.cut_after = Some(after));
    };
    at_every_change(2, cut, false);
}

#[test]
fn what_was_acknowledged_survives_errors_from_every_change_on() {
    let fail = |machine: &Machine, after| {
        let fail = Some((after, io::ErrorKind::Other));
        machine.disk().set_faults(|faults| faults.fail_after = fail);
    };
    at_every_change(1, fail, true);
}
