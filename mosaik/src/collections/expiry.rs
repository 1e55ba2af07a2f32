//! Who sees to it that what has a time to live ends, where nobody writes.
//!
//! What has come to its end is removed by the next command, whichever that is, as the time of that command says it has.
//! Where none comes, the leader sends one that does nothing else. When that is, it guesses by its own clocks; what has
//! come to its end the command says. A store in which nothing ends costs nothing.

use std::{pin::pin, time::Duration};

use tracing::debug;

use super::{replica::EXPIRE, store::Store};
use crate::{groups::number, rt};

/// How often who does not lead looks again whether what is due is gone, or whether it leads.
const WATCH: Duration = Duration::from_millis(250);
/// How long who leads waits before it tries again: the group's clock stands still, or no command gets through.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for a moment of the wall clock, which somebody may set meanwhile.
const LOOK: Duration = Duration::from_secs(5);

/// Sees to it, as long as this node takes part in the store.
pub(super) async fn keep(store: Store) {
    let mut expiry = store.place().expiry();
    let closed = store.when().closed();
    let keep = async {
        loop {
            expiry.mark_unchanged();
            let left = expiry.borrow().left();
            let Some(left) = left else {
                if expiry.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if left > Duration::ZERO {
                // Something may end sooner.
                let _ = rt::timeout(left.min(LOOK), expiry.changed()).await;
            } else if !store.is_leader() {
                rt::sleep(WATCH).await;
            } else if !expire(&store).await {
                rt::sleep(PAUSE).await;
            }
        }
    };
    tokio::select! {
        biased;
        _ = pin!(closed) => {}
        () = keep => {}
    }
}

/// Makes time pass; returns whether anything has ended.
async fn expire(store: &Store) -> bool {
    let expired = store.group().call_encoded::<u64>(number(EXPIRE), &[]).await;
    match expired {
        Ok(count) => count > 0,
        Err(error) => {
            debug!(store = store.name(), %error, "what is due stays for now");
            false
        }
    }
}
