//! Commands whose answers did not come in time.

use std::{any::Any, fmt, time::Duration};

use tokio::sync::oneshot;

use super::error::GroupError;
use crate::rt::Tasks;

/// A command whose answer did not come in time, and that is still under way, whether or not anybody waits.
///
/// Dropping it gives the command up: it may still be applied, once.
pub struct Pending {
    after: Duration,
    outcome: oneshot::Receiver<Outcome>,
}

type Outcome = Result<Box<dyn Any + Send>, GroupError>;

impl Pending {
    /// Goes on with `executing`, which was waited for so long, until it has an outcome, which is kept, or nobody wants that
    /// any more.
    pub(super) fn new<T: Send + 'static>(
        executing: impl Future<Output = Result<T, GroupError>> + Send + 'static,
        after: Duration,
        tasks: &Tasks,
    ) -> Self {
        let (mut told, outcome) = oneshot::channel::<Outcome>();
        tasks.spawn(async move {
            let result = tokio::select! {
                biased;
                () = told.closed() => return,
                result = executing => result,
            };
            // It may be dropped just now.
            drop(told.send(result.map(|answer| Box::new(answer) as Box<dyn Any + Send>)));
        });
        Self { after, outcome }
    }

    /// How long was waited for an answer.
    pub fn after(&self) -> Duration {
        self.after
    }

    /// Waits for the outcome, however long it takes: the command is sent again, with the number that it has,
    /// until the group answers. `T` is what the call that timed out would have returned.
    ///
    /// # Errors
    /// As the call that timed out, but for the timeout; [`GroupError::Encoding`] if `T` is another type.
    pub async fn outcome<T: 'static>(self) -> Result<T, GroupError> {
        let wrong = |_| {
            let wanted = std::any::type_name::<T>();
            GroupError::Encoding(format!("the answer is no {wanted}"))
        };
        // Nothing goes on once the network is shut down.
        let outcome = self.outcome.await.unwrap_or(Err(GroupError::Closed));
        outcome?.downcast().map(|answer| *answer).map_err(wrong)
    }
}

impl GroupError {
    /// The same, where the call returns what `make` makes of what it was to return: so does its outcome then, if its
    /// answer only did not come in time.
    pub(crate) fn then<T: 'static, U: Send + 'static>(
        self,
        tasks: &Tasks,
        make: impl FnOnce(T) -> Result<U, Self> + Send + 'static,
    ) -> Self {
        let Self::Timeout(pending) = self else {
            return self;
        };
        let after = pending.after();
        let outcome = async move { make(pending.outcome::<T>().await?) };
        Self::Timeout(Pending::new(outcome, after, tasks))
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;

    const AFTER: Duration = Duration::from_secs(1);

    fn tasks() -> Tasks {
        Tasks::new(tracing::Span::none())
    }

    /// An execution that ends once it is told to, and what it holds meanwhile.
    fn executing(
        go: &Arc<Notify>,
        place: &Arc<()>,
    ) -> impl Future<Output = Result<u64, GroupError>> + use<> {
        let (go, place) = (go.clone(), place.clone());
        async move {
            go.notified().await;
            drop(place);
            Ok(7)
        }
    }

    async fn released(place: &Arc<()>) {
        while Arc::strong_count(place) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_answered_holds_nothing_although_nobody_waits() {
        let (tasks, go, place) = (tasks(), Arc::default(), Arc::default());
        let pending = Pending::new(executing(&go, &place), AFTER, &tasks);
        go.notify_one();
        released(&place).await;
        assert_eq!(pending.outcome::<u64>().await.unwrap(), 7);
    }

    #[tokio::test]
    async fn what_is_dropped_is_given_up() {
        let (tasks, go, place) = (tasks(), Arc::default(), Arc::default());
        drop(Pending::new(executing(&go, &place), AFTER, &tasks));
        released(&place).await;
    }

    #[tokio::test]
    async fn an_outcome_is_what_the_call_would_have_returned() {
        let (tasks, go, place) = (tasks(), Arc::default(), Arc::default());
        let late = GroupError::Timeout(Pending::new(executing(&go, &place), AFTER, &tasks));
        let doubled = |number: u64| Ok((number * 2).to_string());
        let GroupError::Timeout(pending) = late.then(&tasks, doubled) else {
            panic!("it is as late as before");
        };
        assert_eq!(pending.after(), AFTER);
        go.notify_one();
        assert_eq!(pending.outcome::<String>().await.unwrap(), "14");
        let other = GroupError::Busy.then(&tasks, doubled);
        assert!(matches!(other, GroupError::Busy), "{other:?}");
    }

    #[tokio::test]
    async fn an_answer_of_another_type_and_a_network_that_is_gone_are_errors() {
        let (tasks, go, place) = (tasks(), Arc::default(), Arc::default());
        let pending = Pending::new(executing(&go, &place), AFTER, &tasks);
        go.notify_one();
        let outcome = pending.outcome::<String>().await;
        assert!(
            matches!(outcome, Err(GroupError::Encoding(_))),
            "{outcome:?}"
        );
        let pending = Pending::new(executing(&go, &place), AFTER, &tasks);
        tasks.cancel();
        let outcome = pending.outcome::<u64>().await;
        assert!(matches!(outcome, Err(GroupError::Closed)), "{outcome:?}");
    }
}
