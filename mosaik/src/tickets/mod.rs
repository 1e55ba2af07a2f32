//! Tickets: proofs of some right that peers carry, and those who check them.
//!
//! A peer carries [`AccessTicket`]s in its catalog entry, from the start
//! ([`Builder::access_ticket`](crate::Builder::access_ticket)) or later
//! ([`Discovery::add_ticket`](crate::Discovery::add_ticket)). Topics and groups that are declared with
//! `ticket = validator()` let only those take part who carry a valid one, on both sides. [`Jwt`] checks JSON Web Tokens;
//! anything else, such as the attestation of a machine, implements [`TicketValidator`].
//!
//! ```
//! use mosaik::{tickets::{Algorithm, Jwt}, *};
//!
//! fn traders() -> Jwt {
//!     Jwt::secret(Algorithm::Hs256, "not so secret").expect("a key").claim("role", "trader")
//! }
//!
//! #[mosaik::group(ticket = traders())]
//! #[derive(Default)]
//! pub struct Desk { orders: u64 }
//!
//! #[mosaik::group]
//! impl Desk {
//!     #[command]
//!     pub fn order(&mut self) -> u64 { self.orders += 1; self.orders }
//! }
//! ```
//!
//! A ticket is checked when its holder asks to take part, again whenever its entry changes, and when its validity ends.
//! Whoever has none that is valid any more is cut off at once, with [`CloseCode::TicketExpired`]; whoever carries a new one
//! is let in again, without a restart. Renew a ticket by adding the next one before the last has ended.
//!
//! Entries are seen by the whole network, and so are tickets: a validator has to make sure that a ticket is its holder's,
//! as [`Jwt`] does by the claim `sub`.
//!
//! [`CloseCode::TicketExpired`]: crate::CloseCode::TicketExpired

mod jwt;
mod required;
mod right;

use std::time::SystemTime;

pub use jwt::{Algorithm, Jwt, JwtError, JwtIssuer};
pub use required::RequiredTickets;
pub(crate) use required::{Denial, until};
pub(crate) use right::{NotAdmitted, Right, look_at};

pub use crate::discovery::AccessTicket;
use crate::discovery::Entry;

/// Checks tickets of one class.
///
/// It is asked under a lock, so it must not wait for anything; what it needs from elsewhere is fetched by a task of its own.
/// A validator that panics rejects the ticket.
#[diagnostic::on_unimplemented(
    message = "`{Self}` checks no tickets",
    label = "this is no `mosaik::tickets::TicketValidator`",
    note = "`mosaik::tickets::Jwt` is one, for JSON Web Tokens"
)]
pub trait TicketValidator: Send + Sync + 'static {
    /// The class of the tickets that it checks: it is shown no others.
    fn class(&self) -> &str;

    /// How long the ticket gives its holder the right, at the time `now`.
    ///
    /// # Errors
    /// Why it does not.
    fn validate(
        &self,
        ticket: &AccessTicket,
        holder: &Entry,
        now: SystemTime,
    ) -> Result<Validity, Rejection>;
}

/// How long a ticket is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Up to this time; whoever carries no other one then is cut off.
    Until(SystemTime),
    /// For as long as the holder carries it.
    Unlimited,
}

/// Why a ticket gives no right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It was valid up to this time. Give its holder a new one.
    #[error("it ended at {} (Unix time)", required::unix(.0))]
    Expired(SystemTime),
    /// It is valid from this time on, when it is looked at again.
    #[error("it begins at {} (Unix time)", required::unix(.0))]
    NotYet(SystemTime),
    /// It is not what is asked for; the text says what is wrong.
    #[error("{0}")]
    Invalid(String),
}
