//! The state of a member, on its way to an operator.

use std::{fmt, io, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    ask::{self, Unanswered},
    file::{Export, ExportHeader},
    message::{Answer, What},
    serve::Operator,
};
use crate::{
    groups::{
        Groups,
        bonds::Line,
        error::Refusal,
        front::Front,
        machine::{CHUNK, Parts},
        options,
        remote::End,
        replica::Replica,
    },
    id::{GroupId, PeerId},
    rt,
    transport::{Link, LinkError},
};

/// How long a member may take to have its state ready.
const IMAGE: Duration = Duration::from_secs(600);
/// How long an export may stand still.
const PROGRESS: Duration = Duration::from_secs(30);

/// Why a member has no state to export.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NoExport {
    /// Wait until it has, or ask another member.
    #[error("it holds no state yet")]
    NoState,
    /// Ask a voter or a learner: see [`Groups::report`].
    #[error("it only follows the group; ask a voter or a learner")]
    Follower,
    /// See to what the text says, or ask another member. Nothing happened to this one.
    #[error("its state cannot be had: {0}")]
    Image(String),
}

/// Why a state was not exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// See to what the text says.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// Give the key that the members were given.
    #[error("the member refuses: {0}")]
    Refused(Refusal),
    /// Try again in a moment, or ask another member.
    #[error("the member carries out as many orders as it may at once; try again in a moment")]
    Busy,
    /// See to what the text says.
    #[error(transparent)]
    NoExport(#[from] NoExport),
    /// See [`Groups::report`] for who answers, and name the one whose state is wanted.
    #[error(
        "no majority of those who answer for group `{name}` agrees on who holds its state; name the member to ask"
    )]
    NoMember {
        /// The group's name.
        name: String,
    },
    /// It broke off: begin anew.
    #[error("the export broke off: {0}")]
    Broken(String),
}

impl Groups {
    /// Exports the state of the group of this name, as the member `at` has it: all that it has applied by now, also of
    /// a charter that was superseded. Proves to know the group's key, if it has one, and has the member prove it.
    ///
    /// Without `at`, whoever is most up to date is asked of those whom a majority knows for members: of the nodes that
    /// answer [`report`](Self::report) and hold the group's state more than half have to be of the same charter and
    /// list the one that is asked, and so has a majority of the voters that it lists. One node that is mistaken about
    /// the group is not asked, then; nor is anybody once the quorum is lost.
    ///
    /// The member's commands wait as long for it as for any snapshot. Nothing is written to its disk, so that it can
    /// be had where that is full, and nothing that fails does any harm to the member. While the state is read it is
    /// kept as it was, and encoded up to nine times.
    ///
    /// # Errors
    /// See [`ExportError`].
    pub async fn export(
        &self,
        name: impl Into<String>,
        at: Option<PeerId>,
        key: Option<&str>,
    ) -> Result<Exporting, ExportError> {
        let name = name.into();
        let at = match at {
            Some(at) => at,
            None => self.exporter(&name).await?,
        };
        let group = GroupId::from_name(&name);
        let (bonds, key) = (self.bonds(), options::derived(key));
        if let Some(front) = bonds.front(&group).filter(|front| front.me().peer == at) {
            if *front.key() != key {
                return Err(ExportError::Refused(Refusal::Key));
            }
            let replica = front.serving().borrow().clone();
            let replica = replica.ok_or(NoExport::NoState)?;
            let (header, chunks) = Chunks::take(&front, &replica).await?;
            return Ok(Exporting::new(at, header, Source::Here(chunks)));
        }
        let ordered = ask::order(bonds, at, What::Export, &key, group);
        let ordered = rt::timeout(ask::TIMEOUT, ordered).await;
        let (line, mut link) = ordered.unwrap_or(Err(Unanswered::TimedOut))?;
        let answer = rt::timeout(IMAGE + ask::TIMEOUT, link.rx.recv()).await;
        let answer = answer.map_err(|_| Unanswered::TimedOut)?;
        match answer.map_err(|error| Unanswered::link(&error))? {
            Some(Answer::Exporting { header, proof }) => {
                if proof != line.proof_as(&key, End::Exporter, group) {
                    return Err(ExportError::Refused(Refusal::Key));
                }
                if header.group != name {
                    let text = "it exports another group".into();
                    return Err(Unanswered::Malformed(text).into());
                }
                Ok(Exporting::new(
                    at,
                    header,
                    Source::There(Box::new(There { _line: line, link })),
                ))
            }
            Some(Answer::NoExport(why)) => Err(why.into()),
            Some(Answer::Refused(why)) => Err(ExportError::Refused(why)),
            Some(Answer::Busy) => Err(ExportError::Busy),
            Some(_) => Err(Unanswered::Malformed("it answers something else".into()).into()),
            None => Err(Unanswered::NoPart.into()),
        }
    }

    /// Whom to ask for a group's state: who is online before who is not, and who has applied most.
    async fn exporter(&self, name: &str) -> Result<PeerId, ExportError> {
        let none = || ExportError::NoMember { name: name.into() };
        let report = self.report(name).await.map_err(|_| none())?;
        let member = report.agreed();
        let member = member.max_by_key(|answer| (answer.online, answer.version));
        member.map(|member| member.peer).ok_or_else(none)
    }
}

/// A state that is being exported: from [`Groups::export`].
pub struct Exporting {
    at: PeerId,
    header: ExportHeader,
    source: Source,
    /// Bytes that are still to come.
    left: u64,
}

/// Where a state comes from.
enum Source {
    Here(Chunks),
    There(Box<There>),
}

/// The way from a member.
struct There {
    /// Its control stream, which keeps the connection open.
    _line: Line,
    link: Link<(), Answer>,
}

impl Exporting {
    fn new(at: PeerId, header: ExportHeader, source: Source) -> Self {
        let left = header.length;
        Self {
            at,
            header,
            source,
            left,
        }
    }

    /// The member whose state it is.
    pub fn at(&self) -> PeerId {
        self.at
    }

    /// What the export is of.
    pub fn header(&self) -> &ExportHeader {
        &self.header
    }

    /// The next bytes of the state, 256 KiB at most; `None` at its end.
    ///
    /// # Errors
    /// When the member goes away, or nothing comes for 30 s.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExportError> {
        let broken = |error: &dyn fmt::Display| ExportError::Broken(error.to_string());
        let chunk = match &mut self.source {
            Source::Here(chunks) => chunks.next().await.map_err(|error| broken(&error))?,
            Source::There(there) => {
                let received = rt::timeout(PROGRESS, there.link.rx.recv()).await;
                let received = received.map_err(|_| broken(&"nothing comes any more"))?;
                match received.map_err(|error| broken(&error))? {
                    Some(Answer::Chunk(chunk)) => Some(chunk),
                    None => None,
                    Some(_) => return Err(broken(&"the member sends something else")),
                }
            }
        };
        let len = chunk.as_ref().map_or(0, Bytes::len) as u64;
        match (self.left.checked_sub(len), &chunk) {
            (Some(0), None) => Ok(None),
            (Some(left), Some(_)) if len > 0 => {
                self.left = left;
                Ok(chunk)
            }
            _ => Err(broken(&"the state is not as long as was said")),
        }
    }
}

impl Exporting {
    /// Reads all of it into memory, for [`Groups::import`] or to be decoded.
    ///
    /// # Errors
    /// As for [`next`](Self::next), and when some of it was read before.
    pub async fn collect(mut self) -> Result<Export, ExportError> {
        let mut state = Vec::new();
        while let Some(chunk) = self.next().await? {
            state.extend_from_slice(&chunk);
        }
        match state.len() as u64 == self.header.length {
            true => Ok(Export {
                header: self.header,
                state,
            }),
            false => Err(ExportError::Broken("some of it was read before".into())),
        }
    }
}

impl fmt::Debug for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporting")
            .field("at", &self.at)
            .field("header", &self.header)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// Sends the state of this member to an operator who may have it, for as long as what it is of runs here.
pub(super) async fn send(
    front: &Front,
    line: &Line,
    mut operator: Operator<()>,
) -> Result<(), LinkError> {
    let replica = front.serving().borrow().clone();
    let taken = match replica {
        Some(replica) => {
            let taken = Chunks::take(front, &replica).await;
            taken.map(|taken| (replica, taken))
        }
        None => Err(NoExport::NoState),
    };
    let (replica, (header, mut chunks)) = match taken {
        Ok(taken) => taken,
        Err(why) => {
            operator.tell(&Answer::NoExport(why)).await?;
            return operator.finish().await;
        }
    };
    let proof = line.proof_as(front.key(), End::Exporter, front.group());
    let sending = async {
        operator.tell(&Answer::Exporting { header, proof }).await?;
        loop {
            match chunks.next().await {
                Ok(Some(chunk)) => operator.tell(&Answer::Chunk(chunk)).await?,
                Ok(None) => return operator.finish().await,
                // The operator sees that there is no end.
                Err(error) => {
                    tracing::warn!(%error, "a state cannot be read for an export");
                    return Ok(());
                }
            }
        }
    };
    front.while_served(&replica, sending).await
}

/// The state of a member, chunk by chunk.
#[derive(Debug)]
struct Chunks {
    parts: Parts,
    /// What is left of the part that was read last.
    rest: Bytes,
}

impl Chunks {
    /// Takes the state of what runs here, as it is now.
    async fn take(front: &Front, replica: &Replica) -> Result<(ExportHeader, Self), NoExport> {
        let node = replica.node().ok_or(NoExport::Follower)?;
        let failed = |error: &dyn fmt::Display| NoExport::Image(error.to_string());
        let taken = async {
            let image = node.image().await.map_err(|error| failed(&error))?;
            let image = image.ok_or(NoExport::NoState)?;
            let version = image.last().index;
            let parts = image.read().await.map_err(|error| failed(&error))?;
            Ok((version, parts))
        };
        let late = || failed(&format_args!("not within {} s", IMAGE.as_secs()));
        let taken = rt::timeout(IMAGE, taken).await;
        let (version, parts) = taken.map_err(|_| late())??;
        let header = ExportHeader {
            group: front.shared().name().into(),
            charter: *replica.epoch().as_bytes(),
            version,
            layout: front.fingerprint().0,
            length: parts.len(),
        };
        let rest = Bytes::new();
        Ok((header, Self { parts, rest }))
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.rest.is_empty() {
            let Some(part) = self.parts.next().await? else {
                return Ok(None);
            };
            self.rest = part;
        }
        Ok(Some(self.rest.split_to(CHUNK.min(self.rest.len()))))
    }
}
