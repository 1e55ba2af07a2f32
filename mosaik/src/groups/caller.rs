//! Calls of a group, whether this node holds a replica or not.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    client::Client,
    error::{GroupError, Refusal, Unavailable},
    execution::Execution,
    machine::{MAX_COMMANDS, StateMachine},
    packed::packed,
    pending::Pending,
    remote::{Connected, Unanswered},
    shared::Shared,
    status::Phase,
};
use crate::{metrics, rt, wire};

/// What sends the commands of one call.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
    /// How long to wait for an answer.
    pub(super) timeout: Duration,
    /// What has to live for as long as a command is under way: a client's connection, if it is one.
    pub(super) connected: Option<Arc<Connected>>,
}

impl Caller {
    /// Applies a command of a state machine that was written by hand.
    pub(super) async fn execute<M: StateMachine>(
        self,
        command: M::Command,
    ) -> Result<M::Output, GroupError> {
        let command = packed(|bytes| append(bytes, &command))?;
        self.run(1, command, decode_all).await
    }

    /// Applies several, as one entry.
    pub(super) async fn execute_all<M: StateMachine>(
        self,
        commands: impl IntoIterator<Item = M::Command>,
    ) -> Result<Vec<M::Output>, GroupError> {
        let commands: Vec<M::Command> = commands.into_iter().collect();
        let count = u32::try_from(commands.len()).ok();
        let count = count.filter(|count| *count <= MAX_COMMANDS);
        let count = count.ok_or_else(|| too_many(commands.len()))?;
        let mut bytes = Vec::new();
        for command in &commands {
            bytes = append(bytes, command)?;
        }
        self.run_all(count, bytes.into()).await
    }

    /// Applies `count` encoded commands as one entry; each returns a `T`.
    pub(super) async fn run_all<T: DeserializeOwned + Send + 'static>(
        self,
        count: u32,
        commands: Bytes,
    ) -> Result<Vec<T>, GroupError> {
        self.run(count, commands, move |mut outputs: &[u8]| {
            let mut decoded = Vec::with_capacity(count as usize);
            for _ in 0..count {
                let (output, rest) = decode(outputs)?;
                decoded.push(output);
                outputs = rest;
            }
            finished(outputs)?;
            Ok(decoded)
        })
        .await
    }

    /// Applies `count` encoded commands as one entry. `finish` makes what they return of their encoded outputs.
    pub(super) async fn run<T: Send + 'static>(
        self,
        count: u32,
        commands: Bytes,
        finish: impl FnOnce(&[u8]) -> Result<T, GroupError> + Send + 'static,
    ) -> Result<T, GroupError> {
        let Self {
            shared,
            timeout,
            connected,
        } = self;
        let mut execution = Execution::new(shared.clone(), count, commands)?;
        let began = rt::now();
        let executed = rt::timeout(timeout, execution.outcome()).await;
        metrics::command_ended(began.elapsed());
        match executed {
            Ok(outputs) => finish(&outputs?),
            Err(_) if execution.is_sent() => {
                let executing = async move {
                    let _connected = connected;
                    finish(&execution.outcome().await?)
                };
                let pending = Pending::new(executing, timeout, shared.tasks());
                Err(GroupError::Timeout(pending))
            }
            Err(_) => Err(unsent(&shared, execution.waits_for_room())),
        }
    }

    /// Waits until the replica here may answer a query that is asked now.
    pub(super) async fn read(&self) -> Result<(), GroupError> {
        let began = rt::now();
        let ready = rt::timeout(self.timeout, Client::read(&self.shared)).await;
        metrics::query_ended(began.elapsed());
        ready.unwrap_or_else(|_| Err(GroupError::Unavailable(unavailable(&self.shared))))
    }

    /// Asks a member for the answer to an encoded query.
    pub(super) async fn query<T: DeserializeOwned>(&self, query: Bytes) -> Result<T, GroupError> {
        let began = rt::now();
        let asked = rt::timeout(self.timeout, Client::query(&self.shared, &query)).await;
        metrics::query_ended(began.elapsed());
        match asked {
            Ok(answered) => match answered? {
                Ok(answer) => decode_all(&answer.bytes),
                Err(Unanswered::Unknown { query, peer }) => Err(match query {
                    Some(query) => self.shared.unsupported(query, peer),
                    None => GroupError::Refused(Refusal::Machine),
                }),
                Err(Unanswered::Panicked(message)) => Err(GroupError::QueryPanicked(message)),
                Err(Unanswered::Encoding(why)) => Err(GroupError::Encoding(why)),
            },
            Err(_) => Err(GroupError::Unavailable(unavailable(&self.shared))),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("group", &self.shared.name())
            .finish_non_exhaustive()
    }
}

/// Why a command was not sent in time.
fn unsent(shared: &Shared, waits_for_room: bool) -> GroupError {
    match what_lacks(shared) {
        None if waits_for_room => GroupError::Busy,
        lacks => GroupError::Unavailable(lacks.unwrap_or(Unavailable::NoLeader)),
    }
}

/// Why a query has no answer in time. A leader that is known and does not answer is none.
fn unavailable(shared: &Shared) -> Unavailable {
    what_lacks(shared).unwrap_or(Unavailable::NoLeader)
}

/// What the group lacks to answer, as far as is known here.
fn what_lacks(shared: &Shared) -> Option<Unavailable> {
    let status = shared.status().borrow();
    let founding = matches!(status.phase, Phase::Opening | Phase::Founding(_));
    match &status.unavailable {
        Some(why) => Some(why.clone()),
        None if founding => Some(Unavailable::NotFounded),
        None if status.phase == Phase::Connecting => Some(Unavailable::NoMember),
        None => None,
    }
}

/// The bytes, with an encoded value behind them.
pub(crate) fn append<T: serde::Serialize>(
    bytes: Vec<u8>,
    value: &T,
) -> Result<Vec<u8>, GroupError> {
    postcard::to_extend(value, bytes).map_err(|error| GroupError::Encoding(error.to_string()))
}

/// The batch is larger than one may be.
pub(super) fn too_many(len: usize) -> GroupError {
    GroupError::TooLarge {
        len,
        limit: MAX_COMMANDS as usize,
        unit: "commands",
    }
}

/// A value that fills `bytes`.
pub(crate) fn decode_all<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, GroupError> {
    let (value, rest) = decode(bytes)?;
    finished(rest)?;
    Ok(value)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), GroupError> {
    postcard::take_from_bytes(bytes).map_err(|error| GroupError::Encoding(error.to_string()))
}

fn finished(rest: &[u8]) -> Result<(), GroupError> {
    if rest.is_empty() {
        return Ok(());
    }
    let extra = wire::DecodeError::Trailing { extra: rest.len() };
    Err(GroupError::Encoding(extra.to_string()))
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::{id::PeerId, rt::Tasks};

    /// Commands that may be under way at once.
    const ROOM: usize = 2048;

    fn execution(shared: &Arc<Shared>) -> Execution {
        Execution::new(shared.clone(), 1, Bytes::from_static(b"?")).unwrap()
    }

    fn set(shared: &Shared, phase: Phase, unavailable: Option<Unavailable>) {
        let mut status = shared.status().borrow().clone();
        (status.phase, status.unavailable) = (phase, unavailable);
        shared.set_status(status);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_room_in_vain_says_what_is_in_its_way() {
        let tasks = Tasks::new(tracing::Span::none());
        let shared = Shared::new("g", PeerId::from_bytes([1; 32]), Vec::new(), &tasks);
        let called = || async {
            let caller = Caller {
                shared: shared.clone(),
                timeout: Duration::from_secs(10),
                connected: None,
            };
            caller.run(1, Bytes::from_static(b"?"), |_| Ok(())).await
        };
        // There is room, and no way to a leader: nobody knows more.
        set(&shared, Phase::Voter, None);
        let lost = called().await;
        let no_leader = matches!(lost, Err(GroupError::Unavailable(Unavailable::NoLeader)));
        assert!(no_leader, "{lost:?}");

        let mut before: Vec<_> = (0..ROOM).map(|_| execution(&shared)).collect();
        for execution in &mut before {
            assert!(execution.outcome().now_or_never().is_none());
            assert!(!execution.waits_for_room());
        }
        let busy = called().await;
        assert!(matches!(busy, Err(GroupError::Busy)), "{busy:?}");
        // It is full because nothing can be answered.
        let lacks = Unavailable::NoQuorum {
            have: 1,
            need: 2,
            missing: Vec::new(),
        };
        set(&shared, Phase::Voter, Some(lacks.clone()));
        let minority = called().await;
        assert!(matches!(&minority, Err(GroupError::Unavailable(why)) if *why == lacks));
        set(&shared, Phase::Opening, None);
        let unfounded = called().await;
        let not_founded = matches!(
            unfounded,
            Err(GroupError::Unavailable(Unavailable::NotFounded))
        );
        assert!(not_founded, "{unfounded:?}");

        set(&shared, Phase::Voter, None);
        drop(before.pop());
        let let_in = called().await;
        let no_leader = matches!(let_in, Err(GroupError::Unavailable(Unavailable::NoLeader)));
        assert!(no_leader, "{let_in:?}");
    }
}
