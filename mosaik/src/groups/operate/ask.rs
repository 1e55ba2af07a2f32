//! Asks members, as an operator.

use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;

use super::{
    message::{Answer, MAX_ANSWER, MAX_ORDER, MAX_REPORT, Order, Reported, What},
    report::{GroupReport, MemberReport, Part, ReportError},
    serve,
};
use crate::{
    groups::{
        Groups,
        bonds::{Bonds, Header, Line, OpenError},
    },
    id::{GroupId, PeerId},
    rt,
    transport::{CloseCode, Link, LinkError},
};

/// How long a node may take to answer, with connecting to it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes that are asked of one group.
const MAX_ASKED: usize = 64;

/// Why a node gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// Look at its id, or wait until discovery has found it.
    #[error("no such peer is known")]
    Unknown,
    /// See to the way there; the text says what failed.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It is overloaded or gone: try again.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// It takes part in the group no longer, or not yet, or is of a version that does not answer.
    #[error("it takes no part in the group, or is of a version that does not answer")]
    NoPart,
    /// There are more of them than are asked at once.
    #[error("not asked: {MAX_ASKED} others were")]
    NotAsked,
    /// The two are of different versions: update the older one.
    #[error("it answers in format {found}, which this version does not know")]
    Format {
        /// Its format.
        found: u16,
    },
    /// It is faulty.
    #[error("it answers what cannot be read: {0}")]
    Malformed(String),
}

impl Unanswered {
    pub(super) fn link(error: &LinkError) -> Self {
        match error {
            LinkError::Stream(CloseCode::NotFound | CloseCode::Malformed)
            | LinkError::Truncated => Self::NoPart,
            LinkError::Decode(error) => Self::Malformed(error.to_string()),
            error => Self::Unreachable(error.to_string()),
        }
    }
}

impl From<OpenError> for Unanswered {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unknown => Self::Unknown,
            OpenError::Connect(error) => Self::Unreachable(error.to_string()),
            OpenError::Link(error) => Self::link(&error),
        }
    }
}

impl Groups {
    /// What the members of the group of this name say of it, for whoever looks after it. This node need not take
    /// part; no key is needed, as only nodes that were admitted to the network can ask.
    ///
    /// Asks up to 64 nodes that take part as far as the catalog knows, all at once, and waits 5 s at most: what does
    /// not answer is in the report as well.
    ///
    /// # Errors
    /// When nobody is known that takes part.
    pub async fn report(&self, name: impl Into<String>) -> Result<GroupReport, ReportError> {
        let name = name.into();
        let id = GroupId::from_name(&name);
        let bonds = self.bonds();
        let catalog = bonds.catalog();
        let mut found: Vec<_> = catalog
            .iter()
            .filter_map(|entry| {
                let info = entry.group(id)?;
                Some((info.charter.is_none(), entry.peer(), info.writer))
            })
            .collect();
        // Those that hold the state before those that do not.
        found.sort_unstable();
        let asking = found
            .iter()
            .enumerate()
            .map(async |(n, (_, peer, writer))| {
                let answer = match n < MAX_ASKED {
                    true => ask(bonds, *peer, id).await,
                    false => Err(Unanswered::NotAsked),
                };
                Part {
                    peer: *peer,
                    writer: *writer,
                    answer,
                }
            });
        let mut parts = join_all(asking).await;
        parts.extend(bonds.front(&id).map(|front| Part {
            peer: front.me().peer,
            writer: front.writer(),
            answer: Ok(serve::of(&front).printable()),
        }));
        parts.sort_by_key(|part| part.peer);
        if parts.is_empty() {
            return Err(ReportError::NotFound { name });
        }
        Ok(GroupReport { name, id, parts })
    }
}

/// Asks a node for its report.
async fn ask(bonds: &Bonds, peer: PeerId, group: GroupId) -> Result<MemberReport, Unanswered> {
    let asking = async {
        let (_line, halves) = bonds.open_to(peer, &Header::Report { group }).await?;
        let mut link = Link::<(), Reported>::resume(halves, MAX_REPORT);
        let reported = link.rx.recv().await;
        let reported = reported.map_err(|error| Unanswered::link(&error))?;
        let report = reported.ok_or(Unanswered::NoPart)?.read()?;
        if report.peer == peer {
            Ok(report)
        } else {
            Err(Unanswered::Malformed("it says that it is another".into()))
        }
    };
    let asked = rt::timeout(TIMEOUT, asking).await;
    asked.unwrap_or(Err(Unanswered::TimedOut))
}

/// What a node answers next, if it does so in time.
pub(super) async fn answer<S: Serialize>(
    link: &mut Link<S, Answer>,
    patience: Duration,
) -> Result<Answer, Unanswered> {
    let answer = rt::timeout(patience, link.rx.recv()).await;
    let answer = answer.map_err(|_| Unanswered::TimedOut)?;
    let answer = answer.map_err(|error| Unanswered::link(&error))?;
    answer.ok_or(Unanswered::NoPart)
}

/// Orders a node to do something: returns its control stream, by which it is proved who answers, and where the answers
/// come.
pub(super) async fn order(
    bonds: &Bonds,
    peer: PeerId,
    what: What,
    key: &[u8; 32],
    group: GroupId,
) -> Result<(Line, Link<(), Answer>), Unanswered> {
    let (line, halves) = bonds.open_to(peer, &Header::Order { group }).await?;
    let mut link = Link::<Order, ()>::resume(halves, MAX_ORDER);
    let order = Order::new(what, &line, key, group);
    let sent = link.tx.send(&order).await;
    sent.map_err(|error| Unanswered::link(&error))?;
    Ok((line, Link::resume(link.into_halves(), MAX_ANSWER)))
}
