//! Power cuts and errors at every change of the disk.

use std::{io, ops::Range, path::Path};

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

/// What strikes a disk.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The power is cut.
    Cut,
    /// Writes and syncs fail from then on.
    Fail,
    /// Writes and syncs fail until somebody noticed.
    FailOnce,
}

impl Fault {
    fn arm(self, machine: &Machine, after: u64) {
        machine.disk().set_faults(|faults| match self {
            Self::Cut => faults.cut_after = Some(after),
            Self::Fail | Self::FailOnce => faults.fail_after = Some((after, io::ErrorKind::Other)),
        });
    }
}

fn repair(machine: &Machine) {
    machine
        .disk()
        .set_faults(|faults| *faults = Default::default());
}

/// Lets `fault` strike after so many changes, then the power be cut. Returns whether it struck.
async fn strike(machine: &Machine, seed: u64, fault: Fault, after: u64) -> bool {
    let mut life = Life::new(seed);
    fault.arm(machine, after);
    let struck = match Run::open(Path::new(DIR)).await {
        Ok(run) => {
            let written = life.write(&run).await;
            if let Err(error) = &written {
                let is_io = matches!(error, WriteError::Failed(Failure::Io { .. }));
                assert!(is_io, "{error}");
                if matches!(fault, Fault::FailOnce) {
                    repair(machine);
                }
                let again = life.write(&run).await.unwrap_err();
                assert_eq!(&again, error, "the failure is everybody's, for good");
            }
            // With an error of the disk, the mark that it writes may still fail.
            run.storage.close().await;
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
    repair(machine);
    // Recovery is a life like others.
    Fault::Cut.arm(machine, seed % 11);
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

/// Says which run failed.
struct Named(Fault, u64, u64);

impl Drop for Named {
    #[expect(clippy::print_stderr, reason = "it is for whoever reads a failed test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(fault, seed, after) = self;
            eprintln!("{fault:?} after {after} changes, with seed {seed}");
        }
    }
}

fn at_every_change(fault: Fault, seeds: Range<u64>) {
    for seed in seeds {
        let mut after = 0;
        loop {
            let _named = Named(fault, seed, after);
            let seed = seed * 1000 + after;
            let strike = async |machine| strike(&machine, seed, fault, after).await;
            if !simulated(seed, strike) {
                break;
            }
            after += 1;
        }
        assert!(after > 100, "{after} changes are not much of a life");
    }
}

/// With no fault at all, what the engine holds is what was written to it.
#[test]
fn what_is_written_is_read_again() {
    for seed in 0..100 {
        simulated(seed, async |machine| {
            let _named = Named(Fault::Cut, seed, u64::MAX);
            let mut life = Life::new(seed);
            let run = Run::open(Path::new(DIR)).await.unwrap();
            life.write(&run).await.unwrap();
            life.check(&run).await;
            run.storage.close().await;
            machine.disk().crash();
            let run = Run::open(Path::new(DIR)).await.unwrap();
            life.check(&run).await;
        });
    }
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_every_change() {
    at_every_change(Fault::Cut, 0..3);
}

#[test]
fn what_was_acknowledged_survives_errors_from_every_change_on() {
    at_every_change(Fault::Fail, 0..1);
}

#[test]
fn what_was_acknowledged_survives_an_error_at_every_change() {
    at_every_change(Fault::FailOnce, 0..1);
}
