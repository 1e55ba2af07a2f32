//! Has a member recover from a lost quorum, as an operator.

use super::{
    ask::{self, Unanswered},
    message::{Answer, What},
};
use crate::{
    groups::{
        Groups,
        error::{RecoverError, Refusal},
        options,
        shared::RECOVERY,
    },
    id::{GroupId, PeerId},
    rt,
};

/// Why a member that was asked to recover did not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverAtError {
    /// See to what the text says. After a timeout it may recover all the same: look before asking again.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// Give the key that the members were given.
    #[error("the member refuses: {0}")]
    Refused(Refusal),
    /// Try again in a moment.
    #[error("the member carries out as many orders as it may at once; try again in a moment")]
    Busy,
    /// The member says why no descendant was founded.
    #[error(transparent)]
    Failed(#[from] RecoverError),
}

impl Groups {
    /// Has a node that takes part in the group of this name do what [`Group::recover`](crate::Group::recover) does:
    /// found the group anew from its replica after the quorum is lost. Proves to know the group's key, if it has one.
    ///
    /// **A majority that is merely out of reach may go on, and loses what it acknowledges from then on.** Be sure that
    /// it is gone.
    ///
    /// # Errors
    /// See [`RecoverAtError`].
    pub async fn recover_at(
        &self,
        name: impl Into<String>,
        at: PeerId,
        key: Option<&str>,
    ) -> Result<(), RecoverAtError> {
        let group = GroupId::from_name(&name.into());
        let (bonds, key) = (self.bonds(), options::derived(key));
        if let Some(front) = bonds.front(&group).filter(|front| front.me().peer == at) {
            if *front.key() != key {
                return Err(RecoverAtError::Refused(Refusal::Key));
            }
            return Ok(front.shared().recover().await?);
        }
        let asking = async {
            let (_line, mut link) = ask::order(bonds, at, What::Recover, &key, group).await?;
            let answer = link.rx.recv().await;
            answer.map_err(|error| Unanswered::link(&error))
        };
        let asked = rt::timeout(RECOVERY + ask::TIMEOUT, asking).await;
        match asked.unwrap_or(Err(Unanswered::TimedOut))? {
            Some(Answer::Recovered(recovered)) => Ok(recovered?),
            Some(Answer::Refused(why)) => Err(RecoverAtError::Refused(why)),
            Some(Answer::Busy) => Err(RecoverAtError::Busy),
            Some(_) => Err(Unanswered::Malformed("it answers something else".into()).into()),
            None => Err(Unanswered::NoPart.into()),
        }
    }
}
