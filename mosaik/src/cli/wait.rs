//! `mosaik group wait`: waits until the members of a group have caught up, and shows how far each is.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::bail;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    args::Wait,
    node,
    output::{Output, note, printable},
    peers::settled,
    run::End,
    signal::Interrupt,
};
use crate::{
    groups::{GroupReport, MemberReport, MemberRole},
    id::PeerId,
    network::Network,
    rt,
};

/// How often the members are asked.
const LOOK: Duration = Duration::from_millis(250);
/// What a bar shows of a member that has a state, and of one that has none yet.
const BAR: &str = "{spinner} {prefix} {wide_bar} {pos} of {len} entries, {eta} left";
const SPINNER: &str = "{spinner} {prefix} {msg}";

pub(super) async fn run(args: Wait, interrupt: &Interrupt) -> anyhow::Result<End> {
    let builder = node::builder(&args.network.name, &args.node, 0)?;
    node::with(builder, interrupt, |network| async move {
        settled(&network).await;
        let mut catch_up = CatchUp::default();
        let waiting = wait(&network, &args.group, &mut catch_up);
        let version = match args.timeout {
            None => waiting.await?,
            Some(limit) => match rt::timeout(limit, waiting).await {
                Ok(version) => version?,
                Err(_) => bail!("not caught up within {limit:?}: {}", catch_up.missing()),
            },
        };
        if args.json {
            let caught_up = json!({ "group": args.group, "version": version });
            let mut out = Output::new();
            let _ = out.line(caught_up.to_string().as_bytes())?;
            let _ = out.flush()?;
        }
        note(format_args!(
            "all members of `{}` have caught up to version {version}",
            printable(&args.group)
        ));
        Ok(End::Done)
    })
    .await
}

/// Waits until all have caught up; returns the version that all have.
async fn wait(network: &Network, group: &str, catch_up: &mut CatchUp) -> anyhow::Result<u64> {
    let mut bars = Bars::default();
    loop {
        // Whoever takes part may not be found yet.
        if let Ok(report) = network.groups().report(group).await {
            catch_up.look(&report);
            bars.show(catch_up)?;
            if let Some(version) = catch_up.reached() {
                bars.clear();
                return Ok(version);
            }
        }
        rt::sleep(LOOK).await;
    }
}

/// How far the members are on their way to what the group had applied when it was first looked at.
///
/// The goal stays where it is, for commands go on: a member of a busy group never has all of them.
#[derive(Debug, Default)]
struct CatchUp {
    goal: Option<Goal>,
    /// Where each was when it was first seen.
    from: BTreeMap<PeerId, u64>,
    members: BTreeMap<PeerId, Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Goal {
    charter: [u8; 16],
    version: u64,
}

/// How far a member is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// It is there.
    Reached,
    /// It has so many entries of so many that it lacked.
    Behind { done: u64, all: u64 },
    /// It has no state of this charter; why, in words.
    Waits(String),
}

impl CatchUp {
    fn look(&mut self, report: &GroupReport) {
        let best = report.best().filter(|best| best.online);
        let goal = best.and_then(|best| {
            let (charter, version) = (best.charter?, best.version?);
            Some(Goal { charter, version })
        });
        match (self.goal, goal) {
            // Another charter lives on.
            (Some(known), Some(goal)) if known.charter != goal.charter => {
                self.from.clear();
                self.goal = Some(goal);
            }
            (None, goal) => self.goal = goal,
            _ => {}
        }
        self.members.clear();
        for part in &report.parts {
            let standing = match &part.answer {
                Ok(said) if said.role == MemberRole::Ended => continue,
                Ok(said) => self.standing(said),
                Err(why) => Standing::Waits(format!("does not answer: {why}")),
            };
            self.members.insert(part.peer, standing);
        }
        // A voter that is not there is waited for like one that says nothing.
        let places = best.map(|best| best.members.as_slice()).unwrap_or_default();
        for place in places.iter().filter(|place| place.voter) {
            let gone = || Standing::Waits("is not there".into());
            self.members.entry(place.peer).or_insert_with(gone);
        }
    }

    fn standing(&mut self, said: &MemberReport) -> Standing {
        let Some(goal) = self.goal else {
            return Standing::Waits(format!("is {}; the group is not online", said.role));
        };
        let version = said.version.filter(|_| said.charter == Some(goal.charter));
        let Some(version) = version else {
            return Standing::Waits(format!("is {}", said.role));
        };
        let from = *self.from.entry(said.peer).or_insert(version);
        if version >= goal.version && said.online {
            Standing::Reached
        } else if version >= goal.version {
            Standing::Waits(format!("is {}, not online", said.role))
        } else {
            Standing::Behind {
                done: version.saturating_sub(from),
                all: goal.version.saturating_sub(from),
            }
        }
    }

    /// The version that all have, once they do.
    fn reached(&self) -> Option<u64> {
        let mut members = self.members.values();
        let goal = self.goal.filter(|_| !self.members.is_empty())?;
        members
            .all(|member| *member == Standing::Reached)
            .then_some(goal.version)
    }

    /// Who has not caught up, in words.
    fn missing(&self) -> String {
        let mut text = String::new();
        for (peer, standing) in &self.members {
            let gap = if text.is_empty() { "" } else { "; " };
            // A string takes everything.
            let _ = match standing {
                Standing::Reached => Ok(()),
                Standing::Behind { done, all } => {
                    write!(text, "{gap}{} has {done} of {all} entries", peer.short())
                }
                Standing::Waits(why) => write!(text, "{gap}{} {why}", peer.short()),
            };
        }
        if text.is_empty() {
            text.push_str("no node that takes part is known");
        }
        text
    }
}

/// A bar for each member, where standard error is a terminal.
#[derive(Default)]
struct Bars {
    all: MultiProgress,
    bars: BTreeMap<PeerId, ProgressBar>,
}

impl Bars {
    fn show(&mut self, catch_up: &CatchUp) -> anyhow::Result<()> {
        for (peer, standing) in &catch_up.members {
            let bar = self.bars.entry(*peer).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(0));
                bar.with_prefix(peer.short())
            });
            match standing {
                Standing::Reached => {
                    bar.set_style(ProgressStyle::with_template(SPINNER)?);
                    bar.set_message("has caught up");
                }
                Standing::Waits(why) => {
                    bar.set_style(ProgressStyle::with_template(SPINNER)?);
                    bar.set_message(why.clone());
                }
                Standing::Behind { done, all } => {
                    bar.set_style(ProgressStyle::with_template(BAR)?);
                    bar.set_length(*all);
                    bar.set_position(*done);
                }
            }
            bar.tick();
        }
        self.bars.retain(|peer, bar| {
            let stays = catch_up.members.contains_key(peer);
            if !stays {
                bar.finish_and_clear();
            }
            stays
        });
        Ok(())
    }

    fn clear(&self) {
        for bar in self.bars.values() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        groups::{Part, Place},
        id::GroupId,
    };

    const C: [u8; 16] = [1; 16];
    const D: [u8; 16] = [2; 16];

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    /// What a voter of three says that is online and has applied so much; 1 leads.
    fn says(n: u8, charter: [u8; 16], version: u64) -> MemberReport {
        let place = |n| Place {
            peer: peer(n),
            boot: 7,
            voter: true,
            behind: None,
        };
        MemberReport {
            peer: peer(n),
            boot: 7,
            role: MemberRole::Voter,
            online: true,
            leader: Some(peer(1)),
            term: Some(1),
            charter: Some(charter),
            version: Some(version),
            behind: 0,
            durable: true,
            development: false,
            resting: false,
            members: (1..4).map(place).collect(),
            notes: Vec::new(),
        }
    }

    fn look(catch_up: &mut CatchUp, said: Vec<MemberReport>) {
        let parts = said.into_iter().map(|said| Part {
            peer: said.peer,
            writer: true,
            answer: Ok(said),
        });
        catch_up.look(&GroupReport {
            name: "g".into(),
            id: GroupId::from_name("g"),
            parts: parts.collect(),
        });
    }

    #[test]
    fn the_goal_is_what_was_there_at_first() {
        let mut catch_up = CatchUp::default();
        look(
            &mut catch_up,
            vec![says(1, C, 100), says(2, C, 40), says(3, C, 100)],
        );
        assert_eq!(
            catch_up.members[&peer(2)],
            Standing::Behind { done: 0, all: 60 }
        );
        assert_eq!(catch_up.reached(), None);
        look(
            &mut catch_up,
            vec![says(1, C, 500), says(2, C, 70), says(3, C, 500)],
        );
        assert_eq!(
            catch_up.members[&peer(2)],
            Standing::Behind { done: 30, all: 60 }
        );
        assert_eq!(
            catch_up.missing(),
            format!("{} has 30 of 60 entries", peer(2).short())
        );
        look(
            &mut catch_up,
            vec![says(1, C, 900), says(2, C, 100), says(3, C, 900)],
        );
        assert_eq!(catch_up.reached(), Some(100));
    }

    #[test]
    fn whoever_is_away_or_not_online_is_waited_for() {
        let mut catch_up = CatchUp::default();
        assert_eq!(catch_up.missing(), "no node that takes part is known");
        look(&mut catch_up, Vec::new());
        assert_eq!(catch_up.reached(), None);
        // A voter that is not even in the catalog.
        look(&mut catch_up, vec![says(1, C, 9), says(2, C, 9)]);
        assert_eq!(
            catch_up.members[&peer(3)],
            Standing::Waits("is not there".into())
        );
        assert_eq!(catch_up.reached(), None);
        let opening = MemberReport {
            role: MemberRole::Opening,
            charter: None,
            version: None,
            online: false,
            ..says(3, C, 0)
        };
        look(&mut catch_up, vec![says(1, C, 9), says(2, C, 9), opening]);
        assert_eq!(
            catch_up.members[&peer(3)],
            Standing::Waits("is opening".into())
        );
        let cut_off = MemberReport {
            online: false,
            ..says(3, C, 9)
        };
        look(&mut catch_up, vec![says(1, C, 9), says(2, C, 9), cut_off]);
        assert_eq!(catch_up.reached(), None);
        let ended = MemberReport {
            role: MemberRole::Ended,
            ..says(4, C, 0)
        };
        let all = vec![says(1, C, 9), says(2, C, 9), says(3, C, 9), ended];
        look(&mut catch_up, all);
        assert_eq!(catch_up.reached(), Some(9));
    }

    #[test]
    fn a_group_that_is_not_online_has_no_goal_and_another_charter_sets_another() {
        let mut catch_up = CatchUp::default();
        let alone = MemberReport {
            online: false,
            leader: None,
            ..says(1, C, 50)
        };
        look(&mut catch_up, vec![alone]);
        assert_eq!(catch_up.goal, None);
        assert_eq!(
            catch_up.members[&peer(1)],
            Standing::Waits("is voter; the group is not online".into())
        );
        let all = |charter, version| (1..4).map(|n| says(n, charter, version)).collect();
        look(&mut catch_up, all(C, 50));
        assert_eq!(catch_up.reached(), Some(50));
        look(&mut catch_up, all(D, 7));
        assert_eq!(catch_up.reached(), Some(7));
    }
}
