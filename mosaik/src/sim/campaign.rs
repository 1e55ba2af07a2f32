//! Runs a scenario under many seeds, and makes a failure easy to look into.

use std::{
    any::Any,
    env,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
};

use super::{Nemesis, Schedule, World};

/// The variable that names the one seed to run.
const SEED: &str = "MOSAIK_SIM_SEED";
/// The variable that says how many seeds to run.
const SEEDS: &str = "MOSAIK_SIM_SEEDS";
/// The variable that names the faults of the schedule to keep, by number.
const FAULTS: &str = "MOSAIK_SIM_FAULTS";
/// The variable that has every seed run twice.
const TWICE: &str = "MOSAIK_SIM_TWICE";
/// Every so manieth seed is run twice anyway.
const TWICE_EVERY: u64 = 10;
/// Runs that shortening a schedule may take.
const MAX_SHORTENING: usize = 60;

/// Runs a scenario under many seeds, each with a schedule of faults of its own.
///
/// When a seed fails, the schedule is shortened as long as it still fails, and the panic says what is left
/// of it, with the command that repeats just that run. Every tenth seed is run twice, and must send the
/// same things at the same times.
///
/// Environment variables: `MOSAIK_SIM_SEED` names the one seed to run, `MOSAIK_SIM_SEEDS` says how many
/// from the first, `MOSAIK_SIM_FAULTS` which faults of the schedule to keep, such as `0,3`;
/// `MOSAIK_SIM_TWICE` has every seed run twice.
#[derive(Clone, Debug)]
pub struct Campaign {
    hosts: usize,
    seeds: Range<u64>,
    nemesis: Nemesis,
}

impl Campaign {
    /// A campaign in worlds of so many hosts: `n1`, `n2` and so on.
    pub fn new(hosts: usize) -> Self {
        Self {
            hosts,
            seeds: 0..100,
            nemesis: Nemesis::default(),
        }
    }

    /// Which seeds to run. Default: 0 to 99.
    #[must_use]
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// What goes wrong. Default: [`Nemesis::default`].
    #[must_use]
    pub fn nemesis(mut self, nemesis: Nemesis) -> Self {
        self.nemesis = nemesis;
        self
    }

    /// Runs `scenario` with each seed. It makes the schedule happen with [`Schedule::carry_out`], and panics
    /// when something is not as it should be. Returns the number of seeds.
    ///
    /// # Panics
    /// When a seed fails.
    pub fn run(&self, scenario: impl Fn(&World, &Schedule)) -> u64 {
        let (seeds, keep) = (self.chosen(), numbers(FAULTS));
        let every = if env::var_os(TWICE).is_some() {
            1
        } else {
            TWICE_EVERY
        };
        for seed in seeds.clone() {
            let mut schedule = self.schedule(seed);
            if let Some(keep) = &keep {
                schedule = schedule.only(keep);
            }
            let digest = match attempt(self.hosts, seed, &schedule, &scenario) {
                Ok(digest) => digest,
                Err(why) => self.fail(seed, &schedule, why, &scenario),
            };
            if seed % every == 0 {
                match attempt(self.hosts, seed, &schedule, &scenario) {
                    Ok(again) if again == digest => {}
                    Ok(again) => panic!(
                        "seed {seed} gave another run the second time ({digest}, then {again}): \
                         something in it does not come from the seed"
                    ),
                    Err(why) => panic!("seed {seed} failed the second time only: {why}"),
                }
            }
        }
        seeds.end - seeds.start
    }

    fn schedule(&self, seed: u64) -> Schedule {
        let names: Vec<_> = (1..=self.hosts).map(|n| format!("n{n}")).collect();
        self.nemesis.schedule(seed, &names)
    }

    fn chosen(&self) -> Range<u64> {
        if let Some(seed) = number(SEED) {
            return seed..seed + 1;
        }
        match number(SEEDS) {
            Some(count) => self.seeds.start..self.seeds.start.saturating_add(count),
            None => self.seeds.clone(),
        }
    }

    /// Shortens the schedule and says how to repeat the failure.
    fn fail(
        &self,
        seed: u64,
        schedule: &Schedule,
        why: String,
        scenario: &impl Fn(&World, &Schedule),
    ) -> ! {
        let mut kept: Vec<usize> = (0..schedule.steps().len()).collect();
        let mut why = why;
        let mut attempts = 0;
        // Without each in turn, the last first: what happened last is the likeliest to matter.
        let mut at = kept.len();
        while at > 0 && attempts < MAX_SHORTENING {
            at -= 1;
            attempts += 1;
            let mut fewer = kept.clone();
            fewer.remove(at);
            if let Err(same) = attempt(self.hosts, seed, &schedule.only(&fewer), scenario) {
                (kept, why) = (fewer, same);
            }
        }
        let numbers: Vec<_> = kept.iter().map(ToString::to_string).collect();
        let faults = numbers.join(",");
        let steps = kept
            .iter()
            .map(|n| format!("  [{n}] {}\n", schedule.steps()[*n]));
        let steps: String = steps.collect();
        panic!(
            "seed {seed} fails: {why}\n\
             repeat it with\n    {SEED}={seed} {FAULTS}={faults} {}\n\
             what goes wrong, {} of {} faults:\n{steps}",
            command(),
            kept.len(),
            schedule.steps().len(),
        )
    }
}

/// Runs the scenario once; yields its digest, or what it panicked with.
fn attempt(
    hosts: usize,
    seed: u64,
    schedule: &Schedule,
    scenario: &impl Fn(&World, &Schedule),
) -> Result<String, String> {
    let run = AssertUnwindSafe(|| {
        let world = World::new(seed);
        world.make_hosts(hosts);
        scenario(&world, schedule);
        world.digest()
    });
    catch_unwind(run).map_err(|panic| text(&*panic))
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

/// The command that runs the test that this is called from, as far as the environment tells.
fn command() -> String {
    let package = env::var("CARGO_PKG_NAME").unwrap_or_default();
    let binary = env::current_exe().unwrap_or_default();
    let binary = binary.file_stem().unwrap_or(Path::new("").as_os_str());
    let binary = binary.to_string_lossy();
    // Cargo puts a digest behind the name.
    let target = binary.rsplit_once('-').map_or(&*binary, |(name, _)| name);
    let target = if target == package.replace('-', "_") {
        "--lib".into()
    } else {
        format!("--test {target}")
    };
    let current = thread::current();
    let test = current.name().unwrap_or_default();
    format!("cargo test -p {package} {target} -- --exact {test}")
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let number = text.trim().parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

fn numbers(variable: &str) -> Option<Vec<usize>> {
    let text = env::var(variable).ok()?;
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let numbers: Result<_, _> = parts.map(|part| part.trim().parse()).collect();
    Some(numbers.unwrap_or_else(|_| panic!("{variable}={text} is not a list of numbers")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Fault;

    fn one_way(fault: &Fault) -> bool {
        matches!(fault, Fault::OneWay(..))
    }

    #[test]
    fn a_failure_is_shortened_and_says_how_to_repeat_it() {
        let campaign = Campaign::new(3).seeds(0..50);
        let run = AssertUnwindSafe(|| {
            campaign.run(|_, schedule| {
                let bad = schedule.steps().iter().filter(|step| one_way(&step.fault));
                assert!(bad.count() < 2, "two ways");
            });
        });
        let why = text(&*catch_unwind(run).unwrap_err());
        assert!(why.contains("two ways"), "{why}");
        assert!(why.contains("MOSAIK_SIM_SEED="), "{why}");
        assert!(why.contains("what goes wrong, 2 of "), "{why}");
        assert!(
            why.contains("campaign::tests::a_failure_is_shortened"),
            "{why}"
        );
    }

    #[test]
    fn what_does_not_come_from_the_seed_is_found_out() {
        let count = std::cell::Cell::new(0);
        let run = AssertUnwindSafe(|| {
            Campaign::new(2).seeds(0..1).run(|world, _| {
                count.set(count.get() + 1);
                let hosts = world.hosts();
                world.run(async {
                    let peers = if count.get() == 1 { &hosts[..] } else { &[] };
                    let network = hosts[0].run(hosts[0].builder("n", peers).build());
                    let network = network.await.unwrap().unwrap();
                    world.sleep(std::time::Duration::from_secs(3)).await;
                    drop(network);
                });
            });
        });
        let why = text(&*catch_unwind(run).unwrap_err());
        assert!(why.contains("another run the second time"), "{why}");
    }
}
