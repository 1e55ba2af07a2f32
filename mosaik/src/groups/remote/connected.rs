//! What keeps a client connected for as long as somebody holds a handle of it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    groups::{
        machine::Item,
        shared::{Ended, Shared},
    },
    rt::{self, Tasks},
};

/// How long a client that goes tries to say so.
const GOODBYE: Duration = Duration::from_secs(1);

/// Closes the session of a client that goes, if it can be said in time: what was not said expires by itself.
pub(crate) async fn close(shared: Arc<Shared>, limit: Duration) {
    let route = shared.routes().borrow().clone().ok().flatten();
    if let (Some(route), Some((epoch, session))) = (route, shared.client().session())
        && route.epoch() == epoch
    {
        let close = route.submit(Item::Close { session });
        drop(rt::timeout(limit, close).await);
    }
    shared.end(Ended::Closed);
    shared
        .status()
        .send_modify(|status| status.end("left".into()));
}

/// A client's connection: it ends when this is dropped, and the group forgets the client's session then.
pub(crate) struct Connected {
    shared: Arc<Shared>,
    /// What the connection goes on in.
    tasks: Tasks,
}

impl Connected {
    /// Ends `tasks`, the connection of the client with these handles, when it is dropped.
    pub(crate) fn new(shared: Arc<Shared>, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self { shared, tasks })
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let (shared, tasks) = (self.shared.clone(), self.tasks.clone());
        self.shared.tasks().spawn(async move {
            close(shared, GOODBYE).await;
            tasks.cancel();
        });
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("group", &self.shared.name())
            .finish_non_exhaustive()
    }
}
