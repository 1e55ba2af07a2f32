//! What every system can do for the program in which, or beside which, its member runs.

use std::future::Future;

/// The account whose balance is replicated.
pub(crate) const ACCOUNT: &str = "account-00000042";
/// What every write adds.
pub(crate) const AMOUNT: u64 = 1;

/// One member of a cluster, and the way of a program to it.
pub(crate) trait Member: Send + Sync + 'static {
    /// Adds [`AMOUNT`] to the balance of [`ACCOUNT`]; done when it is acknowledged.
    fn write(&self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// The balance, with all that was acknowledged before.
    fn read(&self) -> impl Future<Output = anyhow::Result<u64>> + Send;

    /// Whether this member leads.
    fn leads(&self) -> impl Future<Output = anyhow::Result<bool>> + Send;

    /// The process that is the member: this one, if it is embedded.
    fn process(&self) -> u32 {
        std::process::id()
    }
}
