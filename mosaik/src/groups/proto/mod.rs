//! What decides in groups, free of tasks, clocks and sockets.

pub(crate) mod blob;
pub(crate) mod clock;
pub(crate) mod compaction;
pub(crate) mod founding;
pub(crate) mod log_id;
pub(crate) mod quiesce;
pub(crate) mod rollback;
pub(crate) mod roster;
pub(crate) mod session;
pub(crate) mod sizes;
pub(crate) mod timing;
pub(crate) mod versions;
