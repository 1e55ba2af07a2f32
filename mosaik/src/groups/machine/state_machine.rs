//! What users replicate.

use serde::{Serialize, de::DeserializeOwned};

use super::Ctx;

/// A state that all members of a group have, and the commands that change it.
///
/// Every member applies the same commands in the same order to a state that began as [`Default`], so all
/// states are the same, as long as [`apply`](Self::apply) depends on nothing but the state, the command and the
/// [`Ctx`]: no clock, no randomness, no file, no iteration over a `HashMap`. Members compare digests of their
/// outputs; one that differs stops and says so.
///
/// # Panics
/// A command that panics is undone on every member, and whoever sent it gets the message as an error; the group
/// goes on. To undo it, a member restores its state as it was before, from a snapshot and the log, so panics
/// are for faults of the program: a command that may fail returns a `Result`. An output that cannot be encoded,
/// or is over 8 MiB, counts as a panic.
///
/// # Example
/// ```
/// use std::collections::BTreeMap;
///
/// use mosaik::groups::{Ctx, StateMachine};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default)]
/// struct Bank {
///     accounts: BTreeMap<String, u64>,
/// }
///
/// #[derive(Serialize, Deserialize)]
/// enum Command {
///     Deposit { account: String, cents: u64 },
///     Withdraw { account: String, cents: u64 },
/// }
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Overdrawn;
///
/// impl StateMachine for Bank {
///     type Command = Command;
///     type Output = Result<u64, Overdrawn>;
///     type Query = String;
///     type Answer = Option<u64>;
///     type Snapshot = BTreeMap<String, u64>;
///
///     fn apply(&mut self, _: &Ctx, command: Command) -> Result<u64, Overdrawn> {
///         match command {
///             Command::Deposit { account, cents } => {
///                 let balance = self.accounts.entry(account).or_default();
///                 *balance += cents;
///                 Ok(*balance)
///             }
///             Command::Withdraw { account, cents } => {
///                 let balance = self.accounts.entry(account).or_default();
///                 *balance = balance.checked_sub(cents).ok_or(Overdrawn)?;
///                 Ok(*balance)
///             }
///         }
///     }
///
///     fn query(&self, account: String) -> Option<u64> {
///         self.accounts.get(&account).copied()
///     }
///
///     fn snapshot(&self) -> BTreeMap<String, u64> {
///         self.accounts.clone()
///     }
///
///     fn restore(accounts: BTreeMap<String, u64>) -> Self {
///         Self { accounts }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no commands and queries that a group could run",
    label = "this is no state of a group yet",
    note = "put `#[mosaik::group]` on its `impl` block, or implement `mosaik::groups::StateMachine`"
)]
pub trait StateMachine: Default + Send + Sync + 'static {
    /// What changes the state.
    ///
    /// All members of a group run the same version of it. Its whole schema is part of what members compare, like
    /// those of the other types here: one that differs, if only by a variant that was appended, is refused with
    /// [`Refusal::Machine`](crate::groups::Refusal::Machine). A durable group that is stopped everywhere and
    /// started everywhere with another version goes on, if that decodes what the log and the snapshots hold; but
    /// it lets nobody new in, as its charter names the version that founded it. So to change commands, found a
    /// group of another name. A member that cannot decode a command stops.
    type Command: Serialize + DeserializeOwned + Send + 'static;
    /// What a command answers.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// What can be asked of the state; `()` when there is nothing.
    type Query: Serialize + DeserializeOwned + Send + 'static;
    /// What a query answers.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
    /// The whole state, as it is stored and sent to members that lack it.
    type Snapshot: Serialize + DeserializeOwned + Send + 'static;

    /// Changes the state.
    fn apply(&mut self, ctx: &Ctx, command: Self::Command) -> Self::Output;

    /// Answers a query. No command is applied meanwhile, so it should be short.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// The state as it is, encoded later while further commands are applied.
    ///
    /// No command is applied before it returns: a state whose clone costs nothing, such as a persistent map,
    /// never stands still, while a plain one does for as long as it takes to clone it.
    fn snapshot(&self) -> Self::Snapshot;

    /// The state that `snapshot` was taken of.
    fn restore(snapshot: Self::Snapshot) -> Self;
}
