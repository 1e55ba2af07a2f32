//! What keeps a client connected for as long as somebody holds a handle of it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    groups::{machine::Item, shared::Shared},
    rt::{self, Tasks},
};

/// How long a client that goes tries to say so.
const GOODBYE: Duration = Duration::from_secs(1);

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
        let tasks = self.tasks.clone();
        let route = self.shared.routes().borrow().clone().ok().flatten();
        let session = self.shared.client().session();
        let (Some(route), Some((epoch, session))) = (route, session) else {
            tasks.cancel();
            return;
        };
        // What was not said expires by itself.
        self.shared.tasks().spawn(async move {
            if route.epoch() == epoch {
                let close = route.submit(Item::Close { session });
                drop(rt::timeout(GOODBYE, close).await);
            }
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
