//! When the quorum of this member's charter is lost: what the survivors tell each other, and founding a
//! descendant.
//!
//! What may be done, and by whom, is [decided](crate::groups::proto::roster) from what the survivors report. Acting
//! on it takes three steps, each seen by the others in the reports:
//!
//! 1. The one that is to found says so, for [`NAMED_FOR`] at least. It is not said while a voter is connected that
//!    does not report the loss: that one may have a quorum.
//! 2. The others stop their Raft, for [`BOUND_FOR`] at most: they are *bound*, and acknowledge nothing.
//! 3. Once all are bound, the founder makes its log the beginning of the descendant, and founds it alone. They
//!    give their replicas up when they hear that it is established, and join.
//!
//! A report counts for [`REPORT_VALID`], and who is bound stops reporting long before it goes on.
//!
//! Nobody founds a second descendant who knows of a first: see [`Known`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::{info, warn};

use super::{
    conflict::Conflicts,
    run::{Driver, Ending, founding_note},
};
use crate::{
    groups::{
        bonds::{Control, Report},
        error::RecoverError,
        proto::{
            founding::{
                charter::{Charter, Epoch},
                message::{Binding, Input, Record},
            },
            roster::{Loss, Membership, Options, Replica, Waiting, quorum, refound},
        },
    },
    id::MemberId,
    rt::{self, Instant},
};

/// How often a survivor repeats its report.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long a report counts.
const REPORT_VALID: Duration = Duration::from_secs(3);
/// How long a survivor that stopped its Raft says so.
const BOUND_REPORTS: Duration = Duration::from_secs(6);
/// How long its Raft stays stopped: until well after the last of its reports has ceased to count, even if that one
/// was under way for as long as a connection may be silent.
const BOUND_FOR: Duration = Duration::from_secs(15);
/// How long a member names itself before it founds. By then all have reported that are connected, and whoever runs
/// a descendant has said so: a member that gave its replica up for one is otherwise taken for dead.
const NAMED_FOR: Duration = Duration::from_secs(2);

/// What is kept of a lost quorum.
#[derive(Debug, Default)]
pub(in crate::groups) struct Recovery {
    loss: Option<Lasting>,
    bound: Option<Bound>,
    /// When this member reported last, and what.
    reported: Option<(Instant, Report)>,
    waits: Option<String>,
    refounded: u32,
    unfenced: BTreeSet<MemberId>,
}

/// A loss, since it was noticed.
#[derive(Debug)]
struct Lasting {
    epoch: Epoch,
    since: Instant,
    /// Who may found, and since when that is so.
    names: Option<(MemberId, Instant)>,
    /// Whom this member has stopped its Raft for.
    stopped_for: Option<MemberId>,
}

/// What is known of charters that descend from the one whose quorum is lost.
#[derive(Debug, PartialEq, Eq)]
enum Known {
    /// There is none, or none that this member must not compete with.
    None,
    /// It takes the place of this member's replica.
    Joins(Box<Charter>),
    /// It lives on, or may, so this member founds no other; and why it does not join it.
    Waits(String),
}

/// Raft is stopped, so that another member can found.
#[derive(Debug)]
struct Bound {
    lost: Lost,
    founder: MemberId,
    unfenced: BTreeSet<MemberId>,
    since: Instant,
}

/// A charter without a quorum, and what this member holds of it.
#[derive(Clone, Debug)]
struct Lost {
    charter: Charter,
    membership: Membership,
    replica: Replica,
}

/// What to do about it.
#[derive(Debug)]
struct Step {
    /// Who may found now.
    names: Option<MemberId>,
    /// What is waited for before this member founds or stops for who does; nothing if it is to do so now.
    waits: Option<String>,
}

impl Recovery {
    /// Whether the quorum is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.loss.is_some()
    }

    /// Whether Raft is stopped, so that another member can found.
    pub(super) fn is_bound(&self) -> bool {
        self.bound.is_some()
    }

    /// The membership of the charter whose Raft is stopped.
    pub(super) fn membership(&self) -> Option<&Membership> {
        self.bound.as_ref().map(|bound| &bound.lost.membership)
    }

    /// Something else is run from here on, or nothing.
    pub(super) fn release(&mut self) {
        self.bound = None;
    }

    /// What is waited for, for people.
    pub(super) fn waits(&self) -> Option<&str> {
        self.waits.as_deref()
    }

    /// How often a descendant was founded, or joined instead of what was lost.
    pub(super) fn refounded(&self) -> u32 {
        self.refounded
    }

    /// The voters that the last descendant does not fence.
    pub(super) fn unfenced(&self) -> &BTreeSet<MemberId> {
        &self.unfenced
    }

    /// The loss that lasts, which began now if none did.
    fn lasting(&mut self, epoch: Epoch) -> &mut Lasting {
        let lasting = self.loss.take().filter(|loss| loss.epoch == epoch);
        self.loss.insert(lasting.unwrap_or_else(|| Lasting {
            epoch,
            since: rt::now(),
            names: None,
            stopped_for: None,
        }))
    }

    /// Notes who may found, and tells for how long it is the same.
    fn name(&mut self, lost: &Lost, names: Option<MemberId>) -> Duration {
        let now = rt::now();
        let lasting = self.lasting(lost.charter.epoch);
        let before = lasting.names.filter(|(name, _)| Some(*name) == names);
        lasting.names = before.or(names.map(|name| (name, now)));
        lasting
            .names
            .map_or(Duration::ZERO, |(_, since)| now.duration_since(since))
    }

    /// The loss is over.
    fn end(&mut self) {
        self.loss = None;
        self.reported = None;
        self.waits = None;
    }

    /// A descendant takes the place of what was lost.
    fn succeed(&mut self, unfenced: BTreeSet<MemberId>) {
        self.end();
        self.refounded = self.refounded.saturating_add(1);
        self.unfenced = unfenced;
    }
}

impl Driver {
    /// Goes on with what is to be done about a lost quorum.
    pub(super) async fn recover(&mut self) -> Result<(), Ending> {
        if self.recovery.is_bound() {
            return self.stay_bound().await;
        }
        let lost = match self.lost() {
            Ok(lost) => lost,
            Err(why) => {
                // Raft that was only just started does not know its members yet: the loss goes on.
                let starts = why == RecoverError::NotMember && self.is_losing();
                if !starts {
                    self.recovery.end();
                    self.answer(Some(why));
                }
                return Ok(());
            }
        };
        let lasting = self.recovery.lasting(lost.charter.epoch);
        let (since, stopped_for) = (lasting.since, lasting.stopped_for);
        let reports = self.reports(&lost);
        let loss = self.loss(&lost, since, &reports);
        let step = match self.known(&lost.charter, &loss, stopped_for) {
            Known::None => self.step(&lost, &loss, &reports),
            Known::Joins(descendant) => return self.give_up(*descendant, loss.unfenced()).await,
            Known::Waits(waits) => Step {
                names: None,
                waits: Some(waits),
            },
        };
        self.report(&lost, step.names, false);
        let named_for = self.recovery.name(&lost, step.names);
        self.recovery.waits = step.waits;
        match step.names {
            Some(founder) if self.recovery.waits.is_none() => {
                if founder != self.front.me() {
                    self.bind(lost, founder, loss.unfenced()).await
                } else if named_for >= NAMED_FOR {
                    self.refound(lost, loss.unfenced()).await
                } else {
                    let waits = "waits for what the others may still say";
                    self.recovery.waits = Some(waits.into());
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// The members that are connected and do not run another charter, this one among them.
    pub(super) fn live(&self) -> BTreeSet<MemberId> {
        let running = self.running.as_ref().map(|running| running.charter().epoch);
        let bound = self.recovery.bound.as_ref();
        let epoch = running.or(bound.map(|bound| bound.lost.charter.epoch));
        let bonds = self.front.bonds();
        let live = bonds
            .iter()
            .filter(|bond| bond.announces.is_none() || bond.announces == epoch)
            .map(|bond| bond.member);
        live.chain([self.front.me()]).collect()
    }

    /// Whether the charter whose quorum was lost last is still the one that runs here.
    fn is_losing(&self) -> bool {
        let epoch = self.recovery.loss.as_ref().map(|loss| loss.epoch);
        let running = self.running.as_ref();
        running.is_some_and(|r| r.raft().is_some() && Some(r.charter().epoch) == epoch)
    }

    /// What this member holds of a charter whose quorum is lost, or why that is not so.
    fn lost(&self) -> Result<Lost, RecoverError> {
        let running = self.running.as_ref().ok_or(RecoverError::NotMember)?;
        let charter = running.charter();
        let status = running.raft().ok_or(RecoverError::NotMember)?;
        let (Some(membership), Some(last)) = (status.membership, status.last) else {
            return Err(RecoverError::NotMember);
        };
        if running.machine().superseded.is_some() {
            return Err(RecoverError::Superseded);
        }
        // Who keeps its log less well than the charter asks for must not be its only copy.
        let durable = self.parts.settled.durable;
        let member = membership.members().contains(&self.front.me());
        if !member || self.leaving.is_some() || charter.terms.durable != durable {
            return Err(RecoverError::NotMember);
        }
        if quorum(&membership, &self.live()).reached() {
            return Err(RecoverError::QuorumReachable);
        }
        let replica = Replica {
            last,
            membership: membership.log_id,
            durable,
            writer: true,
        };
        Ok(Lost {
            charter: charter.clone(),
            membership,
            replica,
        })
    }

    /// What other members of the charter report that are connected.
    fn reports(&self, lost: &Lost) -> BTreeMap<MemberId, Report> {
        let (now, members) = (rt::now(), lost.membership.members());
        let bonds = self.front.bonds();
        let reports = bonds.iter().filter_map(|bond| {
            let (at, report) = bond.report?;
            let counts = report.epoch == lost.charter.epoch
                && members.contains(&bond.member)
                && now.duration_since(at) < REPORT_VALID;
            counts.then_some((bond.member, report))
        });
        reports.collect()
    }

    fn loss(&self, lost: &Lost, since: Instant, reports: &BTreeMap<MemberId, Report>) -> Loss {
        let durable = lost.charter.terms.durable;
        let others = reports.iter().map(|(member, report)| {
            let replica = Replica {
                last: report.last,
                membership: report.membership,
                durable,
                writer: true,
            };
            (*member, replica)
        });
        let voters = lost.membership.configs().flatten();
        let dead = voters.filter_map(|voter| Some((*voter, self.front.fate(voter).1?)));
        let dead: BTreeMap<MemberId, _> = dead.collect();
        let testament = |(member, _): (&MemberId, _)| {
            let testament = self.front.testament(member)?;
            (testament.epoch == lost.charter.epoch).then_some((*member, testament.membership))
        };
        Loss {
            membership: lost.membership.clone(),
            survivors: others.chain([(self.front.me(), lost.replica)]).collect(),
            testaments: dead.iter().filter_map(testament).collect(),
            evidence: dead,
            newcomers: BTreeSet::new(),
            lost_for: rt::now().duration_since(since),
            recover_after: self.parts.settled.options.recover_after,
            operator: self.is_asked() || reports.values().any(|report| report.operator),
            options: Options {
                durable,
                ..self.parts.settled.roster.clone()
            },
        }
    }

    /// Who may found now, and whether this member is to act.
    fn step(&self, lost: &Lost, loss: &Loss, reports: &BTreeMap<MemberId, Report>) -> Step {
        let me = self.front.me();
        let wait = |names, waits| Step {
            names,
            waits: Some(waits),
        };
        let founder = match refound(loss) {
            Ok(descendant) => descendant.founder,
            Err(waiting) => {
                // Who knows of a later membership is the one to judge.
                let judge = match waiting {
                    Waiting::LaterMembership { member, .. } => reports.get(&member),
                    _ => None,
                };
                match judge.and_then(|judge| judge.names) {
                    Some(founder) => founder,
                    None => return wait(None, waiting.to_string()),
                }
            }
        };
        let live = self.live();
        let voters: BTreeSet<MemberId> = lost.membership.configs().flatten().copied().collect();
        let silent = voters.intersection(&live);
        let silent = silent.filter(|voter| !loss.survivors.contains_key(voter));
        if let Some(list) = list(silent) {
            let waits =
                format!("these are connected and do not report that the quorum is lost: {list}");
            return wait(None, waits);
        }
        let ready = |report: &Report| report.names == Some(founder);
        if founder == me {
            let unbound = reports.iter().filter(|(_, r)| !(ready(r) && r.bound));
            match list(unbound.map(|(member, _)| member)) {
                Some(list) => wait(Some(me), format!("these are to stop first: {list}")),
                None => Step {
                    names: Some(me),
                    waits: None,
                },
            }
        } else if reports.get(&founder).is_some_and(ready) {
            Step {
                names: Some(founder),
                waits: None,
            }
        } else {
            wait(
                Some(founder),
                format!("{founder} holds most and is to found"),
            )
        }
    }

    /// Tells the other members what this one holds, and what it is about to do.
    fn report(&mut self, lost: &Lost, names: Option<MemberId>, bound: bool) {
        let (me, group, now) = (self.front.me(), self.front.group(), rt::now());
        let report = Report {
            epoch: lost.charter.epoch,
            last: lost.replica.last,
            membership: lost.replica.membership,
            names,
            bound,
            operator: self.is_asked(),
        };
        let says = |r: &Report| (r.epoch, r.names, r.bound, r.operator);
        if let Some((at, before)) = &self.recovery.reported
            && says(before) == says(&report)
            && now.duration_since(*at) < REPORT_EVERY
        {
            return;
        }
        self.recovery.reported = Some((now, report));
        let members = lost.membership.members();
        for bond in self.front.bonds() {
            if members.contains(&bond.member) {
                bond.line.tell(Control::Survivor {
                    group,
                    from: me.boot,
                    to: bond.member.boot,
                    report,
                });
            }
        }
    }

    /// Stops Raft, so that `founder` can found.
    async fn bind(
        &mut self,
        lost: Lost,
        founder: MemberId,
        unfenced: BTreeSet<MemberId>,
    ) -> Result<(), Ending> {
        self.stop_running().await;
        let (purged, last) = self.log.ends();
        if last.or(purged) != Some(lost.replica.last) {
            // Something was still being written, which the founder has to know of.
            return self.start_raft(lost.charter, None).await;
        }
        info!(%founder, "stops, so that a descendant of the charter can be founded");
        self.recovery.lasting(lost.charter.epoch).stopped_for = Some(founder);
        self.report(&lost, Some(founder), true);
        self.recovery.bound = Some(Bound {
            lost,
            founder,
            unfenced,
            since: rt::now(),
        });
        Ok(())
    }

    /// Waits for the descendant, and goes on without it if it does not come.
    async fn stay_bound(&mut self) -> Result<(), Ending> {
        let Some(bound) = &self.recovery.bound else {
            return Ok(());
        };
        let (lost, founder) = (bound.lost.clone(), bound.founder);
        if let Some(descendant) = self.descendant(&lost.charter, Some(founder), self.is_asked()) {
            let unfenced = bound.unfenced.clone();
            return self.give_up(descendant, unfenced).await;
        }
        let bound_for = rt::now().duration_since(bound.since);
        if bound_for >= BOUND_FOR {
            warn!(%founder, "no descendant was founded in time: goes on");
            return self.start_raft(lost.charter, None).await;
        }
        if bound_for < BOUND_REPORTS {
            self.report(&lost, Some(founder), true);
        }
        self.recovery.waits = Some(format!("stopped, so that {founder} can found a descendant"));
        Ok(())
    }

    /// What there is besides the charter whose quorum is lost. Where the group re-forms in time, a descendant that
    /// can be reached is joined when this member may found one itself, and one that cannot be reached is as good as
    /// none, like the voters that cannot be.
    fn known(&self, of: &Charter, loss: &Loss, stopped_for: Option<MemberId>) -> Known {
        let any = loss.operator || loss.is_timed_out();
        if let Some(descendant) = self.descendant(of, stopped_for, any) {
            return Known::Joins(Box::new(descendant));
        }
        let mut descendants = self.conflicts.descendants(of);
        let counts = |c: &&Charter| !loss.ends_in_time() || self.front.is_announced(c.epoch);
        match descendants.find(counts) {
            None => Known::None,
            Some(Charter { epoch, .. }) if self.front.is_announced(*epoch) => {
                let how = "`recover()` gives the replica here up, and joins it";
                Known::Waits(format!(
                    "a descendant of the charter lives on, {epoch}: {how}"
                ))
            }
            Some(Charter { epoch, .. }) => {
                let why = "and may live on where it cannot be reached";
                Known::Waits(format!(
                    "a descendant of the charter was met, {epoch}, {why}"
                ))
            }
        }
    }

    /// A descendant that takes the place of this member's replica: that of the founder that it stopped for, which
    /// held no less; or any, where an operator asks, or the time is over after which the group re-forms.
    fn descendant(
        &self,
        of: &Charter,
        stopped_for: Option<MemberId>,
        any: bool,
    ) -> Option<Charter> {
        let founder = stopped_for.map(|founder| BTreeSet::from([founder]));
        let takes = |charter: &&Charter| {
            (any || founder.as_ref() == Some(&charter.founders))
                && self.front.is_announced(charter.epoch)
        };
        self.conflicts.descendants(of).find(takes).cloned()
    }

    /// Gives this replica up for a descendant.
    async fn give_up(
        &mut self,
        descendant: Charter,
        unfenced: BTreeSet<MemberId>,
    ) -> Result<(), Ending> {
        warn!(epoch = %descendant.epoch, "gives its replica up for a descendant of its charter");
        self.recovery.succeed(unfenced);
        self.conflicts = Conflicts::default();
        self.replace_boot().await?;
        self.answer(None);
        Ok(())
    }

    /// Founds a descendant from this replica.
    async fn refound(&mut self, lost: Lost, unfenced: BTreeSet<MemberId>) -> Result<(), Ending> {
        let me = self.front.me();
        let round = self.front.record().round.max(lost.charter.round);
        let epoch = Epoch::from_bytes(rt::random_bytes());
        let charter = lost.charter.descendant(epoch, me, round.saturating_add(1));
        warn!(
            %epoch,
            ancestor = %lost.charter.epoch,
            ?unfenced,
            "the quorum is lost: founds a descendant of the charter"
        );
        self.stop_running().await;
        // What founding says of the log goes with it: else a crash in between finds a log that is nobody's.
        let mut also = Vec::new();
        if charter.terms.durable {
            let binding = Binding {
                charter: charter.clone(),
                pledged: false,
                sealed: true,
            };
            also.push(founding_note(&Record {
                round: charter.round,
                bound: Some(binding),
                established: None,
                superseded: None,
            })?);
        }
        self.descend(&charter, also).await?;
        self.front.set_claim(None);
        self.front.forgive();
        self.recovery.succeed(unfenced);
        self.conflicts = Conflicts::default();
        self.front.tell(Input::Refounded(charter));
        self.answer(None);
        Ok(())
    }

    /// Whether an operator wants a descendant.
    fn is_asked(&self) -> bool {
        self.asked.borrow().waiting > 0
    }

    /// Tells operators what came of what they asked for.
    fn answer(&mut self, why_not: Option<RecoverError>) {
        self.parts.shared.asked().send_if_modified(|asked| {
            let (count, _) = asked.answered;
            let asks = asked.waiting > 0;
            if asks {
                asked.answered = (count + 1, why_not);
                asked.waiting = 0;
            }
            asks
        });
        // What it says itself is no news to the driver.
        self.asked.mark_unchanged();
    }
}

/// Members, for people; `None` if there are none.
fn list<'a>(members: impl Iterator<Item = &'a MemberId>) -> Option<String> {
    let members: Vec<String> = members.map(ToString::to_string).collect();
    (!members.is_empty()).then(|| members.join(", "))
}
