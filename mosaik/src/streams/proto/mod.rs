//! What decides: the ring, the flow of a subscription, its messages. No clock, no socket, no task.

pub(crate) mod credit;
pub(crate) mod record;
pub(crate) mod ring;
pub(crate) mod subscription;
