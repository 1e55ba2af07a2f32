//! What a member does for operators.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::{
    export, import,
    message::{Answer, MAX_ANSWER, MAX_ORDER, MAX_REPORT, Order, Reported, What},
    report::{MemberReport, MemberRole, Place},
};
use crate::{
    groups::{
        bonds::Line,
        error::Refusal,
        front::Front,
        replica::Replica,
        status::{GroupStatus, Phase},
    },
    id::MemberId,
    rt,
    tickets::NotAdmitted,
    transport::{CloseCode, Halves, Link, LinkError},
};

/// Members that a report lists.
const MAX_PLACES: usize = 64;
/// Lines that a report has at most.
const MAX_NOTES: usize = 32;
/// Bytes of a line.
const MAX_NOTE: usize = 512;
/// How long an operator may take to give its order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);
/// Orders that a member carries out at once: each may keep a state as it was, and may take long.
const MAX_ORDERS: usize = 2;
/// How long an operator may take nothing of what it is sent.
const PROGRESS: Duration = Duration::from_secs(30);

/// The places for the orders that a member carries out.
#[derive(Clone, Debug)]
pub(in crate::groups) struct Orders(Arc<Semaphore>);

impl Default for Orders {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_ORDERS)))
    }
}

impl Orders {
    /// One of them, if any is free.
    fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

/// The way to an operator, for whom nobody waits longer than he may take.
pub(super) struct Operator<R> {
    link: Link<Answer, R>,
}

impl<R: DeserializeOwned> Operator<R> {
    /// Goes on with an operator on the stream of another.
    fn resume(halves: Halves) -> Self {
        let link = Link::resume(halves, MAX_ANSWER);
        Self { link }
    }

    /// The next that he sends.
    pub(super) async fn hear(&mut self, patience: Duration) -> Result<R, LinkError> {
        let heard = rt::timeout(patience, self.link.rx.recv()).await;
        let heard = heard.map_err(|_| LinkError::Stream(CloseCode::TimedOut))??;
        heard.ok_or(LinkError::Truncated)
    }

    /// Sends an answer.
    pub(super) async fn tell(&mut self, answer: &Answer) -> Result<(), LinkError> {
        let sent = rt::timeout(PROGRESS, self.link.tx.send(answer)).await;
        sent.unwrap_or(Err(LinkError::Stream(CloseCode::TimedOut)))
    }

    /// Says that this was all, and waits until it was taken.
    pub(super) async fn finish(self) -> Result<(), LinkError> {
        let finished = rt::timeout(PROGRESS, self.link.tx.finish()).await;
        finished.unwrap_or(Err(LinkError::Stream(CloseCode::TimedOut)))
    }
}

/// Answers an operator that opened a stream for it. Whoever was admitted to the network may ask.
pub(in crate::groups) async fn report(front: &Front, halves: Halves) -> Result<(), LinkError> {
    let report = Reported::new(&of(front))?;
    let mut link = Link::<Reported, ()>::resume(halves, MAX_REPORT);
    link.tx.send(&report).await?;
    link.tx.finish().await
}

/// Does what an operator orders that opened a stream for it, if it proves to know the group's key.
pub(in crate::groups) async fn obey(
    front: &Arc<Front>,
    line: &Line,
    halves: Halves,
) -> Result<(), LinkError> {
    let mut link = Link::<Answer, Order>::resume(halves, MAX_ORDER);
    let order = rt::timeout(ORDER_TIMEOUT, link.rx.recv()).await;
    let order = order.map_err(|_| LinkError::Stream(CloseCode::TimedOut))??;
    let order = order.ok_or(LinkError::Truncated)?;
    let halves = link.into_halves();
    let proof = line.proof_as(front.key(), order.what.end(), front.group());
    let answer = if order.proof != proof {
        warn!(peer = %line.connection.peer().short(), "an order does not prove to know the key");
        Answer::Refused(Refusal::Key)
    } else if let Err(why) = line
        .admissions
        .admit_soon(front.group(), front.tickets())
        .await
    {
        match why {
            NotAdmitted::Unknown => Answer::Busy,
            NotAdmitted::Denied(denial) => Answer::Refused(denial.into()),
        }
    } else if let Some(_place) = front.orders().place() {
        match order.what {
            What::Recover => {
                warn!(peer = %line.connection.peer().short(), "an operator asks to recover");
                Answer::Recovered(front.shared().recover().await)
            }
            What::Export => return export::send(front, line, Operator::resume(halves)).await,
            What::Import => return import::receive(front, line, Operator::resume(halves)).await,
        }
    } else {
        Answer::Busy
    };
    let mut operator = Operator::<()>::resume(halves);
    operator.tell(&answer).await?;
    operator.finish().await
}

/// What this node says of a group.
pub(super) fn of(front: &Front) -> MemberReport {
    let status = front.shared().status().borrow().clone();
    let replica = front.serving().borrow().clone();
    let me = status.me.unwrap_or_else(|| front.me());
    let version = front.shared().progress().get();
    let standing = replica.as_deref().and_then(Standing::of);
    let standing = standing.unwrap_or_default();
    MemberReport {
        peer: me.peer,
        boot: me.boot,
        role: role(&status.phase),
        online: status.online,
        leader: status.leader.map(|leader| leader.peer),
        term: status.term,
        charter: replica.map(|replica| *replica.epoch().as_bytes()),
        version,
        behind: match standing.committed {
            Some(committed) => lag(committed, version),
            None => status.behind,
        },
        durable: status.durable,
        development: status.development,
        resting: status.resting,
        members: places(&status, &standing),
        notes: notes(&status),
    }
}

/// What Raft knows of the log.
#[derive(Debug, Default)]
struct Standing {
    committed: Option<u64>,
    /// If this member leads: what the others are known to have.
    matched: Option<BTreeMap<MemberId, Option<u64>>>,
}

impl Standing {
    fn of(replica: &Replica) -> Option<Self> {
        let status = replica.node()?.status();
        let status = status.borrow();
        let leads = status.leader == Some(replica.me());
        Some(Self {
            committed: status.committed.map(|at| at.index),
            matched: leads.then(|| status.replication.clone()),
        })
    }

    /// Committed entries that a member is not known to have.
    fn behind(&self, member: &MemberId) -> Option<u64> {
        let matched = *self.matched.as_ref()?.get(member)?;
        Some(lag(self.committed?, matched))
    }
}

/// Entries up to index `upto` that who has those up to `held` does not have.
fn lag(upto: u64, held: Option<u64>) -> u64 {
    let next = |index: u64| index.saturating_add(1);
    next(upto).saturating_sub(held.map_or(0, next))
}

fn role(phase: &Phase) -> MemberRole {
    match phase {
        Phase::Opening => MemberRole::Opening,
        // Those that hold no replica have no part that could be asked.
        Phase::Founding(_) | Phase::Connecting | Phase::Client(_) => MemberRole::Founding,
        Phase::Following { .. } => MemberRole::Follower,
        Phase::Voter => MemberRole::Voter,
        Phase::Learner => MemberRole::Learner,
        Phase::RolledBack => MemberRole::RolledBack,
        Phase::Superseded => MemberRole::Superseded,
        Phase::Ended(_) => MemberRole::Ended,
    }
}

fn places(status: &GroupStatus, standing: &Standing) -> Vec<Place> {
    let Some(membership) = &status.membership else {
        return Vec::new();
    };
    let place = |member: MemberId| Place {
        peer: member.peer,
        boot: member.boot,
        voter: membership.votes(&member),
        behind: standing.behind(&member),
    };
    let members = membership.members().into_iter();
    members.map(place).take(MAX_PLACES).collect()
}

/// What is wrong, or waited for.
fn notes(status: &GroupStatus) -> Vec<String> {
    let mut notes = Vec::new();
    match &status.phase {
        Phase::Founding(waits) => notes.push(format!("founding: {waits}")),
        Phase::Ended(why) => notes.push(format!("ended: {why}")),
        _ => {}
    }
    let unavailable = status.unavailable.as_ref();
    notes.extend(unavailable.map(|why| format!("not available: {why}")));
    notes.extend(
        status
            .recovery
            .as_ref()
            .map(|waits| format!("recovery: {waits}")),
    );
    notes.extend(status.clock.clone());
    notes.extend(status.full.clone());
    notes.extend(status.roster.iter().cloned());
    let conflict = |other: &String| format!("another charter of the group was met: {other}");
    notes.extend(status.conflicts.iter().map(conflict));
    if status.rebuilds > 0 {
        notes.push(format!("rebuilt from its log {} times", status.rebuilds));
    }
    let refused = status.refusals.iter();
    notes.extend(refused.map(|(peer, why)| format!("refused {}: {why}", peer.short())));
    let more = notes.len().saturating_sub(MAX_NOTES - 1);
    if more > 1 {
        notes.truncate(MAX_NOTES - 1);
        notes.push(format!("and {more} more"));
    }
    for note in &mut notes {
        note.truncate(note.floor_char_boundary(MAX_NOTE));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{groups::error::Refusal, id::SecretKey, wire};

    #[test]
    fn a_report_is_bounded() {
        let refused = |_| {
            let why = Refusal::BadOptions("ü".repeat(2000));
            (SecretKey::generate().peer(), why)
        };
        let mut status = GroupStatus {
            refusals: (0..500).map(refused).collect(),
            ..GroupStatus::default()
        };
        let lines = notes(&status);
        assert_eq!(lines.len(), MAX_NOTES);
        assert!(lines.iter().all(|line| line.len() <= MAX_NOTE));
        assert_eq!(lines[MAX_NOTES - 1], "and 469 more");
        assert!(wire::encode(&lines).unwrap().len() < MAX_REPORT / 2);
        status.refusals.truncate(MAX_NOTES);
        assert_eq!(notes(&status).len(), MAX_NOTES);
    }

    #[test]
    fn lag_counts_entries() {
        for (upto, held, expected) in [
            (0, None, 1),
            (4, None, 5),
            (4, Some(0), 4),
            (4, Some(4), 0),
            (4, Some(9), 0),
            (u64::MAX, Some(u64::MAX), 0),
        ] {
            assert_eq!(lag(upto, held), expected, "{upto} {held:?}");
        }
    }
}
